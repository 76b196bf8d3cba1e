"""Describe a text as a table of discharge, with the keys of a catalog that reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import WORDS_OF_UNITS, listed
from pipeline.gauges.read import read_rows
from pipeline.gauges.record import RecordFile
from pipeline.inspect.columns import (
    Times,
    find_roles,
    find_times,
    mixed_codes,
    of_usgs,
    sites_in_names,
    with_time,
)
from pipeline.inspect.description import (
    OPEN,
    Description,
    add_suspects,
    describe_times,
    describe_values,
    suspected_codes,
)
from pipeline.inspect.text_table import TextTable, find_table, number
from pipeline.units import RUNOFF_M_S

UNIT_LINE = re.compile(r"unit|einheit|unité|unidad|discharge|flow", re.IGNORECASE)
NUMBER = r"(-\d+(?:\.\d+)?|9999\d*(?:\.\d+)?)"
STATED_MISSING = (  # in the lines above a table
    re.compile(rf"(?:missing|no.?data|fill|invalid|gaps?)\b[^-\d]{{0,40}}{NUMBER}", re.IGNORECASE),
    re.compile(rf"{NUMBER}\s*[-=:]?\s*(?:missing|no.?data)", re.IGNORECASE),
    re.compile(rf"RINVAL{NUMBER}"),
)
SITE_TOKEN = re.compile(r"(?=\w*\d)[\w-]{3,20}")
YEAR = re.compile(r"1[789]\d\d|20\d\d")
HEADER_LINES = 100
MAX_VALUES = 200_000  # of a table with a column a site that are looked at
MIN_SAME = 3  # rows of a flag with one value


def record_catalog(gauges: dict[str, Any]) -> Catalog:
    """A catalog of nothing but records, which their readers expect."""
    rain = {"driver": "geotiff", "files": "{time:%Y%m%d}", "units": "mm"}
    watersheds: dict[str, Any] = {"file": "none", "site_field": "none"}
    return Catalog.model_validate(
        {
            "title": "inspected",
            "period": {"step": "day", "start": "2000-01-01", "end": "2000-01-02"},
            "forcings": {"precipitation": rain},
            "gauges": gauges,
            "watersheds": watersheds,
        }
    )


def draw_hydrograph(times: pd.DatetimeIndex, values: NDArray[Any]) -> Any:
    """A function that draws values over time."""

    def draw(axes: Any) -> None:
        axes.plot(times, values, linewidth=0.6)
        axes.set_ylabel("discharge")

    return draw


def describe_table(description: Description, text: str) -> None:
    """Add what a text holds as a table, and the keys that describe it."""
    lines = text.splitlines()
    table = find_table(lines)
    if table is None:
        description.kind = "unknown"
        description.add("format", f"text of {len(lines)} lines, not a table")
        description.add("first line", repr(lines[0][:100]) if lines else "empty")
        numbers = [number(part) for part in (lines[0].split() if lines else [])]
        matrix = len(numbers) > 20 and None not in numbers
        expected = "an ESRI ASCII grid, whose header has ncols, nrows, corner and cellsize"
        description.add(
            "refused",
            f"{len(numbers)} numbers in the first line, without a header: expected {expected}"
            if matrix
            else "expected lines with a time and a discharge",
        )
        return
    said = {"\t": "tabs", " ": "blanks"}.get(table.separator, repr(table.separator))
    description.add("format", f"table: {len(table.rows)} rows, fields separated by {said}")
    for label, around in (("before it", table.before), ("after it", table.after)):
        if around:
            description.add(label, f"{len(around)} lines, {around[0][:70]!r} ...")
    description.keys |= _layout(table)
    _describe_columns(description, table)
    _add_units(description, table)
    if "discharge" not in description.keys["columns"] or "time" not in description.keys["columns"]:
        description.kind = "unknown"
        description.refuse(InputError(_what_lacks(description, table)))
        return
    above = "\n".join(table.before[:HEADER_LINES])
    head = [*SITE_TOKEN.findall(above), *re.findall(r"\d{4,}", above)]
    head = [token for token in head if not YEAR.fullmatch(token)]
    if head:
        description.sites["the lines above the table"] = [*dict.fromkeys(head)]
    if not text.endswith("\n"):
        description.keys["whole"] = True
        description.add("last line", f"{lines[-1][-40:]!r} ends without a newline: is it whole?")
    try_keys(description)


def _what_lacks(description: Description, table: TextTable) -> str:
    """What is not known of the columns."""
    if "time" not in description.keys["columns"]:
        return "no column of times was recognised"
    shown = (f"{name} ({text!r})" for name, text in zip(table.names, table.rows[0], strict=True))
    return f"no column is known as discharge, of {listed(shown)}: expected one of plain numbers"


def _layout(table: TextTable) -> dict[str, Any]:
    """Keys of how the text is divided."""
    keys: dict[str, Any] = {
        "format": "csv",
        "delimiter": {"\t": "tab", " ": "blanks"}.get(table.separator, table.separator),
    }
    skip = table.first - 1 - bool(table.header)
    if table.comment:
        keys["comment"] = table.comment
    elif skip:
        keys["skip"] = table.opening or skip
    return keys


def _describe_columns(description: Description, table: TextTable) -> None:
    """Add each column, and which one is the time, the site, the discharge and the flag."""
    columns = [list(column) for column in zip(*table.rows, strict=True)]
    names = table.names
    if not table.header:
        description.add("columns", "without a line of names")
    times = find_times(columns)
    at: dict[str, Any] = {"site": None}
    if times is not None:
        columns = with_time(columns, times)
        at["time"] = _add_times(description, table, times)
    taken = set(times.columns) if times else set()
    if times is not None and (wide := sites_in_names(table, columns, taken)):
        pattern, sites = wide
        description.add("columns", f"{len(sites)}, one a site: {listed(sites)}")
        description.sites["the names of columns"] = sites
        description.keys["columns"] = at | {"discharge": pattern}
        _add_wide_values(description, columns, taken)
        return
    for k, (name, column) in enumerate(zip(names, columns, strict=True)):
        if k not in taken:
            description.add("columns", f"{name}: {_about_column(column)}")
    roles = find_roles(table, columns, taken)
    for role, k in roles.items():
        description.add("guess", f"{role} is {names[k]}")
    description.keys["columns"] = at | {role: table.key(k) for role, k in roles.items()}
    if "flag" in roles and mixed_codes(columns[roles["flag"]]):
        description.add("guess", "flags are left out: A and P have a meaning of their own here")
        del description.keys["columns"]["flag"]
    if of_usgs(columns):
        description.keys["agency"] = "usgs"
    if "site" in roles:
        sites = [*dict.fromkeys(columns[roles["site"]])]
        description.add("sites", listed(sites))
        description.sites[f"the column {table.key(roles['site'])}"] = sites
    if "discharge" in roles:
        _add_discharge(description, table, roles, columns, times)


def _add_times(description: Description, table: TextTable, times: Times) -> Any:
    """Add the times, and the keys that describe them; return that of their columns."""
    names = ", ".join(table.names[k] for k in times.columns)
    at = [table.key(k) for k in times.columns]
    if not times.formats:
        description.add("time", f"{names}: steps from 1 to {len(times.dated)}")
        description.keys["start"] = OPEN
        dates = re.findall(r"\d{4}-\d\d?-\d\d?|\d\d?[-./]\d\d?[-./]\d{4}", "\n".join(table.before))
        said = f", the lines above name {listed(set(dates))}" if dates else ""
        description.add("times", f"none: gauges.start is the day of the first step{said}")
        return at[0]
    rest = times.formats[1:]
    which = f", or {' or '.join(rest)}: which?" if rest else ""
    lost = times.dated.count(False)
    without = f", {lost} lines without" if lost else ""
    description.add("time", f"{names}: {times.formats[0]}{which}{without}")
    description.add("times", describe_times(times.index))
    if times.formats[0] != "%Y-%m-%d":
        description.keys["time_format"] = times.formats[0]
    if not times.daily:
        description.keys["values"] = "instantaneous"
        if "%z" not in times.formats[0] and not times.formats[0].endswith("Z"):
            description.keys["time_zone"] = OPEN
    return at[0] if len(at) == 1 else at


def _add_discharge(
    description: Description,
    table: TextTable,
    roles: dict[str, int],
    columns: Sequence[list[str]],
    times: Times | None,
) -> None:
    """Add the values, the flags, and what looks or is said to be missing."""
    texts = columns[roles["discharge"]]
    if "flag" in roles:
        said, same = _about_flags(columns[roles["flag"]], texts)
        description.add("flags", said)
        if same and "flag" in description.keys["columns"]:
            description.keys["missing_flags"] = [OPEN, *same]
    numbers = [number(text) for text in texts]
    values = np.array([np.nan if one is None else one for one in numbers])
    description.add("discharge", describe_values(values))
    if any("," in text for text in texts):
        description.add("discharge", "with a decimal comma")
        description.keys["decimal"] = ","
    add_suspects(description, values, "gauges.missing")
    head = "\n".join(table.before[:HEADER_LINES])
    stated = {float(one) for words in STATED_MISSING for one in words.findall(head)}
    if stated:
        description.add("stated missing", listed(f"{one:g}" for one in stated))
    words = Counter(text for text, one in zip(texts, numbers, strict=True) if one is None)
    if words:
        shown = ", ".join(f"{text or 'blank'} {count}" for text, count in words.most_common(4))
        description.add("no number", shown)
    if missing := [*sorted({*suspected_codes(values), *stated}), *filter(None, words)]:
        description.keys["missing"] = missing
    if times is not None and times.index.size == values.size:
        description.draw = draw_hydrograph(times.index, values)


def _add_wide_values(
    description: Description, columns: Sequence[list[str]], taken: set[int]
) -> None:
    """Add the values of a table with a column a site, of rows spread over it."""
    free = [column for k, column in enumerate(columns) if k not in taken]
    step = max(1, len(free) * len(free[0]) // MAX_VALUES)
    texts = [text for column in free for text in column[::step]]
    values = np.array([np.nan if (one := number(text)) is None else one for text in texts])
    description.add("discharge", describe_values(values))
    add_suspects(description, values, "gauges.missing")
    if codes := suspected_codes(values):
        description.keys["missing"] = [*codes]
    if any("," in text for text in texts):
        description.keys["decimal"] = ","


def _about_flags(flags: list[str], texts: list[str]) -> tuple[str, list[str]]:
    """Counts of the flags; and those whose rows all have one value, which may mean missing."""
    said, same = [], []
    for flag, count in Counter(flags).most_common(8):
        values = {text for one, text in zip(flags, texts, strict=True) if one == flag}
        one = (
            f", always {values.pop()!r}: missing?" if len(values) == 1 and count >= MIN_SAME else ""
        )
        if one and flag and len(set(flags)) > 1:
            same.append(flag)
        said.append(f"{flag or 'blank'} ({count}{one})")
    return " ".join(said), same


def _about_column(column: list[str]) -> str:
    numbers = [one for one in map(number, column) if one is not None]
    distinct = len(set(column))
    named = any(re.match(r"0\d", text) for text in column)  # leading zeros are of identifiers
    if len(numbers) > 0.5 * len(column) and not named:
        return f"numbers {min(numbers):g} to {max(numbers):g}, {distinct} distinct"
    return f"text, {distinct} distinct, such as {column[0][:30]!r}"


def _add_units(description: Description, table: TextTable) -> None:
    """Add the unit, by the name of the column or the lines above the table."""
    column = description.keys["columns"].get("discharge")
    above = [line for line in table.before if UNIT_LINE.search(line)] or table.before
    for where, text in (
        ("in its column's name", str(column)),
        ("in the lines above the table", "\n".join(above)),
    ):
        stated = [units for units, words in WORDS_OF_UNITS.items() if words.search(text)]
        if len(stated) == 1:
            description.keys["units"] = stated[0]
            description.add("units", f"states {stated[0]}, {where}")
            return
    description.keys["units"] = OPEN
    description.add("units", "none stated: m3/s, ft3/s, ML/day, mm/day ...")


def try_keys(description: Description) -> None:
    """Add why the reader refuses a record with its keys, if so; OPEN ones are assumed."""
    assumed = {"units": "m3/s", "time_zone": "UTC", "start": "2000-01-01", "step": "1h"}
    keys = {"files": "{site}", **description.keys}
    keys |= {key: value for key, value in assumed.items() if keys.get(key) == OPEN}
    keys.pop("missing_flags", None)
    try:
        catalog = record_catalog(keys)
        file = RecordFile(catalog, description.path, read_rows(catalog, description.path))
        area = 1e6 if catalog.gauges.units in RUNOFF_M_S else None
        file.record(max(file.sites, key=lambda site: file.sites[site].size), area)
    except (InputError, ValueError) as error:
        description.refuse(error)
