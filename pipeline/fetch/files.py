"""Fetching a list of files: what is there with the right checksum stays, the rest is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.errors import RunError
from pipeline.fetch.manifest import Manifest, write_whole
from pipeline.fetch.services import Service

MB = 1e6  # bytes
Show = Callable[[int, int], None]  # called with files done and files to do


@dataclass(frozen=True)
class Item:
    """One file of the catalog.

    Attributes:
        path: where it lands.
        source: its address or what is asked of the service; another one makes it another file.
        make: asks for it; the file's content, or None where the service has none.
        size: asks for its bytes, where a service can be asked that.
    """

    path: Path
    source: str
    make: Callable[[], bytes | None]
    size: Callable[[], int | None] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a part of a catalog, or would, in a dry run.

    Attributes:
        part: key of the catalog.
        service: its name.
        there: files that were there before.
        fetched: files that were fetched; in a dry run, that would be, or None where that is not
            known before the watersheds are there.
        absent: files that the service does not have.
        bytes: of `fetched`; in a dry run an estimate, or None where nothing is known.
        dry_run: whether nothing was fetched.
    """

    part: str
    service: str
    there: int
    fetched: int | None
    absent: int
    bytes: int | None
    dry_run: bool

    def __str__(self) -> str:
        """One line for the user."""
        if self.fetched is None:
            return f"{self.part}: {self.service}: not known before the watersheds are there"
        verb = "to fetch" if self.dry_run else "fetched"
        size = "size not known" if self.bytes is None else f"{self.bytes / MB:,.1f} MB"
        if self.dry_run and self.bytes is not None:
            size = f"about {size}"
        line = f"{self.part}: {self.service}: {self.fetched} files {verb}"
        line += f" ({size}), " if self.fetched else ", "
        line += f"{self.there} there before"
        return line + (f", {self.absent} not at the service" if self.absent else "")


def fetch_items(
    part: str,
    service: Service,
    folder: Path,
    items: Sequence[Item],
    show: Show,
    *,
    dry_run: bool,
    max_absent: int | None = 0,
) -> Outcome:
    """Fetch the items that are not there, into `folder`, whose manifest notes them.

    Args:
        part: key of the catalog, for messages.
        service: sets the number of requests at a time.
        folder: holds all of the items.
        items: to be there in the end.
        show: progress.
        dry_run: ask for one file's size at most, and write nothing.
        max_absent: files that the service may lack, None for any number.

    Raises:
        RunError: the service fails, or lacks more files than it may, or a file cannot be
            written. What was fetched before stays.
    """
    manifest = Manifest(folder)
    missing = [item for item in items if not manifest.holds(item.path, item.source)]
    there = len(items) - len(missing)
    if dry_run:
        first = missing[0].size() if missing and missing[0].size else None
        size = None if first is None else first * len(missing)
        return Outcome(part, service.name, there, len(missing), 0, size, dry_run=True)
    show(there, len(items))
    work = _Work(part, service, manifest, len(items), max_absent)
    pool = ThreadPoolExecutor(service.connections)
    try:
        futures = [pool.submit(work.fetch, item) for item in missing]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            show(there + done, len(items))
    except BaseException as error:
        service.stop()
        if isinstance(error, Exception) and work.failure:
            raise work.failure from None  # others fail because of it
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    fetched = len(missing) - len(work.absent)
    return Outcome(part, service.name, there, fetched, len(work.absent), work.bytes, dry_run=False)


class _Work:
    """What several threads do and count together; after a failure no other request starts."""

    def __init__(
        self, part: str, service: Service, manifest: Manifest, total: int, max_absent: int | None
    ) -> None:
        self.part, self.service, self.manifest = part, service, manifest
        self.total, self.max_absent = total, max_absent
        self.absent: list[Item] = []
        self.bytes = 0
        self.failure: Exception | None = None
        self._lock = Lock()

    def fetch(self, item: Item) -> None:
        """Fetch one file."""
        try:
            content = item.make()
            if content is None:
                self._note_absent(item)
                return
            write_whole(item.path, content)
            self.manifest.add(item.path, item.source, content)
        except Exception as error:
            with self._lock:
                self.failure = self.failure or error
            self.service.stop()
            raise
        with self._lock:
            self.bytes += len(content)

    def _note_absent(self, item: Item) -> None:
        item.path.unlink(missing_ok=True)  # of another source
        with self._lock:
            self.absent.append(item)
            absent = len(self.absent)
        if self.max_absent is not None and absent > self.max_absent:
            raise RunError(
                f"{self.part}: {self.service.name}: {absent} of {self.total} files are not there, "
                f"such as {item.source}: expected at most {self.max_absent}"
            )
