"""Readers of rasters, one file a format."""
