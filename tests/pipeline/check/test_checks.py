"""Each check passes on a sound store, and fails on a store damaged in its way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from rich.console import Console

from pipeline.check.checks import check_store, print_checks
from pipeline.check.contents import Check
from pipeline.errors import InputError
from tests.pipeline.handmade import World, write_raster
from tests.pipeline.stores import set_attributes, stored_array

TABLE = "watersheds"


def verdicts(world: World) -> dict[str, Check]:
    return {check.name: check for check in check_store(world.store)}


def array(world: World, name: str) -> zarr.Array:
    return stored_array(world.store, name)


def test_a_sound_store_passes(stored: World):
    checks = verdicts(stored)
    assert [name for name, check in checks.items() if check.status == "FAIL"] == []
    assert checks["conservation"].status == "PASS"
    assert checks["flow distance"].status == "WARN", "this world has no terrain"


def scale(name: str, factor: float) -> Callable[[World], None]:
    def damage(world: World) -> None:
        values = array(world, name)
        values[...] = np.asarray(values[...]) * factor

    return damage


def put(name: str, at: tuple, value: float) -> Callable[[World], None]:
    def damage(world: World) -> None:
        array(world, name)[at] = value

    return damage


def remove(name: str) -> Callable[[World], None]:
    def damage(world: World) -> None:
        for path in sorted((world.store / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()

    return damage


def truncate(name: str) -> Callable[[World], None]:
    def damage(world: World) -> None:
        chunk = world.store / name
        chunk.write_bytes(chunk.read_bytes()[:20])

    return damage


FAULTS = [
    ("static", remove(f"{TABLE}/coverage")),
    ("static", scale("gauges/discharge", 1.0001)),
    ("template", lambda world: set_attributes(world.store, tables=None)),
    ("blocks", put("progress/precipitation", (1,), 0)),
    ("time", put("time", (4,), 0)),
    ("time", put("time_bnds", (4, 1), 0)),
    ("coverage", scale(f"{TABLE}/coverage", 0.99999)),
    ("coverage", put(f"{TABLE}/coverage", (1,), 1.5)),
    ("flow distance", put(f"{TABLE}/flow_distance", (1,), np.nan)),
    ("flow distance", put(f"{TABLE}/flow_distance", (1,), 0.0)),
    ("precipitation", put("region/precipitation", (5, 0, 0), np.nan)),
    ("precipitation", put("region/precipitation", (5, 0, 0), -1.0)),
    ("precipitation", put("region/precipitation", (5, 0, 0), 3276.7)),
    ("precipitation", remove("region/precipitation/c/2")),
    ("precipitation", remove("region/valid_fraction/c/2")),
    ("conservation", scale("region/precipitation", 1.0001)),
    ("water balance", scale("gauges/discharge", 35.3)),
    ("discharge", scale("gauges/discharge", np.nan)),
    ("readable", truncate("region/precipitation/c/1/0/0")),
]


@pytest.mark.parametrize(("name", "damage"), FAULTS)
def test_damage_fails_its_check(stored: World, name: str, damage: Callable[[World], None]):
    damage(stored)
    check = verdicts(stored)[name]
    assert check.status == "FAIL", check
    result = stored.command("check", stored.store)
    assert result.exit_code == 1
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_year_with_more_runoff_than_rain_is_reported(stored: World):
    stored.edit(title="the same")  # the catalog moved on: raw files are not compared
    scale("gauges/discharge", 0.001)(stored)
    checks = verdicts(stored)
    assert checks["conservation"].status == "WARN"
    assert checks["water balance"].status == "WARN"
    assert "in 12 days, too few to tell" in checks["water balance"].detail


def test_raw_files_that_changed_or_went_away(stored: World):
    for day in range(12):
        write_raster(stored.raster(day), stored.rain[day] + 1)
    assert verdicts(stored)["conservation"].status == "FAIL"
    for day in range(12):
        stored.raster(day).unlink()
    assert verdicts(stored)["conservation"].status == "WARN"


def test_the_table_shows_verdict_and_numbers(stored: World):
    console = Console(record=True, width=120)
    checks = check_store(stored.store)
    print_checks(stored.store, [*checks, replace(checks[0], detail="Basin [/old]")], console)
    text = console.export_text()
    assert "Basin [/old]" in text
    assert "conservation" in text
    assert "PASS" in text


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="holds no store"):
        check_store(tmp_path / "nothing")


def test_every_static_file_is_verified(stored: World):
    """Gone or cut short, one at a time: `check` fails with one line, whatever the file."""
    region = ("region/precipitation/c", "region/valid_fraction/c")
    files = [p for p in stored.store.rglob("*") if p.is_file() and p.parent != stored.store]
    for path in files:
        name = path.relative_to(stored.store).as_posix()
        if name.startswith(("progress/", *region)):
            continue
        content = path.read_bytes()
        for damaged in (None, content[: len(content) // 2]):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            result = stored.command("check", stored.store)
            assert result.exit_code == 1, (name, damaged)
            assert len(result.stderr.splitlines()) == 1
            path.write_bytes(content)
    assert stored.command("check", stored.store).exit_code == 0


def test_damaged_marks(stored: World):
    (stored.store / "progress/precipitation/c/0").write_bytes(b"123")
    assert stored.command("check", stored.store).exit_code == 1
    for command in (
        stored.run,
        lambda: stored.command("plan", stored.catalog, "--store", stored.store),
    ):
        result = command()
        assert result.exit_code == 2
        assert "progress" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_temperature_that_is_none_fails(tiny_store: Path, tmp_path: Path):
    """A missing code among the pixels of a mean passes for no other reason."""
    store = tmp_path / "store.zarr"
    shutil.copytree(tiny_store, store)
    zarr.open_array(store, path="region/temperature", mode="r+")[5, 0, 0] = -6398.0
    (check,) = (check for check in check_store(store) if check.name == "temperature")
    assert check.status == "FAIL"
    assert "-6398" in check.detail
    assert "missing code" in check.detail
