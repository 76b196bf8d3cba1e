"""Digests of the files of a store that a run writes once, to detect later changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pipeline.storage import Location, list_files, read_files
from pipeline.store.metadata import METADATA
from pipeline.store.root import PROGRESS
from pipeline.store.spec import valid_fraction_name


def digest_parts(files: Mapping[str, bytes | str]) -> dict[str, str]:
    """SHA-256 of the files in each folder of a store.

    Args:
        files: content, or its SHA-256, by path below the store.

    Returns:
        By the first part of the path.
    """
    totals: dict[str, list[str]] = {}
    for key, content in sorted(files.items()):
        digest = content if isinstance(content, str) else digest_content(content)
        totals.setdefault(key.split("/")[0], []).append(f"{key} {digest}\n")
    return {
        part: hashlib.sha256("".join(lines).encode()).hexdigest() for part, lines in totals.items()
    }


def digest_content(content: bytes) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_static_files(path: Location, forcings: Sequence[str]) -> dict[str, bytes]:
    """Read all files below the root's but those of forcings' values and marks, by path."""
    filled = {*forcings, *map(valid_fraction_name, forcings)}
    keys = []
    for key in list_files(path):
        parts = key.split("/")
        values = parts[0] == PROGRESS or (parts[0] == "region" and parts[1] in filled)
        if len(parts) > 1 and (parts[-1] == METADATA or not values):
            keys.append(key)
    return read_files(path, keys)
