"""Requests to S3, and their price, by the number of watersheds.

    python -m benchmarks.pipeline_scale requests [--counts N ...] [--sample DIR] [--json FILE]

Writes the store of the small sample's rasters, which are local, to an S3 server on this machine,
and reads heads from it, each in a new process. No seconds are given: the server is an emulation
without a network. Data that stay in their region are not billed by the byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.counted_s3 import KINDS, RECEIVED, SENT, CountedServer, counted_s3
from benchmarks.head_access import WAYS, measure_access
from benchmarks.made_up_watersheds import MadeUpWatersheds, site_number
from benchmarks.pipeline_speed import run_once

# Dollars for 1,000 requests: aws.amazon.com/s3/pricing, S3 Standard, us-east-1, November 2026.
PRICES = {"GET": 0.0004, "HEAD": 0.0004, "LIST": 0.005, "PUT": 0.005, "POST": 0.005, "DELETE": 0.0}
BUCKET = "benchmark"


def dollars(counts: dict[str, int]) -> float:
    """Price of requests, counted by `KINDS`."""
    return sum(PRICES[kind] * counts[kind] / 1000 for kind in KINDS)


def count_requests(server: CountedServer, catalog: Path, count: int) -> dict[str, dict[str, Any]]:
    """Count the requests of a run of `count` watersheds, and of each way to read its store."""
    store = f"s3://{BUCKET}/store{count}.zarr"
    found: dict[str, dict[str, Any]] = {}
    for what in ("run", *WAYS):
        before = server.counts()
        if what == "run":
            run_once(catalog, store, server.environment)
        else:
            measure_access(store, site_number(0), what, server.environment)
        after = server.counts()
        counts = {name: after[name] - before[name] for name in (*KINDS, RECEIVED, SENT)}
        found[what] = {**counts, "dollars": dollars(counts)}
    return found


def show(cases: dict[int, dict[str, dict[str, Any]]]) -> None:
    """Print the requests as a table."""
    table = Table(title="requests to S3")
    headings = ("watersheds", "what", *KINDS, "MB written", "MB read", "dollars")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for count, case in cases.items():
        for what, counts in case.items():
            table.add_row(
                f"{count}",
                what,
                *(f"{counts[kind]}" for kind in KINDS),
                f"{counts[RECEIVED] / 1e6:.2f}",
                f"{counts[SENT] / 1e6:.2f}",
                f"{counts['dollars']:.6f}",
            )
    Console(width=120).print(table)


def requests(
    counts: Annotated[list[int], typer.Option(min=1, help="numbers of watersheds")] = [  # noqa: B006
        23,
        230,
    ],
    sample: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="the small one, made there if missing"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Count the requests to S3 of a run and of reading its heads."""
    counts = sorted(counts)
    with TemporaryDirectory() as temporary, counted_s3() as server:
        folder = Path(temporary)
        made_up = MadeUpWatersheds(sample or folder / "sample", counts[-1], tiny=True)
        server.make_bucket(BUCKET)
        cases = {
            count: count_requests(server, made_up.write(folder, count), count) for count in counts
        }
    show(cases)
    if json_file:
        json_file.write_text(json.dumps(cases, indent=2) + "\n")
