"""Write blocks and files of a store, and report failed writes in one line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from pipeline.errors import RunError
from pipeline.storage import Location, reporting_access, write_objects
from pipeline.store.root import PROGRESS, array_of, open_root
from pipeline.store.spec import Block, valid_fraction_name


class BlockWriter:
    """Writes blocks straight into the arrays of a store; cheap to send to a worker.

    Args:
        path: the store, already laid out.
        windows: for each site number, the slices (rows, columns) of its window in the region.
    """

    def __init__(self, path: Location, windows: Mapping[str, tuple[slice, slice]]) -> None:
        self.path = path
        self.windows = dict(windows)
        self._root: zarr.Group | None = None
        self._arrays: dict[str, zarr.Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_root": None, "_arrays": {}}

    @property
    def root(self) -> zarr.Group:
        """Root of the store, opened once per process."""
        if self._root is None:
            self._root = open_root(self.path, mode="r+")
        return self._root

    def write(self, block: Block, name: str, value: np.ndarray, valid_fraction: np.ndarray) -> None:
        """Write a forcing of a block, for the region and every watershed.

        Args:
            block: the steps.
            name: of the forcing.
            value, valid_fraction: float32 (steps, y, x) of the region.

        Raises:
            RunError: the disk is full or read-only.
        """
        parts = {
            f"region/{name}": value,
            f"region/{valid_fraction_name(name)}": valid_fraction,
            **{
                f"watersheds/{site}/{name}": value[:, rows, columns]
                for site, (rows, columns) in self.windows.items()
            },
        }
        arrays = [self._array(key).async_array for key in parts]
        steps = slice(block.start, block.stop)

        async def write_all() -> None:  # concurrently, which is twice as fast
            pairs = zip(arrays, parts.values(), strict=True)
            await asyncio.gather(*(array.setitem((steps,), part) for array, part in pairs))

        with writing(self.path):
            sync(write_all())

    def _array(self, name: str) -> zarr.Array:
        """Get an array, opened once per process."""
        if name not in self._arrays:
            self._arrays[name] = array_of(self.root, name)
        return self._arrays[name]

    def mark(self, block: Block) -> None:
        """Mark a block as done.

        Raises:
            RunError: the disk is full or read-only.
        """
        with writing(self.path):
            self._array(PROGRESS)[block.index] = np.uint64(block.stamp)


@contextmanager
def writing(path: Location) -> Iterator[None]:
    """Turn errors of writing into a message of one line.

    Raises:
        InputError: as `reporting_access`.
        RunError: the disk is full or read-only, or something is in the way; or as
            `reporting_access`.
    """
    try:
        with reporting_access(path):
            yield
    except OSError as error:
        raise RunError(
            f"{path}: not written ({error.strerror or error}): expected room on the disk and "
            "permission to write; finished work is kept, and the same command continues from there"
        ) from error


def replace_files(path: Location, files: Mapping[str, bytes]) -> None:
    """Write files of a store, each of them whole or not at all.

    Args:
        path: the store.
        files: content by path below the store.

    Raises:
        OSError, InputError, RunError: as file systems and `reporting_access`; see `writing`.
    """
    if not isinstance(path, Path):
        write_objects(path, files)
        return
    for key, content in files.items():
        _replace_file(path / key, content)


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
