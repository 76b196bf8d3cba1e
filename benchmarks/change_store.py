"""Copy a store and change the copy, for experiments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

Change = Callable[[np.ndarray], None]


def change_store(store: Path, target: Path, name: str, change: Change) -> Path:
    """Copy `store` to `target`, which is replaced, and change one of its arrays in place.

    Args:
        store: the store to copy.
        target: of the copy.
        name: path of the array, as `gauges/discharge`.
        change: gets the array's values.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(store, target)
    array = zarr.open_array(target, path=name, mode="r+")
    before = np.asarray(array[:])
    after = before.copy()
    change(after)
    assert not np.array_equal(before, after, equal_nan=True), f"{target}: {name} is as before"
    array[:] = after
    return target
