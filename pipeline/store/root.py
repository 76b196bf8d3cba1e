"""Open the Zarr root of a store, and read its arrays, attributes and done-marks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync
from zarr.errors import GroupNotFoundError

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.storage import (
    Location,
    file_system,
    options_of,
    parse_location,
    read_files,
    reporting_access,
)
from pipeline.store.lease import LEASE
from pipeline.store.metadata import METADATA

LAYOUT = 4  # version of the layout; a store of another one is refused
PROGRESS = "progress"  # group of the done-marks, one array a forcing
TABLES = "tables"  # attribute of the root: stamp of the watersheds' and gauges' tables, if done
STATIC = "static"  # likewise: digests of all files but the forcings' and marks'
GRID = "grid"  # likewise: west, north, nx and ny of the region's grid, in cells
UNFINISHED = ".unfinished"  # file of a store that is being laid out
DAMAGED = "as `domst run` wrote it; remove the store and run again"


@dataclass(frozen=True)
class Stored:
    """What a store fixes for later runs: steps in a block, and the region's grid."""

    block_steps: int
    grid: Grid


def open_root(path: str | os.PathLike[str]) -> zarr.Group:
    """Open the root group of a store for reading, with the metadata of all that is below it.

    The group is the same object as long as the root's `zarr.json` has not changed.

    Raises:
        InputError: there is no store at `path`, or one of another layout.
        InputError, RunError: as `reporting_access`.
    """
    path = parse_location(path)
    with reporting_access(path):
        try:
            content = read_files(path, [METADATA])[METADATA]
            opened = _OPENED.get(str(path))
            if opened and opened[0] == content:
                return opened[1]
            options = None if isinstance(path, Path) else options_of(path)
            root = zarr.open_group(path, mode="r", zarr_format=3, storage_options=options)
        except (FileNotFoundError, NotADirectoryError, GroupNotFoundError, ValueError) as error:
            raise InputError(
                f"{path}: holds no store: expected one written by `domst run`"
            ) from error
    if "layout" not in root.attrs or "provenance" not in root.attrs:
        raise InputError(f"{path}: holds no store: expected one written by `domst run`")
    if root.attrs["layout"] != LAYOUT or root.metadata.consolidated_metadata is None:
        raise InputError(
            f"{path}: store layout {root.attrs['layout']}: expected {LAYOUT}; write the store "
            "again with `domst run` to another --store"
        )
    _OPENED.clear()
    _OPENED[str(path)] = content, root
    return root


# The store that this process opened last, with its `zarr.json`: heads of one store are opened one
# after the other.
_OPENED: dict[str, tuple[bytes, zarr.Group]] = {}


def find_stored(path: Location) -> Stored | None:
    """What the store at `path` fixes for later runs; None without a store.

    Raises:
        InputError: there is something else at `path`, or a store of another layout.
    """
    if is_absent(path):
        return None
    attributes = attributes_of(open_root(path))
    return Stored(int(attributes["block_steps"]), Grid(*attributes[GRID]))


def array_of(root: zarr.Group, name: str) -> zarr.Array:
    """Get an array of a store by its path below the root.

    Raises:
        InputError: the array is missing, or its metadata are damaged.
    """
    try:
        found = root[name]
    except (KeyError, ValueError) as error:
        raise InputError(f"{root.store}: {name}: {error}: expected an array, {DAMAGED}") from error
    assert isinstance(found, zarr.Array), name
    return found


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """Attributes of a group as a dictionary."""
    return dict(group.attrs)


def is_absent(path: Location) -> bool:
    """Whether there is no store yet.

    An empty folder counts as nothing, and so do a lease and a store whose creation was interrupted:
    its root is written last.

    Raises:
        InputError, RunError: as `reporting_access`.
    """
    if not isinstance(path, Path):
        system, root = file_system(path)
        with reporting_access(path):
            if system.exists(f"{root}/{METADATA}"):
                return False
            names = {name.rpartition("/")[2] for name in system.find(root, maxdepth=1)}
            return bool(names & {LEASE, UNFINISHED}) or not system.find(root)
    if not os.path.lexists(path):
        return True
    if not path.is_dir() or (path / METADATA).exists():
        return False
    return any((path / name).exists() for name in (LEASE, UNFINISHED)) or not any(path.iterdir())


def read_marks(root: zarr.Group) -> dict[str, np.ndarray]:
    """Read the done-marks: by forcing the stamp of each block, uint64 (block,); 0 if not done."""
    group = root[PROGRESS]
    assert isinstance(group, zarr.Group)
    names = sorted(name for name, _ in group.arrays())
    marks = read_arrays(root, [f"{PROGRESS}/{name}" for name in names])
    return {name: one.astype(np.uint64) for name, one in zip(names, marks, strict=True)}


def blocks_done(root: zarr.Group) -> np.ndarray:
    """Whether all forcings of each block are done, bool (block,)."""
    return np.asarray(np.stack(list(read_marks(root).values())).all(axis=0))


def read_array(array: zarr.Array, selection: Any = ...) -> np.ndarray:
    """Read an array, or a part of it.

    Raises:
        InputError: a chunk is damaged.
    """
    try:
        return np.asarray(array[selection])
    except (ValueError, RuntimeError) as error:  # what codecs raise
        raise _damaged(array, error) from error


def read_arrays(root: zarr.Group, names: Sequence[str], selection: Any = ...) -> list[np.ndarray]:
    """Read the same part of several arrays at once.

    Raises:
        InputError: an array is missing, or a chunk is damaged.
    """
    arrays = [array_of(root, name) for name in names]

    async def read(array: zarr.Array) -> np.ndarray:
        try:
            return np.asarray(await array.async_array.getitem(selection))
        except (ValueError, RuntimeError) as error:
            raise _damaged(array, error) from error

    async def read_all() -> list[np.ndarray]:
        return list(await asyncio.gather(*map(read, arrays)))

    return sync(read_all())


def _damaged(array: zarr.Array, error: Exception) -> InputError:
    return InputError(f"{array.store}: {array.path}: {error}: expected a chunk, {DAMAGED}")
