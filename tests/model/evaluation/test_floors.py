"""The floors against hand-worked and independent computations; what they must not see."""

from __future__ import annotations

import csv
from datetime import date, datetime, timedelta

import numpy as np
import pytest
import rasterio

from model.evaluation.floors import PENALTIES, climatology, persistence, ridge, ridge_inputs
from model.evaluation.metrics import nse

M3_PER_FT3 = 0.3048**3


def days(first, n):
    return np.datetime64(first, "D") + np.arange(n)


def period(times, first, last):
    return (times >= np.datetime64(first)) & (times <= np.datetime64(last))


@pytest.fixture
def creek():
    """Five years of daily rain, discharge that follows it, a split: the arguments of `ridge`."""
    rng = np.random.default_rng(3)
    times = days("2015-10-01", 5 * 365)
    rain = np.where(rng.random(times.size) < 0.3, rng.gamma(0.8, 12.0, times.size), 0.0)
    response = 0.3 * 0.7 ** np.arange(25)
    discharge = np.convolve(rain, response)[: times.size] + 0.5 + rng.gamma(2, 0.2, times.size)
    return {
        "rain": rain,
        "discharge": discharge,
        "times": times,
        "train": period(times, "2015-10-01", "2018-09-30"),
        "validation": period(times, "2018-10-01", "2019-09-30"),
    }


def held_out(creek):
    """The steps of the test year."""
    return ~(creek["train"] | creek["validation"])


# ---- persistence


def test_persistence_by_hand():
    discharge = [3.0, np.nan, 5.0, 7.0]
    np.testing.assert_array_equal(persistence(discharge), [np.nan, 3.0, np.nan, 5.0])
    np.testing.assert_array_equal(persistence(discharge, lead=2), [np.nan, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(persistence(discharge, lead=9), [np.nan] * 4)


@pytest.mark.parametrize("lead", [0, -1])
def test_persistence_needs_a_past(lead, creek):
    with pytest.raises(ValueError, match=f"at least 1 step, got {lead}"):
        persistence([1.0, 2.0], lead=lead)
    with pytest.raises(ValueError, match=f"at least 1 step, got {lead}"):
        ridge(**creek, discharge_lead=lead)


# ---- climatology


def slow_climatology(discharge, times, train):
    """Date by date with the standard library, 29 February on its own day of the leap year 2000."""

    def of_2000(time):
        when = time.astype("datetime64[D]").item()
        return date(2000, when.month, when.day)

    expected = np.full(discharge.size, np.nan)
    dates = [of_2000(time) for time in times]
    for i, centre in enumerate(dates):
        near = {
            (d.month, d.day)
            for d in ((datetime(2000, 1, 1) + timedelta(
                days=((centre - date(2000, 1, 1)).days + shift) % 366)) for shift in range(-15, 16))
        }  # fmt: skip
        used = [
            discharge[j]
            for j in np.flatnonzero(train & np.isfinite(discharge))
            if (dates[j].month, dates[j].day) in near
        ]
        if used:
            expected[i] = np.mean(used)
    return expected


@pytest.mark.parametrize(("step", "first"), [("D", "2019-11-20"), ("h", "2020-02-10")])
def test_climatology_is_the_mean_of_the_dates_around(step, first):
    rng = np.random.default_rng(0)
    times = np.datetime64(first, step) + np.arange(500) * (1 if step == "D" else 5)
    discharge = rng.lognormal(size=times.size)
    discharge[rng.random(times.size) < 0.1] = np.nan
    train = np.arange(times.size) < 300
    got = climatology(discharge, times, train)
    np.testing.assert_allclose(got, slow_climatology(discharge, times, train), rtol=1e-12)


def test_climatology_knows_29_february_and_the_turn_of_the_year():
    times = days("2017-01-01", 4 * 365 + 1)  # 2017 to 2020
    calendar = (times - times.astype("datetime64[Y]")).astype(float)
    discharge = 10 + np.cos(2 * np.pi * calendar / 365)  # highest at New Year
    train = period(times, "2017-01-01", "2019-12-31")  # has no 29 February
    got = climatology(discharge, times, train)
    assert np.isfinite(got).all()
    leap_day = int(np.flatnonzero(times == np.datetime64("2020-02-29"))[0])
    assert min(got[leap_day - 1], got[leap_day + 1]) <= got[leap_day]
    assert got[leap_day] <= max(got[leap_day - 1], got[leap_day + 1])
    new_year = times == np.datetime64("2020-01-01")
    year_end = times == np.datetime64("2020-12-31")
    assert got[new_year] == pytest.approx(got[year_end], rel=1e-3)
    assert got.argmax() in np.flatnonzero(period(times, "2017-01-01", "2017-01-02"))


def test_climatology_says_nothing_where_training_has_no_date_near():
    times = days("2020-01-01", 366)
    got = climatology(np.ones(366), times, period(times, "2020-06-01", "2020-06-30"))
    defined = period(times, "2020-05-17", "2020-07-15")
    np.testing.assert_array_equal(np.isfinite(got), defined)


def test_climatology_never_looks_outside_training(creek):
    arguments = creek["discharge"], creek["times"], creek["train"]
    before = climatology(*arguments)
    creek["discharge"][~creek["train"]] = np.nan
    np.testing.assert_array_equal(climatology(*arguments), before)


# ---- ridge


def least_squares(inputs, flow, fit_on, penalty):
    """The same ridge as an ordinary least squares: sqrt(penalty) I as rows below the inputs."""
    mean, deviation = inputs[fit_on].mean(axis=0), inputs[fit_on].std(axis=0)
    scaled = (inputs - mean) / deviation
    rows = np.vstack([scaled[fit_on], np.sqrt(penalty) * np.eye(inputs.shape[1])])
    target = np.concatenate([flow[fit_on] - flow[fit_on].mean(), np.zeros(inputs.shape[1])])
    coefficients = np.linalg.lstsq(rows, target, rcond=None)[0]
    return np.maximum(flow[fit_on].mean() + scaled @ coefficients, 0.0)


@pytest.mark.parametrize("penalty", [0.1, 30.0, 1e4])
def test_ridge_agrees_with_augmented_least_squares(creek, penalty):
    creek["discharge"][100:120] = np.nan
    fit_on = creek["train"] & np.isfinite(creek["discharge"])
    inputs = ridge_inputs(creek["rain"], creek["times"], creek["train"])
    expected = least_squares(inputs, creek["discharge"], fit_on, penalty)
    np.testing.assert_allclose(ridge(**creek, penalties=[penalty]), expected, atol=1e-8)


def test_the_penalty_is_the_one_best_on_validation(creek):
    rng = np.random.default_rng(1)
    creek["discharge"] += rng.gamma(1, 3, creek["times"].size)  # noise, so that shrinking helps
    creek["train"][: 2 * 365 + 200] = False
    flow, held = creek["discharge"], creek["validation"]
    rungs = [ridge(**creek, penalties=[penalty]) for penalty in PENALTIES]
    order = [nse(simulated[held], flow[held]) for simulated in rungs]
    best = int(np.argmax(order))
    assert 0 < best < len(PENALTIES) - 1
    np.testing.assert_allclose(ridge(**creek), rungs[best], rtol=1e-12)


@pytest.mark.parametrize("lead", [None, 1, 3])
def test_ridge_never_sees_test_discharge_but_as_the_past(creek, lead):
    before = ridge(**creek, discharge_lead=lead)
    test = np.flatnonzero(held_out(creek))
    creek["discharge"][test] *= 7.0
    after = ridge(**creek, discharge_lead=lead)
    changed = np.flatnonzero((before != after) & np.isfinite(before))
    if lead is None:
        assert changed.size == 0
    else:
        assert changed.min() == test.min() + lead


def test_validation_discharge_picks_the_penalty_and_does_no_more(creek):
    before = ridge(**creek, penalties=[10.0])
    creek["discharge"][creek["validation"]] += 50.0
    np.testing.assert_array_equal(ridge(**creek, penalties=[10.0]), before)


def test_rain_acts_forward_only(creek):
    before = ridge(**creek, penalties=[10.0])
    last = creek["times"].size - 40
    creek["rain"][last] += 80.0
    changed = np.flatnonzero(ridge(**creek, penalties=[10.0]) != before)
    assert changed.min() == last


def test_ridge_recovers_a_linear_response(creek):
    noiseless = np.convolve(creek["rain"], 0.4 * 0.6 ** np.arange(20))[: creek["times"].size] + 2.0
    test = held_out(creek)
    for product_days in (0, 10):
        simulated = ridge(**creek | {"discharge": noiseless}, product_days=product_days)
        assert nse(simulated[test], noiseless[test]) > 0.999


def test_products_learn_that_wet_ground_answers_more(creek):
    rain = creek["rain"]
    wetness = np.convolve(rain, np.ones(30))[: rain.size]
    discharge = 1.0 + rain * wetness / 500
    test = held_out(creek)
    plain, full = (
        nse(ridge(**creek | {"discharge": discharge}, product_days=n)[test], discharge[test])
        for n in (0, 10)
    )
    assert full > 0.99 > plain + 0.05


def test_past_discharge_is_an_input_when_asked_for(creek):
    rng = np.random.default_rng(5)
    walk = 20 + np.cumsum(rng.normal(size=creek["times"].size)) * 0.3  # rain says nothing
    walk = np.maximum(walk, 0.1)
    test = held_out(creek)
    creek["discharge"] = walk
    simulated = ridge(**creek, discharge_lead=1)
    assert np.isnan(simulated[:3]).all()
    assert np.isfinite(simulated[3:]).all()
    assert nse(simulated[test], walk[test]) > max(nse(ridge(**creek)[test], walk[test]), 0.8)


def test_inputs_of_ten_wet_days():
    times = days("2021-01-01", 40)
    rain = np.zeros(40)
    rain[5], rain[12] = 10.0, 4.0
    train = np.ones(40, bool)
    mean = rain.mean()
    got = ridge_inputs(
        rain, times, train, lag_days=3, antecedent_days=(2, 5, 8), harmonics=1, product_days=2
    )
    assert got.shape == (40, 3 + 2 + 2 + 2 * 3)  # the sum over 2 days is in the lags already
    np.testing.assert_allclose(got[12, :5], [4.0, 0.0, 0.0, 4.0, 14.0], atol=1e-12)
    np.testing.assert_allclose(got[1, :5], [0, 0, mean, 3 * mean, 6 * mean], atol=1e-12)
    phase = 2 * np.pi * 12 / 365.2425
    wetness = 14.0 + 17 * mean
    np.testing.assert_allclose(got[12, 5:7], [np.sin(phase), np.cos(phase)])
    np.testing.assert_allclose(
        got[12, 7:], [4 * np.sin(phase), 4 * np.cos(phase), 4 * wetness, 0, 0, 0], atol=1e-12
    )


def test_hourly_sums_are_over_days():
    times = np.datetime64("2021-01-01", "h") + np.arange(24 * 20)
    rain = np.random.default_rng(0).gamma(0.1, 2, times.size)
    got = ridge_inputs(
        rain, times, np.ones(times.size, bool), lag_days=2 / 24, antecedent_days=(1, 3),
        product_days=0,
    )  # fmt: skip
    np.testing.assert_allclose(got[-1, 2:4], [rain[-24:].sum(), rain[-72:].sum()])


@pytest.mark.parametrize("hours", [1, 6, 24, 48])
def test_lags_reach_back_days_whatever_the_step(hours: int) -> None:
    """Rain of each step of 30 days is in one lag or one day's sum; earlier rain in none."""
    per_day = 24 / hours
    times = np.datetime64("2021-01-01", "h") + np.arange(int(60 * per_day)) * hours
    steps = round(30 * per_day)
    seen = []
    for lag in (*range(0, steps, 7), steps - 1, steps):
        rain = np.zeros(times.size)
        rain[-1 - lag] = 5.0
        got = ridge_inputs(rain, times, rain >= 0, antecedent_days=(), harmonics=0, product_days=0)
        seen.append(got[-1].sum())
    np.testing.assert_allclose(seen, [5.0] * (len(seen) - 1) + [0.0], atol=1e-9)


def test_discharge_is_never_negative(creek):
    creek["discharge"] = np.maximum(creek["discharge"] - 6.0, 0.0)
    assert ridge(**creek, penalties=[0.01]).min() == 0.0


def test_an_input_that_is_constant_in_training_is_left_out(creek):
    creek["rain"][creek["train"]] = 0.1  # drizzle without end, then weather
    simulated = ridge(**creek)
    assert np.isfinite(simulated).all()
    assert simulated.max() < 2 * creek["discharge"][creek["train"]].max()


def test_missing_rain_warns_and_counts_as_the_mean(creek):
    creek["rain"][1400:1403] = np.nan
    with pytest.warns(UserWarning, match="3 of 1825 steps have no rain"):
        got = ridge(**creek, penalties=[1.0])
    creek["rain"][1400:1403] = creek["rain"][creek["train"]].mean()
    np.testing.assert_array_equal(got, ridge(**creek, penalties=[1.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rain": np.zeros(5)}, "times: expected .5,. datetime64, got .1825,"),
        ({"discharge": np.full(1825, np.inf)}, "discharge: 1825 infinite values: expected finite"),
        ({"train": np.ones(1825)}, r"train: expected \(1825,\) bool, got \(1825,\) float64"),
        ({"train": np.ones(1825, bool)}, "365 steps are in both"),
        ({"train": np.zeros(1825, bool)}, "training rain, got 30 days and 0 steps"),
        ({"discharge": np.full(1825, np.nan)}, "got 0 and 0"),
        ({"validation": np.zeros(1825, bool)}, "got 1096 and 0"),
        ({"times": np.arange(1825)}, "datetime64, got .1825,. int64"),
        ({"penalties": []}, "expected penalties of 0 or more"),
        ({"penalties": [1.0, -2.0]}, "expected penalties of 0 or more"),
        ({"lag_days": 0.4}, "expected lag_days of at least a step"),
    ],
)
def test_what_ridge_refuses(creek, change, message):
    with pytest.raises(ValueError, match=message):
        ridge(**creek | change)


def test_uneven_steps_are_refused(creek):
    creek["times"][-1] += 3
    with pytest.raises(ValueError, match=r"even steps, got steps of .'1 days', '4 days'"):
        ridge(**creek)


# ---- a real creek


def test_floors_of_daddys_creek(domst_data):
    """The floors of docs/benchmarks.md, on water year 2021."""
    folder = domst_data / "daddys_creek"
    starts, depths = [], []
    for path in sorted((folder / "prism").glob("prism_*.tif")):
        with rasterio.open(path) as raster:
            depth = raster.read(2, masked=True)
        starts.append(np.datetime64(datetime.strptime(path.stem, "prism_%Y%m%d"), "D"))
        depths.append(float(depth.mean()))
    times, rain = np.array(starts), np.array(depths)
    with open(folder / "discharge_03539600.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    record = {datetime.strptime(row[2], "%m/%d/%Y").date(): float(row[3]) for row in rows}
    discharge = np.array([record[time.item()] for time in times]) * M3_PER_FT3

    train = period(times, "2016-01-01", "2019-09-30")
    validation = period(times, "2019-10-01", "2020-09-30")
    test = period(times, "2020-10-01", "2021-09-30")

    def score(simulated):
        return nse(simulated[test], discharge[test])

    inputs = rain, discharge, times, train, validation
    assert score(persistence(discharge)) == pytest.approx(0.219, abs=0.001)
    assert score(climatology(discharge, times, train)) == pytest.approx(-0.034, abs=0.001)
    assert score(ridge(*inputs, product_days=0)) == pytest.approx(0.681, abs=0.005)
    assert score(ridge(*inputs)) == pytest.approx(0.877, abs=0.005)
