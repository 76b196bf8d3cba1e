"""Radiation against a published example and an integral over the day; Oudin's formula by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaporation import LATENT_HEAT, potential_evaporation, solar_evaporation

LATITUDES = np.array([-66.0, -35.0, 0.0, 20.0, 40.0, 60.0, 85.0])
DAYS = np.arange(1, 366, 7)


def integrated_radiation(latitude: float, day: int) -> float:
    """Radiation at the top of the atmosphere [MJ m-2 day-1], summed over the hour angle.

    Declination and distance of the sun: Spencer (1971), Search 2, 172.
    """
    a = 2 * np.pi * (day - 1) / 365
    declination = (
        0.006918 - 0.399912 * np.cos(a) + 0.070257 * np.sin(a) - 0.006758 * np.cos(2 * a)
        + 0.000907 * np.sin(2 * a) - 0.002697 * np.cos(3 * a) + 0.00148 * np.sin(3 * a)
    )  # fmt: skip
    distance = 1.00011 + 0.034221 * np.cos(a) + 0.00128 * np.sin(a) + 0.000719 * np.cos(2 * a)
    hour = np.linspace(-np.pi, np.pi, 4001)[:-1]
    phi = np.radians(latitude)
    height = np.sin(phi) * np.sin(declination)
    height = height + np.cos(phi) * np.cos(declination) * np.cos(hour)
    return float(1366.7 * 86400 / 1e6 * distance * np.maximum(height, 0).mean())


def test_radiation_is_that_of_the_sun_on_every_latitude_and_day():
    found = solar_evaporation(LATITUDES, DAYS) * LATENT_HEAT
    expected = [[integrated_radiation(phi, day) for phi in LATITUDES] for day in DAYS.tolist()]
    # FAO 56's declination is up to 1.4 degrees off Spencer's, which is worth 2 MJ near a pole
    np.testing.assert_allclose(found, expected, atol=2.0)


def test_the_example_of_fao_paper_56():
    """Example 8: 3 September at 20 degrees south, 32.2 MJ m-2 day-1."""
    found = solar_evaporation(np.array([-20.0]), np.array([246]))[0, 0] * LATENT_HEAT
    assert found == pytest.approx(32.2, abs=0.05)


def test_equal_latitudes_share_their_values_in_their_places():
    mixed = np.array([40.0, 10.0, 40.0, -5.0])
    found = solar_evaporation(mixed, DAYS)
    alone = np.concatenate([solar_evaporation(one[None], DAYS) for one in mixed], axis=1)
    np.testing.assert_array_equal(found, alone)


def test_evaporation_rises_by_a_hundredth_of_the_radiation_per_degree_above_minus_five():
    day, latitude = np.array([180]), np.array([45.0])
    radiation = solar_evaporation(latitude, day)[0, 0]
    for temperature, degrees in ((-30.0, 0), (-5.0, 0), (-4.0, 1), (15.0, 20), (30.0, 35)):
        found = potential_evaporation(np.array([[temperature]], np.float32), latitude, day)
        assert found.dtype == np.float32
        assert found[0, 0] == pytest.approx(radiation * degrees / 100, rel=1e-6)
