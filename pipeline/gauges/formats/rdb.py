"""Read USGS RDB files: tab-separated blocks of daily or instantaneous values.

https://help.waterdata.usgs.gov/faq/about-tab-delimited-output
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISCHARGE,
    DISTINCT,
    TEXT,
    Column,
    check_parameter,
    check_units,
    read_text,
    split_columns,
)
from pipeline.gauges.rows import Rows, Texts
from pipeline.gauges.times import with_zone

BREAKS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # that end a line too
# Any line that may not hold values. Those that do start with a word, as USGS.
SPECIAL = re.compile(r"\n(?:[#\d]|[^\S\n]|agency_cd)[^\n]*")
WIDTH = re.compile(r"\d+[sdn]")  # of the row below an RDB header: 5s 15s 20d 14n 10s
COLUMN = {  # number of the time series, parameter 00060, for days statistic 00003: mean
    "daily": re.compile(rf"(?:(\w+)_)?{DISCHARGE}_00003"),
    "instantaneous": re.compile(rf"(?:(\w+)_)?{DISCHARGE}(?:_00011)?"),
}
EXPECTED = {
    "daily": "site_no, datetime and daily mean discharge, NN_00060_00003",
    "instantaneous": "site_no, datetime, tz_cd and instantaneous discharge, NN_00060",
}


@dataclass(frozen=True)
class Series:
    """A series of discharge in a block: its name, and the positions of its columns.

    The position of a column that is not there is None.
    """

    name: str
    site: int
    time: int
    zone: int | None
    value: int
    qualifiers: int | None


@dataclass(frozen=True, eq=False)
class Lines:
    """Consecutive lines of values; empty ones hold none.

    Attributes:
        file: text of the file, whose lines each follow a newline.
        begin, end: positions of the lines in it.
        first: number of the first line.
    """

    file: str
    begin: int
    end: int
    first: int

    @property
    def text(self) -> str:
        """The lines, after a newline."""
        return self.file[self.begin : self.end]

    def line(self, row: int) -> tuple[int, list[str]]:
        """Number and fields of the line with the `row`th values."""
        lines = ((k, text) for k, text in enumerate(self.text.split("\n"), self.first - 1) if text)
        number, text = next(islice(lines, int(row), None))
        return number, [*map(str.strip, text.split("\t"))]


Part = tuple[Lines, list[Column]]  # site, series, time, value and qualifiers of one series


def read_rdb(catalog: Catalog, path: Path) -> Rows:
    """Read the rows of an RDB file: per block a header, a row of widths, and lines.

    Raises:
        InputError: the last line is cut, a header or column of discharge is missing, a line does
            not fit its header, a time zone code is unknown, or units contradict the catalog.
    """
    text = f"\n{read_text(path)}"
    _require_whole(path, text)
    if any(mark in text for mark in BREAKS):
        text = "\n".join(text.splitlines())
    parts = list(_parts(catalog, path, text))
    ends = np.cumsum([0, *(len(columns[0]) for _, columns in parts)])

    def place(row: int) -> str:
        k = int(np.searchsorted(ends, row, side="right")) - 1
        return f"line {parts[k][0].line(row - ends[k])[0]}"

    return Rows.of(([columns[k] for _, columns in parts] for k in range(5)), place)


def _require_whole(path: Path, text: str) -> None:
    """Require that the last line ends, as the service ends it, so that no number is cut.

    Raises:
        InputError: it does not.
    """
    if text[-1] in f"\n{BREAKS}":
        return
    lines = text.splitlines()
    if not lines[-1].startswith("#"):
        raise InputError(
            f"{path}: line {len(lines) - 1} {lines[-1][-40:]!r} ends without a newline: expected "
            "one, as without it the file may be cut"
        )


def _parts(catalog: Catalog, path: Path, text: str) -> Iterator[Part]:
    """Yield the parts of a text whose lines each follow a newline."""
    daily = catalog.gauges.values == "daily"
    header: list[str] = []
    series: list[Series] = []
    held = False
    begin, number = 0, 1  # of the next line
    for found in (*SPECIAL.finditer(text), None):
        line = found[0][1:] if found else ""
        fields = [*map(str.strip, line.split("\t"))]
        is_header = fields[0] == "agency_cd"
        is_comment = line.startswith("#")
        if not (is_header or is_comment or not line.strip() or all(map(WIDTH.fullmatch, fields))):
            continue  # it holds values after all
        end = found.start() if found else len(text)
        lines = Lines(text, begin, end, number)
        if lines.text and not lines.text.isspace():
            yield from _values(path, lines, header, series, daily)
        number += text.count("\n", begin, end) + 1
        begin = found.end() if found else end
        if is_comment and DISCHARGE in line and (not daily or "00003" in line):
            check_units(catalog, path, line)
        if is_header and not is_comment:
            header, series = fields, _series_of(catalog, path, fields)
            held = held or bool(series)
    if header and not held:  # other blocks may hold sites without discharge
        values = catalog.gauges.values
        raise InputError(f"{path}: columns {', '.join(header)}: expected {EXPECTED[values]}")


def _values(
    path: Path, lines: Lines, header: list[str], series: list[Series], daily: bool
) -> Iterator[Part]:
    """Yield the parts of consecutive lines below a header, one for each series."""
    kinds: dict[int, pa.DataType] = {}
    for one in series:
        kinds |= {one.time: TEXT, one.value: TEXT, one.site: DISTINCT}
        kinds |= {k: DISTINCT for k in (one.zone, one.qualifiers) if k is not None}
    columns, surplus = _split(lines.text, len(header), kinds)
    for one in series:
        time = columns[one.time]
        blank = _repeat("", len(time))
        if not daily:
            codes = Texts.of([blank if one.zone is None else columns[one.zone]])
            time, unknown = with_zone(Texts.of([time]), codes)
            if unknown.any():
                row = int(unknown.argmax())
                raise InputError(
                    f"{path}: line {lines.line(row)[0]}: tz_cd {codes[row]!r}: expected a code "
                    "such as CST"
                )
        name = _repeat(one.name, len(time))
        qualifiers = blank if one.qualifiers is None else columns[one.qualifiers]
        yield lines, [columns[one.site], name, time, columns[one.value], qualifiers]
    if surplus is not None:
        number, fields = lines.line(surplus)
        wanted = f"at most {len(header)}" if header else "a header that starts with agency_cd"
        raise InputError(
            f"{path}: line {number} holds {len(fields)} tab-separated fields, "
            f"{fields[0][:40]!r} first: expected {wanted}"
        )


def _split(
    text: str, width: int, kinds: dict[int, pa.DataType]
) -> tuple[dict[int, Column], int | None]:
    """Split lines to columns by position, with blanks for missing fields.

    They end before the first line with more than `width` fields; also returns its position.
    """
    columns = split_columns(text, "\t", width, kinds) if width else None
    if columns is not None:
        return columns, None
    rows = [line.split("\t") for line in text.split("\n") if line]
    surplus = next((k for k, fields in enumerate(rows) if len(fields) > width), None)
    filled = [fields + [""] * (width - len(fields)) for fields in rows[:surplus]]
    return {k: pa.array([row[k] for row in filled], TEXT) for k in kinds}, surplus


def _repeat(text: str, size: int) -> Column:
    """A column of one text."""
    return pa.DictionaryArray.from_arrays(np.zeros(size, np.int32), pa.array([text], TEXT))


def _series_of(catalog: Catalog, path: Path, header: list[str]) -> list[Series]:
    """The series of discharge in a block; none for a block without discharge."""
    values = catalog.gauges.values
    columns = {name: found for name in header if (found := COLUMN[values].fullmatch(name))}
    needed = {"site_no", "datetime"} | (set() if values == "daily" else {"tz_cd"})
    if not columns:
        return []
    if not needed <= set(header):
        raise InputError(f"{path}: columns {', '.join(header)}: expected {EXPECTED[values]}")
    check_parameter(catalog, path, next(iter(columns)))
    at = {name: header.index(name) for name in header}
    return [
        Series(
            name=found[1] or "",
            site=at["site_no"],
            time=at["datetime"],
            zone=at.get("tz_cd"),
            value=at[name],
            qualifiers=at.get(f"{name}_cd"),
        )
        for name, found in columns.items()
    ]
