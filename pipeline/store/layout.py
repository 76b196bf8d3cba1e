"""Lay out a store: its groups, the region, the time axis and the marks, before any data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from pipeline.regrid import cf_grid
from pipeline.store import cf
from pipeline.store.encode import MemoryFolder, create_array, create_empty
from pipeline.store.root import PROGRESS
from pipeline.store.spec import StoreSpec, valid_fraction_name

CHUNK_CELLS = 32  # on a side, that are compressed together; a watershed touches one to four
MARKS_CHUNK = 65_536  # blocks whose marks are one file


def template_files(spec: StoreSpec) -> dict[str, bytes]:
    """Content of all files of a store without rasters, watersheds and records, by path."""
    folder = MemoryFolder()
    root = folder.group("", {})
    _time(root, spec)
    marks = folder.group(PROGRESS, {})
    for name in spec.forcings:
        create_empty(
            marks, name, (spec.block_count,), "uint64", ("block",), cf.MARKS, (MARKS_CHUNK,)
        )
    region = folder.group("region", about(spec.catalog.title))
    _grid(region, spec)
    for name in spec.forcings:
        fraction = valid_fraction_name(name)
        extra = {"ancillary_variables": fraction, "cell_measures": "area: cell_area"}
        source = spec.catalog.forcings[name]
        own = dict(cf.FORCINGS.get(name, {"long_name": name}))
        own["units"] = cf.UNITS[source.store_units]
        own["cell_methods"] = cf.OVER_TIME[source.sums]
        _field(region, spec, name, {**own, **extra})
        _field(region, spec, fraction, cf_grid.valid_fraction_attributes(name))
    return folder.files()


def about(title: str) -> dict[str, Any]:
    """Attributes of each group."""
    return {"Conventions": cf.CONVENTIONS, "title": title, "history": cf.HISTORY}


def _time(root: zarr.Group, spec: StoreSpec) -> None:
    """Create the time axis: starts of the steps, and both ends of each."""
    period = spec.catalog.period
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    create_array(root, "time", start, ("time",), cf.TIME)
    create_array(root, "time_bnds", bounds, ("time", "bnds"), {})


def _grid(group: zarr.Group, spec: StoreSpec) -> None:
    """Create the coordinates and areas of the cells, and the reference system."""
    for name, (values, attributes) in cf_grid.axis_coordinates(spec.grid).items():
        create_array(group, name, values, (name,), attributes)
    name, attributes = cf_grid.GRID_MAPPING, cf_grid.grid_mapping_attributes(spec.grid)
    create_array(group, name, np.array(0), (), attributes)
    areas = {**cf.AREA, "grid_mapping": cf_grid.GRID_MAPPING}
    create_array(group, "cell_area", spec.grid.cell_area, ("y", "x"), areas)


def _field(group: zarr.Group, spec: StoreSpec, name: str, attributes: Mapping[str, Any]) -> None:
    """Create an array (time, y, x) to be filled: a shard a block, small chunks inside.

    A shard is one file with one writer; a reader of some cells reads their chunks alone.
    """
    chunks = [spec.block_steps, *(min(CHUNK_CELLS, length) for length in spec.grid.shape)]
    whole = [spec.block_steps, *spec.grid.shape]
    shards = [c * math.ceil(n / c) for c, n in zip(chunks, whole, strict=True)]
    create_empty(
        group, name, (spec.steps, *spec.grid.shape), "float32", ("time", "y", "x"),
        {**attributes, "grid_mapping": cf_grid.GRID_MAPPING}, chunks, shards,
    )  # fmt: skip
