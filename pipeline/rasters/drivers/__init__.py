"""Readers of raster files, one module per format."""
