"""Evaporation and the errors of the measured rain, against published numbers and statistics."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaporation import potential_evaporation
from pipeline.sample.evaporation import CALIBRATION, DULL, daylight, hamon_evaporation
from pipeline.sample.measured_rain import DAILY_SPREAD, SEASON_SPREAD, RainErrors
from pipeline.sample.world import World


def test_daylight_of_an_almanac():
    # US Naval Observatory, without refraction and the sun's radius (13 to 16 min at 40 degrees N).
    hours = 12 * daylight(np.array([0.0, 40.0, 60.0]), np.array([81, 172, 355]))
    np.testing.assert_allclose(hours[:, 0], 12.0, atol=0.05)
    np.testing.assert_allclose(hours[0], 12.0, atol=0.05)
    np.testing.assert_allclose(hours[1:, 1], [14.84, 9.16], atol=0.05)
    np.testing.assert_allclose(hours[1:, 2], [18.49, 5.51], atol=0.1)


def test_evaporation_of_a_worked_example():
    # 25 degC: 31.67 hPa and 23.0 g m-3 of saturated humidity; 12 hours at the equator.
    dry, wet = (
        hamon_evaporation(
            np.array([[25.0]]), np.array([[rain]]), np.array([0.0]), np.array([80])
        ).item()
        for rain in (0.0, 1000.0)
    )
    assert dry == pytest.approx(CALIBRATION * 0.1651 * 23.0, rel=2e-3)
    assert wet == pytest.approx((1 - DULL) * dry)


def test_no_scaling_makes_the_products_evaporation_that_of_the_world():
    rng = np.random.default_rng(0)
    day = np.arange(1, 366)
    warm = 12 - 13 * np.cos((day - 18) / 58.1) + rng.normal(0, 4, 365)
    rain = rng.gamma(0.15, 20.0, 365)
    at = np.array([39.0])
    ours = potential_evaporation(warm[:, None], at, day)[:, 0]
    true = hamon_evaporation(warm[:, None], rain[:, None], at, day)[:, 0]
    assert 600 < true.sum() < 1100, "mm in a year of the Midwest"
    best = ours * (ours @ true) / (ours @ ours)
    assert np.std(best - true) > 0.2 * np.std(true)


@pytest.fixture(scope="module")
def errors(world: World) -> RainErrors:
    return RainErrors.draw(world, np.random.default_rng(4))


def test_measured_rain_has_the_stated_errors_and_no_others(errors: RainErrors, world: World):
    rain = np.full(world.shape, 10.0, np.float32)
    rain[:5] = 0.0
    measured = np.stack([errors.measure(rain, day) for day in range(world.days)])
    assert (measured[:, :5] == 0).all()
    log = np.log(measured[:, 5:] / 10)
    spread = DAILY_SPREAD**2 + SEASON_SPREAD**2
    of_storms = log - errors.bias[:, None, None]
    assert of_storms.mean() == pytest.approx(-spread / 2, abs=0.012), "the mean of the rain is kept"
    of_day = log.mean(axis=(1, 2))
    season = errors.bias
    assert len(np.unique(season)) == 12  # quarters of three water years
    assert log.std() == pytest.approx(np.sqrt(spread), rel=0.15)
    assert 0.3 * DAILY_SPREAD < (of_day - season).std() < DAILY_SPREAD, "storms are misjudged"
    assert abs(np.corrcoef(of_day[1:] - season[1:], of_day[:-1] - season[:-1])[0, 1]) < 0.1


def test_errors_of_neighbours_are_alike_and_of_distant_pixels_not(errors: RainErrors):
    field = errors.field
    near, far = ((field * np.roll(field, n, axis=1)).mean() for n in (2, 100))
    assert near > 0.7
    assert far < 0.25
