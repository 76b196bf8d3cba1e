"""Runs on clusters of separate programs, whose workers die, leave, come late or hang."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from pipeline.catalog.models import load_catalog
from pipeline.errors import RunError
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import open_region
from tests.pipeline.handmade import World, write_raster
from tests.pipeline.run.programs import Programs, programs, wait_for
from tests.pipeline.stores import contents
from tests.pipeline.test_command_line import require_one_line

BLOCKS = [f"2020-01-{day:02d}" for day in (1, 4, 7, 10)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Programs]:
    """Two workers."""
    with programs(tmp_path / "cluster", 2) as made:
        yield made


@pytest.fixture
def expected(world: World) -> dict[str, bytes]:
    """The store of an undisturbed run, in threads."""
    path = world.folder / "undisturbed.zarr"
    run(load_catalog(world.catalog), path)
    return contents(path)


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start a call in a thread; what it returns or raises comes in a list."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001, for the test to look at
            outcome.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread, outcome


def run_on(cluster: Programs, world: World) -> tuple[threading.Thread, list[Any]]:
    """Start a run on the cluster."""

    def call() -> Any:
        with make_client(scheduler_file=cluster.file, wait=60) as client:
            return run(load_catalog(world.catalog), world.store, client)

    return in_background(call)


def finish(thread: threading.Thread, outcome: list[Any]) -> Any:
    thread.join(90)
    assert not thread.is_alive()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def test_workers_die_leave_and_come_late(
    world: World, cluster: Programs, expected: dict[str, bytes]
):
    """All that hold what every block needs are killed, a late one does it, and is retired."""
    for block in BLOCKS:
        cluster.close(block)
    running = run_on(cluster, world)
    first = list(cluster.workers)
    wait_for(lambda: sum(map(cluster.waits, BLOCKS)) == 2)
    with Client(cluster.address, timeout=30) as client:

        def addresses() -> dict[str, int]:
            return client.run(os.getpid)

        (shared,) = (key for key in client.who_has() if str(key).startswith("share-"))
        assert len(client.who_has()[shared]) == 2
        for program in first:
            program.kill()
        late = cluster.add_worker()
        wait_for(lambda: any(cluster.holder(b) == late.pid for b in BLOCKS if cluster.waits(b)))
        last = cluster.add_worker()
        wait_for(lambda: any(cluster.holder(b) == last.pid for b in BLOCKS if cluster.waits(b)))
        (leaving,) = (worker for worker, pid in addresses().items() if pid == late.pid)
        retired = in_background(lambda: client.retire_workers([leaving], close_workers=True))
        for block in BLOCKS:
            cluster.open(block)
        finish(*running)
        finish(*retired)
    assert contents(world.store) == expected


def test_a_cluster_without_a_worker_is_waited_for(
    world: World, tmp_path: Path, expected: dict[str, bytes]
):
    with programs(tmp_path / "cluster", 0) as cluster:
        options = ["--store", world.store, "--scheduler-file", cluster.file]
        refused = world.command("run", world.catalog, *options, "--wait", "0.5s")
        require_one_line(refused, 1, "no worker in 0.5 s", "--wait")
        running = in_background(
            lambda: world.command("run", world.catalog, *options, "--wait", "1min")
        )
        cluster.add_worker()
        result = finish(*running)
        assert result.exit_code == 0, result.output
    assert contents(world.store) == expected


def test_what_a_lost_run_still_writes_changes_nothing(world: World, cluster: Programs):
    """A block hangs, its run ends, another run does it from a newer raster; then it wakes up."""
    good = world.raster(11).read_bytes()
    world.raster(11).write_bytes(b"not a raster")
    cluster.close(BLOCKS[0])
    running = run_on(cluster, world)
    wait_for(lambda: cluster.waits(BLOCKS[0]))
    with pytest.raises(Exception, match="rain_20200112"):
        finish(*running)
    world.raster(11).write_bytes(good)
    write_raster(world.raster(1), world.rain[1] + 100)
    run(load_catalog(world.catalog), world.store)
    after = contents(world.store)
    assert float(open_region(world.store).precipitation[1].min()) > 99
    cluster.open(BLOCKS[0])
    wait_for(lambda: cluster.is_over(BLOCKS[0]))
    assert contents(world.store) == after
    assert not list(world.store.rglob("*.partial"))


def test_a_second_client_is_refused_and_may_take_over(
    world: World, cluster: Programs, expected: dict[str, bytes]
):
    cluster.close(BLOCKS[1])
    running = run_on(cluster, world)
    wait_for(lambda: cluster.waits(BLOCKS[1]))
    require_one_line(world.run(), 1, "held by a run of", "--take-over")
    taken = world.command("run", world.catalog, "--store", world.store, "--take-over")
    assert taken.exit_code == 0, taken.output
    assert contents(world.store) == expected
    cluster.open(BLOCKS[1])
    with pytest.raises(RunError, match="lease of this run"):
        finish(*running)
    assert contents(world.store) == expected
