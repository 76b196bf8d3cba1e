"""Cost of the pipeline, and of its store's readers, by the number of watersheds.

    python -m benchmarks.pipeline_scale watersheds [--counts N ...] [--repeats N] [--sample DIR]
        [--processes]

Runs the command on the rasters of the sample with 23 made-up watersheds, as many as the sample
itself has, and with more: their sizes, the region and the rasters stay the same. There is no
terrain, and all records are in one CSV, as an agency exports them. In each round every number of
watersheds has its turn, with a new store. A column "x" is the cost over that of the fewest
watersheds in the same round.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.head_access import WAYS, Access, measure_access
from benchmarks.made_up_watersheds import MadeUpWatersheds, site_number
from benchmarks.pipeline_speed import raster_files, run_once


@dataclass(frozen=True)
class Measured:
    """Cost of a run and of reading its store.

    Attributes:
        watersheds: number of them.
        seconds: of the whole command.
        rasters_per_second: of the whole command.
        cpu_seconds: of all its threads.
        peak_bytes: memory of its largest process; client_bytes: of its own.
        stored_bytes, stored_files: of the store.
        access: cost of reading heads, by the way in which they are read.
    """

    watersheds: int
    seconds: float
    rasters_per_second: float
    cpu_seconds: float
    peak_bytes: float
    client_bytes: float
    stored_bytes: int
    stored_files: int
    access: dict[str, Access]


def measure(catalog: Path, store: Path, count: int, options: Sequence[str]) -> Measured:
    """Run a catalog of `count` watersheds, read its store in every way, and remove it."""
    found = run_once(catalog, store, options=options)
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    access = {way: measure_access(store, site_number(0), way) for way in WAYS}
    shutil.rmtree(store)
    return Measured(
        watersheds=count,
        seconds=found["seconds"],
        rasters_per_second=len(raster_files(catalog)) / found["seconds"],
        cpu_seconds=found["cpu_seconds"],
        peak_bytes=found["peak_bytes"],
        client_bytes=found["client_bytes"],
        stored_bytes=sum(sizes),
        stored_files=len(sizes),
        access=access,
    )


def compare(turns: list[Measured]) -> list[dict[str, Any]]:
    """Add to each turn of a round the ratios of its seconds to those of the first."""
    rows, first = [asdict(turn) for turn in turns], turns[0]
    for row in rows:
        row["ratio"] = row["seconds"] / first.seconds
        for way, access in row["access"].items():
            access["ratio"] = access["seconds"] / first.access[way].seconds
    return rows


def middle(values: Sequence[Any]) -> Any:
    """Return the median of numbers, or of each entry of nested dictionaries of them."""
    if isinstance(values[0], dict):
        return {name: middle([value[name] for value in values]) for name in values[0]}
    return median(values)


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    title = "{rasters} rasters, {cores} cores, median of {repeats}".format(**report)
    runs = Table(title=f"the command: {title}")
    memory = ("peak MiB", "client MiB")
    for heading in ("watersheds", "s", "x", "rasters/s", "CPU s", *memory, "files", "MB"):
        runs.add_column(heading, justify="right")
    heads = Table(title="reading heads, each way in a new process, without imports")
    for heading in ("watersheds", "what", "s", "x", "files opened", "MB read"):
        heads.add_column(heading, justify="left" if heading == "what" else "right")
    for row in report["cases"]:
        runs.add_row(
            f"{row['watersheds']}",
            f"{row['seconds']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['rasters_per_second']:.0f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
            f"{row['client_bytes'] / 2**20:.0f}",
            f"{row['stored_files']:.0f}",
            f"{row['stored_bytes'] / 1e6:.1f}",
        )
        for way, access in row["access"].items():
            heads.add_row(
                f"{row['watersheds']}",
                way,
                f"{access['seconds']:.3f}",
                f"{access['ratio']:.2f}",
                f"{access['opened']:.0f}",
                f"{access['read_bytes'] / 1e6:.2f}",
            )
    Console().print(runs)
    Console().print(heads)


def watersheds(
    counts: Annotated[list[int], typer.Option(min=1, help="numbers of watersheds")] = [  # noqa: B006
        23,
        230,
        2_300,
        10_000,
    ],
    repeats: Annotated[int, typer.Option(min=1, help="rounds, of which the median counts")] = 3,
    sample: Annotated[
        Path | None, typer.Option(metavar="DIR", help="made there if missing  [default: temporary]")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="use the small sample")] = False,
    processes: Annotated[
        bool, typer.Option("--processes", help="workers are processes, and not threads")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure runs of more and more watersheds, and how their stores are read."""
    counts, options = sorted(counts), ["--processes"] * processes
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made_up = MadeUpWatersheds(sample or folder / "sample", counts[-1], tiny=tiny)
        catalogs = {count: made_up.write(folder, count) for count in counts}
        rounds = [
            [measure(catalogs[count], folder / "store.zarr", count, options) for count in counts]
            for _ in range(repeats)
        ]
        rasters = len(raster_files(catalogs[counts[0]]))
    report = {
        "rasters": rasters,
        "cores": len(os.sched_getaffinity(0)),
        "repeats": repeats,
        "cases": [middle(turns) for turns in zip(*map(compare, rounds), strict=True)],
    }
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")
