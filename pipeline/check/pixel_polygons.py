"""Pixels of any shape drawn as polygons, and their overlaps with a cell by shapely.

Slow and plain: what `pipeline.regrid.projected` is compared with when a store is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import Transformer

from pipeline.regrid.placement import Axes, Curvilinear, degrees_of

EQUAL_AREA = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)
PIECES = 16  # of a pixel's side
ROUND = 360.0  # degrees of longitude

ToDegrees = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Drawing:
    """The pixels' corners.

    Attributes:
        x, y: in the plane in which sides are straight, (rows + 1, columns + 1).
        longitude, latitude: of the same [degrees].
        to_degrees: from that plane.
    """

    x: np.ndarray
    y: np.ndarray
    longitude: np.ndarray
    latitude: np.ndarray
    to_degrees: ToDegrees

    def shares(
        self, east: float, north: float, size: float
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """The pixels (rows, columns) below a cell, and the shares of its area in them.

        Args:
            east, north: centre of the cell [degrees].
            size: length of its sides [degrees].
        """
        longitude = self.longitude - ROUND * np.round((self.longitude - east) / ROUND)
        near = _spans(longitude, east, size) & _spans(self.latitude, north, size)
        row, column = np.nonzero(near)
        ring = np.array([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)])
        at = row[:, None] + ring[:, 0], column[:, None] + ring[:, 1]
        lon, lat = self.to_degrees(*(_sides(corner[at]) for corner in (self.x, self.y)))
        lon = lon - ROUND * np.round((lon - east) / ROUND)
        pixels = shapely.polygons(np.stack(EQUAL_AREA.transform(lon, lat), axis=-1))
        (west, right), (south, top) = EQUAL_AREA.transform(
            [east - size / 2, east + size / 2], [north - size / 2, north + size / 2]
        )
        cell = shapely.box(west, south, right, top)
        share = shapely.area(shapely.intersection(pixels, cell)) / cell.area
        some = share > 0
        return (row[some], column[some]), share[some]


def _spans(corners: np.ndarray, centre: float, size: float) -> np.ndarray:
    """Whether a pixel's corners reach into a cell, or almost, along one axis: (rows, columns)."""
    four = np.stack((corners[1:, 1:], corners[1:, :-1], corners[:-1, 1:], corners[:-1, :-1]))
    low, high = four.min(axis=0), four.max(axis=0)
    slack = size / 2 + 0.1 * (high - low)  # sides may bulge
    return (low < centre + slack) & (high > centre - slack) & (high - low < ROUND / 2)


def _sides(corners: np.ndarray) -> np.ndarray:
    """Points along straight sides between the corners (pixels, 5)."""
    share = np.arange(PIECES) / PIECES
    points = corners[:, :-1, None] + np.diff(corners, axis=1)[:, :, None] * share
    return points.reshape(len(corners), -1)


def draw(placement: Axes | Curvilinear) -> Drawing:
    """The pixels of a raster that is projected, or of which only the centres are known."""
    if isinstance(placement, Axes):
        crs = placement.crs
        assert crs is not None
        to_degrees: ToDegrees = Transformer.from_crs(crs, degrees_of(crs), always_xy=True).transform
        x, y = np.meshgrid(placement.x_edges, placement.y_edges)
        longitude, latitude = to_degrees(x, y)
        return Drawing(x, y, longitude, latitude, to_degrees)
    turned = placement.longitude
    for axis in (0, 1):
        turned = np.unwrap(turned, period=ROUND, axis=axis)
    x, y = (_between(centres) for centres in (turned, placement.latitude))
    return Drawing(x, y, x, y, lambda x, y: (x, y))


def _between(centres: np.ndarray) -> np.ndarray:
    """Corners as means of the four centres around them, beyond the rim by continuation."""
    padded = np.pad(centres, 1, "reflect", reflect_type="odd")
    return (padded[1:, 1:] + padded[1:, :-1] + padded[:-1, 1:] + padded[:-1, :-1]) / 4
