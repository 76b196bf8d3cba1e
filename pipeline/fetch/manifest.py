"""What has been fetched: one JSON line a file, beside the files, with its checksum.

Lines are only ever added; of several for one path the last counts. A line that was cut when the
machine stopped counts for nothing, and its file is fetched again.
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


class Manifest:
    """The manifest of a folder.

    Each line has `path` (below the folder), `source` (address, or what was asked), `bytes`,
    `sha256` (of the file as it lies there) and `fetched` (UTC).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        self._whole = True  # whether the file ends with a whole line
        if self.path.exists():
            text = self.path.read_text()
            self._whole = text.endswith("\n") or not text
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["path"]] = entry
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # a cut line: its file is fetched again

    def holds(self, path: Path, source: str) -> bool:
        """Whether a file is there, from this source, with the checksum that it had."""
        entry = self._entries.get(self._key(path))
        if entry is None or entry.get("source") != source or not path.is_file():
            return False
        return path.stat().st_size == entry.get("bytes") and sha256(path) == entry.get("sha256")

    def add(self, path: Path, source: str, content: bytes) -> None:
        """Note a file that has just been written.

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
                    file.write(("" if self._whole else "\n") + json.dumps(entry) + "\n")
            except OSError as error:
                raise _not_written(self.path, error) from error
            self._whole = True
            self._entries[entry["path"]] = entry

    def _key(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: it is whole, or not there.

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
