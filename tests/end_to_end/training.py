"""The command line of training, in a process of its own or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from model.train import main
from pipeline.store.read import open_watershed

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = ("--cluster", "cpu", "--workers", "2", "--updates", "30")


def command(*arguments: object) -> list[str]:
    """Command line of a training."""
    return [sys.executable, "-m", "model.train", *map(str, arguments)]


def train_in_a_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a training as a user does."""
    environment = {**os.environ, "COLUMNS": "120"}
    environment.pop("DASK_SCHEDULER_ADDRESS", None)
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=environment,
        timeout=280,
        check=False,
    )


def train(*arguments: object) -> Result:
    """Run the same command line in this process, which has imported it already."""
    app = typer.Typer()
    app.command()(main)
    environment = {"COLUMNS": "120", "DASK_SCHEDULER_ADDRESS": None}
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def steps_without_rain(store: Path, site: str) -> int:
    """Number of steps on which no cell of a watershed has precipitation."""
    shed = open_watershed(store, site)
    rain = shed["precipitation"].where(shed["coverage"] > 0)
    return int(rain.isnull().all(("y", "x")).sum())
