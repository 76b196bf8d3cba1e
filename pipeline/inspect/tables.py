"""Describe texts with columns: which hold time, site, discharge and flags, and how to read them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog
from pipeline.catalog.time import YEARS
from pipeline.errors import InputError
from pipeline.gauges.formats.common import WORDS_OF_UNITS, listed
from pipeline.gauges.read import read_rows
from pipeline.gauges.record import RecordFile
from pipeline.inspect.description import (
    Description,
    add_suspects,
    describe_times,
    describe_values,
    suspected_codes,
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
FLAG_NAME = re.compile(r"flag|qual|code|sym|stat|(?<!agency)_cd$|remark", re.IGNORECASE)
MAX_WIDTH = 40  # columns; more are a matrix
SAMPLED = 400  # lines that decide how fields are separated


def record_catalog(gauges: dict[str, Any]) -> Catalog:
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


def draw_hydrograph(times: pd.DatetimeIndex, values: NDArray[Any]) -> Any:
    """A function that draws values over time."""

    def draw(axes: Any) -> None:
        axes.plot(times, values, linewidth=0.6)
        axes.set_ylabel("discharge")

    return draw


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


def describe_table(description: Description, text: str) -> None:
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
    if len(stated) == 1:
        description.keys["units"] = stated[0]
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
    both = [ok and bool(DATE.search(line)) for ok, line in zip(holds, lines, strict=True)]
    holds = both if sum(both) > 0.5 * sum(holds) else holds
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
    gaps = np.diff(times.to_numpy()) if times is not None else np.array([], "m8[ns]")
    if gaps.size and np.median(gaps) < np.timedelta64(1, "D"):
        description.keys["values"] = "instantaneous"
    at: dict[str, Any] = {role: names[k] if table.header else k + 1 for role, k in roles.items()}
    if split is not None:
        at["time"] = [names[k] if table.header else k + 1 for k in split[1]]
        description.keys["time_format"] = "%Y %m %d"
    description.keys["columns"] = {"site": None, **at}
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
            description.add("discharge", "with a decimal comma")
            description.keys["decimal"] = ","
        add_suspects(description, values, "gauges.missing")
        if codes := suspected_codes(values):
            description.keys["missing"] = list(codes)
        words = Counter(
            text for text, one in zip(columns[roles["discharge"]], numbers, strict=True)
            if one is None
        )  # fmt: skip
        if words:
            said = ", ".join(f"{text or 'blank'} {count}" for text, count in words.most_common(4))
            description.add("no number", said)
        if times is not None and times.size == values.size:
            description.draw = draw_hydrograph(times, values)


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
    """Add the keys of a catalog that describe the table, and why its reader refuses it, if so."""
    keys = description.keys
    if "time" not in keys["columns"] or "discharge" not in keys["columns"]:
        description.refuse(InputError("no columns of time and discharge were recognised"))
        return
    skip = table.first - 1 - bool(table.header)
    found: dict[str, Any] = {
        "format": "csv",
        "files": "{site}",
        "units": keys.get("units", "m3/s"),
        "values": keys.get("values", "daily"),
        "delimiter": {"\t": "tab", " ": "blanks"}.get(table.separator, table.separator),
        "skip": skip,
        **{key: keys[key] for key in ("decimal", "encoding", "time_format", "columns", "missing")
           if key in keys},
    }  # fmt: skip
    if found.get("time_format") == "%Y-%m-%d":
        del found["time_format"]
    if found["values"] == "instantaneous":
        found["time_zone"] = "UTC"
    plain: dict[str, Any] = {"delimiter": ",", "skip": 0, "values": "daily"}
    description.keys = {key: value for key, value in found.items() if plain.get(key) != value}
    try:
        catalog = record_catalog(found)
        file = RecordFile(catalog, description.path, read_rows(catalog, description.path))
        file.record(next(iter(file.sites)))
    except (InputError, ValueError) as error:
        description.refuse(error)
