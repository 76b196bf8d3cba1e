"""The bound of a worker's memory: kept by its process, said by `plan`, one line where it is less
than a block takes; and the store does not depend on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from distributed import Client, LocalCluster
from rasterio.transform import from_origin

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.run.cluster import make_client
from pipeline.run.execute import prepare, run
from pipeline.run.memory import MemoryLimit
from pipeline.run.plan import Plan, make_plan
from pipeline.store.lease import hold_lease
from pipeline.store.read import open_region
from pipeline.store.root import attributes_of, open_root
from tests.pipeline.handmade import World, assert_same_data
from tests.pipeline.stores import contents
from tests.pipeline.test_command_line import require_one_line

MIB = 2**20
HOURS, PIXELS = 48, 1000


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of two days of hourly rain, 4 MB a field."""
    folder = tmp_path_factory.mktemp("fields")
    centres = (np.arange(PIXELS) + 0.5) * (5 / PIXELS)
    field = np.random.default_rng(3).integers(0, 200, (PIXELS, PIXELS)).astype("f4") / 10
    rain = np.stack([np.roll(field, hour, axis=0) for hour in range(HOURS)])
    xr.Dataset(
        {"rain": (("time", "lat", "lon"), rain, {"units": "mm"})},
        {
            "time": pd.date_range("2020-01-01", periods=HOURS, freq="h"),
            "lat": ("lat", 45 - centres, {"units": "degrees_north"}),
            "lon": ("lon", -98 + centres, {"units": "degrees_east"}),
        },
    ).chunk({"time": 1}).to_zarr(folder / "rain.zarr", zarr_format=3, consolidated=False)
    corners = [[-96, 41], [-95, 41], [-95, 42], [-96, 42], [-96, 41]]
    feature = {
        "type": "Feature",
        "properties": {"site": "01000001"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    polygons = {"type": "FeatureCollection", "features": [feature]}
    (folder / "basin.geojson").write_text(json.dumps(polygons))
    records = "site_no,datetime,discharge\n01000001,2020-01-01,5\n01000001,2020-01-02,5\n"
    (folder / "discharge.csv").write_text(records)
    source = {"driver": "zarr", "files": "rain.zarr", "variable": "rain", "units": "mm"}
    settings = {
        "title": "Large fields",
        "period": {"step": "hour", "start": "2020-01-01", "end": "2020-01-03"},
        "bounds": [-98, 40, -93, 45],
        "block_steps": 24,
        "forcings": {"precipitation": source},
        "gauges": {"format": "csv", "files": "discharge.csv", "units": "m3/s"},
        "watersheds": {"file": "basin.geojson", "site_field": "site"},
    }
    (folder / "catalog.yaml").write_text(yaml.safe_dump(settings))
    return folder / "catalog.yaml"


def peak() -> int:
    """Most bytes that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def least(plan: Plan, steps: int) -> int:
    """Bytes of a worker of one thread that reads one raster at a time."""
    (cost,) = plan.memory.costs
    return plan.memory.shared + steps * cost.step + cost.least


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_worker_keeps_to_its_bound(fields: Path, tmp_path: Path):
    """And takes clearly less than it would otherwise, for the same store."""
    bound, peaks, stores = 650 * MIB, {}, []
    for memory in (None, bound):
        store = tmp_path / f"{memory}.zarr"
        with make_client(processes=True, workers=1, threads_per_worker=2) as client:
            run(load_catalog(fields), store, client, memory=memory)
            peaks[memory] = max(client.run(peak).values())
        stores.append(contents(store))
    assert peaks[bound] <= bound, peaks
    assert peaks[bound] < 0.9 * peaks[None], peaks
    assert stores[0] == stores[1]


BANDS = 80
READ_BANDS = """
import sys
from pathlib import Path
from pipeline.catalog.raster_source import RasterSource
from pipeline.rasters.files import ONLY
from pipeline.rasters.drivers.gdal import read_block, read_layout
from tests.pipeline.run.test_memory import BANDS, peak

path = Path(sys.argv[1])
bands = [RasterSource(driver="geotiff", files="{time:%Y%m%d}", units="mm", band=band)
         for band in range(1, BANDS + 1)]
layout = read_layout(path, bands)
before = peak()
read_block([(path, ONLY)], layout, bands, (slice(0, 1024), slice(0, 1)))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_gdal_keeps_little_of_what_it_decoded(tmp_path: Path):
    """Of 320 MB in one file, of which a column is read."""
    path = tmp_path / "many.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=1024, width=1024, count=BANDS, dtype="float32",
        crs="EPSG:4326", transform=from_origin(-98, 45, 0.005, 0.005), tiled=True,
        blockxsize=1024, blockysize=1024, interleave="band", compress="zstd",
    ) as file:  # fmt: skip
        for band in range(1, BANDS + 1):
            file.write(np.full((1024, 1024), band, "f4"), band)
    command = [sys.executable, "-c", READ_BANDS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120 * MIB


def test_blocks_follow_from_the_bound_and_not_from_the_record(world: World):
    world.edit(block_steps=None)
    catalog = load_catalog(world.catalog)
    plan = make_plan(catalog)
    one = least(plan, 1)
    tight = make_plan(catalog, limit=MemoryLimit(one))
    assert (plan.block_steps, tight.block_steps) == (2, 1)
    assert tight.memory.needed(tight.block_steps) <= one
    world.edit(period={"step": "day", "start": "2020-01-01", "end": "2020-01-07"})
    short = make_plan(load_catalog(world.catalog))
    assert least(short, 1) == one


def test_threads_share_it(fields: Path):
    catalog = load_catalog(fields)
    one, two = (make_plan(catalog, limit=MemoryLimit(900 * MIB, threads)) for threads in (1, 2))
    assert one.sources[0].piece > two.sources[0].piece >= 1
    for plan in (one, two):
        assert plan.memory.needed(plan.block_steps) <= 900 * MIB


def test_plan_says_what_it_gives(fields: Path, world: World):
    said = world.command("plan", fields, "--workers", 2, "--memory", "800MiB")
    assert said.exit_code == 0, said.output
    found = [line for line in said.stdout.splitlines() if line.startswith("memory")]
    assert len(found) == 1
    assert "up to 7" in found[0]
    assert found[0].endswith("MiB a worker of 2 threads")


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        ("550MiB", "needs ... MiB for a block of 24 steps .block_steps.: expected at least that"),
        ("a lot", "--memory a lot: expected a size such as 2GiB"),
        ("nan", "expected a size"),
        ("-2GiB", "expected a size"),
        ("0", "expected a size"),
    ],
)
def test_what_cannot_fit_is_refused(
    fields: Path, world: World, tmp_path: Path, memory: str, says: str
):
    for command in ("plan", "run"):
        store = tmp_path / "store.zarr"
        options = ["--store", store, "--workers", 2, f"--memory={memory}"]
        result = world.command(command, fields, *options)
        require_one_line(result, 2, "--memory", "expected")
        assert re.search(says, result.stderr), result.stderr
        assert not store.exists()


def test_without_an_option_the_workers_own_limit_bounds_a_run(world: World):
    catalog = load_catalog(world.catalog)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, memory_limit="700MiB",
            dashboard_address="127.0.0.1:0",
        ) as small,
        Client(small) as client,
        pytest.raises(InputError, match=r"may take 420 MiB of their memory .or --memory"),
    ):  # fmt: skip
        run(catalog, world.store, client)
    assert not world.store.exists()


def test_a_store_of_another_bound_is_resumed_and_extended(world: World):
    """In blocks as long as they are; where these are too long now, that is said."""
    period = {"step": "day", "start": "2020-01-01"}
    world.edit(block_steps=None, period={**period, "end": "2020-01-11"})
    catalog = load_catalog(world.catalog)
    with make_client(workers=1) as client:
        plan = make_plan(catalog)
        assert plan.block_steps == 2
        with hold_lease(world.store) as lease:
            prepare(plan, world.store, lease.run)
        enough = least(plan, 2)
        too_little = world.command(
            "run", world.catalog, "--store", world.store, "--workers", 1, "--memory", enough - 1
        )
        require_one_line(too_little, 2, "a block of 2 steps, as in the store", "expected at least")
        run(catalog, world.store, client, memory=enough)
        world.edit(period={**period, "end": "2020-01-13"})
        run(load_catalog(world.catalog), world.store, client, memory=2 * enough)
        assert attributes_of(open_root(world.store))["block_steps"] == 2
        fresh = world.folder / "fresh.zarr"
        run(load_catalog(world.catalog), fresh, client)
    assert_same_data(open_region(world.store), open_region(fresh))
