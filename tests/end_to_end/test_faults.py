"""A training whose client is killed, whose scheduler dies, or that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from typer.testing import Result

from model.output.journal import read_lines
from model.output.run_directory import Run
from pipeline.errors import RunError
from pipeline.run import cluster
from pipeline.run.tls import read_certificates, write_certificates
from tests.end_to_end.training import CHECKOUT, QUICK, command, train
from tests.pipeline.run.programs import programs, wait_for


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a training in a process of its own, at the head of a group of processes.

    It hears Ctrl-C even if these tests do not, as programs that a script starts in the background.
    """
    return subprocess.Popen(
        command(*arguments),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def require_trained(run: Path, whole: Path, heads: int | None = None) -> None:
    """Require the weights of an undisturbed run, and each of its lines once."""
    weights = sorted((whole / "checkpoints").glob("*.safetensors"))[:heads]
    assert weights
    for path in weights:
        assert (run / "checkpoints" / path.name).read_bytes() == path.read_bytes(), path.name
    sites = {path.stem for path in weights}

    def lines(folder: Path) -> Counter[tuple[Any, ...]]:
        found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        keys = ("site_no", "update", "loss", "validation_nse")
        return Counter(tuple(one[k] for k in keys) for one in found if one["site_no"] in sites)

    assert lines(run) == lines(whole)
    assert max(lines(run).values()) == 1
    assert not (run / "lease.json").exists()


def test_nothing_is_lost_when_client_scheduler_and_a_file_are(
    tiny_store: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def lines() -> int:
        return sum(len(read_lines(path)) for path in run.glob("checkpoints/*.jsonl"))

    with programs(tmp_path / "cluster", 1) as made:
        on_cluster = "--scheduler-file", made.file
        client = start(tiny_store, "--run", run, "--updates", 30, *on_cluster)
        wait_for(lambda: lines() == 1 or client.poll() is not None, 120)
        with (
            pytest.raises(RunError, match=f"held by a run of .*process {client.pid}, renewed"),
            Run(run).held(),
        ):
            pass
        client.kill()
        client.communicate()
        assert not (run / "metrics.json").exists()
        wait_for(lambda: lines() >= 2, 120)  # the worker goes on, and writes what nobody else hears

        monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 2.0)
        outcome: list[Result] = []
        thread = threading.Thread(
            target=lambda: outcome.append(train("--resume", "--run", run, *on_cluster)),
            daemon=True,
        )
        before = lines()
        thread.start()
        wait_for(lambda: lines() > before or outcome, 120)
        made.scheduler.kill()
        thread.join(60)
        (lost,) = outcome
    assert lost.exit_code == 1
    (line,) = lost.stderr.splitlines()
    assert "scheduler-connection-lost" in line
    assert f"`domst train --resume --run {run}`" in line
    for path in sorted(run.glob("checkpoints/*.safetensors"))[-1:]:
        path.write_bytes(path.read_bytes()[:-100])
    done = train("--resume", "--run", run, "--cluster", "cpu", "--workers", 1)
    assert done.exit_code == 0, done.stderr
    assert list(run.glob("checkpoints/*.damaged"))
    require_trained(run, tiny_run)


def test_a_scheduler_with_tls(tiny_store: Path, tiny_run: Path, tmp_path: Path) -> None:
    """Without its certificate there is one line, and no run; with it heads are trained."""
    folder, site = tmp_path / "tls", next(run_sites(tiny_run))
    write_certificates(folder)
    arguments = tiny_store, "--run", tmp_path / "run", "--site", site, "--updates", 30
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tls://", host="127.0.0.1",
        dashboard_address="127.0.0.1:0", security=read_certificates(folder),
    ) as own:  # fmt: skip
        refused = train(*arguments, "--scheduler", own.scheduler_address)
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert line.endswith(
            "expected --tls FOLDER, or the variables DASK_DISTRIBUTED__COMM__TLS__*"
        )
        assert not (tmp_path / "run").exists()
        done = train(*arguments, "--scheduler", own.scheduler_address, "--tls", folder)
        assert done.exit_code == 0, done.stderr
    require_trained(tmp_path / "run", tiny_run, 1)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line_that_names_how_to_resume(
    tiny_store: Path, tiny_run: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    """Ctrl-C reaches workers too, as from a terminal; one head is trained in a thread."""
    run = tmp_path / "a run"
    heads = None if sign == signal.SIGINT else 1
    site = () if heads is None else ("--site", next(run_sites(tiny_run)))
    client = start(tiny_store, "--run", run, *QUICK, *site)
    deadline = time.monotonic() + 120
    while not list((run / "checkpoints").glob("*progress*")):
        assert time.monotonic() < deadline, "no progress was written"
        time.sleep(0.02)
    (os.killpg if heads is None else os.kill)(client.pid, sign)
    _, printed = client.communicate(timeout=60)
    assert client.returncode == 128 + sign, printed
    assert printed.count("\n") == 1, printed
    assert f"`domst train --resume --run '{run}'` continues from there" in printed
    assert not (run / "metrics.json").exists()
    resumed = train("--resume", "--run", run, "--cluster", "cpu", "--workers", 1)
    assert resumed.exit_code == 0, resumed.stderr
    require_trained(run, tiny_run, heads)


def run_sites(run: Path) -> Any:
    """Site numbers of a run."""
    return iter(path.stem for path in sorted((run / "checkpoints").glob("*.json")))
