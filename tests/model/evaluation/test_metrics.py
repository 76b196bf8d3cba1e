"""Metrics against the hydroeval package, examples worked by hand, and their properties."""

from __future__ import annotations

import hydroeval
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.evaluation.metrics import (
    default_peak_window,
    evaluate,
    fhv,
    kge,
    nse,
    paired,
    pbias,
    peak_error,
    peak_lag,
    rmse,
)

DISCHARGE = st.floats(0.0, 1e4, allow_subnormal=False)
KEYS = [
    "nse",
    "kge",
    "kge_r",
    "kge_alpha",
    "kge_beta",
    "pbias",
    "fhv",
    "peak_error",
    "peak_lag",
    "rmse",
    "n",
]
PEAKS = ("peak_error", "peak_lag")


@st.composite
def two_series(draw):
    """Simulated and observed (T,), both of a spread that float64 can square and divide by."""
    size = draw(st.integers(3, 60))
    simulated, observed = (draw(hnp.arrays(np.float64, size, elements=DISCHARGE)) for _ in range(2))
    assume(np.ptp(observed) > 1e-3 and np.ptp(simulated) > 1e-3)
    return simulated, observed


def lumped(n=400, seed=0):
    """A year of lognormal discharge with recessions, and a disturbed copy as its simulation."""
    rng = np.random.default_rng(seed)
    observed = np.convolve(rng.lognormal(0, 1.5, n), 0.8 ** np.arange(30))[:n]
    return observed * rng.lognormal(0.1, 0.3, n) + 0.2, observed


# ---- an independent implementation


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gaps", [0, 37])
def test_agrees_with_hydroeval(seed, gaps):
    simulated, observed = lumped(seed=seed)
    observed[np.random.default_rng(seed).choice(observed.size, gaps, replace=False)] = np.nan
    got = evaluate(simulated, observed)

    seen = np.isfinite(observed)
    series = simulated[seen], observed[seen]
    kge_parts = hydroeval.evaluator(hydroeval.kge, *series).ravel()
    expected = {
        "nse": hydroeval.evaluator(hydroeval.nse, *series)[0],
        **dict(zip(("kge", "kge_r", "kge_alpha", "kge_beta"), kge_parts, strict=True)),
        "pbias": -hydroeval.evaluator(hydroeval.pbias, *series)[0],  # there too much is negative
        "rmse": hydroeval.evaluator(hydroeval.rmse, *series)[0],
    }
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-10), name
    assert got["n"] == observed.size - gaps
    assert list(got) == KEYS


# ---- examples worked by hand


def test_nse_kge_pbias_and_rmse_by_hand():
    observed, simulated = [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 3.0, 5.0]
    assert nse(simulated, observed) == pytest.approx(1 - 2 / 5)  # errors 1 0 0 1, spread 5
    assert pbias(simulated, observed) == pytest.approx(20.0)  # 12 against 10: too much, positive
    assert rmse(simulated, observed) == pytest.approx(np.sqrt(0.5))
    parts = kge(simulated, observed)
    assert parts.beta == pytest.approx(1.2)
    assert parts.alpha == pytest.approx(np.sqrt(6 / 5))  # both spreads are sums over 4
    assert parts.r == pytest.approx(5 / np.sqrt(6 * 5))
    assert parts.kge == pytest.approx(
        1 - np.sqrt((parts.r - 1) ** 2 + (parts.alpha - 1) ** 2 + 0.2**2)
    )


def test_fhv_by_hand():
    observed = np.arange(1.0, 101.0)  # its top 2 %: 100 and 99
    simulated = np.full(100, 10.0)
    simulated[3], simulated[50] = 120.0, 99.0  # elsewhere in time: the curve does not mind
    assert fhv(simulated, observed) == pytest.approx(100 * (120 + 99 - 199) / 199)


@pytest.mark.parametrize(("n", "high"), [(25, 0), (26, 1), (74, 1), (76, 2), (365, 7)])
def test_fhv_takes_the_rounded_share(n, high):
    observed = np.ones(n)
    simulated = np.ones(n)
    simulated[:1] = 2.0  # one excess of 1 over `high` ones
    expected = 100 / high if high else np.nan
    assert fhv(simulated, observed) == pytest.approx(expected, nan_ok=True)


def peaks(n, at, height=10.0):
    """A flat river with a triangular flood, five steps wide, at each of the steps."""
    series = np.ones(n)
    for step, size in zip(at, np.broadcast_to(height, len(at)), strict=True):
        series[step - 2 : step + 3] += size * np.array([0.3, 0.6, 1.0, 0.6, 0.3])
    return series


def test_peak_error_is_that_of_the_highest_flood():
    observed = peaks(400, [50, 300])
    observed[300] *= 2
    simulated = observed.copy()
    simulated[300], simulated[302] = 0.0, 0.75 * observed[300]  # too low, and two steps late
    simulated[50] *= 5  # another flood
    assert peak_error(observed, observed) == 0.0
    assert peak_error(simulated, observed) == pytest.approx(-25)
    assert peak_error(simulated, observed, window=1) < -25
    simulated[300] = 1.5 * observed[300]
    assert peak_error(simulated, observed) == pytest.approx(50)


def test_peak_error_sees_gaps_and_dry_rivers():
    observed = np.array([1.0, np.nan, np.nan, np.nan, 4.0, 1.0])
    assert peak_error([8.0, 9.0, 9.0, 9.0, 2.0, 1.0], observed) == -50  # 8 is four steps before
    assert np.isnan(peak_error(np.ones(5), np.zeros(5)))
    assert np.isnan(peak_error([1.0], [np.nan]))


def test_peak_lag_is_the_mean_absolute_lag():
    observed = peaks(500, [50, 200, 350])
    assert peak_lag(observed, observed) == 0.0
    simulated = peaks(500, [51, 197, 350])  # one late, three early, one right
    assert peak_lag(simulated, observed) == pytest.approx((1 + 3 + 0) / 3)


def test_a_local_maximum_in_the_same_step_is_in_time():
    simulated = peaks(200, [100], 5.0)
    simulated[102:104] = 30.0  # higher, and inside the window, but the flood at 100 is there
    assert peak_lag(simulated, peaks(200, [100])) == 0.0


def test_any_step_of_a_flat_top_is_in_time():
    flat = peaks(200, [100])
    flat[100:104] = flat[100]
    assert peak_lag(flat, flat) == 0.0
    for step, lag in [(98, 2), (99, 1), (100, 0), (102, 0), (103, 0), (104, 1)]:
        assert peak_lag(peaks(200, [step]), flat) == lag
    assert peak_lag(flat, peaks(200, [102])) == 0.0  # a flat top of the simulation alike


def test_a_simulation_without_a_peak_is_never_in_time():
    assert peak_lag(np.ones(200), peaks(200, [100])) == 3.0


def test_the_search_ends_at_the_window():
    observed, simulated = peaks(300, [150]), peaks(300, [157])
    assert peak_lag(simulated, observed) == 3.0  # the rising limb at the window's edge
    assert peak_lag(simulated, observed, window=10) == 7.0


def test_of_peaks_near_each_other_only_the_highest_counts():
    observed = peaks(400, [100, 150, 300], [10.0, 20.0, 10.0])
    simulated = peaks(400, [103, 150, 301], [10.0, 20.0, 10.0])
    assert peak_lag(simulated, observed) == pytest.approx((0 + 1) / 2)


def test_small_peaks_and_peaks_beside_a_gap_or_an_end_do_not_count():
    observed = peaks(600, [2, 150, 300, 450], [10.0, 0.3, 10.0, 10.0])
    simulated = peaks(600, [4, 153, 302, 451], [10.0, 0.3, 10.0, 10.0])
    assert peak_lag(simulated, observed) == pytest.approx((2 + 1) / 2)
    observed[303] = np.nan  # inside the window of the peak at 300
    assert peak_lag(simulated, observed) == 1.0
    observed[447] = np.nan  # the only flood left
    assert np.isnan(peak_lag(simulated, observed))


@pytest.mark.parametrize(
    ("step", "window"),
    [((1, "D"), 3), ((1, "h"), 12), ((3, "h"), 4), ((6, "h"), 3), ((30, "m"), 24)],
)
def test_default_peak_window(step, window):
    assert default_peak_window(np.timedelta64(*step)) == window


# ---- properties


@given(two_series())
def test_a_perfect_simulation(series):
    observed = series[1]
    got = evaluate(observed, observed)
    assert got["nse"] == 1.0
    assert got["kge"] == pytest.approx(1.0)
    assert got["pbias"] == got["rmse"] == 0.0
    assert np.isnan(got["fhv"]) or got["fhv"] == 0.0
    assert np.isnan(got["peak_lag"]) or got["peak_lag"] == 0.0


@given(two_series())
def test_the_mean_as_simulation_has_nse_0_and_no_correlation(series):
    observed = series[1]
    simulated = np.full_like(observed, observed.mean())
    assert nse(simulated, observed) == pytest.approx(0.0, abs=1e-9)
    parts = kge(simulated, observed)
    assert np.isnan(parts.r)
    assert np.isnan(parts.kge)
    assert parts.alpha == 0.0


@given(two_series(), st.floats(1e-2, 1e2))
def test_units_do_not_matter_but_to_rmse(series, factor):
    simulated, observed = series
    before, after = evaluate(simulated, observed), evaluate(simulated * factor, observed * factor)
    before["rmse"] *= factor
    for name in PEAKS:  # ties may turn with a rounding
        del before[name], after[name]
    assert after == pytest.approx(before, rel=1e-6, abs=1e-6, nan_ok=True)


@given(two_series(), st.floats(0.0, 1e3))
def test_a_common_shift_leaves_nse_r_alpha_and_rmse(series, shift):
    simulated, observed = series
    before, after = evaluate(simulated, observed), evaluate(simulated + shift, observed + shift)
    for name in ("nse", "kge_r", "kge_alpha", "rmse"):
        assert after[name] == pytest.approx(before[name], rel=1e-4, abs=1e-4), name


@given(two_series(), st.randoms(use_true_random=False))
def test_order_matters_to_peaks_only(series, random):
    simulated, observed = series
    order = random.sample(range(observed.size), observed.size)
    before, after = evaluate(simulated, observed), evaluate(simulated[order], observed[order])
    for name in PEAKS:
        del before[name], after[name]
    assert after == pytest.approx(before, rel=1e-6, abs=1e-6, nan_ok=True)


def test_observations_that_are_hardly_more_than_zero_have_no_percentages():
    """2e-308 m3 s-1, the smallest normal number, once made the suite fail by its warning."""
    tiny = np.full(60, np.finfo(float).tiny)
    tiny[::2] *= 2
    scores = evaluate(np.ones(60), tiny)
    assert all(np.isnan(scores[name]) for name in ("nse", "pbias", "fhv", "peak_error", "kge"))


@given(two_series(), st.data())
def test_a_step_without_observation_does_not_count(series, data):
    simulated, observed = series
    gone = data.draw(hnp.arrays(np.bool_, observed.size))
    with_gaps = np.where(gone, np.nan, observed)
    got = evaluate(np.where(gone, np.nan, simulated), with_gaps)  # nor what was simulated there
    expected = evaluate(simulated[~gone], observed[~gone])
    for name in PEAKS:  # see the gap, tested above
        del got[name], expected[name]
    assert got == pytest.approx(expected, nan_ok=True)
    assert got["n"] == (~gone).sum()


@given(two_series(), st.sampled_from(["any", "constant", "zero", "missing"]))
def test_nothing_is_ever_infinite(series, kind):
    simulated, observed = series
    observed = {
        "any": observed,
        "constant": np.full_like(observed, 0.1),
        "zero": np.zeros_like(observed),
        "missing": np.full_like(observed, np.nan),
    }[kind]
    for length in (0, 1, 2, observed.size):
        got = evaluate(simulated[:length], observed[:length])
        assert not any(np.isinf(value) for value in got.values())
        if kind != "any" or length < 2:
            assert np.isnan(got["nse"])
            assert np.isnan(got["kge"])
            assert np.isnan(got["peak_lag"])


# ---- errors


def test_a_missing_simulation_is_an_error_unless_dropped():
    simulated, observed = lumped()
    simulated[[5, 6, 7]] = np.nan
    observed[7] = np.nan
    for score in (nse, kge, pbias, fhv, rmse, peak_lag, evaluate):
        with pytest.raises(ValueError, match="missing at 2 of 399 observed steps"):
            score(simulated, observed)
    got = evaluate(simulated, observed, drop_missing_simulation=True)
    assert got["n"] == 397
    assert got["nse"] == nse(*paired(simulated, observed, drop_missing_simulation=True))


@pytest.mark.parametrize(
    ("simulated", "observed", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"simulated \(2,\) and observed \(3,\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "1-D"),
        ([1.0, np.inf], [1.0, 2.0], "1 of 2 values of simulated are infinite"),
        ([1.0, 2.0], [-np.inf, np.inf], "2 of 2 values of observed are infinite"),
    ],
)
def test_what_is_refused(simulated, observed, message):
    with pytest.raises(ValueError, match=message):
        evaluate(simulated, observed)


def test_windows_and_steps_must_be_positive():
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        peak_lag([1.0], [1.0], window=0)
    with pytest.raises(ValueError, match="positive length"):
        default_peak_window(np.timedelta64(0, "h"))
