"""Fetch raw files from the public services."""
