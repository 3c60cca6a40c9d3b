"""Second forms of the backbone's parts: the EAT release's, which a CPU cannot train (docs/sizes.md)."""
