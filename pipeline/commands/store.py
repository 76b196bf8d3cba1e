"""The commands that read a store: verify it, and write parts of it in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import AsJson
from pipeline.errors import InputError, RunError, exit_codes
from pipeline.json_text import print_json

Store = Annotated[str, typer.Argument(metavar="STORE", help="Folder or URL of a store.")]


def check(store: Store, as_json: AsJson = False) -> None:
    """Verify a store: layout, blocks, gaps, coverage, conservation, water balance."""
    with exit_codes():
        from pipeline.check.checks import check_store, print_checks, summarise_checks
        from pipeline.storage import parse_location

        place = parse_location(store)
        checks = check_store(place)
        if as_json:
            print_json(summarise_checks(place, checks))
        else:
            print_checks(place, checks)
        failed = [check.name for check in checks if check.status == "FAIL"]
        if failed:
            raise RunError(f"{store}: failed: {', '.join(failed)}")


def export(
    store: Store,
    out: Annotated[
        str, typer.Option(metavar="FILE", help="File to write; it ends in .nc, .parquet or .csv.")
    ],
    watershed: Annotated[
        str | None,
        typer.Option(metavar="SITE", help="Write this watershed's forcings, cells and record."),
    ] = None,
    basin_means: Annotated[
        bool,
        typer.Option("--basin-means", help="Write means over each watershed, and all records."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write part of a store as NetCDF, Parquet or CSV, for people who have no Zarr."""
    with exit_codes():
        if (watershed is not None) == basin_means:
            raise InputError("expected either --watershed SITE or --basin-means")
        from pipeline.export.basin_means import export_basin_means
        from pipeline.export.watershed import export_watershed

        if watershed is not None:
            export_watershed(store, watershed, out, force=force)
        else:
            export_basin_means(store, out, force=force)
        print(f"{out}: {Path(out).stat().st_size / 1e6:.1f} MB")
