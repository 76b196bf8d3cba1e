"""De-accumulate running totals into per-interval amounts.

Each raster of some products, such as ERA5-Land, is the total since 00:00 UTC, or since the start of
a forecast. The amount of an interval is its total minus the previous one; in the first interval
after a reset it is the total itself. Without the previous total, the amount is missing.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def begins(times: pd.DatetimeIndex, stretch: timedelta) -> NDArray[np.bool_]:
    """Whether intervals that start at `times`, naive UTC, are the first of a stretch.

    Stretches follow one another from 00:00 UTC; those that are longer than a day never end.
    """
    if stretch > timedelta(days=1):
        return np.zeros(times.size, bool)
    return np.asarray((times - times.normalize()) % stretch == timedelta(0))


class Totals:
    """A forcing's rasters, taken apart in ascending order, some at a time.

    Args:
        first_of_stretch: bool (intervals,), as `begins` gives it.
    """

    def __init__(self, first_of_stretch: NDArray[np.bool_]) -> None:
        self._first = first_of_stretch
        self._last: NDArray[np.float32] | None = None

    def take_apart(self, start: int, raw: NDArray[np.float32]) -> None:
        """Make amounts of totals in place; NaN where the total before is not known.

        Args:
            start: position of the first raster among the intervals, after those of the call before.
            raw: float32 (intervals, rows, columns).
        """
        last = raw[-1].copy()
        with np.errstate(invalid="ignore"):  # infinite ones are missing
            for k in reversed(range(len(raw))):
                if self._first[start + k]:
                    continue
                before = raw[k - 1] if k else self._last
                raw[k] -= np.float32(np.nan) if before is None else before
        self._last = last
