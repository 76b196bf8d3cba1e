"""Snow: mass, hand-made winters, and whether discharge tells that there was any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.snow import FREEZES, MELT_FACTORS, THAWS, melt_factor, melted

MELT = 4.0
DAYS = np.arange(np.datetime64("2011-10-01"), np.datetime64("2017-10-01"))


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_a_winter_by_hand():
    rain = column(10, 10, 10, 0, 0, 0)
    warmth = column(5, -5, 1, 1, -3, 8)  # at 1 degree half of it is snow
    water = melted(rain, warmth, MELT, 1.0, 0)
    lying = [0, 10, 10 + 5 - MELT, 15 - 2 * MELT, 15 - 2 * MELT, 0]
    expected = [10, 0, 5 + MELT, MELT, 0, lying[4]]
    np.testing.assert_allclose(water[:, 0], expected, rtol=1e-6)


@given(
    rain=arrays(np.float32, (40, 2), elements=st.floats(0, 50, width=32)),
    warmth=arrays(np.float32, (40, 2), elements=st.floats(-30, 30, width=32)),
    step_days=st.sampled_from([1.0, 1 / 24]),
)
def test_no_water_is_made(rain, warmth, step_days):
    water = melted(rain, warmth, MELT, step_days, 0)
    assert (water >= 0).all()
    lies = np.cumsum(rain, axis=0, dtype=float) - np.cumsum(water, axis=0, dtype=float)
    assert (lies >= -1e-3).all()
    most = MELT * step_days * np.maximum(warmth, 0)
    frozen = np.clip((THAWS - warmth) / (THAWS - FREEZES), 0, 1) * rain
    assert (water <= rain - frozen + most + 1e-3).all()


def test_what_lies_at_the_start_is_from_a_year_before():
    """A glacier that no summer melts goes on growing; its melt is there from the first step."""
    rain, warmth = np.full((400, 1), 5.0, np.float32), np.full((400, 1), -8.0, np.float32)
    warmth[0] = 3.0
    assert melted(rain, warmth, MELT, 1.0, 365)[0, 0] == pytest.approx(5 + 3 * MELT)
    assert melted(rain, warmth, MELT, 1.0, 0)[0, 0] == pytest.approx(5)


def response(water: np.ndarray) -> np.ndarray:
    """Discharge of a reservoir of four days."""
    flow = np.zeros_like(water)
    for t in range(1, len(water)):
        flow[t] = 0.78 * flow[t - 1] + 0.22 * water[t]
    return flow


@pytest.mark.parametrize("warmest", [8.0, 40.0])
@pytest.mark.parametrize("truth", [None, *MELT_FACTORS])
def test_discharge_tells_how_fast_snow_melts(truth: float | None, warmest: float):
    """And whether there is any: warm places have none, whatever their discharge."""
    rng = np.random.default_rng(2)
    rain = (rng.gamma(0.3, 12.0, DAYS.size) * (rng.random(DAYS.size) < 0.4)).astype(np.float32)
    season = -np.cos(2 * np.pi * (DAYS - DAYS[0]).astype(int) / 365.25 + 4.4)
    warmth = (warmest - 10 + 14 * season + 3 * rng.standard_normal(DAYS.size)).astype(np.float32)

    def water(factor: float) -> np.ndarray:
        return melted(rain[:, None], warmth[:, None], factor, 1.0, 365)[:, 0]

    flow = response((water(truth) if truth else rain).astype(float))
    flow[::50] = np.nan
    known = np.datetime64("2016-10-01") > DAYS
    flow[~known] = 1e3 * rain[~known]  # says nothing of what is known
    found = melt_factor(rain, water, flow, DAYS, known)
    assert found == (truth if warmest < 20 else None)
