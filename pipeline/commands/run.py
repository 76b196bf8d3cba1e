"""The commands that plan and write a store."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import (
    NOTHING,
    WAIT,
    AsJson,
    CatalogFile,
    LogJson,
    MemorySize,
    Processes,
    Scheduler,
    SchedulerFile,
    TakeOver,
    Tls,
    Wait,
    Workers,
    parse_bytes,
)
from pipeline.errors import exit_codes
from pipeline.json_text import print_json
from pipeline.log import collect_warnings, json_lines

if TYPE_CHECKING:
    from pipeline.run.execute import RunReport

SHOWN_WARNINGS = 20


def run(
    catalog: CatalogFile,
    store: Annotated[
        str, typer.Option(metavar="STORE", help="Folder or URL of the store to write or finish.")
    ],
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    wait: Wait = WAIT,
    tls: Tls = None,
    workers: Workers = None,
    processes: Processes = False,
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
    take_over: TakeOver = False,
    log_json: LogJson = False,
) -> None:
    """Write the store of a catalog, or what is missing of it."""
    with json_lines(log_json), exit_codes():
        started = time.perf_counter()
        from pipeline.catalog.models import load_catalog

        described = load_catalog(catalog)
        size = parse_bytes(memory)
        from pipeline.commands.progress import show_stages
        from pipeline.run.cluster import dashboard_address, make_client, wait_seconds
        from pipeline.run.execute import run as run_graph

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
            with show_stages(quiet=log_json) as show:
                report = run_graph(
                    described, store, client, show, size,
                    confirm=lambda lines: _confirm(lines, yes), keep_going=keep_going,
                    take_over=take_over,
                )  # fmt: skip
        _print_summary(report, store, time.perf_counter() - started)


def _print_summary(report: RunReport, store: str, seconds: float) -> None:
    """Print what a run did, and what it ignored or corrected."""
    from pipeline.run.unreadable import FILE as UNREADABLE

    if report.unreadable:
        print(f"set aside ({UNREADABLE} in the store): {len(report.unreadable)} rasters")
        for one in report.unreadable:
            print(f"  {one.reason}")
    if report.warnings:
        print(f"warnings: {len(report.warnings)}")
        for line in report.warnings[:SHOWN_WARNINGS]:
            print(f"  {line}")
        if more := len(report.warnings[SHOWN_WARNINGS:]):
            print(f"  and {more} more, above")
    if not report.blocks:
        print(f"{store}: {'tables written' if report.tables else NOTHING}")
        return
    print(
        f"{store}: {len(report.blocks)} of {len(report.plan.blocks)} blocks, {report.files} "
        f"rasters in {seconds:.1f} s, {report.files / seconds:.0f} rasters/s "
        f"(the tasks alone {report.files / report.seconds:.0f} rasters/s)"
    )


def _confirm(lines: Sequence[str], yes: bool) -> bool:
    """Say what a run changes in a store, and ask whether to do it."""
    for line in lines:
        print(f"change: {line}", flush=True)
    return yes or (sys.stdin.isatty() and typer.confirm("Change the store?"))


def plan(
    catalog: CatalogFile,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="A store, to see what is left to do."),
    ] = None,
    workers: Workers = None,
    processes: Processes = False,
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
    as_json: AsJson = False,
) -> None:
    """Say what a run would read, compute and write, without doing it."""
    with exit_codes(), collect_warnings() as warned:
        from pipeline.catalog.models import load_catalog

        described = load_catalog(catalog)
        from pipeline.run.cluster import available_cores
        from pipeline.run.memory import MemoryLimit
        from pipeline.run.plan import make_plan
        from pipeline.run.summary import describe_plan, summarise_plan
        from pipeline.run.tasks import require_inputs
        from pipeline.storage import parse_location
        from pipeline.store.root import find_stored

        place = None if store is None else parse_location(store)
        threads = 1 if processes else workers or available_cores()
        limit = MemoryLimit(parse_bytes(memory), threads)
        plan = make_plan(described, None if place is None else find_stored(place), limit)
        require_inputs(plan)
        if as_json:
            print_json(summarise_plan(plan, place) | {"warnings": warned})
        else:
            print(describe_plan(plan, place))
        if graph is not None:
            from pipeline.run.graph import write_graph

            write_graph(plan, graph)
        if picture is not None:
            from pipeline.run.plan_map import write_map

            write_map(plan, picture)
