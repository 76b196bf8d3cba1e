"""Where files and stores lie: a path of this machine, or the URL of an object store.

URLs are fsspec's. What opens them, their endpoint and the credentials, comes from the environment
alone, as the file system's own client reads it: of S3 AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and the
like. Listings are never kept, so that what others write is seen at once.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.errors import InputError, RunError, refusals

Location: TypeAlias = Path | str  # of a file or folder; the URL of something that is neither
REQUESTS = 16  # at a time


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def located(text: str | os.PathLike[str]) -> Location:
    """A path as it is given, or a URL without a slash at its end.

    Raises:
        InputError: a URL of a kind that is not known or not installed, or with credentials in it.
    """
    text = os.fspath(text)
    protocol, mark, rest = text.partition("://")
    if not mark:
        return Path(text)
    if "@" in rest.partition("/")[0]:
        raise InputError(
            f"{protocol}://...@{rest.rpartition('@')[2]}: holds credentials: expected them in the "
            "environment"
        )
    import fsspec  # most runs start faster without

    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise InputError(f"{text}: {error}: expected a path, or a URL such as s3://...") from error
    except ImportError as error:
        raise InputError(f"{text}: {error}: expected it installed (dom-st[s3] for S3)") from error
    return text.rstrip("/")


def below(location: Location, name: str) -> Location:
    """A file or folder in a folder."""
    return location / name if isinstance(location, Path) else f"{location}/{name}"


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the URL's path in it."""
    import fsspec

    return fsspec.core.url_to_fs(url, use_listings_cache=False)


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """Turn what is raised when a URL is used into one line; of a path nothing is changed.

    Raises:
        InputError: no such bucket, no credentials, or not the permission.
        RunError: no connection, or the service fails.
    """
    try:
        yield
    except refusals() as error:
        if isinstance(location, Path):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if _is_refusal(error):
            raise InputError(
                f"{location}: refused ({reason}): expected a bucket that is there, and credentials "
                "in the environment that may use it"
            ) from error
        raise RunError(
            f"{location}: not reached ({reason}): expected its service to answer; what is done "
            "stays, and the same command goes on from there"
        ) from error


def _is_refusal(error: BaseException) -> bool:
    """Whether it is for the user to mend: anything but the service's or the network's failure."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else error
    http = sys.modules.get("aiohttp")
    if http and isinstance(cause, http.ClientError):  # fsspec calls all of them not found
        return isinstance(cause, http.ClientResponseError) and cause.status < 500
    if isinstance(error, OSError):
        return isinstance(error, (FileNotFoundError, PermissionError))
    from botocore.exceptions import ConnectionError, HTTPClientError

    return not isinstance(error, (ConnectionError, HTTPClientError))


def list_files(location: Location, pruned: Collection[str] = ()) -> Iterator[str]:
    """Files below a folder, by their paths in it.

    Args:
        pruned: names of folders whose own folders are left out.

    Raises:
        InputError, RunError: as `reaching`.
    """
    if isinstance(location, Path):
        for folder, folders, names in os.walk(location):
            at = Path(folder).relative_to(location)
            if at.name in pruned:
                folders.clear()
            yield from ((at / name).as_posix() for name in names)
        return
    for name in list_versions(location):
        if not set(name.split("/")[:-2]) & set(pruned):
            yield name


def lists(location: Location) -> bool:
    """Whether what lies below a folder can be asked for; of a web server it cannot."""
    return isinstance(location, Path) or not location.startswith(("http://", "https://"))


def find_files(folder: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those of some files that are there, and what the file system says of each, asking for one by
    one.

    Raises:
        InputError, RunError: as `reaching`.
    """
    system, root = file_system(folder)

    def ask(name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = system.info(f"{root}/{name}")
        except FileNotFoundError as error:
            if _is_refusal(error):
                return None
            raise
        return found

    names = list(names)
    with reaching(folder), ThreadPoolExecutor(REQUESTS) as threads:
        answers = list(threads.map(ask, names))
    return {name: about for name, about in zip(names, answers, strict=True) if about is not None}


def list_versions(url: str) -> dict[str, dict[str, Any]]:
    """Files below a URL, by their paths in it, "" for the file that it is itself: what the file
    system says of each, such as `size` and `ETag`.

    Raises:
        InputError, RunError: as `reaching`.
    """
    system, root = file_system(url)
    with reaching(url):
        found = system.find(root, detail=True)
    return {name[len(root) :].lstrip("/"): about for name, about in sorted(found.items())}


def read_files(location: Location, names: Iterable[str]) -> dict[str, bytes]:
    """Contents of files below a folder, by their paths in it; of a URL many at a time.

    Raises:
        InputError, RunError: as `reaching`.
    """
    if isinstance(location, Path):
        return {name: (location / name).read_bytes() for name in names}
    system, root = file_system(location)
    paths = {f"{root}/{name}": name for name in names}
    with reaching(location):
        return {paths[path]: content for path, content in system.cat(list(paths)).items()}


def write_objects(url: str, files: Mapping[str, bytes]) -> None:
    """Write objects below a URL, many at a time, each there whole or not at all.

    Raises:
        InputError, RunError: as `reaching`.
    """
    system, root = file_system(url)
    with reaching(url):
        system.pipe({f"{root}/{name}": content for name, content in files.items()})


def remove_files(location: Location, names: Collection[str]) -> None:
    """Remove files below a folder.

    Raises:
        InputError, RunError: as `reaching`.
    """
    if isinstance(location, Path):
        for name in names:
            (location / name).unlink()
    elif names:
        system, root = file_system(location)
        with reaching(location):
            system.rm([f"{root}/{name}" for name in names])
