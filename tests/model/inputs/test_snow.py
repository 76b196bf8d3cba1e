"""Snow: conservation of water, winters computed by hand, and the choice of a melt model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.evaluation.floors import ridge
from model.inputs import snow as snow_module
from model.inputs.snow import Snow, choose_snow, snow_candidates
from model.settings import Settings

SETTINGS = Settings()
SNOWS = snow_candidates(SETTINGS)
MIN_COVER, FULL_COVER = SETTINGS.snow_min_cover, SETTINGS.snow_full_cover
FREEZING, THAWING = SETTINGS.snow_freezing, SETTINGS.snow_thawing

PLAIN = Snow(4.0, 0.0)
DAYS = np.arange(np.datetime64("2011-10-01"), np.datetime64("2017-10-01"))
TRAIN = np.arange(DAYS.size) < 1827


def melt_snow(
    rain: np.ndarray,
    warmth: np.ndarray,
    snow: Snow,
    step_days: float,
    spinup: int,
    train: np.ndarray,
) -> np.ndarray:
    return snow_module.melt_snow(rain, warmth, snow, step_days, spinup, train, SETTINGS)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_a_winter_by_hand():
    """With so much snow in a mean year that these days hardly cover the ground."""
    rain = column(10, 10, 10, 0, 0, 0)
    warmth = column(5, -5, 1, 1, -3, 8)  # at 1 degree half of it is snow
    water = melt_snow(rain, warmth, PLAIN, 1.0, 0, np.ones(6, bool))
    covers = FULL_COVER * 365.2425 * 15 / 6
    lying, expected = 0.0, []
    for falls, snows, most in (
        (10, 0, 20),
        (0, 10, 0),
        (5, 5, 4),
        (0, 0, 4),
        (0, 0, 0),
        (0, 0, 32),
    ):
        lying += snows
        gone = (MIN_COVER + (1 - MIN_COVER) * lying / covers) * min(lying, most)
        lying -= gone
        expected.append(falls + gone)
    np.testing.assert_allclose(water[:, 0], expected, rtol=1e-6)


def test_covered_ground_melts_in_proportion_to_warmth_and_cold_snow_later():
    """After a winter with more snow than covers a cell; cold snow first has to warm up."""
    rain, warmth = np.full((211, 1), 5.0, np.float32), np.full((211, 1), -10.0, np.float32)
    rain[200:], warmth[200:] = 0.0, 4.0
    winter = np.arange(211) < 200
    none, memory = (
        melt_snow(rain, warmth, Snow(5.0, m), 1.0, 0, winter)[200:, 0] for m in (0.0, 0.7)
    )
    covered = MIN_COVER + (1 - MIN_COVER) * 1000 / (FULL_COVER * 365.2425 * 5)
    assert none[0] == pytest.approx(20 * covered, rel=1e-5)
    cold = -10.0
    waits = 0
    while (cold := 0.7 * cold + 0.3 * 4.0) < 0:
        waits += 1
    assert waits > 2
    assert not memory[:waits].any()
    np.testing.assert_allclose(memory[waits:], none[: 11 - waits], rtol=1e-5)


@given(
    rain=arrays(np.float32, (40, 2), elements=st.floats(0, 50, width=32)),
    warmth=arrays(np.float32, (40, 2), elements=st.floats(-30, 30, width=32)),
    step_days=st.sampled_from([1.0, 1 / 24]),
    snow=st.sampled_from(SNOWS),
)
def test_water_is_conserved(rain, warmth, step_days, snow):
    water = melt_snow(rain, warmth, snow, step_days, 0, np.arange(40) < 30)
    assert (water >= 0).all()
    lies = np.cumsum(rain, axis=0, dtype=float) - np.cumsum(water, axis=0, dtype=float)
    assert (lies >= -1e-3).all()
    most = snow.melt_factor * step_days * np.maximum(warmth, 0)
    frozen = np.clip((THAWING - warmth) / (THAWING - FREEZING), 0, 1) * rain
    assert (water <= rain - frozen + most + 1e-3).all()


def test_the_spinup_leaves_snow_for_the_start():
    """The snow of the spin-up is there to melt in the first step."""
    rain, warmth = np.full((400, 1), 5.0, np.float32), np.full((400, 1), -8.0, np.float32)
    warmth[0] = 3.0
    old, new = (
        melt_snow(rain, warmth, PLAIN, 1.0, year, np.ones(400, bool))[0, 0] for year in (365, 0)
    )
    assert old == pytest.approx(5 + 12)
    assert new == pytest.approx(5)


def test_a_longer_record_does_not_change_earlier_melt():
    rng = np.random.default_rng(4)
    rain, warmth = rng.gamma(0.3, 12.0, (900, 3)), rng.normal(0, 6, (900, 3))
    whole, part = (
        melt_snow(rain[:n], warmth[:n], SNOWS[7], 1.0, 365, np.arange(n) < 500) for n in (900, 600)
    )
    np.testing.assert_array_equal(whole[:600], part)


def response(water: np.ndarray) -> np.ndarray:
    """Discharge of a reservoir of four days."""
    flow = np.zeros_like(water)
    for t in range(1, len(water)):
        flow[t] = 0.78 * flow[t - 1] + 0.22 * water[t]
    return flow


@pytest.mark.parametrize("warmest", [8.0, 40.0])
@pytest.mark.parametrize("truth", [None, *SNOWS[::5]])
def test_the_melt_model_behind_a_discharge_is_found(truth: Snow | None, warmest: float):
    """Also with gaps and four steps a day; warm places have no snow whatever their discharge."""
    rng = np.random.default_rng(2)
    rain = (rng.gamma(0.3, 12.0, DAYS.size) * (rng.random(DAYS.size) < 0.4)).astype(np.float32)
    season = -np.cos(2 * np.pi * (DAYS - DAYS[0]).astype(int) / 365.25 + 4.4)
    warmth = (warmest - 10 + 14 * season + 3 * rng.standard_normal(DAYS.size)).astype(np.float32)

    def water(snow: Snow) -> np.ndarray:
        return melt_snow(rain[:, None], warmth[:, None], snow, 1.0, 365, TRAIN)[:, 0]

    flow = response((water(truth) if truth else rain).astype(float))
    flow[::50] = np.nan
    known = np.datetime64("2016-10-01") > DAYS
    flow[~known] = 1e3 * rain[~known]  # says nothing of what is known
    found = choose_snow(rain, water, flow, DAYS, known, SETTINGS)
    assert found == (truth if warmest < 20 else None)

    steps = 4  # of a day, of some of which discharge is not known
    times = DAYS[0] + np.arange(steps * DAYS.size) * np.timedelta64(24 // steps, "h")

    def within(series: np.ndarray) -> np.ndarray:
        return np.repeat(series, steps)

    gaps = within(flow)
    gaps[::7] = np.nan
    shorter = choose_snow(
        within(rain) / steps,
        lambda snow: within(water(snow)) / steps,
        gaps,
        times,
        within(known),
        SETTINGS,
    )
    assert shorter == found


def test_phase_of_precipitation() -> None:
    """Snow up to -1 degree, rain from 3 on, in proportion between; no melt in the same step."""
    warmth = column(-9.0, -1.0, -0.5, 0.0, 2.0, 2.5, 3.0, 9.0)
    settings = SETTINGS.model_copy(update={"snow_min_cover": 0.0})
    alone = [
        snow_module.melt_snow(
            np.full((1, 1), 8.0, np.float32),
            warmth[t : t + 1],
            Snow(1e-9, 0.0),
            1.0,
            0,
            np.ones(1, bool),
            settings,
        ).item()
        for t in range(len(warmth))
    ]
    np.testing.assert_allclose(alone, [0, 0, 1, 2, 6, 7, 8, 8], atol=1e-6)


def test_cover_is_that_of_cemaneige() -> None:
    """Valery et al. (2014): full cover at 0.9 of a mean year's snow, melt at least 0.1."""
    assert (SETTINGS.snow_full_cover, SETTINGS.snow_min_cover) == (0.9, 0.1)


def snowy() -> tuple[np.ndarray, Callable[[Snow], np.ndarray], np.ndarray, np.ndarray]:
    """Rain, water by melt model, discharge, and the days that are known."""
    rng = np.random.default_rng(5)
    rain = (rng.gamma(0.3, 12.0, DAYS.size) * (rng.random(DAYS.size) < 0.4)).astype(np.float32)
    season = -np.cos(2 * np.pi * (DAYS - DAYS[0]).astype(int) / 365.25 + 4.4)
    warmth = (6 + 14 * season + 3 * rng.standard_normal(DAYS.size)).astype(np.float32)

    def water(snow: Snow) -> np.ndarray:
        return melt_snow(rain[:, None], warmth[:, None], snow, 1.0, 365, TRAIN)[:, 0]

    return rain, water, response(water(SNOWS[5]).astype(float)), np.datetime64("2016-10-01") > DAYS


def explained(series: np.ndarray, flow: np.ndarray, known: np.ndarray) -> float:
    """NSE of the ridge on four folds of the known days, each left out in turn."""
    days = np.flatnonzero(known)
    simulated = np.full(flow.size, np.nan)
    for fold in np.array_split(days, 4):
        out = np.isin(np.arange(flow.size), fold)
        simulated[out] = ridge(series, flow, DAYS, known & ~out, out)[out]
    errors = simulated[days] - flow[days]
    return float(1 - np.square(errors).sum() / np.square(flow[days] - flow[days].mean()).sum())


def test_snow_counts_from_a_gain_in_skill_on() -> None:
    """The gain of the baseline over the precipitation, 0.02 by default."""
    rain, water, flow, known = snowy()
    gain = explained(water(PLAIN), flow, known) - explained(rain, flow, known)
    assert SETTINGS.snow_baseline == PLAIN
    assert gain > SETTINGS.snow_min_gain == 0.02
    for least, chosen in ((gain - 1e-6, True), (gain + 1e-6, False)):
        settings = SETTINGS.model_copy(
            update={"snow_min_gain": least, "snow_melt_factors": (4.0,), "snow_memories": (0.0,)}
        )
        assert (choose_snow(rain, water, flow, DAYS, known, settings) == PLAIN) is chosen


def test_snow_counts_from_a_share_of_the_precipitation_on() -> None:
    """What the baseline moves in time, of the known days alone, 0.01 by default."""
    rain, water, flow, known = snowy()
    later = np.where(known, rain, 1e6)
    moved = np.abs(water(PLAIN) - rain)[known].sum() / rain[known].sum()
    assert moved > SETTINGS.snow_min_share == 0.01
    for least, chosen in ((moved * 0.9999, True), (moved * 1.0001, False)):
        settings = SETTINGS.model_copy(
            update={"snow_min_share": least, "snow_melt_factors": (4.0,), "snow_memories": (0.0,)}
        )
        found = choose_snow(later, water, flow, DAYS, known, settings)
        assert (found is not None) is chosen
