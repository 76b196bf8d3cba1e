"""Skill on made-up watersheds beside the floors: on hourly records, and with snow.

    python -m benchmarks.made_up hourly|snow [--heads N] [--updates N] [--json FILE]

Writes a store of watersheds of 39 to 67 cells with six water years, four of them to train on, and
runs `python -m model.train` on it. Their rivers are kinematic waves and the rain has errors, see
`benchmarks.synthetic`. With `snow` the steps are days, and precipitation goes through a
snow model of another kind than `model/inputs/snow.py`. The settings of the model were chosen on
other watersheds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.main_job import run_and_watch
from benchmarks.synthetic import make_head
from benchmarks.synthetic_store import write_store

World = Literal["hourly", "snow"]
WORLDS: dict[World, dict[str, Any]] = {"hourly": {"step_hours": 1}, "snow": {"snowy": True}}
FIRST: dict[World, int] = {"hourly": 1, "snow": 401}  # number of the first watershed
FLOORS = ("ridge", "climatology", "persistence")


def measure(
    world: World, folder: Path, heads: int, years: int, updates: int | None
) -> dict[str, Any]:
    """Train on a new store in `folder` and return time, memory and every head's scores."""
    store = folder / f"{world}.zarr"
    watersheds = [
        make_head(FIRST[world] + i, 7 + i % 3, 8 + i % 5, years, **WORLDS[world])
        for i in range(heads)
    ]
    write_store(watersheds, store)
    run = folder / "run"
    command = [sys.executable, "-m", "model.train", str(store), "--run", str(run)]
    watched = run_and_watch([*command, *(["--updates", str(updates)] if updates else [])], folder)
    metrics = json.loads((run / "metrics.json").read_text())
    scores = {
        score["site_no"]: {
            "cells": watershed.share.size,
            "melt": score["snow"] and score["snow"]["melt_factor"],
            **{name: score[name] for name in ("nse", "kge", "seconds", "updates")},
            **{floor: score[f"{floor}_nse"] for floor in FLOORS},
        }
        for watershed, score in zip(watersheds, metrics["heads"], strict=True)
    }
    about = {"world": world, "cores": os.cpu_count(), "split": metrics["split"]}
    return {**about, **watched, "heads": scores}


def show(report: dict[str, Any]) -> None:
    """Print a row per head, and their median."""
    title = f"{report['world']}; {report['split']}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)
    names = ("cells", "nse", "kge", *FLOORS, "seconds")
    digits = {"cells": 0, "seconds": 0}
    for name in ("site", *names, "melt"):
        table.add_column(name, justify="right", no_wrap=True)
    for site, score in report["heads"].items():
        numbers = (f"{score[name]:.{digits.get(name, 3)}f}" for name in names)
        table.add_row(site, *numbers, str(score["melt"] or "-"))
    every = report["heads"].values()
    middle = {name: median(score[name] for score in every) for name in names}
    table.add_row("median", *(f"{middle[name]:.{digits.get(name, 3)}f}" for name in names))
    Console().print(table)
    for floor in FLOORS:
        lost = [site for site, score in report["heads"].items() if score["nse"] < score[floor]]
        print(f"heads below {floor}: {', '.join(lost) or 'none'}")
    print(
        "NSE of the test year; persistence uses the discharge of the step before; melt: of snow, in"
    )
    print(
        f"mm per degree and day. {report['seconds']:.0f} s with data, scores and report, ", end=""
    )
    print(f"on {report['cores']} cores")


def main(
    world: Annotated[World, typer.Argument(help="what watersheds")],
    heads: Annotated[int, typer.Option(min=1, help="watersheds")] = 6,
    years: Annotated[int, typer.Option(min=3, help="water years, two of them held out")] = 6,
    updates: Annotated[
        int | None, typer.Option(min=1, help="gradient steps, instead of the usual ones")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train heads on made-up watersheds and report their skill beside the floors."""
    with TemporaryDirectory() as temporary:
        report = measure(world, Path(temporary), heads, years, updates)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
