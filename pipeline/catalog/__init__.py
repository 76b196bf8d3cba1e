"""What data exist: the catalog's schema, raster sources and time labels."""
