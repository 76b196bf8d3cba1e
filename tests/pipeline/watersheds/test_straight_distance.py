"""Straight distances against geodesics, and points in polygons against shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from shapely.geometry import MultiPolygon, Point, Polygon, box

from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.points import points_inside
from pipeline.watersheds.straight_distance import (
    POINTS_PER_CELL,
    fill_gaps,
    guess_outlet,
    mean_distance,
    straight_distance,
)
from tests.pipeline.watersheds.test_coverage import CELL, GEOD, polygons


def points_of(grid: Grid, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of n x n points a cell."""
    west, south, east, north = grid.bounds
    lon = west + (east - west) * (np.arange(grid.nx * n) + 0.5) / (grid.nx * n)
    lat = north - (north - south) * (np.arange(grid.ny * n) + 0.5) / (grid.ny * n)
    x, y = np.meshgrid(lon, lat)
    return x, y


def inside(polygon: shapely.Geometry, grid: Grid, n: int) -> np.ndarray:
    """Whether `points_of(grid, n)` lie in the polygon."""
    (west, _, east, north), side = grid.bounds, CELL / n
    assert (east - west) / grid.nx == pytest.approx(CELL)
    return points_inside(
        polygon, lambda x, y: ((x - west) / side - 0.5, (north - y) / side - 0.5),
        (grid.ny * n, grid.nx * n),
    )  # fmt: skip


@pytest.mark.parametrize("latitude", [0.0, 41.7, -63.2, 85.0])
@pytest.mark.parametrize(
    ("length", "error"), [(1.0, 1e-8), (1e3, 1e-9), (1e5, 2e-7), (1e6, 2e-5), (5e6, 4e-4)]
)
def test_straight_distance_against_geodesics(latitude: float, length: float, error: float) -> None:
    azimuth = np.arange(0.0, 360.0, 5.0)
    lon, lat = np.full_like(azimuth, 179.9), np.full_like(azimuth, latitude)
    x, y, _ = GEOD.fwd(lon, lat, azimuth, np.full_like(azimuth, length))
    found = straight_distance(x, y, (179.9, latitude))
    np.testing.assert_allclose(found, length, rtol=error)


@settings(max_examples=40)
@given(polygon=polygons())
def test_points_inside_against_shapely(polygon: Polygon) -> None:
    own = watershed_grid(polygon)
    whole = Grid(own.west - 1, own.north + 1, own.nx + 2, own.ny + 2)
    cut = Grid(own.west, own.north, max(own.nx - 1, 1), max(own.ny - 1, 1))
    for grid in (whole, cut):
        lon, lat = points_of(grid, 5)
        expected = shapely.contains_xy(polygon, lon, lat)
        off = shapely.distance(polygon.boundary, shapely.points(lon, lat)) > 1e-9
        np.testing.assert_array_equal(inside(polygon, grid, 5)[off], expected[off])


def test_points_inside_parts_and_on_edges() -> None:
    ring = Point(-90, 40).buffer(0.3).difference(Point(-90.05, 40.02).buffer(0.11))
    both = MultiPolygon([ring, box(-89.5, 40.1, -89.2, 40.2)])
    grid = watershed_grid(both)
    expected = shapely.contains_xy(both, *points_of(grid, 7))
    np.testing.assert_array_equal(inside(both, grid, 7), expected)
    # a row and a column of points lie on the edges: each point counts in one of two neighbours
    middle = Grid(0, 2, 2, 2)
    left, right = box(0, 0, CELL / 2, 2 * CELL), box(CELL / 2, 0, 2 * CELL, 2 * CELL)
    lower = box(0, 0, 2 * CELL, CELL / 2)
    upper = box(0, CELL / 2, 2 * CELL, 2 * CELL)
    for one, other in ((left, right), (lower, upper)):
        assert (inside(one, middle, 5) ^ inside(other, middle, 5)).all()


@pytest.mark.parametrize("latitude", [5.0, 45.0, 68.0])
def test_mean_distance_against_geodesics(latitude: float) -> None:
    ring = Point(20, latitude).buffer(0.35, quad_segs=4)
    polygon = ring.difference(Point(20.1, latitude).buffer(0.1))
    grid = watershed_grid(polygon)
    end = guess_outlet(polygon)
    found = mean_distance(polygon, grid, end)
    lon, lat = points_of(grid, 101)
    held = shapely.contains_xy(polygon, lon, lat)
    exact = GEOD.inv(lon, lat, np.full_like(lon, end[0]), np.full_like(lon, end[1]))[2]
    blocks = (grid.ny, 101, grid.nx, 101)
    count = held.reshape(blocks).sum(axis=(1, 3))
    mean = (exact * held).reshape(blocks).sum(axis=(1, 3)) / np.maximum(count, 1)
    share = coverage(polygon, grid)
    for at_least, error in ((0.999, 2e-3), (0.1, 3e-2)):  # few points are sampled in a sliver
        some = share > at_least
        assert some.sum() > 10
        np.testing.assert_allclose(found[some], mean[some], rtol=error)


def test_slivers_get_the_distance_of_their_own_place() -> None:
    sliver = CELL / POINTS_PER_CELL / 10
    polygon = box(10 + CELL / 2, 50, 10 + CELL + sliver, 50 + CELL)
    grid = watershed_grid(polygon)
    assert grid.shape == (1, 2)
    share, end = coverage(polygon, grid), (10.0, 50 + CELL / 2)
    distance = mean_distance(polygon, grid, end)
    np.testing.assert_array_equal(np.isfinite(distance), [[True, False]])
    fill_gaps(distance, polygon, grid, share, end, 2.0, 1.0)
    expected = 2 * GEOD.inv(10 + CELL + sliver / 2, 50 + CELL / 2, *end)[2]
    assert distance[0, 1] == pytest.approx(expected, rel=1e-4)
    # one thinner than rounding gets its cell's middle, and what is nearer than the least the least
    gap = np.full((1, 2), np.nan)
    fill_gaps(gap, polygon, grid, np.array([[0.0, 1.0]]), (10 + CELL + sliver / 2, end[1]), 1, 9.0)
    assert gap[0, 1] == 9.0
    far = box(10, 50, 10 + CELL, 50 + CELL)
    fill_gaps(gap[:, :1], far, Grid(grid.west + 2, grid.north, 1, 1), share[:, :1], end, 1.0, 1.0)
    middle = GEOD.inv(10 + 2.5 * CELL, 50 + CELL / 2, *end)[2]
    assert gap[0, 0] == pytest.approx(middle, rel=1e-6)
