"""What a worker holds in memory, and what of a block and its rasters fits into a bound.

A worker's threads each do a block. Such a block holds its steps on the grid from its first raster
to its last, and of the rasters a piece at a time:

    worker = base + weights + threads x (steps x step + most of (read + piece x interval))

Neither depends on the record's length. All are upper bounds, in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries
from pipeline.regrid.placement import Weights
from pipeline.regrid.separable import SeparableWeights

BASE = 512 * 2**20  # interpreter and libraries
PIECE = 64 * 2**20  # raw float32 values that are read at once; more is no faster
BLOCK = 256 * 2**20  # steps of a block on the grid, where nothing is asked for
# Chunks that a driver holds decoded at once. GDAL keeps what it read until the file is closed.
AT_ONCE = {"netcdf": 2, "zarr": 10}
CACHED = {"netcdf": 32 * 2**20, "grib": 128 * 2**20}  # by the libraries, besides
NATIVE = 24  # for a pixel that is being read: as it is in the file, unpacked, compared with codes
REGRIDDED = 40  # for a cell of an interval: value and fraction, and their products
WRITTEN = 24  # for a cell of a step: value and fraction, copied and compressed
OVERLAP = 32  # for an overlap of a pixel with a cell: the weights, packed and unpacked
SUMMED = 32  # likewise where a step has several intervals: their mean, in float64


@dataclass(frozen=True)
class Bound:
    """What a worker may take.

    Attributes:
        memory: bytes of its process, all threads together; None for what is needed.
        threads: that do blocks.
    """

    memory: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Cost:
    """What a series takes in a thread, in bytes.

    Attributes:
        step: for each step of a block.
        interval: for each raster that is read at once.
        read: for reading any.
        raw: of `interval`, the values themselves.
        chunk: rasters that are compressed together.
        per_step: rasters of a step.
    """

    step: int
    interval: int
    read: int
    raw: int
    chunk: int
    per_step: int

    def piece(self, steps: int, memory: float) -> int:
        """Rasters to read at once, in a block of so many steps: whole chunks, where they fit."""
        fitting = (memory - steps * self.step - self.read) / self.interval
        most = max(1, int(min(steps * self.per_step, PIECE // self.raw, fitting)))
        return most - most % self.chunk if most > self.chunk else most

    @property
    def least(self) -> int:
        """For one raster."""
        return self.read + self.interval


def cost_of(series: RasterSeries, weights: Weights, clipped: int) -> Cost:
    """What a series takes; `clipped` are the cells of all watersheds' windows."""
    forcings = len(series.names)
    cells, pixels = math.prod(weights.shape), math.prod(weights.raw_shape)
    single = series.per_step == 1
    layout, driver = series.layout, series.sources[0].driver
    windows = zip(weights.raw_shape, layout.chunk[1:], layout.shape, strict=True)
    touched = math.prod(min(need // of + 2, math.ceil(n / of)) for need, of, n in windows)
    kept = (
        2 * 4 * pixels * len(series.stretches)
    )  # where totals run on: of pieces and blocks before
    held = min(touched, AT_ONCE.get(driver, touched)) * math.prod(layout.chunk) * layout.itemsize
    return Cost(
        step=cells * (forcings * (8 if single else 16) + WRITTEN + (0 if single else SUMMED))
        + clipped * 8,
        interval=pixels * (4 * forcings + NATIVE) + cells * REGRIDDED,
        read=held + CACHED.get(driver, 0) + kept,
        raw=pixels * 4 * forcings,
        chunk=layout.chunk[0],
        per_step=series.per_step,
    )


def shared_by_threads(weights: Sequence[Weights]) -> int:
    """What a worker holds of all series' weights, and of what they come in."""
    overlaps = [one.weight.size for one in weights if not isinstance(one, SeparableWeights)]
    return BASE + OVERLAP * sum(overlaps)


@dataclass(frozen=True)
class Memory:
    """The bound of a run and what it is made of.

    Attributes:
        bound: what was asked for.
        costs: of each series.
        shared: bytes of a worker, whatever its threads do.
    """

    bound: Bound
    costs: tuple[Cost, ...]
    shared: int

    @property
    def room(self) -> float:
        """Bytes for each thread."""
        if self.bound.memory is None:
            return math.inf
        return (self.bound.memory - self.shared) / self.bound.threads

    @property
    def most_steps(self) -> int:
        """Steps of a block that there is room for, at least one."""
        plain = self.bound.memory is None
        rooms = [BLOCK if plain else self.room - cost.least for cost in self.costs]
        lengths = [room // cost.step for room, cost in zip(rooms, self.costs, strict=True)]
        return max(1, int(min(lengths)))

    def pieces(self, steps: int) -> tuple[int, ...]:
        """Rasters of each series to read at once, in blocks of so many steps."""
        return tuple(cost.piece(steps, self.room) for cost in self.costs)

    def needed(self, steps: int) -> int:
        """Bytes of a worker, in blocks of so many steps."""
        pairs = zip(self.costs, self.pieces(steps), strict=True)
        most = max(steps * cost.step + cost.read + piece * cost.interval for cost, piece in pairs)
        return self.shared + self.bound.threads * most

    def require(self, steps: int, why: str) -> None:
        """Refuse a bound that blocks of so many steps do not fit into; `why` says whose they are.

        Raises:
            InputError: with what it takes.
        """
        needed, memory = self.needed(steps), self.bound.memory
        if memory is not None and needed > memory:
            raise InputError(
                f"--memory {size(memory)}: a worker of {self.bound.threads} threads needs "
                f"{size(needed)} for {why}: expected at least that, or fewer threads"
            )


def size(count: float) -> str:
    """Bytes of memory for people: `512 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{math.ceil(count)} {unit}"
        count /= 1024
    return f"{math.ceil(count * 10) / 10:g} GiB"
