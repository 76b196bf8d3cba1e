"""Read discharge from CSV files and similar tables whose layout the catalog describes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.gauge_source import Columns, Gauges
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISTINCT,
    TEXT,
    WORDS_OF_UNITS,
    Column,
    check_units,
    read_text,
    split_columns,
)
from pipeline.gauges.rows import Rows, Texts

DELIMITERS = {"tab": "\t", "blanks": "\t"}  # blanks are replaced by tabs
NEWLINE = "\n"
BLANKS = re.compile(r"[ \t]+")
BLANKS_AT_ENDS = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """Text of a table.

    Attributes:
        path: of its file.
        text: with empty lines in place of those that are left out, so that lines keep their number.
        delimiter: between fields.
        header: fields of the first line, or numbers from 1.
        headless: whether the first line already holds values.
    """

    path: Path
    text: str
    delimiter: str
    header: Sequence[str | int]
    headless: bool

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Number of the last line and fields of each record below the header.

        Raises:
            InputError: a quoted field does not end.
        """
        lines = _records(self.path, self.text, self.delimiter)
        return lines if self.headless else islice(lines, 1, None)


def read_csv(catalog: Catalog, path: Path) -> Rows:
    """Read the rows of a table.

    Raises:
        InputError: the file is no such table, is cut within its last line, lacks a column or has it
            twice, or names other units than the catalog.
    """
    columns = catalog.gauges.columns or Columns()
    table = _open(catalog, path, columns)
    at = {one: table.header.index(one) for one in columns.used}
    _require_whole(table, [at[one] for one in columns.used if one != columns.flag])
    positions = [*at.values()]
    found = _split_plain(table, positions) or _split(table, positions)
    if isinstance(columns.discharge, str):
        check_units(catalog, path, columns.discharge)
    texts = {one: Texts.of([found[k]]) for one, k in at.items()}
    value = texts[columns.discharge]
    blank = Texts.repeat("", value.codes.size)
    return Rows(
        site_no=blank if columns.site is None else texts[columns.site],
        series=blank,
        time=_joined([texts[one] for one in columns.times]),
        value=value,
        qualifiers=blank if columns.flag is None else texts[columns.flag],
        place=lambda row: f"line {next(islice(table.records(), int(row), None))[0]}",
    )


def _open(catalog: Catalog, path: Path, columns: Columns) -> Table:
    """Read a file, and find the columns that the catalog names."""
    gauges = catalog.gauges
    text = _without_preamble(catalog, path, read_text(path, gauges.encoding))
    if gauges.delimiter == "blanks":
        if '"' in text:
            raise InputError(f"{path}: holds quotes: expected none, as gauges.delimiter is blanks")
        text = BLANKS.sub("\t", BLANKS_AT_ENDS.sub("", text))
    delimiter = DELIMITERS.get(gauges.delimiter, gauges.delimiter)
    number, first = next(_records(path, text, delimiter), (0, []))
    if not first:
        raise InputError(f"{path}: not readable (it is empty): expected a discharge CSV")
    headless = isinstance(columns.discharge, int)
    header: Sequence[str | int] = (
        range(1, len(first) + 1) if headless else [name.strip() for name in first]
    )
    for name in columns.used:
        if header.count(name) != 1:
            often = "lacks" if name not in header else "has twice"
            raise InputError(
                f"{path}: columns {', '.join(map(str, header))}: {often} {name!r}: expected "
                f"{name} once, as gauges.columns of {catalog.path} says (gauges.delimiter is "
                f"{gauges.delimiter!r}, and line {number} is the first)"
            )
    return Table(path, text, delimiter, header, headless)


def _without_preamble(catalog: Catalog, path: Path, text: str) -> str:
    """Text with empty lines in place of those before the header, and of comments."""
    gauges = catalog.gauges
    left_out: list[str] = []
    if gauges.skip:
        lines = text.split("\n")
        count = gauges.skip if isinstance(gauges.skip, int) else _line_of(gauges, lines) + 1
        if not count or count >= len(lines):
            raise InputError(
                f"{path}: holds {len(lines)} lines: expected more after gauges.skip "
                f"{gauges.skip!r} of {catalog.path}"
            )
        left_out += lines[:count]
        text = "\n" * count + "\n".join(lines[count:])
    if gauges.comment:
        comments = re.compile(rf"^{re.escape(gauges.comment)}[^\n]*", re.MULTILINE)
        left_out += comments.findall(text)
        text = comments.sub("", text)
    stated = {unit for unit, words in WORDS_OF_UNITS.items() if words.search("\n".join(left_out))}
    if len(stated) == 1:
        check_units(catalog, path, "\n".join(left_out))
    return text


def _line_of(gauges: Gauges, lines: list[str]) -> int:
    """Position of the last line to skip, -1 if there is none."""
    return next((k for k, line in enumerate(lines) if line.startswith(str(gauges.skip))), -1)


def _require_whole(table: Table, needed: Sequence[int]) -> None:
    """Require that the last line, if no newline ends it, holds the needed fields to their ends.

    Raises:
        InputError: it does not, as in a download that was cut.
    """
    last = table.text[table.text.rfind("\n") + 1 :]
    if not last.strip() or last.endswith('"'):
        return
    fields = last.split(table.delimiter)
    if len(fields) < len(table.header) or len(fields) - 1 in needed:
        raise InputError(
            f"{table.path}: line {len(table.text.split(NEWLINE))} {last[-40:]!r} ends without a "
            "newline: expected one, as without it the file may be cut"
        )


def _split_plain(table: Table, at: Sequence[int]) -> dict[int, Column] | None:
    """Columns by position; None if the text has quotes, or lines of unequal length."""
    if '"' in table.text or "\0" in table.text:
        return None
    lines = table.text.lstrip("\n")
    if not table.headless:
        lines = lines.partition("\n")[2]
    return split_columns(lines, table.delimiter, len(table.header), dict.fromkeys(at, DISTINCT))


def _split(table: Table, at: Sequence[int]) -> dict[int, Column]:
    """Columns by position, of any table; missing fields at the end of a line are blank."""
    width = len(table.header)
    rows: list[list[str]] = []
    for number, fields in table.records():
        if any(map(str.strip, fields[width:])):
            raise InputError(
                f"{table.path}: line {number} holds {len(fields)} fields: expected at most {width}"
            )
        rows.append(fields + [""] * (width - len(fields)))
    return {k: pa.array([row[k] for row in rows], TEXT) for k in at}


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and fields of each record that is no blank line."""
    reader = csv.reader(StringIO(text), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num}: {error}: expected a discharge CSV"
        ) from error


def _joined(texts: Sequence[Texts]) -> Texts:
    """A column of the texts of some columns, with blanks between them."""
    if len(texts) == 1:
        return texts[0]
    columns = [one.distinct.take(one.codes) for one in texts]
    return Texts.of([pc.binary_join_element_wise(*columns, pa.scalar(" ", TEXT))])
