"""Resume a store: find the blocks to do, and refuse other inputs than it was written from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
import zarr

from pipeline.errors import InputError
from pipeline.storage import Location, file_system, list_files, read_files, reporting_access
from pipeline.store.metadata import METADATA, encode_metadata
from pipeline.store.root import (
    EXTENDING,
    PROGRESS,
    STATIC,
    UNFINISHED,
    array_of,
    attributes_of,
    read_marks,
)
from pipeline.store.spec import Block, valid_fraction_name
from pipeline.store.write import replace_files, writing

VERSIONS, RECORDS = ("provenance", "versions"), ("provenance", "gauges")
NOT_COMPARED = (
    ("provenance", "created"),
    ("provenance", "forcings"),
    ("provenance", "catalog"),
    (STATIC,),
    (EXTENDING,),
)

AnyBlock = TypeVar("AnyBlock", bound=Block)


def remaining_blocks(blocks: Sequence[AnyBlock], root: zarr.Group) -> list[AnyBlock]:
    """Blocks that are not done, or were done from files that have changed since.

    The store may end before the period does; blocks beyond its end are not done.
    """
    marks = read_marks(root).tolist()
    assert len(marks) <= len(blocks), (len(marks), len(blocks))
    marks += [0] * (len(blocks) - len(marks))
    return [block for block in blocks if marks[block.index] != block.stamp]


def changed_blocks(blocks: Sequence[AnyBlock], root: zarr.Group) -> list[AnyBlock]:
    """Those of the remaining blocks that were done, but from files that have changed since."""
    marks = read_marks(root)
    return [block for block in blocks if marks[block.index]]


def clear_marks(path: Location, root: zarr.Group, blocks: Sequence[Block]) -> None:
    """Remove the done-marks of blocks that are to be done again.

    Raises:
        RunError: the disk is full or read-only.
    """
    marks = array_of(root, PROGRESS)
    with writing(path):
        for block in blocks:
            marks[block.index] = np.uint64(0)


def update_provenance(path: Location, root: zarr.Group, forcings: Mapping[str, Any]) -> None:
    """Record the forcings' current raw files in the root's attributes, if they have changed.

    Raises:
        RunError: the disk is full or read-only.
    """
    provenance = attributes_of(root)["provenance"]
    if provenance["forcings"] == forcings:
        return
    content = json.loads(read_files(path, [METADATA])[METADATA])
    content["attributes"]["provenance"] = {**provenance, "forcings": forcings}
    with writing(path):  # not through `root`, which would drop the consolidated metadata
        replace_files(path, {METADATA: encode_metadata(content)})


def remove_partial_files(path: Location) -> None:
    """Remove partial files that an interrupted run left behind.

    Raises:
        InputError, RunError: as `reporting_access`.
    """
    if not isinstance(path, Path):
        system, root = file_system(path)
        with reporting_access(path):
            if system.exists(f"{root}/{UNFINISHED}"):
                system.rm_file(f"{root}/{UNFINISHED}")
        return
    for folder, _, files in os.walk(path):
        for name in files:
            if name.endswith(".partial"):
                os.unlink(os.path.join(folder, name))


def require_same_inputs(
    path: Location, root: zarr.Group, expected: Mapping[str, Any], extended: bool = False
) -> None:
    """Refuse to continue a store that was written from another catalog or other static inputs.

    Rasters are not compared: blocks whose rasters changed are done again. Versions of packages are
    compared only while blocks are left to do.

    Args:
        path, root: the store.
        expected: the root's attributes as they would be written now.
        extended: whether the catalog's period ends later, so that records may have grown too.

    Raises:
        InputError: with the first key that differs, its value in the store and its value now.
    """
    found = attributes_of(root)
    advice = "give another --store, or remove this one"
    stored = yaml.safe_load(found["provenance"]["catalog"]["text"])
    current = yaml.safe_load(expected["provenance"]["catalog"]["text"])
    for key, old, new in _differences(stored, current):
        if extended and key == "period.end":
            continue
        raise InputError(
            f"{path}: written from another catalog: {key} is {old!r} there: expected {new!r}; "
            f"{advice}"
        )
    unfinished = extended or not read_marks(root).all()
    for key, old, new in _differences(found, dict(expected)):
        parts = tuple(key.split("."))
        if parts[:2] in NOT_COMPARED or (parts[:2] == VERSIONS and not unfinished):
            continue
        if extended and parts[:2] == RECORDS:
            continue
        raise InputError(f"{path}: {key} is {old!r} in the store: expected {new!r}; {advice}")


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two nested mappings differ: dotted key, and both values (None if absent)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in sorted(old.keys() | new.keys()):
            below = f"{key}.{part}" if key else str(part)
            yield from _differences(old.get(part), new.get(part), below)
    elif old != new:
        yield key, old, new


def digest_parts(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of the files of /region, of /gauges and of each watershed, by path in the store."""
    totals: dict[str, Any] = {}
    for key, content in sorted(files.items()):
        part = "/".join(key.split("/")[: 2 if key.startswith("watersheds/") else 1])
        total = totals.setdefault(part, hashlib.sha256())
        total.update(f"{key} {hashlib.sha256(content).hexdigest()}\n".encode())
    return {part: total.hexdigest() for part, total in totals.items()}


def read_static_files(path: Location, forcings: Sequence[str]) -> dict[str, bytes]:
    """Read the files below the root's that were written before any data, by path in the store."""
    filled = {PROGRESS, *forcings, *map(valid_fraction_name, forcings)}
    static = []
    for key in list_files(path, pruned=filled):  # leaves out chunks of data
        *folders, name = key.split("/")
        if folders and (name in (METADATA, "c") or "c" in folders):
            static.append(key)
    return read_files(path, static)
