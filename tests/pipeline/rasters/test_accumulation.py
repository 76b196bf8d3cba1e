"""Totals that run on, against the amounts that they were added up from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.rasters.accumulation import Totals, begins
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import open_region
from tests.pipeline.handmade import COLUMNS, NORTH, PIXEL, ROWS, WEST, World, write_raster

FIRST = pd.Timestamp("2020-01-01T06:00")
HOURS = pd.date_range(FIRST, periods=40, freq="h")  # starts
DAY, SIX = timedelta(days=1), timedelta(hours=6)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def amounts() -> np.ndarray:
    """Of each hour [mm], a pixel missing throughout."""
    rain = np.random.default_rng(3).gamma(0.5, 2.0, (len(HOURS), ROWS, COLUMNS))
    rain[:, 3, 4] = np.nan
    return rain


def added_up(rain: np.ndarray, stretch: timedelta) -> np.ndarray:
    """Totals since the start of each stretch; the first one begins with the record."""
    hours = int(stretch / timedelta(hours=1))
    number = (HOURS.hour + 24 * (HOURS.day_of_year - 1)) // hours
    return np.concatenate([np.cumsum(rain[number == n], axis=0) for n in np.unique(number)])


def describe(world: World, raw: np.ndarray, keep: np.ndarray | None = None, **source) -> Path:
    """A catalog of hourly rain in one NetCDF file, labelled by the ends of the hours."""
    lat = NORTH - PIXEL * (np.arange(ROWS) + 0.5)
    lon = WEST + PIXEL * (np.arange(COLUMNS) + 0.5)
    data = xr.Dataset(
        {"tp": (("time", "lat", "lon"), raw.astype(np.float32), {"units": "mm"})},
        {
            "time": HOURS + pd.Timedelta("1h"),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    )
    if keep is not None:
        data = data.isel(time=keep)
    data.to_netcdf(world.folder / "tp.nc")
    rain = {"driver": "netcdf", "files": "tp.nc", "variable": "tp", "units": "mm",
            "time": {"label": "end"}, **source}  # fmt: skip
    world.edit(
        period={"step": "hour", "start": FIRST.isoformat(),
                "end": (HOURS[-1] + pd.Timedelta("1h")).isoformat()},
        block_steps=7,
        forcings={"precipitation": rain},
    )  # fmt: skip
    return world.catalog


def rain_of(world: World, client: Client, name: str) -> tuple[np.ndarray, np.ndarray]:
    store = world.folder / name
    run(load_catalog(world.catalog), store, client)
    region = open_region(store)
    return region.precipitation.values, region.valid_fraction.values


@pytest.mark.parametrize("totals", ["24h", "6h", "never"])
def test_the_store_is_that_of_the_amounts(world: World, client: Client, totals: str):
    rain = amounts()
    describe(world, rain)
    expected, valid = rain_of(world, client, "plain.zarr")
    running = rain.cumsum(axis=0)
    if totals != "never":
        running = added_up(rain, timedelta(hours=int(totals.removesuffix("h"))))
    describe(world, running, totals=totals)
    found, share = rain_of(world, client, "totals.zarr")
    known = 0 if totals == "6h" else 1  # of the first hour the total before is not known
    assert np.isnan(found[:known]).all()
    np.testing.assert_allclose(found[known:], expected[known:], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(share[known:], valid[known:])
    checked = world.command("check", world.folder / "totals.zarr")
    assert "conservation  │ PASS" in checked.stdout, checked.stdout


def test_a_missing_raster_takes_the_next_amount_with_it(world: World, client: Client):
    rain = amounts()
    keep = np.arange(len(HOURS)) != 9
    describe(world, added_up(rain, SIX), keep, totals="6h", max_missing_steps=1)
    found, _ = rain_of(world, client, "totals.zarr")
    assert np.flatnonzero(np.isnan(found).all(axis=(1, 2))).tolist() == [9, 10]


def test_steps_of_several_intervals(world: World, client: Client):
    """GeoTIFFs every six hours, totals of a day, a store of days."""
    rain = np.random.default_rng(5).gamma(0.5, 2.0, (12, ROWS, COLUMNS)).astype(np.float32)
    for number, total in enumerate(np.cumsum(rain.reshape(3, 4, ROWS, COLUMNS), axis=1)
                                   .reshape(rain.shape)):  # fmt: skip
        time = pd.Timestamp("2020-01-01") + number * pd.Timedelta("6h")
        write_raster(world.folder / "rain" / f"t_{time:%Y%m%d%H}.tif", total)
    source = {"driver": "geotiff", "files": "rain/t_{time:%Y%m%d%H}.tif", "units": "mm",
              "step": "6h", "totals": "1d"}  # fmt: skip
    world.edit(
        period={"step": "day", "start": "2020-01-01T00:00:00", "end": "2020-01-04T00:00:00"},
        block_steps=1,
        forcings={"precipitation": source},
    )
    found, valid = rain_of(world, client, "totals.zarr")
    days = rain.reshape(3, 4, ROWS, COLUMNS).sum(axis=1)
    low = days.reshape(3, 6, 2, 6, 2).min(axis=(2, 4))
    high = days.reshape(3, 6, 2, 6, 2).max(axis=(2, 4))
    rows, columns = found.shape[1:]
    at = next(  # the region's place among the rasters' cells
        (r, c) for r in range(7 - rows) for c in range(7 - columns)
        if ((found >= low[:, r:r + rows, c:c + columns] - 1e-4)
            & (found <= high[:, r:r + rows, c:c + columns] + 1e-4)).all()
    )  # fmt: skip
    mean = days.reshape(3, 6, 2, 6, 2).mean(axis=(2, 4))
    part = mean[:, at[0] : at[0] + rows, at[1] : at[1] + columns]
    np.testing.assert_allclose(found, part, rtol=1e-3)  # of rows' areas
    np.testing.assert_allclose(valid, 1, atol=1e-6)
    checked = world.command("check", world.folder / "totals.zarr")
    assert "conservation  │ PASS" in checked.stdout, checked.stdout


@given(data=st.data(), count=st.integers(1, 60), hours=st.sampled_from([2, 3, 6, 12, 24]))
def test_pieces_do_not_matter(data, count: int, hours: int):
    times = pd.date_range("2020-02-29T05:00", periods=count, freq="h")
    first = begins(times, timedelta(hours=hours))
    assert first.tolist() == [time.hour % hours == 0 for time in times]
    raw = np.random.default_rng(count).integers(0, 99, (count, 1, 2)).astype(np.float32)
    cuts = sorted(data.draw(st.sets(st.integers(1, count), max_size=5)) | {0, count})
    totals, made = Totals(first), raw.copy()
    for start, stop in pairwise(cuts):
        totals.take_apart(start, made[start:stop])
    for k in range(count):
        before = 0 if first[k] else raw[k - 1] if k else np.nan
        np.testing.assert_array_equal(made[k], raw[k] - before)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"totals": "90min"}, "a whole number of steps"),
        ({"totals": "5h"}, "divides a day"),
        ({"totals": "1d", "units": "mm/h"}, "expected an amount"),
    ],
)
def test_totals_that_make_no_sense_are_refused(world: World, source: dict, said: str):
    catalog = describe(world, amounts(), **source)
    with pytest.raises(InputError, match=said):
        load_catalog(catalog)


def test_rasters_off_the_hour_are_refused(world: World):
    describe(world, amounts(), totals="6h", time={"label": "end", "offset": "30min"})
    world.edit(period={"step": "hour", "start": "2020-01-01T06:30", "end": "2020-01-02T22:30"})
    result = world.command("plan", world.catalog)
    assert result.exit_code == 2
    assert "start at 06:30 UTC: expected whole steps of 1 h" in result.stderr
