"""Manifests of fetched files: one JSON line per file, with its source and checksum.

Lines are only appended; the last line of a path counts. An incomplete line, left when the machine
stopped, is ignored, and its file is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.storage import sha256

MANIFEST = "manifest.jsonl"
USGS_DAILY = "daily 00060 00003"  # in the source of a record of daily means in ft3/s


class Manifest:
    """The manifest of a folder.

    Each line has `path` (relative to the folder), `source` (URL or request), `bytes`,
    `sha256` (of the local file) and `fetched` (UTC).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        self._ends_line = True  # whether the file ends with a complete line
        if self.path.exists():
            text = self.path.read_text()
            self._ends_line = text.endswith("\n") or not text
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["path"]] = entry
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # an incomplete line

    def source(self, path: Path) -> str | None:
        """Where a file came from; None if it is not in the manifest."""
        return self._entries.get(self._key(path), {}).get("source")

    def holds(self, path: Path, source: str) -> bool:
        """Whether a file exists, came from `source`, and is unchanged."""
        entry = self._entries.get(self._key(path))
        if entry is None or entry.get("source") != source or not path.is_file():
            return False
        return path.stat().st_size == entry.get("bytes") and sha256(path) == entry.get("sha256")

    def add(self, path: Path, source: str, content: bytes) -> None:
        """Record a file that has just been written.

        Raises:
            RunError: the manifest cannot be written.
        """
        entry: dict[str, Any] = {
            "path": self._key(path),
            "source": source,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            try:
                with self.path.open("a") as file:
                    file.write(("" if self._ends_line else "\n") + json.dumps(entry) + "\n")
            except OSError as error:
                raise _not_written(self.path, error) from error
            self._ends_line = True
            self._entries[entry["path"]] = entry

    def _key(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: under a temporary name, then renamed.

    Raises:
        RunError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise _not_written(path, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _not_written(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path}: not written ({error.strerror or error}): expected room and permission to write"
    )
