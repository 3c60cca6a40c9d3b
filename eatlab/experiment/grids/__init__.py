"""Many tunings, each run once: a grid's file, its units, who works on them, and what they will cost."""
