"""Pixels of any raster as polygons, and their overlaps with a cell, by shapely.

Slow and plain: `check` compares `pipeline.regrid.projected` with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import Transformer

from pipeline.regrid.placement import Axes, Curvilinear, degrees_of

EQUAL_AREA = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)
POINTS_PER_SIDE = 16  # of a pixel; a side that is straight in the raster's plane is curved here
FULL_CIRCLE = 360.0  # degrees of longitude

ToDegrees = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class PixelCorners:
    """Corners of a raster's pixels.

    Attributes:
        x, y: in the plane in which sides are straight, (rows + 1, columns + 1).
        longitude, latitude: of the same corners [degrees].
        to_degrees: function from that plane to longitude and latitude.
    """

    x: np.ndarray
    y: np.ndarray
    longitude: np.ndarray
    latitude: np.ndarray
    to_degrees: ToDegrees

    def shares(
        self, east: float, north: float, size: float
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Find the pixels (rows, columns) that overlap a cell, and the share of its area in each.

        Args:
            east, north: centre of the cell [degrees].
            size: length of its sides [degrees].
        """
        longitude = self.longitude - FULL_CIRCLE * np.round((self.longitude - east) / FULL_CIRCLE)
        near = _reaches(longitude, east, size) & _reaches(self.latitude, north, size)
        row, column = np.nonzero(near)
        if not row.size:  # beyond the raster's edge
            return (row, column), np.empty(0)
        ring = np.array([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)])
        at = row[:, None] + ring[:, 0], column[:, None] + ring[:, 1]
        lon, lat = self.to_degrees(*(_densify(corner[at]) for corner in (self.x, self.y)))
        lon = lon - FULL_CIRCLE * np.round((lon - east) / FULL_CIRCLE)
        pixels = shapely.polygons(np.stack(EQUAL_AREA.transform(lon, lat), axis=-1))
        (west, right), (south, top) = EQUAL_AREA.transform(
            [east - size / 2, east + size / 2], [north - size / 2, north + size / 2]
        )
        cell = shapely.box(west, south, right, top)
        share = shapely.area(shapely.intersection(pixels, cell)) / cell.area
        some = share > 0
        return (row[some], column[some]), share[some]


def _reaches(corners: np.ndarray, centre: float, size: float) -> np.ndarray:
    """Test whether pixels reach into a cell along one axis, with some slack: (rows, columns)."""
    four = np.stack((corners[1:, 1:], corners[1:, :-1], corners[:-1, 1:], corners[:-1, :-1]))
    low, high = four.min(axis=0), four.max(axis=0)
    slack = size / 2 + 0.1 * (high - low)  # sides may bulge
    return (low < centre + slack) & (high > centre - slack) & (high - low < FULL_CIRCLE / 2)


def _densify(corners: np.ndarray) -> np.ndarray:
    """Put points along the straight sides between corners (pixels, 5)."""
    share = np.arange(POINTS_PER_SIDE) / POINTS_PER_SIDE
    points = corners[:, :-1, None] + np.diff(corners, axis=1)[:, :, None] * share
    return points.reshape(len(corners), -1)


def pixel_corners(placement: Axes | Curvilinear) -> PixelCorners:
    """Corners of the pixels of a projected raster, or of one with known centres alone."""
    if isinstance(placement, Axes):
        crs = placement.crs
        assert crs is not None
        to_degrees: ToDegrees = Transformer.from_crs(crs, degrees_of(crs), always_xy=True).transform
        x, y = np.meshgrid(placement.x_edges, placement.y_edges)
        longitude, latitude = to_degrees(x, y)
        return PixelCorners(x, y, longitude, latitude, to_degrees)
    turned = placement.longitude
    for axis in (0, 1):
        turned = np.unwrap(turned, period=FULL_CIRCLE, axis=axis)
    x, y = (_corners_between(centres) for centres in (turned, placement.latitude))
    return PixelCorners(x, y, x, y, lambda x, y: (x, y))


def _corners_between(centres: np.ndarray) -> np.ndarray:
    """Corners as means of the four centres around them, extrapolated at the raster's edge."""
    padded = np.pad(centres, 1, "reflect", reflect_type="odd")
    return (padded[1:, 1:] + padded[1:, :-1] + padded[:-1, 1:] + padded[:-1, :-1]) / 4
