"""Convert the days and instants of a record to UTC.

An instant without an offset is local time of the catalog's `time_zone`. When daylight saving ends,
one hour occurs twice: the first pass is daylight saving time, the second is standard time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog
from pipeline.catalog.time import YEARS
from pipeline.errors import InputError
from pipeline.gauges.rows import Rows, Texts

ADJACENT = re.compile(r"%[YmdHMS]%[YmdHMSj]")  # fields without a mark between them
HOUR_24 = re.compile(r"(?:^|(?<=[T ])|(?<=[0-9]{8}))24(?=(?::?00){0,2}(?:$|[ Z+-]))")  # midnight
WHOLE_DAY = re.compile(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}(?:$|[T ])")
ZONE = re.compile(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
OFFSET = r"[0-9](?:Z|[+-][0-9][0-9]:?[0-9][0-9])$"
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
FIRST, END = np.datetime64(f"{YEARS[0]}-01-01"), np.datetime64(f"{YEARS[1] + 1}-01-01")
Times: TypeAlias = NDArray[np.datetime64]
Positions: TypeAlias = NDArray[np.intp]


class Days:
    """Starts of the days of a file's rows."""

    def __init__(self, catalog: Catalog, rows: Rows, path: Path) -> None:
        self._rows, self._path, time = rows, path, rows.time.merged()
        self._codes = time.codes
        self._format = catalog.gauges.time_format or "%Y-%m-%d"
        date = _parsed(catalog, time.distinct.to_pylist(), self._format, utc=False)
        date[date != date.astype("datetime64[D]")] = np.datetime64("NaT")
        label = catalog.gauges.time
        self._start = label.start_of(pd.DatetimeIndex(date), timedelta(days=1)).to_numpy()

    def of(self, at: Positions) -> Times:
        """Starts (UTC) of the days of the rows at some positions, by the catalog's time label.

        Raises:
            InputError: a text is no day.
        """
        start: Times = self._start[self._codes[at]]
        bad = np.isnat(start)
        if bad.any():
            raise InputError(
                f"{_where(self._path, self._rows, at[bad.argmax()], 'date')}: expected a day as "
                f"{self._format}"
            )
        return start


class Instants:
    """Instants of a file's rows."""

    def __init__(self, catalog: Catalog, rows: Rows, path: Path) -> None:
        self._rows, self._path, self._catalog = rows, path, catalog
        time = rows.time.merged()
        self._codes, text = time.codes, time.distinct
        self._format = time_format = catalog.gauges.time_format or "ISO8601"
        exact = np.asarray(pc.match_substring_regex(text, OFFSET), bool) | ("%z" in time_format)
        self._local = ~exact
        with_offset = pc.if_else(exact, text, None).to_pylist()
        self._first = _parsed(catalog, with_offset, time_format, utc=True)
        zone = catalog.gauges.time_zone
        if zone is None or exact.all():
            return
        # of each text the instant in daylight saving time, and in standard time
        others = pc.if_else(exact, None, text).to_pylist()
        clock = _parsed(catalog, others, time_format, utc=False)
        summer, winter = (
            pd.DatetimeIndex(clock)
            .tz_localize(zone, ambiguous=np.full(clock.size, dst), nonexistent="NaT")
            .tz_convert("UTC")
            .tz_localize(None)
            .to_numpy()
            for dst in (True, False)
        )
        self._clock = clock
        self._skipped = np.isnat(summer) & ~np.isnat(clock)
        self._repeated = (summer != winter) & ~np.isnat(clock)
        self._first, self._second = np.where(exact, self._first, summer), winter

    def of(self, at: Positions) -> Times:
        """Instants (UTC) of the rows at some positions, those of one series in the file's order.

        Raises:
            InputError: a text is no instant, lacks an offset and the catalog has no time zone, was
                skipped when daylight saving began, or is ambiguous.
        """
        codes = self._codes[at]
        instant: Times = self._first[codes]
        local = np.flatnonzero(self._local[codes])
        if local.size:
            second = self._in_second_pass(at[local])
            instant[local[second]] = self._second[codes[local[second]]]
        bad = np.isnat(instant)
        if bad.any():
            where = _where(self._path, self._rows, at[bad.argmax()], "time")
            raise InputError(f"{where}: expected an instant as {self._format}")
        return instant

    def _in_second_pass(self, at: Positions) -> NDArray[np.bool_]:
        """Whether each row, none with an offset, is of the second pass of an hour."""
        zone = self._catalog.gauges.time_zone
        if zone is None:
            raise InputError(
                f"{_where(self._path, self._rows, at[0], 'time')} has no offset from UTC: expected "
                f"one, or gauges.time_zone in {self._catalog.path}"
            )
        codes = self._codes[at]
        skipped = self._skipped[codes]
        if skipped.any():
            raise InputError(
                f"{_where(self._path, self._rows, at[skipped.argmax()], 'time')} was skipped when "
                f"daylight saving began in {zone}: expected a time that the clock showed"
            )
        second, undecided = _second_pass(self._clock[codes], self._repeated[codes])
        if undecided.any():
            raise InputError(
                f"{_where(self._path, self._rows, at[undecided.argmax()], 'time')} occurred twice "
                f"when daylight saving ended in {zone}: expected both passes of that hour in "
                "order, or times with an offset"
            )
        return second


def with_zone(time: Texts, code: Texts) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Append the offsets of time zone codes to local times.

    Returns:
        The texts (n,), and whether each code is unknown.
    """
    offsets = code.each(lambda text: ZONE_OFFSETS.get(text.upper()))
    unknown = np.array([offset is None for offset in offsets], bool)[code.codes]
    local = time.distinct.take(time.codes)
    offset = pa.array(offsets, pa.large_string()).take(code.codes)
    nothing = pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(local, offset, nothing), unknown


def _second_pass(
    clock: Times, repeated: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the `repeated` times belong to the second pass, and which are undecided.

    A run of such times must go back once, where the second pass begins.
    """
    second, undecided = np.zeros(clock.size, dtype=bool), np.zeros(clock.size, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], repeated, [False])).astype(int)))
    for begin, end in edges.reshape(-1, 2):
        back = np.flatnonzero(np.diff(clock[begin:end]) <= np.timedelta64(0))
        if back.size == 1:
            second[begin + back[0] + 1 : end] = True
        else:
            undecided[begin:end] = True
    return second, undecided


def _parsed(catalog: Catalog, text: Sequence[str | None], time_format: str, utc: bool) -> Times:
    """Parse times, datetime64[ns]; NaT if a text is none within the supported years.

    Hour 24 is midnight of the next day. In a format as %Y%m%d each field has all its digits, and a
    time of ISO 8601 names a whole day.
    """
    found = _parsed_plainly(catalog, text, time_format, utc)
    if ADJACENT.search(time_format):
        width = len(pd.Timestamp("2012-12-21 11:11:11").strftime(time_format.removesuffix("%z")))
        short = [one is not None and len(ZONE.sub("", one)) != width for one in text]
        found[short] = np.datetime64("NaT")
    if time_format == "ISO8601":  # pandas takes 2012 and 2012-07, too, for their first days
        partial = [one is not None and not WHOLE_DAY.match(one) for one in text]
        found[partial] = np.datetime64("NaT")
    late = [k for k in np.flatnonzero(np.isnat(found)).tolist() if HOUR_24.search(text[k] or "")]
    if late:
        midnights = [HOUR_24.sub("00", text[k] or "", count=1) for k in late]
        found[late] = _parsed(catalog, midnights, time_format, utc) + np.timedelta64(1, "D")
    return found


def _parsed_plainly(
    catalog: Catalog, text: Sequence[str | None], time_format: str, utc: bool
) -> Times:
    """Parse times as pandas does, datetime64[ns]."""
    try:
        times = pd.to_datetime(
            np.array(text, object), format=time_format, errors="coerce", utc=utc, cache=False
        )
    except ValueError as error:
        raise InputError(
            f"{catalog.path}: gauges.time_format: {time_format!r}: {error}: expected strptime's"
        ) from error
    found = pd.DatetimeIndex(times).tz_localize(None).to_numpy()
    in_range = (found >= FIRST) & (found < END)
    return np.where(in_range, found, np.datetime64("NaT")).astype("datetime64[ns]")


def _where(path: Path, rows: Rows, row: int, what: str) -> str:
    """The beginning of a message on the time of a row."""
    return f"{path}: {rows.place(row)}: {what} {rows.time[row]!r}"
