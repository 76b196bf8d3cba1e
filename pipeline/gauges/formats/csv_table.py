"""Read discharge from CSV files and similar tables whose layout the catalog describes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.gauge_source import SITE, Columns, FirstLine, Gauges
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISTINCT,
    TEXT,
    WORDS_OF_UNITS,
    Column,
    check_quantity,
    check_units,
    listed,
    read_text,
    split_columns,
)
from pipeline.gauges.rows import Rows, Texts
from pipeline.gauges.site_numbers import site_number, unpadded

DELIMITERS = {"tab": "\t", "blanks": "\t"}  # blanks are replaced by tabs
NEWLINE = "\n"
BLANKS = re.compile(r"[ \t]+")
STEP_NUMBER = re.compile(r"0*[1-9][0-9]{0,6}")
BLANKS_AT_ENDS = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """Text of a table.

    Attributes:
        path: of its file.
        text: with empty lines in place of those that are left out, so that lines keep their number.
        start: day or instant of step 1, if times are numbers of steps.
        delimiter: between fields.
        header: fields of the first line, or numbers from 1.
        headless: whether the first line already holds values.
    """

    path: Path
    text: str
    start: datetime | None
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


def read_csv(catalog: Catalog, path: Path, sites: Sequence[str] = ()) -> Rows:
    """Read the rows of a table.

    Args:
        catalog: describes it.
        path: of the file.
        sites: of a table with a column a site, those to read; without, all.

    Raises:
        InputError: the file is no such table, is cut within its last line, lacks a column or has it
            twice, or names other units than the catalog.
    """
    columns = catalog.gauges.columns or Columns()
    table = _open(catalog, path, columns)
    series = _series(catalog, table, columns, sites)
    at = {one: table.header.index(one) for one in (*columns.others, *series.values())}
    if not catalog.gauges.whole:
        _require_whole(catalog, table, [at[one] for one in at if one != columns.flag])
    positions = [*at.values()]
    found = _split_plain(table, positions) or _split(table, positions)
    texts = {one: Texts.of([found[at[one]]]) for one in columns.others}
    value = Texts.of([found[at[one]] for one in series.values()])
    size = len(next(iter(found.values())))

    def place(row: int) -> str:
        return f"line {next(islice(table.records(), int(row) % size, None))[0]}"

    time = _times(catalog, table, [texts[one] for one in columns.times], size, place)
    blank = Texts.repeat("", value.codes.size)
    site_no = blank if columns.site is None else texts[columns.site]
    if columns.wide:
        site_no = Texts.of([_repeat(site, size) for site in series])
        time = replace(time, codes=np.tile(time.codes, len(series)))
    return Rows(
        site_no=site_no,
        series=blank,
        time=time,
        value=value,
        qualifiers=blank if columns.flag is None else texts[columns.flag],
        place=place,
    )


def _series(
    catalog: Catalog, table: Table, columns: Columns, sites: Sequence[str]
) -> dict[str, str | int]:
    """Columns of discharge by site number; by a blank if there is one column."""
    if isinstance(columns.discharge, str):
        check_units(catalog, table.path, columns.discharge)
        check_quantity(catalog, table.path, columns.discharge)
    if not columns.wide:
        return {"": columns.discharge}
    before, after = map(re.escape, str(columns.discharge).split(SITE, 1))
    names = [str(name) for name in table.header if name not in columns.times]
    matches = [found for name in names if (found := re.fullmatch(f"{before}(.+){after}", name))]
    wanted = {unpadded(site_number(site, catalog.usgs)) for site in sites}
    series: dict[str, str | int] = {
        one[1]: one[0]
        for one in matches
        if not sites or unpadded(site_number(one[1], catalog.usgs)) in wanted
    }
    if twice := [str(name) for name in series.values() if names.count(str(name)) > 1]:
        raise InputError(f"{table.path}: has {listed(twice)} twice: expected each column once")
    if not series:
        raise InputError(
            f"{table.path}: columns {listed(names)}: expected {columns.discharge!r}, the "
            f"gauges.columns.discharge of {catalog.path}, for {listed(sites)}"
        )
    return series


def _times(
    catalog: Catalog, table: Table, texts: Sequence[Texts], size: int, place: Callable[[int], str]
) -> Texts:
    """Days or instants as text; of numbers of steps those that the start gives them."""
    gauges = catalog.gauges
    if table.start is None:
        return _joined(texts)
    numbers = texts[0] if texts else Texts.of([pa.array(map(str, range(1, size + 1)), TEXT)])
    form = "%Y-%m-%d" if gauges.values == "daily" else "%Y-%m-%dT%H:%M:%SZ"
    found = []
    for code, text in enumerate(numbers.distinct.to_pylist()):
        if not STEP_NUMBER.fullmatch(text):
            row = int((numbers.codes == code).argmax())
            raise InputError(
                f"{table.path}: {place(row)}: step {text!r}: expected a whole number, as "
                f"gauges.start of {catalog.path} counts steps from 1"
            )
        step = gauges.step or timedelta(days=1)
        try:
            found.append((table.start + (int(text) - 1) * step).strftime(form))
        except OverflowError as error:
            raise InputError(
                f"{table.path}: step {text} of {step} from {table.start}: expected a year below "
                "10000"
            ) from error
    return replace(numbers, distinct=pa.array(found, TEXT))


def _open(catalog: Catalog, path: Path, columns: Columns) -> Table:
    """Read a file, and find the columns that the catalog names."""
    gauges = catalog.gauges
    text = read_text(path, gauges.encoding)
    start = gauges.start
    if isinstance(start, FirstLine):
        start = _first_line(catalog, path, text, start.first_line)
    text = _without_preamble(catalog, path, text)
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
    for name in columns.others if columns.wide else columns.used:
        if header.count(name) != 1:
            often = "lacks" if name not in header else "has twice"
            raise InputError(
                f"{path}: columns {', '.join(map(str, header))}: {often} {name!r}: expected "
                f"{name} once, as gauges.columns of {catalog.path} says (gauges.delimiter is "
                f"{gauges.delimiter!r}, and line {number} is the first)"
            )
    return Table(path, text, start, delimiter, header, headless)


def _first_line(catalog: Catalog, path: Path, text: str, form: str) -> datetime:
    """Day, or instant in UTC, that stands alone in a file's first line.

    Raises:
        InputError: it is not written as `form`.
    """
    line = text.partition("\n")[0].strip()
    try:
        start = datetime.strptime(line, form)
    except ValueError as error:
        raise InputError(
            f"{path}: line 1 {line[:40]!r}: expected the time of the first value as {form!r}, as "
            f"gauges.start of {catalog.path} says"
        ) from error
    return start if start.tzinfo is None else start.astimezone(UTC).replace(tzinfo=None)


def _without_preamble(catalog: Catalog, path: Path, text: str) -> str:
    """Text with empty lines in place of those before the header, and of comments."""
    gauges = catalog.gauges
    left_out: list[str] = []
    skip = 1 if isinstance(gauges.start, FirstLine) else gauges.skip
    if skip:
        lines = text.split("\n")
        count = skip if isinstance(skip, int) else _line_of(gauges, lines) + 1
        if not count or count >= len(lines):
            raise InputError(
                f"{path}: holds {len(lines)} lines: expected more after gauges.skip "
                f"{skip!r} of {catalog.path}"
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


def _require_whole(catalog: Catalog, table: Table, needed: Sequence[int]) -> None:
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
            "newline: expected one, as without it the file may be cut, or gauges.whole: true in "
            f"{catalog.path}"
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


def _repeat(text: str, size: int) -> Column:
    """A column of one text."""
    return pa.DictionaryArray.from_arrays(np.zeros(size, np.int32), pa.array([text], TEXT))


def _joined(texts: Sequence[Texts]) -> Texts:
    """A column of the texts of some columns, with blanks between them."""
    if len(texts) == 1:
        return texts[0]
    columns = [one.distinct.take(one.codes) for one in texts]
    return Texts.of([pc.binary_join_element_wise(*columns, pa.scalar(" ", TEXT))])
