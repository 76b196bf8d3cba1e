"""The ways to get a client, and what is said when there is none to get."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import pytest
import torch
from distributed import Client, LocalCluster

from pipeline.errors import InputError, RunError
from pipeline.run import cluster, cuda
from pipeline.run.cluster import dashboard_address, make_client, wait_for_worker, wait_seconds


@pytest.fixture
def no_client_is_left() -> Iterator[None]:
    """Collect a client that could not connect, which stays Dask's default one until then."""
    yield
    gc.collect()


LOCAL = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}


def where() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


def test_threads_are_in_this_process():
    with make_client(workers=3) as client:
        assert client.submit(where).result()[0] == os.getpid()
        assert list(client.nthreads().values()) == [3]
        with urlopen(dashboard_address(client)) as page:
            assert page.status == 200


def listening() -> set[tuple[str, int]]:
    """Addresses that this process and its children listen on."""
    own = psutil.Process()
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize("processes", [False, True])
def test_a_cluster_of_this_machine_listens_on_loopback_alone(processes: bool):
    before = listening()
    with make_client(processes=processes, workers=1) as client:
        opened = listening() - before
        dashboard = urlsplit(dashboard_address(client))
        assert (dashboard.hostname, dashboard.port) in opened
    assert len(opened) >= (4 if processes else 2)  # scheduler, nanny, worker and dashboards
    assert {address for address, _ in opened} == {"127.0.0.1"}


def test_the_dashboard_has_its_usual_port_and_another_one_where_it_is_in_use(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        usual = probe.getsockname()[1]
    monkeypatch.setattr(cluster, "DASHBOARD_PORT", usual)
    with make_client(workers=1) as one, make_client(workers=1) as other:
        assert dashboard_address(one) == f"http://127.0.0.1:{usual}/status"
        assert dashboard_address(one) != dashboard_address(other)


def test_processes_and_a_scheduler_that_is_already_running(tmp_path: Path, monkeypatch):
    with (
        make_client(processes=True, workers=1) as own,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", **LOCAL
        ) as running,
    ):
        assert own.submit(where).result()[0] != os.getpid()
        assert list(own.nthreads().values()) == [1]
        address = running.scheduler_address
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps({"address": address}))  # as `dask scheduler` does
        with make_client(address) as client:
            assert client.submit(where).result()[0] == os.getpid()
        with make_client(scheduler_file=file) as client:
            assert client.scheduler_info()["address"] == address
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with make_client() as client:
            assert client.scheduler_info()["address"] == address
        assert own.submit(where).result(), "the others left it running"
        with make_client(address) as client:
            assert client.submit(where).result(), "and the scheduler"


@pytest.mark.usefixtures("no_client_is_left")
def test_nobody_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    started = time.perf_counter()
    with (
        pytest.raises(RunError, match=r"tcp://127\.0\.0\.1:9: no answer"),
        make_client("tcp://127.0.0.1:9"),
    ):
        pass
    assert time.perf_counter() - started < 20


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    with LocalCluster(n_workers=0, processes=False, **LOCAL) as empty:
        address = empty.scheduler_address
        with (
            pytest.raises(RunError, match=r"no worker in 0\.5 s: expected .*--wait"),
            make_client(address),
        ):
            pass
        with (
            Client(empty) as client,
            pytest.raises(RunError, match=r"no worker in 0\.2 s"),
        ):
            wait_for_worker(client, 0.2)
        assert not empty.scheduler.tasks, "what asked for a worker"
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("domst")]
    assert lines == [f"waiting up to {s} s for a worker of {address}" for s in ("0.5", "0.2")]


def test_times_to_wait():
    assert [wait_seconds(one) for one in ("30min", "10s", "1h30m")] == [1800, 10, 5400]
    for wrong in ("soon", "0s", "-5s", ""):
        with pytest.raises(InputError, match=f"--wait {wrong}: expected a time such as 30min"):
            wait_seconds(wrong)


def test_a_worker_that_an_adaptive_scheduler_starts_on_demand():
    with (
        LocalCluster(n_workers=0, processes=False, **LOCAL) as own,
        Client(own) as client,
    ):
        own.adapt(minimum=0, maximum=1, interval="50ms", wait_count=10_000)
        wait_for_worker(client, 30)
        assert len(client.nthreads()) == 1


def test_an_error_ends_the_workers_without_a_word_of_dask(monkeypatch, caplog):
    """What Dask's parts say that lose one another, such as under load, is not for users."""
    close = LocalCluster.close

    def close_loudly(own: LocalCluster, timeout: float | None = None) -> None:
        for name in ("distributed.nanny", "distributed.core", "tornado.application", "asyncio"):
            logging.getLogger(name).error("lost something")
        close(own, timeout)

    monkeypatch.setattr(LocalCluster, "close", close_loudly)
    with pytest.raises(KeyboardInterrupt), make_client(workers=1):
        raise KeyboardInterrupt
    assert "lost something" not in caplog.text
    with make_client(workers=1):
        pass
    assert caplog.text.count("lost something") == 4, "loggers speak again"


@pytest.mark.parametrize("content", [None, "", "{}", "[]", "not json"])
def test_a_scheduler_file_that_is_not_one(tmp_path: Path, content: str | None):
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=str(file)), make_client(scheduler_file=file):
        pass


def test_an_address_and_a_file(tmp_path: Path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://127.0.0.1:9"}))
    with pytest.raises(InputError, match="expected one of them"), make_client("tcp://h:1", file):
        pass


@pytest.mark.parametrize("address", ["nonsense://x", "tcp://host", "tls://host", "tcp://host:x"])
def test_an_address_that_is_none(address: str):
    with (
        pytest.raises(InputError, match=f"{address}: .*expected tcp://host:port or"),
        make_client(address),
    ):
        pass


def test_cuda_without_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dom-st\[cuda\]"), make_client(cluster="cuda"):
        pass


def test_cuda_without_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda, "find_spec", lambda name: object())
    monkeypatch.setattr(cuda, "count_gpus", lambda: 0)
    with pytest.raises(InputError, match="no GPU"), make_client(cluster="cuda"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_pytorch_cannot_use_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog):
    """NVML finds one, but this machine's PyTorch, asked in a worker, finds none."""
    monkeypatch.setattr(cluster, "count_gpus", lambda: 2)
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setattr(cluster, "_start_cuda", lambda workers: cluster._start(False, 1, None))
    with make_client(cluster="auto", workers=2) as client:
        assert list(client.nthreads().values()) == [2], "the cores, as asked for"
    assert "a GPU is there, but not used: PyTorch in a worker: " in caplog.text
    with (
        pytest.raises(
            InputError, match=r"cluster .cuda.: PyTorch in a worker: .*expected one that"
        ),
        make_client(cluster="cuda"),
    ):
        pass


def test_auto_without_a_gpu_is_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "count_gpus", lambda: 0)
    with make_client(cluster="auto", workers=1) as client:
        assert client.submit(sum, [1, 2]).result() == 3


def test_auto_with_more_workers_than_gpus_is_cpu(monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(cluster, "count_gpus", lambda: 1)
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    with make_client(cluster="auto", workers=2) as client:
        assert list(client.nthreads().values()) == [2]
    (line,) = [one.getMessage() for one in caplog.records if one.name.startswith("domst")]
    assert line.startswith("a GPU is there, but not used: --workers 2 are more than the GPUs, 1")


def test_auto_says_that_a_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(cluster, "count_gpus", lambda: 1)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with make_client(cluster="auto", workers=1) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    assert "dom-st[cuda]" in caplog.text


def test_no_more_workers_than_there_is_work():
    with make_client(at_most=1) as client:
        assert sum(client.nthreads().values()) == 1
    with make_client(workers=2, at_most=1) as client:
        assert sum(client.nthreads().values()) == 2
