"""Recipes that turn raw recordings, or a seed, into shards: one folder a data set, the same shape inside."""
