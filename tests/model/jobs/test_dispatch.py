"""Which pack goes to which worker, when: workers of this process, some with a GPU made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pandas as pd
import pytest
from distributed import Client, SpecCluster, Worker, get_worker
from distributed.scheduler import Scheduler
from distributed.utils import sync

from model.inputs.watershed import Survey
from model.jobs import dispatch, fleet, schedule
from model.jobs.dispatch import Heads
from model.jobs.schedule import Jobs
from model.jobs.tasks import PackResult
from model.output.progress import Progress
from model.output.run_directory import Run
from model.settings import Settings
from model.training.memory import Record, device_bytes
from pipeline.errors import RunError
from pipeline.run.cluster import LOST
from pipeline.run.cuda import GPU

RECORD = Record(steps=3000, learnable=2000, step_seconds=86400.0, forcings=2)
CELLS = {f"{i:02d}": 10 * i for i in range(1, 9)}
LOCAL = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
LARGEST = device_bytes(80, 1e4, RECORD, Settings())


def heads_of(cells: dict[str, int]) -> Heads:
    times = pd.date_range("2000", periods=RECORD.steps)
    paths = dict.fromkeys(cells, 1e4)
    survey = Survey("", True, times, cells, cells, paths, RECORD.forcings, "")
    costs = {site: float(size) for site, size in cells.items()}
    return Heads(costs, survey, RECORD, Settings())


def spec(gpu: bool) -> dict[str, Any]:
    options = {"nthreads": 1, "resources": {GPU: 1} if gpu else {}, **LOCAL}
    return {"cls": Worker, "options": options}


class World:
    """A cluster whose workers come and go, and what trained where.

    Attributes:
        trained: (device, site numbers) of each pack, in the order of their ends.
        gates: packs wait for these, by their first site number.
    """

    def __init__(self, folder: Path, workers: dict[str, bool], memory: int) -> None:
        self.memory = memory
        self.trained: list[tuple[str, list[str]]] = []
        self.gates: dict[str, threading.Event] = {}
        self.too_large: list[str] = []
        self.cluster = SpecCluster(
            workers={name: spec(gpu) for name, gpu in workers.items()},
            scheduler={"cls": Scheduler, "options": LOCAL},
            silence_logs=False,
        )
        self.client = Client(self.cluster)
        self.run = Run(folder / "run")
        self.run.folder.mkdir()

    def train(self, _: str, rows: dict[str, int], *others: Any) -> PackResult:
        """Stand in for `train_pack`."""
        device, sites = others[3], list(rows)
        if sites[0] in self.gates:
            assert self.gates[sites[0]].wait(20)
        if device != "cpu":
            assert get_worker().state.total_resources == {GPU: 1}
        self.trained.append((device, sites))
        if device != "cpu" and len(sites) > 1 and self.too_large:
            return PackResult([], [], [self.too_large.pop(), *sites][1:])
        trained = {"nse": 0.5, "validation_nse": 0.5, "updates": 1}
        score = trained | {"worker": get_worker().address, "busy": 0.0, "warnings": []}
        return PackResult([score | {"site_no": site} for site in sites], [], [])

    def start(self, cells: dict[str, int]) -> list[str]:
        """Train heads to the end; returns the trained sites and the failures."""
        jobs = Jobs("store", self.run, Settings(), self.client, Progress())
        rows = {site: row for row, site in enumerate(cells)}
        scores, failures = jobs.train_heads(heads_of(cells), rows, None)
        return [score["site_no"] for score in scores] + failures

    def wait_until_busy(self) -> None:
        """Wait until a pack is in training."""
        while not any(key.startswith("train") for keys in self.busy() for key in keys):
            time.sleep(0.02)

    def busy(self) -> Iterable[Sequence[str]]:
        return self.client.processing().values()

    def change(self, name: str, gpu: bool | None) -> None:
        """Add a worker, or remove one."""
        if gpu is None:
            del self.cluster.worker_spec[name]
        else:
            self.cluster.worker_spec[name] = spec(gpu)
        self.cluster.sync(self.cluster._correct_state)


CURRENT: list[World] = []  # tasks reach it by name, as they are pickled
Start = Callable[..., World]


def train_here(*arguments: Any) -> PackResult:
    return CURRENT[-1].train(*arguments)


def fail_for_one(*arguments: Any) -> PackResult:
    if "03" in arguments[1]:
        raise OSError("disk full")
    return train_here(*arguments)


def offer_here() -> int | str:
    """As much memory as the test says, of which a pack gets a share."""
    return int(CURRENT[-1].memory / fleet.GPU_SHARE) + 1


def offer_nothing() -> str:
    worker = get_worker()
    sync(worker.loop, worker.set_resources, **{GPU: 0})
    return "no kernel image"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(dispatch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(schedule, "train_pack", train_here)
    monkeypatch.setattr(fleet, "offer_gpu", offer_here)

    def make(memory: int = 0, **workers: bool) -> World:
        CURRENT.append(World(tmp_path, workers, memory))
        return CURRENT[-1]

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        yield make
        while CURRENT:
            world = CURRENT.pop()
            world.client.close()
            world.cluster.close()


def test_cpus_train_one_head_after_the_other_the_largest_first(start: Start) -> None:
    world = start(one=False)
    assert world.start(CELLS) == sorted(CELLS)
    assert world.trained == [("cpu", [site]) for site in sorted(CELLS, reverse=True)]


def test_gpus_train_packs_within_their_memory(start: Start) -> None:
    world = start(LARGEST * 3, one=True, two=False)
    assert world.start(CELLS) == sorted(CELLS)
    assert {device for device, _ in world.trained} == {"cuda:0"}, "the CPU worker is not used"
    for _, pack in world.trained:
        used = len(pack) * device_bytes(CELLS[pack[0]], 1e4, RECORD, Settings())
        assert used <= LARGEST * 3, pack
    assert len(world.trained) < len(CELLS)


def test_heads_that_have_not_begun_move_to_a_gpu_that_joins(start: Start) -> None:
    world = start(10 * LARGEST, one=False)
    world.gates["08"] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(world.start, CELLS)
        world.wait_until_busy()
        world.change("late", gpu=True)
        while not world.trained:
            assert not done.done()
            time.sleep(0.02)
        assert world.trained == [("cuda:0", ["07", "06", "05", "04", "03", "02", "01"])]
        world.gates["08"].set()
        assert done.result(30) == sorted(CELLS)
    assert world.trained[1:] == [("cpu", ["08"])]


def test_packs_of_a_gpu_that_has_gone_are_trained_on_cpus(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "GPU_RETURN_SECONDS", 0.3)
    world = start(10 * LARGEST, gone=True, stays=False)
    gate = world.gates["08"] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(world.start, CELLS)
        world.wait_until_busy()
        del world.gates["08"]
        threading.Timer(0.3, gate.set).start()  # a worker that ends waits for its threads
        world.change("gone", gpu=None)
        assert done.result(30) == sorted(CELLS)
    assert [pack for pack in world.trained if pack[0] == "cpu"] == [
        ("cpu", [site]) for site in sorted(CELLS, reverse=True)
    ]


def test_a_gpu_that_pytorch_cannot_use_is_a_cpu(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    world = start(one=True)
    monkeypatch.setattr(fleet, "offer_gpu", offer_nothing)
    assert world.start(CELLS) == sorted(CELLS)
    assert {device for device, _ in world.trained} == {"cpu"}
    assert "has a GPU that is not used: PyTorch: no kernel image" in caplog.text


def test_a_pack_that_is_too_large_is_halved(start: Start) -> None:
    world = start(8 * LARGEST, one=True)
    world.too_large = [""]
    assert world.start(CELLS) == sorted(CELLS)
    first, *rest = world.trained
    assert len(first[1]) == len(CELLS)
    assert sorted(site for _, pack in rest for site in pack) == sorted(CELLS)
    assert all(
        len(pack) * device_bytes(CELLS[pack[0]], 1e4, RECORD, Settings()) <= 4 * LARGEST
        for _, pack in rest
    )


def test_a_task_that_fails_is_named_and_the_others_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = start(one=False)
    monkeypatch.setattr(schedule, "train_pack", fail_for_one)
    assert world.start(CELLS) == [*sorted(CELLS.keys() - {"03"}), "03: disk full"]


def test_a_scheduler_that_ends_is_one_line(start: Start) -> None:
    world = start(one=False)
    gate = world.gates["08"] = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(world.start, CELLS)
        world.wait_until_busy()
        scheduler: Any = world.cluster.scheduler
        world.cluster.sync(scheduler.close)
        with pytest.raises(RunError, match=r"lost the scheduler or its workers"):
            done.result(30)
        gate.set()


def test_a_client_that_has_lost_its_scheduler_is_lost() -> None:
    """It then answers with what it knows, which is nothing."""
    client: Any = SimpleNamespace(scheduler_info=lambda n_workers: {})
    with pytest.raises(LOST):
        fleet.Fleet(client).refresh()


def test_without_a_worker_one_is_asked_for_and_waited_for(start: Start, caplog: Any) -> None:
    world = start()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(world.start, CELLS)
        scheduler: Any = world.cluster.scheduler
        deadline = time.monotonic() + 30
        while scheduler.adaptive_target() == 0:  # as an adaptive cluster asks
            assert time.monotonic() < deadline
            time.sleep(0.02)
        world.change("late", gpu=False)
        assert done.result(30) == sorted(CELLS)
    lines = [line for line in caplog.messages if "worker" in line]
    assert lines.count("no worker is left: 8 heads wait for one") == 1
