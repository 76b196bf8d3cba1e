"""Snow: rain that falls when it is cold lies until it melts.

A cell's snow is one store. Precipitation is snow below `FREEZES`, rain above `THAWS` and a mixture
between; what lies melts in proportion to the warmth above 0 degrees: the degree-day method, with
the thresholds of CemaNeige (Valery et al. 2014, J. Hydrol. 517, 1176-1187).

No water is made: precipitation = water that reaches the ground + change of what lies.

    T steps   N cells
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from model.baselines import Times, ridge
from model.metrics import nse

FREEZES, THAWS = -1.0, 3.0  # degC
GAIN = 0.02  # of the ridge's NSE, from which on there is snow; less is chance
RARE = 0.01  # share of the precipitation; where less of it freezes, snow does not count
# mm per degree and day; 2 to 6 are usual without forest, less in it (Hock 2003, J. Hydrol. 282)
MELT_FACTORS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0)
USUAL = 4.0  # of these, by which it is judged whether there is snow
FOLDS = 4  # stretches of the record that are left out in turn


def melted(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    factor: float,
    step_days: float,
    first_year: int,
) -> np.ndarray:
    """Water that reaches the ground, as rain or from snow: (T, N) float32, mm per step.

    Args:
        precipitation: (T, N) [mm per step].
        temperature: means of the steps, (T, N) [degC].
        factor: what a degree melts in a day [mm].
        step_days: length of a step [days].
        first_year: steps of the record that run before it once, so that its start has a past.
    """
    water = np.empty(precipitation.shape, np.float32)
    lying = np.zeros(precipitation.shape[1])
    for steps in (slice(0, first_year), slice(None)):
        _melt(precipitation[steps], temperature[steps], factor * step_days, lying, water[steps])
    return water


def melt_factor(
    precipitation: np.ndarray,
    water: Callable[[float], np.ndarray],
    discharge: np.ndarray,
    times: Times,
    known: np.ndarray,
) -> float | None:
    """The one of `MELT_FACTORS` whose water explains discharge best; None where snow does not
    count, as the usual one's water does no better than the precipitation. The judge is the NSE of
    the ridge on stretches of the known steps, each left out of its fit in turn.

    Args:
        precipitation: basin mean, (T,) [mm per step].
        water: the basin mean of what reaches the ground, (T,) [mm per step], of a melt factor.
        discharge: (T,) [m3 s-1], NaN where missing; at least `FOLDS` known values.
        times: of the steps, (T,).
        known: the steps whose discharge may be seen, (T,) bool.
    """
    usual = water(USUAL)
    if np.abs(usual - precipitation).sum() <= RARE * precipitation.sum():
        return None
    seen = np.flatnonzero(known & np.isfinite(discharge))

    def explained(series: np.ndarray) -> float:
        simulated = np.empty(seen.size)
        for fold in np.array_split(np.arange(seen.size), FOLDS):
            out = np.zeros(discharge.size, bool)
            out[seen[fold]] = True
            simulated[fold] = ridge(series, discharge, times, known & ~out, out)[out]
        return nse(simulated, discharge[seen])

    if explained(usual) <= explained(precipitation) + GAIN:
        return None
    return max(MELT_FACTORS, key=lambda factor: explained(water(factor)))


@numba.njit(cache=True, nogil=True)
def _melt(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    melt: float,  # [mm per degree and step]
    lying: np.ndarray,  # (N,) [mm], moved on
    water: np.ndarray,  # (T, N), written
) -> None:
    for t in range(precipitation.shape[0]):
        for i in range(precipitation.shape[1]):
            warmth, fallen = temperature[t, i], precipitation[t, i]
            frozen = min(max((THAWS - warmth) / (THAWS - FREEZES), 0.0), 1.0) * fallen
            lying[i] += frozen
            gone = min(lying[i], melt * max(warmth, 0.0))
            lying[i] -= gone
            water[t, i] = fallen - frozen + gone
