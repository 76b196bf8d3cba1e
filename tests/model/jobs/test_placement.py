"""Heads to packs: the bound of the longest-first rule, and nothing lost."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from model.jobs.placement import CostModel, pack_heads

costs_strategy = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4), st.floats(0.1, 100), min_size=1, max_size=12
)


@given(costs=costs_strategy, packs=st.integers(1, 15))
def test_every_head_is_in_one_pack(costs: dict[str, float], packs: int) -> None:
    placed = pack_heads(costs, packs)
    assert sorted(itertools.chain(*placed)) == sorted(costs)
    assert len(placed) == min(packs, len(costs))
    loads = [sum(costs[name] for name in pack) for pack in placed]
    assert loads == sorted(loads, reverse=True)


@settings(max_examples=30)
@given(
    costs=st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.floats(1, 50), max_size=7, min_size=2
    )
)
def test_longest_first_stays_within_its_bound_of_the_optimum(costs: dict[str, float]) -> None:
    """Graham (1969): at most 4/3 - 1/(3 m) times the best makespan, found here by trying all."""
    values = list(costs.values())
    best = min(
        max(
            sum(v for v, w in zip(values, where, strict=True) if w == worker) for worker in range(2)
        )
        for where in itertools.product(range(2), repeat=len(values))
    )
    load = max(sum(costs[name] for name in pack) for pack in pack_heads(costs, 2))
    assert load <= best * (4 / 3 - 1 / 6) + 1e-9


def test_ties_are_broken_by_name() -> None:
    assert pack_heads({"b": 1.0, "a": 1.0}, 2) == pack_heads({"a": 1.0, "b": 1.0}, 2)


@given(
    pixels=st.dictionaries(st.text("abc", min_size=1), st.integers(1, 5000), min_size=1),
    per_step=st.floats(1e-7, 1e-3),
    per_pixel=st.floats(1e-9, 1e-5),
)
def test_the_order_of_a_store_needs_no_calibration(
    pixels: dict[str, int], per_step: float, per_pixel: float
) -> None:
    """Heads one by one, of equal records: the largest first, whatever a step and a pixel cost."""
    model = CostModel(per_step, per_pixel)
    costs = {site: model.update_seconds(2000, size) for site, size in pixels.items()}
    placed = [pixels[site] for (site,) in pack_heads(costs, len(costs))]
    assert placed == sorted(pixels.values(), reverse=True)


def test_more_pixels_cost_more() -> None:
    model = CostModel()
    assert model.update_seconds(1000, 100) > model.update_seconds(1000, 10) > 0
    assert model.update_seconds(2000, 10) == 2 * model.update_seconds(1000, 10)
