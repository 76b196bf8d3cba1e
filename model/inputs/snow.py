"""Snow: precipitation that falls in the cold is stored until it melts.

A cell has one snow store, that of CemaNeige (Valery et al. 2014, J. Hydrol. 517, 1166-1187).
Precipitation is snow below one temperature, rain above another and a mixture between. Snow melts in
proportion to the degrees above 0, once the snow itself is as warm: its temperature follows that of
the air with a memory. The less snow lies, the less ground it covers and the less melts.

Water is conserved: precipitation = water that reaches the ground + change of the snow store.

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
from model.settings import Settings


class Snow(NamedTuple):
    """How a watershed's snow melts."""

    melt_factor: float  # mm per degree and day, of covered ground
    memory: float  # share of the previous day's temperature that the snow keeps


class Cover(NamedTuple):
    """Phase of precipitation and snow cover, from the settings."""

    freezing: float  # degC, all snow at or below
    thawing: float  # degC, all rain at or above
    minimum: float  # share of the melt that the thinnest snow has


def snow_candidates(settings: Settings) -> tuple[Snow, ...]:
    """All melt models that `choose_snow` compares."""
    factors, memories = settings.snow_melt_factors, settings.snow_memories
    return tuple(Snow(*pair) for pair in product(factors, memories))


def melt_snow(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    snow: Snow,
    step_days: float,
    spinup: int,
    train: np.ndarray,
    settings: Settings,
) -> np.ndarray:
    """Compute the water that reaches the ground as rain or melt: (T, N) float32 [mm per step].

    Args:
        precipitation: (T, N) [mm per step].
        temperature: means of the steps, (T, N) [degC].
        snow: melt model.
        step_days: length of a step [days].
        spinup: number of first steps that also run before the record, so that it has a past.
        train: whether a step is one of the training, (T,) bool; their mean snowfall tells with how
            much snow a cell is covered.
        settings: phase and cover.
    """
    water = np.empty(precipitation.shape, np.float32)
    cover = Cover(settings.snow_freezing, settings.snow_thawing, settings.snow_min_cover)
    yearly = _mean_snowfall(precipitation[train], temperature[train], cover)
    yearly = yearly * (DAYS_IN_YEAR / step_days)  # [mm]
    full_cover = np.maximum(settings.snow_full_cover * yearly, 1e-6)
    per_step = Snow(snow.melt_factor * step_days, snow.memory**step_days)
    stored, warmth = np.zeros_like(yearly), np.zeros_like(yearly)
    for steps in (slice(0, spinup), slice(None)):
        fields = precipitation[steps], temperature[steps], water[steps]
        _melt(*fields, per_step, cover, full_cover, stored, warmth)
    return water


def choose_snow(
    precipitation: np.ndarray,
    water: Callable[[Snow], np.ndarray],
    discharge: np.ndarray,
    times: Times,
    train: np.ndarray,
    settings: Settings,
) -> Snow | None:
    """Choose the melt model whose water explains discharge best; None where snow does not count.

    Snow counts if the baseline model moves enough precipitation in time and its water explains
    discharge better than the precipitation itself. The judge is the cross-validated NSE of the
    ridge regression on daily values: each of some folds of the training days is left out in turn.

    Args:
        precipitation: basin mean, (T,) [mm per step].
        water: from a melt model to the basin mean of the water that reaches the ground, (T,)
            [mm per step].
        discharge: (T,) [m3 s-1], NaN where missing.
        times: of the steps, (T,).
        train: whether a step is one of the training, (T,) bool: the others choose nothing.
        settings: candidates and thresholds.
    """
    baseline = water(Snow(*settings.snow_baseline))
    moved = np.abs(baseline - precipitation)[train].sum()
    if moved <= settings.snow_min_share * precipitation[train].sum():
        return None
    per_day = max(1, round(np.timedelta64(1, "D") / (times[1] - times[0])))
    days = len(times) // per_day

    def daily(series: np.ndarray) -> np.ndarray:
        """(T,) to (days, steps of a day)."""
        return series[: days * per_day].reshape(days, per_day)

    observed, starts = daily(discharge), daily(times)[:, 0]
    train_days = np.asarray(daily(train).all(1))
    count = np.isfinite(observed).sum(1)
    flow = np.where(count > 0, np.nansum(observed, 1) / np.maximum(count, 1), np.nan)
    used = np.flatnonzero(train_days & np.isfinite(flow))
    if used.size < settings.snow_folds:
        return None

    def explained(series: np.ndarray) -> float:
        simulated = np.empty(used.size)
        for fold in np.array_split(np.arange(used.size), settings.snow_folds):
            out = np.zeros(days, bool)
            out[used[fold]] = True
            fitted = ridge(daily(series).sum(1), flow, starts, train_days & ~out, out)
            simulated[fold] = fitted[out]
        return nse(simulated, flow[used])

    if explained(baseline) <= explained(precipitation) + settings.snow_min_gain:
        return None
    return max(snow_candidates(settings), key=lambda snow: explained(water(snow)))


@numba.njit(cache=True, nogil=True)
def _snowfall(precipitation: float, temperature: float, cover: Cover) -> float:
    share = (cover.thawing - temperature) / (cover.thawing - cover.freezing)
    return min(max(share, 0.0), 1.0) * precipitation


@numba.njit(cache=True, nogil=True)
def _mean_snowfall(precipitation: np.ndarray, temperature: np.ndarray, cover: Cover) -> np.ndarray:
    """Mean snowfall of the steps (T, N): (N,) [mm per step]."""
    total = np.zeros(precipitation.shape[1])
    for t in range(precipitation.shape[0]):
        for i in range(precipitation.shape[1]):
            total[i] += _snowfall(precipitation[t, i], temperature[t, i], cover)
    return total / precipitation.shape[0]


@numba.njit(cache=True, nogil=True)
def _melt(
    precipitation: np.ndarray,
    temperature: np.ndarray,
    water: np.ndarray,  # (T, N), written
    snow: Snow,  # per step
    cover: Cover,
    full_cover: np.ndarray,  # (N,) [mm]
    stored: np.ndarray,  # (N,) [mm], updated
    warmth: np.ndarray,  # (N,) temperature of the snow [degC], at most 0, updated
) -> None:
    for t in range(precipitation.shape[0]):
        for i in range(precipitation.shape[1]):
            air, fallen = temperature[t, i], precipitation[t, i]
            frozen = _snowfall(fallen, air, cover)
            stored[i] += frozen
            warmth[i] = min(0.0, snow.memory * warmth[i] + (1 - snow.memory) * air)
            melt = 0.0
            if air > 0 and warmth[i] >= 0 and stored[i] > 0:
                share = cover.minimum + (1 - cover.minimum) * min(stored[i] / full_cover[i], 1.0)
                melt = share * min(stored[i], snow.melt_factor * air)
            stored[i] -= melt
            water[t, i] = fallen - frozen + melt
