"""The losses of EAT: the equation number on the line that computes it, the weight in a config."""
