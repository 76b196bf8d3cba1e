"""Straight distances to the outlet, where no flow path is traced, and a guess of the outlet."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from pipeline.regrid.grid import CELLS_PER_DEGREE, WGS84_A, WGS84_E2, Grid
from pipeline.watersheds.points import points_inside

POINTS_PER_CELL = 16  # per side, to average distances over the part of a cell in a polygon


def straight_distance(lon: np.ndarray, lat: np.ndarray, end: tuple[float, float]) -> np.ndarray:
    """Distances [m] from points to `end` on the WGS84 ellipsoid, of the broadcast shape.

    The straight chord through the Earth, bent to an arc of the equator's radius. Against geodesics
    it is off by less than 2e-5 up to 1000 km and 4e-4 up to 5000 km.
    """
    axis, height = _meridian(lat)
    end_axis, end_height = _meridian(np.asarray(end[1]))
    half_turn = np.radians(lon - end[0]) / 2
    squared = (axis - end_axis) ** 2 + (height - end_height) ** 2
    chord = np.sqrt(squared + 4 * axis * end_axis * np.sin(half_turn) ** 2)
    distance: np.ndarray = 2 * WGS84_A * np.arcsin(chord / (2 * WGS84_A))
    return distance


def _meridian(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the Earth's axis and height over the equator's plane [m]."""
    latitude = np.radians(lat)
    sine = np.sin(latitude)
    normal = WGS84_A / np.sqrt(1 - WGS84_E2 * sine**2)
    return normal * np.cos(latitude), normal * (1 - WGS84_E2) * sine


def guess_outlet(polygon: Polygon | MultiPolygon) -> tuple[float, float]:
    """Guess the outlet: the boundary point farthest from the polygon's tip, which is the boundary
    point farthest from its centroid."""
    boundary = shapely.get_coordinates(polygon)
    tip = _farthest(boundary, (polygon.centroid.x, polygon.centroid.y))
    return _farthest(boundary, tip)


def _farthest(points: np.ndarray, start: tuple[float, float]) -> tuple[float, float]:
    """The point of `points` (n, 2) farthest from `start`."""
    lon, lat = points[straight_distance(points[:, 0], points[:, 1], start).argmax()]
    return float(lon), float(lat)


def mean_distance(
    polygon: Polygon | MultiPolygon, grid: Grid, end: tuple[float, float]
) -> np.ndarray:
    """Mean straight distance [m] from points of each cell in a polygon, float64 (y, x).

    NaN in cells without a point in the polygon; they may still hold a sliver of it.
    """
    n = POINTS_PER_CELL
    lon = (np.arange(grid.nx * n) + 0.5) / (n * CELLS_PER_DEGREE) + grid.bounds[0]
    lat = grid.bounds[3] - (np.arange(grid.ny * n) + 0.5) / (n * CELLS_PER_DEGREE)
    inside = points_inside(
        polygon,
        lambda x, y: (
            (x * CELLS_PER_DEGREE - grid.west) * n - 0.5,
            (grid.north - y * CELLS_PER_DEGREE) * n - 0.5,
        ),
        (grid.ny * n, grid.nx * n),
    )
    distance = straight_distance(lon, lat[:, None], end) * inside
    total, count = _cell_sums(distance, grid), _cell_sums(inside, grid)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cell_sums(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Sums over the points of each cell (y, x)."""
    by_row = values.reshape(grid.ny, POINTS_PER_CELL, -1).sum(axis=1)
    return by_row.reshape(grid.ny, grid.nx, POINTS_PER_CELL).sum(axis=2)


def fill_gaps(
    distance: np.ndarray,
    polygon: Polygon | MultiPolygon,
    grid: Grid,
    coverage: np.ndarray,
    end: tuple[float, float],
    sinuosity: float,
    minimum: float,
) -> None:
    """Fill covered cells without a distance: straight times `sinuosity`, at least `minimum`."""
    rows, columns = np.nonzero((coverage > 0) & np.isnan(distance))
    if not rows.size:
        return
    x, y = grid.x_edges, grid.y_edges
    cells = np.column_stack([x[columns], y[rows + 1], x[columns + 1], y[rows]])
    points = shapely.point_on_surface([shapely.clip_by_rect(polygon, *cell) for cell in cells])
    # of a sliver that clipping rounds away, the cell's middle
    points = np.where(shapely.is_empty(points), shapely.centroid(shapely.box(*cells.T)), points)
    straight = straight_distance(shapely.get_x(points), shapely.get_y(points), end)
    distance[rows, columns] = np.maximum(straight * sinuosity, minimum)
