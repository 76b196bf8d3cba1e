"""Helpers of all record formats: text files, and the agency's codes of units and statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.csv

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError

Column: TypeAlias = pa.Array | pa.ChunkedArray  # of one of these types
TEXT = pa.large_string()
DISTINCT = pa.dictionary(pa.int32(), TEXT)  # faster to make and smaller, if texts repeat
DISCHARGE = "00060"  # parameter: discharge, in ft3/s by definition
# Statistic codes: 00003 is the mean; unit values have 00011, 00000 or none
STATISTICS = {"daily": ("00003",), "instantaneous": ("00000", "00011", "")}


def _unit(*texts: str) -> re.Pattern[str]:
    """Spellings of a unit, which stand apart from other letters."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(texts)})(?![a-z0-9])", re.IGNORECASE)


_PER_SECOND = r"(?: per |/| |_|)s(?:ec(?:ond)?)?s?(?:\^|\*\*)?(?:-1)?"
WORDS_OF_UNITS = {
    "ft3/s": _unit("cfs", rf"(?:cubic f(?:ee|oo)t|ft(?:\^|\*\*)?[3³]){_PER_SECOND}"),
    "m3/s": _unit("cms", "cumecs?", rf"(?:cubic met(?:er|re)s?|m(?:\^|\*\*)?[3³]){_PER_SECOND}"),
    "l/s": _unit(r"l/s", r"lit(?:er|re)s? per sec(?:ond)?"),
    "ML/day": _unit(r"(?:ML|megalit(?:er|re)s?)(?:/| per |_|)d(?:ay)?"),
    "mm/day": _unit(r"mm(?:/| per |_|)d(?:ay)?", "mm d-1"),
}
OTHER_QUANTITY = re.compile(
    r"precip|(?<![a-z])rain|snow|temperature|evap|radiation|humidity|pressure|ga[u]?ge.?height|"
    r"water.?level",
    re.IGNORECASE,
)
DISCHARGE_WORD = re.compile(r"discharge|flow|runoff", re.IGNORECASE)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, at most the first few."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file.

    Raises:
        InputError: not readable.
    """
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    try:
        return path.read_text(encoding="utf-8-sig" if plain else encoding)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not readable ({reason}): expected a discharge record") from error


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; `what` names the expected content in messages.

    Raises:
        InputError: not readable, or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON ({error}): expected {what}") from error


def split_columns(
    lines: str, delimiter: str, width: int, kinds: Mapping[int, pa.DataType]
) -> dict[int, Column] | None:
    """Split lines of fields without quotes to columns; empty lines are left out.

    Args:
        lines: text of all lines.
        delimiter: of the fields.
        width: number of fields in a line.
        kinds: for each position that is wanted, `TEXT` or `DISTINCT`.

    Returns:
        Columns by position; None if a line has more or fewer fields, or there is no line.
    """
    names = [str(k) for k in range(width)]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(lines.encode()),
            pa.csv.ReadOptions(column_names=names),
            pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
            pa.csv.ConvertOptions(
                include_columns=[names[k] for k in kinds],
                column_types={names[k]: kind for k, kind in kinds.items()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return {k: table[names[k]] for k in kinds}


def check_units(catalog: Catalog, path: Path, text: str) -> None:
    """Raise if a header, column name or unit states other units than the catalog.

    Raises:
        InputError: it does.
    """
    for units, words in WORDS_OF_UNITS.items():
        found = words.search(text)
        if found and units != catalog.gauges.units:
            raise InputError(
                f"{path}: states {found[0]!r} ({units}): expected {catalog.gauges.units}, "
                f"the gauges.units of {catalog.path}"
            )


def check_quantity(catalog: Catalog, path: Path, text: str) -> None:
    """Raise if the name or description of a series says that it is no discharge.

    Raises:
        InputError: it does.
    """
    found = OTHER_QUANTITY.search(text)
    if found and not DISCHARGE_WORD.search(text):
        raise InputError(
            f"{path}: {text!r} says {found[0]!r}: expected discharge, in "
            f"gauges.columns.discharge of {catalog.path}"
        )


def check_parameter(catalog: Catalog, path: Path, name: str) -> None:
    """Raise if the catalog states other units than ft3/s for parameter 00060.

    Args:
        name: of the parameter in the file, for the message.

    Raises:
        InputError: it does.
    """
    if catalog.gauges.units != "ft3/s":
        raise InputError(
            f"{path}: {name}: parameter {DISCHARGE} is in ft3/s: expected {catalog.gauges.units}, "
            f"the gauges.units of {catalog.path}"
        )
