"""Features computed before training: season, antecedent wetness, static attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from model.settings import Settings

DAYS_IN_JULIAN_YEAR = 365.25
FLATTEST = 1e-5  # slope [m m-1] that flatter watersheds count as, for the logarithm


def basin_mean(field: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Average a field (T, ..., N) over the cells by their shares of the area (N,): (T, ...).

    A step's mean depends on that step alone, to the last bit; that of a matrix product would also
    depend on the length of the record.
    """
    return np.asarray(np.einsum("...n,n->...", field, share))


def known_basin_mean(field: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Average a field (T, N) over the cells that have a value, by their shares of the area: (T,).

    NaN where no cell has one.
    """
    known = np.isfinite(field)
    total = basin_mean(known, share)
    mean = np.full(len(field), np.nan, np.result_type(field, share))
    np.divide(np.where(known, field * share, 0).sum(1), total, out=mean, where=total > 0)
    return mean


def season_of(day_of_year: np.ndarray) -> np.ndarray:
    """Sine and cosine of the day of year (T,): (T, 2) float32."""
    angle = day_of_year * (2 * math.pi / DAYS_IN_JULIAN_YEAR)
    return np.stack([np.sin(angle), np.cos(angle)], -1).astype(np.float32)


def antecedent_wetness(
    rain: np.ndarray, mean_rain: np.ndarray, memory_days: Sequence[float], steps_per_day: float
) -> np.ndarray:
    """Average past rain with exponential memories: (T, W, ...) float32.

    The result is the deviation from the mean rain in units of it, 0 where it never rains. An LSTM
    could integrate rain itself, but hardly learns it from a few years of data, and not per cell.

    Args:
        rain: (T, ...) [mm per step].
        mean_rain: (...) mean over the training years [mm per step], also the rain before the
            first step.
        memory_days: W time constants.
        steps_per_day: number of steps in a day.
    """
    wetness = np.empty((len(rain), len(memory_days), *mean_rain.shape), np.float32)
    for i, days in enumerate(memory_days):
        decay = math.exp(-1 / (days * steps_per_day))
        start = decay * mean_rain[None]
        average, _ = lfilter([1 - decay], [1, -decay], rain, axis=0, zi=start)
        average /= np.maximum(mean_rain, 1e-6)
        average -= 1
        wetness[:, i] = np.where(mean_rain > 0, average, 0)
    return wetness


def attributes_of(
    area: float,
    distance: float,
    slope: float | None,
    rain: float,
    dryness: float,
    settings: Settings,
) -> np.ndarray:
    """Scale a watershed's static attributes to values near 0: (5,) float32.

    Args:
        area: [m2].
        distance: mean flow distance [m].
        slope: mean height above the outlet over mean distance; None counts as typical.
        rain: mean [mm/day].
        dryness: potential evaporation over rain.
        settings: attributes of a typical watershed.
    """
    steepness = 0.0
    if slope is not None:
        steepness = math.log10(max(slope, FLATTEST) / settings.typical_slope)
    size = math.log10(area / settings.typical_area)
    length = math.log10(distance / settings.typical_distance)
    wetness = rain / settings.typical_rain - 1
    return np.array([size, length, steepness, wetness, dryness - 1], np.float32)
