"""eatlab: teach a frozen talking head emotions with small adapters, and measure which way is best."""

__version__ = "0.1.0"
