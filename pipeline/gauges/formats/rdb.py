"""USGS RDB: tab-separated blocks, daily or instantaneous.

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
Pick = Callable[[list[str]], tuple[str, ...]]


def read_rdb(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Rows of an RDB file: per block a header, a row of widths, and tab-separated lines.

    Raises:
        InputError: no header, no column of discharge, a line that does not fit its header, an
            unknown time zone code, or units that contradict the catalog.
    """
    daily = catalog.gauges.values == "daily"
    header: list[str] = []
    picks: list[tuple[str, Pick]] = []
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
            header, picks = fields, _picks(catalog, path, fields)
            held = held or bool(picks)
            continue
        if not header or len(fields) > len(header):
            wanted = f"at most {len(header)}" if header else "a header that starts with agency_cd"
            raise InputError(
                f"{path}: line {number} holds {len(fields)} tab-separated fields, "
                f"{fields[0][:40]!r} first: expected {wanted}"
            )
        fields += repeat("", len(header) + 1 - len(fields))  # those cut off, and one more
        place = f"line {number}"
        for series, pick in picks:
            site, date, zone, value, qualifiers = pick(fields)
            time = date if daily else with_zone(date, zone)
            if time is None:
                raise InputError(f"{path}: {place}: tz_cd {zone!r}: expected a code such as CST")
            yield Row(site_number(site), series, time, value, qualifiers, place)
    if header and not held:  # other blocks may be of sites without discharge
        values = catalog.gauges.values
        raise InputError(f"{path}: columns {', '.join(header)}: expected {EXPECTED[values]}")


def _picks(catalog: Catalog, path: Path, header: list[str]) -> list[tuple[str, Pick]]:
    """Per column of discharge its series, and what takes site, date, zone, value and qualifiers
    out of a line; nothing in a block without one. Position `len(header)` is a blank."""
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
