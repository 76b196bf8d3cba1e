"""Fingerprints of single rasters of a Zarr store: of the chunks that each is read from.

An archive that grows by a day gets a new chunk, or another last one. The fingerprints of rasters in
other chunks stay, so that only what changed is computed again.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, RunError
from pipeline.rasters.fingerprints import object_version
from pipeline.storage import Location, find_objects, join, list_objects, read_files, sha256

# Name of a chunk in its array's folder: c/0/1/2, c.0.1.2, 0.1.2 or 0/1/2.
CHUNK = re.compile(r"(?:c[./])?(\d+(?:[./]\d+)*)")
ALL = sys.maxsize  # rasters in a row of chunks
CONSOLIDATED = ("zarr.json", ".zmetadata")  # files at the root, of format 3 and 2


@dataclass(frozen=True, eq=False)
class Chunks:
    """The chunks of a variable, in rows along its time axis.

    Attributes:
        folder: of the variable.
        metadata: of the variable apart from its length in time, as text.
        steps: rasters in a row; more than there are if the axis is not known.
        length: number of rasters.
        names: relative paths of each row's files, which are shards if there are any, by its number.
        listed: what the file system says of each file.
    """

    folder: Location
    metadata: str
    steps: int
    length: int
    names: dict[int, list[str]]
    listed: dict[str, dict[str, Any]]

    def describe(self, row: int, by_content: bool) -> tuple[float, str]:
        """Bytes of a row of chunks, divided equally among its rasters, and a digest of them."""
        lines, total = [self.metadata], 0
        for name in sorted(self.names.get(row, [])):  # none where all pixels are the fill value
            about = self.listed[name]
            if by_content and isinstance(self.folder, Path):
                version = sha256(self.folder / name)
            else:
                version = object_version(f"{self.folder}/{name}", about, by_content)
            lines.append(f"{name} {about['size']} {version}")
            total += about["size"] or 0
        rasters = min(self.steps, self.length - row * self.steps)
        return total / rasters, hashlib.sha256("\n".join(lines).encode()).hexdigest()


def chunk_fingerprints(
    path: Location, variables: Sequence[str], time: str, positions: Sequence[int], by_content: bool
) -> list[tuple[float, str]]:
    """Take the fingerprints of rasters in a Zarr store that was opened a moment ago.

    One covers the chunks at the raster's time, of all places, and the metadata that its values
    depend on, of each variable. It does not cover coordinates.

    Args:
        path: of the store, whose folders can be listed.
        variables: their paths in the store.
        time: name of the time dimension.
        positions: of the rasters along it.
        by_content: and not by time. Local chunks are read in full, several at once.

    Returns:
        For each position the bytes of its chunks, divided among their rasters, and a digest.

    Raises:
        InputError: a file is gone or not readable; by content, an object without an ETag.
        InputError, RunError: as `pipeline.storage.reporting_access`.
    """

    def describe(place: tuple[int, int]) -> tuple[float, str]:
        variable, row = place
        return found[variable].describe(row, by_content)

    try:
        found = [_list_chunks(path, variable, time) for variable in variables]
        rows = [tuple(position // chunks.steps for chunks in found) for position in positions]
        needed = sorted({place for row in rows for place in enumerate(row)})
        with ThreadPoolExecutor(None if by_content else 1) as threads:
            parts = dict(zip(needed, threads.map(describe, needed), strict=True))
    except (InputError, RunError):
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise InputError(f"{path}: {reason}: expected a raster to stay in place") from error
    return [
        (
            sum(parts[place][0] for place in enumerate(row)),
            " ".join(parts[place][1] for place in enumerate(row)),
        )
        for row in rows
    ]


def _list_chunks(path: Location, variable: str, time: str) -> Chunks:
    """List the chunks of a variable, and read its metadata."""
    folder = join(path, variable)
    listed = list_objects(str(folder))
    about, dimensions, steps = _read_metadata(path, variable, listed)
    shape = list(about["shape"])
    axis = dimensions.index(time) if steps and time in dimensions else None
    names: dict[int, list[str]] = {}
    for name in listed:
        key = CHUNK.fullmatch(name)
        if key:
            at = [int(number) for number in re.split("[./]", key[1])]
            names.setdefault(0 if axis is None else at[axis], []).append(name)
    if axis is None:
        return Chunks(folder, json.dumps(about, sort_keys=True), ALL, shape[0], names, listed)
    length, shape[axis] = shape[axis], 0
    metadata = json.dumps(about | {"shape": shape}, sort_keys=True)
    return Chunks(folder, metadata, steps[axis], length, names, listed)


def _read_metadata(
    path: Location, variable: str, listed: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], list[str], list[int]]:
    """Read a variable's metadata: all of them, the names of its dimensions, and the shape of its
    chunks, or of its shards if there are any; no shape if they are not all alike.

    They come from the consolidated metadata if there are any, as values are read by these.
    """
    held: dict[str, Any] = {}
    for name in find_objects(str(path), CONSOLIDATED):
        content = json.loads(read_files(path, [name])[name])
        if name == CONSOLIDATED[0]:
            content = content.get("consolidated_metadata") or {}
        held = content.get("metadata") or {}
        break

    def read(name: str, key: str) -> Any:
        if key in held:
            return held[key]
        file = f"{variable}/{name}"
        return json.loads(read_files(path, [file])[file]) if name in listed else {}

    about = read("zarr.json", variable)
    if about:
        grid = about["chunk_grid"]
        steps = grid["configuration"]["chunk_shape"] if grid["name"] == "regular" else []
        return about, about.get("dimension_names") or [], steps
    about = read(".zarray", f"{variable}/.zarray")
    attributes = read(".zattrs", f"{variable}/.zattrs")
    about = about | {"attributes": attributes}
    return about, attributes.get("_ARRAY_DIMENSIONS", []), about["chunks"]
