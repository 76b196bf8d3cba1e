"""Read USGS RDB files: tab-separated blocks of daily or instantaneous values.

https://help.waterdata.usgs.gov/faq/about-tab-delimited-output
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import itemgetter
from pathlib import Path

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import DISCHARGE, check_parameter, check_units, read_text
from pipeline.gauges.record import Row, site_number
from pipeline.gauges.times import with_zone

WIDTH = re.compile(r"\d+[sdn]")  # of the row below an RDB header: 5s 15s 20d 14n 10s
COLUMN = {  # number of the time series, parameter 00060, for days statistic 00003: mean
    "daily": re.compile(rf"(?:(\w+)_)?{DISCHARGE}_00003"),
    "instantaneous": re.compile(rf"(?:(\w+)_)?{DISCHARGE}(?:_00011)?"),
}
EXPECTED = {
    "daily": "site_no, datetime and daily mean discharge, NN_00060_00003",
    "instantaneous": "site_no, datetime, tz_cd and instantaneous discharge, NN_00060",
}
Getter = Callable[[list[str]], tuple[str, ...]]


def read_rdb(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Yield the rows of an RDB file: per block a header, a row of widths, and lines.

    Raises:
        InputError: a header or column of discharge is missing, a line does not fit its header, a
            time zone code is unknown, or units contradict the catalog.
    """
    daily = catalog.gauges.values == "daily"
    header: list[str] = []
    getters: list[tuple[str, Getter]] = []
    held = False
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        if text.startswith("#"):
            if DISCHARGE in text and (not daily or "00003" in text):
                check_units(catalog, path, text)
            continue
        fields = [*map(str.strip, text.split("\t"))]
        if not text.strip() or (WIDTH.fullmatch(fields[0]) and all(map(WIDTH.fullmatch, fields))):
            continue
        if fields[0] == "agency_cd":
            header, getters = fields, _getters(catalog, path, fields)
            held = held or bool(getters)
            continue
        if not header or len(fields) > len(header):
            wanted = f"at most {len(header)}" if header else "a header that starts with agency_cd"
            raise InputError(
                f"{path}: line {number} holds {len(fields)} tab-separated fields, "
                f"{fields[0][:40]!r} first: expected {wanted}"
            )
        fields += repeat("", len(header) + 1 - len(fields))  # missing ones, and one more
        place = f"line {number}"
        for series, get in getters:
            site, date, zone, value, qualifiers = get(fields)
            time = date if daily else with_zone(date, zone)
            if time is None:
                raise InputError(f"{path}: {place}: tz_cd {zone!r}: expected a code such as CST")
            yield Row(site_number(site), series, time, value, qualifiers, place)
    if header and not held:  # other blocks may hold sites without discharge
        values = catalog.gauges.values
        raise InputError(f"{path}: columns {', '.join(header)}: expected {EXPECTED[values]}")


def _getters(catalog: Catalog, path: Path, header: list[str]) -> list[tuple[str, Getter]]:
    """Series of each column of discharge, and a getter of site, date, zone, value and qualifiers.

    Empty for a block without discharge. Position `len(header)` of a line is a blank.
    """
    values = catalog.gauges.values
    columns = {name: found for name in header if (found := COLUMN[values].fullmatch(name))}
    needed = {"site_no", "datetime"} | (set() if values == "daily" else {"tz_cd"})
    if not columns:
        return []
    if not needed <= set(header):
        raise InputError(f"{path}: columns {', '.join(header)}: expected {EXPECTED[values]}")
    check_parameter(catalog, path, next(iter(columns)))

    def at(name: str) -> int:
        return header.index(name) if name in header else len(header)

    return [
        (found[1] or "", itemgetter(*map(at, ("site_no", "datetime", "tz_cd", name, f"{name}_cd"))))
        for name, found in columns.items()
    ]
