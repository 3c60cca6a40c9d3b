"""Frames, landmarks, sync and emotion measured under one protocol id, with intervals and reference rows."""
