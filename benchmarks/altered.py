"""Copies of a store in which something of every watershed is changed, for ablations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import zarr

Change = Callable[[zarr.Group], None]


def altered(store: Path, target: Path, change: Change) -> Path:
    """A copy of `store` at `target`, made anew, with `change` done to each watershed's group."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(store, target)
    for _, group in zarr.open_group(target / "watersheds", mode="r+").groups():
        change(group)
    return target
