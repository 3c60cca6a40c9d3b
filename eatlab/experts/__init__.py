"""Frozen judges, which only measure, and teachers, which only guide losses; the two sets never mix."""
