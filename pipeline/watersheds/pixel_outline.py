"""The outline of a set of pixels as a polygon."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import MultiPolygon, Polygon

from pipeline.watersheds.flow_field import continuous, to_degrees


def pixel_outline(inside: np.ndarray, crs: CRS, transform: Affine) -> Polygon | MultiPolygon:
    """The union of pixels as a valid polygon in EPSG:4326, exact along their edges.

    Outside longitudes and latitudes, each corner of a pixel on the outline becomes a point, as
    straight edges would be bent there. Pixels that touch at a corner are parts of a MultiPolygon.

    Args:
        inside: bool (rows, columns), at least one.
        crs, transform: georeference of the pixels.
    """
    ends = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(ends == 1)
    stop = np.nonzero(ends == -1)[1]
    # of runs of pixels, at whole numbers: exact
    outline = shapely.union_all(shapely.box(start, row, stop, row + 1))
    if not (crs.is_geographic and transform.is_rectilinear):
        outline = shapely.segmentize(outline, 1.0)

    def degrees(corners: np.ndarray) -> np.ndarray:
        column, row = np.round(corners).T
        x = transform.a * column + transform.b * row + transform.c
        y = transform.d * column + transform.e * row + transform.f
        lon, lat = to_degrees(crs).transform(x, y)
        return np.column_stack([continuous(lon), lat])

    polygon = shapely.transform(outline, degrees)
    assert isinstance(polygon, Polygon | MultiPolygon)
    return polygon
