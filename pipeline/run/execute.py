"""The Dask graph: one task a block of time, which reads, regrids, clips and writes it.

The graph grows with the number of blocks only: weights, series and windows are sent to the workers
once. A task may run twice, or be killed at any moment: it writes whole chunks that belong to its
block alone, and its done-mark last.
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
from pipeline.run.aggregate import StepMeans, Tally
from pipeline.run.cluster import make_client
from pipeline.run.memory import Bound
from pipeline.run.plan import Plan, RasterBlock, Source, make_plan
from pipeline.storage import Location, parse_location
from pipeline.store.extend import extend, extended_from
from pipeline.store.layout import write_template
from pipeline.store.provenance import root_attributes
from pipeline.store.resume import (
    remaining,
    require_same,
    stale,
    sweep,
    unmark,
    update_provenance,
)
from pipeline.store.root import is_absent, open_root, stored_block_steps
from pipeline.store.write import BlockWriter

LOG = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # rasters done, rasters to do


@dataclass(frozen=True)
class BlockReport:
    """What became of a block.

    Attributes:
        name: its start.
        rasters: read.
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
    """What a run did.

    Attributes:
        plan: what there was to do.
        blocks: those that this run did, in the order in which they finished.
        seconds: spent on them.
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
    """What every block needs, sent to the workers once.

    Attributes:
        sources: the raster series and their weights.
        min_valid: for each forcing, the least valid share of a cell that has a value.
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
    """Write the store of a catalog, or what is missing of it; extend it if its period ends later.

    Args:
        catalog: a catalog, or the path of its file.
        store: path or URL of the store. Workers must see it, and the raw files, under the same one.
        client: a Dask client whose workers do the blocks. If left out, the threads of this process
            do them.
        progress: called before the first block and after each with rasters done and rasters to do.
        memory: bytes that a worker may take, all of its threads together.

    Raises:
        InputError: the data is not as the catalog says, the store is another catalog's, or a block
            does not fit into `memory`.
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
        bound = Bound(memory, max(workers.nthreads().values()))
        plan = make_plan(catalog, stored_block_steps(place), bound)
        todo = remaining(plan.blocks, prepare(plan, place))
        started = time.perf_counter()
        reports = execute(plan, place, todo, workers, progress)
    return RunReport(plan, reports, time.perf_counter() - started)


def prepare(plan: Plan, store: Location) -> zarr.Group:
    """Lay out the store, or make sure that the one that is there is this plan's, as long as it.

    Raises:
        InputError: static inputs are not as the catalog says, something else is in the way, or the
            store is another catalog's.
        RunError: the disk is full or read-only.
    """
    attributes = root_attributes(plan)
    if is_absent(store):
        write_template(plan, attributes, store)
        return open_root(store, mode="r+")
    root = open_root(store, mode="r+")
    steps = extended_from(root, plan.catalog.period)
    require_same(store, root, attributes, extended=steps is not None)
    if steps is not None:
        extend(plan, attributes, store, steps)
        root = open_root(store, mode="r+")
    todo = remaining(plan.blocks, root)
    if not todo:
        return root
    sweep(store)
    changed = stale(todo, root)
    if changed:
        LOG.warning(
            "%s: raw files of %d of %d blocks have changed, the first %s: they are done again",
            store, len(changed), len(plan.blocks), changed[0].name,
        )  # fmt: skip
        unmark(store, root, changed)
    update_provenance(store, root, attributes["provenance"]["forcings"])
    return open_root(store, mode="r+")


def execute(
    plan: Plan, store: Location, todo: list[RasterBlock], client: Client, progress: Progress
) -> list[BlockReport]:
    """Have the workers do some blocks.

    Raises:
        InputError: a raster is not as the series says.
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
    """A block's report; what stopped it, if it did not finish, in one line."""
    try:
        return future.result()
    except (InputError, RunError):
        raise
    except (KilledWorker, FutureCancelledError, CommClosedError) as error:
        raise RunError(
            f"{store}: {future.key}: lost its worker ({type(error).__name__}): expected workers "
            "that stay and have enough memory; what is done stays, and the same command goes on "
            "from there"
        ) from error


def run_block(job: Job, block: RasterBlock) -> BlockReport:
    """Read, regrid and write a block; runs on a worker.

    Raises:
        InputError: a raster is not as the series says.
        RunError: the disk is full or read-only.
    """
    try:
        return _run_block(job, block)
    except (InputError, RunError) as error:
        failure = type(error)(str(error))
    raise failure  # without its cause: some of GDAL's errors do not survive the way to the client


def _run_block(job: Job, block: RasterBlock) -> BlockReport:
    report = BlockReport(block.name, block.rasters, {}, {}, {})
    for source in job.sources:
        _do_series(job, block, source, report)
    job.writer.mark(block)
    return report


def _do_series(job: Job, block: RasterBlock, source: Source, report: BlockReport) -> None:
    """Read, regrid and write a series' part of a block; nothing of it is held afterwards."""
    for name, (means, tally) in _read(source, block).items():
        tally.require(source, name, block)
        scale, offset = source.series.conversion(name)
        value, valid = means.result(scale, offset, job.min_valid[name])
        report.invalid_pixels[name] = tally.invalid_share
        report.invalid_cells[name] = float(np.isnan(value).mean())
        report.negative_pixels[name] = tally.negative
        job.writer.write(block, name, value, valid)


def _read(source: Source, block: RasterBlock) -> dict[str, tuple[StepMeans, Tally]]:
    """Read and regrid a series' rasters of a block, a piece at a time; by forcing."""
    series, weights = source.series, source.weights
    first, stop = block.start * series.per_step, block.stop * series.per_step
    steps, shape = block.stop - block.start, weights.shape
    done = {name: (StepMeans(steps, series.per_step, shape), Tally()) for name in series.names}
    totals = {name: Totals(found) for name, found in series.stretches.items()}
    before = int(first > 0 and any(not found[first] for found in series.stretches.values()))
    for start in range(first, stop, source.piece):
        begin = start - before if start == first else start  # the raster before is for totals alone
        raw = series.read(begin, min(start + source.piece, stop), weights.window)
        for name, pixels in raw.items():
            if name in totals:
                totals[name].take_apart(begin, pixels)
            mine = pixels[start - begin :]
            means, tally = done[name]
            tally.add(series, name, mine)
            means.add(start - first, *weights.apply(mine))
    return done
