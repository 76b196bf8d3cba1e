"""Conservative regridding of projected rasters: our weights and kernel beside other programs'.

    python -m benchmarks.regrid_projected [--json FILE]

Inputs: daily fields on the 1-km Lambert grid of Daymet and hourly ones on the polar stereographic
grid of Stage IV, generated, over the 84 x 48 cells of Iowa; complete, and with missing values that
change from step to step. All methods use the same number of threads and have the fields in memory:
CDO, a program of its own, reads and writes files in memory, and the time in which it reads the
fields and writes one pixel is taken off. xESMF's generator of weights is not to be had from the
package index, so its step of applying weights is given ours. Slow methods get fewer steps; compare
millions of pixels a second. The exact result comes from shapely: polygons of pixels and cells in an
equal-area projection, sides with many points. CDO knows only the sphere: it is given authalic
latitudes, which makes its areas those of the ellipsoid.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import shapely
import typer
from pyproj import CRS, Transformer
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array

from benchmarks.projected_peers import (
    CHUNK,
    Cdo,
    Edges,
    Raster,
    gdal_average,
    in_blocks,
    odc_average,
    xesmf_apply,
)
from benchmarks.regrid import EXACT_STEPS, GRID, Field, Regrid
from pipeline.overlap import projected_weights

SIDE_POINTS = 32  # of a polygon's side, for the exact result
MEMORY = Path("/dev/shm")  # where files lie in memory


DAYMET = Raster(
    "1-km Lambert",
    CRS("+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84 +units=km"),
    np.arange(-2000.0, 2001.0),
    np.arange(2000.0, -2001.0, -1.0),
    528,
)
STAGE_IV = Raster(
    "Stage IV",
    CRS("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=-105 +R=6371200"),
    -1_901_430.0 + 4762.5 * np.arange(1122.0),
    -7_613_145.0 + 4762.5 * np.arange(882.0),
    720,
)


def over_iowa(raster: Raster, share: float) -> Raster:
    """What Iowa needs of a grid, and `share` of its steps."""
    x, y = raster.x_edges, raster.y_edges
    rows, columns = projected_weights(x, y, raster.crs, GRID).window
    x, y = x[columns.start : columns.stop + 1], y[rows.start : rows.stop + 1]
    steps = max(CHUNK, int(raster.steps * share))
    return Raster(raster.name, raster.crs, x, y, steps)


def fields(raster: Raster) -> Field:
    """Rain [mm], float32 (steps, rows, columns): skewed, dry in places, complete."""
    rng = np.random.default_rng(0)
    raw = rng.standard_exponential((raster.steps, *raster.shape), dtype=np.float32)
    raw -= 0.5
    return np.maximum(raw, 0, out=raw)


def put_holes(raw: Field) -> None:
    """Make a disc that moves and 2 % of single pixels NaN, others in each step, in place."""
    rng = np.random.default_rng(1)
    _, height, width = raw.shape
    row, column = np.ogrid[:height, :width]
    for step, field in enumerate(raw):
        y, x = height * (0.5 + 0.4 * np.sin(step / 7)), width * (0.5 + 0.4 * np.cos(step / 11))
        field[(row - y) ** 2 + (column - x) ** 2 < (height / 5) ** 2] = np.nan
        field.flat[rng.integers(0, field.size, field.size // 50)] = np.nan


def outlines(x: Edges, y: Edges) -> tuple[Edges, Edges]:
    """Points around each rectangle between edges, shape (rectangles, points)."""
    t = np.arange(SIDE_POINTS) / SIDE_POINTS
    one, zero = np.ones_like(t), np.zeros_like(t)
    sides = np.broadcast_arrays(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
    x0, y0, x1, y1 = (a.ravel()[:, None] for a in sides)
    east, north = np.r_[t, one, 1 - t, zero], np.r_[zero, t, one, 1 - t]
    return x0 + (x1 - x0) * east, y0 + (y1 - y0) * north


def exact_areas(raster: Raster) -> csr_array:
    """Overlaps [m2] of cells and pixels, shape (cells, pixels), by shapely."""
    laea = f"+proj=laea +lat_0={GRID.y.mean()} +lon_0={GRID.x.mean()} +ellps=WGS84"
    to_plane = Transformer.from_crs("EPSG:4326", laea, always_xy=True)
    x, y = to_plane.transform(*outlines(GRID.x_edges, GRID.y_edges))
    cells = shapely.polygons(np.stack((x, y), axis=-1))
    tree, shape = shapely.STRtree(cells), (cells.size, math.prod(raster.shape))
    found = csr_array(shape)
    for row in range(0, raster.shape[0], 64):  # a band of pixels at a time, for memory
        x, y = outlines(raster.x_edges, raster.y_edges[row : row + 65])
        x, y = to_plane.transform(*raster.to_degrees(x, y))
        pixels = shapely.polygons(np.stack((x, y), axis=-1))
        pixel, cell = tree.query(pixels, predicate="intersects")
        area = shapely.area(shapely.intersection(cells[cell], pixels[pixel]))
        found = found + csr_array((area, (cell, pixel + row * raster.shape[1])), shape)
    return found


Exact = tuple[Edges, Edges]


def exact(raw: Field, areas: csr_array) -> Exact:
    """Mean over the valid part of each cell and that part's area [m2], in float64."""
    flat = raw.reshape(len(raw), -1).astype(np.float64)
    area = (areas @ np.isfinite(flat).astype(np.float64).T).T
    area[area < 1.0] = 0.0  # m2: rounding
    with np.errstate(invalid="ignore", divide="ignore"):  # a cell without a valid part
        mean = np.where(area > 0, (areas @ np.nan_to_num(flat).T).T / area, np.nan)
    return mean.reshape(-1, *GRID.shape), area.reshape(-1, *GRID.shape)


def accuracy(value: Field, truth: Exact) -> dict[str, float]:
    """Worst cell [mm], relative error of the total, and cells missing or present wrongly."""
    mean, area = truth
    value = value.astype(np.float64)
    volume = (np.nan_to_num(value) * area).sum() / (np.nan_to_num(mean) * area).sum()
    return {
        "worst_cell_mm": float(np.nanmax(np.abs(value - mean))),
        "total_volume_relative": float(volume - 1),
        "cells_missing_wrongly": int((np.isnan(value) != np.isnan(mean)).sum()),
    }


def measure(
    methods: dict[str, tuple[Regrid, int]], raw: Field, some: Field, truth: Exact, repeats: int
) -> dict[str, dict[str, float]]:
    """Speed (best of `repeats`, taken in turns) and accuracy; each method gets its own steps."""
    seconds = dict.fromkeys(methods, float("inf"))
    for method, _ in methods.values():
        method(raw[:CHUNK])  # first calls import and set up
    for _ in range(repeats):
        for name, (method, steps) in methods.items():
            start = time.perf_counter()
            method(raw[:steps])
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    pixels = raw[0].size / 1e6
    return {
        name: {
            "steps": min(steps, len(raw)),
            "million_pixels_per_second": pixels * min(steps, len(raw)) / seconds[name],
            **accuracy(method(some), truth),
        }
        for name, (method, steps) in methods.items()
    }


def measure_cdo(
    cdo: Cdo, raw: Field, some: Field, truth: Exact, repeats: int
) -> dict[str, dict[str, float]]:
    """The same of CDO."""
    _, seconds = cdo.remap(raw, repeats)
    return {
        "CDO remapcon": {
            "steps": len(raw),
            "million_pixels_per_second": raw.size / 1e6 / seconds,
            **accuracy(cdo.remap(some)[0], truth),
        }
    }


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def run_one(raster: Raster, repeats: int, threads: int, folder: Path) -> dict[str, Any]:
    """Weights and both inputs of one raster, by all methods that are installed."""
    generation = {"Dom-ST": float("inf")}
    arguments = (raster.x_edges, raster.y_edges, raster.crs, GRID)
    for repeat in range(repeats):
        os.environ["DOMST_CACHE"] = str(folder / f"cache-{repeat}")
        start = time.perf_counter()
        weights = projected_weights(*arguments)
        generation["Dom-ST"] = min(generation["Dom-ST"], time.perf_counter() - start)
    start = time.perf_counter()
    projected_weights(*arguments)
    generation["Dom-ST, kept from before"] = time.perf_counter() - start
    cdo = Cdo(raster, threads, folder) if shutil.which("cdo") else None
    if cdo:
        generation["CDO gencon"] = min(cdo.generate() for _ in range(repeats))

    def block(raw: Field) -> Field:
        return weights.apply(raw)[0]

    few = max(CHUNK, raster.steps // 11)
    inputs: dict[str, Any] = {}
    raw, areas = fields(raster), exact_areas(raster)
    for kind in ("complete", "NaN vary"):
        if kind == "NaN vary":
            put_holes(raw)
        some = raw[:: max(1, len(raw) // EXACT_STEPS)][:EXACT_STEPS].copy()
        truth = exact(some, areas)
        methods = {"Dom-ST": (in_blocks(threads, block), len(raw))}
        if installed("xesmf"):
            methods["xESMF's apply step, skipna"] = (xesmf_apply(weights, threads, True), len(raw))
            if kind == "complete":
                methods["xESMF's apply step"] = (xesmf_apply(weights, threads, False), len(raw))
        methods["rioxarray/GDAL average"] = (gdal_average(raster, threads), few)
        if installed("odc"):
            methods["odc-geo/GDAL average"] = (odc_average(raster, threads), few)
        inputs[kind] = measure(methods, raw, some, truth, repeats)
        if cdo:
            part = raw if kind == "complete" else raw[: 2 * EXACT_STEPS]
            rounds = repeats if kind == "complete" else 1
            inputs[kind] |= measure_cdo(cdo, part, some, truth, rounds)
    return {
        "million_pixels": raw.size / 1e6,
        "rows": raster.shape[0],
        "columns": raster.shape[1],
        "overlaps": int(weights.weight.size),
        "weights_seconds": generation,
        "inputs": inputs,
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
        for kind, methods in raster["inputs"].items():
            fastest = methods["Dom-ST"]["million_pixels_per_second"]
            for method, found in methods.items():
                table.add_row(
                    kind,
                    method,
                    f"{found['million_pixels_per_second']:.4g}",
                    f"{fastest / found['million_pixels_per_second']:.1f}",
                    f"{found['worst_cell_mm']:.1e}",
                    f"{found['total_volume_relative']:+.0e}",
                    f"{found['cells_missing_wrongly']}",
                )
        Console().print(table)
        spent = ", ".join(f"{who} {s:.2f} s" for who, s in raster["weights_seconds"].items())
        print(f"weights ({raster['overlaps']} overlaps): {spent}\n")
    print(", ".join(f"{name} {version}" for name, version in report["peers"].items()))
    print("ratio: our speed over theirs; worst mm: of any cell, against the exact mean;")
    print("volume: relative error of the total; NaN: cells missing, or present, wrongly")


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="of all steps")] = 1.0,
    repeats: Annotated[int, typer.Option(min=1, help="the best of these counts")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="for each method")] = os.cpu_count() or 1,
) -> None:
    """Time our regridding of projected rasters beside others, against the exact result."""
    peers = {
        name: importlib.metadata.version(name)
        for name, module in (("xesmf", "xesmf"), ("rioxarray", "rioxarray"), ("odc-geo", "odc"))
        if installed(module)
    }
    if shutil.which("cdo"):
        said = subprocess.run(["cdo", "--version"], capture_output=True, text=True, check=True)
        peers["CDO"] = (said.stderr + said.stdout).split("version ")[1].split()[0]
    report: dict[str, Any] = {"threads": threads, "repeats": repeats, "peers": peers, "rasters": {}}
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        os.environ["DOMST_CACHE"] = name
        for raster in (over_iowa(whole, share) for whole in (DAYMET, STAGE_IV)):
            folder = Path(name) / raster.name.replace(" ", "-")
            folder.mkdir()
            report["rasters"][raster.name] = run_one(raster, repeats, threads, folder)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
