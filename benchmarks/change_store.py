"""Copy a store and change every watershed in the copy, for ablations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import zarr

Change = Callable[[zarr.Group], None]


def change_store(store: Path, target: Path, change: Change) -> Path:
    """Copy `store` to `target`, which is replaced, and apply `change` to each watershed's group."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(store, target)
    for _, group in zarr.open_group(target / "watersheds", mode="r+").groups():
        change(group)
    return target
