"""Read discharge from CSV files whose columns the catalog names."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipeline.catalog.models import Catalog, Columns
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISTINCT,
    TEXT,
    Column,
    check_units,
    read_text,
    split_columns,
)
from pipeline.gauges.rows import Rows, Texts


def read_csv(catalog: Catalog, path: Path) -> Rows:
    """Read the rows of a CSV file.

    Raises:
        InputError: the file is no CSV, lacks a column, or names other units than the catalog.
    """
    columns = catalog.gauges.columns or Columns()
    names = [columns.site, columns.time, columns.discharge]
    names += [columns.flag] if columns.flag else []
    text = read_text(path)
    table = _split_plain(text, names) or _parse(catalog, path, text, names)
    check_units(catalog, path, columns.discharge)
    blank = Texts.repeat("", len(table[0]))
    site, time, value = (Texts.of([column]) for column in table[:3])
    flag = Texts.of([table[3]]) if columns.flag else blank
    return Rows(site, blank, time, value, flag, lambda row: f"line {row + 2}")


def _split_plain(text: str, names: list[str]) -> list[Column] | None:
    """Columns of text by names; None if the file has quotes, or lines of unequal length."""
    if '"' in text or "\0" in text:
        return None
    first, _, lines = text.lstrip("\n").partition("\n")
    header = first.split(",")
    if not set(names) <= set(header):
        return None
    at = [header.index(name) for name in names]
    found = split_columns(lines, ",", len(header), dict.fromkeys(at, DISTINCT))
    return None if found is None else [found[k] for k in at]


def _parse(catalog: Catalog, path: Path, text: str, names: list[str]) -> list[Column]:
    """Columns of text by names, of any CSV file."""
    try:
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not readable ({error}): expected a discharge CSV") from error
    lacking = [name for name in names if name not in table.columns]
    if lacking:
        raise InputError(
            f"{path}: columns {', '.join(map(str, table.columns))}: expected {', '.join(lacking)}, "
            f"as gauges.columns of {catalog.path} says"
        )
    return [pa.array(table[name], TEXT) for name in names]
