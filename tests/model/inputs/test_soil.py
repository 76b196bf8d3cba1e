"""The soil stores against GR4J written out, and against their own water balance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.inputs.soil import evaporation_demand, soil_stores
from model.settings import Settings

SETTINGS = Settings()


def production_store(rain: float, demand: float, level: float, full: float) -> tuple[float, float]:
    """One day of GR4J's production store, Perrin et al. (2003), eq. 1 to 8: excess and new level,
    in mm."""
    rejected = 0.0
    if rain >= demand:
        net = rain - demand
        share = level / full
        taken = full * (1 - share**2) * math.tanh(net / full) / (1 + share * math.tanh(net / full))
        level += taken
        rejected = net - taken
    else:
        pull, share = math.tanh((demand - rain) / full), level / full
        level -= level * (2 - share) * pull / (1 + (1 - share) * pull)
    percolated = level * (1 - (1 + (4 / 9 * level / full) ** 4) ** -0.25)
    return rejected + percolated, level - percolated


def test_a_day_follows_gr4j() -> None:
    rng = np.random.default_rng(0)
    rain, demand = rng.gamma(0.3, 12, (400, 2)), rng.uniform(0, 6, (400, 2))
    excess, filling = soil_stores(rain, demand, 1.0, 0, SETTINGS)
    for k, full in enumerate(SETTINGS.soil_capacities):
        level = full / 2
        for t in range(400):
            assert filling[t, k, 1] == pytest.approx(level / full, rel=1e-5)
            expected, level = production_store(rain[t, 1], demand[t, 1], level, full)
            assert excess[t, k, 1] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_water_is_conserved() -> None:
    """Without evaporation, rain becomes excess or is stored."""
    rain = np.random.default_rng(1).gamma(0.3, 12, (300, 3))
    excess, filling = soil_stores(rain, np.zeros_like(rain), 1.0, 0, SETTINGS)
    for k, full in enumerate(SETTINGS.soil_capacities):
        held = filling[-1, k] * full - 0.5 * full
        np.testing.assert_allclose(excess[:-1, k].sum(0) + held, rain[:-1].sum(0), rtol=1e-4)


def test_hours_add_up_to_their_day() -> None:
    """The exchange is integrated exactly: even rain gives the same excess at any step."""
    rain = np.full((20, 1), 24.0)
    daily, _ = soil_stores(rain, np.zeros_like(rain), 1.0, 0, SETTINGS)
    hourly, _ = soil_stores(rain.repeat(24, 0) / 24, np.zeros((480, 1)), 1 / 24, 0, SETTINGS)
    np.testing.assert_allclose(hourly.reshape(20, 24, -1).sum(1), daily[..., 0], rtol=0.03)


def test_the_spinup_runs_before_the_record() -> None:
    rng = np.random.default_rng(2)
    rain, demand = rng.gamma(0.3, 12, (730, 1)), np.full((730, 1), 2.0)
    _, filling = soil_stores(rain, demand, 1.0, 365, SETTINGS)
    _, twice = soil_stores(
        np.concatenate([rain[:365], rain]), np.full((1095, 1), 2.0), 1.0, 0, SETTINGS
    )
    np.testing.assert_array_equal(filling, twice[365:])


def test_demand_comes_from_the_store_or_temperature_or_water_balance() -> None:
    rng = np.random.default_rng(3)
    days, latitude = np.arange(1, 366), np.full(2, 42.0)
    rest = np.ones(365, bool), SETTINGS
    rain = rng.gamma(0.3, 9, (365, 2))
    own = rng.uniform(-0.1, 5, (365, 2))
    fields = {"precipitation": rain, "temperature": np.full((365, 2), 15.0)}
    given = evaporation_demand(
        {**fields, "potential_evaporation": own},
        latitude,
        days,
        1.0,
        0.7,
        np.ones(365, bool),
        SETTINGS,
    )
    np.testing.assert_allclose(given, np.maximum(own, 0), rtol=1e-6)
    warm = evaporation_demand(fields, latitude, days, 1.0, 0.7, *rest)
    # FAO 56, example 8 and table 2.6: 41.8 MJ m-2 day-1 at 42 N in mid-June, 2.45 MJ a mm
    assert warm[165, 0] == pytest.approx(41.8 / 2.45 * 20 / 100, rel=0.01)
    np.testing.assert_allclose(
        evaporation_demand(fields, latitude, days, 1 / 24, 0.7, *rest),
        warm / 24,
        rtol=1e-5,
    )
    sunny = evaporation_demand(
        {"precipitation": rain}, latitude, days, 1.0, 0.7, np.ones(365, bool), SETTINGS
    )
    mean = sunny.mean()
    assert 1 / math.sqrt(1 + (rain.mean() / mean) ** 2) == pytest.approx(0.7, rel=1e-4)
    assert sunny[170].mean() > 2 * sunny[-10].mean()
