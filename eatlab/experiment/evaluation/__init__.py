"""Anybody's films beside their truth: which belong together, and what is measured of each."""
