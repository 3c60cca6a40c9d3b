"""Losses, each one class: the equation stands on the line that computes it."""
