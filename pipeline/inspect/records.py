"""Describe discharge records: the agency's formats by readers, other texts by their columns."""

from __future__ import annotations

import csv
import gzip
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog
from pipeline.catalog.time import YEARS
from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.formats.common import WORDS_OF_UNITS
from pipeline.gauges.read import READERS
from pipeline.gauges.record import GaugeRecord, RecordFile, listed
from pipeline.inspect.description import (
    Description,
    add_suspects,
    describe_times,
    describe_values,
)

DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%b-%Y", "%Y%m%d", "%Y.%m.%d",
)  # fmt: skip
CLOCKS = (" %H:%M", " %H:%M:%S", "T%H:%M:%SZ", "T%H:%M:%S.%fZ", "T%H:%M", "T%H:%M:%S")
TIME_FORMATS = (
    *DAYS, *(day + clock for day in DAYS for clock in CLOCKS), "%H:%M:%S %d/%m/%Y",
    "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d/%H%M",
)  # fmt: skip
DATE = re.compile(r"\d{1,4}[-/.]\w{1,3}[-/.]\d{1,4}|\d{8}")
SITE_NAME = re.compile(r"site|station|gauge|gage|^\s*id$|_id$|_no$", re.IGNORECASE)
VALUE_NAME = re.compile(
    r"discharge|flow|^\s*q\b|value|valeur|débit|debit|abfluss|wert|mean", re.IGNORECASE
)
FLAG_NAME = re.compile(r"flag|qual|code|sym|stat|_cd$|remark", re.IGNORECASE)
GZIP = b"\x1f\x8b"
MAX_WIDTH = 40  # columns; more are a matrix
MAX_TEXT = 200_000_000  # bytes
SAMPLED = 400  # lines that decide how fields are separated


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
    else:
        _describe_text(description, text)
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
    description.add("refused", "databases are not read: expected its series as csv")


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
        description.add("encoding", "Latin-1: the csv reader expects UTF-8")
        return text


# ------------------------------------------------------------------ the agency's formats


def _agency_format(text: str) -> str | None:
    """Name of the agency's format, as in `gauges.format`; None for another text."""
    head = text[:4000].lstrip()
    if head.startswith("<"):
        return "waterml"
    if head.startswith("{"):
        return "waterdata" if "FeatureCollection" in head else "json"
    return "rdb" if "agency_cd\t" in text[:100_000] else None


def _catalog(gauges: dict[str, Any]) -> Catalog:
    """A catalog of nothing but records, which their readers expect."""
    rain = {"driver": "geotiff", "files": "{time:%Y%m%d}", "units": "mm"}
    return Catalog.model_validate(
        {
            "title": "inspected",
            "period": {"step": "day", "start": "2000-01-01", "end": "2000-01-02"},
            "forcings": {"precipitation": rain},
            "gauges": gauges,
            "watersheds": {"file": "none", "site_field": "none"},
        }
    )


def _describe_agency(description: Description, agency: str) -> None:
    description.add("format", f"{agency} of the USGS, discharge in ft3/s")
    reasons = []
    for values in ("daily", "instantaneous"):
        gauges = {"format": agency, "files": "none", "units": "ft3/s", "values": values}
        catalog = _catalog(gauges)
        try:
            file = RecordFile(catalog, description.path, READERS[agency](catalog, description.path))
        except InputError as error:
            reasons.append(error)
            continue
        for site in list(file.sites)[:6]:
            try:
                _add_record(description, file.record(site), values)
                description.keys |= {"format": agency, "units": "ft3/s", "values": values}
            except InputError as error:
                description.refuse(error)
        if len(file.sites) > 6:
            description.add("sites", f"and {len(file.sites) - 6} more")
    if not description.keys:
        for reason in reasons[:1]:
            description.refuse(reason)


def _add_record(description: Description, record: GaugeRecord, values: str) -> None:
    description.add("sites", f"{record.site_no}: {values}, {describe_times(record.start)}")
    description.add("discharge", f"{describe_values(record.discharge)} [m3/s]")
    names = {code: name for name, code in FLAGS.items()}
    counts = Counter(names[code] for code in record.flag.tolist())
    description.add("flags", ", ".join(f"{name} {count}" for name, count in counts.items()))
    add_suspects(description, record.discharge, "gauges.missing")
    description.draw = description.draw or _hydrograph(record.start, record.discharge)


def _hydrograph(times: pd.DatetimeIndex, values: NDArray[Any]) -> Any:
    def draw(axes: Any) -> None:
        axes.plot(times, values, linewidth=0.6)
        axes.set_ylabel("discharge")

    return draw


# ------------------------------------------------------------------ other texts


@dataclass(frozen=True)
class Table:
    """Lines of equally many fields, and what stands around them.

    Attributes:
        separator: of the fields.
        header: names of the columns; empty if the file has none.
        rows: (rows, columns) of text.
        first: number of the first line with values.
        before, after: lines that are not of the table.
    """

    separator: str
    header: list[str]
    rows: list[list[str]]
    first: int
    before: list[str]
    after: list[str]


def _describe_text(description: Description, text: str) -> None:
    lines = text.splitlines()
    table = _split(lines)
    if table is None:
        description.kind = "unknown"
        description.add("format", f"text of {len(lines)} lines, not a table")
        description.add("first line", repr(lines[0][:100]) if lines else "empty")
        description.add("refused", "expected lines with a time and a discharge")
        return
    said = {"\t": "tabs", " ": "blanks"}.get(table.separator, repr(table.separator))
    description.add("format", f"table: {len(table.rows)} rows, fields separated by {said}")
    if table.before:
        description.add("before it", f"{len(table.before)} lines, {table.before[0][:70]!r} ...")
    if table.after:
        description.add("after it", f"{len(table.after)} lines, {table.after[0][:70]!r} ...")
    _describe_columns(description, table)
    stated = [units for units, words in WORDS_OF_UNITS.items() if words.search(text[:20_000])]
    description.add(
        "units", f"states {', '.join(stated)}" if stated else "none stated: expected ft3/s or m3/s"
    )
    _try_csv(description, table)


def _split(lines: list[str]) -> Table | None:
    """The table in a text: its longest run of lines with equally many fields, one a date."""
    middle = [line for line in lines[len(lines) // 4 :][:SAMPLED] if DATE.search(line)]
    middle = middle or [line for line in lines[len(lines) // 2 :][:SAMPLED] if line.strip()]
    if not middle:
        return None
    best: tuple[float, str, int] = (0.0, "", 0)
    for separator in ("\t", ";", ",", " "):
        width, count = Counter(len(_fields(line, separator)) for line in middle).most_common(1)[0]
        if width > 1 and count / len(middle) > max(best[0], 0.9):
            best = (count / len(middle), separator, width)
    _, separator, width = best
    if not separator or width > MAX_WIDTH:
        return None
    fields = [_fields(line, separator) for line in lines]
    holds = [
        len(one) == width
        and not line.startswith("#")
        and any(part[:1].isdigit() for part in one)
        and any(_number(part) is not None or DATE.search(part) for part in one)
        for line, one in zip(lines, fields, strict=True)
    ]
    if not any(holds):
        return None
    first, last = holds.index(True), len(holds) - 1 - holds[::-1].index(True)
    above = fields[first - 1] if first else []
    header = above if len(above) == width and not lines[first - 1].startswith("#") else []
    return Table(
        separator=separator,
        header=header,
        rows=[one for one, ok in zip(fields, holds, strict=True) if ok],
        first=first + 1,
        before=[line for line in lines[: first - bool(header)] if line.strip()],
        after=[line for line in lines[last + 1 :] if line.strip()],
    )


def _fields(line: str, separator: str) -> list[str]:
    if '"' in line and separator != " ":
        return [part.strip() for part in next(csv.reader([line], delimiter=separator))]
    parts = line.split() if separator == " " else line.split(separator)
    return [part.strip().strip('"') for part in parts]


def _number(text: str) -> float | None:
    """A decimal number, with a point or a comma."""
    if not re.fullmatch(r"[-+]?\d*[.,]?\d+(?:[eE][-+]?\d+)?|[-+]?\d+[.,]", text):
        return None
    return float(text.replace(",", "."))


def _describe_columns(description: Description, table: Table) -> None:
    """Add each column, and which one is the time, the site, the discharge and the flag."""
    columns = [list(column) for column in zip(*table.rows, strict=True)]
    names = table.header or [f"column {k + 1}" for k in range(len(columns))]
    if not table.header:
        description.add("columns", "without a line of names")
    roles: dict[str, int] = {}
    times: pd.DatetimeIndex | None = None
    for k, column in enumerate(columns):
        if forms := _time_formats(column):
            roles["time"] = k
            parsed = pd.to_datetime(pd.Series(column), format=forms[0], errors="coerce")
            dated = parsed.notna().tolist()
            times = pd.DatetimeIndex(parsed[dated])
            columns = [list(compress(one, dated)) for one in columns]
            rest = f", or {' or '.join(forms[1:])}: which?" if len(forms) > 1 else ""
            lost = f", {len(dated) - times.size} lines without" if times.size < len(dated) else ""
            description.add("time", f"{names[k]}: {forms[0]}{rest}{lost}")
            description.add("times", describe_times(times))
            description.keys["time_format"] = forms[0]
            break
    split = None if "time" in roles else _split_date(columns)
    if split is not None:
        description.add("time", f"year, month, day in {', '.join(names[k] for k in split[1])}")
        description.add("times", describe_times(split[0]))
        times = split[0]
    taken = {*roles.values(), *(split[1] if split else ())}
    for k, (name, column) in enumerate(zip(names, columns, strict=True)):
        if k not in taken:
            description.add("columns", f"{name}: {_about_column(column)}")
    roles |= _roles(names, columns, taken)
    for role, k in roles.items():
        description.add("guess", f"{role} is {names[k]}")
    description.keys["columns"] = {role: names[k] for role, k in roles.items()}
    if "site" in roles:
        description.add("sites", listed(set(columns[roles["site"]])))
    if "flag" in roles:
        texts = columns[roles.get("discharge", roles["flag"])]
        description.add("flags", _about_flags(columns[roles["flag"]], texts))
    if "discharge" in roles:
        numbers = [_number(text) for text in columns[roles["discharge"]]]
        values = np.array([np.nan if one is None else one for one in numbers])
        description.add("discharge", describe_values(values))
        if any("," in text for text in columns[roles["discharge"]][:1000]):
            description.add("discharge", "decimal comma: the csv reader expects a point")
        add_suspects(description, values, "gauges.missing")
        words = Counter(
            text for text, one in zip(columns[roles["discharge"]], numbers, strict=True)
            if one is None
        )  # fmt: skip
        if words:
            said = ", ".join(f"{text or 'blank'} {count}" for text, count in words.most_common(4))
            description.add("no number", said)
        if times is not None and times.size == values.size:
            description.draw = _hydrograph(times, values)


def _about_flags(flags: list[str], texts: list[str]) -> str:
    """Counts of the flags; and the value that all rows of a flag have, which may mean missing."""
    said = []
    for flag, count in Counter(flags).most_common(8):
        values = {text for one, text in zip(flags, texts, strict=True) if one == flag}
        same = f", always {values.pop()!r}: missing?" if len(values) == 1 and count > 2 else ""
        said.append(f"{flag or 'blank'} ({count}{same})")
    return " ".join(said)


def _split_date(columns: list[list[str]]) -> tuple[pd.DatetimeIndex, tuple[int, int, int]] | None:
    """Days of three neighbouring columns of year, month and day, and these columns."""
    whole = [all(re.fullmatch(r"\d{1,4}", text) for text in column) for column in columns]
    for k in range(len(columns) - 2):
        if not all(whole[k : k + 3]):
            continue
        parts = dict(zip(("year", "month", "day"), columns[k : k + 3], strict=True))
        days = pd.to_datetime(pd.DataFrame(parts).astype(int), errors="coerce")
        if days.notna().all() and days.dt.year.between(*YEARS).all():
            return pd.DatetimeIndex(days), (k, k + 1, k + 2)
    return None


def _time_formats(column: list[str]) -> list[str]:
    """Formats in which nearly all texts of a column are times."""
    some = pd.Series(column).drop_duplicates()
    some = some.iloc[np.unique(np.linspace(0, some.size - 1, 500).astype(int))]
    if not some.str.contains(r"\d").any() or some.str.len().max() < 8:
        return []
    found = []
    for form in TIME_FORMATS:
        times = pd.to_datetime(some, format=form, errors="coerce")
        fits = times.dt.year.between(*YEARS)
        if some.str.fullmatch(r"\d+").mean() > 0.5:  # digits alone are divided in one way only
            fits &= times.dt.strftime(form) == some
        if fits.mean() > 0.98:
            found.append(form)
    return found


def _about_column(column: list[str]) -> str:
    numbers = [one for one in map(_number, column) if one is not None]
    distinct = len(set(column))
    named = any(re.match(r"0\d", text) for text in column)  # leading zeros are of identifiers
    if len(numbers) > 0.5 * len(column) and not named:
        return f"numbers {min(numbers):g} to {max(numbers):g}, {distinct} distinct"
    return f"text, {distinct} distinct, such as {column[0][:30]!r}"


def _roles(names: list[str], columns: list[list[str]], taken: set[int]) -> dict[str, int]:
    """Positions of the columns of site, discharge and flag, by their names, then their content."""
    roles: dict[str, int] = {}
    free = [k for k in range(len(columns)) if k not in taken]
    numeric = {k: np.mean([_number(text) is not None for text in columns[k]]) > 0.5 for k in free}
    for role, pattern in (("site", SITE_NAME), ("flag", FLAG_NAME), ("discharge", VALUE_NAME)):
        for k in free:
            fits = numeric[k] if role == "discharge" else True
            if role not in roles and k not in roles.values() and fits and pattern.search(names[k]):
                roles[role] = k
    free = [k for k in free if k not in roles.values()]
    if "site" not in roles:
        constant = [k for k in free if len(set(columns[k])) == 1 and len(columns[k][0]) > 4]
        roles |= {"site": constant[0]} if constant else {}
    if "discharge" not in roles:
        values = [k for k in free if numeric[k] and k not in roles.values()]
        spread = sorted(values, key=lambda k: -len(set(columns[k])))
        roles |= {"discharge": spread[0]} if spread else {}
    return roles


def _try_csv(description: Description, table: Table) -> None:
    """Add why the csv reader refuses the file, if it does."""
    if table.separator != "," or not table.header or table.before:
        description.add(
            "refused",
            "gauges.format csv expects a first line of column names, and fields between commas",
        )
        return
    if "site" not in description.keys["columns"]:
        description.add("refused", "no column of site numbers, which columns.site has to name")
