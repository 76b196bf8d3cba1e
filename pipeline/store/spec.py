"""The specification of a store, from which its layout follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.catalog.models import Catalog
from pipeline.regrid.cf_grid import valid_fraction_name as valid_fraction_name
from pipeline.regrid.grid import Grid
from pipeline.watersheds.polygons import Watershed

# Number of the rules by which raw values become stored ones. Whatever changes stored numbers by
# more than rounding raises it; blocks and tables of another number are written again.
ALGORITHM = 1
MAX_GROUP = 64  # watersheds of a group
MIN_GROUPS = 16  # that fewer watersheds are divided into, so that workers share them


@dataclass(frozen=True)
class Block:
    """Consecutive steps that are written, and marked as done, as a whole.

    Attributes:
        index: position among the period's blocks.
        start, stop: positions in the period's steps.
        stamps: by forcing, 64-bit fingerprint of what its values are made from, never 0.
    """

    index: int
    start: int
    stop: int
    stamps: Mapping[str, int]


@dataclass(frozen=True)
class RawFiles:
    """Number, size and digest of the raw files of a forcing.

    Attributes:
        count: number of files.
        size: bytes of all files.
        digest: SHA-256 of their names and versions.
    """

    count: int
    size: int
    digest: str


@dataclass(frozen=True, eq=False)
class StoreSpec:
    """The specification of a store.

    Attributes:
        catalog: description of the raw data, with the period.
        grid: grid of the region.
        watersheds: sorted by site number.
        raw_files: by forcing, in the order in which they are read.
        block_steps: steps in a block, and in a shard of a forcing; the last block may be shorter.
    """

    catalog: Catalog
    grid: Grid
    watersheds: tuple[Watershed, ...]
    raw_files: Mapping[str, RawFiles]
    block_steps: int

    @cached_property
    def steps(self) -> int:
        """Number of steps in the period."""
        return len(self.catalog.period.times)

    @property
    def block_count(self) -> int:
        """Number of blocks in the period."""
        return math.ceil(self.steps / self.block_steps)

    @property
    def forcings(self) -> list[str]:
        """Names of the forcings, in the order in which they are read."""
        return list(self.raw_files)

    @property
    def sites(self) -> list[str]:
        """Site numbers of the watersheds, sorted."""
        return [watershed.site_no for watershed in self.watersheds]

    @property
    def groups(self) -> list[slice]:
        """Positions of the watersheds of each group, the unit of their tasks and files."""
        size = group_size(len(self.watersheds))
        starts = range(0, len(self.watersheds), size)
        return [slice(start, min(start + size, len(self.watersheds))) for start in starts]

    @cached_property
    def step_bytes(self) -> int:
        """Bytes of a step before compression: values and valid fractions."""
        return len(self.forcings) * 4 * 2 * self.grid.nx * self.grid.ny


def group_size(watersheds: int) -> int:
    """Number of watersheds in a group, a power of two."""
    even = max(1, math.ceil(watersheds / MIN_GROUPS))
    return min(MAX_GROUP, 1 << (even - 1).bit_length())
