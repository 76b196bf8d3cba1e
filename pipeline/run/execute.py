"""Run a plan on Dask workers: one task per block reads, regrids, clips and writes it.

The graph grows with the number of blocks only: weights, series and windows are sent to the workers
once. A task may run twice, or be killed at any moment, because it writes whole chunks that belong
to its block alone, and marks the block as done last.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import zarr
from distributed import Client, Future, as_completed
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError, RunError
from pipeline.rasters.accumulation import Totals
from pipeline.run.aggregate import PixelCounts, StepMeans
from pipeline.run.cluster import make_client
from pipeline.run.memory import MemoryLimit
from pipeline.run.plan import Plan, RasterBlock, Source, make_plan
from pipeline.storage import Location, parse_location
from pipeline.store.extend import extend, steps_before_extension
from pipeline.store.layout import write_template
from pipeline.store.provenance import root_attributes
from pipeline.store.resume import (
    changed_blocks,
    clear_marks,
    remaining_blocks,
    remove_partial_files,
    require_same_inputs,
    update_provenance,
)
from pipeline.store.root import is_absent, open_root, stored_block_steps
from pipeline.store.write import BlockWriter

LOG = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # rasters done, rasters to do


@dataclass(frozen=True)
class BlockReport:
    """Statistics of a finished block.

    Attributes:
        name: start of its first step.
        rasters: number of rasters read.
        invalid_pixels: for each forcing, the share of raw pixels over the region without a value.
        invalid_cells: for each forcing, the share of cells left without a value.
        negative_pixels: for each forcing, the number of precipitation's raw pixels below zero.
    """

    name: str
    rasters: int
    invalid_pixels: dict[str, float]
    invalid_cells: dict[str, float]
    negative_pixels: dict[str, int]


@dataclass(frozen=True)
class RunReport:
    """Result of a run.

    Attributes:
        plan: of the run.
        blocks: those that this run did, in the order in which they finished.
        seconds: time spent on them.
    """

    plan: Plan
    blocks: list[BlockReport]
    seconds: float

    @property
    def files(self) -> int:
        """Rasters read: files, or parts of files that hold several."""
        return sum(block.rasters for block in self.blocks)


@dataclass(frozen=True)
class Job:
    """Everything that all blocks need, sent to the workers once.

    Attributes:
        sources: the raster series and their weights.
        min_valid: for each forcing, the smallest valid share of a cell that gets a value.
        writer: of the store.
    """

    sources: tuple[Source, ...]
    min_valid: dict[str, float]
    writer: BlockWriter


def run(
    catalog: Catalog | str | os.PathLike[str],
    store: str | os.PathLike[str],
    client: Client | None = None,
    progress: Progress = lambda done, total: None,
    memory: int | None = None,
) -> RunReport:
    """Write the store of a catalog, finish it, or extend it to a later end of the period.

    Args:
        catalog: a catalog, or the path of its file.
        store: path or URL to write to; workers must reach it, and the raw files, by the same.
        client: Dask client whose workers do the blocks. By default the threads of this process do
            them.
        progress: called with the numbers of rasters done and to do, before the first block and
            after each.
        memory: bytes that a worker may take, all its threads together; None for no limit.

    Raises:
        InputError: the data differ from what the catalog says, the store is another catalog's, or a
            block does not fit into `memory`.
        RunError: the disk is full or read-only, or the workers are gone.

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
    with nullcontext(client) if client is not None else make_client() as workers:
        limit = MemoryLimit(memory, max(workers.nthreads().values()))
        plan = make_plan(catalog, stored_block_steps(place), limit)
        todo = remaining_blocks(plan.blocks, prepare(plan, place))
        started = time.perf_counter()
        reports = execute(plan, place, todo, workers, progress)
    return RunReport(plan, reports, time.perf_counter() - started)


def prepare(plan: Plan, store: Location) -> zarr.Group:
    """Create the store, or prepare the existing one for the blocks that are to be done.

    Raises:
        InputError: static inputs differ from what the catalog says, something else is at `store`,
            or the store is another catalog's.
        RunError: the disk is full or read-only.
    """
    attributes = root_attributes(plan)
    if is_absent(store):
        write_template(plan, attributes, store)
        return open_root(store, mode="r+")
    root = open_root(store, mode="r+")
    steps = steps_before_extension(root, plan.catalog.period)
    require_same_inputs(store, root, attributes, extended=steps is not None)
    if steps is not None:
        extend(plan, attributes, store, steps)
        root = open_root(store, mode="r+")
    todo = remaining_blocks(plan.blocks, root)
    if not todo:
        return root
    remove_partial_files(store)
    changed = changed_blocks(todo, root)
    if changed:
        LOG.warning(
            "%s: raw files of %d of %d blocks have changed, the first %s: they are done again",
            store, len(changed), len(plan.blocks), changed[0].name,
        )  # fmt: skip
        clear_marks(store, root, changed)
    update_provenance(store, root, attributes["provenance"]["forcings"])
    return open_root(store, mode="r+")


def execute(
    plan: Plan, store: Location, todo: list[RasterBlock], client: Client, progress: Progress
) -> list[BlockReport]:
    """Do blocks on the workers.

    Raises:
        InputError: a raster differs from its series.
        RunError: the disk is full or read-only, or the workers are gone.
    """
    total, done = sum(block.rasters for block in todo), 0
    progress(0, total)
    if not todo:
        return []
    job = Job(
        sources=plan.sources,
        min_valid={name: source.min_valid for name, source in plan.catalog.forcings.items()},
        writer=BlockWriter(store, {s.watershed.site_no: s.window for s in plan.sites}),
    )
    token = uuid4().hex[:8]  # one scheduler may serve several runs
    shared = client.scatter(job, broadcast=True, hash=False)
    futures = [
        client.submit(run_block, shared, block, key=f"block-{block.name}-{token}") for block in todo
    ]
    reports: list[BlockReport] = []
    try:
        for future in as_completed(futures):
            report = _result(future, store)
            LOG.info(
                "block %s: %d rasters, invalid pixels %s, invalid cells %s, negative pixels %s",
                report.name, report.rasters, report.invalid_pixels, report.invalid_cells,
                report.negative_pixels,
            )  # fmt: skip
            reports.append(report)
            done += report.rasters
            progress(done, total)
    finally:
        client.cancel([future for future in futures if not future.done()])
    return reports


def _result(future: Future, store: Location) -> BlockReport:
    """Return a block's report, or raise its failure with a message of one line."""
    try:
        return future.result()
    except (InputError, RunError):
        raise
    except (KilledWorker, FutureCancelledError, CommClosedError) as error:
        raise RunError(
            f"{store}: {future.key}: lost its worker ({type(error).__name__}): expected workers "
            "that stay and have enough memory; finished work is kept, and the same command "
            "continues from there"
        ) from error


def run_block(job: Job, block: RasterBlock) -> BlockReport:
    """Read, regrid and write a block on a worker.

    Raises:
        InputError: a raster differs from its series.
        RunError: the disk is full or read-only.
    """
    try:
        return _run_block(job, block)
    except (InputError, RunError) as error:
        failure = type(error)(str(error))
    raise failure  # without its cause, because some of GDAL's errors cannot be pickled


def _run_block(job: Job, block: RasterBlock) -> BlockReport:
    report = BlockReport(block.name, block.rasters, {}, {}, {})
    for source in job.sources:
        _process_series(job, block, source, report)
    job.writer.mark(block)
    return report


def _process_series(job: Job, block: RasterBlock, source: Source, report: BlockReport) -> None:
    """Read, regrid and write the forcings of one series in a block."""
    for name, (means, counts) in _read_and_regrid(source, block).items():
        counts.require(source, name, block)
        scale, offset = source.series.conversion(name)
        value, valid = means.result(scale, offset, job.min_valid[name])
        report.invalid_pixels[name] = counts.invalid_share
        report.invalid_cells[name] = float(np.isnan(value).mean())
        report.negative_pixels[name] = counts.negative
        job.writer.write(block, name, value, valid)


def _read_and_regrid(
    source: Source, block: RasterBlock
) -> dict[str, tuple[StepMeans, PixelCounts]]:
    """Read and regrid a series in a block, piece by piece; return step means and pixel counts."""
    series, weights = source.series, source.weights
    first, stop = block.start * series.per_step, block.stop * series.per_step
    steps, shape = block.stop - block.start, weights.shape
    done = {
        name: (StepMeans(steps, series.per_step, shape), PixelCounts()) for name in series.names
    }
    totals = {name: Totals(found) for name, found in series.stretches.items()}
    before = int(first > 0 and any(not found[first] for found in series.stretches.values()))
    for start in range(first, stop, source.piece):
        begin = start - before if start == first else start  # the raster before is for totals alone
        raw = series.read(begin, min(start + source.piece, stop), weights.window)
        for name, pixels in raw.items():
            if name in totals:
                totals[name].take_apart(begin, pixels)
            mine = pixels[start - begin :]
            means, counts = done[name]
            counts.add(series, name, mine)
            means.add(start - first, *weights.apply(mine))
    return done
