"""Group heads into packs of even cost, the longest first.

Graham's longest-processing-time rule takes at most 4/3 of the best makespan. With several packs per
worker the scheduler evens out errors of the cost model.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


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
