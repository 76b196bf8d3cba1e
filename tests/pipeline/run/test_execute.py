"""Blocks: their values against brute-force overlaps, resuming, and what happens when killed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from dask.utils import key_split
from distributed import Client
from pyproj import Transformer

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError, RunError
from pipeline.live.stages import PipelineStatus
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import open_region, open_watershed
from pipeline.store.write import BlockWriter
from tests.pipeline.handmade import BOXES, NORTH, PIXEL, WEST, World, write_raster
from tests.pipeline.stores import contents, done_blocks, stored_array, unmark

EQUAL_AREA = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def overlaps(x: float, y: float, west: float, north: float, pixel: float, shape) -> np.ndarray:
    """Area [m2] of the cell with centre (x, y) in each pixel of a raster, shape (rows, columns),
    from polygons in an equal-area plane."""

    def boxes(w, s, e, n):
        (w, s), (e, n) = EQUAL_AREA.transform(w, s), EQUAL_AREA.transform(e, n)
        return shapely.box(w, s, e, n)

    rows, columns = np.indices(shape)
    pixels = boxes(
        west + columns * pixel,
        north - (rows + 1) * pixel,
        west + (columns + 1) * pixel,
        north - rows * pixel,
    )
    cell = boxes(x - 1 / 24, y - 1 / 24, x + 1 / 24, y + 1 / 24)
    return shapely.area(shapely.intersection(pixels, cell))


def mean_and_fraction(raw: np.ndarray, area: np.ndarray) -> tuple[float, float]:
    """Mean of the valid part of a cell, and how much of the pixels' part of it is valid."""
    valid = np.isfinite(raw) * area
    if not valid.any():
        return np.nan, 0.0
    return float((np.nan_to_num(raw) * valid).sum() / valid.sum()), float(valid.sum())


def test_values_are_the_raw_files(stored: World):
    region = open_region(stored.store).load()
    for day in (0, 4, 11):
        for row, column in np.ndindex(region.cell_area.shape):
            x, y = float(region.x[column]), float(region.y[row])
            area = overlaps(x, y, WEST, NORTH, PIXEL, stored.rain.shape[1:])
            value, valid = mean_and_fraction(stored.rain[day], area)
            fraction = valid / float(region.cell_area[row, column])
            assert float(region.valid_fraction[day, row, column]) == pytest.approx(
                fraction, abs=1e-6
            )
            if abs(fraction - 0.5) > 1e-6:  # min_valid of the catalog
                expected = value if fraction > 0.5 else np.nan
                found = float(region.precipitation[day, row, column])
                assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_workers_in_other_processes_write_the_same_store(stored: World):
    with make_client(processes=True, workers=2) as processes:
        run(load_catalog(stored.catalog), stored.folder / "other.zarr", processes)
    assert contents(stored.folder / "other.zarr") == contents(stored.store)


def test_a_finished_store_is_left_alone(stored: World, client: Client):
    before = contents(stored.store)
    report = run(load_catalog(stored.catalog), stored.store, client)
    assert report.blocks == []
    assert contents(stored.store) == before


def test_only_missing_blocks_are_done(stored: World, client: Client):
    before = contents(stored.store)
    unmark(stored.store, 1)
    stored_array(stored.store, "region/precipitation")[3:6] = -1.0
    seen: list[tuple[int, int, list[str]]] = []

    def show(status: PipelineStatus) -> None:
        stages = [f"{n}: {len(s.done)} of {len(s.seen)}" for n, s in status.stages.items()]
        seen.append((status.rasters_done, status.rasters, stages))

    report = run(load_catalog(stored.catalog), stored.store, client, show)
    assert [block.name for block in report.blocks] == ["2020-01-04"]
    assert seen[0] == (0, 3, [])
    assert seen[1][:2] == (0, 3)
    assert seen[-1][:2] == (3, 3)
    assert sorted(seen[-1][2]) == ["regrid: 1 of 1", "share: 1 of 1"]
    assert contents(stored.store) == before


def test_a_changed_raster_is_noticed(stored: World, client: Client, caplog):
    write_raster(stored.raster(7), stored.rain[7] + 100)
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(stored.catalog), stored.store, client)
    assert [block.name for block in report.blocks] == ["2020-01-07"]
    assert "1 of 4 blocks were made from has changed, the first from 2020-01-07" in caplog.text
    assert float(open_region(stored.store).precipitation[7].min()) > 99
    fresh = stored.folder / "fresh.zarr"
    run(load_catalog(stored.catalog), fresh, client)
    assert contents(fresh) == contents(stored.store)


def test_a_block_whose_raster_became_unreadable_is_not_done_any_more(stored: World, client: Client):
    stored.raster(7).write_bytes(b"not a raster")
    with pytest.raises(InputError, match=str(stored.raster(7))):
        run(load_catalog(stored.catalog), stored.store, client)
    assert done_blocks(stored.store).tolist() == [True, True, False, True]
    with pytest.raises(InputError, match="1 of 4 blocks are not done"):
        open_region(stored.store)


def test_versions_by_content(world: World, client: Client, caplog):
    """A touched file is what it was; one that was changed behind its size and time is not."""
    world.edit(versions="content")
    run(load_catalog(world.catalog), world.store, client)
    for number in range(len(world.rain)):
        os.utime(world.raster(number), (1, 1))
    assert not run(load_catalog(world.catalog), world.store, client).blocks
    path = world.raster(7)
    size = path.stat().st_size
    write_raster(path, world.rain[7] + 100)
    os.utime(path, (1, 1))
    assert path.stat().st_size == size
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(world.catalog), world.store, client)
    assert [block.name for block in report.blocks] == ["2020-01-07"]
    assert "1 of 4 blocks were made from has changed, the first from 2020-01-07" in caplog.text
    assert float(open_region(world.store).precipitation[7].min()) > 99


def test_a_block_reports_what_was_invalid(world: World, client: Client):
    report = run(load_catalog(world.catalog), world.store, client)
    for block in report.blocks:
        first = int(block.name[-2:]) - 1
        seen = world.rain[first : first + 3, :, :10]  # pixels over the region
        assert block.rasters == 3
        assert block.invalid_pixels["precipitation"] == pytest.approx(np.isnan(seen).mean())


def test_a_step_without_a_file_is_missing(world: World, client: Client):
    world.raster(5).unlink()
    rain = {**load_catalog(world.catalog).forcings["precipitation"].model_dump(mode="json")}
    world.edit(forcings={"precipitation": {**rain, "max_missing_steps": 1}})
    run(load_catalog(world.catalog), world.store, client)
    rain = open_watershed(world.store, "01000001").precipitation
    assert bool(rain[5].isnull().all())
    assert not bool(rain[4].isnull().all())


def test_the_stages_of_the_graph(world: World, client: Client, monkeypatch: pytest.MonkeyPatch):
    keys: list[str] = []
    submit = client.submit

    def watch(*arguments, **settings):
        keys.append(settings["key"])
        return submit(*arguments, **settings)

    monkeypatch.setattr(client, "submit", watch)
    run(load_catalog(world.catalog), world.store, client)
    assert len({key.rpartition("-")[2] for key in keys}) == 1
    sites = [f"{stage}-{site}" for site in BOXES for stage in ("cover", "trace")]
    blocks = [f"regrid-2020-01-{day:02d}" for day in (1, 4, 7, 10)]
    one_file = f"gauge-{min(BOXES)}"
    assert [key.rpartition("-")[0] for key in keys] == [
        "share", *blocks, *sites, one_file, "finish"
    ]  # fmt: skip
    assert {key_split(key) for key in keys} == {
        "share", "regrid", "cover", "trace", "gauge", "finish",
    }  # fmt: skip


def test_a_bad_raster_stops_the_run_and_the_rest_is_kept(world: World, client: Client):
    good = world.raster(8).read_bytes()
    world.raster(8).write_bytes(b"not a raster")
    with pytest.raises(InputError, match=str(world.raster(8))):
        run(load_catalog(world.catalog), world.store, client)
    assert not done_blocks(world.store)[2]
    world.raster(8).write_bytes(good)
    run(load_catalog(world.catalog), world.store, client)
    assert done_blocks(world.store).all()


def test_a_full_disk_stops_the_run_and_the_rest_is_kept(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
):
    write = BlockWriter.write_block

    def full(self, block, name, value, valid_fraction):
        if block.index == 2:
            raise RunError("no room")
        write(self, block, name, value, valid_fraction)

    with monkeypatch.context() as patch:
        patch.setattr(BlockWriter, "write_block", full)
        with pytest.raises(RunError, match="no room"):
            run(load_catalog(world.catalog), world.store, client)
    assert not done_blocks(world.store)[2]
    run(load_catalog(world.catalog), world.store, client)
    assert done_blocks(world.store).all()


# For each store: runs the catalog in forked children that kill themselves at their n-th change of
# the disk, then in one that finishes. Nothing but files passes from one child to the next.
KILLED = """
import json, os, signal, sys
from pathlib import Path
import distributed.dashboard.scheduler
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run

left, store = None, ""

def watch(event, arguments):
    global left
    if left is None or not arguments or os.path.basename(store) not in str(arguments[0]):
        return
    changes = event in ("os.rename", "os.mkdir", "os.remove") or (
        event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    )
    if changes:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
for store, kills in json.loads(sys.argv[2]).items():
    fates = []
    for n in [*kills, None]:
        child = os.fork()
        if not child:
            left = n
            with make_client(workers=2) as client:
                run(load_catalog(sys.argv[1]), Path(store), client)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        fates.append("killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")
    print(json.dumps(fates))
"""
CHANGES = (85, 165)  # about as many as the template, and blocks and tables make


def test_killed_anywhere_and_resumed_it_is_the_same_store(stored: World):
    rng = np.random.default_rng(3)
    whole = contents(stored.store)
    trials = {
        str(stored.folder / f"killed{trial}.zarr"): [
            int(rng.integers(CHANGES[0])),
            int(rng.integers(CHANGES[0], sum(CHANGES))),
            int(rng.integers(CHANGES[1])),
        ]
        for trial in range(4)
    }
    command = [sys.executable, "-c", KILLED, str(stored.catalog), json.dumps(trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (store, kills), line in zip(trials.items(), done.stdout.splitlines(), strict=True):
        fates = json.loads(line)
        assert fates[:2] == ["killed", "killed"], (kills, fates)
        assert fates[3] == "exit 0", (kills, fates, done.stderr)
        assert contents(Path(store)) == whole, kills
    assert not list(stored.folder.glob(".*.partial"))


def test_the_real_basin(domst_data: Path, tmp_path: Path, client: Client):
    catalog = load_catalog(Path(__file__).parents[3] / "catalogs" / "daddys_creek.yaml")
    store = tmp_path / "store.zarr"
    report = run(catalog, store, client)
    assert report.files == 2192
    data = open_watershed(store, "03539600").load()
    assert data.sizes["time"] == 2192
    rng = np.random.default_rng(0)
    for day in rng.choice(2192, 6, replace=False):
        # the label is the day in which the interval ends, at 12:00 UTC
        label = str(data.time.values[day] + np.timedelta64(1, "D"))[:10].replace("-", "")
        path = domst_data / "daddys_creek" / "prism" / f"prism_{label}.tif"
        with rasterio.open(path) as file:
            raw = file.read(masked=True).astype(np.float64).filled(np.nan)
            west, pixel, north = file.transform.c, file.transform.a, file.transform.f
        for row, column in np.argwhere(data.coverage.values > 0):
            x, y = float(data.x[column]), float(data.y[row])
            area = overlaps(x, y, west, north, pixel, raw.shape[1:])
            for band, name in enumerate(("temperature", "precipitation")):
                value, valid = mean_and_fraction(raw[band], area)
                found = float(data[name][day, row, column])
                if valid / float(data.cell_area[row, column]) > 0.0501:
                    assert found == pytest.approx(value, rel=1e-5, abs=1e-5)
    balance = float(data.runoff.sum()) / float(
        (data.precipitation * data.coverage * data.cell_area).sum(["y", "x"]).sum()
        / data.attrs["drainage_area_m2"]
    )
    assert 0.4 < balance < 0.6  # 49 % of the rain runs off


def test_unreadable_rasters_are_set_aside_within_the_budget(world: World, client: Client):
    good = {day: world.raster(day).read_bytes() for day in (4, 8)}
    for day in good:
        world.raster(day).write_bytes(b"not a raster")
    options = ["--store", world.store, "--workers", 2, "--keep-going"]
    refused = world.command("run", world.catalog, *options)
    assert refused.exit_code == 2
    assert "expected at most 0 (forcings.precipitation.max_missing_steps)" in refused.stderr
    rain = load_catalog(world.catalog).forcings["precipitation"].model_dump(mode="json")
    world.edit(forcings={"precipitation": {**rain, "max_missing_steps": 2, "max_invalid": 0.5}})
    done = world.command("run", world.catalog, *options)
    assert done.exit_code == 0, done.output
    assert "2 rasters" in done.stdout
    listed = (world.store / "unreadable.csv").read_text()
    for day in good:
        assert str(world.raster(day)) in done.stdout
        assert str(world.raster(day)) in listed
        assert bool(open_region(world.store).precipitation[day].isnull().all())
    world.raster(4).write_bytes(good[4])
    report = run(load_catalog(world.catalog), world.store, client, keep_going=True)
    assert [block.name for block in report.blocks] == ["2020-01-04"]
    assert not bool(open_region(world.store).precipitation[4].isnull().all())
    listed = (world.store / "unreadable.csv").read_text()
    assert str(world.raster(4)) not in listed
    assert str(world.raster(8)) in listed
