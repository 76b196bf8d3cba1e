"""Zarr to Zarr on Dask: the blocks of `pipeline run` beside reading alone and beside peers.

    python -m benchmarks.regrid_store [--json FILE]

Inputs: the fields of `benchmarks.regrid` (0.01 degree, hourly) and of `benchmarks.regrid_projected`
(1-km Lambert) as Zarr stores of float32, complete and with missing values that change from step to
step. Everything runs on one Dask client with its threads in this process, as `pipeline run` has it
by default, in turns; the best of some repeats counts:

- reading alone: the raw values of each block, read by zarr-python and discarded
- Dom-ST: `pipeline.run.execute.execute`, that is read, check, regrid, clip, write, mark as done
- Dom-ST, regrid(): open_zarr, the public `regrid`, to_zarr
- xarray-regrid: open_zarr, conservative with skipna, to_zarr; on lat/lon only
- xESMF's apply step: open_zarr, the step with skipna and our weights, to_zarr

Stores are laid out before the clock starts, ours and the peers'. Peers write values alone; we also
write valid fractions, a watershed's clip and marks. Processor seconds, of this process and so of
all of its threads, stand beside the clock's: other work on the machine disturbs them less. Files
lie in memory where the system has /dev/shm: no disk's time hides what a program adds to reading.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import typer
import xarray as xr
import yaml
import zarr
from distributed import Client
from rich.console import Console
from rich.table import Table

from benchmarks.regrid_comparison import CORES, KINDS, MEMORY, JsonFile, Repeats, Share, Threads
from benchmarks.regrid_peers import (
    CHUNK,
    installed,
    middle,
    versions,
    xarray_regrid_lazily,
    xesmf_block,
)
from benchmarks.regrid_rasters import (
    GRID,
    HUNDREDTH,
    LAMBERT,
    Field,
    Raster,
    fields,
    with_holes,
)
from pipeline.catalog.models import load_catalog
from pipeline.regrid.api import regrid
from pipeline.run.cluster import make_client
from pipeline.run.execute import execute, prepare
from pipeline.run.plan import Plan, make_plan
from pipeline.run.submit import Execution
from pipeline.store.lease import hold_lease
from pipeline.store.read import open_region
from pipeline.store.root import TABLES
from pipeline.store.write import StoreWriter

START = datetime(2020, 6, 1)
RAW_CHUNK = (24, 256, 256)  # steps, rows and columns that are compressed together
WATERSHED = [(-94.2, 41.1), (-93.1, 41.1), (-93.1, 42.2), (-94.2, 42.2), (-94.2, 41.1)]

Run = Callable[[], Any]
Lazy = Callable[[xr.DataArray], xr.DataArray]


def write_raw(raster: Raster, raw: Field, path: Path) -> None:
    """Write the raw store of a raster as an agency might publish it."""
    plain = {"y": "latitude", "x": "longitude"}
    units = {"y": "degrees_north", "x": "degrees_east"}
    if not raster.is_lonlat:
        plain = {name: f"projection_{name}_coordinate" for name in plain}
        units = dict.fromkeys(units, raster.crs.axis_info[0].unit_name.replace("kilometre", "km"))
    axes = {
        name: (name, middle(edges), {"standard_name": plain[name], "units": units[name]})
        for name, edges in (("y", raster.y_edges), ("x", raster.x_edges))
    }
    times = ("time", np.arange(len(raw)), {"units": f"hours since {START:%Y-%m-%d}"})
    dataset = xr.Dataset(
        {"rain": (("time", "y", "x"), raw, {"units": "mm"})}, coords={"time": times, **axes}
    )
    encoding = {"rain": {"chunks": RAW_CHUNK}}
    dataset.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)


def plan_of(raster: Raster, steps: int, path: Path) -> Plan:
    """Plan what `pipeline run` does with a raw store, from a catalog that describes it."""
    stem = path.with_suffix("")
    feature = {
        "type": "Feature",
        "properties": {"site_no": "00000000"},
        "geometry": {"type": "Polygon", "coordinates": [WATERSHED]},
    }
    polygons, gauge = stem.with_suffix(".geojson"), stem.with_suffix(".csv")
    polygons.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    gauge.write_text(f"site_no,datetime,discharge\n00000000,{START:%Y-%m-%d},10\n")
    source = {"driver": "zarr", "files": str(path), "variable": "rain", "units": "mm"}
    if not raster.is_lonlat:
        source["crs"] = raster.crs.to_wkt()
    catalog = {
        "title": "Made-up fields",
        "synthetic": True,
        "period": {
            "step": "hour",
            "start": START.isoformat(),
            "end": (START + timedelta(hours=steps)).isoformat(),
        },
        "bounds": list(GRID.bounds),
        "forcings": {"precipitation": source},
        "gauges": {"format": "csv", "files": gauge.name, "units": "m3/s"},
        "watersheds": {"file": polygons.name, "site_field": "site_no"},
    }
    described = stem.with_suffix(".yaml")
    described.write_text(yaml.safe_dump(catalog))
    return make_plan(load_catalog(described))


def reading(plan: Plan, path: Path, client: Client) -> Run:
    """Read the raw values of each block and discard them."""
    rows, columns = plan.sources[0].weights.window
    blocks = [(block.start, block.stop) for block in plan.blocks]
    array = zarr.open_array(path / "rain", mode="r")

    def read(block: tuple[int, int]) -> None:
        _ = array[slice(*block), rows, columns]

    def run() -> None:
        client.gather(client.map(read, blocks, pure=False))

    return run


def ours(plan: Plan, store: Path, client: Client) -> Run:
    """The blocks of `pipeline run`."""
    with hold_lease(store) as lease:
        state = prepare(plan, store, lease.run)
    state.attributes[TABLES] = state.stamp  # the blocks alone

    def run() -> None:
        with hold_lease(store) as lease:
            state.writer = StoreWriter(store, lease.run)
            execute(Execution(plan, state, client, lease), lambda status: None)

    return run


def peer(lazy: Lazy, path: Path, store: Path) -> Run:
    """Run a peer from the raw store to a store of its own, on the current client."""
    chunks = {"time": CHUNK, "y": -1, "x": -1}
    raw = xr.open_zarr(path, chunks=chunks, consolidated=False)["rain"]
    result = lazy(raw).to_dataset(name="rain").drop_encoding()
    waiting = result.to_zarr(store, zarr_format=3, consolidated=False, compute=False)
    return lambda: waiting.compute()


def lazy_public(raster: Raster) -> Lazy:
    """The public `regrid`, without the valid fractions."""

    def lazy(raw: xr.DataArray) -> xr.DataArray:
        located = raw.assign_coords(spatial_ref=((), 0, raster.crs.to_cf()))
        return regrid(located, GRID)["rain"].drop_vars("spatial_ref")

    return lazy


def lazy_xarray_regrid(raw: xr.DataArray) -> xr.DataArray:
    """xarray-regrid, skipna."""
    return xarray_regrid_lazily(raw.rename(y="latitude", x="longitude"), skipna=True)


def lazy_xesmf(raster: Raster) -> Lazy:
    """xESMF's apply step, skipna."""
    block = xesmf_block(raster, skipna=True)
    coordinates = {"latitude": GRID.y, "longitude": GRID.x}

    def lazy(raw: xr.DataArray) -> xr.DataArray:
        steps = raw.chunksizes["time"]
        cells = raw.data.map_blocks(
            block, dtype=np.float32, chunks=(steps, *((n,) for n in GRID.shape))
        )
        dims = ("time", *coordinates)
        return xr.DataArray(cells, dims=dims, coords={"time": raw["time"], **coordinates})

    return lazy


def peers(raster: Raster) -> dict[str, Lazy]:
    """The public `regrid`, and the peers that are installed, by name."""
    found: dict[str, Lazy] = {"Dom-ST, regrid()": lazy_public(raster)}
    if raster.is_lonlat and installed("xarray_regrid"):
        found["xarray-regrid, skipna"] = lazy_xarray_regrid
    if installed("xesmf"):
        found["xESMF's apply step, skipna"] = lazy_xesmf(raster)
    return found


def measure(
    raster: Raster, steps: int, path: Path, folder: Path, client: Client, repeats: int
) -> dict[str, dict[str, float]]:
    """Measure the seconds of each method, and how far the peers' values are from ours."""
    plan = plan_of(raster, steps, path)
    others = peers(raster)
    stores = {name: folder / f"{number}.zarr" for number, name in enumerate(("Dom-ST", *others))}
    ways: dict[str, Callable[[], Run]] = {
        "reading alone": partial(reading, plan, path, client),
        "Dom-ST": partial(ours, plan, stores["Dom-ST"], client),
    }
    for name, lazy in others.items():
        ways[name] = partial(peer, lazy, path, stores[name])
    report: dict[str, dict[str, float]] = {}
    for _ in range(repeats):
        for name, prepared in ways.items():
            if name in stores:
                shutil.rmtree(stores[name], ignore_errors=True)
            run = prepared()
            clock, processor = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - clock, time.process_time() - processor
            mine = report.setdefault(name, dict.fromkeys(("seconds", "cpu_seconds"), np.inf))
            for key, seconds in zip(mine, spent, strict=True):
                mine[key] = min(mine[key], seconds)
    value = open_region(stores["Dom-ST"])["precipitation"].values
    for name, store in stores.items():
        if name != "Dom-ST":
            other = xr.open_zarr(store, chunks=None, consolidated=False)["rain"].values
            report[name]["worst_difference_mm"] = float(np.nanmax(np.abs(other - value)))
    for store in stores.values():
        shutil.rmtree(store)
    return report


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    for name, raster in report["rasters"].items():
        size = f"{raster['million_pixels']:.0f} million values, {report['threads']} threads"
        table = Table(title=f"{name}, Zarr to Zarr, {size}, best of {report['repeats']}")
        for heading in ("input", "method"):
            table.add_column(heading, no_wrap=True)
        for heading in ("s", "/reading", "/ours", "CPU s", "/reading"):
            table.add_column(heading, justify="right", no_wrap=True)
        for kind, ways in raster["inputs"].items():
            alone, mine = ways["reading alone"], ways["Dom-ST"]
            for way, found in ways.items():
                table.add_row(
                    kind,
                    way,
                    f"{found['seconds']:.2f}",
                    f"{found['seconds'] / alone['seconds']:.2f}",
                    f"{found['seconds'] / mine['seconds']:.2f}",
                    f"{found['cpu_seconds']:.2f}",
                    f"{found['cpu_seconds'] / alone['cpu_seconds']:.2f}",
                )
        Console(width=100).print(table)
        for kind, ways in raster["inputs"].items():
            for way, found in ways.items():
                if "worst_difference_mm" in found:
                    print(f"{kind}, {way}: cells up to {found['worst_difference_mm']:.0e} mm off")
    print(", ".join(f"{name} {version}" for name, version in report["peers"].items()))


def main(
    json_file: JsonFile = None, share: Share = 0.5, repeats: Repeats = 3, threads: Threads = CORES
) -> None:
    """Time raw store to regridded store on Dask: the pipeline's blocks, reading alone, peers."""
    logging.getLogger("domst").setLevel(logging.ERROR)  # no terrain: flow distances are guessed
    warnings.filterwarnings("ignore", "invalid value encountered", RuntimeWarning)  # xarray-regrid
    warnings.filterwarnings(
        "ignore", "Sending large graph", UserWarning
    )  # weights, of xESMF's step
    rasters: dict[str, Any] = {}
    with (
        TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary,
        make_client(workers=threads) as client,
    ):
        folder = Path(temporary)
        for raster in (whole.over_iowa(share) for whole in (HUNDREDTH, LAMBERT)):
            inputs, raw = {}, fields(raster)
            for kind in KINDS:
                path = folder / "raw.zarr"
                write_raw(raster, raw if kind == "complete" else with_holes(raw), path)
                inputs[kind] = measure(raster, len(raw), path, folder, client, repeats)
                shutil.rmtree(path)
            rasters[raster.name] = {"million_pixels": raw.size / 1e6, "inputs": inputs}
    report = {"threads": threads, "repeats": repeats, "peers": versions(), "rasters": rasters}
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
