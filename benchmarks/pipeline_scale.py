"""Cost of the pipeline by length of the record: hourly fields of 7000 x 3500 pixels.

    python -m benchmarks.pipeline_scale steps [--days N ...] [--workers N] [--json FILE]
    python -m benchmarks.pipeline_scale watersheds | requests     by number of watersheds

Fields of 0.01 degree from -130 to -60 E and 20 to 55 N, one tiled GeoTIFF per hour, become stores
of 1, 4 and 16 days: once over Iowa, which needs a window of each field, and once the whole fields.
Workers are processes of one thread, new for every run, with all imports done before the clock
starts. One day of fields is written, each the same field shifted; further days are links to its
files, so that they take no room and come from the system's cache: the seconds hold no time of a
disk or a network.

Measures the seconds of the whole run and of its blocks, the workers' processor time, which other
work on the machine disturbs less, the peak memory of a worker (VmHWM), the bytes that workers read
(rchar, without imports), and the tasks that the scheduler handled. Reads Linux's /proc.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import rasterio
import typer
import yaml
from distributed import SchedulerPlugin
from rasterio.transform import from_origin
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom

from benchmarks.store_requests import requests
from benchmarks.watershed_scale import watersheds
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run

START = datetime(2020, 6, 1)
HOURS = 24  # fields that differ
ROWS, COLUMNS, PIXEL = 3500, 7000, 0.01  # pixels and degrees
WEST, NORTH = -130.0, 55.0
TILE = 256  # pixels on a side that are compressed together
DRY, WET_MM, PACKED_MM = 0.7, 4.0, 0.1  # share without rain, mean of the rest, unit of the packing
BLOCK_STEPS = 6  # four tasks a day
BOX = 0.5  # degrees, side of a made-up watershed
FLAT = 1.1  # memory that is within this ratio does not grow


@dataclass(frozen=True)
class Case:
    """A region: west, south, east, north, and a watershed every `spacing` degrees."""

    bounds: tuple[float, float, float, float]
    spacing: float


CASES = {
    "window": Case((-97.0, 40.0, -90.0, 44.0), 1.0),
    "whole field": Case((-130.0, 20.0, -60.0, 55.0), 5.0),
}


@dataclass(frozen=True)
class Measured:
    """Cost of a run.

    Attributes:
        steps: hours.
        seconds: of the whole run; block_seconds: of its tasks alone.
        cpu_seconds: of all workers.
        peak_bytes: the largest of any worker.
        read_bytes: by all workers; stored_bytes, stored_files: of the store.
        tasks: number of tasks that the scheduler handled.
    """

    steps: int
    seconds: float
    block_seconds: float
    cpu_seconds: float
    peak_bytes: int
    read_bytes: int
    stored_bytes: int
    stored_files: int
    tasks: int


class SeenTasks(SchedulerPlugin):
    """Collect the keys of all tasks of a scheduler."""

    def __init__(self) -> None:
        self.keys: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        self.keys.add(key)


def make_fields(folder: Path, days: int) -> None:
    """Write the rasters of one day and link those of the other days to them."""
    rng = np.random.default_rng(0)
    clouds = zoom(rng.standard_normal((ROWS // 50, COLUMNS // 50)), 50, order=1)
    depth = np.maximum(clouds - np.quantile(clouds, DRY), 0)
    depth *= rng.standard_exponential(depth.shape) * (WET_MM / depth[depth > 0].mean())
    field = np.round(depth / PACKED_MM).astype(np.int16)
    field[:, -COLUMNS // 20 :] = -1  # out of the radars' reach
    profile = {
        "driver": "GTiff",
        "height": ROWS,
        "width": COLUMNS,
        "count": 1,
        "dtype": "int16",
        "nodata": -1,
        "crs": "EPSG:4326",
        "transform": from_origin(WEST, NORTH, PIXEL, PIXEL),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "zstd",
        "zstd_level": 1,
        "num_threads": "all_cpus",
    }
    for hour in range(days * HOURS):
        path = folder / f"rain_{START + timedelta(hours=hour):%Y%m%d%H}.tif"
        if hour < HOURS:
            with rasterio.open(path, "w", **profile) as file:
                file.write(np.roll(field, 40 * hour, axis=0), 1)
                file.scales = (PACKED_MM,)
        else:
            os.link(folder / f"rain_{START + timedelta(hours=hour % HOURS):%Y%m%d%H}.tif", path)


def write_catalog(folder: Path, name: str, days: int) -> Path:
    """Write the catalog of a case and a period, with its polygons and records."""
    west, south, east, north = CASES[name].bounds
    spacing = CASES[name].spacing
    corners = [
        (west + (column + 0.25) * spacing, south + (row + 0.25) * spacing)
        for row in range(math.floor((north - south) / spacing))
        for column in range(math.floor((east - west) / spacing))
    ]
    features, lines = [], ["site_no,datetime,discharge"]
    for number, (x, y) in enumerate(corners):
        ring = [[x, y], [x + BOX, y], [x + BOX, y + BOX], [x, y + BOX], [x, y]]
        features.append(
            {
                "type": "Feature",
                "properties": {"site_no": f"{number:08d}"},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
        lines += [f"{number:08d},{START + timedelta(days=day):%Y-%m-%d},10" for day in range(days)]
    stem = f"{name.replace(' ', '_')}{days}"
    polygons = {"type": "FeatureCollection", "features": features}
    (folder / f"{stem}.geojson").write_text(json.dumps(polygons))
    (folder / f"{stem}.csv").write_text("\n".join(lines) + "\n")
    catalog = {
        "title": f"Made-up fields, {name}, {days} days",
        "synthetic": True,
        "period": {
            "step": "hour",
            "start": START.isoformat(),
            "end": (START + timedelta(days=days)).isoformat(),
        },
        "bounds": [west, south, east, north],
        "block_steps": BLOCK_STEPS,
        "forcings": {
            "precipitation": {
                "driver": "geotiff",
                "files": "rain_{time:%Y%m%d%H}.tif",
                "units": "mm",
            }
        },
        "gauges": {"format": "csv", "files": f"{stem}.csv", "units": "m3/s"},
        "watersheds": {"file": f"{stem}.geojson", "site_field": "site_no"},
    }
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump(catalog))
    return path


def import_all() -> None:
    """Import what a block needs, kernels included; runs on a worker."""


def usage() -> tuple[int, int, float]:
    """Return peak memory, bytes read and processor seconds of this process; runs on a worker."""
    fields: dict[str, str] = {}
    for name in ("status", "io"):
        for line in Path(f"/proc/self/{name}").read_text().splitlines():
            key, _, value = line.partition(":")
            fields[key] = value
    return int(fields["VmHWM"].split()[0]) * 1024, int(fields["rchar"]), time.process_time()


def measure(catalog: Path, store: Path, workers: int) -> Measured:
    """Run a catalog on new workers, measure it and remove the store."""
    described, seen = load_catalog(catalog), SeenTasks()
    with make_client(processes=True, workers=workers) as client:
        client.wait_for_workers(workers)
        client.run(import_all)
        assert client.cluster is not None
        client.cluster.scheduler.add_plugin(seen)
        before = client.run(usage)
        started = time.perf_counter()
        report = run(described, store, client)
        seconds = time.perf_counter() - started
        after = client.run(usage)
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    shutil.rmtree(store)
    return Measured(
        steps=report.plan.steps,
        seconds=seconds,
        block_seconds=report.seconds,
        cpu_seconds=sum(after[worker][2] - before[worker][2] for worker in after),
        peak_bytes=max(peak for peak, _, _ in after.values()),
        read_bytes=sum(after[worker][1] - before[worker][1] for worker in after),
        stored_bytes=sum(sizes),
        stored_files=len(sizes),
        tasks=len(seen.keys),
    )


def exponent(runs: list[Measured], of: str) -> float | None:
    """Return the slope of log(cost) against log(steps), 1 if proportional; None for one run."""
    steps = np.log([one.steps for one in runs])
    if len(set(steps)) < 2:
        return None
    return float(np.polyfit(steps, np.log([getattr(one, of) for one in runs]), 1)[0])


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    for name, case in report["cases"].items():
        table = Table(title=f"{name}, {report['workers']} workers, {report['cores']} cores")
        headings = ("hours", "run s", "blocks s", "CPU s", "MiB", "tasks", "MB in", "MB out")
        for heading in (*headings, "files"):
            table.add_column(heading, justify="right")
        for one in case["runs"]:
            table.add_row(
                f"{one['steps']}",
                f"{one['seconds']:.1f}",
                f"{one['block_seconds']:.1f}",
                f"{one['cpu_seconds'] / one['steps']:.4f}",
                f"{one['peak_bytes'] / 2**20:.0f}",
                f"{one['tasks']}",
                f"{one['read_bytes'] / one['steps'] / 1e6:.2f}",
                f"{one['stored_bytes'] / one['steps'] / 1e6:.3f}",
                f"{one['stored_files']}",
            )
        Console().print(table)
        if case["exponent_blocks"] is not None:
            grows = case["peak_ratio"]
            print(
                f"seconds grow as steps^{case['exponent_run']:.2f} (run), "
                f"steps^{case['exponent_blocks']:.2f} (blocks), "
                f"steps^{case['exponent_cpu']:.2f} (processors); peak memory of the longest over "
                f"that of the shortest: {grows:.2f}, {'flat' if grows <= FLAT else 'GROWS'}"
            )
    print("CPU s, MB in and MB out: of the workers, per step; MiB: peak memory of a worker")
    print(f"a raster: {report['raster_bytes'] / 1e6:.1f} MB compressed, the files in the cache")


def steps(
    days: Annotated[list[int], typer.Option(min=1, help="lengths of the record")] = [1, 4, 16],  # noqa: B006
    workers: Annotated[int, typer.Option(min=1, help="processes of one thread")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="runs, of which the fastest counts")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure runs of growing length, over a window of the fields and over all of them."""
    logging.getLogger("domst").setLevel(logging.ERROR)  # no terrain: flow distances are guessed
    cases: dict[str, Any] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_fields(folder, max(days))
        size = int(np.mean([path.stat().st_size for path in folder.glob("*.tif")]))
        for name in CASES:
            best = []
            for length in sorted(days):
                catalog = write_catalog(folder, name, length)
                store = folder / f"{catalog.stem}.zarr"
                found = [measure(catalog, store, workers) for _ in range(repeats)]
                best.append(min(found, key=lambda one: one.block_seconds))
            cases[name] = {
                "runs": [asdict(one) for one in best],
                "exponent_run": exponent(best, "seconds"),
                "exponent_blocks": exponent(best, "block_seconds"),
                "exponent_cpu": exponent(best, "cpu_seconds"),
                "peak_ratio": best[-1].peak_bytes / best[0].peak_bytes,
            }
    report = {
        "cores": len(os.sched_getaffinity(0)),
        "workers": workers,
        "repeats": repeats,
        "block_steps": BLOCK_STEPS,
        "raster_bytes": size,
        "cases": cases,
    }
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, no_args_is_help=True)
    for command in (steps, watersheds, requests):
        app.command()(command)
    app()
