"""GPUs of workers, on a machine without: dask-cuda's own cluster, on an NVML that is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import Client, LocalCluster

from pipeline.run import cuda
from pipeline.run.cluster import KEEP_FREED_MEMORY, available_cores
from pipeline.run.cuda import GPU, count_gpus, guarded_gpu, offer_gpu

HERE = Path(__file__).parent
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def start(*arguments: str, gpus: int) -> tuple[dict[str, Any], str]:
    """Run the program on made-up GPUs; returns what it found, and its log."""
    if find_spec("dask_cuda") is None:
        reason = "dask-cuda is not installed: expected dom-st[test]"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    path = [HERE / "fake_gpus", HERE.parents[2], os.environ.get("PYTHONPATH", "")]
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.run.cuda_program", *arguments],
        env=environment
        | {"PYTHONPATH": os.pathsep.join(map(str, path)), "MALLOC_ARENA_MAX": "7"}
        | {"FAKE_GPUS": str(gpus)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_dask_cuda_starts_a_worker_per_gpu() -> None:
    """Worker count, resources, loopback, environment, placement, failure and end of life."""
    found, log = start(gpus=2)
    assert [*found["workers"].values()] == [{"resources": {GPU: 1}, "threads": 1}] * 2
    assert found["listening"] == ["127.0.0.1"]

    workers = sorted(found["about"].values(), key=lambda one: one["cores"])
    environments = [one["environment"] for one in workers]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments] == ["0,1", "1,0"]
    for name, value in KEEP_FREED_MEMORY.items():
        assert {one[name.rpartition(".")[2]] for one in environments} == {str(value)}, name
    assert {one["MALLOC_ARENA_MAX"] for one in environments} == {"7"}, "of the parent"
    assert all(one["current"] for one in workers), "the GPU is the process's current one"
    if available_cores() > 1:
        assert [one["cores"] for one in workers] == [[0], [1]], "those near the GPU"

    held = found["held"]
    assert {which for which, *_ in held} == {"0,1", "1,0"}
    for which in ("0,1", "1,0"):
        times = sorted(time for name, *both in held if name == which for time in both)
        spans = sorted(both for name, *both in held if name == which)
        assert times == [time for span in spans for time in span], "one task at a time"
    assert found["memory"] == 61 * 2**30, "free, or kept by PyTorch"

    ended, repeated = found["failed"]
    assert ended in {one["pid"] for one in workers}
    assert repeated != ended
    assert (
        log.count("the GPU has failed, the worker ends: CUDA error: an illegal memory access") == 1
    )
    assert found["left"] == []


def test_more_workers_than_gpus_are_refused() -> None:
    found, _ = start("3", gpus=2)
    assert found["error"] == "--workers 3: NVML finds 2 GPUs: expected at most as many"


@no_gpu
def test_a_worker_that_cannot_use_its_gpu_gives_up_the_resource() -> None:
    """With the real PyTorch of this machine, which finds none."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, resources={GPU: 1},
            dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
        ) as own,
        Client(own) as client,
    ):  # fmt: skip
        reason = client.submit(offer_gpu, resources={GPU: 1}).result()
        assert isinstance(reason, str), reason
        assert "\n" not in reason
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["resources"] == {GPU: 0}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("a bug")])
def test_other_errors_leave_the_worker(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(cuda, "gpu_memory", lambda: 2**30)
    with pytest.raises(type(error), match=str(error)), guarded_gpu():
        raise error


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 4), ("", 0), ("-1", 0), ("2", 1), ("0, 3", 2), ("MIG-a,MIG-b", 2)]
)
def test_only_visible_gpus_count(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.syspath_prepend(str(HERE / "fake_gpus"))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setenv("FAKE_GPUS", "4")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == count
    monkeypatch.delenv("FAKE_GPUS")
    assert count_gpus() == 0, "without NVML"
    monkeypatch.delitem(sys.modules, "pynvml")
