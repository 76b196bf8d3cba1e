"""The lease of a store and its fence, in a folder and on S3: who may write, and who may no more."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import psutil
import pytest

from pipeline.errors import InputError, RunError
from pipeline.storage import (
    Location,
    file_system,
    list_files,
    read_files,
    remove_files,
    write_objects,
)
from pipeline.store import fence
from pipeline.store import lease as module
from pipeline.store.fence import remove_partial_files, write_fenced
from pipeline.store.lease import LEASE, LEASES, Lease, hold_lease, read_lease
from tests.pipeline.s3_server import s3_server
from tests.pipeline.test_object_storage import BUCKET, Cut, forget_environment

HOLD = """
import sys
from pathlib import Path
from pipeline.store.lease import hold_lease
with hold_lease(Path(sys.argv[1])) as lease:
    print(lease.run, flush=True)
    sys.stdin.read()
"""
DIE_WHILE_WRITING = """
import os
import sys
from pathlib import Path
from pipeline.store.lease import replace_file
Path(sys.argv[1]).parent.mkdir(exist_ok=True)
replace_file(Path(sys.argv[1]), b"half", sys.argv[2], lambda: os._exit(9))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of an S3 server in a process of its own."""
    with s3_server() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def url(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a store on S3, with nothing there."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    forget_environment()
    system, _ = file_system(f"s3://{BUCKET}")
    if not system.exists(BUCKET):
        system.mkdir(BUCKET)
    yield f"s3://{BUCKET}/{tmp_path.name}/store.zarr"
    forget_environment()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where a store may be written; nothing is there."""
    place: Location = request.getfixturevalue("url") if request.param == "s3" else tmp_path / "a/b"
    return place


def put(store: Location, key: str, content: bytes) -> None:
    """Write a file behind the back of leases."""
    if isinstance(store, Path):
        (store / key).parent.mkdir(parents=True, exist_ok=True)
        (store / key).write_bytes(content)
    else:
        system, root = file_system(store)
        system.pipe_file(f"{root}/{key}", content)


def contents(store: Location) -> dict[str, bytes]:
    return read_files(store, [name for name in list_files(store) if name != LEASE])


def describe(store: Location, **changes: object) -> str:
    """Have `lease.json` describe a run of this process, changed; return its id."""
    with hold_lease(store):
        holder = read_lease(store)
    assert holder is not None
    changed = replace(holder, run="f" * 32, **changes)  # type: ignore[arg-type]
    put(store, LEASE, LEASES.dump_json(changed))
    return changed.run


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ------------------------------------------------------------------ the lease


def test_nothing_is_left_of_a_lease(store: Location):
    with hold_lease(store) as lease:
        holder = read_lease(store)
        assert holder is not None
        assert holder.run == lease.run
        assert holder.pid == os.getpid()
        assert abs(holder.age) < 60
        assert list(list_files(store)) == [LEASE]
        lease.require()
    assert read_lease(store) is None
    if isinstance(store, Path):
        assert not store.parent.exists()
        assert store.parent.parent.exists()


def test_folders_that_were_there_or_are_used_stay(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with hold_lease(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists()
    with hold_lease(tmp_path / "a" / "used") as lease:
        write_fenced(tmp_path / "a" / "used", lease.run, {"x": b"1"})
    assert contents(tmp_path / "a" / "used") == {"x": b"1"}


def test_a_second_run_of_this_process_is_refused(store: Location):
    with hold_lease(store) as first:
        with pytest.raises(RunError) as refusal, hold_lease(store):
            pass
        message = str(refusal.value)
        assert message.startswith(f"{store}: held by a run of ")
        held = rf"process {os.getpid()}, renewed \d+ s ago: expected that run to end"
        assert re.search(held, message)
        assert "--take-over" in message
        assert "\n" not in message
        first.require()
        holder = read_lease(store)
        assert holder is not None
        assert holder.run == first.run
    with hold_lease(store) as second:
        assert second.run != first.run


def test_one_of_many_gets_the_lease(store: Location):
    start, decided = Barrier(8), Barrier(8)

    def try_to_hold(_: int) -> bool:
        start.wait()
        try:
            with hold_lease(store):
                decided.wait()
                return True
        except RunError:
            decided.wait()
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(try_to_hold, range(8))) == 1


def test_a_killed_process_loses_its_lease_at_once(tmp_path: Path, caplog):
    store = tmp_path / "store"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store)], text=True, **pipes) as other:  # type: ignore[call-overload]
        run = other.stdout.readline().strip()
        holder = read_lease(store)
        assert holder is not None
        assert (holder.run, holder.pid) == (run, other.pid)
        assert holder.process_started == psutil.Process(other.pid).create_time()
        with pytest.raises(RunError, match=f"process {other.pid}"), hold_lease(store):
            pass
        other.send_signal(signal.SIGKILL)
        wait_for(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE)
        with caplog.at_level(logging.WARNING), hold_lease(store) as lease:
            lease.require()
        put(store, LEASE, LEASES.dump_json(holder))
        other.wait()  # now the process is gone
        with hold_lease(store) as lease:
            lease.require()
    assert caplog.text.count(f"process {other.pid}, which has died") == 2


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({}, False),
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"pid_namespace": "of a container", "pid": 2**22 + 1}, False),
        ({"pid": 2**22 + 1}, True),
        ({"process_started": 0.0}, True),
        ({"host": "elsewhere", "age": 61}, True),
        ({"host": "elsewhere", "age": 50}, False),
        ({"host": "elsewhere", "age": 50, "seconds": 40}, True),
        ({"age": 61}, True),
    ],
)
def test_which_lease_counts_as_dead(tmp_path: Path, changes: dict[str, object], dead: bool):
    with hold_lease(tmp_path):
        holder = read_lease(tmp_path)
        assert holder is not None
    renewed = holder.renewed - timedelta(seconds=int(str(changes.pop("age", 0))))
    run = describe(tmp_path, renewed=renewed, **changes)
    if not dead:
        with pytest.raises(RunError, match="held by"), hold_lease(tmp_path):
            pass
    with hold_lease(tmp_path, take_over=not dead) as lease:
        assert lease.run != run


def test_a_lease_is_renewed(store: Location, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEASE_SECONDS", 4.0)
    with hold_lease(store):
        first = read_lease(store)
        assert first is not None
        wait_for(lambda: read_lease(store) != first)
        second = read_lease(store)
        assert second is not None
        assert second.renewed > first.renewed
        assert replace(second, renewed=first.renewed) == first


def test_a_lease_that_was_taken_over(store: Location, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(module.Holder, "is_dead", False)  # however slow this machine is
    with hold_lease(store) as first:
        monkeypatch.setattr(module, "LEASE_SECONDS", 60.0)
        with hold_lease(store, take_over=True) as second:
            with pytest.raises(RunError, match="was taken over by a run of"):
                write_fenced(store, first.run, {"x": b"1"})
            wait_for(lambda: is_lost(first))
            with pytest.raises(RunError, match=f"was taken over by .* process {os.getpid()}"):
                first.require()
            second.require()
            write_fenced(store, second.run, {"x": b"2"})
            remaining = read_lease(store)
            assert remaining is not None
            assert remaining.run == second.run
    assert contents(store) == {"x": b"2"}
    assert "taken over from a run of" in caplog.text


def is_lost(lease: Lease) -> bool:
    try:
        lease.require()
    except RunError:
        return True
    return False


def test_the_end_of_a_run_leaves_the_lease_of_another(store: Location):
    with hold_lease(store):
        run = "f" * 32
        holder = read_lease(store)
        assert holder is not None
        put(store, LEASE, LEASES.dump_json(replace(holder, run=run)))
    remaining = read_lease(store)
    assert remaining is not None
    assert remaining.run == run


def test_a_lease_that_was_removed_is_lost(store: Location, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.4)
    with hold_lease(store) as lease:
        remove_files(store, [LEASE])
        wait_for(lambda: is_lost(lease))
        with pytest.raises(RunError, match="has ended"):
            write_fenced(store, lease.run, {"x": b"1"})
        assert list(list_files(store)) == []


def test_a_cut_connection_does_not_hide_the_failure_of_the_run(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog
):
    """The lease then ends by itself; a renewal that fails is tried again."""
    cut = Cut(monkeypatch)
    cut.left = 1000
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.4)

    def fail() -> None:
        with hold_lease(url) as lease:
            cut.left = -1000000
            wait_for(lambda: "lease not renewed" in caplog.text)
            assert not is_lost(lease)
            cut.left = 1000
            before = read_lease(url)
            wait_for(lambda: read_lease(url) != before)
            cut.left = -1000000
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "lease not removed" in caplog.text


def test_what_is_refused_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: holds no store: expected a folder"):
        hold_lease(tmp_path / "file").__enter__()
    with pytest.raises(InputError, match="expected a folder"):
        hold_lease(tmp_path / "file" / "below").__enter__()
    (tmp_path / LEASE).write_text("{")
    with pytest.raises(RunError, match=r"its lease.json is damaged: expected .* remove") as refusal:
        hold_lease(tmp_path).__enter__()
    assert "\n" not in str(refusal.value)
    with pytest.raises(RunError, match=r"not written \(.*\): expected room on the disk"):
        hold_lease(Path("/proc/self/store")).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", LEASE]


def test_no_bucket(url: str):
    with pytest.raises(InputError, match="expected an existing bucket"):
        hold_lease("s3://absent/store").__enter__()


# ------------------------------------------------------------------ the fence


def change(store: Location, run: str) -> None:
    """Write a new file and one that is there."""
    write_fenced(store, run, {"new/y": b"", "x": b""})


@pytest.mark.parametrize("taken", [False, True])
def test_a_run_without_the_lease_changes_nothing(store: Location, taken: bool):
    with hold_lease(store) as lease:
        write_fenced(store, lease.run, {"x": b"1", "folder/y": b"2"})
    if taken:
        describe(store)
    with pytest.raises(RunError, match="taken over by" if taken else "has ended") as refusal:
        change(store, lease.run)
    assert "\n" not in str(refusal.value)
    assert contents(store) == {"x": b"1", "folder/y": b"2"}
    if isinstance(store, Path):
        assert not (store / "new").exists()


def test_a_store_that_was_removed_stays_removed(tmp_path: Path):
    with pytest.raises(RunError):
        write_fenced(tmp_path / "store", "f" * 32, {"a/x": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_a_lease_lost_while_the_data_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a folder nothing changes; the lease passes on when the data are in the partial file."""
    with hold_lease(tmp_path) as lease:
        write_fenced(tmp_path, lease.run, {"x": b"1"})
        holder = read_lease(tmp_path)
        assert holder is not None
        other = LEASES.dump_json(replace(holder, run="f" * 32))

        def replace_file(path, content, run, check):
            def lose_then_check() -> None:
                (partial,) = path.parent.glob(f"{path.name}.*.partial")
                assert partial.read_bytes() == bytes(content)
                put(tmp_path, LEASE, other)
                check()

            (tmp_path / "new").mkdir(exist_ok=True)
            module.replace_file(path, content, run, lose_then_check)

        monkeypatch.setattr("pipeline.store.fence.replace_file", replace_file)
        with pytest.raises(RunError, match="taken over"):
            change(tmp_path, lease.run)
    assert contents(tmp_path) == {"x": b"1"}


def test_a_lease_lost_during_a_request(url: str, monkeypatch: pytest.MonkeyPatch):
    """At a URL the object may be there, but the run is told."""
    write = write_objects
    with hold_lease(url) as lease:
        holder = read_lease(url)
        assert holder is not None
        other = LEASES.dump_json(replace(holder, run="f" * 32))

        def late(location: str, files: dict[str, bytes]) -> None:
            write(location, files)
            put(location, LEASE, other)

        monkeypatch.setattr(fence, "write_objects", late)
        with pytest.raises(RunError, match="taken over"):
            change(url, lease.run)


def test_partial_files_of_other_runs_are_removed(tmp_path: Path):
    mine, other = "a" * 32, "b" * 32
    for run in (mine, other):
        command = [sys.executable, "-c", DIE_WHILE_WRITING, str(tmp_path / "new" / "x"), run]
        assert subprocess.run(command, check=False).returncode == 9
        assert subprocess.run(command, check=False).returncode == 9
    put(tmp_path, "x/zarr.json.partial", b"of an earlier version")
    put(tmp_path, "x/0.0123456789abcdef0123456789abcdef.partial", b"of Zarr itself")
    put(tmp_path, "x/zarr.json", b"whole")
    remove_partial_files(tmp_path, mine)
    left = contents(tmp_path)
    assert left.pop("x/zarr.json") == b"whole"
    assert set(left.values()) == {b"half"}
    assert all(name.startswith(f"new/x.{mine}-") for name in left)
    remove_partial_files(tmp_path, other)
    assert list(contents(tmp_path)) == ["x/zarr.json"]
