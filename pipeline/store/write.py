"""Write a store: blocks, marks and metadata, by the run that holds its lease.

Files are encoded in memory and appear whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import RunError
from pipeline.storage import Location, join, list_files, remove_files, reporting_access
from pipeline.store.encode import MemoryFolder
from pipeline.store.fence import require_lease, write_fenced
from pipeline.store.metadata import METADATA, consolidate
from pipeline.store.root import PROGRESS
from pipeline.store.spec import Block, valid_fraction_name


@dataclass(frozen=True)
class StoreWriter:
    """Writes files of a store for one run; cheap to send to a worker.

    Attributes:
        path: of the store.
        run: id of the run that holds its lease.
    """

    path: Location
    run: str

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, content by path below the store.

        Raises:
            RunError: the disk is full or read-only, or the run has lost its lease.
        """
        with writing(self.path):
            write_fenced(self.path, self.run, files)

    def write_root(self, attributes: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write the root's `zarr.json`, which readers see from then on.

        Args:
            attributes: of the root.
            files: with the `zarr.json` of all groups and arrays.

        Raises:
            RunError: as `write`.
        """
        self.write({METADATA: consolidate(attributes, files)})

    def remove_others(self, folder: str, kept: Container[str]) -> None:
        """Remove the files of a folder that are not among those kept, by path below the store.

        Args:
            folder: path below the store; empty for all of the store.
            kept: files that stay.

        Raises:
            RunError: as `write`.
        """
        with writing(self.path):
            below = join(self.path, folder) if folder else self.path
            names = [f"{folder}/{name}".lstrip("/") for name in list_files(below)]
        self.remove([name for name in names if name not in kept])

    def remove(self, names: Collection[str]) -> None:
        """Remove files, by path below the store.

        Raises:
            RunError: as `write`.
        """
        with writing(self.path):
            require_lease(self.path, self.run)
            remove_files(self.path, names)


@dataclass(frozen=True)
class BlockWriter(StoreWriter):
    """Writes blocks of forcings into a store.

    Attributes:
        metadata: `zarr.json` of the forcings' arrays, content by path.
    """

    metadata: Mapping[str, bytes]

    def write_block(
        self, block: Block, name: str, value: np.ndarray, valid_fraction: np.ndarray
    ) -> None:
        """Write a forcing of a block: two files.

        Args:
            block: the steps.
            name: of the forcing.
            value, valid_fraction: float32 (steps, y, x) of the region.

        Raises:
            RunError: as `write`.
        """
        folder = MemoryFolder(self.metadata)
        for array, values in ((name, value), (valid_fraction_name(name), valid_fraction)):
            folder.array(f"region/{array}")[block.start : block.stop] = values
        self.write(folder.chunks())


@dataclass(frozen=True)
class MarkWriter(StoreWriter):
    """Writes the marks of done blocks, all of a forcing at once.

    Attributes:
        metadata: `zarr.json` of the marks' arrays, content by path.
    """

    metadata: Mapping[str, bytes]

    def write_marks(self, marks: Mapping[str, np.ndarray]) -> None:
        """Write all marks.

        Args:
            marks: by forcing the stamp of each block, uint64 (block,); 0 if not done. Those beyond
                the end of the arrays, which are still to be extended, are left out.

        Raises:
            RunError: as `write`.
        """
        folder = MemoryFolder(self.metadata)
        for name, stamps in marks.items():
            array = folder.array(f"{PROGRESS}/{name}")
            array[...] = stamps[: array.shape[0]]
        self.write(folder.chunks())


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
