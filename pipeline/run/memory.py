"""Estimate a worker's memory, and fit blocks and reads into a limit.

Each thread of a worker does one block. It holds the block's steps on the grid, and reads the
rasters in pieces of a few intervals:

    worker = base + weights + threads x max over series of (steps x step + read + piece x interval)

Nothing depends on the length of the record. All numbers are upper bounds, in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries
from pipeline.regrid.placement import Weights
from pipeline.regrid.separable import SeparableWeights

BASE_BYTES = 512 * 2**20  # interpreter and libraries
PIECE_BYTES = 64 * 2**20  # of raw float32 values read at once; more is no faster
BLOCK_BYTES = 256 * 2**20  # of a block's steps on the grid, without a limit
# Decoded chunks that a driver holds at once. GDAL keeps all of a file's until it is closed.
CHUNKS_AT_ONCE = {"netcdf": 2, "zarr": 10}
CACHE_BYTES = {"netcdf": 32 * 2**20, "grib": 128 * 2**20}  # of the libraries
READ_BYTES = (
    24  # for a pixel that is being read: as it is in the file, unpacked, compared with codes
)
REGRIDDED_BYTES = 40  # per cell and interval: value and fraction, and their products
WRITTEN_BYTES = 24  # per cell and step: value and fraction, copied and compressed
OVERLAP_BYTES = 32  # per overlap of a pixel with a cell: the weights, packed and unpacked
SUMMED_BYTES = 32  # per cell and step of several intervals: their mean, in float64


@dataclass(frozen=True)
class MemoryLimit:
    """Limit of a worker's memory.

    Attributes:
        memory: bytes of the process, all threads together; None for no limit.
        threads: number of threads that do blocks.
        given: whether the user gave it, and blocks are to use it; else it only bounds them.
    """

    memory: int | None = None
    threads: int = 1
    given: bool = True


@dataclass(frozen=True)
class SeriesMemory:
    """Memory that a raster series takes in a thread, in bytes.

    Attributes:
        step: per step of a block.
        interval: per raster that is read at once.
        read: while any raster is read.
        raw: the values' part of `interval`.
        chunk: number of rasters that are compressed together.
        per_step: number of rasters in a step.
    """

    step: int
    interval: int
    read: int
    raw: int
    chunk: int
    per_step: int

    def piece(self, steps: int, memory: float) -> int:
        """Number of rasters to read at once in a block of `steps`: whole chunks, if they fit."""
        fitting = (memory - steps * self.step - self.read) / self.interval
        most = max(1, int(min(steps * self.per_step, PIECE_BYTES // self.raw, fitting)))
        return most - most % self.chunk if most > self.chunk else most

    @property
    def least(self) -> int:
        """Bytes to read one raster."""
        return self.read + self.interval


def series_memory(series: RasterSeries, weights: Weights) -> SeriesMemory:
    """Estimate the memory of a series with its weights on the region's grid."""
    forcings = len(series.names)
    cells, pixels = math.prod(weights.shape), math.prod(weights.raw_shape)
    single = series.per_step == 1
    layout, driver = series.layout, series.sources[0].driver
    windows = zip(weights.raw_shape, layout.chunk[1:], layout.shape, strict=True)
    touched = math.prod(min(need // of + 2, math.ceil(n / of)) for need, of, n in windows)
    kept = 2 * 4 * pixels * len(series.stretches)  # of running totals: the raster before
    chunks = min(touched, CHUNKS_AT_ONCE.get(driver, touched))
    held = chunks * math.prod(layout.chunk) * layout.itemsize
    per_cell = forcings * (8 if single else 16) + WRITTEN_BYTES + (0 if single else SUMMED_BYTES)
    return SeriesMemory(
        step=cells * per_cell,
        interval=pixels * (4 * forcings + READ_BYTES) + cells * REGRIDDED_BYTES,
        read=held + CACHE_BYTES.get(driver, 0) + kept,
        raw=pixels * 4 * forcings,
        chunk=layout.chunk[0],
        per_step=series.per_step,
    )


def shared_by_threads(weights: Sequence[Weights]) -> int:
    """Bytes of the interpreter and of the weights of all series, which threads share."""
    overlaps = [one.weight.size for one in weights if not isinstance(one, SeparableWeights)]
    return BASE_BYTES + OVERLAP_BYTES * sum(overlaps)


@dataclass(frozen=True)
class WorkerMemory:
    """Estimated memory of a worker, and its limit.

    Attributes:
        limit: of the worker.
        costs: of each series, in a thread.
        shared: bytes that all threads share.
    """

    limit: MemoryLimit
    costs: tuple[SeriesMemory, ...]
    shared: int

    @property
    def room(self) -> float:
        """Bytes that each thread may take."""
        if self.limit.memory is None:
            return math.inf
        return (self.limit.memory - self.shared) / self.limit.threads

    @property
    def most_steps(self) -> int:
        """Number of steps that a block may have, at least one."""
        plain = self.limit.memory is None or not self.limit.given
        most = BLOCK_BYTES if plain else math.inf
        rooms = [min(most, self.room - cost.least) for cost in self.costs]
        lengths = [room // cost.step for room, cost in zip(rooms, self.costs, strict=True)]
        return max(1, int(min(lengths)))

    def pieces(self, steps: int) -> tuple[int, ...]:
        """Number of rasters to read at once from each series, in blocks of `steps`."""
        return tuple(cost.piece(steps, self.room) for cost in self.costs)

    def needed(self, steps: int) -> int:
        """Bytes that a worker needs for blocks of `steps`."""
        pairs = zip(self.costs, self.pieces(steps), strict=True)
        most = max(steps * cost.step + cost.read + piece * cost.interval for cost, piece in pairs)
        return self.shared + self.limit.threads * most

    def require(self, steps: int, why: str) -> None:
        """Refuse a limit that blocks of `steps` exceed; `why` names their origin.

        Raises:
            InputError: with the bytes needed.
        """
        needed, memory = self.needed(steps), self.limit.memory
        if memory is not None and needed > memory:
            what = f"--memory {format_bytes(memory)}"
            if not self.limit.given:
                what = f"workers that may take {format_bytes(memory)} of their memory (or --memory)"
            raise InputError(
                f"{what}: a worker of {self.limit.threads} threads needs {format_bytes(needed)} "
                f"for {why}: expected at least that, or fewer threads"
            )


def format_bytes(count: float) -> str:
    """Format a number of bytes: `512 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{math.ceil(count)} {unit}"
        count /= 1024
    return f"{math.ceil(count * 10) / 10:g} GiB"
