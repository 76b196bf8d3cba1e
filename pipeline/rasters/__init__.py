"""Raw raster series in any format."""
