"""Periods of time as users write them: water years, or dates in ISO 8601 (UTC).

    2019                                a water year, named by the calendar year in which it ends
    2016-2018                           water years, the last included
    2014-11-03, 2014-11                 a day, a month
    2014-09-15/2014-10-31               from a day to a day (or month), the last included
    2014-09-15T06:00/2014-10-31T18:00   from an instant to an instant
    ../2014-10-31, 2014-11-01/..        from the record's start, to its end

A step belongs to the period that holds its midpoint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.errors import InputError

Mask = npt.NDArray[np.bool_]

YEARS = re.compile(r"(\d{4})(?:-(\d{4}))?")
MONTH = re.compile(r"\d{4}-\d{2}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?Z?")
OPEN = ".."
ONE_DAY = pd.Timedelta("1D")
EXPECTED = "a water year (2019), water years (2016-2018) or dates (2014-09-15/2014-10-31)"


@dataclass(frozen=True)
class Period:
    """A period of time.

    Attributes:
        text: as it was written.
        start, end: it begins at `start` and ends before `end`; None where it is open.
        in_years: whether it was written as water years.
    """

    text: str
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    in_years: bool

    def select(self, dates: pd.DatetimeIndex) -> Mask:
        """Whether each date lies in the period, (T,)."""
        inside = np.ones(len(dates), bool)
        if self.start is not None:
            inside &= dates >= self.start
        if self.end is not None:
            inside &= dates < self.end
        return inside


def parse_period(text: str, first_month: int) -> Period:
    """Parse a period; water years begin with `first_month`, 1 to 12.

    Raises:
        InputError: not a period, or one that ends before it begins.
    """
    if years := YEARS.fullmatch(text):
        first, last = int(years[1]), int(years[2] or years[1])
        try:
            start, end = (
                _water_year_start(first, first_month),
                _water_year_start(last + 1, first_month),
            )
        except ValueError as error:
            raise InputError(f"{text}: {error}: expected {EXPECTED}") from error
    else:
        begin, slash, finish = text.partition("/")
        if not slash and INSTANT.fullmatch(text):
            raise InputError(f"{text}: is an instant: expected {EXPECTED}")
        start, _ = _parse_date(begin, text)
        _, end = _parse_date(finish if slash else begin, text)
    if start is not None and end is not None and start >= end:
        raise InputError(f"{text}: ends before it begins: expected the earlier date first")
    return Period(text, start, end, years is not None)


def spell_steps(dates: pd.DatetimeIndex, chosen: Mask) -> tuple[str, ...]:
    """Write steps as periods, one for each run of consecutive steps; `dates` are midpoints."""
    return tuple(
        f"{_spell_start(_boundary(dates, first))}/{_spell_end(_boundary(dates, stop))}"
        for first, stop in consecutive(chosen)
    )


def consecutive(chosen: Mask) -> list[tuple[int, int]]:
    """Return first step and end of each run of consecutive chosen steps."""
    edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def water_years(dates: pd.DatetimeIndex, first_month: int) -> npt.NDArray[np.int_]:
    """Water year of each date, (T,), named by the calendar year in which it ends."""
    return np.asarray(dates.year + ((dates.month >= first_month) & (first_month > 1)))


def _water_year_start(year: int, first_month: int) -> pd.Timestamp:
    """First instant of a water year."""
    return pd.Timestamp(year - (first_month > 1), first_month, 1)


def _parse_date(date: str, text: str) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    """Return start and end of a month, a day, an instant (both the same) or `..` (None)."""
    if date == OPEN and date != text:
        return None, None
    try:
        if MONTH.fullmatch(date):
            start = pd.Timestamp(f"{date}-01")
            return start, start + pd.offsets.MonthBegin()
        if DAY.fullmatch(date):
            return pd.Timestamp(date), pd.Timestamp(date) + ONE_DAY
        if INSTANT.fullmatch(date):
            instant = pd.Timestamp(date.removesuffix("Z"))
            return instant, instant
    except ValueError as error:
        raise InputError(f"{text}: {error}: expected {EXPECTED}") from error
    raise InputError(f"{text}: not a period: expected {EXPECTED}")


def _boundary(dates: pd.DatetimeIndex, step: int) -> pd.Timestamp:
    """Return an instant between the midpoints of a step and the one before: midnight if it is."""
    length = dates[1] - dates[0]
    middle = dates[0] + step * length
    midnight = middle.floor("D")
    return midnight if midnight > middle - length else middle - length / 2


def _spell_start(instant: pd.Timestamp) -> str:
    at_midnight = instant == instant.floor("D")
    return f"{instant:%Y-%m-%d}" if at_midnight else f"{instant:%Y-%m-%dT%H:%M:%S}"


def _spell_end(instant: pd.Timestamp) -> str:
    at_midnight = instant == instant.floor("D")
    return _spell_start(instant - ONE_DAY if at_midnight else instant)
