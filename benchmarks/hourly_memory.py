"""Memory of a worker that trains a head on ten hourly years of 300 cells.

    python -m benchmarks.hourly_memory [--updates N] [--json FILE]

Writes a store with one made-up watershed, trains it as `model.train` does, from reading the
watershed to its report, and asks the worker for its peak memory. A few updates suffice: each of
them takes as much memory as the first.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer

from benchmarks.synthetic import make_head
from benchmarks.synthetic_store import write_store
from model.jobs.train import train
from model.settings import Settings
from pipeline.run.cluster import make_client

ROWS, COLUMNS, YEARS = 20, 22, 10
GIB = 2**30


def peak() -> int:
    """Return the peak resident bytes of this process (Linux)."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) * 1024


def measure(updates: int) -> dict[str, Any]:
    """Train one head on one worker: the worker's peak memory before and after, and seconds."""
    head = make_head(1, ROWS, COLUMNS, YEARS, step_hours=1)
    settings = Settings(updates=updates)
    with TemporaryDirectory() as temporary:
        store = Path(temporary, "store.zarr")
        write_store([head], store)
        with make_client(processes=True, workers=1) as client:
            (before,) = client.run(peak).values()
            began = time.perf_counter()
            done = train(store, Path(temporary, "run"), settings=settings, client=client)
            seconds = time.perf_counter() - began
            (after,) = client.run(peak).values()
    (scores,) = done.metrics["heads"]
    return {
        "steps": len(head.times),
        "cells": head.share.size,
        "forcings_bytes": head.forcing.nbytes,
        "worker_before_bytes": before,
        "worker_peak_bytes": after,
        "updates": updates,
        "fit_seconds": scores["seconds"],
        "seconds": seconds,
        "torch": torch.__version__,
    }


def main(
    updates: Annotated[int, typer.Option(min=1, help="of the head's training")] = 25,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure the memory of a worker on a long hourly record."""
    report = measure(updates)
    print(
        f"{report['steps']:,} steps, {report['cells']} cells, forcings "
        f"{report['forcings_bytes'] / GIB:.2f} GiB; a worker's peak "
        f"{report['worker_peak_bytes'] / GIB:.2f} GiB, {report['worker_before_bytes'] / GIB:.2f} "
        f"before; {updates} updates in {report['fit_seconds']:.0f} s, "
        f"{report['seconds']:.0f} s with data, scores and report"
    )
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
