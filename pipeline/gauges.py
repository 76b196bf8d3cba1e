"""USGS daily discharge records, from RDB or CSV text to clean series in m3 s-1 with flags.

A value that the agency withholds (`Ice`, `Eqp`, -999999, a blank) is missing, never zero, and its
flag says why. Formats: https://help.waterdata.usgs.gov/faq/about-tab-delimited-output
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from io import StringIO
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalog import STEP, YEARS, Catalog, Columns, Period
from pipeline.errors import InputError
from pipeline.units import DISCHARGE_M3_S

DAY = timedelta(days=1)
SITE_DIGITS = 8  # shortest USGS site number; shorter ones lost their leading zeros on the way
NO_DATA = -999999.0

# CF: flag_values are the codes, flag_meanings the names. 0 is also a step without a record.
FLAGS = MappingProxyType(
    {
        "missing": 0,
        "approved": 1,
        "approved_estimated": 2,
        "provisional": 3,
        "provisional_estimated": 4,
        "unqualified": 5,  # a value without A or P
        "estimated": 6,  # estimated, without A or P
        "ice": 7,  # no value: the station was affected by ice
        "equipment": 8,  # no value: equipment malfunction
        "unavailable": 9,  # no value: -999999 or another code of the agency's for no value
    }
)
NO_VALUE = {  # words that stand where a value would; help.waterdata.usgs.gov, "unit values codes"
    "": "missing",
    "ice": "ice",
    "eqp": "equipment",
    **dict.fromkeys(
        ("bkw", "dis", "dry", "fld", "mnt", "pr", "rat", "ssn", "tst", "zfl", "***", "---", "--"),
        "unavailable",
    ),
}
WORDS_OF_UNITS = {
    "ft3/s": re.compile(
        r"cubic f(?:ee|oo)t per sec|ft\^?3/s|(?<![a-z])cfs(?![a-z])|ft³/s", re.IGNORECASE
    ),
    "m3/s": re.compile(
        r"cubic met(?:er|re)s? per sec|m\^?3/s|(?<![a-z])cms(?![a-z])|m³/s", re.IGNORECASE
    ),
}
DISCHARGE_COLUMN = re.compile(r"(?:\w+_)?00060_00003")  # parameter 00060, statistic 00003: mean
WIDTH = re.compile(r"\d+[sdn]")  # of the row below an RDB header: 5s 15s 20d 14n 10s


@dataclass(frozen=True)
class GaugeRecord:
    """One site's record, sorted in time, each interval at most once.

    Attributes:
        site_no: site number, with its leading zeros.
        start: starts of the intervals, naive UTC, ascending.
        interval: length of the intervals.
        discharge: mean over each interval [m3 s-1], float64 (n,), NaN where missing.
        flag: codes of `FLAGS`, uint8 (n,).
        source: the file it was read from.
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


class _Row(NamedTuple):
    """One line of a record as text, with its line number for messages."""

    site_no: str
    date: str
    value: str
    flag: str
    line: int


@lru_cache(maxsize=1024)  # a record repeats it on every line
def site_number(text: object) -> str:
    """A site number with the leading zeros that spreadsheets and integer fields drop."""
    site = str(text).strip()
    whole = re.fullmatch(r"(\d+)(?:\.0*)?", site)
    return whole[1].zfill(SITE_DIGITS) if whole else site


def read_gauges(catalog: Catalog, sites: Sequence[str]) -> dict[str, GaugeRecord]:
    """Read the daily records of `sites`, in that order.

    Raises:
        InputError: a file or a site is missing, a column, date or value is not what the catalog
            says, units contradict it, or one day has two values.
    """
    gauges = catalog.gauges
    read = _read_rdb if gauges.format == "rdb" else _read_csv
    wanted = [site_number(site) for site in sites]
    paths = {site: catalog.resolve(gauges.files.replace("{site}", site)) for site in wanted}
    rows: dict[Path, dict[str, list[_Row]]] = {}
    for path in dict.fromkeys(paths.values()):
        rows[path] = _by_site(read(catalog, path))
    lacking = [site for site in wanted if site not in rows[paths[site]]]
    if lacking:
        path = paths[lacking[0]]
        raise InputError(
            f"{path}: holds {_listed(rows[path])}: expected a record of {', '.join(lacking)}"
        )
    return {site: _record(catalog, site, rows[paths[site]][site], paths[site]) for site in wanted}


def on_steps(record: GaugeRecord, period: Period) -> tuple[np.ndarray, np.ndarray]:
    """The record on the store's steps: discharge [m3 s-1] float32 (T,) and flag uint8 (T,).

    A gauge interval belongs to the latest step that ends no later than the interval does, so no
    rain of a step falls after the discharge that it is paired with. Steps that get no interval
    are NaN with flag "missing"; in an hourly store a daily mean sits in one hour of its day.

    Raises:
        InputError: the record and the period do not overlap.
    """
    step = STEP[period.step]
    assert record.interval >= step, "two intervals would fall on one step"
    steps = len(period.times)
    end = record.start + record.interval
    index = np.asarray((end - pd.Timestamp(period.start)) // pd.Timedelta(step)) - 1
    inside = (index >= 0) & (index < steps)
    if not inside.any():
        raise InputError(
            f"{record.source}: site {record.site_no}: record {record.start[0]} to {end[-1]}: "
            f"expected an overlap with the period {period.start} to {period.end} (UTC)"
        )
    discharge = np.full(steps, np.nan, dtype=np.float32)
    flag = np.full(steps, FLAGS["missing"], dtype=np.uint8)
    discharge[index[inside]] = record.discharge[inside]
    flag[index[inside]] = record.flag[inside]
    return discharge, flag


def _by_site(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    """Rows gathered by site."""
    sites: dict[str, list[_Row]] = {}
    for row in rows:
        sites.setdefault(row.site_no, []).append(row)
    return sites


def _listed(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, the first few of many."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def _read_text(path: Path) -> str:
    """The file's text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not readable ({reason}): expected a discharge record") from error


def _check_units(catalog: Catalog, path: Path, text: str) -> None:
    """Refuse a header or column name that states other units than the catalog does."""
    for units, words in WORDS_OF_UNITS.items():
        found = words.search(text)
        if found and units != catalog.gauges.units:
            raise InputError(
                f"{path}: states {found[0]!r} ({units}): expected {catalog.gauges.units}, "
                f"the gauges.units of {catalog.path}"
            )


def _read_rdb(catalog: Catalog, path: Path) -> list[_Row]:
    """Rows of an RDB file: per block a header, a row of widths, and tab-separated lines."""
    rows: list[_Row] = []
    header: list[str] = []
    for number, text in enumerate(_read_text(path).splitlines(), start=1):
        if text.startswith("#"):
            if "00060" in text and "00003" in text:
                _check_units(catalog, path, text)
            continue
        fields = [*map(str.strip, text.split("\t"))]
        if not any(fields) or all(map(WIDTH.fullmatch, fields)):
            continue
        if fields[0] == "agency_cd":
            header, discharge = fields, _discharge_column(catalog, path, fields)
            columns = [header.index(name) for name in ("site_no", "datetime", discharge)]
            flag = f"{discharge}_cd"
            pick = itemgetter(*columns, header.index(flag) if flag in header else len(header))
            continue
        if not header or len(fields) > len(header):
            wanted = f"at most {len(header)}" if header else "a header that starts with agency_cd"
            raise InputError(
                f"{path}: line {number} holds {len(fields)} tab-separated fields, "
                f"{fields[0][:40]!r} first: expected {wanted}"
            )
        fields += [""] * (len(header) + 1 - len(fields))  # blank are those cut off, and one more
        site, date, value, qualifiers = pick(fields)
        rows.append(_Row(site_number(site), date, value, qualifiers, number))
    return rows


def _discharge_column(catalog: Catalog, path: Path, header: list[str]) -> str:
    """The one column of daily mean discharge. Parameter 00060 is in ft3/s by definition."""
    columns = [name for name in header if DISCHARGE_COLUMN.fullmatch(name)]
    if len(columns) != 1 or not {"site_no", "datetime"} <= set(header):
        raise InputError(
            f"{path}: columns {', '.join(columns or header)}: expected site_no, datetime and one "
            "daily mean discharge, NN_00060_00003"
        )
    if catalog.gauges.units != "ft3/s":
        raise InputError(
            f"{path}: {columns[0]}: parameter 00060 is in ft3/s: expected "
            f"{catalog.gauges.units}, the gauges.units of {catalog.path}"
        )
    return columns[0]


def _read_csv(catalog: Catalog, path: Path) -> list[_Row]:
    """Rows of a CSV file, its columns named by the catalog."""
    columns = catalog.gauges.columns or Columns()
    try:
        table = pd.read_csv(StringIO(_read_text(path)), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not readable ({error}): expected a discharge CSV") from error
    needed = [columns.site, columns.time, columns.discharge]
    needed += [columns.flag] if columns.flag else []
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise InputError(
            f"{path}: columns {', '.join(map(str, table.columns))}: expected {', '.join(lacking)}, "
            f"as gauges.columns of {catalog.path} says"
        )
    _check_units(catalog, path, columns.discharge)
    flags = table[columns.flag] if columns.flag else [""] * len(table)
    cells = zip(
        table[columns.site], table[columns.time], table[columns.discharge], flags, strict=True
    )
    return [
        _Row(site_number(site), date.strip(), value.strip(), flag.strip(), line)
        for line, (site, date, value, flag) in enumerate(cells, start=2)
    ]


def _record(catalog: Catalog, site: str, rows: list[_Row], path: Path) -> GaugeRecord:
    """Values, flags and times of one site, sorted, duplicated days resolved."""
    date = _dates(catalog, rows, path)
    values = [_value(row, path) for row in rows]
    discharge = np.array([value for value, _ in values])
    flag = np.array([code for _, code in values], dtype=np.uint8)
    # by day, a day's numbers before its missing values: the first line of a day is kept
    order = np.lexsort((np.isnan(discharge), date.asi8))
    date, discharge, flag = date[order], discharge[order], flag[order]
    again = date.asi8[1:] == date.asi8[:-1]
    differs = again & (discharge[1:] != discharge[:-1]) & ~np.isnan(discharge[1:])
    if differs.any():
        i = int(differs.argmax())
        raise InputError(
            f"{path}: site {site}: {date[i]:%Y-%m-%d} has the values {discharge[i]:g} and "
            f"{discharge[i + 1]:g} (lines {rows[order[i]].line} and {rows[order[i + 1]].line}): "
            "expected one a day"
        )
    kept = np.append(True, ~again)
    return GaugeRecord(
        site_no=site,
        start=catalog.gauges.time.start_of(date[kept], DAY),
        interval=DAY,
        discharge=discharge[kept] * DISCHARGE_M3_S[catalog.gauges.units],
        flag=flag[kept],
        source=path,
    )


def _dates(catalog: Catalog, rows: list[_Row], path: Path) -> pd.DatetimeIndex:
    """The days that the rows name."""
    time_format = catalog.gauges.time_format or "%Y-%m-%d"
    text = [row.date for row in rows]
    try:
        date = pd.DatetimeIndex(pd.to_datetime(text, format=time_format, errors="coerce"))
    except ValueError as error:
        raise InputError(
            f"{catalog.path}: gauges.time_format: {time_format!r}: {error}: expected strptime's"
        ) from error
    counted = (date.year >= YEARS[0]) & (date.year <= YEARS[1])  # false for NaT
    bad = np.flatnonzero(~counted | (date != date.normalize()))
    if bad.size:
        row = rows[bad[0]]
        raise InputError(
            f"{path}: line {row.line}: date {row.date!r}: expected a day as {time_format}"
        )
    return date.as_unit("ns")


def _value(row: _Row, path: Path) -> tuple[float, int]:
    """Discharge in the file's units, NaN where missing, and the flag's code."""
    withheld, status = _qualified(row.flag)
    word = row.value.casefold()
    if word in NO_VALUE:
        return np.nan, FLAGS[withheld or NO_VALUE[word]]
    try:
        value = float(row.value)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(
            f"{path}: line {row.line}: discharge {row.value!r} on {row.date}: "
            "expected a number, a blank, Ice or Eqp"
        )
    if withheld:
        return np.nan, FLAGS[withheld]
    if value == NO_DATA:
        return np.nan, FLAGS["unavailable"]
    return value, FLAGS[status]


@lru_cache(maxsize=1024)
def _qualified(flag: str) -> tuple[str | None, str]:
    """What a row's qualifiers mean: why its value is withheld, if it is, and what one is worth.

    Qualifiers besides A, P, e, Ice and Eqp do not change what a value is worth and are left out.
    """
    qualifiers = set(re.split(r"[\s:,;]+", flag.casefold()))
    withheld = next((NO_VALUE[q] for q in ("ice", "eqp") if q in qualifiers), None)
    status = "approved" if "a" in qualifiers else "provisional" if "p" in qualifiers else ""
    if "e" in qualifiers:
        return withheld, f"{status}_estimated" if status else "estimated"
    return withheld, status or "unqualified"
