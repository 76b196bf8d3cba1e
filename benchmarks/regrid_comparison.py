"""Measurements and tables of `benchmarks.regrid` and `benchmarks.regrid_projected`.

Methods are timed in turns, on complete fields and on fields with NaN, so that ratios between them
come from the same minutes of one run. A turn lasts some tenths of a second, or one call, and the
best call of all turns counts.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.regrid_cdo import Cdo
from benchmarks.regrid_peers import CHUNK, Method, methods, versions
from benchmarks.regrid_rasters import (
    GRID,
    Exact,
    Field,
    Raster,
    accuracy,
    exact,
    exact_areas,
    fields,
    with_holes,
)

MEMORY = Path("/dev/shm")  # where files lie in memory
EXACT_STEPS = 6  # steps that are compared with the exact result
TURN_SECONDS = 0.3  # shortest turn: faster calls are repeated
KINDS = ("complete", "NaN vary")

JsonFile = Annotated[Path | None, typer.Option("--json", help="also write it here")]
Share = Annotated[float, typer.Option(min=0.01, max=1.0, help="of all steps")]
Repeats = Annotated[int, typer.Option(min=1, help="turns; the best counts")]
Threads = Annotated[int, typer.Option(min=1, help="for each method")]
CORES = os.cpu_count() or 1


def seconds_of(work: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(
    found: dict[str, Method], inputs: dict[str, Field], truths: dict[str, Exact], repeats: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure speed and accuracy, by kind of input and method."""
    report: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in inputs}
    for turn in range(repeats):
        for name, method in found.items():
            if turn >= method.rounds:
                continue
            if turn == 0 and method.rounds > 1:
                method.regrid(inputs["complete"][:CHUNK])  # first calls import and set up
            for kind, raw in inputs.items():
                if kind != "complete" and not method.takes_holes:
                    continue
                part = raw[: method.steps]
                mine = report[kind].setdefault(name, {"seconds": float("inf")})
                end, calls = time.perf_counter() + TURN_SECONDS, 0
                # A turn's first call may wait for fresh memory: fast methods get a second one.
                while (start := time.perf_counter()) < end or calls < min(2, method.rounds):
                    value = method.regrid(part)
                    mine["seconds"] = min(mine["seconds"], time.perf_counter() - start)
                    calls += 1
                mine["million_pixels_per_second"] = part.size / 1e6 / mine["seconds"]
                mine["steps"] = len(part)
                if turn == 0:
                    mine |= accuracy(value[:EXACT_STEPS], truths[kind])
    return report


def measure_cdo(
    cdo: Cdo, inputs: dict[str, Field], truths: dict[str, Exact], repeats: int
) -> dict[str, dict[str, float]]:
    """Measure CDO, with few steps where NaN vary, because it makes new weights for each step."""
    report = {}
    for kind, raw in inputs.items():
        part, rounds = (raw, repeats) if kind == "complete" else (raw[: 2 * EXACT_STEPS], 1)
        value, seconds = cdo.remap(part, rounds)
        report[kind] = {
            "seconds": seconds,
            "million_pixels_per_second": part.size / 1e6 / seconds,
            "steps": len(part),
            **accuracy(value[:EXACT_STEPS], truths[kind]),
        }
    return report


def compare_one(raster: Raster, repeats: int, threads: int, folder: Path) -> dict[str, Any]:
    """Measure all installed methods on one raster: weights, and both kinds of input."""
    cdo = Cdo(raster, threads, folder) if shutil.which("cdo") else None
    generation: dict[str, float] = {}

    def spend(name: str, seconds: float) -> None:
        generation[name] = min(generation.get(name, float("inf")), seconds)

    for repeat in range(repeats):
        os.environ["DOMST_CACHE"] = str(folder / f"cache-{repeat}")
        spend("Dom-ST", seconds_of(lambda: raster.axes.weights(GRID)))
        spend("Dom-ST, again", seconds_of(lambda: raster.axes.weights(GRID)))
        if cdo:
            spend("CDO gencon", cdo.generate())
    raw, areas = fields(raster), exact_areas(raster)
    inputs = dict(zip(KINDS, (raw, with_holes(raw)), strict=True))
    truths = {kind: exact(one[:EXACT_STEPS], areas) for kind, one in inputs.items()}
    found = measure(methods(raster, threads), inputs, truths, repeats)
    if cdo:
        for kind, result in measure_cdo(cdo, inputs, truths, repeats).items():
            found[kind]["CDO remapcon"] = result
    holes, none = (found[kind]["Dom-ST"]["seconds"] for kind in reversed(KINDS))
    return {
        "million_pixels": raw.size / 1e6,
        "rows": raster.shape[0],
        "columns": raster.shape[1],
        "weights_seconds": generation,
        "nan_over_complete": holes / none,
        "inputs": found,
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    for name, raster in report["rasters"].items():
        size = f"{raster['million_pixels']:.0f} million values, {report['threads']} threads"
        table = Table(title=f"{name} to 84 x 48 cells, {size}, best of {report['repeats']}")
        for heading in ("input", "method"):
            table.add_column(heading, no_wrap=True)
        for heading in ("Mpx/s", "ratio", "worst mm", "volume", "NaN"):
            table.add_column(heading, justify="right", no_wrap=True)
        for kind, results in raster["inputs"].items():
            fastest = results["Dom-ST"]["million_pixels_per_second"]
            for method, found in results.items():
                table.add_row(
                    kind,
                    method,
                    f"{found['million_pixels_per_second']:.4g}",
                    f"{fastest / found['million_pixels_per_second']:.1f}",
                    f"{found['worst_cell_mm']:.1e}",
                    f"{found['total_volume_relative']:+.0e}",
                    f"{found['cells_missing_wrongly']}",
                )
        Console(width=100).print(table)
        spent = ", ".join(f"{who} {s:.4f} s" for who, s in raster["weights_seconds"].items())
        print(f"weights: {spent}")
        print(f"Dom-ST, NaN that vary over complete: {raster['nan_over_complete']:.2f} times\n")
    print(", ".join(f"{name} {version}" for name, version in report["peers"].items()))
    print("ratio: our speed over theirs; worst mm: of any cell, against the exact mean;")
    print("volume: relative error of the total; NaN: cells missing, or present, wrongly")


def compare(
    rasters: Sequence[Raster], share: float, repeats: int, threads: int, json_file: Path | None
) -> None:
    """Measure, print, and write the report if a file is given."""
    warnings.filterwarnings("ignore", "invalid value encountered", RuntimeWarning)  # xarray-regrid
    report: dict[str, Any] = {
        "threads": threads,
        "repeats": repeats,
        "peers": versions(),
        "rasters": {},
    }
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        os.environ["DOMST_CACHE"] = name
        for raster in (whole.over_iowa(share) for whole in rasters):
            folder = Path(name) / raster.name.replace(" ", "-")
            folder.mkdir()
            report["rasters"][raster.name] = compare_one(raster, repeats, threads, folder)
            shutil.rmtree(folder)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")
