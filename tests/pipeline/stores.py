"""Look into stores, and change them behind the pipeline's back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.store.metadata import encode_metadata
from pipeline.store.root import attributes_of, blocks_done, open_root, read_marks


def stored_array(store: Path, name: str) -> zarr.Array:
    """An array of a store, to be changed."""
    return zarr.open_array(store, path=name, mode="r+")


def unmark(store: Path, block: int) -> None:
    """Take the mark of a block away."""
    for name in read_marks(open_root(store)):
        stored_array(store, f"progress/{name}")[block] = 0


def set_attributes(store: Path, **attributes: Any) -> None:
    """Change attributes of a store's root; None removes one."""
    root = store / "zarr.json"
    content = json.loads(root.read_text())
    kept = content["attributes"] | attributes
    content["attributes"] = {key: value for key, value in kept.items() if value is not None}
    root.write_bytes(encode_metadata(content))


def done_blocks(store: Path) -> np.ndarray:
    """Whether each block of a store is done, bool (block,)."""
    return blocks_done(open_root(store))


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store; the time of creation blanked out."""
    files = {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    created = str(attributes_of(open_root(store))["provenance"]["created"]).encode()
    files["zarr.json"] = files["zarr.json"].replace(created, b"")
    return files
