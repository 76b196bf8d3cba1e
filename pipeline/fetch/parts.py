"""Fetch the parts of a catalog in order of need: watersheds, gauges, forcings.

Without `bounds`, the watersheds determine which part of a large raster is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalog.fetch import Fetch
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.fetch.aorc import plan_aorc
from pipeline.fetch.files import Outcome, Show, fetch_items
from pipeline.fetch.series import plan_series
from pipeline.fetch.services import Service
from pipeline.fetch.usgs import merge_polygons, plan_basins, plan_gauges, plan_sites

Windows = dict[Path, tuple[slice, ...]]  # by path of the store that was fetched


def fetch_parts(catalog: Catalog, fetch: Fetch, show: Show, *, dry_run: bool) -> Iterator[Outcome]:
    """Fetch as `pipeline.fetch.catalog.fetch_catalog`; `fetch` is the catalog's section."""
    services = {name: Service.of(catalog, fetch, name) for name in sorted(fetch.used)}
    try:
        if fetch.watersheds:
            yield from _watersheds(
                catalog, services["waterdata"], services["nldi"], show, dry_run=dry_run
            )
        if fetch.gauges:
            folder, items = plan_gauges(catalog, services["waterdata"])
            yield fetch_items("gauges", services["waterdata"], folder, items, show, dry_run=dry_run)
        windows: Windows = {}
        for name, forcing in fetch.forcings.items():
            service = services[forcing.service]
            if forcing.service == "aorc":
                yield _aorc(catalog, name, service, show, windows, dry_run=dry_run)
            else:
                folder, items = plan_series(catalog, name, service)
                yield fetch_items(
                    f"forcings.{name}",
                    service,
                    folder,
                    items,
                    show,
                    dry_run=dry_run,
                    max_absent=catalog.forcings[name].max_missing_steps,
                )
    finally:
        for service in services.values():
            service.close()


def _watersheds(
    catalog: Catalog, data: Service, index: Service, show: Show, *, dry_run: bool
) -> Iterator[Outcome]:
    folder, table = plan_sites(catalog, data)
    yield fetch_items("watersheds", data, folder, [table], show, dry_run=dry_run)
    yield fetch_items(
        "watersheds", index, folder, plan_basins(catalog, index), show, dry_run=dry_run
    )
    if not dry_run:
        fetch_items("watersheds", index, folder, [merge_polygons(catalog)], show, dry_run=False)


def _aorc(
    catalog: Catalog, name: str, service: Service, show: Show, windows: Windows, *, dry_run: bool
) -> Outcome:
    polygon_file = catalog.watersheds_path
    if catalog.bounds is None and not polygon_file.exists():
        assert catalog.fetch is not None
        if dry_run and catalog.fetch.watersheds:
            return Outcome(f"forcings.{name}", service.name, 0, None, 0, None, dry_run=True)
        raise InputError(
            f"{catalog.path}: bounds: missing, and {polygon_file} is not there: expected one of "
            f"them, to select the part of {service.name} to fetch"
        )
    folder, items, stores = plan_aorc(catalog, name, service)
    for store in stores:
        if windows.setdefault(store.path, store.window) != store.window:
            raise InputError(
                f"{catalog.path}: forcings.{name}.files: {store.path} holds another forcing "
                "with other hours or chunks: expected a store of its own"
            )
    unfinished = [] if dry_run else [store for store in stores if not store.finished]
    for store in unfinished:
        store.begin()
    outcome = fetch_items(
        f"forcings.{name}", service, folder, items, show, dry_run=dry_run, max_absent=None
    )
    for store in unfinished:
        store.finish()
    return outcome
