"""Heads on Dask workers: what a task does, and which worker takes it."""
