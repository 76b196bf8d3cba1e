"""Checks that a store is complete: metadata, arrays, done-marks and time axes."""

from __future__ import annotations

import numpy as np
import zarr

from pipeline.check.contents import Check, Contents, verdict
from pipeline.storage import read_files
from pipeline.store import cf
from pipeline.store.digests import digest_parts, read_static_files
from pipeline.store.metadata import METADATA, consolidate
from pipeline.store.root import PROGRESS, STATIC, TABLES, array_of, attributes_of, blocks_done
from pipeline.store.spec import valid_fraction_name
from pipeline.store.tables import GAUGES, WATERSHEDS


def check_static(store: Contents) -> Check:
    """Check that coordinates, tables, records and all metadata are as written."""
    attributes = attributes_of(store.root)
    expected = attributes.get(STATIC, {})
    files = read_static_files(store.path, list(store.catalog.forcings))
    found = digest_parts(files)
    fails = [
        f"{part}: a file is missing, damaged or changed: expected it as written"
        for part in sorted(expected.keys() | found.keys())
        if expected.get(part) != found.get(part)
    ]
    root = read_files(store.path, [METADATA])[METADATA]
    if not fails and root != consolidate(attributes, files):
        fails.append(f"{METADATA}: consolidated metadata: expected a copy of the groups' own")
    return verdict("static", fails, [], f"{len(expected)} digests agree")


def check_template(store: Contents) -> Check:
    """Check that every array is there, with the shape that follows from the catalog's period."""
    if TABLES not in attributes_of(store.root):
        return verdict("template", ["watersheds and gauges are not written yet"], [], "")
    steps, sites, forcings = store.steps, len(store.sites), list(store.catalog.forcings)
    grid = _shape(store, "region/y") + _shape(store, "region/x")
    fields = forcings + [valid_fraction_name(f) for f in forcings]
    cells = _shape(store, f"{WATERSHEDS}/row")
    expected: dict[str, tuple[int, ...]] = {
        "time": (steps,),
        "time_bnds": (steps, 2),
        "region/cell_area": grid,
        **{f"region/{name}": (steps, *grid) for name in fields},
        **{f"{WATERSHEDS}/{name}": (sites,) for name in (*cf.OUTLET, *cf.COLUMNS, "polygon")},
        **{f"{WATERSHEDS}/{name}": cells for name in cf.CELLS},
        **{f"{GAUGES}/{name}": (sites, steps) for name in ("discharge", "flag")},
        **{f"{PROGRESS}/{name}": (len(store.blocks),) for name in forcings},
    }
    fails = [
        f"{name}: shape {_shape(store, name) or 'none'}: expected {shape}"
        for name, shape in expected.items()
        if _shape(store, name) != shape
    ]
    return verdict("template", fails, [], f"{len(expected)} arrays, {sites} watersheds")


def _shape(store: Contents, name: str) -> tuple[int, ...]:
    """Shape of an array, empty if the array is not there."""
    array = store.root.get(name)
    return tuple(array.shape) if isinstance(array, zarr.Array) else ()


def check_blocks(store: Contents) -> Check:
    """Check that every block is done."""
    done = blocks_done(store.root)
    open_ = np.flatnonzero(~done)
    first = store.catalog.period.times[store.blocks[int(open_[0])].start] if open_.size else None
    fails = (
        [f"{open_.size} of {done.size} are not done, the first from {first}"] if open_.size else []
    )
    return verdict("blocks", fails, [], f"{done.size} done")


def check_time(store: Contents) -> Check:
    """Check that steps follow each other without gaps, from the period's start to its end."""
    period = store.catalog.period
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    fails = []
    time = np.asarray(array_of(store.root, "time")[:])
    ends = np.asarray(array_of(store.root, "time_bnds")[:])
    if not np.array_equal(time, start) or not np.array_equal(ends, bounds):
        off = int((time != start).sum())
        fails.append(f"time: {off} of {start.size} steps are not the period's")
    return verdict(
        "time",
        fails,
        [],
        f"{start.size} steps of a {period.step} from {period.start} to {period.end}",
    )
