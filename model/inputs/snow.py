"""Snow: rain that falls when it is cold lies until it melts.

A cell's snow is one store, that of CemaNeige (Valery et al. 2014, J. Hydrol. 517, 1166-1187).
Precipitation is snow below `FREEZES`, rain above `THAWS` and a mixture between. What lies melts in
proportion to the warmth above 0 degrees, but not before it is as warm itself: its temperature
follows that of the air with a memory. The less lies, the less ground is covered and the less melts.

No water is made: precipitation = water that reaches the ground + change of what lies.

    T steps   N cells
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numba
import numpy as np

from model.evaluation.floors import DAYS_IN_YEAR, Times, ridge
from model.evaluation.metrics import nse

FREEZES, THAWS = -1.0, 3.0  # degC
COVERS = 0.9  # of a usual year's snow, with which a cell is covered
BARE = 0.1  # of the melt on covered ground, where hardly any lies
GAIN = 0.02  # of the ridge's NSE, from which on there is snow; less is chance
RARE = 0.01  # share of the precipitation; where less of it freezes, snow does not count
FOLDS = 4  # stretches of the record that are left out in turn


class Snow(NamedTuple):
    """How a watershed's snow melts."""

    melt_factor: float  # mm per degree and day, of covered ground
    memory: float  # share of a day's temperature that is left in the snow a day later


USUAL = Snow(4.0, 0.0)  # by which it is judged whether there is any
# Degree-day factors of 2 to 6 are usual without forest (Hock 2003, J. Hydrol. 282, 104-115).
SNOWS = tuple(Snow(*one) for one in product((2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0, 10.0), (0.0, 0.7)))


def melted(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    snow: Snow,
    step_days: float,
    first_year: int,
    train: slice,
) -> np.ndarray:
    """Water that reaches the ground, as rain or from snow: (T, N) float32, mm per step.

    Args:
        precipitation: (T, N) [mm per step].
        temperature: means of the steps, (T, N) [degC].
        step_days: length of a step [days].
        first_year: steps of the record that run before it once, so that its start has a past.
        train: the steps that tell how much snow is usual.
    """
    water = np.empty(precipitation.shape, np.float32)
    usual = _snowfall(precipitation[train], temperature[train]) * (DAYS_IN_YEAR / step_days)
    per_step = Snow(snow.melt_factor * step_days, snow.memory**step_days)
    covers = np.maximum(COVERS * usual, 1e-6)  # of a cell that had none, whatever falls
    lying, cold = np.zeros_like(usual), np.zeros_like(usual)
    for steps in (slice(0, first_year), slice(None)):
        fields = precipitation[steps], temperature[steps], water[steps]
        _melt(*fields, per_step, covers, lying, cold)
    return water


def find_snow(
    precipitation: np.ndarray,
    water: Callable[[Snow], np.ndarray],
    discharge: np.ndarray,
    times: Times,
    known: np.ndarray,
) -> Snow | None:
    """The one of `SNOWS` whose water explains discharge best; None where snow does not count, as
    the usual one's water does no better than the precipitation. The judge is the NSE of the ridge
    on stretches of the known days, each left out of its fit in turn.

    Args:
        precipitation: basin mean, (T,) [mm per step].
        water: the basin mean of what reaches the ground, (T,) [mm per step].
        discharge: (T,) [m3 s-1], NaN where missing.
        times: of the steps, (T,).
        known: the steps whose discharge may be seen, (T,) bool.
    """
    usual = water(USUAL)
    if np.abs(usual - precipitation).sum() <= RARE * precipitation.sum():
        return None
    per_day = max(1, round(np.timedelta64(1, "D") / (times[1] - times[0])))
    days = len(times) // per_day

    def daily(series: np.ndarray) -> np.ndarray:
        return series[: days * per_day].reshape(days, per_day)

    observed, starts, told = daily(discharge), daily(times)[:, 0], np.asarray(daily(known).all(1))
    count = np.isfinite(observed).sum(1)
    flow = np.where(count > 0, np.nansum(observed, 1) / np.maximum(count, 1), np.nan)
    seen = np.flatnonzero(told & np.isfinite(flow))
    if seen.size < FOLDS:
        return None

    def explained(series: np.ndarray) -> float:
        simulated = np.empty(seen.size)
        for fold in np.array_split(np.arange(seen.size), FOLDS):
            out = np.zeros(days, bool)
            out[seen[fold]] = True
            simulated[fold] = ridge(daily(series).sum(1), flow, starts, told & ~out, out)[out]
        return nse(simulated, flow[seen])

    if explained(usual) <= explained(precipitation) + GAIN:
        return None
    return max(SNOWS, key=lambda snow: explained(water(snow)))


@numba.njit(cache=True, nogil=True)
def _frozen(precipitation: float, temperature: float) -> float:
    return min(max((THAWS - temperature) / (THAWS - FREEZES), 0.0), 1.0) * precipitation


@numba.njit(cache=True, nogil=True)
def _snowfall(precipitation: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Mean of the steps (T, N) that is snow, (N,) [mm per step]."""
    total = np.zeros(precipitation.shape[1])
    for t in range(precipitation.shape[0]):
        for i in range(precipitation.shape[1]):
            total[i] += _frozen(precipitation[t, i], temperature[t, i])
    return total / precipitation.shape[0]


@numba.njit(cache=True, nogil=True)
def _melt(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    water: np.ndarray,  # (T, N), written
    snow: Snow,  # per step
    covers: np.ndarray,  # (N,) [mm]
    lying: np.ndarray,  # (N,) [mm], moved on
    cold: np.ndarray,  # (N,) [degC], of the snow, moved on
) -> None:
    for t in range(precipitation.shape[0]):
        for i in range(precipitation.shape[1]):
            warmth, fallen = temperature[t, i], precipitation[t, i]
            frozen = _frozen(fallen, warmth)
            lying[i] += frozen
            cold[i] = min(0.0, snow.memory * cold[i] + (1 - snow.memory) * warmth)
            gone = 0.0
            if warmth > 0 and cold[i] >= 0 and lying[i] > 0:
                covered = BARE + (1 - BARE) * min(lying[i] / covers[i], 1.0)
                gone = covered * min(lying[i], snow.melt_factor * warmth)
            lying[i] -= gone
            water[t, i] = fallen - frozen + gone
