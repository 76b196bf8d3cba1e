"""Readers of gauge records, one file a format."""
