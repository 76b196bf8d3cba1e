"""Find the table in a text: its separator, its header, and the lines around it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

DATE = re.compile(r"\d{1,4}[-/.]\w{1,3}[-/.]\d{1,4}|\d{8}")
NUMBER = re.compile(r"[-+]?\d*[.,]?\d+(?:[eE][-+]?\d+)?|[-+]?\d+[.,]")
MARKS = "#%!*$"  # that begin comments
MAX_WIDTH = 2000  # columns; more are a matrix
MAX_UNDATED = 40  # columns of a table without dates, likewise
SAMPLED = 400  # lines that decide how fields are separated
RUN = 10  # consecutive lines of fields that begin a table


@dataclass(frozen=True)
class TextTable:
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

    @property
    def names(self) -> list[str]:
        """Names of the columns, or numbers."""
        return self.header or [f"column {k + 1}" for k in range(len(self.rows[0]))]

    def key(self, column: int) -> str | int:
        """What a catalog calls a column."""
        return self.header[column] if self.header else column + 1

    @property
    def comment(self) -> str:
        """The mark that begins all lines before the table; empty if none does."""
        mark = self.before[0][:1] if self.before else ""
        return mark if mark and mark in MARKS and all(one[0] == mark for one in self.before) else ""

    @property
    def opening(self) -> str:
        """Text of the line before the table, if no other begins so and it has no date or number.

        Files of other sites may have more or fewer lines before it.
        """
        if not self.before or self.header or self.comment:
            return ""
        text = self.before[-1].strip()
        alone = sum(line.startswith(text) for line in (*self.before, *self.after)) == 1
        return text if alone and len(text) < 40 and not re.search(r"\d", text) else ""


def find_table(lines: list[str]) -> TextTable | None:
    """The table in a text: lines of equally many fields, of which most have a date."""
    middle = [line for line in lines[len(lines) // 4 :][:SAMPLED] if DATE.search(line)]
    dated = bool(middle)
    middle = middle or [line for line in lines[len(lines) // 2 :][:SAMPLED] if line.strip()]
    if not middle:
        return None
    best: tuple[float, str, int] = (0.0, "", 0)
    for separator in ("\t", ";", ",", " "):
        width, count = Counter(len(split(line, separator)) for line in middle).most_common(1)[0]
        if width > 1 and count / len(middle) > max(best[0], 0.9):
            best = (count / len(middle), separator, width)
    _, separator, width = best
    if not separator or width > (MAX_WIDTH if dated else MAX_UNDATED):
        return None
    fields = [split(line, separator) for line in lines]
    holds = [
        len(one) == width
        and not line.startswith("#")
        and any(part[:1].isdigit() for part in one)
        and any(number(part) is not None or DATE.search(part) for part in one)
        for line, one in zip(lines, fields, strict=True)
    ]
    dates = _dates(fields, holds)
    if dates is not None:
        holds = [ok and bool(DATE.match(one[dates])) for ok, one in zip(holds, fields, strict=True)]
    if not any(holds):
        return None
    first, last = _first(holds), len(holds) - 1 - holds[::-1].index(True)
    above = fields[first - 1] if first else []
    header = above if len(above) == width and not lines[first - 1].startswith("#") else []
    if len(set(header)) < len(header) or any(map(_is_value, header)):  # no names
        header = []
    return TextTable(
        separator=separator,
        header=header,
        rows=[one for one, ok in zip(fields[first:], holds[first:], strict=True) if ok],
        first=first + 1,
        before=[line for line in lines[: first - bool(header)] if line.strip()],
        after=[line for line in lines[last + 1 :] if line.strip()],
    )


def _dates(fields: list[list[str]], holds: list[bool]) -> int | None:
    """Position of the column of which most fields begin with a date."""
    rows = [one for one, ok in zip(fields, holds, strict=True) if ok]
    for k in range(len(rows[0]) if rows else 0):
        if sum(bool(DATE.match(one[k])) for one in rows) > 0.5 * len(rows):
            return k
    return None


def _is_value(text: str) -> bool:
    return bool(DATE.fullmatch(text)) or ("." in text and number(text) is not None)


def _first(holds: list[bool]) -> int:
    """Position of the first of some consecutive lines of the table."""
    count = 0
    for k, ok in enumerate(holds):
        count = count + 1 if ok else 0
        if count == RUN:
            return k - RUN + 1
    return holds.index(True)


def split(line: str, separator: str) -> list[str]:
    """Fields of a line."""
    if '"' in line and separator != " ":
        return [part.strip() for part in next(csv.reader([line], delimiter=separator))]
    parts = line.split() if separator == " " else line.split(separator)
    return [part.strip().strip('"') for part in parts]


@lru_cache(maxsize=2**16)  # texts of a column are often alike
def number(text: str) -> float | None:
    """A decimal number, with a point or a comma."""
    if not NUMBER.fullmatch(text):
        return None
    return float(text.replace(",", "."))
