"""Soil, groundwater and hillslopes, against conservation and an integrator of ODEs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from pipeline.sample.build import Rivers
from pipeline.sample.soil import GROUND_DEPTH, SLOPE_DEPTH, Soil, Stores, simulate
from pipeline.sample.stores import held_after

AMOUNTS = st.one_of(st.just(0.0), st.floats(1e-12, 1e8))


@given(water=AMOUNTS, rate=AMOUNTS, guess=AMOUNTS)
def test_an_implicit_step_is_solved_from_any_guess(water: float, rate: float, guess: float):
    held = held_after(water, rate, guess)
    assert 0 <= held <= water
    expected = brentq(lambda x: x + rate * x**1.5 - water, 0, water, xtol=1e-300, rtol=1e-14)
    assert held == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_no_water_is_made_or_lost_on_the_land(made: Rivers):
    rng = np.random.default_rng(0)
    days, pixels = 400, made.pixels.size
    wet = rng.random((4 * days, pixels)) < 0.2
    rain = (wet * rng.gamma(0.7, 12.0, wet.shape)).astype(np.float32)  # storms to over 80 mm
    demand = rng.uniform(0, 7, (days, pixels)).astype(np.float32)
    stores = Stores.before(made.soil)
    start = stores.total
    with ThreadPoolExecutor(2) as pool:
        outflow, evaporation = simulate(rain, demand, made.soil, stores, pool)
    assert (outflow >= 0).all()
    assert (stores.soil <= made.soil.capacity * (1 + 1e-12)).all()
    assert (evaporation <= demand.sum(axis=0, dtype=float) * (1 + 1e-6)).all()
    fell = rain.sum(axis=0, dtype=float)
    left = fell - evaporation - outflow.sum(axis=0) - (stores.total - start)
    assert np.abs(left).max() < 1e-12 * fell.max() * len(rain)


def drained(soil: float, ground: float, slope: float, days: int) -> tuple[np.ndarray, Soil]:
    """Outflow [mm] of the days after some water was in the stores of a pixel, without rain."""
    own = Soil(*(np.array([x]) for x in (200.0, 0.3, 0.0 if soil == 0 else 6.0, 30.0, 8.0)))
    stores = Stores(*(np.array([x]) for x in (soil, ground, slope)))
    none = np.zeros((4 * days, 1), np.float32)
    with ThreadPoolExecutor(1) as pool:
        outflow, _ = simulate(none, np.zeros((days, 1), np.float32), own, stores, pool)
    return outflow[:, 0].reshape(days, 4).sum(axis=1), own


@pytest.mark.parametrize(("ground", "slope"), [(60.0, 0.0), (0.0, 25.0)])
def test_ground_and_hillslope_drain_as_the_differential_equations_do(ground: float, slope: float):
    outflow, own = drained(0.0, ground, slope, 40)

    def loss(_: float, x: np.ndarray) -> np.ndarray:
        if ground:
            return -(x**2) / (own.residence * GROUND_DEPTH)
        return -(x**1.5) / (own.lingering * SLOPE_DEPTH**0.5)

    # Steps of 6 hours are short beside the days that the stores take.
    solved = solve_ivp(loss, (0, 40), [ground + slope], t_eval=np.arange(1, 41), rtol=1e-10)
    left = ground + slope - outflow.cumsum()
    np.testing.assert_allclose(left, solved.y[0], atol=0.02 * (ground + slope))


def test_percolation_reaches_the_ground_and_a_recession_slows_down():
    outflow, _ = drained(180.0, 0.0, 0.0, 300)
    peak = int(outflow.argmax())
    assert peak > 2, "the soil fills the ground first"
    rate = -np.diff(np.log(outflow[peak + 60 :]))
    assert (rate > 0).all()
    assert (np.diff(rate) < 0).all(), "a linear store would keep its rate"
