"""Run a plan on Dask workers, and mark what is done.

The client alone marks blocks as done and changes the root's metadata.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import Client, Future, as_completed

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError, RunError
from pipeline.live.announce import short_place
from pipeline.live.board import RETRIED
from pipeline.live.stages import PipelineStatus
from pipeline.log import collect_warnings, get_logger
from pipeline.retry import retrying
from pipeline.run.cluster import LOST, make_client, wait_for_worker, worker_memory
from pipeline.run.memory import MemoryLimit
from pipeline.run.plan import Plan, RasterBlock, make_plan
from pipeline.run.submit import Execution, submit
from pipeline.run.tasks import (
    BlockReport,
    Finished,
)
from pipeline.run.unreadable import Unreadable, require_few, save_unreadable
from pipeline.storage import Location, parse_location, read_files
from pipeline.store.changes import find_changes
from pipeline.store.fence import remove_partial_files
from pipeline.store.lease import hold_lease
from pipeline.store.metadata import METADATA
from pipeline.store.provenance import root_attributes
from pipeline.store.root import find_stored, is_absent, open_root
from pipeline.store.state import StoreState, continue_store, create_store
from pipeline.store.write import StoreWriter

LOG = get_logger(__name__)
SAVE_SECONDS = 5.0  # between two savings of the marks; a killed run loses what was done since
LOGGED = ("name", "rasters", "invalid_pixels", "invalid_cells", "negative_pixels")  # of a block
Progress = Callable[[PipelineStatus], None]  # is told of each task that is done
Confirm = Callable[[Sequence[str]], bool]  # what a changed catalog changes; whether to do it


@dataclass(frozen=True)
class RunReport:
    """Result of a run.

    Attributes:
        plan: of the run.
        blocks: those that this run did, in the order in which they finished.
        tables: whether this run wrote the tables of watersheds and gauges.
        seconds: time spent on blocks and tables.
        warnings: what was ignored or corrected, a line each.
    """

    plan: Plan
    blocks: list[BlockReport]
    tables: bool
    seconds: float
    warnings: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Rasters read: files, or parts of files that hold several."""
        return sum(block.rasters for block in self.blocks)

    @property
    def unreadable(self) -> list[Unreadable]:
        """Rasters that were set aside."""
        return list(dict.fromkeys(one for block in self.blocks for one in block.unreadable))


def refuse_changes(lines: Sequence[str]) -> bool:
    """Answer that no change of a store is confirmed."""
    return False


def run(
    catalog: Catalog | str | os.PathLike[str],
    store: str | os.PathLike[str],
    client: Client | None = None,
    progress: Progress = lambda status: None,
    memory: int | None = None,
    *,
    confirm: Confirm = refuse_changes,
    keep_going: bool = False,
    take_over: bool = False,
    wait: float | None = None,
) -> RunReport:
    """Write the store of a catalog, finish it, or bring it to a changed catalog.

    Args:
        catalog: a catalog, or the path of its file.
        store: path or URL to write to; workers must reach it, and the raw files, by the same.
        client: Dask client whose workers do the tasks. By default the threads of this process do
            them.
        progress: called with the run's status, before the first task and after each.
        memory: bytes that a worker may take, all its threads together; by default a share of its
            own limit.
        confirm: called with what a changed catalog changes in the store, a line each; whether to
            do it. By default nothing is confirmed.
        keep_going: set unreadable rasters aside, as many as the catalog allows to be missing.
        take_over: take the store from another run that seems to be alive.
        wait: seconds to wait for the client's first worker, which an adaptive scheduler starts on
            demand; by default 10.

    Raises:
        InputError: the data differ from what the catalog says, changes are not confirmed, or a
            block does not fit into the memory.
        RunError: the disk is full or read-only, the workers are gone, there is none in time, or
            another run holds the store.

    >>> import pipeline
    >>> from pipeline.sample.make import make_sample
    >>> catalog = make_sample(folder / "world", tiny=True)  # raw files of a synthetic world
    >>> report = pipeline.run(catalog, folder / "store.zarr")
    >>> report.files
    1095
    """
    if not isinstance(catalog, Catalog):
        catalog = load_catalog(Path(catalog))
    place = parse_location(store)
    if isinstance(place, Path):
        place = Path(os.path.abspath(place))  # workers may have another working directory
    own = nullcontext(client) if client is not None else make_client()
    with own as workers, collect_warnings() as warned:
        wait_for_worker(workers, wait)
        threads = max(workers.nthreads().values())
        limit = MemoryLimit(memory or worker_memory(workers), threads, memory is not None)
        plan = make_plan(catalog, find_stored(place), limit)
        with hold_lease(place, take_over) as lease:
            started = time.perf_counter()
            state = prepare(plan, place, lease.run, confirm)
            execution = Execution(plan, state, workers, lease, keep_going)
            tables = state.tables_due
            reports = execute(execution, progress)
    return RunReport(plan, reports, tables, time.perf_counter() - started, warned)


def prepare(
    plan: Plan, store: Location, run_id: str, confirm: Confirm = refuse_changes
) -> StoreState:
    """Create the store, or prepare the existing one for the blocks and tables that are to be done.

    Raises:
        InputError: something else is at `store`, or changes are not confirmed.
        RunError: the disk is full or read-only.
    """
    attributes, writer = root_attributes(plan), StoreWriter(store, run_id)
    remove_partial_files(store, run_id)
    if is_absent(store):
        return create_store(plan, attributes, writer)
    root, root_file = open_root(store), read_files(store, [METADATA])[METADATA]
    changes = find_changes(store, root, plan, attributes)
    if changes.lines and not confirm(changes.lines):
        raise InputError(
            f"{store}: written from another catalog or other files: {'; '.join(changes.lines)}: "
            "expected --yes to do so, or another --store"
        )
    if changes.steps_before is not None:
        LOG.warning(
            "%s: extended from %d to %d steps, in blocks of %d as before",
            store, changes.steps_before, plan.steps, plan.block_steps,
        )  # fmt: skip
    return continue_store(plan, attributes, writer, root, root_file, changes, plan.blocks)


def execute(execution: Execution, progress: Progress) -> list[BlockReport]:
    """Do the blocks and tables that are due.

    Raises:
        InputError: a raster differs from its series; as the tasks of the tables.
        RunError: the disk is full or read-only, the workers are gone, or the lease is lost.
    """
    plan, state = execution.plan, execution.state
    due = state.due(plan.blocks)
    todo = [block for block in plan.blocks if block.index in due]
    about = {
        "title": plan.catalog.title,
        "folder": short_place(state.writer.path),
        "rasters": sum(block.rasters for block in todo),
        "raw_bytes": sum(block.raw_bytes for block in todo),
        "bounds": list(plan.grid.bounds),
        "cell": float(plan.grid.to_degrees(1)),
    }
    status = PipelineStatus.begin(about, time.monotonic())
    progress(status)
    if not todo and not state.tables_due:
        return []
    LOG.info("%(blocks)d blocks, %(rasters)d rasters", {"blocks": len(todo), **about})
    with execution.live.running(
        kind="pipeline",
        **about,
    ):
        execution.live.subscribe(RETRIED, lambda event: status.note_retry(event["key"]))
        _do(execution, todo, due, status, progress)
    return execution.reports


def _do(
    execution: Execution,
    todo: Sequence[RasterBlock],
    due: dict[int, list[str]],
    status: PipelineStatus,
    progress: Progress,
) -> None:
    """Do some blocks, and the tables that are due."""
    state, saved = execution.state, time.monotonic()
    try:
        shared = submit(execution, todo, due)
        futures = [*execution.blocks, *execution.tables]
        for future in (shared, *futures):
            status.move(str(future.key), "released", "waiting", "")
        shared.add_done_callback(lambda one: status.move(one.key, "processing", "memory", ""))
        progress(status)
        for future in as_completed(futures):
            execution.lease.require()
            ended = "memory" if future.status == "finished" else "erred"
            status.move(str(future.key), "processing", ended, "")
            progress(status)
            result = _result(future, state.writer.path)
            if future in execution.blocks:
                _finish_block(execution, future, result)
                block = execution.blocks[future][0]
                event = {"event": "block", "rasters": block.rasters, "raw_bytes": block.raw_bytes}
                status.apply(event, time.monotonic())
            elif isinstance(result, Finished):
                retrying(partial(state.finish_tables, result.metadata, result.digests))
            progress(status)
            if time.monotonic() - saved > SAVE_SECONDS:
                retrying(state.save_marks)
                saved = time.monotonic()
    finally:
        left = [one for one in (*execution.blocks, *execution.tables) if not one.done()]
        execution.client.cancel(left)
        retrying(state.save_marks)
        _save_unreadable(execution)


def _finish_block(execution: Execution, future: Future, report: BlockReport) -> None:
    """Note a finished block, and mark it as done."""
    block, names = execution.blocks[future]
    LOG.info(
        "block %(name)s: %(rasters)d rasters, invalid pixels %(invalid_pixels)s, "
        "invalid cells %(invalid_cells)s, negative pixels %(negative_pixels)s",
        {name: vars(report)[name] for name in LOGGED},
    )
    execution.live.send("block", rasters=block.rasters, raw_bytes=block.raw_bytes)
    if report.rain is not None:
        execution.live.send_rain(report.rain)
    execution.reports.append(replace(report, rain=None))  # a run may have many blocks
    # with totals the last raster of a block is read for the next one, too
    execution.unreadable |= dict.fromkeys(report.unreadable)
    if report.unreadable:
        for source in execution.plan.sources:
            require_few(source.series, list(execution.unreadable))
    execution.state.mark(block, names)


def _save_unreadable(execution: Execution) -> None:
    """Write the list of rasters that were set aside."""
    plan = execution.plan
    period = plan.catalog.period
    step = pd.Timedelta(seconds=period.step_seconds)
    named = {report.name for report in execution.reports}
    done: dict[str, list[tuple[Any, Any]]] = {}
    for block, names in execution.blocks.values():
        if block.name in named:
            start, end = period.times[block.start], period.times[block.stop - 1] + step
            for name in names:
                done.setdefault(name, []).append((start, end))
    save_unreadable(execution.state.writer, done, list(execution.unreadable))


def _result(future: Future, store: Location) -> Any:
    """Return what a task returned and log its messages, or raise its failure in one line."""
    try:
        result, messages = future.result()
    except (InputError, RunError):
        raise
    except LOST as error:
        raise RunError(
            f"{store}: {future.key}: lost its worker ({type(error).__name__}): expected workers "
            "that stay and have enough memory; finished work is kept, and the same command "
            "continues from there"
        ) from error
    for line in messages.lines:
        LOG.warning("%s", line)
    return result
