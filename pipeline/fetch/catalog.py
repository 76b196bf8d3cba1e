"""Bringing a catalog's files from the public services into the layout that it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError

if TYPE_CHECKING:
    from pipeline.fetch.files import Outcome

EXTRA = frozenset({"dataretrieval", "httpx"})  # packages that the extra `fetch` brings


def fetch_catalog(
    catalog: Catalog, show: Callable[[int, int], None], *, dry_run: bool = False
) -> Iterator[Outcome]:
    """Fetch the parts that the catalog's `fetch` names, one after the other.

    Args:
        catalog: with a `fetch` section.
        show: called with files done and files to do, part by part.
        dry_run: ask only for what is needed to count, and write nothing.

    Yields:
        What became of each part.

    Raises:
        InputError: nothing is to be fetched, or a part is described otherwise than it is fetched.
        RunError: a service fails, a file cannot be written, or the extra `fetch` is not installed.
    """
    if catalog.fetch is None or not catalog.fetch.used:
        raise InputError(
            f"{catalog.path}: fetch: names no part: expected gauges, watersheds or forcings"
        )
    try:
        from pipeline.fetch.parts import fetch_parts
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise RunError(
            f"{error.name} is not installed: expected the extra 'fetch': "
            "pip install 'dom-st[fetch]'"
        ) from error
    yield from fetch_parts(catalog, catalog.fetch, show, dry_run=dry_run)
