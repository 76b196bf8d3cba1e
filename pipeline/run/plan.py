"""Plan a run from file listings and headers: what to read, compute and write.

The period is divided into blocks of whole steps, the unit of work and of resuming. A fingerprint of
its raw files identifies a block, so that changed files are noticed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.rasters.file_list import describe_files
from pipeline.rasters.series import RasterSeries, group_forcings, open_series
from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import Weights
from pipeline.run.memory import MemoryLimit, WorkerMemory, series_memory, shared_by_threads
from pipeline.store.changes import WITHOUT_EFFECT
from pipeline.store.root import Stored
from pipeline.store.spec import ALGORITHM, Block, RawFiles, StoreSpec
from pipeline.watersheds.coverage import region_grid
from pipeline.watersheds.polygons import Watershed, read_watersheds

LOG = get_logger(__name__)
MAX_BLOCK_STEPS = 366  # an interrupted run loses a year of days at most
TARGET_BLOCKS = 8  # that a shorter period is divided into, so that workers share it


@dataclass(frozen=True)
class RasterBlock(Block):
    """A block of the store and the rasters that one task computes it from.

    Attributes:
        name: start of the first step, as a date (with the hour if the steps are hours).
        rasters: number of rasters to read; a file may hold several.
        raw_bytes: size of these rasters.
    """

    name: str
    rasters: int
    raw_bytes: int


@dataclass(frozen=True, eq=False)
class Source:
    """A raster series with its weights on the region's grid.

    Attributes:
        piece: number of intervals that are read at once.
        raw_files: number, size and digest of its files.
    """

    series: RasterSeries
    weights: Weights
    piece: int
    raw_files: RawFiles


@dataclass(frozen=True, eq=False)
class Plan(StoreSpec):
    """The specification of a store and the work that fills it.

    Attributes:
        sources: raster series, each with the forcings that the same files hold.
        blocks: in order of time.
        memory: estimate for a worker.
    """

    sources: tuple[Source, ...]
    blocks: tuple[RasterBlock, ...]
    memory: WorkerMemory


def make_plan(
    catalog: Catalog,
    stored: Stored | None = None,
    limit: MemoryLimit = MemoryLimit(),  # noqa: B008, frozen
) -> Plan:
    """Plan a run: list the rasters, read one header of each series and the polygons.

    Args:
        catalog: what to read.
        stored: what the existing store fixes: the steps of a block and, where the catalog has no
            bounds and the watersheds lie in it, the grid.
        limit: of a worker's memory.

    Raises:
        InputError: as the modules that read them; a memory limit that one block exceeds.
    """
    watersheds = read_watersheds(catalog)
    grid = _grid(catalog, watersheds, stored)
    opened, costs = [], []
    for names in group_forcings(catalog):
        series = open_series(catalog, names)
        weights = series.layout.weights(grid)
        opened.append((series, weights))
        costs.append(series_memory(series, weights))
    shared = shared_by_threads([weights for _, weights in opened])
    memory = WorkerMemory(limit, tuple(costs), shared)
    steps = len(catalog.period.times)
    given = stored.block_steps if stored else catalog.block_steps
    block_steps = min(given or _block_steps(steps, opened, memory), steps)
    whose = ", as in the store" if stored else " (block_steps)" if given else ""
    memory.require(block_steps, f"a block of {block_steps} steps{whose}")
    blocks, sources = _blocks(catalog, grid, opened, block_steps, memory.pieces(block_steps))
    return Plan(
        catalog=catalog,
        grid=grid,
        watersheds=tuple(watersheds),
        raw_files={name: source.raw_files for source in sources for name in source.series.names},
        block_steps=block_steps,
        sources=sources,
        blocks=blocks,
        memory=memory,
    )


def _grid(catalog: Catalog, watersheds: Sequence[Watershed], stored: Stored | None) -> Grid:
    """Grid of the region; that of the store if only the watersheds would make it smaller."""
    grid = region_grid(catalog, watersheds)
    if stored is None or catalog.bounds is not None:
        return grid
    try:
        stored.grid.window(grid)
    except InputError:
        return grid  # which is refused where the store is compared with the catalog
    return stored.grid


def _block_steps(
    steps: int, opened: list[tuple[RasterSeries, Weights]], memory: WorkerMemory
) -> int:
    """Choose the steps of a block: few enough for memory and for `TARGET_BLOCKS` blocks.

    They are whole chunks of the raw files if memory allows, so that none is decompressed twice.
    """
    most = min(MAX_BLOCK_STEPS, memory.most_steps)
    length = math.ceil(steps / max(min(TARGET_BLOCKS, steps), math.ceil(steps / most)))
    chunk = max(math.ceil(series.layout.chunk[0] / series.per_step) for series, _ in opened)
    whole = chunk * math.ceil(length / chunk)
    return whole if whole <= memory.most_steps else length


def _blocks(
    catalog: Catalog,
    grid: Grid,
    opened: list[tuple[RasterSeries, Weights]],
    block_steps: int,
    pieces: Sequence[int],
) -> tuple[tuple[RasterBlock, ...], tuple[Source, ...]]:
    """Divide the period into blocks, each with the stamps of what it is made from."""
    times = catalog.period.times
    by_content = catalog.versions == "content"
    listed = [describe_files(series, by_content) for series, _ in opened]
    form = "%Y-%m-%d" if catalog.period.step == "day" else "%Y-%m-%dT%H"
    blocks = []
    for index, start in enumerate(range(0, len(times), block_steps)):
        stop = min(start + block_steps, len(times))
        stamps: dict[str, int] = {}
        rasters, raw_bytes = 0, 0.0
        for files, (series, _) in zip(listed, opened, strict=True):
            part = slice(start * series.per_step, stop * series.per_step)
            rasters += sum(line != "" for line in files.lines[part])
            raw_bytes += files.sizes[part].sum()
            for name in series.names:
                stamps[name] = _stamp(catalog, name, grid, (start, stop), files.lines[part])
        blocks.append(
            RasterBlock(
                index=index,
                start=start,
                stop=stop,
                name=times[start].strftime(form),
                rasters=rasters,
                raw_bytes=round(raw_bytes),
                stamps=stamps,
            )
        )
    sources = tuple(
        Source(
            series=series,
            weights=weights,
            piece=piece,
            raw_files=RawFiles(
                count=files.count,
                size=round(files.sizes.sum()),
                digest=hashlib.sha256("\n".join(files.lines).encode()).hexdigest(),
            ),
        )
        for (series, weights), files, piece in zip(opened, listed, pieces, strict=True)
    )
    return tuple(blocks), sources


def _stamp(
    catalog: Catalog, name: str, grid: Grid, steps: tuple[int, int], lines: Sequence[str]
) -> int:
    """Stamp of a forcing in a block: of its files, its description and the rules."""
    described = catalog.forcings[name].model_dump_json(exclude={*WITHOUT_EFFECT, "files"})
    about = f"{ALGORITHM} {described} {grid!r} {catalog.period.start} {steps}"
    digest = hashlib.sha256("\n".join([about, *lines]).encode()).digest()
    return int.from_bytes(digest[:8], "little") or 1
