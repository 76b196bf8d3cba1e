"""Open the Zarr root of a store, and read its arrays, attributes and done-marks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import GroupNotFoundError

from pipeline.errors import InputError
from pipeline.storage import Location, file_system, parse_location, reporting_access
from pipeline.store.metadata import METADATA

LAYOUT = 3  # version of the layout; a store of another one is refused
PROGRESS = "progress"  # array of the root: the done-marks
STATIC = "static"  # attribute of the root: digests of all files written before any data
EXTENDING = "extending"  # likewise, while the period is extended: number of steps before
UNFINISHED = ".partial"  # object below a URL while a store is created there
DAMAGED = "as `domst run` wrote it; remove the store and run again"


def open_root(path: str | os.PathLike[str], mode: str = "r") -> zarr.Group:
    """Open the root group of a store.

    Consolidated metadata are not used: they describe the store as it was last finished.

    Raises:
        InputError: there is no store at `path`, or one of another layout.
        InputError, RunError: as `reporting_access`.
    """
    path = parse_location(path)
    with reporting_access(path):
        try:
            if isinstance(path, Path) and not path.is_dir():  # Zarr would make one
                raise FileNotFoundError(path)
            root = zarr.open_group(path, mode=mode, zarr_format=3, use_consolidated=False)  # type: ignore[arg-type]
            whole = PROGRESS in root and "provenance" in root.attrs
        except (FileNotFoundError, GroupNotFoundError, ValueError) as error:
            raise InputError(
                f"{path}: holds no store: expected one written by `domst run`"
            ) from error
    if root.attrs.get("layout") != LAYOUT or not whole:
        found = root.attrs.get("layout")
        raise InputError(f"{path}: store layout {found}: expected {LAYOUT}; write the store again")
    return root


def stored_block_steps(path: Location) -> int | None:
    """Number of steps in a block of the store at `path`; None without a store.

    Raises:
        InputError: there is something else at `path`, or a store of another layout.
    """
    return None if is_absent(path) else int(attributes_of(open_root(path))["block_steps"])


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

    An empty folder counts as nothing and, at a URL, so does a store whose creation was interrupted.

    Raises:
        InputError, RunError: as `reporting_access`.
    """
    if not isinstance(path, Path):
        system, root = file_system(path)
        with reporting_access(path):
            if system.exists(f"{root}/{METADATA}"):
                return False
            return system.exists(f"{root}/{UNFINISHED}") or not system.find(root)
    if not os.path.lexists(path):
        return True
    return path.is_dir() and not any(path.iterdir())


def read_marks(root: zarr.Group) -> np.ndarray:
    """Read the fingerprints of each block's raw files, uint64 (block,); 0 if not done."""
    return read_array(array_of(root, PROGRESS)).astype(np.uint64)


def read_array(array: zarr.Array) -> np.ndarray:
    """Read a whole array.

    Raises:
        InputError: a chunk is damaged.
    """
    try:
        return np.asarray(array[...])
    except (ValueError, RuntimeError) as error:  # what codecs raise
        raise InputError(
            f"{array.store}: {array.path}: {error}: expected a chunk, {DAMAGED}"
        ) from error
