"""Checks that a discharge record belongs to its watershed: water balance and response to rain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from pipeline.check.contents import Check, Contents, verdict
from pipeline.check.suspects import Suspect, explain, find_suspects
from pipeline.units import DISCHARGE_M3_S, SECONDS_PER_DAY

MAX_LAG = 10  # days after rain; the crest of a large river takes days to arrive
MIN_DAYS = 90  # with rain and runoff, for a record to be judged
RATIO = 0.1, 1.2  # runoff over rain of a record of a year or more, if the catalog has no limits
RATIO_SHORT = 2.0  # highest, of a shorter record
RATIO_YEAR = 1.0  # of a single year
YEAR_DAYS = 365.0
YEAR_SHARE = 0.9  # of a year's steps must have rain and runoff for the year to count
# What does not run off evaporates, or is stored: wherever water is not scarce, less than this [mm],
# a year and in all.
EVAPORATION_YEAR, STORAGE = 3000.0, 500.0
MISSING_WARN = 0.1  # share of missing values
REPEATED = 3  # equal negative values, if they are half of all, are a code and no tide
# A rank correlation is significant from so many standard deviations of that of unrelated series,
# which is 1 / sqrt(n).
MIN_DEVIATIONS = 4.0


def check_water_balance(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Check runoff over rain, of the record and of each year from October to September."""
    times = store.catalog.period.times
    water_year = np.asarray(times.year + (times.month >= 10))
    least = YEAR_SHARE * YEAR_DAYS * SECONDS_PER_DAY / store.catalog.period.step_seconds
    suspects = find_suspects(store)
    fails: list[str] = []
    warns: list[str] = []
    ratios = []
    for site in store.sites:
        runoff = store.runoff(site)
        both = np.isfinite(runoff) & np.isfinite(rain[site])
        total, out = float(rain[site][both].sum()), float(runoff[both].sum())
        if not both.any() or total <= 0:
            without = both.sum() >= least and out > 0
            (fails if without else warns).append(
                f"{site}: {out:.0f} mm of runoff without rain"
                if without
                else f"{site}: no step with rain and runoff"
            )
            continue
        ratios.append(out / total)
        days = float(both.sum()) * store.catalog.period.step_seconds / SECONDS_PER_DAY
        failed, found = judge_balance(store, suspects, total, out, days)
        if found:
            (fails if failed else warns).append(f"{site}: {found}")
        for year in np.unique(water_year):
            of_year = both & (water_year == year)
            if of_year.sum() < least:
                continue
            flown, fallen = float(runoff[of_year].sum()), float(rain[site][of_year].sum())
            if flown > RATIO_YEAR * fallen:
                warns.append(
                    f"{site}: {flown:.0f} mm of runoff from {fallen:.0f} mm of rain in {year}"
                )
    passes = f"runoff is {min(ratios):.2f}..{max(ratios):.2f} of the rain" if ratios else ""
    return verdict("water balance", fails, warns, passes)


def judge_balance(
    store: Contents, suspects: list[Suspect], rain: float, runoff: float, days: float
) -> tuple[bool, str]:
    """Judge the balance of a watershed's record.

    Args:
        store: whose catalog may have limits of its own.
        suspects: other units than the catalog's.
        rain, runoff: sums [mm] over the steps that have both.
        days: length of these steps together.

    Returns:
        Whether it is impossible, and what is wrong; no text if nothing is.
    """
    own = store.catalog.checks.runoff_ratio if store.catalog.checks else None
    low, high = own or RATIO
    ratio, years = runoff / rain, days / YEAR_DAYS
    lost = rain - runoff
    hint = explain(suspects, ratio, rain / years if days >= MIN_DAYS else None)
    if own is None and days >= MIN_DAYS and lost > EVAPORATION_YEAR * years + STORAGE:
        return True, (
            f"runoff is {ratio:.3g} of the rain{hint}: {lost:.0f} of {rain:.0f} mm in {days:.0f} "
            f"days are lost: expected at most {EVAPORATION_YEAR:g} mm a year, more than evaporates "
            "anywhere, or checks.runoff_ratio in the catalog"
        )
    if low <= ratio <= high:
        return False, ""
    short = years < YEAR_SHARE
    expected = f"expected {low:g}..{high:g}, or checks.runoff_ratio in the catalog"
    if short:
        expected = f"in {days:.0f} days, too few to tell"
    failed = not short
    if short and ratio > max(high, RATIO_SHORT):
        failed, expected = True, f"expected at most {max(high, RATIO_SHORT):g}"
    return failed, f"runoff is {ratio:.3g} of the rain{hint}: {expected}"


def check_response(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Check that each river rises after the rain on its own watershed."""
    steps_per_day = round(SECONDS_PER_DAY / store.catalog.period.step_seconds)
    warns, found = [], []
    for site in store.sites:
        answer = response(rain[site], store.runoff(site), steps_per_day)
        if answer is None:
            continue
        found.append(answer)
        if answer.correlation < answer.threshold:
            warns.append(
                f"{site}: rises do not follow the rain (rank correlation {answer.correlation:.2f} "
                f"at most, of unrelated series up to {answer.threshold:.2f}): another river's "
                "record, or another time?"
            )
    passes = "too short to tell"
    if found:
        least, latest = min(a.correlation for a in found), max(a.lag for a in found)
        passes = f"rises follow rain within {latest} days, rank correlation {least:.2f} at least"
    return verdict("response", [], warns, passes)


def check_discharge(store: Contents) -> Check:
    """Check for missing and negative discharge."""
    fails, warns, most = [], [], 0.0
    tides = store.catalog.checks is not None and store.catalog.checks.negative_discharge
    for site in store.sites:
        discharge = store.record(site, "discharge")
        missing = float(np.isnan(discharge).mean())
        most = max(most, missing)
        if missing == 1:
            fails.append(f"{site}: no value at all")
        elif missing > MISSING_WARN:
            warns.append(f"{site}: {missing:.1%} missing")
        values, counts = np.unique(discharge[discharge < 0], return_counts=True)
        if not values.size or tides:
            continue
        often = int(counts.argmax())
        if counts[often] >= max(REPEATED, counts.sum() / 2):
            units = store.catalog.gauges.units
            units = units if units in DISCHARGE_M3_S else "m3/s"
            in_file = values[often] / DISCHARGE_M3_S[units]
            fails.append(
                f"{site}: {in_file:.5g} {units} {counts[often]} times: is it a missing code that "
                "the catalog does not say? If not, expected checks.negative_discharge in it"
            )
        else:
            warns.append(f"{site}: {counts.sum()} negative values, as by tides")
    return verdict("discharge", fails, warns, f"{most:.1%} missing at most")


class Response(NamedTuple):
    """A river's response to rain.

    Attributes:
        correlation: Spearman's, of a day's rain with the rise of runoff `lag` days later.
        lag: days from 0 to `MAX_LAG`, the one with the greatest correlation.
        threshold: correlation that unrelated series do not reach.
    """

    correlation: float
    lag: int
    threshold: float


def response(rain: np.ndarray, runoff: np.ndarray, steps_per_day: int) -> Response | None:
    """Response of runoff (time,) to rain (time,), both [mm per step], missing as NaN.

    A river rises after its own rain. The record of another river, or one shifted in time, does
    not; snow and reservoirs may hide it too. None if fewer than `MIN_DAYS` can be compared.
    """
    days = rain.size // steps_per_day
    rain_day = _daily(rain, days, steps_per_day)
    rise = np.maximum(np.diff(_daily(runoff, days, steps_per_day), prepend=np.nan), 0.0)
    best: Response | None = None
    for lag in range(MAX_LAG + 1):
        before, after = rain_day[: max(days - lag, 0)], rise[lag:]
        both = np.isfinite(before) & np.isfinite(after)
        if both.sum() < MIN_DAYS or not (np.ptp(before[both]) and np.ptp(after[both])):
            continue
        found = float(spearmanr(before[both], after[both]).statistic)
        if best is None or found > best.correlation:
            best = Response(found, lag, MIN_DEVIATIONS / float(np.sqrt(both.sum())))
    return best


def _daily(values: np.ndarray, days: int, steps_per_day: int) -> np.ndarray:
    """Means of days (days,) over the steps with a value, NaN where there is none."""
    by_day = values[: days * steps_per_day].reshape(days, steps_per_day).astype(np.float64)
    there = np.isfinite(by_day)
    count = there.sum(axis=1)
    total = np.where(there, by_day, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
