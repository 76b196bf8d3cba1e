"""Heads to packs: the bound of the longest-first rule, and nothing lost."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.jobs.placement import CostModel, PackCost, makespan, pack_by_size, pack_heads

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


sizes_strategy = st.lists(st.integers(1, 200), min_size=1, max_size=9)


def padded(cells: dict[str, int], packs: list[list[str]]) -> int:
    return sum(len(pack) * max(cells[name] for name in pack) for pack in packs)


@settings(max_examples=50)
@given(sizes=sizes_strategy, gpus=st.integers(1, 3), memory=st.integers(200, 900))
def test_packs_hold_every_head_once_within_the_memory(
    sizes: list[int], gpus: int, memory: int
) -> None:
    cells = {f"{i}": size for i, size in enumerate(sizes)}
    packs = pack_by_size(cells, lambda name: memory // cells[name], gpus, PackCost(50.0))
    assert sorted(itertools.chain(*packs)) == sorted(cells)
    for pack in packs:
        assert cells[pack[0]] == max(cells[name] for name in pack)
        assert len(pack) * cells[pack[0]] <= memory
    turned = dict(reversed(cells.items()))
    assert packs == pack_by_size(turned, lambda name: memory // cells[name], gpus, PackCost(50.0))


@settings(max_examples=50)
@given(sizes=sizes_strategy, fixed=st.integers(0, 300), memory=st.integers(200, 900))
def test_packs_for_one_gpu_take_the_least_time(sizes: list[int], fixed: int, memory: int) -> None:
    """Against all ways to cut the heads, sorted by size."""
    cells = {f"{i}": size for i, size in enumerate(sizes)}
    order = sorted(sizes, reverse=True)
    ways = []
    for cuts in itertools.product((False, True), repeat=len(order) - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut]
        parts = [part.tolist() for part in np.split(np.array(order), ends)]
        if all(len(part) * part[0] <= memory for part in parts):
            ways.append(sum(fixed + len(part) * part[0] for part in parts))
    packs = pack_by_size(cells, lambda name: memory // cells[name], 1, PackCost(fixed))
    assert fixed * len(packs) + padded(cells, packs) == min(ways)


def test_packs_of_unequal_watersheds_are_hardly_padded() -> None:
    """The sizes of `benchmarks.placement`: packs of even cost pad 8 times the true cells."""
    sizes = np.random.default_rng(0).lognormal(np.log(90), 0.8, 2000).astype(int) + 1
    cells = {f"{i:04d}": int(size) for i, size in enumerate(sizes)}
    true = sum(cells.values())
    by_cost = pack_heads({name: float(size) for name, size in cells.items()}, 16)
    assert padded(cells, by_cost) > 4 * true
    for gpus in (1, 4, 16):
        packs = pack_by_size(cells, lambda name: 50_000 // cells[name], gpus, PackCost(2000.0))
        assert padded(cells, packs) < 1.15 * true
        costs = [PackCost(2000.0).update(cells[pack[0]], len(pack)) for pack in packs]
        assert makespan(costs, gpus) < 1.15 * sum(costs) / gpus, "the GPUs end together"
    assert pack_by_size({}, lambda name: 1, 4) == []
