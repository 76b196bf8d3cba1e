"""The command line: what a good run prints, and one line for everything that may be wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.catalog.models import load_catalog
from pipeline.check.checks import check_store
from pipeline.inspect.inspect_file import inspect_file
from pipeline.run import cluster, execute
from pipeline.run.cluster import available_cores
from pipeline.run.memory import MemoryLimit
from pipeline.run.plan import make_plan
from pipeline.store import fence
from tests.pipeline.handmade import (
    BOXES,
    NORTH,
    PIXEL,
    WEST,
    World,
    write_polygons,
    write_raster,
)
from tests.pipeline.stores import unmark

REPOSITORY = Path(__file__).parents[2]


def in_a_process(*arguments: object, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, **settings)


def test_run_plan_check(world: World):
    """In processes of their own, as a user would."""
    planned = in_a_process("plan", world.catalog, "--store", world.store)
    assert planned.returncode == 0, planned.stderr
    assert "12 files" in planned.stdout
    assert "4 blocks of 3 steps" in planned.stdout
    assert "not there yet" in planned.stdout
    assert not world.store.exists()
    ran = in_a_process("run", world.catalog, "--store", world.store)
    assert ran.returncode == 0, ran.stderr
    assert re.match(r"dashboard: http://127\.0\.0\.1:\d+/status\n", ran.stdout)
    assert re.search(r"4 of 4 blocks, 12 rasters in .* rasters/s\)\n$", ran.stdout)
    checked = in_a_process("check", world.store)
    assert checked.returncode == 0, checked.stderr
    assert "PASS" in checked.stdout
    for shown in (planned, ran, checked):
        assert "synthetic" in shown.stdout
    assert "FAIL" not in checked.stdout


def test_plan_of_a_half_done_store(stored: World):
    unmark(stored.store, 3)
    result = stored.command("plan", stored.catalog, "--store", stored.store)
    assert "1 of 4 blocks are to be done, 3 rasters" in result.stdout
    assert stored.run().exit_code == 0
    result = stored.command("plan", stored.catalog, "--store", stored.store)
    assert "nothing is to be done" in result.stdout


def test_an_empty_folder_is_a_place_for_a_store(world: World):
    world.store.mkdir()
    assert world.run().exit_code == 0
    assert world.command("check", world.store).exit_code == 0


def no_raster(world: World) -> Path:
    for day in range(12):
        world.raster(day).unlink()
    return world.folder / "rain"


def a_hole(world: World) -> Path:
    world.raster(4).unlink()
    return world.raster(4)


def an_overlap(world: World) -> Path:
    rain = {"driver": "geotiff", "units": "mm", "files": "rain/rain_{time:%Y%m%d%H}.tif"}
    world.edit(forcings={"precipitation": rain})
    for day in range(12):
        world.raster(day).rename(world.folder / "rain" / f"rain_202001{day + 1:02d}00.tif")
    late = world.folder / "rain" / "rain_2020010412.tif"
    write_raster(late, world.rain[3])
    return late


def another_shape(world: World) -> Path:
    write_raster(world.raster(4), world.rain[4][:-1])
    return world.raster(4)


def another_crs(world: World) -> Path:
    write_raster(world.raster(4), world.rain[4], crs="EPSG:4269")
    return world.raster(4)


def another_place(world: World) -> Path:
    moved = from_origin(WEST + PIXEL, NORTH, PIXEL, PIXEL)
    write_raster(world.raster(4), world.rain[4], transform=moved)
    return world.raster(4)


def projected(world: World) -> Path:
    write_raster(world.raster(0), world.rain[0], crs="EPSG:5070")
    return world.raster(0)


def unreadable(world: World) -> Path:
    world.raster(4).write_bytes(world.raster(4).read_bytes()[:300])
    return world.raster(4)


def not_a_raster(world: World) -> Path:
    world.raster(0).write_text("<html>not found</html>")
    return world.raster(0)


def polygon_elsewhere(world: World) -> Path:
    path = world.folder / "basins.geojson"
    write_polygons(path, {**BOXES, "01000002": (-80.5, 42.1, -80.4, 42.2)})
    return path


def polygon_half_outside(world: World) -> Path:
    path = world.folder / "basins.geojson"
    write_polygons(path, {**BOXES, "01000002": (-92.6, 42.1, -92.3, 42.2)})
    return path


def gauge_without_polygon(world: World) -> Path:
    settings = {"file": "basins.geojson", "site_field": "site"}
    world.edit(watersheds={**settings, "sites": ["01000001", "01000009"]})
    return world.folder / "basins.geojson"


def polygon_without_gauge(world: World) -> Path:
    path = world.folder / "discharge.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "01000002" not in line))
    return path


def record_without_overlap(world: World) -> Path:
    path = world.folder / "discharge.csv"
    path.write_text(path.read_text().replace("2020-", "1990-"))
    return path


def missing_catalog(world: World) -> Path:
    world.catalog.unlink()
    return world.catalog


def unknown_key(world: World) -> Path:
    world.edit(periode=3)
    return world.catalog


def missing_gauge_file(world: World) -> Path:
    (world.folder / "discharge.csv").unlink()
    return world.folder / "discharge.csv"


def missing_polygons(world: World) -> Path:
    (world.folder / "basins.geojson").unlink()
    return world.folder / "basins.geojson"


def missing_terrain(world: World) -> Path:
    world.edit(terrain={"dem": "dem.tif"})
    return world.folder / "dem.tif"


def file_in_the_way(world: World) -> Path:
    world.store.write_text("a file")
    return world.store


def folder_in_the_way(world: World) -> Path:
    (world.store / "pictures").mkdir(parents=True)
    return world.store


def set_text(old: str, new: str) -> Callable[[World], Path]:
    """Spoils the catalog's text."""

    def spoil(world: World) -> Path:
        text = world.catalog.read_text()
        assert old in text
        world.catalog.write_text(text.replace(old, new))
        return world.catalog

    return spoil


def set_discharge(old: str, new: str) -> Callable[[World], Path]:
    """Spoils the first such text of the discharge record."""

    def spoil(world: World) -> Path:
        path = world.folder / "discharge.csv"
        path.write_text(path.read_text().replace(old, new, 1))
        return path

    return spoil


def feet_in_a_column_name(world: World) -> Path:
    columns = {"discharge": "discharge_cfs"}
    gauges = {"format": "csv", "files": "discharge.csv", "units": "m3/s", "columns": columns}
    world.edit(gauges=gauges)
    return set_discharge("discharge", "discharge_cfs")(world)


def time_format_unknown(world: World) -> Path:
    gauges = {"format": "csv", "files": "discharge.csv", "units": "m3/s", "time_format": "%Q"}
    world.edit(gauges=gauges)
    return world.catalog


def raster_nowhere(world: World) -> Path:
    write_raster(world.raster(0), world.rain[0], transform=from_origin(np.nan, 0, PIXEL, PIXEL))
    return world.raster(0)


def set_polygons(**properties: object) -> Callable[[World], Path]:
    """Spoils the first polygon's properties, or its geometry."""

    def spoil(world: World) -> Path:
        path = world.folder / "basins.geojson"
        table = json.loads(path.read_text())
        geometry = properties.get("geometry", table["features"][0]["geometry"])
        table["features"][0] |= {"geometry": geometry}
        for feature in table["features"]:
            feature["properties"] |= {"area": "large"}
        table["features"][0]["properties"] |= {k: v for k, v in properties.items() if k == "site"}
        path.write_text(json.dumps(table))
        if "area" in properties:
            settings = {"file": "basins.geojson", "site_field": "site", "area_field": "area"}
            world.edit(watersheds=settings)
        return path

    return spoil


BAD_INPUT = [
    set_text("'2020-01-01T00:00:00'", "2020-02-30"),  # no such day
    set_text("'2020-01-01T00:00:00'", "0001-01-01"),
    set_text("'2020-01-13T00:00:00'", "9999-01-01"),
    set_text("block_steps: 3", "block_steps: 3\nblock_steps: 4"),
    set_text("block_steps: 3", "bounds: [-.inf, 40, .inf, 43]"),
    set_text("block_steps: 3", "bounds: [.nan, 40, -90, 43]"),
    set_text("block_steps: 3", 'root: "a\\0b"'),
    set_text("units: mm", "units: mm\n    time: {offset: 99999999999999h}"),
    set_text("forcings:", "forcings:\n  time: {driver: geotiff, files: '{time:%Y}', units: mm}"),
    set_text("forcings:", "forcings:\n  a/b: {driver: geotiff, files: '{time:%Y}', units: mm}"),
    set_discharge("2020-01-03", "9999-01-03"),
    feet_in_a_column_name,
    time_format_unknown,
    raster_nowhere,
    set_polygons(area="large"),
    set_polygons(site=None),
    set_polygons(site="a/b"),
    set_polygons(geometry=None),
    set_polygons(geometry={"type": "Polygon", "coordinates": [[[np.nan, 1], [2, 2], [3, 1]]]}),
    no_raster,
    a_hole,
    an_overlap,
    another_shape,
    another_crs,
    another_place,
    projected,
    unreadable,
    not_a_raster,
    polygon_elsewhere,
    polygon_half_outside,
    gauge_without_polygon,
    polygon_without_gauge,
    record_without_overlap,
    missing_catalog,
    unknown_key,
    missing_gauge_file,
    missing_polygons,
    missing_terrain,
    file_in_the_way,
    folder_in_the_way,
]


def require_one_line(result, code: int, *fragments: object) -> None:
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for fragment in fragments:
        assert str(fragment) in line


@pytest.mark.parametrize("spoil", BAD_INPUT)
def test_bad_input_is_one_line_that_names_the_file(world: World, spoil: Callable[[World], Path]):
    named = spoil(world)
    require_one_line(world.run(), 2, named, "expected")
    assert world.command("check", world.store).exit_code != 0, "no half-written store passes"


def test_a_store_from_another_catalog(stored: World):
    before = {p: p.read_bytes() for p in stored.store.rglob("*") if p.is_file()}
    stored.edit(period={"step": "day", "start": "2020-01-01", "end": "2020-01-12"})
    for command in (
        stored.run,
        lambda: stored.command("plan", stored.catalog, "--store", stored.store),
    ):
        require_one_line(command(), 2, stored.store, "period.end", "2020-01-13", "2020-01-12")
    assert {p: p.read_bytes() for p in stored.store.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("place", "code", "says"),
    [
        ("/proc/store.zarr", 1, "permission to write"),
        ("/proc/version/store.zarr", 2, "expected a folder"),
    ],
)
def test_a_place_that_cannot_be_written(world: World, place: str, code: int, says: str):
    result = world.command("run", world.catalog, "--store", place)
    require_one_line(result, code, place, says)


def test_a_disk_that_fills_up(world: World):
    """The limit on a file's size stands for the disk's: the system refuses the write alike."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))"
    code = f"{limit}; import sys; sys.argv[0] = 'pipeline'; import runpy; "
    code += "runpy.run_module('pipeline', run_name='__main__')"
    command = [sys.executable, "-c", code, "run", str(world.catalog), "--store", str(world.store)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    assert len(errors) == 1
    assert f"{world.store}: not written" in errors[0]
    assert world.run().exit_code == 0
    assert world.command("check", world.store).exit_code == 0


def test_a_disk_that_fills_up_later(world: World, monkeypatch: pytest.MonkeyPatch):
    replace, blocks = fence._replace_file, 5  # of the 8 files of the blocks

    def full(store: Path, run: str, key: str, content: bytes) -> None:
        nonlocal blocks
        blocks -= key.startswith(("region/precipitation/c", "region/valid_fraction/c"))
        if blocks < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(store, run, key, content)

    with monkeypatch.context() as patch:
        patch.setattr(fence, "_replace_file", full)
        require_one_line(
            world.run(), 1, world.store, "No space left on device", "continues from there"
        )
    assert world.command("check", world.store).exit_code == 1
    assert world.run().exit_code == 0
    assert world.command("check", world.store).exit_code == 0


def test_usage(world: World):
    assert world.command("run", world.catalog).exit_code == 2
    assert world.command("run").exit_code == 2
    assert world.command("nonsense").exit_code == 2
    assert (
        world.command("run", world.catalog, "--store", world.store, "--workers", 0).exit_code == 2
    )


def test_workers_and_a_scheduler(world: World):
    result = world.command(
        "run", world.catalog, "--store", world.store, "--workers", 2, "--scheduler", "tcp://h:1"
    )
    require_one_line(result, 2, "--workers")


def test_a_scheduler_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    result = world.command(
        "run", world.catalog, "--store", world.store, "--scheduler", "tcp://127.0.0.1:9"
    )
    require_one_line(result, 1, "tcp://127.0.0.1:9")
    assert not world.store.exists()


def test_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[Path, bool]] = []

    def make_sample(directory: Path, *, tiny: bool = False) -> Path:
        asked.append((directory, tiny))
        return directory / "catalog.yaml"

    monkeypatch.setattr("pipeline.sample.make.make_sample", make_sample)
    result = CliRunner().invoke(app, ["sample", str(tmp_path / "world"), "--tiny"])
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "world" / "catalog.yaml")]
    assert asked == [(tmp_path / "world", True)]


def test_sample_keeps_what_is_not_its_own(tmp_path: Path):
    (tmp_path / "truth.json").write_text('["mine"]')
    result = CliRunner().invoke(app, ["sample", str(tmp_path), "--tiny"])
    require_one_line(result, 2, tmp_path, "expected a new or empty directory")
    assert (tmp_path / "truth.json").exists()


def test_sample_where_nothing_can_be_written():
    result = CliRunner().invoke(app, ["sample", "/proc/world", "--tiny"])
    require_one_line(result, 1, "/proc/world", "permission to write")


def test_the_current_folder_is_a_place_for_a_store(world: World, monkeypatch: pytest.MonkeyPatch):
    world.store.mkdir()
    monkeypatch.chdir(world.store)
    result = world.command("run", world.catalog, "--store", ".", "--workers", 1)
    monkeypatch.chdir(world.folder)
    assert result.exit_code == 0, result.stderr
    assert world.command("check", world.store).exit_code == 0


def test_a_block_longer_than_the_period(world: World):
    world.edit(block_steps=10**30)
    assert world.run().exit_code == 0
    assert world.command("check", world.store).exit_code == 0


def test_a_scheduler_that_wants_certificates(world: World):
    result = world.command(
        "run", world.catalog, "--store", world.store, "--scheduler", "tls://127.0.0.1:9"
    )
    require_one_line(result, 2, "tls://127.0.0.1:9", "expected")


def test_an_interrupt(world: World, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execute, "_result", interrupted)
        require_one_line(world.run(), 130, "interrupted", "continues")
    assert world.run().exit_code == 0


def test_the_plan_as_json(world: World):
    """Compared with the plan itself, counted by hand: 12 rasters of a day, blocks of 3."""
    result = world.command("plan", world.catalog, "--store", world.store, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    plan = make_plan(load_catalog(world.catalog), None, MemoryLimit(None, available_cores()))
    (source,) = said["sources"]
    assert source["rasters"] == 12
    assert source["bytes"] == sum(world.raster(day).stat().st_size for day in range(12))
    assert (said["blocks"], said["block_steps"]) == (len(plan.blocks), 3)
    assert said["period"]["steps"] == 12
    assert said["region"]["bounds"] == list(plan.grid.bounds)
    assert [one["site"] for one in said["watersheds"]] == plan.sites == sorted(BOXES)
    assert said["worker_bytes"] == plan.memory.needed(3)
    left = {"blocks": 4, "rasters": 12, "tables": True, "exists": False, "finished": False}
    assert left.items() <= said["store"].items()
    assert not world.store.exists()
    assert world.run().exit_code == 0
    again = json.loads(
        world.command("plan", world.catalog, "--store", world.store, "--json").stdout
    )
    done = {"blocks": 0, "rasters": 0, "tables": False, "exists": True, "finished": True}
    assert done.items() <= again["store"].items()


def test_workers_of_a_plan_are_those_of_the_run_it_plans(world: World):
    def threads(*options: object) -> int:
        said = world.command("plan", world.catalog, "--json", *options).stdout
        return json.loads(said)["threads"]

    assert threads("--workers", 3) == 3
    assert threads("--workers", 3, "--processes") == 1
    assert threads() == available_cores()


def test_checks_as_json_also_when_they_fail(stored: World):
    result = stored.command("check", stored.store, "--json")
    said = json.loads(result.stdout)
    assert said["checks"] == [vars(check) for check in check_store(stored.store)]
    assert (said["store"], said["synthetic"], said["failed"]) == (str(stored.store), True, [])
    unmark(stored.store, 1)
    result = stored.command("check", stored.store, "--json")
    require_one_line(result, 1, "failed: blocks")
    assert json.loads(result.stdout)["failed"] == ["blocks"]


def test_descriptions_as_json(world: World):
    files = [world.raster(0), world.folder / "discharge.csv"]
    result = world.command("inspect", *files, "--json")
    assert result.exit_code == 0, result.stderr
    raster, record = json.loads(result.stdout)
    found = inspect_file(files[0])
    assert (raster["path"], raster["kind"]) == (str(files[0]), "raster")
    assert [(one["label"], one["text"]) for one in raster["facts"]] == found.facts
    assert raster["keys"].keys() == found.keys.keys()
    assert record["kind"] == "record"
    assert any(set(BOXES) <= set(sites) for sites in record["sites"].values())


@pytest.mark.parametrize("command", [("plan", "CATALOG"), ("check", "STORE"), ("inspect", "STORE")])
def test_an_error_leaves_no_json(world: World, command: tuple[str, str]):
    name, place = command
    world.catalog.write_text("title: 3")
    paths = {"CATALOG": world.catalog, "STORE": world.store}
    result = world.command(name, paths[place], "--json")
    require_one_line(result, 2, paths[place])
    assert result.stdout == ""


def test_a_log_of_json_lines(world: World):
    result = world.command(
        "run", world.catalog, "--store", world.store, "--workers", 1, "--log-json"
    )
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert {"time", "level", "logger", "message", "fields"} == set.intersection(*map(set, lines))
    blocks = [line["fields"] for line in lines if line["message"].startswith("block ")]
    assert sum(block["rasters"] for block in blocks) == 12
    assert [line["message"] for line in lines if line["level"] == "warning"] == [
        "2 watersheds: no terrain: outlets are guessed, distances are straight ones times a factor"
    ]
    refused = world.command("run", world.folder / "no.yaml", "--store", world.store, "--log-json")
    (line,) = map(json.loads, refused.stderr.splitlines())
    assert (line["level"], line["fields"]["exit_code"]) == ("error", refused.exit_code)
    assert "no.yaml" in line["message"]


def test_warnings_stand_in_the_summary(world: World):
    result = world.run()
    head, line, last = result.stdout.splitlines()[-3:]
    assert head == "warnings: 1"
    assert "no terrain: outlets are guessed" in line
    assert "4 of 4 blocks" in last
