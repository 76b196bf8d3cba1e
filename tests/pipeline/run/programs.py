"""A Dask cluster of separate programs on this machine, whose workers can be held up and killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Preloaded by workers: a block waits at its gate, a file, and says where it waits.
GATES = """
import os, time
from pathlib import Path
from pipeline.run import tasks

def add_gates(folder, regrid, process):

    def wait_at_gate(source, block, *others):
        done = regrid(source, block, *others)
        at, open_ = folder / f"at-{{block.name}}", folder / f"open-{{block.name}}"
        if (folder / f"close-{{block.name}}").exists() and not open_.exists():
            at.write_text(str(os.getpid()))
            while not open_.exists():
                time.sleep(0.02)
        return done

    def say_when_over(job, block, *others):
        try:
            process(job, block, *others)
        finally:
            (folder / f"over-{{block.name}}").touch()

    tasks._read_and_regrid, tasks._process_series = wait_at_gate, say_when_over

if not hasattr(tasks, "gated"):  # Dask loads this file twice
    tasks.gated = True
    add_gates(Path({folder!r}), tasks._read_and_regrid, tasks._process_series)
"""


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


@dataclass
class Programs:
    """A scheduler and its workers, each a program of its own; and the gates of blocks.

    Attributes:
        folder: where the scheduler's file and the gates are.
        scheduler, workers: the programs.
    """

    folder: Path
    scheduler: subprocess.Popen[bytes] = field(init=False)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """File with the scheduler's address."""
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(json.loads(self.file.read_text())["address"])

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start `dask scheduler` or `dask worker`."""
        program = [sys.executable, "-m", "dask.__main__", *map(str, arguments)]
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(program, stdout=log, stderr=log)

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny that would replace it."""
        self.workers.append(
            self.start(
                "worker", "--scheduler-file", self.file, "--nthreads", 1, "--no-nanny",
                "--no-dashboard", "--host", "127.0.0.1", "--local-directory", self.folder,
                "--preload", self.folder / "gates.py", "--death-timeout", 60,
            )
        )  # fmt: skip
        return self.workers[-1]

    def close(self, block: str) -> None:
        """Hold a block up before it is written."""
        (self.folder / f"close-{block}").touch()

    def open(self, block: str) -> None:
        """Let a block go on."""
        (self.folder / f"open-{block}").touch()

    def waits(self, block: str) -> bool:
        """Whether a block waits at its gate."""
        return (self.folder / f"at-{block}").exists()

    def is_over(self, block: str) -> bool:
        """Whether a block has been tried to the end."""
        return (self.folder / f"over-{block}").exists()

    def holder(self, block: str) -> int:
        """Process of the worker where a block waits."""
        return int((self.folder / f"at-{block}").read_text())


@contextmanager
def programs(folder: Path, workers: int, *options: object) -> Iterator[Programs]:
    """Start a scheduler and some workers, and kill them at the end.

    Args:
        folder: for the scheduler's file and the gates.
        workers: how many.
        options: of the scheduler, instead of `--no-dashboard`.
    """
    folder.mkdir()
    made = Programs(folder)
    (folder / "gates.py").write_text(GATES.format(folder=str(folder)))
    made.scheduler = made.start(
        "scheduler", "--host", "127.0.0.1", "--port", 0,
        "--scheduler-file", made.file, *(options or ["--no-dashboard"]),
    )  # fmt: skip
    try:
        wait_for(made.file.exists)
        for _ in range(workers):
            made.add_worker()
        yield made
    finally:
        for program in (*made.workers, made.scheduler):
            program.kill()
            program.wait()
