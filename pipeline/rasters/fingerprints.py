"""Fingerprints of raw files, to detect changed inputs without decoding them.

A fingerprint by time is a file's size and time of change, or what an object's store says of both
and its `ETag`. A fingerprint by content is a file's size and SHA-256, or an object's size and
`ETag`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.rasters.files import ZARR_ROOT_FILES
from pipeline.storage import Location, can_list, find_objects, list_objects, sha256

ETAG = "ETag"
TIMES = (ETAG, "LastModified", "Last-Modified", "mtime", "created")  # names in various file systems

Fingerprint = tuple[int, str]  # bytes, and what else distinguishes it


def take_fingerprints(
    paths: Sequence[Location], folders: bool, by_content: bool
) -> dict[Location, Fingerprint]:
    """Take the fingerprints of files or objects that were listed a moment ago.

    Args:
        paths: all local, or all URLs.
        folders: each path is a Zarr store, and gets one fingerprint of all files in it.
        by_content: and not by time. Local files are read in full, several at once.

    Raises:
        InputError: a file is gone or not readable; by content, an object without an ETag.
        InputError, RunError: as `pipeline.storage.reporting_access`.
    """
    if folders or isinstance(paths[0], Path):
        of_path = partial(_fingerprint, by_content=by_content)
        if not by_content:
            return {path: of_path(path) for path in paths}
        with ThreadPoolExecutor() as threads:
            return dict(zip(paths, threads.map(of_path, paths), strict=True))
    # one listing per folder: to request each object would take as long as to read it
    by_folder: dict[str, list[str]] = {}
    for url in sorted(map(str, paths)):
        folder, _, name = url.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    found: dict[Location, Fingerprint] = {}
    for folder, names in by_folder.items():
        listed = list_objects(folder) if can_list(folder) else find_objects(folder, names)
        for name in names:
            url = f"{folder}/{name}"
            if name not in listed:
                raise InputError(f"{url}: no longer there: expected a raster to stay in place")
            found[url] = listed[name]["size"] or 0, object_version(url, listed[name], by_content)
    return found


def _fingerprint(path: Location, by_content: bool) -> Fingerprint:
    """The fingerprint of a local file, or of all files in a folder or below a URL together."""

    def of_one(name: str, about: dict[str, Any]) -> str:
        if by_content and isinstance(path, Path):
            return sha256(path / name)
        return object_version(f"{path}/{name}", about, by_content)

    try:
        if isinstance(path, Path) and not path.is_dir():
            stat = path.stat()
            return stat.st_size, sha256(path) if by_content else str(stat.st_mtime_ns)
        if can_list(path):
            found = list_objects(str(path))
        else:
            found = find_objects(str(path), ZARR_ROOT_FILES)
        lines = [f"{name} {about['size']} {of_one(name, about)}" for name, about in found.items()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: expected a raster to stay in place") from error
    if not found:
        raise InputError(f"{path}: holds no file: expected a raster to stay in place")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return sum(about["size"] or 0 for about in found.values()), digest


def object_version(name: str, about: dict[str, Any], by_content: bool) -> str:
    """What a file system says of an object that distinguishes its versions."""
    if by_content and ETAG not in about:
        raise InputError(f"{name}: no {ETAG}: expected one, or versions: time in the catalog")
    return str([about[key] for key in ((ETAG,) if by_content else TIMES) if key in about])
