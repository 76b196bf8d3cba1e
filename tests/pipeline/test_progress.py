"""Progress of the pipeline's commands, on a terminal and elsewhere."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.commands import progress
from pipeline.commands.progress import PlainLines, describe_speed, show_stages, stage_table
from pipeline.live.stages import PipelineStatus
from tests.pipeline.handmade import World

ROOT = Path(__file__).resolve().parents[2]
EVENT: dict[str, Any] = {
    "title": "Region [/old]",
    "folder": "store",
    "rasters": 100,
    "raw_bytes": 4_000_000,
    "bounds": [0.0, 0.0, 1.0, 1.0],
    "cell": 1 / 12,
}


def halfway() -> PipelineStatus:
    """40 of 100 rasters after 10 s; a block has failed, one was begun again."""
    status = PipelineStatus.begin(EVENT, 10.0)
    for key in ("share-a", *(f"regrid-{n}-a" for n in range(5)), "cover-1-a"):
        status.move(key, "released", "waiting", "")
    for key in ("share-a", "regrid-0-a", "regrid-1-a"):
        status.move(key, "processing", "memory", "")
    status.move("regrid-2-a", "processing", "erred", "")
    status.note_retry("regrid-3-a")
    status.apply({"event": "block", "rasters": 40, "raw_bytes": 1_600_000}, 20.0)
    return status


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_of_stages(width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(stage_table(halfway()))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    numbers = {line.split()[0]: re.findall(r"\d+", line) for line in lines if line.split()}
    assert numbers["share"] == ["1", "1", "0", "0"]
    assert numbers["regrid"] == ["2", "5", "1", "1"]
    assert numbers["cover"] == ["0", "1", "0", "0"]
    text = " ".join(" ".join(lines).split())
    assert "40 of 100 rasters, 4.0 rasters/s, 0.2 MB/s, about 0:00:15 left" in text


def test_speed_before_the_first_block_and_after_the_last() -> None:
    status = PipelineStatus.begin(EVENT, 0.0)
    assert describe_speed(status) == "0 of 100 rasters"
    status.apply({"event": "block", "rasters": 100, "raw_bytes": 4_000_000}, 10.0)
    assert describe_speed(status) == "100 of 100 rasters, 10.0 rasters/s, 0.4 MB/s"


def test_plain_lines_are_printed_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    show, printed = PlainLines(), []
    for now in range(3600):
        show(halfway())
        if capsys.readouterr().out:
            printed.append(now)
    assert printed[:3] == [5, 10, 15]
    pauses = [later - first for first, later in itertools.pairwise(printed)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60


def test_a_plain_line_names_the_stages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", -1.0)
    with show_stages() as show:
        show(halfway())
    assert capsys.readouterr().out == (
        "share 1 of 1, regrid 2 of 5, cover 0 of 1; "
        "40 of 100 rasters, 4.0 rasters/s, 0.2 MB/s, about 0:00:15 left\n"
    )
    with show_stages(quiet=True) as show:
        show(halfway())
    assert not capsys.readouterr().out


def test_a_run_on_a_terminal(world: World) -> None:
    """As a user sees it: the stages stay on the screen, warnings and the summary around them."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pipeline", "run", world.catalog, "--store", world.store]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [*map(str, command), "--workers", "1"],
        stdout=theirs, stderr=theirs, stdin=theirs, cwd=ROOT, env=environment,
    ) as running:  # fmt: skip
        os.close(theirs)
        shown = read_all(ours, 120)
    assert running.returncode == 0, shown
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.rpartition("stage ")[2])
    found = {
        line.split()[0]: re.findall(r"\d+", line) for line in last.splitlines() if line.split()
    }
    for stage, tasks in (("share", 1), ("regrid", 4), ("cover", 2), ("gauge", 1), ("finish", 1)):
        assert found[stage] == [str(tasks), str(tasks), "0", "0"], last
    assert "12 of 12 rasters" in last
    assert "WARNING: 2 watersheds: no terrain" in shown
    assert "4 of 4 blocks, 12 rasters" in last
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor comes back


def read_all(terminal: int, seconds: float) -> str:
    """Everything that a program writes to a terminal until it ends."""
    parts, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
