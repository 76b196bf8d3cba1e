"""Snow: rain that falls when it is cold lies until it melts.

A cell's snow is one store. Precipitation is snow below `FREEZES`, rain above `THAWS` and a mixture
between; what lies melts in proportion to the warmth above 0 degrees: the degree-day method, with
the thresholds of CemaNeige (Valery et al. 2014, J. Hydrol. 517, 1176-1187).

No water is made: precipitation = water that reaches the ground + change of what lies.

    T steps   N cells
"""

from __future__ import annotations

import numba
import numpy as np

from model.baselines import Times, ridge
from model.metrics import nse

FREEZES, THAWS = -1.0, 3.0  # degC
GAIN = 0.02  # of the ridge's NSE, from which on there is snow; less is chance
RARE = 0.01  # share of the precipitation; where less of it freezes, snow does not count
MELT = 4.0  # mm per degree and day; 2 to 6 are usual without forest (Hock 2003, J. Hydrol. 282)


def melted(
    precipitation: np.ndarray, temperature: np.ndarray, step_days: float, first_year: int
) -> np.ndarray:
    """Water that reaches the ground, as rain or from snow: (T, N) float32, mm per step.

    Args:
        precipitation: (T, N) [mm per step].
        temperature: means of the steps, (T, N) [degC].
        step_days: length of a step [days].
        first_year: steps of the record that run before it once, so that its start has a past.
    """
    water = np.empty(precipitation.shape, np.float32)
    lying = np.zeros(precipitation.shape[1])
    for steps in (slice(0, first_year), slice(None)):
        _melt(precipitation[steps], temperature[steps], MELT * step_days, lying, water[steps])
    return water


def snow_counts(
    precipitation: np.ndarray,
    water: np.ndarray,
    discharge: np.ndarray,
    times: Times,
    train: np.ndarray,
    validation: np.ndarray,
) -> bool:
    """Whether the ridge explains discharge better by water that has melted than by precipitation:
    fitted on the training steps, judged by NSE on the validation steps.

    Args:
        precipitation, water: basin means, (T,) [mm per step].
        discharge: (T,) [m3 s-1], NaN where missing.
        times: of the steps, (T,).
        train, validation: (T,) bool.
    """
    if np.abs(water - precipitation).sum() <= RARE * precipitation.sum():
        return False
    seen = validation & np.isfinite(discharge)
    bare, melt = (
        nse(ridge(series, discharge, times, train, validation)[seen], discharge[seen])
        for series in (precipitation, water)
    )
    return bool(melt > bare + GAIN)


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
