"""Which heads train together, and in which order: heads to packs, longest first.

Graham's longest-processing-time rule is at most 4/3 of the best makespan; with several packs a
worker the scheduler evens out what the cost model got wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CostModel:
    """Seconds that a head needs for one update: a step costs `per_step`, a pixel of it more.

    The defaults are one thread of a CPU, as `benchmarks.placement` measures them. No probe
    calibrates them before a run: the heads of a store have equal steps, so packs of one head come
    in the order of their pixels whatever the constants; where records differ too, a ratio that is
    10 times off costs under 1 % of the makespan from 39 heads a worker on (the same benchmark).
    """

    per_step: float = 1.6e-5
    per_pixel: float = 8e-8

    def update_seconds(self, steps: int, pixels: int) -> float:
        """Cost of one update of a head with `steps` training steps and a window of `pixels`."""
        return steps * (self.per_step + self.per_pixel * pixels)


def pack_heads(costs: Mapping[str, float], packs: int) -> list[list[str]]:
    """Split heads into at most `packs` packs of even cost, the costliest pack first.

    Args:
        costs: cost of each head, by its name, > 0.
        packs: how many packs at most, at least 1; as many as heads gives packs of one.

    Returns:
        Non-empty packs; ties are broken by name, so that equal input gives equal packs.
    """
    assert packs >= 1
    assert all(cost > 0 for cost in costs.values())
    bins: list[tuple[float, int, list[str]]] = [(0.0, i, []) for i in range(min(packs, len(costs)))]
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        load, i, members = heapq.heappop(bins)
        members.append(name)
        heapq.heappush(bins, (load + costs[name], i, members))
    return [members for _, _, members in sorted(bins, key=lambda pack: (-pack[0], pack[1]))]
