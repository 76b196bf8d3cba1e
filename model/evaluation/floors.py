"""Floors: simple references without a network, to compare every score with.

All functions take arrays over the T evenly spaced steps of one watershed:

    rain                 (T,) basin mean [mm per step]
    discharge            (T,) [m3 s-1], NaN where missing
    times                (T,) datetime64, starts of the steps
    train, validation    (T,) bool

They return the simulated discharge on all steps, (T,) [m3 s-1], NaN where the method has no value.
They learn from training steps, and choose on validation steps, alone. Only persistence and
`discharge_lead` use other discharge: that of earlier steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.datetime64]

CLIMATOLOGY_HALF_WINDOW = 15  # days before and after a day of the year
DAYS_IN_LEAP_YEAR = 366
DAYS_IN_YEAR = 365.2425  # Gregorian mean
LEAP_YEAR = 2000  # any leap year: its calendar numbers all dates, 29 February too, 0 to 365

LAG_DAYS = 30  # rain of these days has coefficients of its own
SINGLE_LAGS = 30  # steps with a coefficient each; of shorter steps the rest is summed by days
ANTECEDENT_DAYS = (2, 3, 5, 7, 10, 14, 21, 30, 60, 90, 180, 365)  # lengths of running sums
HARMONICS = 2  # sine and cosine waves per year
PRODUCT_DAYS = 10  # rain as recent as this is also multiplied by season and wetness
WETNESS_DAYS = 30  # length of the running sum of rain that stands for wetness
PAST_DISCHARGES = 3  # steps of past discharge used, from `discharge_lead` backwards
CONSTANT = 1e-10  # an input with less deviation, relative to its largest value, is constant
PENALTIES = tuple(float(p) for p in 10.0 ** np.arange(-2.0, 5.01, 0.5))


def persistence(discharge: npt.ArrayLike, lead: int = 1) -> Array:
    """Repeat the discharge observed `lead` steps before.

    NaN in the first `lead` steps and where that observation is missing.

    Raises:
        ValueError: a lead below 1 step.
    """
    flow = _series("discharge", discharge)
    _check_lead(lead)
    return _lagged(flow, lead)


def climatology(discharge: npt.ArrayLike, times: Times, train: npt.ArrayLike) -> Array:
    """Average the training discharge of all years within 15 days of the step's date.

    Dates lie on a circle of 366 days; hours are ignored. NaN where no training observation lies in
    the window.

    Raises:
        ValueError: lengths that differ.
    """
    flow = _series("discharge", discharge)
    day = _day_of_leap_year(_starts(times, flow.size))
    used = _mask("train", train, flow.size) & np.isfinite(flow)
    count = np.bincount(day[used], minlength=DAYS_IN_LEAP_YEAR).astype(np.float64)
    total = np.bincount(day[used], weights=flow[used], minlength=DAYS_IN_LEAP_YEAR)
    reach = range(-CLIMATOLOGY_HALF_WINDOW, CLIMATOLOGY_HALF_WINDOW + 1)
    count = np.sum([np.roll(count, shift) for shift in reach], axis=0)
    total = np.sum([np.roll(total, shift) for shift in reach], axis=0)
    mean: Array = np.full(DAYS_IN_LEAP_YEAR, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return np.asarray(mean[day])


def ridge(
    rain: npt.ArrayLike,
    discharge: npt.ArrayLike,
    times: Times,
    train: npt.ArrayLike,
    validation: npt.ArrayLike,
    *,
    lag_days: float = LAG_DAYS,
    antecedent_days: Sequence[int] = ANTECEDENT_DAYS,
    harmonics: int = HARMONICS,
    product_days: int = PRODUCT_DAYS,
    penalties: Sequence[float] = PENALTIES,
    discharge_lead: int | None = None,
) -> Array:
    """Regress discharge on lagged rain and the season, with a penalty; never below 0.

    The inputs are those of `ridge_inputs`, scaled by mean and deviation over the training steps.
    The coefficients minimise the squared error of the training steps plus the penalty times their
    squared sum; the intercept is free. The penalty with the best NSE on the validation steps is
    used, the smallest on a tie.

    Args:
        product_days: 0 for the plain form, linear in rain.
        penalties: to choose from, each at least 0.
        discharge_lead: adds the discharge of that many steps before, and of the 2 steps before
            that, to the inputs; none if left out.

    Returns:
        (T,) [m3 s-1], NaN only where a past discharge that is an input is missing.

    Raises:
        ValueError: lengths that differ, uneven steps, overlapping masks, no or a negative penalty,
            fewer than 2 training or no validation observations.

    Warns when rain is missing.

    Source: Hoerl and Kennard (1970), Technometrics 12, 55-67, doi:10.1080/00401706.1970.10488634.
    """
    flow = _series("discharge", discharge)
    fit_on, pick_on = _mask("train", train, flow.size), _mask("validation", validation, flow.size)
    if both := int((fit_on & pick_on).sum()):
        raise ValueError(f"{both} steps are in both the train and the validation mask")
    if not penalties or min(penalties) < 0:
        raise ValueError(f"expected penalties of 0 or more, got {list(penalties)}")

    inputs = ridge_inputs(rain, times, fit_on, lag_days, antecedent_days, harmonics, product_days)
    if discharge_lead is not None:
        _check_lead(discharge_lead)
        past = range(discharge_lead, discharge_lead + PAST_DISCHARGES)
        inputs = np.column_stack([inputs, *(_lagged(flow, lag) for lag in past)])
    usable = np.isfinite(inputs).all(axis=1) & np.isfinite(flow)
    fit_on, pick_on = fit_on & usable, pick_on & usable
    if fit_on.sum() < 2 or not pick_on.any():
        raise ValueError(
            "expected at least 2 training and 1 validation observations with their inputs, got"
            f" {int(fit_on.sum())} and {int(pick_on.sum())}"
        )

    mean, deviation = inputs[fit_on].mean(axis=0), inputs[fit_on].std(axis=0)
    # An input that varies by rounding alone in training stays unscaled, near 0.
    varies = deviation > CONSTANT * np.abs(inputs[fit_on]).max(axis=0)
    scaled = (inputs - mean) / np.where(varies, deviation, 1.0)
    base = flow[fit_on].mean()
    # One decomposition X = U S V' serves all penalties: coefficients = V S / (S^2 + penalty) U' y.
    left, singular, right = np.linalg.svd(scaled[fit_on], full_matrices=False)
    negligible = singular <= singular[0] * max(scaled[fit_on].shape) * np.finfo(np.float64).eps
    left, singular, right = left[:, ~negligible], singular[~negligible], right[~negligible]
    projected = left.T @ (flow[fit_on] - base)

    best, least = np.full(flow.size, np.nan), np.inf
    for penalty in sorted(penalties):
        coefficients = right.T @ (singular / (singular**2 + penalty) * projected)
        simulated = np.maximum(base + scaled @ coefficients, 0.0)
        # The least squared error is the highest NSE: the observations are the same.
        error = float(((simulated - flow)[pick_on] ** 2).sum())
        if error < least:
            best, least = simulated, error
    return best


def ridge_inputs(
    rain: npt.ArrayLike,
    times: Times,
    train: npt.ArrayLike,
    lag_days: float = LAG_DAYS,
    antecedent_days: Sequence[int] = ANTECEDENT_DAYS,
    harmonics: int = HARMONICS,
    product_days: int = PRODUCT_DAYS,
) -> Array:
    """Compute the inputs of the ridge.

    Missing rain, and rain before the record, counts as the mean rain of the training steps.

    Returns:
        (T, inputs), in this order:

        - rain of the step and of the steps before it, up to 30 of them [mm per step];
        - running sums of rain [mm] over those `antecedent_days` that are longer than these steps;
        - where these steps are less than `lag_days`, the sums of the days before them [mm];
        - sine and cosine of 1 to `harmonics` waves per year;
        - products, by which the response follows evaporation and soil moisture: each step's rain
          and running sum within `product_days` times the first sine, the first cosine and the
          30-day sum.

    Raises:
        ValueError: lengths that differ, uneven steps, no rain in the training steps, `lag_days`
            shorter than a step.

    Warns with the number of steps inside the record that have no rain.
    """
    filled = _series("rain", rain)
    starts = _starts(times, filled.size)
    step = _step(starts)
    learned = filled[_mask("train", train, filled.size) & np.isfinite(filled)]

    def steps_in(days: float) -> int:
        return round(days * float(np.timedelta64(1, "D") / step))

    lags = steps_in(lag_days)
    if lags < 1 or not learned.size:
        raise ValueError(
            f"expected lag_days of at least a step and training rain, got {lag_days} days and "
            f"{learned.size} steps"
        )
    missing = np.isnan(filled)
    if count := int(missing.sum()):
        text = f"{count} of {missing.size} steps have no rain; the ridge takes the training mean"
        warnings.warn(text, stacklevel=2)
        filled = np.where(missing, learned.mean(), filled)

    single = min(lags, SINGLE_LAGS)
    days_before = [*range(single, lags, max(steps_in(1), 1)), lags]
    spans = {steps_in(days) for days in antecedent_days}
    sums = sorted(span for span in spans if span > single)
    reach = max([lags, steps_in(WETNESS_DAYS), *sums])
    padded = np.concatenate([np.full(reach, learned.mean()), filled])
    running = np.concatenate([[0.0], np.cumsum(padded)])
    end = np.arange(filled.size) + reach + 1

    def sum_over(span: int, before: int = 0) -> Array:
        return np.asarray(running[end - before] - running[end - span])

    recent = [padded[end - 1 - lag] for lag in range(single)] + [sum_over(span) for span in sums]
    reached = [*range(1, single + 1), *sums]  # steps that each of them looks back
    earlier = [sum_over(last, first) for first, last in pairwise(days_before)]
    season = _season(starts, harmonics)
    modifiers = [*season[:2], sum_over(steps_in(WETNESS_DAYS))]
    products = [
        series * modifier
        for series, back in zip(recent, reached, strict=True)
        if back <= steps_in(product_days)
        for modifier in modifiers
    ]
    return np.column_stack([*recent, *earlier, *season, *products])


def _season(times: Times, harmonics: int) -> list[Array]:
    """Return sine and cosine of 1 to `harmonics` waves per year, each (T,)."""
    into_year = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    phase = 2 * np.pi * into_year / DAYS_IN_YEAR
    return [wave(k * phase) for k in range(1, harmonics + 1) for wave in (np.sin, np.cos)]


def _day_of_leap_year(times: Times) -> npt.NDArray[np.intp]:
    """Return the dates as days 0 to 365 of a leap year, (T,): 1 March is 60 in every year."""
    month_start = times.astype("datetime64[M]")
    month = month_start.astype(np.int64) % 12
    day = (times.astype("datetime64[D]") - month_start.astype("datetime64[D]")).astype(np.int64)
    first = np.arange(f"{LEAP_YEAR}-01", f"{LEAP_YEAR + 1}-01", dtype="datetime64[M]")
    before = (first.astype("datetime64[D]") - np.datetime64(f"{LEAP_YEAR}-01-01")).astype(np.int64)
    return np.asarray(before[month] + day, np.intp)


def _lagged(values: Array, lag: int) -> Array:
    """Return the values `lag` >= 1 steps before, (T,), NaN at the start."""
    return np.concatenate([np.full(min(lag, values.size), np.nan), values[:-lag]])


def _check_lead(lead: int) -> None:
    if lead < 1:
        raise ValueError(f"a lead must be at least 1 step, got {lead}")


def _series(name: str, values: npt.ArrayLike) -> Array:
    series = np.asarray(values, np.float64)
    if series.ndim != 1:
        raise ValueError(f"{name}: expected a 1-D series, got {series.shape}")
    if count := int(np.isinf(series).sum()):
        raise ValueError(f"{name}: {count} infinite values: expected finite or missing ones")
    return series


def _mask(name: str, mask: npt.ArrayLike, size: int) -> Mask:
    steps = np.asarray(mask)
    if steps.dtype != np.bool_ or steps.shape != (size,):
        raise ValueError(f"{name}: expected ({size},) bool, got {steps.shape} {steps.dtype}")
    return steps


def _starts(times: Times, size: int) -> Times:
    starts = np.asarray(times)
    if starts.dtype.kind != "M" or starts.shape != (size,) or np.isnat(starts).any():
        raise ValueError(f"times: expected ({size},) datetime64, got {starts.shape} {starts.dtype}")
    return starts


def _step(times: Times) -> np.timedelta64:
    """Return the length of a step; ValueError if steps are uneven."""
    gaps = np.unique(np.diff(times))
    if gaps.size != 1 or gaps[0] <= np.timedelta64(0):
        raise ValueError(
            f"times: expected even steps, got steps of {[str(gap) for gap in gaps[:3]]}"
        )
    step: np.timedelta64 = gaps[0]
    return step
