"""The public `regrid`: the bits of the pipeline's own path, laws, and layouts of the input."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from pipeline.catalog.raster_source import RasterSource
from pipeline.rasters.drivers.netcdf_zarr import read_block, read_layout
from pipeline.regrid.api import regrid
from pipeline.regrid.arrays import regrid_numpy
from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import Axes
from pipeline.store.read import open_region
from tests.pipeline.handmade import COLUMNS, NORTH, PIXEL, ROWS, WEST, World
from tests.pipeline.regrid.rasters import MAKE, curvilinear, plain, rain, require_equal

CEA = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)  # equal-area


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees weights that another one cached."""
    monkeypatch.setenv("DOMST_CACHE", str(tmp_path_factory.mktemp("cache")))


def dense(data: xr.DataArray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Value and valid fraction of lat/lon data in float64 from areas in PROJ's equal-area plane."""

    def overlap(cells: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        low = np.maximum(np.minimum(cells[:-1], cells[1:])[:, None], np.minimum(*pixels))
        high = np.minimum(np.maximum(cells[:-1], cells[1:])[:, None], np.maximum(*pixels))
        return np.clip(high - low, 0, None)

    def edges(centres: np.ndarray) -> np.ndarray:
        half = (centres[1] - centres[0]) / 2
        return np.stack((centres - half, centres + half))

    def north(y: np.ndarray) -> np.ndarray:
        return CEA.transform(np.zeros_like(y), y)[1]

    rows = overlap(north(grid.y_edges), north(edges(data.lat.values)))
    columns = overlap(grid.x_edges, edges(data.lon.values))
    raw = data.values.astype(np.float64)
    area = np.einsum("ij,kl,tjl->tik", rows, columns, np.isfinite(raw))
    total = np.einsum("ij,kl,tjl->tik", rows, columns, np.nan_to_num(raw))
    cell = np.abs(np.diff(north(grid.y_edges)))[:, None] * np.diff(grid.x_edges)
    with np.errstate(invalid="ignore"):
        return np.where(area > 1e-6 * cell, total / area, np.nan), area / cell


# ------------------------------------------------------------------ the pipeline's bits


def test_the_store_has_the_same_bits_names_and_attributes(stored: World):
    coords = {
        "lat": NORTH - PIXEL * (np.arange(ROWS) + 0.5),
        "lon": WEST + PIXEL * (np.arange(COLUMNS) + 0.5),
    }
    data = xr.DataArray(stored.rain, coords, ("time", "lat", "lon"), "precipitation")
    region = open_region(stored.store)
    half = 1 / 24
    west, north = float(region.x[0]) - half, float(region.y[0]) + half
    east, south = float(region.x[-1]) + half, float(region.y[-1]) - half
    found = regrid(data, Grid.covering((west, south, east, north)))
    assert list(found.data_vars) == ["precipitation", "valid_fraction"]
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name].values, region[name].values)
    for name in ("x", "y", "spatial_ref"):
        np.testing.assert_array_equal(found[name].values, region[name].values)
        assert found[name].attrs == region[name].attrs
    assert found.valid_fraction.attrs == region.valid_fraction.attrs
    for name in found.data_vars:
        assert found[name].encoding["grid_mapping"] == region[name].encoding["grid_mapping"]


REAL = {  # file, variable, bounds of a region over it
    "projected, km": ("daymet_lcc_km.nc", "prcp", (-78.5, 34.0, -76.0, 36.5)),
    "time is day": ("gridmet_pr_2000_oregon.nc", "precipitation_amount", (-121.0, 42, -117.5, 45)),
    "curvilinear": (
        "stage4_curvilinear_23h.nc",
        "Total_precipitation_surface_1_Hour_Accumulation",
        (-79.0, 34.0, -77.5, 36.0),
    ),
    "curvilinear, transposed": (
        "stage4_curvilinear_transposed.nc",
        "Total_precipitation_surface_1_Hour_Accumulation",
        (-79.0, 34.0, -77.5, 36.0),
    ),
    "global, across its seam": (
        "CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc",
        "cmorph",
        (-6.0, 35.0, 7.0, 44.0),
    ),
}


@pytest.mark.filterwarnings("ignore:Variable.s. referenced in:UserWarning")  # what files lack
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("chunked", [False, True])
def test_real_files_have_the_bits_of_the_pipeline(name: str, chunked: bool, domst_data: Path):
    file, variable, bounds = REAL[name]
    path, grid = domst_data / "precipitation" / file, Grid.covering(bounds)
    source = RasterSource(driver="netcdf", files=str(path), variable=variable, units="mm")
    layout = read_layout(path, [source])
    weights = layout.weights(grid)
    options: dict[str, Any] = {"chunks": {}, "decode_coords": "all"} if chunked else {}
    with xr.open_dataset(path, **options) as dataset:
        steps = next(iter(dataset[variable].sizes.values()))
        (raw,) = read_block([(path, k) for k in range(steps)], layout, [source], weights.window)
        found = regrid(dataset[variable] if chunked else dataset, grid, min_valid=0.7)
        value, valid = weights.apply(raw)
        value[valid < np.float32(0.7)] = np.nan
        assert np.nanmax(value) > 0
        np.testing.assert_array_equal(found[variable].values, value)
        np.testing.assert_array_equal(found[f"{variable}_valid_fraction"].values, valid)


# ------------------------------------------------------------------ exactness and laws


@pytest.mark.parametrize("cells", [Fraction(2, 5), 1, 4, 10, 12, 60, Fraction(45, 2)])
def test_other_resolutions_match_a_dense_computation(cells: int | Fraction):
    data = plain(3)
    grid = Grid.covering((-95.0, 41.0, -94.0, 42.0), cells_per_degree=cells)
    found = regrid(data, grid, min_valid=0)
    value, valid = dense(data, grid)
    np.testing.assert_allclose(found.rain_valid_fraction, valid, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.rain, value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.diff(found.x), float(1 / Fraction(cells)), rtol=1e-9)


@given(
    cells=st.sampled_from([Fraction(1, 5), 1, 7, 12, 40]),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    step=st.floats(0.01, 3.0),
    lat=st.floats(-50, 50),
    lon=st.floats(-400, 400),
    flip=st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1])),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_what_falls_on_the_pixels_falls_on_the_cells(
    cells, height, width, step, lat, lon, flip, seed
):
    y, x = lat + step * np.arange(height), lon + step * np.arange(width)
    raw = rain((2, height, width), 0.3, seed)
    data = xr.DataArray(raw, {"lat": y, "lon": x}, ("time", "lat", "lon"), "rain")
    half = step / 2
    bounds = (x[0] - half, y[0] - half, x[-1] + half, y[-1] + half)
    grid = Grid.covering(bounds, cells_per_degree=cells)
    flipped = data.isel(lat=slice(None, None, flip[0]), lon=slice(None, None, flip[1]))
    found = regrid(flipped, grid, min_valid=0)
    edges = CEA.transform(np.zeros(height + 1), y[0] + step * (np.arange(height + 1) - 0.5))[1]
    pixel = np.diff(edges)[:, None] * step * CEA.transform(1.0, 0.0)[0]
    put = (found.rain.fillna(0).astype("f8") * found.rain_valid_fraction * grid.cell_area).sum()
    fell = (np.nan_to_num(raw.astype("f8")) * pixel).sum()
    np.testing.assert_allclose(put, fell, rtol=2e-6)


@pytest.mark.parametrize("kind", MAKE)
def test_the_default_grid_is_the_smallest_that_covers(kind: str):
    data = MAKE[kind](1).fillna(1.0)
    found = regrid(data, min_valid=0)
    covered = found.rain_valid_fraction.values[0] > 0
    assert covered[[0, -1]].any(axis=1).all()
    assert covered[:, [0, -1]].any(axis=0).all()
    half = 1 / 24
    west, south = float(found.x[0]) - half, float(found.y[-1]) - half
    grid = Grid.covering((west, south, float(found.x[-1]) + half, float(found.y[0]) + half))
    wider = Grid(grid.west - 2, grid.north + 2, grid.nx + 4, grid.ny + 4)
    more = regrid(data, wider, min_valid=0)
    total = float((more.rain_valid_fraction * wider.cell_area).sum())
    assert total == pytest.approx(float((found.rain_valid_fraction * grid.cell_area).sum()), 1e-9)


def test_the_default_grid_of_centres_across_the_antimeridian_is_no_larger():
    data = curvilinear(1)
    here = regrid(data)
    shifted = data.assign_coords(lon=(data.lon + 276.5 + 180) % 360 - 180)  # across 180 degrees
    assert np.ptp(shifted.lon.values) > 300
    assert regrid(shifted).sizes == here.sizes


@pytest.mark.parametrize("west", [-180.0, 0.0, -0.125])
def test_the_default_grid_of_a_global_raster_is_the_globe(west: float):
    coords = {"lat": 90 - 1.5 * np.arange(121), "lon": west + 1.5 * np.arange(240)}
    data = xr.DataArray(np.ones((121, 240)), coords, ("lat", "lon"), "ones")
    found = regrid(data, min_valid=0)
    assert found.ones.shape == (2160, 4320)
    assert (found.ones_valid_fraction == 1).all()
    assert (found.ones == 1).all()


def test_a_pole_inside_a_projected_raster_makes_the_default_grid_reach_it():
    edges = 25e3 * np.arange(-20.0, 21.0)
    for code, reached in ((6931, 90.0), (6932, -90.0)):
        west, south, east, north = Axes(edges, edges[::-1], CRS(code)).bounds
        assert east - west == pytest.approx(360, abs=1e-6)
        assert reached in (south, north)


def test_pixels_beside_the_globe_do_not_count_for_the_default_grid():
    disk = CRS("+proj=geos +h=35786023 +lon_0=-75 +sweep=x")
    edges = 50e3 * np.arange(-120.0, 121.0)
    west, south, east, north = Axes(edges, edges[::-1], disk).bounds
    assert (west + east) / 2 == pytest.approx(-75, abs=1)
    assert 70 < north < 82
    assert -south == pytest.approx(north, abs=0.01)


def test_a_cell_at_the_threshold_keeps_its_value():
    """Cells of which exactly a half is valid, and of which less is."""
    coords = {"lat": 41 + 1 / 48 + np.arange(4) / 24, "lon": -94 + 1 / 48 + np.arange(4) / 24}
    raw = np.ones((4, 4))
    raw[:, 0] = np.nan  # a half of two cells
    raw[0, 1] = np.inf  # a quarter more of one
    found = regrid(xr.DataArray(raw, coords, ("lat", "lon"), "rain"))
    share = found.rain_valid_fraction.values
    np.testing.assert_allclose(share, [[0.5, 1], [0.25, 1]], atol=1e-3)
    for limit, kept in ((share[0, 0], [[1, 1], [0, 1]]), (0.2, 1), (0, 1), (1, [[0, 1], [0, 1]])):
        again = regrid(xr.DataArray(raw, coords, ("lat", "lon"), "rain"), min_valid=float(limit))
        np.testing.assert_array_equal(np.isfinite(again.rain.values), np.bool_(kept) & True)


# ------------------------------------------------------------------ layouts of the input


@pytest.mark.parametrize("kind", MAKE)
def test_the_order_of_dimensions_does_not_matter(kind: str):
    data = MAKE[kind]()
    expected = regrid(data)
    time, y, x = data.dims
    for dims in ((x, time, y), (y, x, time), (x, y, time)):
        require_equal(regrid(data.transpose(*dims)), expected)
        require_equal(regrid(data.transpose(*dims).chunk({time: 7}).copy()), expected)


def test_other_dimensions_and_single_rasters():
    data = plain(6).expand_dims(member=3).copy()
    data[1], data[2] = data[1] * 2, data[2] + 1
    found = regrid(data.transpose("lat", "member", "lon", "time"))
    assert found.rain.dims == ("member", "time", "y", "x")
    for k in range(3):
        require_equal(found.isel(member=k), regrid(data.isel(member=k)))
    require_equal(found.isel(member=2, time=3), regrid(data.isel(member=2, time=3)))
    assert regrid(data.isel(time=slice(0))).rain.shape[:2] == (3, 0)


@pytest.mark.parametrize("flip", [("lat",), ("lon",), ("lat", "lon")])
def test_the_direction_of_axes_and_the_turn_of_longitudes_do_not_matter(flip: tuple[str, ...]):
    data = plain()
    grid = Grid.covering((-95.0, 41.0, -94.0, 42.0))
    expected = regrid(data, grid)
    flipped = data.isel({dim: slice(None, None, -1) for dim in flip})
    for one in (flipped, flipped.assign_coords(lon=flipped.lon % 360)):
        found = regrid(one, grid)
        for name in expected.data_vars:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["f8", ">f4", ">f8", "f2", "i2", ">i4", "u1", "i8", "?"])
def test_every_real_dtype_is_taken_as_float32(dtype: str):
    whole = np.random.default_rng(1).integers(0, 100, (20, 40, 50))
    data = plain().copy(data=whole.astype(dtype))
    expected = regrid(plain().copy(data=whole.astype(dtype).astype("f4")))
    require_equal(regrid(data), expected)
    require_equal(regrid(data.chunk(time=6)), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(40, 50), (200, 40, 50), (70, 2, 40, 50), (2, 3, 20, 40, 50)])
def test_threads_and_blocks_are_only_ways_of_working(threads: int, shape: tuple[int, ...]):
    grid = Grid.covering((-95.0, 41.0, -94.0, 42.0))
    weights = Axes(np.linspace(-95, -93.5, 51), np.linspace(42, 40.8, 41), None).weights(grid)
    raw = rain(shape)
    rows, columns = weights.window
    window = raw[..., rows, columns]
    value, valid = weights.apply(window.reshape(-1, *weights.raw_shape))
    value[valid < np.float32(0.4)] = np.nan
    expected = np.stack((value, valid)).reshape(2, *shape[:-2], *grid.shape)
    np.testing.assert_array_equal(regrid_numpy(window, weights, 0.4, threads), expected)
