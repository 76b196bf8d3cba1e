"""What tells one version of a raw file from another, without opening it as what it is.

By `time`: its size and time of change; of an object what its store says of both, and its `ETag`. By
`content`: its size and SHA-256; of an object its `ETag` alone.
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
from pipeline.storage import Location, find_files, list_versions, lists, sha256

ETAG = "ETag"
TIMES = (ETAG, "LastModified", "Last-Modified", "mtime", "created")  # as file systems call them

Version = tuple[int, str]  # bytes, and what else tells it


def versions_of(paths: Sequence[Location], whole: bool, content: bool) -> dict[Location, Version]:
    """Versions of files, or objects, that were listed a moment ago.

    Args:
        paths: all of one kind.
        whole: each is a folder or URL, which a Zarr store is: those of all files in it.
        content: by content and not by time. Files are read in full, several at once.

    Raises:
        InputError: a file is gone, or cannot be read; an object without an ETag, by content.
        InputError, RunError: as `pipeline.storage.reaching`.
    """
    if whole or isinstance(paths[0], Path):
        version = partial(_version, content=content)
        if not content:
            return {path: version(path) for path in paths}
        with ThreadPoolExecutor() as threads:
            return dict(zip(paths, threads.map(version, paths), strict=True))
    # one listing a folder: asking for each object would take as long as reading it
    folders: dict[str, list[str]] = {}
    for url in sorted(map(str, paths)):
        folder, _, name = url.rpartition("/")
        folders.setdefault(folder, []).append(name)
    found: dict[Location, Version] = {}
    for folder, names in folders.items():
        listed = list_versions(folder) if lists(folder) else find_files(folder, names)
        for name in names:
            url = f"{folder}/{name}"
            if name not in listed:
                raise InputError(f"{url}: not there any more: expected a raster to stay in place")
            found[url] = listed[name]["size"] or 0, _of_object(url, listed[name], content)
    return found


def _version(path: Location, content: bool) -> Version:
    """Of a file, or of all files in a folder or below a URL together."""

    def of_one(name: str, about: dict[str, Any]) -> str:
        if content and isinstance(path, Path):
            return sha256(path / name)
        return _of_object(f"{path}/{name}", about, content)

    try:
        if isinstance(path, Path) and not path.is_dir():
            stat = path.stat()
            return stat.st_size, sha256(path) if content else str(stat.st_mtime_ns)
        found = list_versions(str(path)) if lists(path) else find_files(str(path), ZARR_ROOT_FILES)
        lines = [f"{name} {about['size']} {of_one(name, about)}" for name, about in found.items()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: expected a raster to stay in place") from error
    if not found:
        raise InputError(f"{path}: holds no file: expected a raster to stay in place")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return sum(about["size"] or 0 for about in found.values()), digest


def _of_object(name: str, about: dict[str, Any], content: bool) -> str:
    """What a file system says of an object that tells its versions apart."""
    if content and ETAG not in about:
        raise InputError(f"{name}: no {ETAG}: expected one, or versions: time in the catalog")
    return str([about[key] for key in ((ETAG,) if content else TIMES) if key in about])
