"""The fence of a store: only the run that holds its lease changes it.

A run that lost its lease may still have threads or workers that write, because Dask cannot stop
them. Each write therefore looks at `lease.json` and fails where it names another run or is gone. In
a folder it looks after the data are on the disk, just before the file is renamed to its name. At a
URL, where an object appears when its request ends, it looks before and after the request: an object
of a lost run may appear, but the run does not go on to mark it as done.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zarr.abc.store import OffsetByteRequest, Store
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from pipeline.storage import Location, reporting_access, write_objects
from pipeline.store.lease import LEASE, decode_lease, lease_lost, read_lease, replace_file


class FencedStore(WrapperStore[Store]):
    """A Zarr store that only the run with its lease can change; it can be sent to workers.

    Args:
        store: Zarr's store at `location`.
        location: of the store.
        run: id of the run, of `Lease`.
    """

    def __init__(self, store: Store, location: Location, run: str) -> None:
        super().__init__(store)
        self.location, self.run = location, run

    def _with_store(self, store: Store) -> FencedStore:
        return FencedStore(store, self.location, self.run)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.run == getattr(other, "run", None)

    async def _require(self) -> None:
        if isinstance(self.location, Path):
            require_lease(self.location, self.run)
            return
        whole = OffsetByteRequest(0)  # as a range, for which s3fs makes one request and not two
        content = await self._store.get(LEASE, default_buffer_prototype(), whole)
        holder = decode_lease(content.to_bytes(), self.location) if content else None
        if holder is None or holder.run != self.run:
            raise lease_lost(self.location, holder)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, whole or not at all.

        Raises:
            RunError: the run does not hold the lease.
        """
        self._check_writable()
        if isinstance(self.location, Path):
            content = value.as_buffer_like()
            await asyncio.to_thread(_replace_file, self.location, self.run, key, content)
            return
        await self._require()
        await self._store.set(key, value)
        await self._require()

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file that does not exist; as `set`."""
        if not await self.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def delete(self, key: str) -> None:
        """Remove a file.

        Raises:
            RunError: the run does not hold the lease.
        """
        await self._require()
        await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove a folder; as `delete`."""
        await self._require()
        await self._store.delete_dir(prefix)

    async def clear(self) -> None:
        """Not possible: the lease is in the store."""
        raise NotImplementedError("a fenced store is not cleared")


def fenced_store(location: Location, run: str) -> FencedStore:
    """Zarr's store at a location, for the run that holds its lease.

    Args:
        location: of the store, existing or not.
        run: id of the run, of `Lease`.
    """
    if isinstance(location, Path):
        return FencedStore(LocalStore(location), location, run)
    store = FsspecStore.from_url(location, storage_options={"use_listings_cache": False})
    return FencedStore(store, location, run)


def require_lease(location: Location, run: str) -> None:
    """Require that a run holds a store.

    Raises:
        RunError: it does not.
        OSError: and other errors of clients; see `reporting_access`.
    """
    holder = read_lease(location)
    if holder is None or holder.run != run:
        raise lease_lost(location, holder)


def write_fenced(location: Location, run: str, files: Mapping[str, bytes]) -> None:
    """Write files of a store, each of them whole or not at all.

    Args:
        location: of the store.
        run: id of the run, of `Lease`.
        files: content by path below the store.

    Raises:
        RunError: the run does not hold the lease; or as `reporting_access`.
        OSError, InputError: as file systems and `reporting_access`.
    """
    if isinstance(location, Path):
        for key, content in files.items():
            _replace_file(location, run, key, content)
        return
    with reporting_access(location):
        require_lease(location, run)
        write_objects(location, files)
        require_lease(location, run)


def _replace_file(store: Path, run: str, key: str, content: Any) -> None:
    replace_file(store / key, content, run, lambda: require_lease(store, run))


def remove_partial_files(location: Location, run: str) -> None:
    """Remove what other runs wrote and did not rename; there is nothing of the kind at a URL.

    Args:
        location: of the store.
        run: id of the run that holds it, whose own files stay.
    """
    if not isinstance(location, Path):
        return
    for folder, _, names in os.walk(location):
        for name in names:
            if name.endswith(".partial") and f".{run}-" not in name:
                os.unlink(os.path.join(folder, name))
