"""The square of pixels and steps that is turned, against numpy's transpose."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from pipeline.regrid.kernels import SIDE, transpose


@njit
def turned(raw: np.ndarray, step: np.ndarray, pixel: int, near: np.ndarray, row: int) -> None:
    transpose(raw, step, np.uint32(pixel), near, np.uint32(row))


@given(
    step=arrays(np.int64, SIDE, elements=st.integers(0, 19)),
    pixel=st.integers(0, 23),
    row=st.integers(0, 5),
)
def test_steps_of_a_pixel_lie_side_by_side_and_nothing_else_is_touched(step, pixel, row):
    raw = np.arange(20 * (23 + SIDE), dtype=np.float32).reshape(20, -1)
    raw[3, 5] = np.nan
    near = np.full((5 + SIDE, SIDE), -1, np.float32)
    expected = near.copy()
    expected[row : row + SIDE] = raw[step, pixel : pixel + SIDE].T
    turned(raw, step, pixel, near, row)
    np.testing.assert_array_equal(near, expected)
