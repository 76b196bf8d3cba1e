"""Scores where the test part has several periods, or dates that training never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.evaluation import metrics
from model.evaluation.score import score_with_floors

DAYS = np.arange(np.datetime64("2010-10-01"), np.datetime64("2014-10-01"))
YEAR = 365


def part(*periods: tuple[int, int]) -> np.ndarray:
    """Steps of some periods [days since the start]."""
    chosen = np.zeros(DAYS.size, bool)
    for first, stop in periods:
        chosen[first:stop] = True
    return chosen


def scores(
    simulated: np.ndarray, observed: np.ndarray, train: np.ndarray, test: np.ndarray
) -> dict[str, Any]:
    rain = np.random.default_rng(1).gamma(0.3, 12.0, DAYS.size)
    validation = part((2 * YEAR, 3 * YEAR)) & ~test
    return score_with_floors(
        simulated, observed, rain, DAYS, train, validation, test, sees_discharge=False
    )


@pytest.fixture(scope="module")
def observed() -> np.ndarray:
    flow = 5 + np.random.default_rng(2).random(DAYS.size)
    flow[1200], flow[1300] = 20.0, 90.0
    return flow


def test_only_test_steps_are_scored_and_no_peak_is_sought_in_another_period(
    observed: np.ndarray,
) -> None:
    """The flood is the last test step before a gap; the simulation's flood comes after the gap."""
    test = part((1150, 1301), (1400, 1450))
    simulated = observed.copy()
    simulated[1300], simulated[1301:1400], simulated[1401] = 30.0, 1e6, 90.0
    found = scores(simulated, observed, part((0, YEAR)), test)
    assert found["n_test"] == test.sum() == 201
    assert found["nse"] == metrics.nse(simulated[test], observed[test])
    assert found["peak_error"] == pytest.approx(100 * (30 - 90) / 90)
    assert found["peak_lag"] == 0, "of the peak whose surroundings are all in the test"
    assert found["nse_low"] < found["nse"] < found["nse_high"]


def test_climatology_has_a_score_only_if_it_knows_all_dates_of_the_test(
    observed: np.ndarray,
) -> None:
    test = part((3 * YEAR, 3 * YEAR + 90))
    for train, known in (((0, YEAR), True), ((0, 60), False), ((100, YEAR), False)):
        found = scores(observed, observed, part(train), test)
        assert np.isfinite(found["climatology_nse"]) == known
        assert np.isfinite(found["ridge_nse"])
        assert np.isnan(found["nse_low"]), "of less than 180 days"
