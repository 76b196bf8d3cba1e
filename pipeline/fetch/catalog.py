"""Fetch a catalog's files from the public services to the paths that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError

if TYPE_CHECKING:
    from pipeline.fetch.files import Outcome

EXTRA = frozenset({"dataretrieval", "httpx"})  # packages of the extra `fetch`


def fetch_catalog(
    catalog: Catalog, show: Callable[[int, int], None], *, dry_run: bool = False
) -> Iterator[Outcome]:
    """Fetch the parts that the catalog's section `fetch` names, one after the other.

    Args:
        catalog: with a `fetch` section.
        show: progress, called with files done and files in total, part by part.
        dry_run: request only what counting needs, and write nothing.

    Yields:
        The outcome of each part.

    Raises:
        InputError: nothing to fetch, or the catalog describes other files than are fetched.
        RunError: a service fails, a file is not written, or the extra `fetch` is not installed.
    """
    if catalog.fetch is None or not catalog.fetch.used:
        raise InputError(
            f"{catalog.path}: fetch: nothing to fetch: expected gauges, watersheds or forcings"
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
