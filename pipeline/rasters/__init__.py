"""Raw raster series: find and read their files in any format."""
