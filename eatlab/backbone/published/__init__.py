"""Second forms of the backbone's parts: those of the EAT release, which a CPU cannot train (docs/sizes.md)."""
