"""What carries the workers of a grid: processes of this machine, SLURM, Ray, or agents of a W&B sweep."""
