"""Evaporation that the sun's radiation and the air temperature allow."""

from __future__ import annotations

import numpy as np

SOLAR_CONSTANT = 37.59  # MJ m-2 day-1: 24 h x 60 min x 0.0820 MJ m-2 min-1 / pi (Allen et al. 1998)
LATENT_HEAT = 2.45  # MJ that evaporate 1 mm of water from 1 m2


def solar_evaporation(latitude: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Water that radiation at the top of the atmosphere could evaporate.

    Allen et al. (1998), FAO paper 56, eq. 21 to 25.

    Args:
        latitude: of the pixels [degrees], (N,).
        day_of_year: of the steps, (T,).

    Returns:
        [mm/day], (T, N).
    """
    angle = 2 * np.pi * day_of_year[:, None] / 365.25
    rows, row = np.unique(latitude, return_inverse=True)
    phi = np.radians(rows)[None, :]
    declination = 0.409 * np.sin(angle - 1.39)
    # beyond the polar circles some days have no sunset or no sunrise
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1))
    beam = sunset * np.sin(phi) * np.sin(declination)
    beam = beam + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    radiation = SOLAR_CONSTANT * (1 + 0.033 * np.cos(angle)) * beam
    return (radiation / LATENT_HEAT)[:, row]


def potential_evaporation(
    temperature: np.ndarray, latitude: np.ndarray, day_of_year: np.ndarray
) -> np.ndarray:
    """Potential evaporation after Oudin et al. (2005, J. Hydrol. 303).

    Args:
        temperature: mean of each step [degC], (T, N).
        latitude: of the pixels [degrees], (N,).
        day_of_year: of the steps, (T,).

    Returns:
        [mm/day], float32 (T, N).
    """
    per_degree = (solar_evaporation(latitude, day_of_year) / 100.0).astype(np.float32)
    return per_degree * np.maximum(temperature + np.float32(5.0), 0.0)
