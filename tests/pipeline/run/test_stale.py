"""Raw files that come late or grow: blocks that depend on them are done again, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client

from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import open_region
from tests.pipeline.handmade import COLUMNS, NORTH, PIXEL, ROWS, WEST, World, write_raster
from tests.pipeline.stores import contents

HOURS = pd.date_range("2020-01-01T00:00", periods=24, freq="h")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def describe_totals(world: World, missing: int) -> None:
    """Totals of six hours in blocks of four: the first hour of a block is a difference from the
    last raster of the block before."""
    rng = np.random.default_rng(4)
    amounts = rng.gamma(0.5, 2.0, (4, 6, ROWS, COLUMNS)).astype(np.float32)
    totals = np.cumsum(amounts, axis=1).reshape(24, ROWS, COLUMNS)
    for time, total in zip(HOURS, totals, strict=True):
        write_raster(world.folder / f"tp_{time:%Y%m%d%H}.tif", total)
    world.edit(
        period={"step": "hour", "start": "2020-01-01T00:00", "end": "2020-01-02T00:00"},
        block_steps=4,
        forcings={
            "precipitation": {
                "driver": "geotiff",
                "files": "tp_{time:%Y%m%d%H}.tif",
                "units": "mm",
                "totals": "6h",
                "max_missing_steps": missing,
                "max_invalid": 0.9,
            }
        },
    )


def test_with_totals_a_late_raster_changes_the_block_after_it_too(world: World, client: Client):
    describe_totals(world, missing=1)
    late = world.folder / "tp_2020010103.tif"  # the last of the first block
    content = late.read_bytes()
    late.unlink()
    run(load_catalog(world.catalog), world.store, client)
    empty = open_region(world.store).precipitation.isnull().all(("y", "x")).values
    assert np.flatnonzero(empty).tolist() == [3, 4]
    late.write_bytes(content)
    report = run(load_catalog(world.catalog), world.store, client)
    assert {block.name for block in report.blocks} == {"2020-01-01T00", "2020-01-01T04"}
    assert not open_region(world.store).precipitation.isnull().all(("y", "x")).any()
    run(load_catalog(world.catalog), world.folder / "fresh.zarr", client)
    assert contents(world.store) == contents(world.folder / "fresh.zarr")


def test_a_raster_that_two_blocks_need_is_set_aside_once(world: World, client: Client):
    describe_totals(world, missing=1)
    damaged = world.folder / "tp_2020010103.tif"
    damaged.write_bytes(b"not a raster")
    report = run(load_catalog(world.catalog), world.store, client, keep_going=True)
    assert [one.file for one in report.unreadable] == [str(damaged)]
    assert len((world.store / "unreadable.csv").read_text().splitlines()) == 2
    empty = open_region(world.store).precipitation.isnull().all(("y", "x")).values
    assert np.flatnonzero(empty).tolist() == [3, 4]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_archive_that_grows_leaves_its_old_blocks_alone(
    world: World, client: Client, zarr_format: int
):
    """Six days, then twelve, in chunks of two days and blocks of three."""
    data = xr.Dataset(
        {"rain": (("time", "lat", "lon"), world.rain, {"units": "mm"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(1, "D"),
            "lat": ("lat", NORTH - PIXEL * (np.arange(ROWS) + 0.5), {"units": "degrees_north"}),
            "lon": ("lon", WEST + PIXEL * (np.arange(COLUMNS) + 0.5), {"units": "degrees_east"}),
        },
    )
    archive = world.folder / "raw.zarr"
    data.isel(time=slice(6)).to_zarr(
        archive,
        zarr_format=zarr_format,
        consolidated=False,
        encoding={"rain": {"chunks": (2, 12, 12)}},
    )
    source = {"driver": "zarr", "files": "raw.zarr", "variable": "rain", "units": "mm"}
    world.edit(
        period={"step": "day", "start": "2020-01-01", "end": "2020-01-07"},
        forcings={"precipitation": source},
    )
    run(load_catalog(world.catalog), world.store, client)
    data.isel(time=slice(6, 12)).to_zarr(archive, append_dim="time", consolidated=False)
    assert run(load_catalog(world.catalog), world.store, client).blocks == []
    world.edit(period={"step": "day", "start": "2020-01-01", "end": "2020-01-13"})
    report = run(load_catalog(world.catalog), world.store, client)
    assert {block.name for block in report.blocks} == {"2020-01-07", "2020-01-10"}
    run(load_catalog(world.catalog), world.folder / "fresh.zarr", client)
    assert contents(world.store) == contents(world.folder / "fresh.zarr")
