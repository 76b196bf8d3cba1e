"""Fetch a list of files, except those that exist with the right checksum."""

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
Show = Callable[[int, int], None]  # called with files done and files in total


@dataclass(frozen=True)
class Item:
    """One file to fetch.

    Attributes:
        path: of the local file.
        source: its URL or request; a file with another source is fetched again.
        make: requests the content; returns None if the service has no such file.
        size: requests its size [bytes], if the service has such a request.
    """

    path: Path
    source: str
    make: Callable[[], bytes | None]
    size: Callable[[], int | None] | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of fetching one part of a catalog, or its estimate in a dry run.

    Attributes:
        part: key of the catalog.
        service: its name.
        existing: files that existed before.
        fetched: files fetched; in a dry run, files to fetch, or None if that depends on
            watersheds that are not fetched yet.
        absent: files that the service does not have.
        bytes: of `fetched`; in a dry run an estimate, or None if unknown.
        dry_run: whether nothing was fetched.
    """

    part: str
    service: str
    existing: int
    fetched: int | None
    absent: int
    bytes: int | None
    dry_run: bool

    def __str__(self) -> str:
        """Describe the outcome in one line."""
        if self.fetched is None:
            return f"{self.part}: {self.service}: not known before the watersheds are there"
        verb = "to fetch" if self.dry_run else "fetched"
        size = "size not known" if self.bytes is None else f"{self.bytes / MB:,.1f} MB"
        if self.dry_run and self.bytes is not None:
            size = f"about {size}"
        line = f"{self.part}: {self.service}: {self.fetched} files {verb}"
        line += f" ({size}), " if self.fetched else ", "
        line += f"{self.existing} there before"
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
    """Fetch missing items and record them in the manifest of `folder`.

    Args:
        part: key of the catalog, for messages.
        service: limits simultaneous requests.
        folder: that contains all items.
        items: files that are to exist.
        show: called with progress.
        dry_run: request at most one file's size, and write nothing.
        max_absent: files that the service may lack; None for any number.

    Raises:
        RunError: the service fails or lacks too many files, or a file cannot be written. Files
            fetched before are kept.
    """
    manifest = Manifest(folder)
    missing = [item for item in items if not manifest.holds(item.path, item.source)]
    existing = len(items) - len(missing)
    if dry_run:
        first = missing[0].size() if missing and missing[0].size else None
        size = None if first is None else first * len(missing)
        return Outcome(part, service.name, existing, len(missing), 0, size, dry_run=True)
    show(existing, len(items))
    shared = _FetchState(part, service, manifest, len(items), max_absent)
    pool = ThreadPoolExecutor(service.connections)
    try:
        futures = [pool.submit(shared.fetch, item) for item in missing]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            show(existing + done, len(items))
    except BaseException as error:
        service.stop()
        if isinstance(error, Exception) and shared.failure:
            raise shared.failure from None  # the others fail because of it
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    fetched = len(missing) - len(shared.absent)
    return Outcome(
        part, service.name, existing, fetched, len(shared.absent), shared.bytes, dry_run=False
    )


class _FetchState:
    """Counts that the threads share; after a failure no further request starts."""

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
        """Fetch one file and record it."""
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
                f"{self.part}: {self.service.name}: {absent} of {self.total} files are missing, "
                f"such as {item.source}: expected at most {self.max_absent}"
            )
