"""Find numbers in a record that look like codes for no value.

Where a river flows back, its discharge takes many values; a code is one value, again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

COMPANY = 3  # other negative values within a factor of 2 that make a repeated one believable
NINES = re.compile(r"-?99+(?:\.9+)?")


def suspected_codes(values: NDArray[np.float64], real: Iterable[float]) -> dict[float, int]:
    """Numbers that are hardly discharge, and how often each occurs.

    A negative number is suspected if it occurs twice, or consists of nines as -99 and -9999 do, and
    the record holds fewer than `COMPANY` other values between half and twice of it. A positive one
    is suspected if it consists of at least three nines, occurs twice, and no smaller value exceeds
    half of it.

    Args:
        values: discharge in the file's units, NaN where missing, (n,).
        real: numbers that are not suspected.
    """
    below, counts = np.unique(values[values < 0], return_counts=True)
    near = np.searchsorted(below, below / 2, "right") - np.searchsorted(below, below * 2) - 1
    found = {
        value: count
        for value, count, company in zip(
            below.tolist(), counts.tolist(), near.tolist(), strict=True
        )
        if company < COMPANY and (count > 1 or _nines(value))
    }
    top = float(np.nanmax(values, initial=0.0))
    if top >= 999 and _nines(top):
        count = int((values == top).sum())
        if count > 1 and not ((values < top) & (values > top / 2)).any():
            found[top] = count
    return {value: count for value, count in found.items() if value not in set(real)}


def _nines(value: float) -> bool:
    return NINES.fullmatch(f"{value:.10g}") is not None
