"""Polygons, exact coverage of cells, flow directions and flow distance."""
