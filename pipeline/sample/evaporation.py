"""Potential evaporation of the synthetic world, by another formula than the product's own.

Hamon (1961, J. Hydraul. Div. 87), in the form of Lu et al. (2005, J. Am. Water Resour. Assoc. 41),
from daylight and saturated humidity; `pipeline/evaporation.py` follows Oudin's formula. On days of
rain the sky is dull and less evaporates, which no temperature tells.
"""

from __future__ import annotations

import numpy as np

FACTOR = 0.1651  # mm per twelve hours of daylight and g m-3 of saturated humidity
CALIBRATION = 1.2  # of it, usual in the Midwest
DULL = 0.35  # share that clouds take away at most
DULL_RAIN = 4.0  # [mm/day] rain at which most of that is gone


def daylight(latitude: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Hours from sunrise to sunset over 12, (days, pixels), below the polar circles."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365.25)
    return 2 / np.pi * np.arccos(-np.tan(np.radians(latitude)) * np.tan(declination)[:, None])


def hamon_evaporation(
    temperature: np.ndarray, rain: np.ndarray, latitude: np.ndarray, day_of_year: np.ndarray
) -> np.ndarray:
    """Potential evaporation, float32 (days, pixels) [mm/day].

    Args:
        temperature: daily mean, (days, pixels) [degC].
        rain: of the day, (days, pixels) [mm].
        latitude: (pixels,) [degrees].
        day_of_year: (days,).
    """
    rows, row = np.unique(latitude, return_inverse=True)
    hours = daylight(rows, day_of_year).astype(np.float32)[:, row]
    pressure = 6.108 * np.exp(17.27 * temperature / (temperature + 237.3))  # [hPa], saturated
    humidity = 216.7 * pressure / (temperature + 273.15)  # [g m-3]
    clouds = 1.0 - np.exp(-rain / DULL_RAIN)
    demand = CALIBRATION * FACTOR * hours * humidity * (1.0 - DULL * clouds)
    return np.asarray(demand, dtype=np.float32)
