"""Shards, samples and the order in which they are read; raw recordings are turned into shards by data_recipes."""
