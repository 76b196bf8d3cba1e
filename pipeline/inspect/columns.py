"""Tell what the columns of a table hold: times, sites, discharge, qualifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.catalog.time import YEARS
from pipeline.inspect.text_table import TextTable, number

DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%b-%Y", "%Y%m%d", "%Y.%m.%d",
    "%d-%m-%Y", "%m-%d-%Y", "%b %d %Y", "%d %b %Y", "%d%m%Y",
)  # fmt: skip
CLOCKS = (
    " %H:%M", " %H:%M:%S", "T%H:%M:%SZ", "T%H:%M:%S.%fZ", "T%H:%M", "T%H:%M:%S", " %H:%M:%S.%f",
    "T%H:%M:%S%z", "T%H:%M:%S.%f%z", " %H:%M:%S%z", " %I:%M:%S %p", " %I:%M %p",
)  # fmt: skip
TIME_FORMATS = (
    *DAYS, *(day + clock for day in DAYS for clock in CLOCKS), "%H:%M:%S %d/%m/%Y",
    "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H", "%Y%m%d/%H%M",
)  # fmt: skip
DATE_PARTS = re.compile(r"%[YmdbB]")
SITE_NAME = re.compile(r"site|station|gauge|gage|catchment|basin|^\s*id$|_id$|_no$", re.IGNORECASE)
VALUE_NAME = re.compile(
    r"discharge|flow|^\s*q\b|^q_|qobs|original|value|valeur|débit|debit|abfluss|caudal|vazao|portata|wert|mean",
    re.IGNORECASE,
)
OTHER_NAME = re.compile(r"precip|rain|prcp|temp|swe|evap|\bpet\b|level|stage|height", re.IGNORECASE)
FLAG_NAME = re.compile(r"flag|qual|code|sym|stat(?:us|ut)|(?<!agency)_cd$|remark", re.IGNORECASE)
WORD = re.compile(r"[\w-]+")
SITE_TEXT = re.compile(r"(?=.*\d)[\w-]+")  # a constant column may hold the site number
SAMPLED = 1000  # texts that tell whether a column holds numbers
TRIED = 5  # texts of a column that are tried in a format first
USGS = "USGS"
USGS_CODES = {"A", "P", "e", "A:e", "P:e", "A,e", "P,e", ""}


class Times(NamedTuple):
    """Times of a table's rows.

    Attributes:
        columns: positions.
        formats: all that fit, the likeliest first; empty where rows are numbered steps.
        index: times of the rows that have one; empty for steps.
        dated: whether each row has a time.
    """

    columns: tuple[int, ...]
    formats: tuple[str, ...]
    index: pd.DatetimeIndex
    dated: list[bool]

    @property
    def daily(self) -> bool:
        """Whether most rows are a day or more apart."""
        gaps = np.diff(np.unique(self.index.to_numpy()))
        return not (gaps.size and np.median(gaps) < np.timedelta64(1, "D"))


def find_times(columns: Sequence[Sequence[str]]) -> Times | None:
    """The column of times, or year, month and day in neighbouring columns, or numbers of steps."""
    for k, column in enumerate(columns):
        if formats := _formats(column):
            parsed = pd.to_datetime(pd.Series(column), format=formats[0], errors="coerce", utc=True)
            dated = parsed.notna().tolist()
            index = pd.DatetimeIndex(parsed[dated]).tz_localize(None)
            found = Times((k,), tuple(formats), index, dated)
            return found._replace(formats=tuple(_without_clock(found, form) for form in formats))
    return _split_date(columns) or _steps(columns)


def _without_clock(times: Times, form: str) -> str:
    """A format with the clock in place of its fields, where all days have the same but midnight.

    The days of `192011011200` are 1920-11-01, with the format %Y%m%d1200.
    """
    clocks = set(times.index.time) if times.daily else set()
    if len(clocks) != 1 or "%z" in form or not re.search("%[HIMSf]", form):
        return form
    (clock,) = clocks
    if not any((clock.hour, clock.minute, clock.second)):
        return form
    return re.sub("%[HIMSfp]", lambda field: clock.strftime(field[0]), form)


def _formats(column: Sequence[str]) -> list[str]:
    """Formats in which nearly all texts of a column are times."""
    some = pd.Series(column).drop_duplicates()
    some = some.iloc[np.unique(np.linspace(0, some.size - 1, 500).astype(int))]
    if not some.str.contains(r"\d").any() or some.str.len().max() < 8:
        return []
    found = []
    tried = some.iloc[:: max(1, some.size // TRIED)].tolist()
    for form in TIME_FORMATS:
        if not any(_is_time(text, form) for text in tried):  # which pandas takes long to say
            continue
        times = pd.to_datetime(some, format=form, errors="coerce", utc=True)
        fits = times.dt.year.between(*YEARS)
        if some.str.fullmatch(r"\d+").mean() > 0.5:  # digits alone are divided in one way only
            fits &= times.dt.strftime(form) == some
        if fits.mean() > 0.98:
            found.append(form)
    return found


def _is_time(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _split_date(columns: Sequence[Sequence[str]]) -> Times | None:
    """Days of three neighbouring columns, year first or last."""
    whole = [all(re.fullmatch(r"\d{1,4}", text) for text in column) for column in columns]
    for k in range(len(columns) - 2):
        if not all(whole[k : k + 3]):
            continue
        texts = pd.Series([" ".join(parts) for parts in zip(*columns[k : k + 3], strict=True)])
        found = {
            form: pd.DatetimeIndex(days)
            for form in ("%Y %m %d", "%d %m %Y", "%m %d %Y")
            if (days := pd.to_datetime(texts, format=form, errors="coerce")).notna().all()
            and days.dt.year.between(*YEARS).all()
        }
        if found:
            index = next(iter(found.values()))
            return Times((k, k + 1, k + 2), tuple(found), index, [True] * index.size)
    return None


def _steps(columns: Sequence[Sequence[str]]) -> Times | None:
    """A first column that counts the rows."""
    first = [number(text) for text in columns[0]]
    counted = [None if one is None else one - k for k, one in enumerate(first)]
    if len(columns) < 2 or len(first) < 3 or set(counted) != {1.0}:
        return None
    return Times((0,), (), pd.DatetimeIndex([]), [True] * len(first))


def find_roles(
    table: TextTable, columns: Sequence[Sequence[str]], taken: set[int]
) -> dict[str, int]:
    """Positions of the columns of site, discharge and flag, by their names, then their content."""
    roles: dict[str, int] = {}
    names = table.names
    free = [k for k in range(len(columns)) if k not in taken]
    numeric = {k: _is_numeric(columns[k]) for k in free}
    likely = {
        "site": [k for k in free if any(WORD.fullmatch(text) for text in columns[k][:9])],
        "flag": [k for k in free if any(columns[k])],
        "discharge": [
            k
            for k in free
            if numeric[k] and not OTHER_NAME.search(names[k]) and len(set(columns[k])) > 1
        ],
    }
    for role, pattern in (("site", SITE_NAME), ("flag", FLAG_NAME), ("discharge", VALUE_NAME)):
        for k in likely[role]:
            if role not in roles and k not in roles.values() and pattern.search(names[k]):
                roles[role] = k
    if "flag" not in roles and not table.header:
        codes = [k for k in free if USGS_CODES.issuperset(columns[k]) and any(columns[k])]
        roles |= {"flag": codes[0]} if codes else {}
    if "site" not in roles:
        constant = [
            k
            for k in likely["site"]
            if len(set(columns[k])) == 1 and len(columns[k][0]) > 4 and k not in roles.values()
        ]
        constant = [k for k in constant if SITE_TEXT.fullmatch(columns[k][0])]
        roles |= {"site": constant[0]} if constant else {}
    if "discharge" not in roles:
        values = [k for k in likely["discharge"] if k not in roles.values()]
        if len(values) == 1 or not table.header:
            spread = sorted(values, key=lambda k: -len(set(columns[k])))
            roles |= {"discharge": spread[0]} if spread else {}
    return roles


def _is_numeric(column: Sequence[str]) -> bool:
    """Whether most texts that are not blank are numbers."""
    texts = [text for text in column if text]
    texts = texts[:: max(1, len(texts) // SAMPLED)]
    return bool(texts) and float(np.mean([number(text) is not None for text in texts])) > 0.5


def sites_in_names(
    table: TextTable, columns: Sequence[Sequence[str]], taken: set[int]
) -> tuple[str, list[str]] | None:
    """How the columns of a table with a column a site are named, with {site}, and the sites."""
    names = [
        table.names[k] for k in range(len(columns)) if k not in taken and _is_numeric(columns[k])
    ]
    if len(names) < 2 or not table.header:
        return None
    before = re.sub(r"[A-Za-z0-9]+$", "", _common_start(names))
    after = re.sub(r"[A-Za-z0-9]+$", "", _common_start([name[::-1] for name in names]))[::-1]
    sites = [name[len(before) : len(name) - len(after)] for name in names]
    if not all(SITE_TEXT.fullmatch(site) for site in sites) or any(map(OTHER_NAME.search, names)):
        return None
    return f"{before}{{site}}{after}", sites


def _common_start(names: Sequence[str]) -> str:
    """The longest text with which all names begin."""
    same = [len(set(letters)) == 1 for letters in zip(*names, strict=False)]
    return names[0][: same.index(False) if False in same else len(same)]


def mixed_codes(flags: Sequence[str]) -> bool:
    """Whether A or P, approved and provisional to the reader, stand among other codes."""
    found = {flag.casefold() for flag in flags}
    usual = {code.casefold() for code in USGS_CODES}
    return bool(found & {"a", "p"}) and not found <= usual


def of_usgs(columns: Sequence[Sequence[str]]) -> bool:
    """Whether a column names the USGS as the agency."""
    return any(set(column) == {USGS} for column in columns)


def with_time(columns: Sequence[Any], times: Times) -> list[list[str]]:
    """Columns of the rows that have a time."""
    return [list(compress(column, times.dated)) for column in columns]
