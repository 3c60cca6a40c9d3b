"""Puppets: drawn faces that talk and feel, with exactly known landmarks, pose and muscles."""
