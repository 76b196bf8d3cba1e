"""Convert a site's rows of text to a clean series in m3 s-1 with flags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.flags import holds_value, value_and_flag
from pipeline.gauges.times import day_starts, instants
from pipeline.units import DISCHARGE_M3_S

DAY = timedelta(days=1)
INSTANT = timedelta(0)
SITE_DIGITS = 8  # of the shortest USGS site number; shorter texts lack leading zeros


@dataclass(frozen=True)
class GaugeRecord:
    """One site's record, sorted in time, without duplicates.

    Attributes:
        site_no: site number, with its leading zeros.
        start: starts of the intervals, or the instants, naive UTC, ascending.
        interval: length of the intervals; 0 for instants.
        discharge: mean over each interval, or at each instant [m3 s-1], float64 (n,), NaN where
            missing.
        flag: codes of `FLAGS`, uint8 (n,).
        source: the file that it was read from.
    """

    site_no: str
    start: pd.DatetimeIndex
    interval: timedelta
    discharge: np.ndarray
    flag: np.ndarray
    source: Path

    def __post_init__(self) -> None:
        assert self.discharge.shape == self.flag.shape == self.start.shape
        assert self.start.is_monotonic_increasing
        assert self.start.is_unique


class Row(NamedTuple):
    """One value of a record as text.

    `series` names the sensor or method, for sites with several; its first word is the identifier.
    `qualifiers` are separated by blanks, commas or colons. `place` is the position in the file, for
    messages: "line 12".
    """

    site_no: str
    series: str
    time: str
    value: str
    qualifiers: str
    place: str


@lru_cache(maxsize=1024)  # few are distinct in a record
def site_number(text: object) -> str:
    """Restore the leading zeros of a site number, which spreadsheets and integer fields drop."""
    site = str(text).strip()
    whole = re.fullmatch(r"(\d+)(?:\.0*)?", site)
    return whole[1].zfill(SITE_DIGITS) if whole else site


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, at most the first few."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def make_record(catalog: Catalog, site: str, rows: list[Row], path: Path) -> GaugeRecord:
    """Make a site's record from its rows: sorted, duplicates resolved.

    Raises:
        InputError: several series and none selected, an invalid time or value, or two values for
            one day or instant.
    """
    gauges = catalog.gauges
    rows = _select_series(catalog, site, rows, path)
    daily = gauges.values == "daily"
    start = (day_starts if daily else instants)(catalog, rows, path)
    parsed = [_value(row, path) for row in rows]
    discharge = np.array([value for value, _ in parsed])
    flag = np.array([code for _, code in parsed], dtype=np.uint8)
    # by time, numbers before missing values: the first of each time is kept
    order = np.lexsort((np.isnan(discharge), start.asi8))
    start, discharge, flag = start[order], discharge[order], flag[order]
    again = start.asi8[1:] == start.asi8[:-1]
    differs = again & (discharge[1:] != discharge[:-1]) & ~np.isnan(discharge[1:])
    if differs.any():
        i = int(differs.argmax())
        first, second = rows[order[i]], rows[order[i + 1]]
        raise InputError(
            f"{path}: site {site}: {first.time} has the values {discharge[i]:g} and "
            f"{discharge[i + 1]:g} ({first.place} and {second.place}): expected one "
            f"{'per day' if daily else 'per instant'}"
        )
    kept = np.append(True, ~again)
    return GaugeRecord(
        site_no=site,
        start=start[kept],
        interval=DAY if daily else INSTANT,
        discharge=discharge[kept] * DISCHARGE_M3_S[gauges.units],
        flag=flag[kept],
        source=path,
    )


def _select_series(catalog: Catalog, site: str, rows: list[Row], path: Path) -> list[Row]:
    """Rows of the series that the catalog selects, or of the only one that holds values."""
    series: dict[str, list[Row]] = {}
    for row in rows:
        series.setdefault(row.series, []).append(row)
    choices = catalog.gauges.series or {}
    choice = next((name for key, name in choices.items() if site_number(key) == site), None)
    if choice is not None:
        chosen = [name for name in series if choice in (name, name.partition(" ")[0])]
        if len(chosen) != 1:
            raise InputError(
                f"{path}: site {site}: discharge has the series {listed(series)}: expected one of "
                f"them, not {choice!r}, in gauges.series of {catalog.path}"
            )
        return series[chosen[0]]
    filled = [name for name in series if any(holds_value(row.value) for row in series[name])]
    candidates = filled or list(series)
    if len(candidates) > 1:
        raise InputError(
            f"{path}: site {site}: discharge has the series {listed(candidates)}: expected a "
            f"choice of one in gauges.series of {catalog.path}"
        )
    return series[candidates[0]]


def _value(row: Row, path: Path) -> tuple[float, int]:
    """Discharge in the file's units, NaN if missing, and the flag's code."""
    try:
        return value_and_flag(row.value, row.qualifiers)
    except ValueError as error:
        raise InputError(
            f"{path}: {row.place}: discharge {row.value!r} on {row.time}: "
            "expected a number, a blank, Ice or Eqp"
        ) from error
