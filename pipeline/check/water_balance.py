"""Checks that a discharge record belongs to its watershed: water balance and response to rain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from pipeline.check.contents import Check, Contents, verdict
from pipeline.units import M3_PER_FT3, SECONDS_PER_DAY

MAX_LAG = 10  # days after rain; the crest of a large river takes days to arrive
MIN_DAYS = 90  # with rain and runoff, for a record to be judged
RATIO_WARN, RATIO_FAIL = 1.0, 2.0  # runoff over rain, of a year and of the whole record
RATIO_MIN = M3_PER_FT3  # below it, runoff is within the rain even if m3/s were read as ft3/s
YEAR_SHARE = 0.9  # of a year's steps must have rain and runoff for the year to count
MISSING_WARN = 0.1  # share of missing values
# A rank correlation is significant from so many standard deviations of that of unrelated series,
# which is 1 / sqrt(n).
MIN_DEVIATIONS = 4.0


def check_water_balance(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Check runoff over rain, of the record and of each year from October to September."""
    times = store.catalog.period.times
    water_year = np.asarray(times.year + (times.month >= 10))
    least = YEAR_SHARE * 365.0 * SECONDS_PER_DAY / store.catalog.period.step_seconds
    fails, warns, ratios = [], [], []
    for site in store.sites:
        runoff = store.runoff(site)
        both = np.isfinite(runoff) & np.isfinite(rain[site])
        total = float(rain[site][both].sum())
        if not both.any() or total <= 0:
            warns.append(f"{site}: no step with rain and runoff")
            continue
        ratio = float(runoff[both].sum()) / total
        ratios.append(ratio)
        if ratio > RATIO_FAIL:
            hint = suspected_units(ratio)
            fails.append(
                f"{site}: runoff is {ratio:.3g} of the rain{hint}: expected at most {RATIO_FAIL}"
            )
        elif ratio < RATIO_MIN:
            warns.append(f"{site}: runoff is only {ratio:.2g} of the rain{suspected_units(ratio)}")
        for year in np.unique(water_year):
            of_year = both & (water_year == year)
            if of_year.sum() < least:
                continue
            out, fallen = float(runoff[of_year].sum()), float(rain[site][of_year].sum())
            if out > RATIO_WARN * fallen:
                warns.append(
                    f"{site}: {out:.0f} mm of runoff from {fallen:.0f} mm of rain in {year}"
                )
    passes = f"runoff is {min(ratios):.2f}..{max(ratios):.2f} of the rain" if ratios else ""
    return verdict("water balance", fails, warns, passes)


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
    for site in store.sites:
        discharge = store.record(site, "discharge")
        missing = float(np.isnan(discharge).mean())
        most = max(most, missing)
        if missing == 1:
            fails.append(f"{site}: no value at all")
        elif missing > MISSING_WARN:
            warns.append(f"{site}: {missing:.1%} missing")
        negative = int((discharge < 0).sum())
        if negative:
            warns.append(f"{site}: {negative} negative values, as by tides")
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


def suspected_units(ratio: float) -> str:
    """Name the unit that would explain a ratio of runoff to rain; empty if none does."""
    if 1 < ratio <= 1 / M3_PER_FT3:
        return f", and {ratio * M3_PER_FT3:.2g} if the discharge is in ft3/s and was labelled m3/s"
    if 0 < ratio < M3_PER_FT3:
        return f", and {ratio / M3_PER_FT3:.2g} if the discharge is in m3/s and was labelled ft3/s"
    return ""


def _daily(values: np.ndarray, days: int, steps_per_day: int) -> np.ndarray:
    """Means of days (days,) over the steps with a value, NaN where there is none."""
    by_day = values[: days * steps_per_day].reshape(days, steps_per_day).astype(np.float64)
    there = np.isfinite(by_day)
    count = there.sum(axis=1)
    total = np.where(there, by_day, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
