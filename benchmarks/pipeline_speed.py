"""Speed of the whole pipeline on the sample: rasters per second, from start to end.

    python -m benchmarks.pipeline_speed [--sample DIR] [--json FILE]

Starts `python -m pipeline run` several times, each time into a new store, and measures it from
outside: imports, the cluster with its dashboard, gauges, terrain and the store's template are all
included. For comparison, rasterio opens and reads every band of the same files in one thread, once
after each run, and before the first to put them into the system's cache. A ratio of rates is the
median over the pairs of a run and the reading after it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Annotated, Any

import rasterio
import typer
from rich.console import Console
from rich.table import Table

from pipeline.catalog.models import load_catalog
from pipeline.rasters.series import group_forcings, open_series
from pipeline.sample.make import make_sample

TASKS_ALONE = re.compile(r"the tasks alone (\d+) rasters/s")
KIB = 1024  # ru_maxrss counts these


def raster_files(catalog: Path) -> list[Path]:
    """List every raster that a run reads."""
    described = load_catalog(catalog)
    series = (open_series(described, names) for names in group_forcings(described))
    return [Path(path) for one in series for path in one.paths]


def read_bare(files: list[Path]) -> float:
    """Measure the seconds that rasterio takes for all bands of all files, in this thread."""
    started = time.perf_counter()
    for path in files:
        with rasterio.open(path) as source:
            source.read()
    return time.perf_counter() - started


class OwnMemory(Thread):
    """Watch the peak memory of a process, without its children: `peak_bytes`."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.status, self.ended, self.peak_bytes = Path(f"/proc/{process}/status"), Event(), 0
        self.start()

    def run(self) -> None:
        """Read it ten times a second, until the process has ended."""
        while not self.ended.wait(0.1):
            lines = self.status.read_text().splitlines()
            found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
            self.peak_bytes = max([self.peak_bytes, *(KIB * one for one in found)])


def run_once(
    catalog: Path,
    store: Path | str,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> dict[str, float]:
    """Run the command and return wall and processor seconds, peak memory and its own rate.

    `peak_bytes` is that of its largest process, `client_bytes` that of the command's own.
    """
    command = [sys.executable, "-m", "pipeline", "run", str(catalog), "--store", str(store)]
    command += options
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # warnings are shown if the run fails
        text=True,
    ) as process:
        assert process.stdout is not None
        memory = OwnMemory(process.pid)
        output = process.stdout.read()
        memory.ended.set()
        memory.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    found = TASKS_ALONE.search(output)
    if process.returncode or not found:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {output}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * KIB,
        "client_bytes": memory.peak_bytes,
        "tasks_rasters_per_second": float(found[1]),
    }


def measure(catalog: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Return medians of `repeats` runs into `folder` and of as many bare readings, in turns."""
    files = raster_files(catalog)
    read_bare(files)
    runs, bare = [], []
    for repeat in range(repeats):
        runs.append(run_once(catalog, folder / f"store{repeat}.zarr"))
        bare.append(read_bare(files))
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    turns = list(zip(runs, bare, strict=True))
    return {
        "rasters": len(files),
        "cores": len(os.sched_getaffinity(0)),
        "repeats": repeats,
        "rasters_per_second": len(files) / middle["seconds"],
        **middle,
        "bare_reading_rasters_per_second": len(files) / median(bare),
        "command_over_bare": median(seconds / run["seconds"] for run, seconds in turns),
        "tasks_over_bare": median(
            run["tasks_rasters_per_second"] * seconds / len(files) for run, seconds in turns
        ),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    title = "{rasters} rasters, {cores} cores, median of {repeats}".format(**report)
    table = Table("what", "value", title=title)
    for what, value in (
        ("the command, with its start, rasters/s", f"{report['rasters_per_second']:.0f}"),
        ("its tasks alone, rasters/s", f"{report['tasks_rasters_per_second']:.0f}"),
        (
            "bare reading, one thread, rasters/s",
            f"{report['bare_reading_rasters_per_second']:.0f}",
        ),
        ("the command over bare reading", f"{report['command_over_bare']:.2f}"),
        ("its tasks alone over bare reading", f"{report['tasks_over_bare']:.2f}"),
        ("the command, s", f"{report['seconds']:.1f}"),
        ("processor time, s", f"{report['cpu_seconds']:.1f}"),
        ("peak memory, MiB", f"{report['peak_bytes'] / 2**20:.0f}"),
    ):
        table.add_row(what, value)
    Console().print(table)


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
    sample: Annotated[
        Path | None, typer.Option(metavar="DIR", help="made there if missing  [default: temporary]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="runs, of which the median counts")] = 3,
) -> None:
    """Time `python -m pipeline run` on the sample, from its start to its end."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        report = measure(make_sample(sample or folder / "sample"), folder, repeats)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
