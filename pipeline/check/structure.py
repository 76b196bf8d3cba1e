"""Checks that a store is complete: metadata, arrays, done-marks and time axes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import zarr

from pipeline.check.contents import Check, Contents, verdict
from pipeline.storage import read_files
from pipeline.store.metadata import MAX_WATERSHEDS, METADATA, consolidate
from pipeline.store.resume import digest_parts, read_static_files
from pipeline.store.root import STATIC, array_of, attributes_of, read_marks
from pipeline.store.spec import valid_fraction_name


def check_static(store: Contents) -> Check:
    """Check that coordinates, static layers, records and all metadata are as written."""
    expected = attributes_of(store.root).get(STATIC, {})
    files = read_static_files(store.path, list(store.catalog.forcings))
    found = digest_parts(files)
    fails = [
        f"{part}: a file is missing, damaged or changed: expected it as written"
        for part in sorted(expected.keys() | found.keys())
        if expected.get(part) != found.get(part)
    ]
    if not fails and len(store.sites) <= MAX_WATERSHEDS:
        root = read_files(store.path, [METADATA])[METADATA]
        if root != consolidate(root, files):
            fails.append(f"{METADATA}: consolidated metadata: expected a copy of the groups' own")
    return verdict("static", fails, [], f"{len(expected)} digests agree")


def check_template(store: Contents) -> Check:
    """Check that every array is there, with the shape that follows from the catalog's period."""
    fails, steps, forcings = [], store.steps, list(store.catalog.forcings)
    expected: dict[str, tuple[int, ...]] = {}
    for group, cubes, layers, series in _groups(store, forcings):
        shape = _shape(store, f"{group}/y") + _shape(store, f"{group}/x")
        expected |= {f"{group}/{name}": (steps, *shape) for name in cubes}
        expected |= {f"{group}/{name}": shape for name in layers}
        expected |= {f"{group}/{name}": (steps,) for name in series}
        expected[f"{group}/time_bnds"] = (steps, 2)
    for name in ("discharge", "flag"):
        expected[f"gauges/{name}"] = (len(store.sites), steps)
    for name, shape in expected.items():
        found = _shape(store, name)
        if found != shape:
            fails.append(f"{name}: shape {found or 'none'}: expected {shape}")
    marks = _shape(store, "progress")
    if marks != (len(store.blocks),):
        fails.append(f"progress: shape {marks}: expected {(len(store.blocks),)}")
    return verdict("template", fails, [], f"{len(expected)} arrays, {len(store.sites)} watersheds")


def _groups(
    store: Contents, forcings: list[str]
) -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """Yield groups with a grid, and their arrays (time, y, x), (y, x) and (time) by name."""
    yield "region", forcings + [valid_fraction_name(f) for f in forcings], ["cell_area"], ["time"]
    layers, series = (
        ["cell_area", "coverage", "flow_distance"],
        ["time", "discharge", "flag", "runoff"],
    )
    for site in store.sites:
        yield f"watersheds/{site}", forcings, layers, series


def _shape(store: Contents, name: str) -> tuple[int, ...]:
    """Shape of an array, empty if the array is not there."""
    array = store.root.get(name)
    return tuple(array.shape) if isinstance(array, zarr.Array) else ()


def check_blocks(store: Contents) -> Check:
    """Check that every block is done."""
    marks = read_marks(store.root)
    open_ = np.flatnonzero(marks == 0)
    first = store.catalog.period.times[store.blocks[int(open_[0])].start] if open_.size else None
    fails = (
        [f"{open_.size} of {marks.size} are not done, the first from {first}"] if open_.size else []
    )
    return verdict("blocks", fails, [], f"{marks.size} done")


def check_time(store: Contents) -> Check:
    """Check that steps follow each other without gaps, from the period's start to its end."""
    period = store.catalog.period
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    fails = []
    for group in ("region", "gauges", *(f"watersheds/{site}" for site in store.sites)):
        time = np.asarray(array_of(store.root, f"{group}/time")[:])
        ends = np.asarray(array_of(store.root, f"{group}/time_bnds")[:])
        if not np.array_equal(time, start) or not np.array_equal(ends, bounds):
            off = int((time != start).sum())
            fails.append(f"{group}/time: {off} of {start.size} steps are not the period's")
    return verdict(
        "time",
        fails,
        [],
        f"{start.size} steps of a {period.step} from {period.start} to {period.end}",
    )
