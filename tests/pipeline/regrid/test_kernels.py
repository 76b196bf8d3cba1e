"""Parts of the kernel for projected rasters: its tiles, and its copy of squares of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from pipeline.regrid import kernels
from pipeline.regrid.kernels import SIDE, cut_tiles, transpose


@njit
def transposed(raw: np.ndarray, step: np.ndarray, pixel: int, near: np.ndarray, row: int) -> None:
    transpose(raw, step, np.uint32(pixel), near, np.uint32(row))


@given(
    step=arrays(np.int64, SIDE, elements=st.integers(0, 19)),
    pixel=st.integers(0, 23),
    row=st.integers(0, 5),
)
def test_steps_of_a_pixel_become_contiguous_and_nothing_else_is_touched(step, pixel, row):
    raw = np.arange(20 * (23 + SIDE), dtype=np.float32).reshape(20, -1)
    raw[3, 5] = np.nan
    near = np.full((5 + SIDE, SIDE), -1, np.float32)
    expected = near.copy()
    expected[row : row + SIDE] = raw[step, pixel : pixel + SIDE].T
    transposed(raw, step, pixel, near, row)
    np.testing.assert_array_equal(near, expected)


@pytest.mark.parametrize("most", [1, 7, 40, 4096])
@given(seed=st.integers(0, 1000), size=st.integers(SIDE, 300), count=st.integers(1, 30))
def test_tiles_hold_every_cell_once_and_every_pixel_that_it_needs(most, seed, size, count):
    rng = np.random.default_rng(seed)
    needed = [np.flatnonzero(rng.random(size) < rng.choice([0, 0.02, 0.3])) for _ in range(count)]
    if not sum(map(len, needed)):
        needed[0] = np.array([size - 1])
    start = np.cumsum([0, *map(len, needed)]).astype(np.int32)
    pixel = np.concatenate(needed).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "TILE", most)
        tiles = cut_tiles(start, pixel, size)
    assert tiles.cells[0] == tiles.lines[0] == 0
    assert (tiles.cells[-1], tiles.lines[-1]) == (count, tiles.source.size)
    assert (np.diff(tiles.cells) > 0).all()
    assert tiles.source.min() >= 0
    assert tiles.source.max() <= size - SIDE
    for tile, (first, last) in enumerate(zip(tiles.cells[:-1], tiles.cells[1:], strict=True)):
        assert last == first + 1 or start[last] - start[first] <= most
        assert last == count or start[last + 1] - start[first] > most, "as many cells as fit"
        lines = tiles.source[tiles.lines[tile] : tiles.lines[tile + 1]]
        assert (np.diff(lines) > 0).all()
        held = (lines[:, None] + np.arange(SIDE)).ravel()
        part = slice(start[first], start[last])
        np.testing.assert_array_equal(held[tiles.local[part]], pixel[part])
        used = np.unique(tiles.local[part] // SIDE)
        np.testing.assert_array_equal(used, np.arange(lines.size), "no line in vain")
