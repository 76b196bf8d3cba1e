"""The interval about a score: against samples drawn one by one, and against many years."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from model.evaluation.bootstrap import BLOCK_DAYS, SAMPLES, interval, nse_samples
from model.evaluation.metrics import nse

DAY, HOUR = 86_400.0, 3_600.0
YEAR = 365


def river(years, seed):
    """Simulated and observed discharge of a made-up river, whose errors are those of its rain and a
    drift of its stores: skewed, heavy and long, as errors of discharge are."""
    rng = np.random.default_rng(seed)
    days = np.arange(years * YEAR)
    rain = (rng.random(days.size) < 0.3) * rng.gamma(0.6, 12, days.size)
    rain *= 1 + 0.6 * np.sin(2 * np.pi * days / YEAR)
    soil = lfilter([0.03], [1, -0.97], rain)
    wrong = lfilter([0.6], [1, -0.8], rng.normal(0, 0.175, days.size))

    def discharge(rain):
        return lfilter([0.5], [1, -0.5], rain * np.clip(soil / 6, 0, 1) ** 1.5) + 0.3 * soil

    return discharge(rain * rng.lognormal(0, 0.25, days.size)) * np.exp(wrong), discharge(rain)


@pytest.mark.parametrize(("step", "size"), [(DAY, 365), (DAY, 731), (HOUR, 9000)])
def test_samples_are_those_drawn_one_by_one(step, size):
    rng = np.random.default_rng(1)
    observed = rng.lognormal(3, 1, size)
    simulated = observed * rng.lognormal(0, 0.3, size)
    observed[[5, 40, 41]] = np.nan  # drops out, and the others close up
    seen = np.isfinite(observed)
    sim, obs = simulated[seen], observed[seen]
    block = round(BLOCK_DAYS * DAY / step)
    starts = np.random.default_rng(0).integers(obs.size, size=(SAMPLES, round(obs.size / block)))
    samples = nse_samples(simulated, observed, step)
    for start, sample in zip(starts[:50], samples, strict=False):
        taken = (start[:, None] + np.arange(block)).ravel() % obs.size
        assert sample == pytest.approx(nse(sim[taken], obs[taken]), rel=1e-9)


def test_independent_errors_are_held_nine_times_of_ten():
    held, truth = [], 1 - 0.3**2
    for seed in range(300):
        rng = np.random.default_rng(seed)
        observed = 10 + rng.normal(size=2 * YEAR)
        low, high = interval(nse_samples(observed + rng.normal(0, 0.3, 2 * YEAR), observed, DAY))
        held.append(low <= truth <= high)
    assert 0.85 < np.mean(held) < 0.93


def test_of_a_river_one_year_holds_the_score_of_many_in_eight_of_ten():
    """What the module's text says of heavy tails."""
    simulated, observed = (series.reshape(400, YEAR) for series in river(400, 7))
    truth = nse(simulated.ravel(), observed.ravel())
    held = [
        low <= truth <= high
        for low, high in (
            interval(nse_samples(s, o, DAY)) for s, o in zip(simulated, observed, strict=True)
        )
    ]
    assert np.mean(held) == pytest.approx(0.8, abs=0.03)


def test_differences_are_paired():
    simulated, observed = river(1, 3)
    other = simulated * 1.01
    one, two = (nse_samples(series, observed, DAY) for series in (simulated, other))
    width, *apart = (np.ptp(interval(samples)) for samples in (one - two, one, two))
    assert width < 0.2 * min(apart)


def test_a_perfect_simulation_has_one_score():
    _, observed = river(1, 4)
    assert interval(nse_samples(observed, observed, DAY)) == (1.0, 1.0)


def test_what_cannot_be_told_is_nan():
    simulated, observed = river(1, 5)
    assert np.isnan(interval(nse_samples(simulated[:179], observed[:179], DAY))).all()
    assert np.isfinite(interval(nse_samples(simulated[:180], observed[:180], DAY))).all()
    dry = np.full(YEAR, 0.3)
    assert np.isnan(interval(nse_samples(simulated, dry, DAY))).all()
    dry[100] = 5.0  # a flood in one month: a third of the samples are without it
    low, high = interval(nse_samples(dry * 0.9, dry, DAY))
    assert 0.97 < low <= high < 1
