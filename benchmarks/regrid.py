"""Conservative regridding in memory: our kernel beside xarray-regrid, speed and accuracy.

    python -m benchmarks.regrid [--json FILE]

Input: hourly fields of about 0.01 degree (800 x 500 pixels, 720 steps, 288 million values) over the
84 x 48 cells of Iowa, complete and with missing values that change from step to step. The pixels
are 7/800 by 4/500 degree, so that every one of them lies below a cell. Both programs take the same
array and the same number of threads; the peer runs on Dask's threads. Times are the best of some
repeats, taken in turns. The exact result is computed in float64 for some steps, with areas from
PROJ's equal-area projection of the ellipsoid.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import dask
import numpy as np
import typer
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rich.console import Console
from rich.table import Table

from pipeline.grid import Grid
from pipeline.regrid import separable_weights

GRID = Grid.covering((-97.0, 40.0, -90.0, 44.0))  # 84 x 48 cells
X_EDGES = np.linspace(-97.0, -90.0, 801)
Y_EDGES = np.linspace(44.0, 40.0, 501)
CHUNK = 24  # steps in a task
EXACT_STEPS = 6
PEER = "xarray-regrid"

Field = NDArray[np.float32]
Regrid = Callable[[Field], Field]


def fields(steps: int) -> Field:
    """Rain [mm], float32 (steps, 500, 800): skewed, dry in places, complete."""
    rng = np.random.default_rng(0)
    raw = rng.standard_exponential((steps, 500, 800), dtype=np.float32)
    raw -= 0.5
    return np.maximum(raw, 0, out=raw)


def put_holes(raw: Field) -> None:
    """Make a disc that moves and 2 % of single pixels NaN, others in each step, in place."""
    rng = np.random.default_rng(1)
    row, column = np.ogrid[:500, :800]
    for step, field in enumerate(raw):
        centre = 250 + 200 * np.sin(step / 7), 400 + 350 * np.cos(step / 11)
        field[(row - centre[0]) ** 2 + (column - centre[1]) ** 2 < 110**2] = np.nan
        field.flat[rng.integers(0, field.size, field.size // 50)] = np.nan


def ours(threads: int) -> Regrid:
    """Our kernel, called from threads on blocks of steps."""
    weights = separable_weights(X_EDGES, Y_EDGES, GRID)

    def regrid(raw: Field) -> Field:
        blocks = [raw[start : start + CHUNK] for start in range(0, len(raw), CHUNK)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate([value for value, _ in pool.map(weights.apply, blocks)])

    return regrid


def peer(threads: int, skipna: bool) -> Regrid:
    """xarray-regrid's conservative method on Dask's threads."""
    import xarray_regrid  # noqa: F401 -- registers the accessor
    from xarray_regrid.methods import conservative

    conservative.sparse = None  # with it, where another package brought it, weights are far slower

    target = xr.Dataset(coords={"latitude": GRID.y[::-1], "longitude": GRID.x})

    def regrid(raw: Field) -> Field:
        centres = {
            "latitude": (Y_EDGES[:-1] + Y_EDGES[1:]) / 2,
            "longitude": (X_EDGES[:-1] + X_EDGES[1:]) / 2,
        }
        data = xr.DataArray(raw, dims=("time", *centres), coords=centres).chunk(time=CHUNK)
        lazy = data.regrid.conservative(target, latitude_coord="latitude", skipna=skipna)
        with dask.config.set(scheduler="threads", num_workers=threads):
            result = lazy.compute()
        return result.transpose("time", *centres).sel(latitude=GRID.y).as_numpy().values

    return regrid


def exact(raw: Field) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the valid part of each cell and that part's area [m2], in float64."""
    plane = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)

    def overlap(cells: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        low = np.maximum(cells[:-1, None], pixels[None, :-1])
        return np.clip(np.minimum(cells[1:, None], pixels[None, 1:]) - low, 0, None)

    def north(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.asarray(plane.transform(np.zeros(len(y)), y)[1])  # ascending from the north

    def east(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(plane.transform(x, np.zeros(len(x)))[0])

    rows = overlap(north(GRID.y_edges), north(Y_EDGES))
    columns = overlap(east(GRID.x_edges), east(X_EDGES)).T
    area = rows @ np.isfinite(raw).astype(np.float64) @ columns
    with np.errstate(invalid="ignore"):  # 0 / 0 where a cell has no valid part
        return rows @ np.nan_to_num(raw.astype(np.float64)) @ columns / area, area


def measure(methods: dict[str, Regrid], raw: Field, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds (best of `repeats`) and accuracy of each method on one input."""
    seconds = dict.fromkeys(methods, float("inf"))
    for method in methods.values():
        method(raw[:CHUNK])  # first calls import and set up
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            method(raw)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    some = raw[:: max(1, len(raw) // EXACT_STEPS)]
    truth, area = exact(some)
    result = {}
    for name, method in methods.items():
        value = method(some).astype(np.float64)
        volume = (np.nan_to_num(value) * area).sum() / (np.nan_to_num(truth) * area).sum()
        result[name] = {
            "seconds": seconds[name],
            "million_pixels_per_second": raw.size / 1e6 / seconds[name],
            "worst_cell_mm": float(np.nanmax(np.abs(value - truth))),
            "total_volume_relative": float(volume - 1),
            "cells_missing_wrongly": int((np.isnan(value) != np.isnan(truth)).sum()),
        }
    return result


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    size = f"{report['million_pixels']:.0f} million values, {report['threads']} threads"
    table = Table(title=f"lat/lon to 84 x 48 cells, {size}, best of {report['repeats']}")
    for heading in ("input", "method"):
        table.add_column(heading, no_wrap=True)
    for heading in ("seconds", "ratio", "worst mm", "volume", "NaN"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, methods in report["inputs"].items():
        fastest = methods["Dom-ST"]["seconds"]
        for name, found in methods.items():
            table.add_row(
                kind,
                name,
                f"{found['seconds']:.3f}",
                f"{found['seconds'] / fastest:.1f}",
                f"{found['worst_cell_mm']:.1e}",
                f"{found['total_volume_relative']:+.0e}",
                f"{found['cells_missing_wrongly']}",
            )
    Console().print(table)
    print(report["peer"])
    print("ratio: seconds over ours; worst mm: of any cell, against the exact mean;")
    print("volume: relative error of the total; NaN: cells missing, or present, wrongly")


def run(steps: int, repeats: int, threads: int) -> dict[str, Any]:
    """All inputs, all methods that are installed."""
    peers: dict[str, dict[str, Regrid]] = {"complete": {}, "NaN vary": {}}
    found = f"{PEER} is not installed (extra [bench]): no comparison"
    if importlib.util.find_spec("xarray_regrid"):
        found = f"{PEER} {importlib.metadata.version(PEER)}"
        skip = {f"{PEER} skipna": peer(threads, skipna=True)}
        peers = {"complete": {**skip, PEER: peer(threads, skipna=False)}, "NaN vary": skip}
    kernel = {"Dom-ST": ours(threads)}
    raw = fields(steps)
    inputs = {"complete": measure(kernel | peers["complete"], raw, repeats)}
    put_holes(raw)
    inputs["NaN vary"] = measure(kernel | peers["NaN vary"], raw, repeats)
    return {
        "million_pixels": raw.size / 1e6,
        "threads": threads,
        "repeats": repeats,
        "peer": found,
        "inputs": inputs,
    }


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
    steps: Annotated[int, typer.Option(min=EXACT_STEPS, help="hourly fields")] = 720,
    repeats: Annotated[int, typer.Option(min=1, help="the best of these counts")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="for each method")] = os.cpu_count() or 1,
) -> None:
    """Time our regridding beside xarray-regrid and check both against the exact result."""
    report = run(steps, repeats, threads)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
