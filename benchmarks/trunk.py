"""Heads that start from a shared trunk compared with heads that start alone, by record length.

    python -m benchmarks.trunk [--sample DIR] [--folder DIR] [--json FILE]

All 23 heads of the sample world, with `--trunk own` and with `--trunk shared`: on the whole record;
on a copy of the store in which discharge before the last two training years is missing; and on the
whole record with past discharge (`--history`), beside a ridge that sees past discharge too.
Split, inputs and floors are those of `python -m model.train`. Finished runs in the folder are not
trained again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.change_store import change_store
from model.inputs.split import Split
from model.inputs.watershed import survey_store
from model.jobs.train import train
from model.settings import TRUNKS, Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.sample.make import make_sample

SHORT_YEARS = 2


def shorten_record(store: Path, target: Path, years: int) -> Path:
    """Copy the store, with discharge that begins `years` years before the validation year."""
    survey = survey_store(str(store))
    train_end = Split.of(survey.dates, Settings()).train_stop
    a_year = pd.Timedelta(days=365.25) / (survey.times[1] - survey.times[0])
    first = train_end - round(years * a_year)

    def remove_first(discharge: np.ndarray) -> None:
        discharge[:, :first] = np.nan

    return change_store(store, target, "gauges/discharge", remove_first)


def measure(sample: Path, folder: Path) -> dict[str, Any]:
    """Return metrics.json of every run."""
    store = sample / "store.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(make_sample(sample)), store, client)
    short = folder / "short.zarr"
    if not short.exists():
        shorten_record(store, short, SHORT_YEARS)
    report: dict[str, Any] = {}
    kinds: dict[str, tuple[Path, dict[str, Any]]] = {
        "whole record": (store, {}),
        f"{SHORT_YEARS} years": (short, {}),
        "past discharge": (store, {"history": True}),
    }
    with make_client(processes=True) as client:
        for kind, (place, switches) in kinds.items():
            for trunk in TRUNKS:
                run = folder / f"{kind.replace(' ', '-')}-{trunk}"
                settings = Settings(**switches, trunk=trunk)
                metrics = train(place, run, settings=settings, client=client).metrics
                report[f"{kind}, {trunk}"] = metrics
                print(f"{kind}, {trunk}: median NSE {metrics['median_nse']:.3f}", flush=True)
    return report


def show(report: dict[str, Any]) -> None:
    """Print a row per run, then the heads below a floor and those that are worse with the trunk."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "median NSE", "mean", "worst", "ridge", "below ridge", "fit s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, metrics in report.items():
        scores = [head["nse"] for head in metrics["heads"]]
        table.add_row(
            name,
            f"{np.median(scores):.3f}",
            f"{np.mean(scores):.3f}",
            f"{min(scores):.3f}",
            f"{np.median([head['ridge_nse'] for head in metrics['heads']]):.3f}",
            str(sum(head["nse"] < head["ridge_nse"] for head in metrics["heads"])),
            f"{metrics['seconds']['fit']:.0f}",
        )
    Console().print(table)
    for name, metrics in report.items():
        for floor in ("ridge", "persistence"):
            below = [h["site_no"] for h in metrics["heads"] if h["nse"] < h[f"{floor}_nse"]]
            print(f"{name}: below {floor}: {', '.join(below) or 'none'}")
    names = list(report)
    for own, shared in zip(names[::2], names[1::2], strict=True):
        pairs = zip(report[own]["heads"], report[shared]["heads"], strict=True)
        lost = [
            f"{a['site_no']} ({a['nse']:.3f} to {b['nse']:.3f})"
            for a, b in pairs
            if b["nse"] < a["nse"]
        ]
        print(f"{own.split(',')[0]}: worse with the trunk: {', '.join(lost) or 'none'}")


def main(
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    folder: Annotated[Path, typer.Option(help="for the runs")] = Path("build/bench/trunk"),
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Compare heads that start alone with heads on a shared trunk."""
    with exit_codes():
        report = measure(sample, folder)
        show(report)
        if json_file:
            json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
