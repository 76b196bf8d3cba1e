"""What a store holds, as its writers must know it before there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.catalog.models import Catalog
from pipeline.regrid.cf_grid import valid_fraction_name as valid_fraction_name
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import Site


@dataclass(frozen=True)
class Block:
    """A stretch of steps that is written, and marked as done, as a whole.

    Attributes:
        index: position among the period's blocks.
        start, stop: positions in the period's steps.
        stamp: 64-bit digest of the raw files that it is made from; never 0.
    """

    index: int
    start: int
    stop: int
    stamp: int


@dataclass(frozen=True)
class RawFiles:
    """The raw files of a forcing.

    Attributes:
        count: how many.
        size: bytes of all.
        digest: SHA-256 of their names and versions.
    """

    count: int
    size: int
    digest: str


@dataclass(frozen=True, eq=False)
class StoreSpec:
    """Everything that a store's layout follows from.

    Attributes:
        catalog: of the data, with its period.
        grid: of the region.
        sites: the watersheds, sorted by site number.
        raw_files: of each forcing, in the order in which they are read.
        block_steps: steps in a block, and in a chunk of a forcing; the last may be shorter.
    """

    catalog: Catalog
    grid: Grid
    sites: tuple[Site, ...]
    raw_files: Mapping[str, RawFiles]
    block_steps: int

    @cached_property
    def steps(self) -> int:
        """Steps in the period."""
        return len(self.catalog.period.times)

    @property
    def block_count(self) -> int:
        """Blocks in the period."""
        return math.ceil(self.steps / self.block_steps)

    @property
    def forcings(self) -> list[str]:
        """Names of the forcings, in the order in which they are read."""
        return list(self.raw_files)

    @cached_property
    def step_bytes(self) -> int:
        """Bytes of a step before compression: values and valid fractions, and the watersheds'."""
        clipped = sum(site.coverage.size for site in self.sites)
        return len(self.forcings) * 4 * (2 * self.grid.nx * self.grid.ny + clipped)
