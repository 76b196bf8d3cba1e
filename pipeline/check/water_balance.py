"""Does a discharge record belong to its watershed: what its rain and its runoff say together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from pipeline.units import M3_PER_FT3

LAGS = 10  # days after rain within which a river is looked at; a crest takes days to come down
LEAST_DAYS = 90  # with rain and runoff, to judge a record
SIGNIFICANT = 4.0  # standard deviations of the rank correlation of unrelated series, 1 / sqrt(n)


class Response(NamedTuple):
    """How a river answers rain.

    Attributes:
        correlation: Spearman's, of a day's rain with the rise of runoff `lag` days later.
        lag: days, the one of 0..`LAGS` with the greatest correlation.
        least: what unrelated series do not reach.
    """

    correlation: float
    lag: int
    least: float


def response(rain: np.ndarray, runoff: np.ndarray, steps_per_day: int) -> Response | None:
    """The response of runoff (time,) to rain (time,), both [mm per step], NaN where missing.

    A river rises after its own rain. The record of another river, or one shifted in time, does
    not; snow and reservoirs may hide it too. None if fewer than `LEAST_DAYS` can be compared.
    """
    days = rain.size // steps_per_day
    rain_day = _daily(rain, days, steps_per_day)
    rise = np.maximum(np.diff(_daily(runoff, days, steps_per_day), prepend=np.nan), 0.0)
    best: Response | None = None
    for lag in range(LAGS + 1):
        before, after = rain_day[: max(days - lag, 0)], rise[lag:]
        both = np.isfinite(before) & np.isfinite(after)
        if both.sum() < LEAST_DAYS or not (np.ptp(before[both]) and np.ptp(after[both])):
            continue
        found = float(spearmanr(before[both], after[both]).statistic)
        if best is None or found > best.correlation:
            best = Response(found, lag, SIGNIFICANT / float(np.sqrt(both.sum())))
    return best


def suspected_units(ratio: float) -> str:
    """What a ratio of runoff to rain says about the units of discharge; blank if nothing."""
    if 1 < ratio <= 1 / M3_PER_FT3:
        return f", and {ratio * M3_PER_FT3:.2g} if the discharge is in ft3/s and was labelled m3/s"
    if 0 < ratio < M3_PER_FT3:
        return f", and {ratio / M3_PER_FT3:.2g} if the discharge is in m3/s and was labelled ft3/s"
    return ""


def _daily(values: np.ndarray, days: int, steps_per_day: int) -> np.ndarray:
    """Mean per day (days,) over the steps that have a value, NaN where none has."""
    by_day = values[: days * steps_per_day].reshape(days, steps_per_day).astype(np.float64)
    there = np.isfinite(by_day)
    count = there.sum(axis=1)
    total = np.where(there, by_day, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
