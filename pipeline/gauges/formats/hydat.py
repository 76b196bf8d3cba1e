"""Read daily discharge from HYDAT, the SQLite database of the Water Survey of Canada.

A row of its table DLY_FLOWS is a month: the flow and the symbol of each day in columns.
https://collaboration.cmc.ec.gc.ca/cmc/hydrometrics/www/
"""

from __future__ import annotations

import calendar
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import listed
from pipeline.gauges.rows import Row, Rows, gather
from pipeline.gauges.site_numbers import unpadded

TABLE = "DLY_FLOWS"
UNITS = "m3/s"
DAYS = range(1, 32)
COLUMNS = ", ".join(
    ["STATION_NUMBER", "YEAR", "MONTH"]
    + [f"FLOW{day}" for day in DAYS]
    + [f"FLOW_SYMBOL{day}" for day in DAYS]
)
# B: estimated with consideration for ice. A (partial day), D (dry) and R (revised) change nothing.
QUALIFIERS = {"E": "e", "B": "e"}


def stations_of(path: Path) -> list[str]:
    """Numbers of the stations with daily flows, sorted.

    Raises:
        InputError: the file is no such database.
    """
    query = f"SELECT DISTINCT STATION_NUMBER FROM {TABLE} ORDER BY STATION_NUMBER"
    return [station for (station,) in _select(path, query)]


def _select(path: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    if not path.is_file():
        raise InputError(f"{path}: not readable (no such file): expected HYDAT")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            return base.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise InputError(
            f"{path}: not readable ({error}): expected HYDAT, with its table {TABLE}"
        ) from error


def read_hydat(catalog: Catalog, path: Path, sites: Sequence[str] = ()) -> Rows:
    """Read the daily flows of some stations, without, of all.

    Raises:
        InputError: the file is no such database, or lacks a station; or the catalog wants other
            units than m3/s, or instants.
    """
    gauges = catalog.gauges
    if gauges.values != "daily" or gauges.units != UNITS:
        raise InputError(
            f"{path}: holds daily means in {UNITS}: expected no {gauges.values} values in "
            f"{gauges.units}, as gauges of {catalog.path} says"
        )
    stations = stations_of(path)
    wanted = [one for one in stations if unpadded(one) in set(map(unpadded, sites))]
    if sites and not wanted:
        raise InputError(f"{path}: holds {listed(stations)}: expected a record of {listed(sites)}")
    query = f"SELECT {COLUMNS} FROM {TABLE} WHERE STATION_NUMBER = ? ORDER BY YEAR, MONTH"
    months = [month for one in wanted or stations for month in _select(path, query, one)]

    def days(catalog: Catalog, path: Path) -> Iterator[Row]:
        for station, year, month, *values in months:
            count = calendar.monthrange(year, month)[1]
            if any(value is not None for value in values[count : len(DAYS)]):
                raise InputError(
                    f"{path}: {station} {year}-{month:02d}: flows after the last day: expected none"
                )
            for day in range(count):
                flow, symbol = values[day], values[len(DAYS) + day]
                time = f"{year}-{month:02d}-{day + 1:02d}"
                value = "" if flow is None else str(flow)
                yield Row(station, "", time, value, QUALIFIERS.get(symbol, ""), f"{TABLE} {time}")

    return gather(days, catalog, path)
