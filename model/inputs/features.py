"""Features computed from rain, dates and a watershed's shape before training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter


def season_of(day_of_year: np.ndarray) -> np.ndarray:
    """(T,) days of the year to (T, 2) sine and cosine, float32."""
    angle = day_of_year * (2 * math.pi / 365.25)
    return np.stack([np.sin(angle), np.cos(angle)], -1).astype(np.float32)


def antecedent_wetness(
    rain: np.ndarray, usual: np.ndarray, memory_days: Sequence[float], steps_per_day: float
) -> np.ndarray:
    """Rain of the past, averaged with exponential memories, (T, W, ...) float32.

    As the deviation from the usual rain, in units of it; 0 where it never rains. An LSTM could
    integrate rain itself, but learns to from a few years only badly, and not cell by cell.

    Args:
        rain: (T, ...) [mm per step].
        usual: (...) mean over the training years [mm per step].
    """
    maps = np.empty((len(rain), len(memory_days), *usual.shape), np.float32)
    for i, days in enumerate(memory_days):
        keep = math.exp(-1 / (days * steps_per_day))
        wet, _ = lfilter([1 - keep], [1, -keep], rain, axis=0, zi=keep * usual[None])
        wet /= np.maximum(usual, 1e-6)
        wet -= 1
        maps[:, i] = np.where(usual > 0, wet, 0)
    return maps


def attributes_of(
    area: float, distance: float, slope: float | None, rain: float, dryness: float
) -> np.ndarray:
    """A watershed's static attributes as a network takes them, all near 0: (5,) float32.

    Args:
        area: [m2].
        distance: mean flow distance [m].
        slope: mean height above the outlet over mean distance; unknown counts as usual.
        rain: mean [mm/day].
        dryness: potential evaporation over rain.
    """
    steep = math.log10(max(slope, 1e-5) / 3e-3) if slope is not None else 0.0
    size, length = math.log10(area / 1e9), math.log10(distance / 5e4)
    return np.array([size, length, steep, rain / 3 - 1, dryness - 1], np.float32)
