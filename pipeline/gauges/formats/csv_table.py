"""Read discharge from CSV files whose columns the catalog names."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd

from pipeline.catalog.models import Catalog, Columns
from pipeline.errors import InputError
from pipeline.gauges.formats.common import check_units, read_text
from pipeline.gauges.record import Row, site_number


def read_csv(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file.

    Raises:
        InputError: the file is no CSV, lacks a column, or names other units than the catalog.
    """
    columns = catalog.gauges.columns or Columns()
    try:
        table = pd.read_csv(StringIO(read_text(path)), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not readable ({error}): expected a discharge CSV") from error
    needed = [columns.site, columns.time, columns.discharge]
    needed += [columns.flag] if columns.flag else []
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise InputError(
            f"{path}: columns {', '.join(map(str, table.columns))}: expected {', '.join(lacking)}, "
            f"as gauges.columns of {catalog.path} says"
        )
    check_units(catalog, path, columns.discharge)
    flags = table[columns.flag] if columns.flag else [""] * len(table)
    cells = zip(
        table[columns.site], table[columns.time], table[columns.discharge], flags, strict=True
    )
    for line, (site, time, value, flag) in enumerate(cells, start=2):
        yield Row(site_number(site), "", time.strip(), value.strip(), flag.strip(), f"line {line}")
