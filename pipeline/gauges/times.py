"""Convert the days and instants of a record to UTC.

An instant without an offset is local time of the catalog's `time_zone`. When daylight saving ends,
one hour occurs twice: the first pass is daylight saving time, the second is standard time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from pipeline.catalog.models import Catalog
from pipeline.catalog.time import YEARS
from pipeline.errors import InputError

OFFSET = re.compile(r"\d(?:Z|[+-]\d\d:?\d\d)$")
# Hours from UTC of the agency's time zone codes; help.waterdata.usgs.gov/code/tz_query
ZONE_HOURS = {
    "UTC": 0, "GMT": 0,
    "AST": -4, "ADT": -3,
    "EST": -5, "EDT": -4,
    "CST": -6, "CDT": -5,
    "MST": -7, "MDT": -6,
    "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8,
    "HST": -10, "HDT": -9,
}  # fmt: skip

ZONE_OFFSETS = {code: f"{hours:+03d}:00" for code, hours in ZONE_HOURS.items()}


class Timed(Protocol):
    """A row with a time as text, and its place in the file for messages."""

    @property
    def time(self) -> str: ...
    @property
    def place(self) -> str: ...


def day_starts(catalog: Catalog, rows: Sequence[Timed], path: Path) -> pd.DatetimeIndex:
    """Starts (naive UTC) of the rows' days, by the catalog's time label.

    Raises:
        InputError: a text is no day.
    """
    time_format = catalog.gauges.time_format or "%Y-%m-%d"
    date = _parsed(catalog, [row.time for row in rows], time_format, utc=False)
    bad = np.flatnonzero(~_in_range(date) | (date != date.normalize()))
    if bad.size:
        row = rows[bad[0]]
        raise InputError(f"{path}: {row.place}: date {row.time!r}: expected a day as {time_format}")
    return catalog.gauges.time.start_of(date.as_unit("ns"), timedelta(days=1))


def instants(catalog: Catalog, rows: Sequence[Timed], path: Path) -> pd.DatetimeIndex:
    """Instants (naive UTC) of the rows.

    Raises:
        InputError: a text is no instant, lacks an offset and the catalog has no time zone, was
            skipped when daylight saving began, or is ambiguous.
    """
    time_format = catalog.gauges.time_format or "ISO8601"
    text = np.array([row.time for row in rows], dtype=object)
    exact = np.array(["%z" in time_format or bool(OFFSET.search(t)) for t in text], dtype=bool)
    found = pd.DatetimeIndex(np.full(text.size, np.datetime64("NaT", "ns")))
    found = found.where(~exact, _utc(catalog, text, exact, time_format))
    local = np.flatnonzero(~exact)
    if local.size:
        found = found.where(exact, _local(catalog, rows, local, time_format, path, len(rows)))
    bad = np.flatnonzero(~_in_range(found))
    if bad.size:
        row = rows[bad[0]]
        raise InputError(
            f"{path}: {row.place}: time {row.time!r}: expected an instant as {time_format}"
        )
    return found


def with_zone(time: str, code: str) -> str | None:
    """Append the offset of a time zone code to a local time; None for an unknown code."""
    offset = ZONE_OFFSETS.get(code.upper())
    return None if offset is None else time + offset


def _utc(
    catalog: Catalog, text: np.ndarray, exact: np.ndarray, time_format: str
) -> pd.DatetimeIndex:
    """Instants of the texts with an offset, NaT for the others."""
    times = _parsed(catalog, [t if e else None for t, e in zip(text, exact, strict=True)],
                    time_format, utc=True)  # fmt: skip
    return times.tz_localize(None).as_unit("ns")


def _local(
    catalog: Catalog,
    rows: Sequence[Timed],
    local: np.ndarray,
    time_format: str,
    path: Path,
    size: int,
) -> pd.DatetimeIndex:
    """Instants (size,) of the rows at positions `local`, in the catalog's time zone; else NaT."""
    zone = catalog.gauges.time_zone
    first = rows[local[0]]
    if zone is None:
        raise InputError(
            f"{path}: {first.place}: time {first.time!r} has no offset from UTC: expected one, or "
            f"gauges.time_zone in {catalog.path}"
        )
    clock = _parsed(catalog, [rows[i].time for i in local], time_format, utc=False)
    clock = clock.as_unit("ns")
    summer, winter = (
        clock.tz_localize(zone, ambiguous=np.full(clock.size, dst), nonexistent="NaT")
        .tz_convert("UTC")
        .tz_localize(None)
        for dst in (True, False)
    )
    skipped = np.flatnonzero(summer.isna() & ~clock.isna())
    if skipped.size:
        row = rows[local[skipped[0]]]
        raise InputError(
            f"{path}: {row.place}: time {row.time!r} was skipped when daylight saving began in "
            f"{zone}: expected a time that the clock showed"
        )
    repeated = (summer != winter) & ~clock.isna()
    second, undecided = _second_pass(clock.asi8, repeated)
    if undecided.any():
        row = rows[local[int(undecided.argmax())]]
        raise InputError(
            f"{path}: {row.place}: time {row.time!r} occurred twice when daylight saving ended in "
            f"{zone}: expected both passes of that hour in order, or times with an offset"
        )
    found = np.full(size, np.datetime64("NaT", "ns"))
    found[local] = summer.where(~second, winter).to_numpy()
    return pd.DatetimeIndex(found)


def _second_pass(clock: np.ndarray, repeated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the `repeated` times belong to the second pass, and which are undecided.

    A run of such times must go back once, where the second pass begins.
    """
    second, undecided = np.zeros(clock.size, dtype=bool), np.zeros(clock.size, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], repeated, [False])).astype(int)))
    for begin, end in edges.reshape(-1, 2):
        back = np.flatnonzero(np.diff(clock[begin:end]) <= 0)
        if back.size == 1:
            second[begin + back[0] + 1 : end] = True
        else:
            undecided[begin:end] = True
    return second, undecided


def _parsed(
    catalog: Catalog, text: Sequence[str | None], time_format: str, utc: bool
) -> pd.DatetimeIndex:
    """Parse times; NaT if a text is none."""
    try:
        times = pd.to_datetime(text, format=time_format, errors="coerce", utc=utc)
    except ValueError as error:
        raise InputError(
            f"{catalog.path}: gauges.time_format: {time_format!r}: {error}: expected strptime's"
        ) from error
    return pd.DatetimeIndex(times)


def _in_range(times: pd.DatetimeIndex) -> np.ndarray:
    """Whether times are within the supported years; false for NaT."""
    return np.asarray((times.year >= YEARS[0]) & (times.year <= YEARS[1]))
