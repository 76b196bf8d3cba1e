"""Place watersheds on the grid: the share of each cell that a polygon covers, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import CELLS_PER_DEGREE, Grid, zone_area
from pipeline.watersheds.polygons import Watershed
from pipeline.watersheds.vector_files import rounded

MAX_SEGMENT = 0.05  # degrees, of the boundary: less than a cell
ROUNDING = 1e-12  # shares of a cell nearer than this to 0 or 1 are rounding errors


@dataclass(frozen=True, eq=False)
class Site:
    """A watershed on the region's grid.

    Attributes:
        watershed: with its polygon.
        grid: smallest grid that covers the polygon, the watershed's window.
        window: slices (rows, columns) of the region's grid at which the window lies.
        coverage: share of each cell's area inside the polygon, float64 (y, x) of the window.
    """

    watershed: Watershed
    grid: Grid
    window: tuple[slice, slice]
    coverage: np.ndarray


def place(watershed: Watershed, region: Grid) -> Site:
    """Place a watershed on the region's grid."""
    grid = watershed_grid(watershed.polygon)
    return Site(watershed, grid, region.window(grid), coverage(watershed.polygon, grid))


def region_grid(catalog: Catalog, watersheds: Sequence[Watershed]) -> Grid:
    """Grid of the region: the smallest that covers the catalog's bounds or else the watersheds.

    Raises:
        InputError: a watershed reaches out of the catalog's bounds.
    """
    if catalog.bounds is None:
        west, south, east, north = shapely.total_bounds([w.polygon for w in watersheds])
        return Grid.covering((west, south, east, north))
    region = Grid.covering(catalog.bounds)
    bounds = shapely.bounds([w.polygon for w in watersheds])
    west, south, east, north = region.bounds
    inside = (bounds[:, :2] >= (west, south)) & (bounds[:, 2:] <= (east, north))
    for watershed, held in zip(watersheds, inside.all(axis=1), strict=True):
        if not held:
            raise InputError(
                f"{catalog.path}: bounds: {region.bounds}: expected to hold the watershed of "
                f"{watershed.site_no}, which spans {rounded(watershed.polygon.bounds)}"
            )
    return region


def watershed_grid(polygon: Polygon | MultiPolygon) -> Grid:
    """Grid of a watershed's window: the smallest that covers the polygon."""
    return Grid.covering(polygon.bounds)


def coverage(polygon: Polygon | MultiPolygon, grid: Grid) -> np.ndarray:
    """Share of each cell's area inside the polygon, float64 (y, x), 0..1, exact.

    Green's theorem, cell by cell: with the boundary cut at the cells' edges, the area inside a
    cell is the sum over the pieces in its row of the integral, along the piece, of the width that
    lies east of it over the height, pieces going down counted positive and pieces going up
    negative. The direction of the rings takes care of holes and parts. The width is linear in
    latitude; the height as a share of the row's area is not, and Simpson's rule with the piece's
    middle is exact to rounding for pieces this short.
    """
    rings = shapely.get_rings(
        shapely.get_parts(shapely.orient_polygons(shapely.segmentize(polygon, MAX_SEGMENT)))
    )
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    u = xy[:, 0] * CELLS_PER_DEGREE - grid.west  # columns east of the grid's west edge
    v = grid.north - xy[:, 1] * CELLS_PER_DEGREE  # rows south of its north edge
    along = ring[1:] == ring[:-1]
    u, v = _cut(np.array([u[:-1], u[1:]])[:, along], np.array([v[:-1], v[1:]])[:, along])
    # outside the grid, only what is west counts
    u, v = u.clip(0, grid.nx), v.clip(0, grid.ny)
    middle_u, middle_v = (u[0] + u[1]) / 2, (v[0] + v[1]) / 2  # (pieces,), each within one cell
    column = np.minimum(middle_u.astype(int), grid.nx - 1)
    row = np.minimum(middle_v.astype(int), grid.ny - 1)
    # heights as shares of the row's area: the sphere's zones are equal in area, not in latitude
    zone = zone_area((grid.north - np.array([v[0], middle_v, v[1]])) / CELLS_PER_DEGREE)
    edges = zone_area(grid.y_edges)
    middle_height, height = (zone[0] - zone[1:]) / (edges[row] - edges[row + 1])
    # integral of width over height, by parts: at the end, minus height over the change of width
    narrower = u[1] - u[0]
    east = (column + 1 - u[1]) * height + narrower * (4 * middle_height + height) / 6
    cell, size = row * grid.nx + column, grid.nx * grid.ny
    partial = np.bincount(cell, east, size).reshape(grid.shape)
    whole = np.bincount(cell, height, size).reshape(grid.shape)  # of the cells farther east
    share = partial + np.cumsum(whole, axis=1) - whole
    assert -1e-9 < share.min() <= share.max() < 1 + 1e-9, (share.min(), share.max())
    share[share < ROUNDING] = 0.0
    share[share > 1 - ROUNDING] = 1.0
    return share


def _cut(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut segments, ends (2, segments), at integers of u and v; return ends (2, pieces).

    Segments are shorter than a cell, so that each crosses at most one integer in u and in v.
    """
    at_u, at_v = _crossing(*u), _crossing(*v)
    t = np.array([0 * at_u, np.minimum(at_u, at_v), np.maximum(at_u, at_v), 1 + 0 * at_u])
    u, v = u[0] + t * (u[1] - u[0]), v[0] + t * (v[1] - v[0])  # (4, segments)
    some = t[1:] > t[:-1]  # most segments cross nothing, and are one piece
    return np.array([u[:-1][some], u[1:][some]]), np.array([v[:-1][some], v[1:][some]])


def _crossing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the way from a to b at which an integer is crossed; 1 without a crossing."""
    low = np.minimum(a, b)
    integer = np.ceil(low)
    crosses = (integer > low) & (integer < np.maximum(a, b))
    return np.where(crosses, (integer - a) / np.where(crosses, b - a, 1.0), 1.0)
