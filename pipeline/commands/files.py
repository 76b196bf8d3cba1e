"""The commands about raw files and catalogs: describe, draft, make and fetch them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import NOTHING, AsJson, CatalogFile, LogJson
from pipeline.errors import InputError, exit_codes
from pipeline.json_text import print_json
from pipeline.log import json_lines


def inspect(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of any kind; or Zarr stores.")
    ],
    picture: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Draw what one file holds into a PNG file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what rasters, records, flow directions and polygons hold, without a catalog."""
    with exit_codes():
        if picture is not None and len(files) > 1:
            raise InputError(f"--map {picture}: {len(files)} files: expected one")
        from pipeline.inspect.description import draw_picture
        from pipeline.inspect.inspect_file import inspect_file

        found = []
        for path in files:
            description = inspect_file(path)
            found.append(description.summary())
            if not as_json:
                print(description.text(), flush=True)
            if picture is not None:
                draw_picture(description, picture)
        if as_json:
            print_json(found)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with raw files.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Catalog to write.", show_default="DIR/catalog.yaml"),
    ] = None,
) -> None:
    """Draft the catalog of a folder's files; each guess has its reason as a comment."""
    with exit_codes():
        from pipeline.inspect.draft.catalog import draft_catalog

        path = out or directory / "catalog.yaml"
        if path.exists():
            raise InputError(f"{path}: exists: expected another name (--out)")
        path.write_text(draft_catalog(directory, path), encoding="utf-8")
        print(path)


def schema() -> None:
    """Print the JSON schema of catalogs, for editors that complete and check them."""
    from pipeline.catalog.schema import schema_text

    print(schema_text(), end="")


def certificates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder; made if missing.")],
) -> None:
    """Make the certificates of a Dask cluster; those that are valid for 30 more days stay."""
    with exit_codes():
        from pipeline.run.tls import write_certificates

        made = write_certificates(folder)
        print(f"{folder}: {'certificates for a year' if made else NOTHING}")


def sample(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    tiny: Annotated[bool, typer.Option("--tiny", help="Make a small world, for tests.")] = False,
) -> None:
    """Make the embedded sample: a synthetic world in raw formats, and its catalog."""
    with exit_codes():
        from pipeline.sample.make import make_sample

        print(make_sample(directory, tiny=tiny))


def fetch(
    catalog: CatalogFile,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, without doing it.")
    ] = False,
    log_json: LogJson = False,
) -> None:
    """Fetch the files of a catalog that are missing from the public services."""
    with json_lines(log_json), exit_codes():
        from pipeline.catalog.models import load_catalog

        described = load_catalog(catalog)
        from pipeline.commands.progress import show_count, show_nothing
        from pipeline.fetch.catalog import fetch_catalog

        quiet = dry_run or log_json
        with nullcontext(show_nothing) if quiet else show_count("files") as show:
            for outcome in fetch_catalog(described, show, dry_run=dry_run):
                print(outcome, flush=True)
