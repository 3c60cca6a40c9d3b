"""Puppets: a procedural corpus of talking, feeling faces whose landmarks, pose and muscles are known exactly."""
