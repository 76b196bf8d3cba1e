"""Raw rasters, gauge records, polygons and terrain to one analysis-ready store."""
