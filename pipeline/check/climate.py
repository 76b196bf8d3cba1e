"""Check that the rain on a watershed is that of some climate."""

from __future__ import annotations

import numpy as np

from pipeline.check.contents import Check, Contents, verdict
from pipeline.check.suspects import explain_rain, find_suspects
from pipeline.units import M2_PER_KM2, M2_PER_MI2, SECONDS_PER_DAY, SECONDS_PER_HOUR

YEAR_DAYS = 365.0
YEAR_SHARE = 0.9  # of a year with rain, for the mean of the record to be that of years
MIN_DAYS = 90  # with rain, for the share of wet steps to be judged
# Mean annual rain [mm]: hardly a watershed has more than the first; the wettest gauges on Earth,
# Lloro and Puerto Lopez, have a little less than the second.
RAIN_YEAR_WARN, RAIN_YEAR_FAIL = 5000.0, 13000.0
# World records of rain at a point follow 422 mm * hours^0.475 (Paulhus, 1965), from minutes to two
# years; the cyclone Gamede brought a fifth more to Reunion in three days of 2007.
RECORD_HOUR, RECORD_POWER = 1.25 * 422.0, 0.475
WINDOWS = (1, 3, 10, 30, 90, 365)  # days
# Largest mean depth of 24 hours over areas, of storms of the United States up to 1950 (Linsley,
# Kohler and Paulhus), in square miles and mm. Twice as much has not been seen anywhere.
STORM_AREA = np.array([10.0, 100.0, 1000.0, 1e4, 1e5]) * M2_PER_MI2
STORM_DEPTH = np.array([38.7, 35.2, 30.2, 12.1, 4.3]) * 25.4
STORM_FACTOR = 2.0
DRY = 0.01  # [mm] at most, of a step without rain; models give traces
ALWAYS_WET_AREA = 1e4 * M2_PER_KM2  # somewhere in a larger watershed it may rain all the time


def check_climate(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Check mean annual rain, the rain of a day to a year, and that some steps are dry."""
    suspects = find_suspects(store)
    day = round(SECONDS_PER_DAY / store.catalog.period.step_seconds)
    fails: list[str] = []
    warns: list[str] = []
    means, wet = [], []
    for site in store.sites:
        known = np.isfinite(rain[site])
        if not known.any():
            continue
        days = known.sum() / day
        area = float(store.about(site)["drainage_area_m2"])
        year = float(rain[site][known].mean()) * day * YEAR_DAYS
        hint = explain_rain(suspects, year)
        if beyond := beyond_records(rain[site], day, area):
            fails.append(f"{site}: {beyond}{hint and f'; {year:.0f} mm a year{hint}'}")
        elif days >= YEAR_SHARE * YEAR_DAYS and year > RAIN_YEAR_WARN:
            found, limit = (
                (fails, RAIN_YEAR_FAIL) if year > RAIN_YEAR_FAIL else (warns, RAIN_YEAR_WARN)
            )
            found.append(f"{site}: {year:.0f} mm of rain a year{hint}: expected at most {limit:g}")
        share = float((rain[site][known] > DRY).mean())
        if days >= MIN_DAYS and share == 1 and area < ALWAYS_WET_AREA:
            warns.append(f"{site}: rain in every step: is a missing code or an offset not stated?")
        if days >= YEAR_SHARE * YEAR_DAYS and share == 0:
            warns.append(f"{site}: no rain in {days:.0f} days")
        means.append(year)
        wet.append(share)
    passes = "no rain to judge"
    if means:
        passes = (
            f"rain as of {min(means):.0f}..{max(means):.0f} mm a year, in "
            f"{min(wet):.0%}..{max(wet):.0%} of the steps"
        )
    return verdict("climate", fails, warns, passes)


def beyond_records(rain: np.ndarray, steps_per_day: int, area: float) -> str:
    """Say by which stretch of rain (time,) [mm per step] exceeds the records; empty if none does.

    Args:
        rain: missing as NaN.
        steps_per_day: steps in a day.
        area: of the watershed [m2].
    """
    total = np.append(0.0, np.cumsum(np.nan_to_num(rain)))
    for days in WINDOWS:
        steps = days * steps_per_day
        if steps >= total.size:
            break
        most = float((total[steps:] - total[:-steps]).max())
        limit = RECORD_HOUR * (days * SECONDS_PER_DAY / SECONDS_PER_HOUR) ** RECORD_POWER
        if days == 1:
            limit = min(limit, storm_depth(area))
        if most > limit:
            return (
                f"{most:.0f} mm of rain in {days} day{'s' * (days > 1)} on "
                f"{area / M2_PER_KM2:.4g} km2: expected at most {limit:.0f}, the world's records"
            )
    return ""


def storm_depth(area: float) -> float:
    """Most rain [mm] of a day on an area [m2]."""
    depth = np.interp(np.log(area), np.log(STORM_AREA), np.log(STORM_DEPTH))
    return STORM_FACTOR * float(np.exp(depth))
