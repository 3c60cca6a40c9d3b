"""Shards, samples, and the order they are read in; data_recipes turns raw recordings into shards."""
