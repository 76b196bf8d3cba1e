"""From a source's intervals to the store's steps: units, partial steps, budgets, pieces of memory.

Expected numbers are worked out by hand or by loops over cells, intervals and pixels."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from pyproj import CRS

from pipeline.catalog.models import load_catalog
from pipeline.rasters.drivers import netcdf_zarr as datasets
from pipeline.regrid.grid import Grid
from pipeline.regrid.projected import projected_weights
from pipeline.run import memory
from pipeline.run.aggregate import StepMeans
from pipeline.run.plan import make_plan
from pipeline.store.read import open_region
from tests.pipeline.handmade import NORTH, PIXEL, WEST, World, make_world
from tests.pipeline.oracles import Rasters, along_degrees

DAYS = 12
START = np.datetime64("2020-01-01T00", "ns")


def fields(hours: float, **changes: Any) -> np.ndarray:
    """Rain for every interval of the hand-made world's days, float32 (intervals, 12, 12)."""
    count = round(DAYS * 24 / hours)
    rng = np.random.default_rng(count)
    rain = rng.gamma(0.5, 2.0, (count, 12, 12)).astype(np.float32)
    rain[rng.random(rain.shape) < 0.2] = np.nan
    return rain


def dataset(hours: float, **variables: tuple[np.ndarray, str]) -> xr.Dataset:
    """Variables in their units on the hand-made world's pixels, one field every `hours`."""
    times = START + (np.arange(round(DAYS * 24 / hours)) * hours * 3600).astype("m8[s]")
    centre = np.arange(12) + 0.5
    return xr.Dataset(
        {
            name: (("time", "lat", "lon"), values, {"units": units})
            for name, (values, units) in variables.items()
        },
        {
            "time": times.astype("M8[ns]"),
            "lat": ("lat", NORTH - PIXEL * centre, {"units": "degrees_north"}),
            "lon": ("lon", WEST + PIXEL * centre, {"units": "degrees_east"}),
        },
    )


def describe(world: World, data: xr.Dataset | None, **forcings: dict[str, Any]) -> None:
    """Let the world's forcings be variables of one file."""
    if data is not None:
        data.to_netcdf(world.folder / "rain.nc", engine="netcdf4")
    plain = {"driver": "netcdf", "files": "rain.nc"}
    world.edit(forcings={name: plain | source for name, source in forcings.items()})


def region_of(world: World, checked: bool = True) -> xr.Dataset:
    """Run, check, and read the region."""
    result = world.run()
    assert result.exit_code == 0, result.output
    if checked:
        result = world.command("check", world.store)
        assert result.exit_code == 0, result.output
        assert "raw files are not compared" not in result.output
    return open_region(world.store).load()


def failed(world: World, *said: str) -> None:
    """A run that ends with one line that holds every string, and exit code 2."""
    result = world.run()
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    for part in said:
        assert part in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("units", "hours", "number", "expected"),
    [
        ("mm", 3, 1.5, 12.0),  # eight intervals of 1.5 mm
        ("m", 24, 0.004, 4.0),
        ("inch", 6, 0.1, 10.16),  # four of 2.54 mm
        ("kg m-2", 12, 3.0, 6.0),
        ("mm/h", 0.5, 0.25, 6.0),
        ("mm/day", 1, 7.0, 7.0),
        ("kg m-2 s-1", 3, 1e-4, 8.64),
    ],
)
def test_units_become_millimetres_a_step(world: World, units, hours, number, expected):
    values = np.full((round(DAYS * 24 / hours), 12, 12), number)
    data = dataset(hours, rain=(values, units))
    step = {"step": f"{hours}h" if hours >= 1 else "30min"}
    describe(world, data, precipitation={"variable": "rain", "units": units} | step)
    region = region_of(world)
    np.testing.assert_allclose(region.precipitation, expected, rtol=1e-6)
    np.testing.assert_allclose(region.valid_fraction, 1.0, rtol=1e-6)


def test_several_variables_of_one_file_are_read_in_one_go(world: World, monkeypatch):
    """Temperature, evaporation and snow beside rain: a state is a mean over the step, a rate and an
    amount are sums."""
    count = DAYS * 4
    series = np.arange(count, dtype=np.float64)[:, None, None] * np.ones((1, 12, 12))
    data = dataset(
        6,
        rain=(series, "kg m-2"),
        t2m=(series + 273.15, "K"),
        pet=(series, "mm/day"),
        swe=(series, "kg m**-2"),
    )
    opened = []
    plain_open = datasets._opened

    def counting(path, source):
        opened.append(Path(path).name)
        return plain_open(path, source)

    monkeypatch.setattr(datasets, "_opened", counting)
    common = {"step": "6h"}
    describe(
        world,
        data,
        precipitation=common | {"variable": "rain", "units": "kg m-2"},
        temperature=common | {"variable": "t2m", "units": "K"},
        evaporation=common | {"variable": "pet", "units": "mm/day"},
        snow=common | {"variable": "swe", "units": "kg m-2", "over_time": "mean"},
    )
    region = region_of(world, checked=False)
    blocks = len(make_plan(load_catalog(world.catalog)).blocks)
    headers = 2 * 2  # times and layout, of the run's plan and of ours
    assert len(opened) == headers + blocks
    means = np.arange(count).reshape(DAYS, 4).mean(axis=1)
    for name, expected, units, method in (
        ("precipitation", means * 4, "mm", "time: sum area: mean"),
        ("temperature", means, "degree_Celsius", "time: mean area: mean"),
        ("evaporation", means, "mm", "time: sum area: mean"),
        ("snow", means, "mm", "time: mean area: mean"),
    ):
        found = region[name]
        assert (found.attrs["units"], found.attrs["cell_methods"]) == (units, method)
        whole = np.broadcast_to(expected[:, None, None], found.shape)
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-4)
    result = world.command("check", world.store)
    assert result.exit_code == 0, result.output


def expected_steps(rain: np.ndarray, region: xr.Dataset, per_step: int, cell: tuple[int, int]):
    """Sums and valid fractions of a cell, after the rule: means over area and time with data."""
    row, column = cell
    raw = Rasters(rain.astype(np.float64), along_degrees(WEST, PIXEL, NORTH, -PIXEL))
    amount, area = raw.cell(float(region.x[column]), float(region.y[row]))
    amount, area = (part.reshape(-1, per_step).sum(axis=1) for part in (amount, area))
    fraction = area / float(region.cell_area[row, column]) / per_step
    with np.errstate(invalid="ignore"):
        return amount / area * per_step, fraction


@pytest.mark.parametrize(("hours", "step"), [(3, "day"), (1, "day"), (0.5, "hour")])
def test_partial_steps_follow_the_rule(world: World, hours: float, step: str):
    """Pixels, and whole rasters, that are missing in a part of the step."""
    rain = fields(hours)
    lost = [1, 2, 3, 5, 7, 9, 17]
    present = np.delete(np.arange(len(rain)), lost)
    data = dataset(hours, rain=(rain, "mm")).isel(time=present)
    rain[lost] = np.nan
    length = {"day": timedelta(days=1), "hour": timedelta(hours=1)}[step]
    source = {"variable": "rain", "units": "mm", "step": f"{hours * 60:g}min"}
    describe(world, data, precipitation=source | {"max_missing_steps": 7, "min_valid": 0.3})
    period = {"step": step, "start": "2020-01-01T00:00:00Z", "end": "2020-01-13T00:00:00Z"}
    world.edit(period=period, block_steps=5)
    region = region_of(world)
    per_step = round(length / timedelta(hours=hours))
    partial = 0
    for cell in ((1, 1), (3, 2), (4, 3)):
        expected, fraction = expected_steps(rain, region, per_step, cell)
        found = region.valid_fraction[:, *cell].values
        np.testing.assert_allclose(found, fraction, atol=1e-6)
        kept = fraction > 0.3
        assert (np.abs(fraction - 0.3) > 1e-5).all()
        value = region.precipitation[:, *cell].values
        np.testing.assert_allclose(value[kept], expected[kept], rtol=2e-5)
        assert np.isnan(value[~kept]).all()
        partial += ((fraction > 0) & (fraction < 0.99)).sum()
    assert partial > 10


@pytest.mark.parametrize("per_step", [1, 24])
def test_full_cells_have_a_value_whatever_the_threshold(per_step: int):
    """And those of a float64 array too: they are taken as float32."""
    crs = CRS("+proj=lcc +lat_1=38.5 +lat_2=38.5 +lat_0=38.5 +lon_0=-97.5 +R=6370000")
    grid = Grid.covering((-110.0, 28.0, -84.0, 48.0))
    edges = 12000.0 * np.arange(-140.0, 141.0)
    weights = projected_weights(edges, edges, crs, grid)
    raw = np.random.default_rng(0).gamma(0.5, 2.0, (1, *weights.raw_shape)).astype(np.float32)
    results = []
    for dtype in ("float32", "float64"):
        means = StepMeans(1, per_step, grid.shape)
        for interval in range(per_step):
            means.add(interval, *(part.astype(dtype) for part in weights.apply(raw)))
        value, valid = means.result(1.0, 0.0, 1.0)
        assert value.dtype == valid.dtype == np.float32
        assert (valid == 1).all()
        assert np.isfinite(value).all()
        results.append(value)
    np.testing.assert_array_equal(results[0], results[1])


def test_the_day_begins_where_the_period_does(world: World):
    """Hours from 06:00 UTC on, labelled by their ends."""
    rain = np.arange(DAYS * 24, dtype=np.float64)[:, None, None] * np.full((1, 12, 12), 0.1)
    source = {"variable": "rain", "units": "mm", "step": "1h", "time": {"label": "end"}}
    describe(world, dataset(1, rain=(rain, "mm")), precipitation=source)
    period = {"step": "day", "start": "2020-01-02T06:00:00Z", "end": "2020-01-05T06:00:00Z"}
    world.edit(period=period)
    region = region_of(world)
    # the hour from 06:00 is labelled 07:00, which is number 31 of those from the first's 00:00
    expected = [sum(range(31 + 24 * day, 31 + 24 * (day + 1))) / 10 for day in range(3)]
    np.testing.assert_allclose(region.precipitation[:, 2, 2], expected)


@pytest.mark.parametrize("order", [("time", "lat", "lon"), ("lon", "lat", "time")])
def test_negative_rain_is_zero_or_missing_and_counted(world: World, order: tuple[str, ...]):
    rain = np.ones((DAYS, 12, 12))
    rain[4, :2] = -0.009  # noise of packing
    rain[5, 2:4, :4] = -0.5
    describe(
        world,
        dataset(24, rain=(rain.astype(np.float32), "mm")).transpose(*order),
        precipitation={"variable": "rain", "units": "mm", "max_negative": 0.1},
    )
    region = region_of(world)
    assert float(region.precipitation[4, 0, 1]) == 0.0
    assert float(region.valid_fraction[4, 0, 1]) == pytest.approx(1.0)
    assert np.isnan(region.precipitation[5, 1, 1])
    assert float(region.valid_fraction[5, 1, 1]) == 0.0
    assert float(region.precipitation.min()) == 0.0


def test_too_many_bad_pixels_fail_the_block(world: World):
    rain = np.ones((DAYS, 12, 12))
    rain[4] = -3.0  # a code that the catalog forgot
    data = dataset(24, rain=(rain, "mm"))
    source = {"variable": "rain", "units": "mm"}
    describe(world, data, precipitation=source)
    pixels = 3 * 12 * 10  # a block's, over the region
    counts = [f"{pixels // 3} of {pixels} pixels (33.33%)", "block from 2020-01-04", "below zero"]
    failed(world, *counts, "max_negative", "`missing`", "1.00%")
    describe(world, None, precipitation=source | {"missing": [-3], "max_invalid": 0.2})
    world.edit(title="Another")
    result = world.command("run", world.catalog, "--store", world.folder / "other.zarr")
    assert result.exit_code == 2
    assert f"{pixels // 3} of {pixels} pixels (33.33%)" in result.stderr
    assert "max_invalid" in result.stderr
    describe(world, None, precipitation=source | {"missing": [-3]})
    last = world.command("run", world.catalog, "--store", world.folder / "last.zarr")
    assert last.exit_code == 0, last.output


def test_infinite_pixels_have_no_value(world: World):
    rain = np.ones((DAYS, 12, 12), np.float32)
    rain[4] = -np.inf
    rain[5, :, :5] = np.inf
    describe(
        world,
        dataset(24, rain=(rain, "mm")),
        precipitation={"variable": "rain", "units": "mm", "max_negative": 0.0, "max_invalid": 0.0},
    )
    pixels = 3 * 12 * 10  # a block's, over the region
    failed(world, f"{12 * 10 + 12 * 5} of {pixels} pixels (50.00%)", "have no value")
    shutil.rmtree(world.store)
    describe(world, None, precipitation={"variable": "rain", "units": "mm", "max_invalid": 0.5})
    region = region_of(world)
    assert region.precipitation[4].isnull().all()
    np.testing.assert_array_equal(region.valid_fraction[4], 0)
    assert 0 < region.precipitation[5].isnull().sum() < region.precipitation[5].size
    np.testing.assert_allclose(region.precipitation.max(), 1)


def test_a_block_is_read_in_pieces_that_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The store does not depend on the pieces, nor on how the blocks are cut."""
    rain = fields(1)
    regions, reads = [], []
    plain_read = datasets.read_block

    def counting(places, *arguments):
        reads.append(len(places))
        return plain_read(places, *arguments)

    monkeypatch.setattr(datasets, "read_block", counting)
    for name, limit, block_steps in (("whole", 2**26, 12), ("pieces", 4 * 120 * 7, 4)):
        folder = tmp_path / name
        folder.mkdir()
        world = make_world(folder)
        monkeypatch.setattr(memory, "PIECE_BYTES", limit)
        source = {"variable": "rain", "units": "mm", "step": "1h"}
        data = dataset(1, rain=(rain, "mm"))
        describe(world, data, precipitation=source)
        world.edit(block_steps=block_steps)
        reads.clear()
        regions.append(region_of(world, checked=False))
        assert sum(reads) == DAYS * 24  # each raster once
        assert max(reads) == (DAYS * 24 if name == "whole" else 7)
    xr.testing.assert_allclose(*regions, rtol=1e-6)


def test_blocks_are_whole_chunks_of_the_raw_file(world: World):
    data = dataset(24, rain=(fields(24), "mm"))
    encoding = {"rain": {"chunksizes": (5, 12, 12)}}
    data.to_netcdf(world.folder / "rain.nc", engine="netcdf4", encoding=encoding)
    describe(world, None, precipitation={"variable": "rain", "units": "mm"})
    world.edit(block_steps=None)
    plan = make_plan(load_catalog(world.catalog))
    assert [(block.start, block.stop) for block in plan.blocks] == [(0, 5), (5, 10), (10, 12)]


def test_zarr_is_one_source_whose_change_is_noticed(world: World):
    data = dataset(24, rain=(fields(24), "mm"))
    data.to_zarr(world.folder / "raw.zarr", zarr_format=3, consolidated=False)
    url = f"file://{world.folder}/raw.zarr"
    source = {"driver": "zarr", "files": url, "variable": "rain", "units": "mm"}
    world.edit(forcings={"precipitation": source})
    region = region_of(world)
    again = World(world.folder, world.rain)
    assert "nothing to do" in again.run().output
    describe(world, data, precipitation={"variable": "rain", "units": "mm"})
    twin = world.folder / "twin.zarr"
    assert world.command("run", world.catalog, "--store", twin).exit_code == 0
    xr.testing.assert_identical(open_region(twin).precipitation.load(), region.precipitation)
    world.edit(forcings={"precipitation": source})
    data.assign(rain=data.rain + 1).to_zarr(
        world.folder / "raw.zarr", mode="w", zarr_format=3, consolidated=False
    )
    result = world.run()
    assert result.exit_code == 0, result.output
    assert "4 of 4 blocks" in result.output
    changed = open_region(world.store).precipitation.load()
    np.testing.assert_allclose(changed, region.precipitation + 1, rtol=1e-5)


def test_the_plan_counts_rasters_and_files(world: World):
    describe(world, dataset(3, rain=(fields(3), "mm")), precipitation={
        "variable": "rain", "units": "mm", "step": "3h"})  # fmt: skip
    result = world.command("plan", world.catalog)
    assert "96 rasters in 1 files" in result.output
    settings = yaml.safe_load(world.catalog.read_text())
    assert "step" in settings["forcings"]["precipitation"]
