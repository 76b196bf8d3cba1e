"""Describe discharge records: the agency's formats by readers, other texts by their columns."""

from __future__ import annotations

import gzip
import sqlite3
from collections import Counter
from pathlib import Path

from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.formats.common import listed
from pipeline.gauges.formats.hydat import TABLE, UNITS, stations_of
from pipeline.gauges.read import read_rows
from pipeline.gauges.record import GaugeRecord, RecordFile
from pipeline.inspect.description import (
    Description,
    add_suspects,
    describe_times,
    describe_values,
)
from pipeline.inspect.outlets import describe_outlets
from pipeline.inspect.tables import describe_table, draw_hydrograph, record_catalog
from pipeline.inspect.values_only import describe_values_only

GZIP = b"\x1f\x8b"
MAX_TEXT = 200_000_000  # bytes


def describe_record(path: Path) -> Description:
    """Describe a text file, or a database, as a record of discharge.

    Raises:
        InputError: it is not readable.
    """
    description = Description(path, "record")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}): expected a file") from error
    if data.startswith(b"SQLite format 3"):
        _describe_database(description)
    elif (text := _decode(description, data)) is None:
        description.kind = "unknown"
        _describe_bytes(description, data)
        description.add("refused", "no reader knows it: expected a raster, record or polygons")
    elif agency := _agency_format(text):
        _describe_agency(description, agency)
    elif not (describe_values_only(description, text) or describe_outlets(description, text)):
        describe_table(description, text)
    return description


def _describe_database(description: Description) -> None:
    description.kind = "unknown"
    description.add("format", "SQLite database")
    with sqlite3.connect(f"file:{description.path}?mode=ro", uri=True) as base:
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables[:10]:
            columns = [row[1] for row in base.execute(f"PRAGMA table_info('{table}')")]
            (rows,) = base.execute(f"SELECT count(*) FROM '{table}'").fetchone()
            description.add("tables", f"{table}: {rows} rows, {listed(columns)}")
        found = {name for (name,) in tables}
    if TABLE in found:
        _describe_hydat(description)
    else:
        description.add("refused", "no HYDAT: of databases, expected its series as csv")


def _describe_hydat(description: Description) -> None:
    """Add the stations of HYDAT, and the record of the first."""
    description.kind = "record"
    description.facts[0] = ("format", f"HYDAT, an SQLite database with the table {TABLE}")
    description.add("units", f"states {UNITS}, by definition")
    description.keys = {"format": "hydat", "units": UNITS}
    catalog = record_catalog({**description.keys, "files": "none"})
    try:
        stations = stations_of(description.path)
        description.sites[f"the table {TABLE}"] = stations
        description.add("sites", f"{len(stations)}: {listed(stations)}")
        rows = read_rows(catalog, description.path, stations[:1])
        _add_record(
            description, RecordFile(catalog, description.path, rows).record(stations[0]), "daily"
        )
    except InputError as error:
        description.refuse(error)


def _describe_bytes(description: Description, data: bytes) -> None:
    """Add size and first bytes, of what is inside if it is a gzip file."""
    size = f"{description.path.stat().st_size} bytes"
    if data[:2] != GZIP:
        description.add("format", f"binary, {size}")
    else:
        description.add("format", f"gzip, {size}: expected it unpacked")
        try:
            with gzip.open(description.path) as file:
                data = file.read(60)
        except (OSError, EOFError) as error:
            description.add("refused", f"not readable ({error})")
    description.add("first bytes", repr(data[:60]))


def _decode(description: Description, data: bytes) -> str | None:
    """Text of a file; None if it is binary."""
    if b"\0" in data[:4000] or data[:2] == GZIP:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        if sum(not (c.isprintable() or c.isspace()) for c in text[:4000]) > 40:
            return None
        description.add("encoding", "Latin-1")
        description.keys["encoding"] = "latin-1"
        return text


def _agency_format(text: str) -> str | None:
    """Name of the agency's format, as in `gauges.format`; None for another text."""
    head = text[:4000].lstrip()
    if head.startswith("<"):
        return "waterml"
    if head.startswith("{"):
        return "waterdata" if "FeatureCollection" in head else "json"
    return "rdb" if "agency_cd\t" in text[:100_000] else None


def _describe_agency(description: Description, agency: str) -> None:
    description.add("format", f"{agency} of the USGS, discharge in ft3/s")
    description.add("units", "states ft3/s, by definition")
    reasons = []
    for values in ("daily", "instantaneous"):
        gauges = {"format": agency, "files": "none", "units": "ft3/s", "values": values}
        catalog = record_catalog(gauges)
        try:
            file = RecordFile(catalog, description.path, read_rows(catalog, description.path))
        except InputError as error:
            reasons.append(error)
            continue
        description.sites["the file"] = [*file.sites]
        for site in list(file.sites)[:6]:
            try:
                _add_record(description, file.record(site), values)
                description.keys |= {"format": agency, "units": "ft3/s", "values": values}
            except InputError as error:
                description.refuse(error)
        if len(file.sites) > 6:
            description.add("sites", f"and {len(file.sites) - 6} more")
    if not description.keys:
        description.kind = "unknown"
        for reason in reasons[:1]:
            description.refuse(reason)


def _add_record(description: Description, record: GaugeRecord, values: str) -> None:
    description.add("sites", f"{record.site_no}: {values}, {describe_times(record.start)}")
    description.add("discharge", f"{describe_values(record.discharge)} [m3/s]")
    names = {code: name for name, code in FLAGS.items()}
    counts = Counter(names[code] for code in record.flag.tolist())
    description.add("flags", ", ".join(f"{name} {count}" for name, count in counts.items()))
    add_suspects(description, record.discharge, "gauges.missing")
    description.draw = description.draw or draw_hydrograph(record.start, record.discharge)
