"""The ways to get a client, and what is said when there is none to get."""

from __future__ import annotations

import gc
import json
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
from distributed import LocalCluster

from pipeline.errors import InputError, RunError
from pipeline.run import cluster, cuda
from pipeline.run.cluster import dashboard_address, make_client


@pytest.fixture
def no_client_is_left() -> Iterator[None]:
    """Collect a client that could not connect, which stays Dask's default one until then."""
    yield
    gc.collect()


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
    with make_client(processes=True, workers=1) as own:
        assert own.submit(where).result()[0] != os.getpid()
        assert list(own.nthreads().values()) == [1]
        address = own.scheduler_info()["address"]
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps({"address": address}))  # as `dask scheduler` does
        with make_client(address) as client:
            assert client.submit(where).result()[0] != os.getpid()
        with make_client(scheduler_file=file) as client:
            assert client.scheduler_info()["address"] == address
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with make_client() as client:
            assert client.scheduler_info()["address"] == address
        assert own.submit(where).result(), "the others left it running"


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


@pytest.mark.usefixtures("no_client_is_left")
def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(RunError, match="no worker"),
        make_client(empty.scheduler_address),
    ):
        pass


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


def test_an_address_of_no_known_kind():
    with pytest.raises(InputError, match="nonsense://x"), make_client("nonsense://x"):
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
    monkeypatch.setattr(cluster, "_has_cuda", lambda: True)
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
