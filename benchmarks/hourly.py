"""Skill on hourly records: made-up watersheds, scored beside the floors.

    python -m benchmarks.hourly [--heads N] [--updates N] [--json FILE]

Writes a store of made-up watersheds of 39 to 67 cells with six hourly water years, four of them to
train on, and runs `python -m model.train` on it. What settings were chosen on were other
watersheds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.main_job import run_and_watch
from benchmarks.synthetic import make_head
from benchmarks.synthetic_store import write_store

FLOORS = ("ridge", "persistence")


def measure(folder: Path, heads: int, years: int, updates: int | None) -> dict[str, Any]:
    """Train on a new store in `folder`: time, memory and every head's scores."""
    store = folder / "hourly.zarr"
    sheds = [make_head(i + 1, 7 + i % 3, 8 + i % 5, years, step_hours=1) for i in range(heads)]
    write_store(sheds, store)
    run = folder / "run"
    command = [sys.executable, "-m", "model.train", str(store), "--run", str(run)]
    watched = run_and_watch([*command, *(["--updates", str(updates)] if updates else [])], folder)
    metrics = json.loads((run / "metrics.json").read_text())
    scores = {
        score["site_no"]: {
            "cells": shed.share.size,
            **{name: score[name] for name in ("nse", "kge", "seconds", "updates")},
            **{floor: score[f"{floor}_nse"] for floor in FLOORS},
        }
        for shed, score in zip(sheds, metrics["heads"], strict=True)
    }
    return {"cores": os.cpu_count(), **watched, "split": metrics["split"], "heads": scores}


def show(report: dict[str, Any]) -> None:
    """A row a head, and their median."""
    table = Table(title=f"hourly; {report['split']}", box=SIMPLE_HEAD, padding=0)
    names = ("cells", "nse", "kge", *FLOORS, "seconds")
    for name in ("site", *names):
        table.add_column(name, justify="right", no_wrap=True)
    digits = {"cells": 0, "seconds": 0}
    for site, score in report["heads"].items():
        table.add_row(site, *(f"{score[name]:.{digits.get(name, 3)}f}" for name in names))
    every = report["heads"].values()
    middle = {name: median(score[name] for score in every) for name in names}
    table.add_row("median", *(f"{middle[name]:.{digits.get(name, 3)}f}" for name in names))
    Console().print(table)
    for floor in FLOORS:
        lost = [site for site, score in report["heads"].items() if score["nse"] < score[floor]]
        print(f"heads below {floor}: {', '.join(lost) or 'none'}")
    print("test NSE; persistence sees the discharge of the hour before")
    print(f"{report['seconds']:.0f} s with data, scores and report on {report['cores']} cores")


def main(
    heads: Annotated[int, typer.Option(min=1, help="watersheds")] = 6,
    years: Annotated[int, typer.Option(min=3, help="water years, two of them held out")] = 6,
    updates: Annotated[
        int | None, typer.Option(min=1, help="gradient steps, instead of the usual ones")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train heads on hourly records and report their skill beside the floors."""
    with TemporaryDirectory() as temporary:
        report = measure(Path(temporary), heads, years, updates)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
