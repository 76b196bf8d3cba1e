"""Group heads: one by one on CPUs, the longest first; into packs of similar size on GPUs.

Graham's longest-processing-time rule takes at most 4/3 of the best makespan.

A pack is padded to its largest head, so heads of similar size belong together. On the other hand a
GPU needs thousands of kernels for an update, however few cells there are, so packs should be few.
Sorted by size, the heads are cut where the sum of both costs is least.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Largest costs of a pack, in shares of what a GPU has to do, of which the best is chosen.
LIMITS = tuple(1.1**k for k in range(-14, 5))


@dataclass(frozen=True)
class CostModel:
    """Seconds that a head needs for one update.

    The defaults are those of one CPU thread, measured by `benchmarks.placement`. They need no
    calibration: heads of one store have equal steps, so their order depends on their pixels alone.

    Attributes:
        per_step: seconds per training step.
        per_pixel: seconds per training step and pixel.
    """

    per_step: float = 1.6e-5
    per_pixel: float = 8e-8

    def update_seconds(self, steps: int, pixels: int) -> float:
        """Return the cost of an update with `steps` training steps and a window of `pixels`."""
        return steps * (self.per_step + self.per_pixel * pixels)


def pack_heads(costs: Mapping[str, float], packs: int) -> list[list[str]]:
    """Split heads into at most `packs` packs of even cost, the costliest pack first.

    Args:
        costs: cost of each head by name, > 0.
        packs: largest number of packs, at least 1; as many as heads gives packs of one head.

    Returns:
        Non-empty packs. Ties are broken by name, so equal input gives equal packs.
    """
    assert packs >= 1
    assert all(cost > 0 for cost in costs.values())
    bins: list[tuple[float, int, list[str]]] = [(0.0, i, []) for i in range(min(packs, len(costs)))]
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        load, i, members = heapq.heappop(bins)
        members.append(name)
        heapq.heappush(bins, (load + costs[name], i, members))
    return [members for _, _, members in sorted(bins, key=lambda pack: (-pack[0], pack[1]))]


@dataclass(frozen=True)
class PackCost:
    """Cost of an update of a pack on a GPU, in padded cells.

    Attributes:
        fixed: what an update costs however small the pack is. No GPU has measured it: the
            recurrence takes 2,200 kernels one after the other, some 2 microseconds each in a CUDA
            graph, and a GPU with 3 TB/s moves the 600 bytes of each encoded step and cell, with
            some 2,000 steps, at 2.5 million cells a second.
    """

    fixed: float = 11000.0

    def update(self, cells: int, heads: int) -> float:
        """Return the cost of an update of heads padded to `cells` cells each."""
        return self.fixed + heads * cells


PACK_COST = PackCost()


def pack_by_size(
    cells: Mapping[str, int],
    capacity: Callable[[str], int],
    gpus: int,
    cost: PackCost = PACK_COST,
) -> list[list[str]]:
    """Split heads into packs of similar size, for the shortest time on some GPUs.

    Args:
        cells: of each head's watershed, by name.
        capacity: largest number of heads in a pack, at least 1, by the name of its largest head.
        gpus: number of GPUs, at least 1.
        cost: of a pack's update.

    Returns:
        Non-empty packs, the costliest first; in each the largest head first. Equal input gives
        equal packs.
    """
    assert gpus >= 1
    names = sorted(cells, key=lambda name: (-cells[name], name))
    if not names:
        return []
    sizes = np.array([cells[name] for name in names])
    most = np.array([capacity(name) for name in names])
    assert (most >= 1).all()

    def costs_of(cuts: Sequence[int]) -> list[float]:
        return [cost.update(int(sizes[first]), after - first) for first, after in pairwise(cuts)]

    free = _cut(sizes, most, cost, np.inf)
    total = sum(costs_of(free))
    ways = [free, *(_cut(sizes, most, cost, total / gpus * share) for share in LIMITS)]
    best = min(ways, key=lambda cuts: (makespan(costs_of(cuts), gpus), len(cuts)))
    packs = [names[first:after] for first, after in pairwise(best)]
    by_cost = sorted(zip(costs_of(best), packs, strict=True), key=lambda pack: -pack[0])
    return [pack for _, pack in by_cost]


def makespan(costs: Sequence[float], workers: int) -> float:
    """Return when the last worker ends, if each takes the costliest of what is left when free."""
    free = [0.0] * workers
    for cost in sorted(costs, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + cost)
    return max(free)


def _cut(sizes: np.ndarray, most: np.ndarray, cost: PackCost, limit: float) -> list[int]:
    """Cut heads, largest first, into packs of least total cost, by dynamic programming.

    Args:
        sizes: (H,) cells of the heads, falling.
        most: (H,) largest number of heads in a pack that begins with each.
        cost: of a pack.
        limit: largest cost of a pack of several heads.

    Returns:
        First head of each pack, and the number of heads.
    """
    heads = len(sizes)
    least, after = np.zeros(heads + 1), np.zeros(heads, np.int64)
    for first in range(heads - 1, -1, -1):
        size = int(sizes[first])
        allowed = min(float(most[first]), (limit - cost.fixed) / size, heads - first)
        ends = np.arange(first + 1, first + max(1, int(allowed)) + 1)
        totals = cost.fixed + (ends - first) * size + least[ends]
        at = int(totals.argmin())
        least[first], after[first] = totals[at], ends[at]
    cuts = [0]
    while cuts[-1] < heads:
        cuts.append(int(after[cuts[-1]]))
    return cuts
