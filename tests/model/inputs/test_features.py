"""Season, antecedent wetness and static attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.inputs.features import (
    antecedent_wetness,
    attributes_of,
    known_basin_mean,
    season_of,
)
from model.settings import Settings


def test_a_mean_over_known_cells_is_that_of_masked_arrays() -> None:
    rng = np.random.default_rng(0)
    field = rng.gamma(0.3, 10, (50, 7))
    field[rng.random(field.shape) < 0.4] = np.nan
    field[3], field[4] = np.nan, 2.0
    share = rng.random(7)
    found = known_basin_mean(field, share / share.sum())
    expected: Any = np.ma.average(np.ma.masked_invalid(field), axis=1, weights=share)
    np.testing.assert_allclose(found, expected.filled(np.nan))
    assert np.isnan(found[3])
    assert known_basin_mean(field.astype("f4"), share.astype("f4")).dtype == np.float32


def test_season_has_a_period_of_one_year() -> None:
    season = season_of(np.array([0.0, 365.25 / 4, 365.25]))
    np.testing.assert_allclose(season, [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], atol=1e-6)


def test_wetness_depends_on_no_later_rain() -> None:
    rng = np.random.default_rng(0)
    rain = rng.gamma(0.3, 10, (50, 2, 3))
    later = rain.copy()
    later[30:] *= 3
    mean = rain.mean(0)
    one, two = (antecedent_wetness(r, mean, (5.0, 40.0), 1.0) for r in (rain, later))
    np.testing.assert_array_equal(one[:30], two[:30])
    assert (one[30:] != two[30:]).any()


def test_wetness_is_the_weighted_mean_of_past_rain() -> None:
    """Against the sum written out, with the mean rain before the first step."""
    rain = np.random.default_rng(1).gamma(0.3, 10, (40, 1, 1))
    mean = np.array([[3.0]])
    found = antecedent_wetness(rain, mean, (5.0,), 24.0)[:, 0, 0, 0]
    decay = np.exp(-1 / (5 * 24))
    for t in (0, 7, 39):
        weights = (1 - decay) * decay ** np.arange(t + 1)
        expected = (weights * rain[t::-1, 0, 0]).sum() + decay ** (t + 1) * 3.0
        assert found[t] == pytest.approx(expected / 3.0 - 1, rel=1e-5)


def test_attributes_are_zero_for_a_typical_watershed() -> None:
    climate: dict[str, Any] = {"rain": 3.0, "dryness": 1.0, "settings": Settings()}
    typical = attributes_of(area=1e9, distance=5e4, slope=3e-3, **climate)
    np.testing.assert_allclose(typical, 0, atol=1e-6)
    unknown = attributes_of(
        area=1e10, distance=5e4, slope=None, rain=3.0, dryness=1.0, settings=Settings()
    )
    np.testing.assert_allclose(unknown, [1, 0, 0, 0, 0], atol=1e-6)
