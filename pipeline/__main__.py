"""The commands `python -m pipeline run | plan | check | ...`, also `domst`."""

from __future__ import annotations

import atexit
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError, RunError, exit_codes
from pipeline.log import warn_on_stderr
from pipeline.storage import parse_location

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From raw rasters, gauge records, polygons and terrain to one analysis-ready store.",
)

CatalogFile = Annotated[
    Path, typer.Argument(metavar="CATALOG", help="YAML file that describes the raw data.")
]
MemorySize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that a worker may take, all threads together, such as 2GiB  "
        "[default: what a block needs].",
    ),
]
NOTHING = "already finished, nothing to do"
LINE_SECONDS = 5.0  # between two lines of progress where the output is not a terminal


@app.command()
def run(
    catalog: CatalogFile,
    store: Annotated[
        str, typer.Option(metavar="STORE", help="Folder or URL of the store to write or finish.")
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a running Dask scheduler  [env: DASK_SCHEDULER_ADDRESS].",
        ),
    ] = None,
    scheduler_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that a running Dask scheduler wrote.")
    ] = None,
    wait: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="How long to wait for the scheduler's first worker, such as 30min."
        ),
    ] = "10s",
    tls: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Certificates for a scheduler at tls://, as `domst certificates` makes them.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads or processes without a scheduler  [default: all cores]."),
    ] = None,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes",
            help="Start processes, which read NetCDF files at the same time, and not threads.",
        ),
    ] = False,
    memory: MemorySize = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Change the store as a changed catalog says, unasked.")
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", help="Set unreadable rasters aside, up to forcings.*.max_missing_steps."
        ),
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the store from a run that has died.")
    ] = False,
) -> None:
    """Write the store of a catalog, or what is missing of it."""
    with exit_codes():
        started = time.perf_counter()
        described = load_catalog(catalog)
        size = _bytes(memory)
        from pipeline.run.cluster import dashboard_address, make_client, wait_seconds
        from pipeline.run.execute import run as run_graph
        from pipeline.run.unreadable import FILE as UNREADABLE

        with make_client(
            scheduler,
            scheduler_file,
            workers=workers,
            processes=processes,
            wait=wait_seconds(wait),
            tls=tls,
        ) as client:
            print(f"dashboard: {dashboard_address(client)}", flush=True)
            if described.synthetic:
                print(f"synthetic data: {described.title}", flush=True)
            with _progress() as show:
                report = run_graph(
                    described, store, client, show, size,
                    confirm=lambda lines: _confirm(lines, yes), keep_going=keep_going,
                    take_over=take_over,
                )  # fmt: skip
        seconds = time.perf_counter() - started
        if report.unreadable:
            print(f"set aside ({UNREADABLE} in the store): {len(report.unreadable)} rasters")
            for one in report.unreadable:
                print(f"  {one.reason}")
        if not report.blocks:
            print(f"{store}: {'tables written' if report.tables else NOTHING}")
            return
        print(
            f"{store}: {len(report.blocks)} of {len(report.plan.blocks)} blocks, {report.files} "
            f"rasters in {seconds:.1f} s, {report.files / seconds:.0f} rasters/s "
            f"(the tasks alone {report.files / report.seconds:.0f} rasters/s)"
        )


@app.command()
def plan(
    catalog: CatalogFile,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="A store, to see what is left to do."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads of a worker  [default: all cores].")
    ] = None,
    memory: MemorySize = None,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the tasks by stage into a file that ends in .svg."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="Draw watersheds, outlets and cells into a PNG file."
        ),
    ] = None,
) -> None:
    """Say what a run would read, compute and write, without doing it."""
    with exit_codes():
        described = load_catalog(catalog)
        from pipeline.run.cluster import available_cores
        from pipeline.run.memory import MemoryLimit
        from pipeline.run.plan import make_plan
        from pipeline.run.summary import describe_plan
        from pipeline.run.tasks import require_inputs
        from pipeline.store.root import find_stored

        place = None if store is None else parse_location(store)
        limit = MemoryLimit(_bytes(memory), workers or available_cores())
        plan = make_plan(described, None if place is None else find_stored(place), limit)
        require_inputs(plan)
        print(describe_plan(plan, place))
        if graph is not None:
            from pipeline.run.graph import write_graph

            write_graph(plan, graph)
        if picture is not None:
            from pipeline.run.plan_map import write_map

            write_map(plan, picture)


def _confirm(lines: Sequence[str], yes: bool) -> bool:
    """Say what a run changes in a store, and ask whether to do it."""
    for line in lines:
        print(f"change: {line}", flush=True)
    return yes or (sys.stdin.isatty() and typer.confirm("Change the store?"))


def _bytes(memory: str | None) -> int | None:
    """Return the bytes of a size such as 2GiB."""
    if memory is None:
        return None
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(memory))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise InputError(f"--memory {memory}: expected a size such as 2GiB")
    return size


@app.command()
def check(store: Annotated[str, typer.Argument(metavar="STORE")]) -> None:
    """Verify a store: layout, blocks, gaps, coverage, conservation, water balance."""
    with exit_codes():
        from pipeline.check.checks import check_store, print_checks

        place = parse_location(store)
        checks = check_store(place)
        print_checks(place, checks)
        failed = [check.name for check in checks if check.status == "FAIL"]
        if failed:
            raise RunError(f"{store}: failed: {', '.join(failed)}")


@app.command()
def export(
    store: Annotated[str, typer.Argument(metavar="STORE")],
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


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    picture: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Draw what one file holds into a PNG file."),
    ] = None,
) -> None:
    """Say what rasters, records, flow directions and polygons hold, without a catalog."""
    with exit_codes():
        if picture is not None and len(files) > 1:
            raise InputError(f"--map {picture}: {len(files)} files: expected one")
        from pipeline.inspect.description import draw_picture
        from pipeline.inspect.inspect_file import inspect_file

        for path in files:
            description = inspect_file(path)
            print(description.text(), flush=True)
            if picture is not None:
                draw_picture(description, picture)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Catalog to write  [default: DIR/catalog.yaml]."),
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


@app.command()
def schema() -> None:
    """Print the JSON schema of catalogs, for editors that complete and check them."""
    from pipeline.catalog.schema import schema_text

    print(schema_text(), end="")


@app.command()
def certificates(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if missing.")],
) -> None:
    """Make the certificates of a Dask cluster; those that are valid for 30 more days stay."""
    with exit_codes():
        from pipeline.run.tls import write_certificates

        made = write_certificates(folder)
        print(f"{folder}: {'certificates for a year' if made else NOTHING}")


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    tiny: Annotated[bool, typer.Option("--tiny", help="Make a small world, for tests.")] = False,
) -> None:
    """Make the embedded sample: a synthetic world in raw formats, and its catalog."""
    with exit_codes():
        from pipeline.sample.make import make_sample

        print(make_sample(directory, tiny=tiny))


@app.command()
def fetch(
    catalog: CatalogFile,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, without doing it.")
    ] = False,
) -> None:
    """Fetch the files of a catalog that are missing from the public services."""
    with exit_codes():
        described = load_catalog(catalog)
        from pipeline.fetch.catalog import fetch_catalog

        with nullcontext(_silent) if dry_run else _progress("files") as show:
            for outcome in fetch_catalog(described, show, dry_run=dry_run):
                print(outcome, flush=True)


def _silent(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def _progress(what: str = "rasters") -> Iterator[Callable[[int, int], None]]:
    """Show how many of how many are done: a bar on a terminal, lines elsewhere."""
    if sys.stdout.isatty():
        from rich.progress import Progress, TimeRemainingColumn

        with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.perf_counter()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.perf_counter() - last >= LINE_SECONDS:
            last = time.perf_counter()
            print(f"{done} of {total} {what}", flush=True)

    yield show


def set_up() -> None:
    """Log warnings to stderr, and collect garbage rarely.

    Imported modules stay to the end: searching them for garbage takes a fifth of the start, and
    most of a second when the interpreter ends.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    warn_on_stderr()


if __name__ == "__main__":
    set_up()
    app()
