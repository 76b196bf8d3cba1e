"""Overlaps against shapely in an equal-area plane, and the laws of regridding on random input."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyproj import CRS, Proj, Transformer

from pipeline.errors import InputError
from pipeline.regrid import cell_shares, kernels, projected
from pipeline.regrid.grid import Grid
from pipeline.regrid.projected import OverlapWeights, curvilinear_weights, projected_weights
from pipeline.regrid.separable import separable_weights

CHECKOUT = Path(__file__).resolve().parents[3]
IOWA = Grid.covering((-94.0, 41.5, -92.5, 42.75))  # 18 x 15 cells
DAYMET_PROJ = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84 +units=km"
DAYMET = CRS(DAYMET_PROJ)
STAGE_IV = CRS("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=-105 +R=6371200")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees what another one kept."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DOMST_CACHE", str(folder))
    return folder


# ------------------------------------------------------------------ the oracle


def equal_area(grid: Grid) -> Transformer:
    """Longitude and latitude to an equal-area plane [m] around the grid, on WGS84."""
    west, south, east, north = grid.bounds
    centre = f"+lat_0={(south + north) / 2} +lon_0={(west + east) / 2}"
    return Transformer.from_crs("EPSG:4326", f"+proj=laea {centre} +ellps=WGS84", always_xy=True)


def projection(crs: CRS):
    """Function (first, second, inverse) between longitude and latitude [degrees] and `crs`."""
    if not crs.is_derived or crs.is_projected:
        return lambda x, y, inverse: Proj(crs)(x, y, inverse=inverse)
    between = Transformer.from_crs(crs.source_crs, crs, always_xy=True)
    return lambda x, y, inverse: between.transform(
        x, y, direction="INVERSE" if inverse else "FORWARD"
    )


def rings(sides, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of rectangles (x0, y0, x1, y1), `points` to a side, shape (..., 4 * points)."""
    t = np.arange(points) / points
    one, zero = np.ones(points), np.zeros(points)
    east, north = np.r_[t, one, 1 - t, zero], np.r_[zero, t, one, 1 - t]
    x0, y0, x1, y1 = (np.asarray(a)[..., None] for a in sides)
    return x0 + (x1 - x0) * east, y0 + (y1 - y0) * north


def polygons(longitude: np.ndarray, latitude: np.ndarray, grid: Grid) -> np.ndarray:
    """Polygons in the equal-area plane from outlines in degrees, shape (polygons, points)."""
    x, y = equal_area(grid).transform(longitude, latitude)
    return shapely.polygons(np.stack((x, y), axis=-1))


def cells(grid: Grid) -> np.ndarray:
    x, y = grid.x_edges, grid.y_edges
    sides = np.broadcast_arrays(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
    longitude, latitude = rings([a.ravel() for a in sides], points=64)
    return polygons(longitude, latitude, grid)


def overlaps(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of each cell in each pixel, shape (cells, pixels)."""
    polygon = cells(grid)
    share = np.zeros((polygon.size, pixels.size))
    cell, pixel = shapely.STRtree(pixels).query(polygon, predicate="intersects")
    share[cell, pixel] = shapely.area(shapely.intersection(polygon[cell], pixels[pixel]))
    return share / shapely.area(polygon)[:, None]


def projected_pixels(x_edges, y_edges, crs: CRS, grid: Grid, points: int) -> np.ndarray:
    """The pixels of a window as polygons, row-major."""
    sides = np.broadcast_arrays(
        x_edges[None, :-1], y_edges[:-1, None], x_edges[None, 1:], y_edges[1:, None]
    )
    x, y = rings([a.ravel() for a in sides], points=points)
    longitude, latitude = projection(crs)(x, y, True)
    return polygons(longitude, latitude, grid)


def dense(weights: OverlapWeights) -> np.ndarray:
    matrix = np.zeros((weights.start.size - 1, int(np.prod(weights.raw_shape))))
    cell = np.repeat(np.arange(weights.start.size - 1), np.diff(weights.start))
    matrix[cell, weights.pixel] = weights.weight
    return matrix


def check_shares(weights: OverlapWeights, share: np.ndarray) -> None:
    """The weights are the oracle's, within 2e-7 of a cell, and the window holds nothing in vain."""
    matrix = dense(weights)
    np.testing.assert_allclose(matrix, share, rtol=0, atol=2e-7)
    np.testing.assert_allclose(weights.coverage.ravel(), share.sum(axis=1), rtol=0, atol=1e-6)
    used = np.flatnonzero(matrix.any(axis=0))
    for number, size in zip(
        np.unravel_index(used, weights.raw_shape), weights.raw_shape, strict=True
    ):
        assert (number.min(), number.max()) == (0, size - 1)


def rain(shape: tuple[int, ...], missing: float, seed: int = 0) -> np.ndarray:
    """Skewed, float32, a share of it NaN, another in every step."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.4, 8.0, shape).astype(np.float32)
    raw[rng.random(shape) < missing] = np.nan
    return raw


def around(crs: CRS, grid: Grid, step: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a raster around the grid, off every round number, wider by `margin` on each side."""
    longitude, latitude = rings(grid.bounds, points=100)
    x, y = projection(crs)(longitude, latitude, False)
    east = np.arange(x.min() - margin + 0.37 * step, x.max() + margin, step)
    return east, np.arange(y.max() + margin - 0.21 * step, y.min() - margin, -step)


# ------------------------------------------------------------------ exactness

# CRS, grid, side of a pixel and what the raster reaches beyond the grid, in the CRS's unit
PROJECTED = {
    "Lambert conformal conic, km": (DAYMET, IOWA, 2.0, 5.0),
    "polar stereographic, sphere": (STAGE_IV, IOWA, 4762.5, 9000.0),
    "coarse, polar": (CRS(6931), Grid.covering((20.0, 78.0, 24.0, 79.5)), 25000.0, 30000.0),
    "far coarser than a cell": (CRS(3035), Grid.covering((9.0, 50.0, 11.0, 51.0)), 1e5, 2e5),
    "finer than a cell by far": (CRS(32615), Grid.covering((-92.2, 42.0, -92.0, 42.2)), 500.0, 0),
    "grads from Paris": (CRS(27572), Grid.covering((2.0, 46.0, 3.0, 47.0)), 8000.0, 9000.0),
    "southern, polar": (CRS(3031), Grid.covering((179.0, -73.0, 182.0, -72.0)), 12000.0, 13000.0),
    "sinusoidal, equator": (
        CRS("+proj=sinu +lon_0=0 +R=6371007.181"),
        Grid.covering((20.0, -0.5, 21.0, 0.5)),
        5000.0,
        6000.0,
    ),
    "geostationary": (
        CRS("+proj=geos +h=35786023 +lon_0=-75 +sweep=x"),
        Grid.covering((-94.0, 41.5, -93.0, 42.5)),
        2000.0,
        3000.0,
    ),
    "smaller than the grid": (DAYMET, IOWA, 3.0, -30.0),
    "coarse cells": (
        DAYMET,
        Grid.covering((-97.5, 40.0, -90.0, 45.0), cells_per_degree=Fraction(2, 5)),
        20.0,
        30.0,
    ),
    "fine cells": (
        STAGE_IV,
        Grid.covering((-93.2, 42.0, -93.0, 42.2), cells_per_degree=60),
        4762.5,
        9000.0,
    ),
    "rotated pole": (
        CRS("+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18 +to_meter=0.0174532925199433"),
        Grid.covering((9.0, 50.0, 10.0, 51.0)),
        0.11,
        0.3,
    ),
}


@pytest.mark.parametrize("name", PROJECTED)
def test_projected_overlaps_match_shapely(name: str):
    crs, grid, step, margin = PROJECTED[name]
    x_edges, y_edges = around(crs, grid, step, margin)
    weights = projected_weights(x_edges, y_edges, crs, grid)
    rows, columns = weights.window
    points = 16 if step < 2000 else 512 if step > 9000 else 48
    pixels = projected_pixels(
        x_edges[columns.start : columns.stop + 1],
        y_edges[rows.start : rows.stop + 1],
        crs,
        grid,
        points,
    )
    check_shares(weights, overlaps(pixels, grid))


def test_pixels_beside_the_globe_cover_nothing():
    """The full disk of a satellite, whose corners see space, and a region across its limb."""
    disk = CRS("+proj=geos +h=35786023 +lon_0=-75 +sweep=x")
    edges = 10e3 * np.arange(-543.0, 544.0)
    grid = Grid.covering((-162.0, 0.0, -150.0, 4.0))
    covered = projected_weights(edges, edges[::-1], disk, grid).coverage
    visible = np.isfinite(Proj(disk)(*np.meshgrid(grid.x, grid.y))[0])
    assert 0.2 < visible.mean() < 0.8
    assert (covered[~visible] < 1).all()
    np.testing.assert_allclose(covered[:, grid.x > -152.0], 1, rtol=0, atol=1e-9)
    with pytest.raises(InputError, match="expected some of the region"):
        projected_weights(edges, edges, disk, Grid.covering((100.0, 0.0, 101.0, 1.0)))


def warped(height: int, width: int, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Centres of a raster that follows no projection, over Iowa."""
    j, i = np.mgrid[:height, :width]
    t, s = j / (height - 1), i / (width - 1)
    latitude = 42.9 - 1.6 * t + 0.15 * np.sin(3 * s) - 0.1 * t * s
    return latitude, -94.3 + 2.2 * s + 0.2 * np.cos(2 * t) + 0.1 * t * s + turn


def bilinear_corners(centres: np.ndarray) -> np.ndarray:
    """Corners by linear interpolation and extrapolation of a smooth field, one axis at a time."""
    for _ in range(2):
        middle = (centres[1:] + centres[:-1]) / 2
        first, last = 1.5 * centres[0] - 0.5 * centres[1], 1.5 * centres[-1] - 0.5 * centres[-2]
        centres = np.vstack((first[None], middle, last[None])).T
    return centres


@pytest.mark.parametrize("turn", [0.0, 360.0])
@pytest.mark.parametrize(("flip_y", "flip_x"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_curvilinear_overlaps_match_shapely(turn: float, flip_y: int, flip_x: int):
    latitude, longitude = (a[::flip_y, ::flip_x] for a in warped(31, 37, turn))
    weights = curvilinear_weights(latitude, longitude, IOWA)
    y, x = bilinear_corners(latitude), bilinear_corners(longitude)
    t = np.arange(48)[:, None, None] / 48
    ring = [
        np.concatenate(
            [
                a[:-1, :-1] * (1 - t) + a[:-1, 1:] * t,
                a[:-1, 1:] * (1 - t) + a[1:, 1:] * t,
                a[1:, 1:] * (1 - t) + a[1:, :-1] * t,
                a[1:, :-1] * (1 - t) + a[:-1, :-1] * t,
            ]
        )[:, weights.window[0], weights.window[1]]
        for a in (x, y)
    ]
    outline_x, outline_y = (a.reshape(4 * 48, -1).T for a in ring)
    pixels = polygons(outline_x, outline_y, IOWA)
    check_shares(weights, overlaps(pixels, IOWA))


def test_values_are_means_over_the_valid_part():
    x_edges, y_edges = around(STAGE_IV, IOWA, 4762.5, 9000.0)
    weights = projected_weights(x_edges, y_edges, STAGE_IV, IOWA)
    rows, columns = weights.window
    edges = x_edges[columns.start : columns.stop + 1], y_edges[rows.start : rows.stop + 1]
    share = overlaps(projected_pixels(*edges, STAGE_IV, IOWA, 48), IOWA)
    for steps in (1, 15, 16, 37):
        raw = rain((steps, *weights.raw_shape), 0.4, seed=steps)
        raw[0, :, :25] = np.nan
        value, valid = weights.apply(raw)
        flat = raw.reshape(steps, -1).astype(np.float64)
        covered = np.isfinite(flat) @ share.T
        covered[covered < 1e-6] = 0.0
        with np.errstate(invalid="ignore"):
            expected = np.where(covered > 0, np.nan_to_num(flat) @ share.T / covered, np.nan)
        assert np.isnan(expected).any()
        np.testing.assert_allclose(valid.reshape(steps, -1), covered, rtol=0, atol=1e-6)
        full = covered > 0.05  # where the mean is not that of a sliver
        np.testing.assert_allclose(
            value.reshape(steps, -1)[full], expected[full], rtol=0, atol=1e-4
        )


@pytest.mark.parametrize(
    ("x_edges", "y_edges"),
    [
        (np.linspace(-94.3, -92.1, 221), np.linspace(43.0, 41.2, 181)),
        (np.linspace(266.01, 267.9, 190), np.linspace(41.2, 43.0, 46)),
        (np.linspace(-91.0, -95.0, 17), np.linspace(43.0, 41.0, 9)),
        (-94.0 + 0.041666666667 * np.arange(40), 42.75 - 0.041666666667 * np.arange(30)),
        (np.arange(0.0, 361.0, 10.0), np.arange(90.0, -91.0, -10.0)),
    ],
)
def test_lat_lon_rasters_come_out_as_by_the_separable_way(x_edges, y_edges):
    expected = separable_weights(x_edges, y_edges, IOWA)
    raw = rain((9, *expected.raw_shape), 0.3)
    x, y = (x_edges[1:] + x_edges[:-1]) / 2, (y_edges[1:] + y_edges[:-1]) / 2
    latitude, longitude = np.meshgrid(y, x, indexing="ij")
    ways = (
        projected_weights(x_edges, y_edges, CRS(4326), IOWA),
        curvilinear_weights(latitude, longitude, IOWA),
    )
    for weights in ways:
        assert weights.window == expected.window
        np.testing.assert_allclose(weights.coverage, expected.coverage, rtol=0, atol=1e-9)
        for found, one in zip(weights.apply(raw), expected.apply(raw), strict=True):
            np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cells", [4, 12])
@pytest.mark.parametrize("west", [-180.0, 0.0, 175.0])
def test_a_region_across_any_seam(west: float, cells: int):
    """Turns of the globe are only a way of writing."""
    grid = Grid.covering((west - 0.5, 60.0, west + 0.5, 60.5), cells_per_degree=cells)
    longitude, latitude = np.meshgrid(west + np.arange(-1, 1.01, 0.05), np.arange(61, 59.5, -0.05))
    longitude += 0.3 * (latitude - 60)
    plain = dense(curvilinear_weights(latitude, longitude, grid))
    for wrapped in ((longitude + 180) % 360 - 180, longitude % 360):
        again = dense(curvilinear_weights(latitude, wrapped, grid))
        np.testing.assert_allclose(again, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("stretch", [1 - 1e-7, 1.0, 1 + 1e-7])
def test_rounding_at_a_seam_covers_no_cell_twice(stretch: float):
    """The first and the last column of a global raster, whose centres are slightly off."""
    longitude, latitude = np.meshgrid(0.5 * stretch * np.arange(720), np.arange(61, 59, -0.25))
    weights = curvilinear_weights(latitude, longitude, Grid.covering((-1.0, 60.0, 0.5, 60.5)))
    assert weights.raw_shape[1] == 720
    assert (weights.coverage <= 1 + 1e-12).all()
    np.testing.assert_allclose(weights.coverage, 1, rtol=0, atol=1e-3)
    _, valid = weights.apply(np.ones((1, *weights.raw_shape), np.float32))
    assert (valid <= 1).all()


# ------------------------------------------------------------------ laws


@st.composite
def worlds(draw) -> tuple[np.ndarray, np.ndarray, CRS, np.ndarray]:
    """A raster that lies wholly inside the grid, anywhere, with any pixels missing."""
    crs, unit = draw(st.sampled_from([(DAYMET, 1.0), (STAGE_IV, 1000.0)]))
    step = unit * draw(st.floats(0.8, 20.0))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    x, y = projection(crs)(draw(st.floats(-93.5, -93.0)), draw(st.floats(42.0, 42.3)), False)
    sign_x, sign_y = draw(st.sampled_from([-1, 1])), draw(st.sampled_from([-1, 1]))
    # centred, so that at most 8 x 8 pixels of 20 km stay on the region of the test
    x_edges = x + sign_x * step * (np.arange(width + 1) - width / 2)
    y_edges = y + sign_y * step * (np.arange(height + 1) - height / 2)
    raw = rain((3, height, width), draw(st.floats(0.0, 1.0)), draw(st.integers(0, 1000)))
    return x_edges, y_edges, crs, raw


@given(worlds())
@example(  # sides that bend by less than a chord's tolerance, but by more of so small a pixel
    (
        np.array([514.84196904, 513.08806279, 511.33415654]),
        np.array([-32.08586467, -33.83977092]),
        DAYMET,
        np.ones((3, 1, 2), np.float32),
    )
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_falls_on_the_grid_is_conserved(world):
    """sum value valid area(cell) = sum p area(pixel), over valid pixels."""
    x_edges, y_edges, crs, raw = world
    grid = Grid.covering((-96.5, 40.0, -90.0, 44.5))
    weights = projected_weights(x_edges, y_edges, crs, grid)
    assert weights.raw_shape == raw.shape[1:]
    pixel_area = shapely.area(projected_pixels(x_edges, y_edges, crs, grid, points=64))
    pixel_area = pixel_area.reshape(raw.shape[1:])
    cell_area = grid.cell_area
    assert (dense(weights).T @ cell_area.ravel()).reshape(raw.shape[1:]) == pytest.approx(
        pixel_area, rel=1e-7
    )
    value, valid = weights.apply(raw)
    put = (np.nan_to_num(value.astype(np.float64)) * valid * cell_area).sum(axis=(1, 2))
    fell = (np.nan_to_num(raw.astype(np.float64)) * pixel_area).sum(axis=(1, 2))
    np.testing.assert_allclose(put, fell, rtol=1e-6)
    covered = (np.isfinite(raw) * pixel_area).sum(axis=(1, 2))
    np.testing.assert_allclose((valid * cell_area).sum(axis=(1, 2)), covered, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(value), valid == 0)


def test_covered_cells_are_exactly_full_and_constants_stay():
    for crs, step in ((DAYMET, 1.0), (STAGE_IV, 4762.5)):
        weights = projected_weights(*around(crs, IOWA, step, 3 * step), crs, IOWA)
        np.testing.assert_allclose(weights.coverage, 1, rtol=0, atol=1e-11)
        value, valid = weights.apply(np.full((3, *weights.raw_shape), 3.7, np.float32))
        assert (valid == 1).all()
        assert (value == np.float32(3.7)).all()


def test_slivers_that_count_for_no_pixel_leave_no_cell_short():
    """A 12-km raster over much of CONUS, of which each cell has a value with a min_valid of 1."""
    crs = CRS("+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5 +R=6370000")
    grid = Grid.covering((-110.0, 28.0, -84.0, 48.0))
    edges = 12000.0 * np.arange(-140.0, 141.0)
    for order in (1, -1):
        weights = projected_weights(edges, edges[::order], crs, grid)
        np.testing.assert_allclose(weights.coverage, 1, rtol=0, atol=1e-10)
        _, valid = weights.apply(np.full((1, *weights.raw_shape), 3.7, np.float32))
        assert (valid == 1).all()


def test_the_total_is_conserved_to_1e_8_and_cells_to_1e_4_mm():
    """A whole field against exact overlaps; sums in float64, so only float32 output rounds."""
    x_edges, y_edges = around(STAGE_IV, IOWA, 4762.5, 9000.0)
    weights = projected_weights(x_edges, y_edges, STAGE_IV, IOWA)
    rows, columns = weights.window
    edges = x_edges[columns.start : columns.stop + 1], y_edges[rows.start : rows.stop + 1]
    share = overlaps(projected_pixels(*edges, STAGE_IV, IOWA, 96), IOWA)
    raw = rain((20, *weights.raw_shape), 0.0)
    exact = (raw.reshape(20, -1).astype(np.float64) @ share.T).reshape(20, *IOWA.shape)
    value, _ = weights.apply(raw)
    assert np.abs(value - exact).max() < 1e-4
    total = (value.astype(np.float64) * IOWA.cell_area).sum(axis=(1, 2))
    np.testing.assert_allclose(total, (exact * IOWA.cell_area).sum(axis=(1, 2)), rtol=1e-8)


@pytest.mark.parametrize(("flip_y", "flip_x"), [(-1, 1), (1, -1), (-1, -1)])
def test_the_order_of_pixels_does_not_matter(flip_y: int, flip_x: int):
    x_edges, y_edges = around(DAYMET, IOWA, 7.0, 20.0)
    raw = rain((3, y_edges.size - 1, x_edges.size - 1), 0.2)
    weights = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    expected = weights.apply(raw[:, weights.window[0], weights.window[1]])
    other = projected_weights(x_edges[::flip_x], y_edges[::flip_y], DAYMET, IOWA)
    turned = raw[:, ::flip_y, ::flip_x][:, other.window[0], other.window[1]]
    for found, one in zip(other.apply(turned), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pixels", [1, 3, 4, 5])
def test_rasters_of_few_pixels(pixels: int):
    grid = Grid(west=-93 * 12, north=42 * 12, nx=4, ny=4)
    x_edges = np.linspace(-93.01, -92.6, pixels + 1)
    y_edges = np.linspace(42.02, 41.6, pixels + 1)
    weights = projected_weights(x_edges, y_edges, CRS("EPSG:4326"), grid)
    raw = rain((18, *weights.raw_shape), 0.2)
    expected = separable_weights(x_edges, y_edges, grid).apply(raw)
    for found, one in zip(weights.apply(raw), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=2e-5, atol=1e-6)


def test_bands_and_tiles_are_only_ways_of_working(monkeypatch, own_cache):
    x_edges, y_edges = around(DAYMET, IOWA, 5.0, 6.0)
    weights = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    raw = rain((20, *weights.raw_shape), 0.3)
    expected = weights.apply(raw)
    for path in own_cache.iterdir():
        path.unlink()
    monkeypatch.setattr(projected, "BAND_PIXELS", 100)
    monkeypatch.setattr(kernels, "TILE", 50)
    again = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    assert equal(again, weights)
    np.testing.assert_array_equal(again.apply(raw), expected)


def test_takes_frozen_strided_and_pickled_input_from_many_threads():
    x_edges, y_edges = around(DAYMET, IOWA, 5.0, 6.0)
    weights = pickle.loads(  # noqa: S301 -- our own object, as it travels to a worker
        pickle.dumps(projected_weights(x_edges, y_edges, DAYMET, IOWA))
    )
    whole = rain((16, 2 * weights.raw_shape[0], weights.raw_shape[1]), 0.2)
    strided = whole[:, ::2]
    frozen = strided.copy()
    frozen.flags.writeable = False
    expected = weights.apply(frozen)
    np.testing.assert_array_equal(weights.apply(strided), expected)
    with ThreadPoolExecutor(4) as threads:
        blocks = list(threads.map(lambda t: weights.apply(frozen[t : t + 1]), range(16)))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)


def test_a_fresh_process_compiles_nothing():
    code = (
        "from pipeline.regrid import cell_shares, kernels; "
        "made = (cell_shares._shares, kernels.cell_means, kernels._cut_tiles); "
        "print(sum(sum(f.stats.cache_misses.values()) for f in made))"
    )
    command = [sys.executable, "-c", code]
    misses = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert misses.stdout.strip() == "0"


# ------------------------------------------------------------------ the cache


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """One entry for each time that overlaps are computed."""
    calls: list[int] = []
    shares = cell_shares.shares

    def counting(*arguments):
        calls.append(1)
        return shares(*arguments)

    monkeypatch.setattr(projected, "shares", counting)
    return calls


def equal(one: OverlapWeights, other: OverlapWeights) -> bool:
    return (one.window, one.shape) == (other.window, other.shape) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in ("start", "pixel", "weight")
    )


def test_weights_are_computed_once_for_a_pair_of_grids(counted, own_cache):
    x_edges, y_edges = around(DAYMET, IOWA, 9.0, 9.0)
    first = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    kept = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    assert equal(kept, first)
    assert len(counted) == 1
    raw = rain((3, *first.raw_shape), 0.2)
    np.testing.assert_array_equal(kept.apply(raw), first.apply(raw))
    projected_weights(x_edges + 0.5, y_edges, DAYMET, IOWA)
    projected_weights(x_edges, y_edges, DAYMET, Grid(IOWA.west, IOWA.north, IOWA.nx, 3))
    projected_weights(x_edges * 1e3, y_edges * 1e3, CRS(DAYMET_PROJ.replace("km", "m")), IOWA)
    assert len(counted) == 4
    latitude, longitude = warped(20, 30)
    curved = curvilinear_weights(latitude, longitude, IOWA)
    assert equal(curvilinear_weights(latitude.copy(), longitude, IOWA), curved)
    assert len(counted) == 5
    assert len(list(own_cache.iterdir())) == 5  # and nothing half-written beside them


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "garbage"])
def test_a_damaged_file_is_noticed_and_made_again(damage, counted, own_cache, caplog):
    x_edges, y_edges = around(DAYMET, IOWA, 9.0, 9.0)
    first = projected_weights(x_edges, y_edges, DAYMET, IOWA)
    (path,) = own_cache.iterdir()
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1 if damage == "bit" else 0
    kept = {"cut": content[:-8], "bit": content, "empty": b"", "garbage": b"\0" * 5000}[damage]
    path.write_bytes(kept)
    with caplog.at_level(logging.WARNING, "domst"):
        assert equal(projected_weights(x_edges, y_edges, DAYMET, IOWA), first)
    assert len(counted) == 2
    assert f"{path}: damaged" in caplog.text
    assert equal(projected_weights(x_edges, y_edges, DAYMET, IOWA), first)
    assert len(counted) == 2


def test_a_folder_that_takes_nothing_stops_nobody(own_cache, monkeypatch, caplog):
    (own_cache / "file").write_text("in the way")
    monkeypatch.setenv("DOMST_CACHE", str(own_cache / "file" / "folder"))
    with caplog.at_level(logging.WARNING, "domst"):
        weights = projected_weights(*around(DAYMET, IOWA, 9.0, 9.0), DAYMET, IOWA)
    assert (weights.coverage > 0.99).all()
    assert f"not cached ([Errno 20] Not a directory: '{own_cache / 'file'}" in caplog.text


def test_a_user_without_a_home_is_told_how_to_name_a_folder(monkeypatch, caplog):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DOMST_CACHE")
    monkeypatch.setattr(Path, "home", nowhere)
    with caplog.at_level(logging.WARNING, "domst"):
        weights = projected_weights(*around(DAYMET, IOWA, 9.0, 9.0), DAYMET, IOWA)
    assert (weights.coverage > 0.99).all()
    assert "set DOMST_CACHE" in caplog.text


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("x_edges", "y_edges", "said"),
    [
        (np.arange(5e3, 6e3, 10), np.arange(100.0, -100, -10), "expected some of the region"),
        (np.arange(0.0, 9.0), np.arange(900.0, 800, -10), "expected some of the region"),
        (np.array([0.0, 1.0, 0.5]), np.arange(100.0, -100, -10), "raster x .* strictly"),
        (np.arange(0.0, 9.0), np.array([1.0, np.nan, 0.0]), "raster y .* strictly"),
    ],
)
def test_edges_that_are_no_raster_over_the_region_are_refused(x_edges, y_edges, said: str):
    with pytest.raises(InputError, match=said) as caught:
        projected_weights(x_edges, y_edges, DAYMET, IOWA)
    assert "\n" not in str(caught.value)


def test_centres_that_are_no_raster_over_the_region_are_refused():
    latitude, longitude = warped(20, 30)
    missing = latitude.copy()
    missing[3, 4] = np.nan
    folded = longitude.copy()
    folded[:, 15:] = folded[:, 15:][:, ::-1]
    cases = [
        (latitude, longitude + 40, "expected some of the region"),
        (latitude, longitude.T, "expected the same"),
        (latitude[:1], longitude[:1], "at least 2 x 2"),
        (missing, longitude, "1 coordinates missing"),
        (latitude + 60, longitude, "expected latitudes from -90 to 90"),
        (latitude, folded, "turns over"),
        (np.vstack((latitude, latitude)), np.vstack((longitude, longitude)), "turns over|times"),
    ]
    for y, x, said in cases:
        with pytest.raises(InputError, match=said) as caught:
            curvilinear_weights(y, x, IOWA)
        assert "\n" not in str(caught.value)


def test_a_pole_among_the_pixels_is_refused_only_where_the_region_reaches_it():
    edges = np.arange(-5.5, 6.0) * 25e3
    for cells in (1, 12):
        grid = Grid.covering((0.0, 89.0, 30.0, 90.0), cells_per_degree=cells)
        with pytest.raises(InputError, match="pole"):
            projected_weights(edges, edges, CRS(6931), grid)
    weights = projected_weights(edges, edges, CRS(6931), Grid.covering((0.0, 89.2, 30.0, 89.5)))
    np.testing.assert_allclose(weights.coverage, 1, rtol=0, atol=1e-9)


# ------------------------------------------------------------------ real files


def test_real_stage_iv_centres_lie_on_its_projection(domst_data: Path):
    """2-D coordinates of the file, and the projection that its agency states, agree."""
    path = domst_data / "precipitation" / "stage4_curvilinear_23h.nc"
    with xr.open_dataset(path) as file:
        latitude, longitude = file["lat"].values, file["lon"].values
        raw = file["Total_precipitation_surface_1_Hour_Accumulation"].values.astype(np.float32)
    x, y = projection(STAGE_IV)(longitude, latitude, False)
    first, last = np.array([x[0, 0], y[0, 0]]), np.array([x[-1, -1], y[-1, -1]])
    height, width = latitude.shape
    step = (last - first) / (width - 1, height - 1)
    assert step == pytest.approx(4762.5, rel=2e-4)
    edges = [first[k] + step[k] * (np.arange(n + 1) - 0.5) for k, n in enumerate((width, height))]
    grid = Grid.covering((-79.0, 34.0, -77.5, 36.0))
    curved = curvilinear_weights(latitude, longitude, grid)
    straight = projected_weights(edges[0], edges[1], STAGE_IV, grid)
    assert curved.window == straight.window
    np.testing.assert_allclose(dense(curved), dense(straight), rtol=0, atol=5e-4)
    rows, columns = curved.window
    value, valid = curved.apply(raw[:, rows, columns])
    other, covered = straight.apply(raw[:, rows, columns])
    assert np.nanmax(value) > 1.0
    np.testing.assert_allclose(valid, covered, atol=1e-3)
    np.testing.assert_allclose(value, other, atol=1e-3 * float(np.nanmax(raw)))
