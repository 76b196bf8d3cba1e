"""Regridding against brute-force overlap in an equal-area plane, and its laws on random input."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.rasters.series import open_series
from pipeline.regrid.grid import Grid
from pipeline.regrid.separable import Bands, SeparableWeights, separable_weights

CHECKOUT = Path(__file__).resolve().parents[3]
# PROJ's cylindrical equal-area plane of the ellipsoid: parallels and meridians are straight, so a
# cell is a rectangle of its true area.
TO_PLANE = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)
TURN = 360.0


def plane(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [m] in the plane. Longitudes are scaled, not wrapped into -180..180."""
    one_degree = TO_PLANE.transform(1.0, 0.0)[0]
    return np.asarray(x) * one_degree, TO_PLANE.transform(np.zeros(len(y)), np.clip(y, -90, 90))[1]


def boxes(x_edges: np.ndarray, y_edges: np.ndarray) -> np.ndarray:
    """Rectangles in the plane, shape (rows, columns)."""
    x, y = plane(x_edges, y_edges)
    return shapely.box(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])


def brute_force(x_edges: np.ndarray, y_edges: np.ndarray, grid: Grid) -> np.ndarray:
    """Overlap [m2] of every cell with every pixel on every turn, shape (cells, pixels)."""
    cells = boxes(grid.x_edges, grid.y_edges).ravel()
    area = np.zeros((cells.size, (len(y_edges) - 1) * (len(x_edges) - 1)))
    for turn in (-TURN, 0.0, TURN):
        pixels = boxes(np.asarray(x_edges) + turn, y_edges).ravel()
        cell, pixel = shapely.STRtree(pixels).query(cells, predicate="intersects")
        area[cell, pixel] += shapely.area(shapely.intersection(cells[cell], pixels[pixel]))
    return area


def windowed(raw: np.ndarray, weights: SeparableWeights) -> np.ndarray:
    """The window of a whole raster, columns counted round the globe."""
    rows, columns = weights.window
    return raw[:, rows][:, :, np.arange(columns.start, columns.stop) % raw.shape[2]]


def rain(shape: tuple[int, ...], missing: float, seed: int = 0) -> np.ndarray:
    """Skewed, float32, a share of it NaN, another in every step."""
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.4, 8.0, shape).astype(np.float32)
    raw[rng.random(shape) < missing] = np.nan
    return raw


def axis(first: float, step: float, count: int) -> np.ndarray:
    return first + step * np.arange(count + 1)


CASES = {
    "finer, edges shared": (axis(-85.25, 1 / 24, 40), axis(36.25, -1 / 24, 36), 12, 12),
    "finer, rounded edges": (
        axis(-85.1458333330145, 0.041666666667, 36),
        axis(36.0624999998885, -0.041666666667, 30),
        12,
        12,
    ),
    "0.01 degree": (axis(-85.003, 0.01, 90), axis(35.997, -0.01, 80), 8, 7),
    "coarser": (axis(-86.1, 0.25, 9), axis(36.6, -0.25, 8), 14, 14),
    "ascending latitude": (axis(-85.2, 0.07, 30), axis(34.5, 0.07, 30), 14, 14),
    "descending longitude": (axis(-83.5, -0.07, 30), axis(36.1, -0.07, 25), 14, 14),
    "0 to 360": (axis(0.0, 2.5, 144), axis(37.0, -0.1, 30), 14, 14),
    "smaller than the grid": (axis(-84.9, 0.05, 5), axis(35.8, -0.05, 4), 12, 14),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_matches_brute_force_overlap(name: str, missing: float):
    x_edges, y_edges, ny, nx = CASES[name]
    grid = Grid(west=-85 * 12, north=36 * 12, nx=nx, ny=ny)
    raw = rain((3, len(y_edges) - 1, len(x_edges) - 1), missing)
    area = brute_force(x_edges, y_edges, grid)
    weights = separable_weights(x_edges, y_edges, grid)
    value, valid = weights.apply(windowed(raw, weights))
    check_against(area, raw, grid, value, valid)


@pytest.mark.parametrize("first", [-85.25, -85.2416, -85.2291])
@pytest.mark.parametrize("turn", [1, -1])
def test_cells_two_pixels_wide_come_out_as_by_the_general_loop(first: float, turn: int):
    x_edges, y_edges = axis(first, 1 / 24, 40)[::turn], axis(36.25, -1 / 24, 36)
    weights = separable_weights(x_edges, y_edges, Grid(west=-85 * 12, north=36 * 12, nx=12, ny=12))
    columns = weights.columns
    assert (columns.paired.shape == (4, 12)) == (turn == 1)
    padded = np.pad(columns.weight, ((0, 0), (0, 3)))
    room = max(0, int(columns.start.max()) + padded.shape[1] - columns.size)
    general = replace(
        weights,
        window=(weights.window[0], slice(0, columns.size + room)),
        columns=Bands(columns.start, padded, columns.size + room),
    )
    assert general.columns.paired.size == 0
    raw = rain((3, *weights.raw_shape), 0.3)
    wider = np.pad(raw, ((0, 0), (0, 0), (0, room)))
    np.testing.assert_array_equal(weights.apply(raw), general.apply(wider))


@pytest.mark.parametrize(
    ("x_edges", "west"),
    [
        (axis(0.0, 0.75, 480), -1 * 12),  # the seam of 0..360 at Greenwich
        (axis(-180.0, 0.75, 480), 179 * 12),  # the seam of -180..180 in the Pacific
        (axis(-180.375, 0.75, 480), -180 * 12),  # a pixel that is cut by the antimeridian
        (axis(180.0, -0.75, 480), 179 * 12),  # the same, from east to west
        (axis(170.0, 0.5, 40), -181 * 12),  # a region across the antimeridian, on another turn
        (axis(-185.0, 0.5, 718), 173 * 12),  # almost around: a gap between its ends
    ],
)
def test_matches_brute_force_across_the_seam(x_edges: np.ndarray, west: int):
    grid = Grid(west=west, north=12, nx=30, ny=4)
    y_edges = axis(1.1, -0.3, 5)
    raw = rain((2, 5, len(x_edges) - 1), 0.2)
    weights = separable_weights(x_edges, y_edges, grid)
    value, valid = weights.apply(windowed(raw, weights))
    check_against(brute_force(x_edges, y_edges, grid), raw, grid, value, valid)


def test_pixels_are_cut_at_the_pole():
    grid = Grid(west=0, north=90 * 12, nx=6, ny=12)
    x_edges, y_edges = axis(-0.3, 0.25, 6), axis(90.125, -0.25, 6)
    raw = rain((2, 6, 6), 0.2)
    weights = separable_weights(x_edges, y_edges, grid)
    value, valid = weights.apply(windowed(raw, weights))
    check_against(brute_force(x_edges, y_edges, grid), raw, grid, value, valid)


def check_against(
    area: np.ndarray, raw: np.ndarray, grid: Grid, value: np.ndarray, valid: np.ndarray
) -> None:
    """The equations in float64, with oracle areas, shape (cells, pixels)."""
    flat = raw.reshape(raw.shape[0], -1).astype(np.float64)
    covered = np.isfinite(flat) @ area.T
    covered[covered < 1.0] = 0.0  # m2: rounding in the projection of edges that coincide
    total = np.nan_to_num(flat) @ area.T
    expected_valid = covered / shapely.area(boxes(grid.x_edges, grid.y_edges)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(covered > 0, total / covered, np.nan)
    assert (covered > 0).any()
    np.testing.assert_allclose(valid.reshape(expected.shape), expected_valid, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(value.reshape(expected.shape), expected, rtol=1e-6, atol=1e-9)


@st.composite
def worlds(draw) -> tuple[np.ndarray, np.ndarray, Grid, np.ndarray]:
    """Edges, grid and raster in any position to each other that overlaps."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    dx, dy = draw(st.floats(0.005, 0.6)), draw(st.floats(0.005, 0.6))
    grid = Grid(
        west=draw(st.integers(-250 * 12, 250 * 12)),
        north=draw(st.integers(-60 * 12, 60 * 12)),
        nx=draw(st.integers(1, 15)),
        ny=draw(st.integers(1, 15)),
    )
    west, south, east, north = grid.bounds
    # at least a tenth of a pixel lies over the grid
    x0 = draw(st.floats(west - dx * (width - 0.1), east - 0.1 * min(dx, 1 / 12)))
    y0 = draw(st.floats(south - dy * (height - 0.1), north - 0.1 * min(dy, 1 / 12)))
    x_edges = axis(x0 + TURN * draw(st.integers(-1, 1)), dx, width)
    y_edges = axis(y0, dy, height)
    if draw(st.booleans()):
        x_edges = x_edges[::-1]
    if draw(st.booleans()):
        y_edges = y_edges[::-1]
    missing = draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
    raw = rain((2, height, width), missing, draw(st.integers(0, 2**32 - 1)))
    return x_edges, y_edges, grid, raw


def clipped_areas(x_edges: np.ndarray, y_edges: np.ndarray, grid: Grid) -> np.ndarray:
    """Area [m2] of each pixel inside the grid, shape (rows, columns), by clipping its edges."""
    west, south, east, north = grid.bounds
    x_of, y_of = np.asarray(x_edges), np.clip(y_edges, south, north)
    heights = np.abs(np.diff(plane(x_of, y_of)[1]))
    widths = np.zeros(len(x_of) - 1)
    for turn in TURN * np.arange(-2, 3):
        widths += np.abs(np.diff(plane(np.clip(x_of + turn, west, east), y_of)[0]))
    return np.outer(heights, widths)


@given(worlds())
@settings(max_examples=300)
def test_what_falls_on_the_grid_is_conserved(world):
    """sum value valid area(cell) = sum p area(pixel inside the grid), over valid pixels."""
    x_edges, y_edges, grid, raw = world
    weights = separable_weights(x_edges, y_edges, grid)
    value, valid = weights.apply(windowed(raw, weights))
    cell_area = shapely.area(boxes(grid.x_edges, grid.y_edges))
    put = (np.nan_to_num(value.astype(np.float64)) * valid * cell_area).sum(axis=(1, 2))
    inside = clipped_areas(x_edges, y_edges, grid)
    fell = (np.nan_to_num(raw.astype(np.float64)) * inside).sum(axis=(1, 2))
    np.testing.assert_allclose(put, fell, rtol=1e-6, atol=1e-6 * inside.max())
    covered = (np.isfinite(raw) * inside).sum(axis=(1, 2))
    np.testing.assert_allclose((valid * cell_area).sum(axis=(1, 2)), covered, rtol=1e-6, atol=1.0)


@given(worlds())
@settings(max_examples=100)
def test_weights_and_values_stay_in_bounds(world):
    x_edges, y_edges, grid, raw = world
    weights = separable_weights(x_edges, y_edges, grid)
    for bands in (weights.rows, weights.columns):
        matrix = bands.dense()
        assert (matrix >= 0).all()
        assert (matrix.sum(axis=1) <= 1 + 1e-9).all()
        assert matrix[:, [0, -1]].any(axis=0).all()  # the window holds no row or column in vain
    value, valid = weights.apply(windowed(raw, weights))
    np.testing.assert_array_equal(np.isnan(value), valid == 0)
    assert (valid >= 0).all()
    assert (valid <= weights.coverage.astype(np.float32) * (1 + 1e-6)).all()
    if np.isfinite(raw).any() and (valid > 0).any():
        assert np.nanmin(value) >= np.nanmin(raw) * (1 - 1e-6)
        assert np.nanmax(value) <= np.nanmax(raw) * (1 + 1e-6)


def test_covered_cells_are_exactly_full_and_constants_stay():
    grid = Grid.covering((-97.0, 40.0, -90.0, 44.0))
    weights = separable_weights(axis(-97.2, 0.01, 750), axis(44.1, -0.01, 450), grid)
    raw = np.full((1, *weights.raw_shape), 3.7, np.float32)
    value, valid = weights.apply(raw)
    assert (valid == 1).all()
    assert (value == np.float32(3.7)).all()


@pytest.mark.parametrize("step", [0.5, 1 / 12, 0.01])
def test_slivers_that_count_for_no_pixel_leave_no_cell_short(step: float):
    """Edges with rounding beside those of the cells, as of coordinates in float32."""
    grid = Grid.covering((-97.0, 40.0, -90.0, 44.0))
    rng = np.random.default_rng(0)
    x_edges, y_edges = axis(-98.0, step, round(9 / step)), axis(45.0, -step, round(6 / step))
    x_edges, y_edges = (e + step * rng.uniform(-9e-8, 9e-8, e.size) for e in (x_edges, y_edges))
    weights = separable_weights(x_edges, y_edges, grid)
    np.testing.assert_allclose(weights.coverage, 1, rtol=0, atol=1e-12)
    _, valid = weights.apply(np.full((1, *weights.raw_shape), 3.7, np.float32))
    assert (valid == 1).all()


def test_north_stays_north_and_west_stays_west():
    """A field that equals latitude, or longitude, is the same field after regridding."""
    grid = Grid.covering((-97.0, 40.0, -96.0, 42.0))
    for step_x, step_y in ((0.05, 0.05), (0.05, -0.05), (-0.05, 0.05), (-0.05, -0.05)):
        x_edges = axis(-97.0 if step_x > 0 else -96.0, step_x, 20)
        y_edges = axis(40.0 if step_y > 0 else 42.0, step_y, 40)
        weights = separable_weights(x_edges, y_edges, grid)
        x, y = (x_edges[:-1] + x_edges[1:]) / 2, (y_edges[:-1] + y_edges[1:]) / 2
        fields = np.stack((np.broadcast_to(x, (40, 20)), np.broadcast_to(y[:, None], (40, 20))))
        value, _ = weights.apply(windowed(fields.astype(np.float32), weights))
        assert np.abs(value[0] - grid.x).max() < 0.03
        assert np.abs(value[1] - grid.y[:, None]).max() < 0.03


def test_takes_frozen_strided_and_pickled_input_from_many_threads():
    grid = Grid.covering((-97.0, 40.0, -96.0, 41.0))
    weights = pickle.loads(  # noqa: S301 -- our own object, as it travels to a worker
        pickle.dumps(separable_weights(axis(-97.2, 0.05, 30), axis(41.1, -0.05, 30), grid))
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
        "from pipeline.regrid.separable import _apply; "
        "print(sum(_apply.stats.cache_misses.values()))"
    )
    command = [sys.executable, "-c", code]
    misses = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert misses.stdout.strip() == "0"


def test_a_run_on_geotiffs_starts_without_xarray():
    """Its import takes longer than a small run."""
    code = (
        "import sys; import pipeline.run.execute, pipeline.rasters.drivers.gdal; "
        "print('xarray' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("x_edges", "y_edges", "said"),
    [
        (axis(10.0, 0.1, 5), axis(36.0, -0.1, 5), r"longitudes 10 to 10.5 .* expected some of"),
        (axis(-85.0, 0.1, 5), axis(60.0, -0.1, 5), "expected some of the region"),
        ([-85.0, -84.0, -84.5], axis(36.0, -0.1, 5), "longitudes .* strictly ascending"),
        (axis(-85.0, 0.1, 5), [36.0, np.nan, 35.0], "latitudes .* strictly ascending"),
        (axis(-180.0, 1.0, 361), axis(36.0, -0.1, 5), "at most 360 degrees"),
        (axis(-85.0, 0.1, 5), axis(95.0, -1.0, 70), "from -90 to 90"),
    ],
)
def test_edges_that_are_no_raster_over_the_region_are_refused(x_edges, y_edges, said: str):
    with pytest.raises(InputError, match=said) as caught:
        separable_weights(np.asarray(x_edges), np.asarray(y_edges), Grid(-85 * 12, 36 * 12, 6, 6))
    assert "\n" not in str(caught.value)


def test_real_prism_days_match_brute_force(domst_data: Path):
    """Rain and temperature of rainy days, read and regridded by us and by rasterio and shapely."""
    catalog = load_catalog(CHECKOUT / "catalogs" / "daddys_creek.yaml")
    series = open_series(catalog, ["precipitation", "temperature"])
    grid = Grid.covering((-85.2, 35.7, -84.8, 36.1))
    weights = series.layout.weights(grid)
    wet = [340, 341, 342, 343]
    block = series.read(wet[0], wet[-1] + 1, weights.window)
    for band, name in ((2, "precipitation"), (1, "temperature")):
        value, valid = weights.apply(block[name])
        rasters = []
        for step in wet:
            day = series.times[step] + np.timedelta64(12, "h")
            file = domst_data / "daddys_creek" / "prism" / f"prism_{day:%Y%m%d}.tif"
            with rasterio.open(file) as source:
                rasters.append(source.read(band, masked=True).filled(np.nan))
                bounds, shape = source.bounds, source.shape
        raw = np.stack(rasters)
        x_edges = np.linspace(bounds.left, bounds.right, shape[1] + 1)
        y_edges = np.linspace(bounds.top, bounds.bottom, shape[0] + 1)
        area = brute_force(x_edges, y_edges, grid)
        check_against(area, raw, grid, value, valid)
        assert np.isnan(value).any()
        assert np.nanmax(value) > 1.0
