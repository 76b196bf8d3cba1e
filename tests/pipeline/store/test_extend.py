"""Extending a store's period: against a store written in one go, whatever interrupts it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from pipeline.catalog.models import load_catalog
from pipeline.check.checks import check_store
from pipeline.errors import InputError, RunError
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.run.plan import make_plan
from pipeline.store import fence
from pipeline.store.read import open_region, open_watershed
from pipeline.store.root import Stored, attributes_of, open_root
from tests.pipeline.handmade import BOXES, World
from tests.pipeline.run.test_execute import KILLED
from tests.pipeline.stores import contents

SITE = min(BOXES)
WHOLE = "2020-01-13T00:00:00"  # end of the twelve days, in four blocks of three


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def set_end(world: World, end: str, **keys: object) -> None:
    world.edit(period={"step": "day", "start": "2020-01-01T00:00:00", "end": end}, **keys)


def write(world: World, client: Client, end: str, **keys: object) -> None:
    """A store that ends early; the catalog is left with the whole period."""
    set_end(world, end, **keys)
    run(load_catalog(world.catalog), world.store, client)
    set_end(world, WHOLE)


def in_one_go(world: World, client: Client) -> dict[str, bytes]:
    path = world.folder / "fresh.zarr"
    run(load_catalog(world.catalog), path, client)
    return contents(path)


@pytest.mark.parametrize(
    ("end", "done"),
    [
        ("2020-01-07T00:00:00", ["2020-01-07", "2020-01-10"]),  # whole blocks
        ("2020-01-09T00:00:00", ["2020-01-07", "2020-01-10"]),  # the last one short
        ("2020-01-12T00:00:00", ["2020-01-10"]),  # no new block
    ],
)
def test_extended_it_is_the_store_of_one_go(
    world: World, client: Client, caplog, end: str, done: list[str]
):
    write(world, client, end)
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(world.catalog), world.store, client)
    assert sorted(block.name for block in report.blocks) == done
    assert "to 12 steps" in caplog.text
    assert "has changed" not in caplog.text
    assert contents(world.store) == in_one_go(world, client)
    assert run(load_catalog(world.catalog), world.store, client).blocks == []
    verdicts = {check.name: check.status for check in check_store(world.store)}
    assert verdicts["static"] == verdicts["template"] == verdicts["conservation"] == "PASS"


def test_records_that_grew_or_were_revised_are_rewritten(world: World, client: Client):
    record = world.folder / "discharge.csv"
    full = record.read_text()
    early = [line for line in full.splitlines() if "2020-01-1" not in line]
    record.write_text("\n".join(early).replace(",A", ",P") + "\n")
    flag = {"columns": {"flag": "code"}}
    gauges = {"format": "csv", "files": "discharge.csv", "units": "m3/s", **flag}
    write(world, client, "2020-01-07T00:00:00", gauges=gauges)
    assert set(open_watershed(world.store, SITE).flag.values) == {3}
    record.write_text(full)
    run(load_catalog(world.catalog), world.store, client)
    assert set(open_watershed(world.store, SITE).flag.values) == {1}
    assert contents(world.store) == in_one_go(world, client)


def test_a_raster_that_changed_too_is_noticed(world: World, client: Client, caplog):
    write(world, client, "2020-01-09T00:00:00")
    os.utime(world.raster(1))
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(world.catalog), world.store, client)
    assert "1 of 4 blocks were made from has changed, the first from 2020-01-01" in caplog.text
    assert len(report.blocks) == 3
    assert contents(world.store) == in_one_go(world, client)


def test_without_block_steps_the_store_keeps_its_own(world: World, client: Client):
    write(world, client, "2020-01-06T00:00:00", block_steps=None)
    assert attributes_of(open_root(world.store))["block_steps"] == 1
    run(load_catalog(world.catalog), world.store, client)
    assert attributes_of(open_root(world.store))["block_steps"] == 1
    in_one_go(world, client)
    fresh = open_region(world.folder / "fresh.zarr")
    assert attributes_of(open_root(world.folder / "fresh.zarr"))["block_steps"] == 2
    assert open_region(world.store).equals(fresh)
    assert run(load_catalog(world.catalog), world.store, client).blocks == []


def test_plan_says_what_is_new(world: World, client: Client):
    write(world, client, "2020-01-09T00:00:00")
    before = contents(world.store)
    said = world.command("plan", world.catalog, "--store", world.store)
    assert said.exit_code == 0, said.output
    assert "2 of 4 blocks are to be done, 6 rasters" in said.stdout
    assert contents(world.store) == before


@pytest.mark.parametrize(
    ("stored", "asked", "says"),
    [
        (("01", "09"), ("01", "06"), "period.end is"),
        (("02", "09"), ("01", "09"), "period.start is"),
        (("02", "09"), ("01", "13"), "period.start is"),
    ],
)
def test_other_changes_of_the_period_are_refused(
    world: World, client: Client, stored: tuple[str, str], asked: tuple[str, str], says: str
):
    periods = [
        {"step": "day", "start": f"2020-01-{start}", "end": f"2020-01-{end}"}
        for start, end in (stored, asked)
    ]
    world.edit(period=periods[0])
    run(load_catalog(world.catalog), world.store, client)
    before = contents(world.store)
    world.edit(period=periods[1])
    result = world.run()
    assert result.exit_code == 2
    assert f"written from another catalog: {says}" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert contents(world.store) == before


class Interrupted(RunError):
    """As a full disk, at a certain file."""


def test_interrupted_at_any_file_it_is_unread_and_then_the_same(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
):
    write(world, client, "2020-01-09T00:00:00")
    short, replace = world.folder / "short.zarr", fence._replace_file
    shutil.copytree(world.store, short)
    expected = in_one_go(world, client)
    files: list[Path] = []

    def stop_at(number: int) -> None:
        files.clear()

        def stop(store: Path, run: str, key: str, content: bytes) -> None:
            if len(files) == number:
                raise Interrupted
            files.append(store / key)
            replace(store, run, key, content)

        monkeypatch.setattr(fence, "_replace_file", stop)

    stop_at(10**6)
    run(load_catalog(world.catalog), world.store, client)
    total = len(files)
    assert total > 20
    for number in (0, 1, *range(2, total - 1, 7), total - 1):
        shutil.rmtree(world.store)
        shutil.copytree(short, world.store)
        stop_at(number)
        with pytest.raises(Interrupted):
            run(load_catalog(world.catalog), world.store, client)
        if number:  # else nothing has changed yet
            with pytest.raises(InputError, match=r"not done|not written yet"):
                open_watershed(world.store, SITE)
        stop_at(10**6)
        run(load_catalog(world.catalog), world.store, client)
        assert contents(world.store) == expected, number


def test_interrupted_it_may_be_extended_further(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
):
    write(world, client, "2020-01-06T00:00:00")
    set_end(world, "2020-01-09T00:00:00")

    def stop(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(fence, "_replace_file", stop)
        with pytest.raises(Interrupted):
            run(load_catalog(world.catalog), world.store, client)
    set_end(world, WHOLE)
    run(load_catalog(world.catalog), world.store, client)
    assert contents(world.store) == in_one_go(world, client)


def test_bad_records_leave_the_values_that_are_done(world: World, client: Client):
    write(world, client, "2020-01-09T00:00:00")
    expected = in_one_go(world, client)
    record = world.folder / "discharge.csv"
    good = record.read_text()
    record.write_text(good.replace("2020-01-11,", "2020-01-11,a lot of ", 1))
    result = world.run()
    assert result.exit_code == 2, result.output
    assert "discharge.csv" in result.stderr
    with pytest.raises(InputError, match=r"not written yet|not done"):
        open_watershed(world.store, SITE)
    record.write_text(good)
    run(load_catalog(world.catalog), world.store, client)
    assert contents(world.store) == expected


CHANGES = 180  # of the disk, about as many as an extension and its blocks make


def test_killed_anywhere_and_resumed_it_is_the_same_store(world: World, client: Client):
    write(world, client, "2020-01-09T00:00:00")
    expected = in_one_go(world, client)
    kills = np.random.default_rng(5).permutation(np.linspace(0, CHANGES, 9, dtype=int))
    trials = {}
    for trial, three in enumerate(kills.reshape(3, 3).tolist()):
        store = world.folder / f"killed{trial}.zarr"
        shutil.copytree(world.store, store)
        trials[str(store)] = three
    command = [sys.executable, "-c", KILLED, str(world.catalog), json.dumps(trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (killed, at), line in zip(trials.items(), done.stdout.splitlines(), strict=True):
        fates = json.loads(line)
        assert "killed" in fates, (at, fates)
        assert fates[3] == "exit 0", (at, fates, done.stderr)
        assert contents(Path(killed)) == expected, at
    assert not list(world.folder.rglob("*.partial"))


def test_a_store_in_the_plan_gives_its_block_length(world: World):
    catalog = load_catalog(world.catalog)
    plan = make_plan(catalog)
    assert plan.block_steps == 3
    assert make_plan(catalog, Stored(4, plan.grid)).block_steps == 4
