"""Find the points of a lattice that lie in a polygon."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

Mapping = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def points_inside(
    polygon: Polygon | MultiPolygon, to_lattice: Mapping, shape: tuple[int, int]
) -> np.ndarray:
    """Whether the points at whole rows and columns lie in a polygon, bool (rows, columns).

    Along a row of points, the polygon begins and ends where an edge crosses the row. A point on an
    edge belongs to one of the two sides. Unlike GDAL's, this runs in threads.

    Args:
        polygon: valid.
        to_lattice: mapping of the polygon's x and y to columns and rows; edges are straight there.
        shape: number of rows and columns.
    """
    rows, columns = shape
    rings = shapely.get_rings(shapely.get_parts(polygon))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    along = ring[1:] == ring[:-1]
    u, v = to_lattice(xy[:, 0], xy[:, 1])
    u0, u1, v0, v1 = u[:-1][along], u[1:][along], v[:-1][along], v[1:][along]
    first = np.ceil(np.minimum(v0, v1)).clip(0, rows).astype(int)  # row that an edge crosses
    crossed = np.ceil(np.maximum(v0, v1)).clip(0, rows).astype(int) - first  # number of rows
    edge = np.repeat(np.arange(crossed.size), crossed)
    row = np.arange(edge.size) - (np.cumsum(crossed) - crossed - first)[edge]
    crossing = u0[edge] + (row - v0[edge]) * ((u1 - u0)[edge] / (v1 - v0)[edge])
    column = np.ceil(crossing).clip(0, columns).astype(int)
    inside = np.zeros((rows, columns + 1), np.uint8)
    np.bitwise_xor.at(inside, (row, column), 1)  # where it begins and where it ends
    np.bitwise_xor.accumulate(inside, axis=1, out=inside)
    return inside[:, :columns].view(bool)
