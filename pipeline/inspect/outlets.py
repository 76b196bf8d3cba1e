"""Describe tables and vector files of gauges as points, from which watersheds are delineated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.gauges.formats.common import listed
from pipeline.inspect.columns import SITE_NAME, find_times
from pipeline.inspect.description import OPEN, Description
from pipeline.inspect.text_table import find_table, number

PAIRS = (("lon", "lat"), ("longitude", "latitude"), ("x", "y"))  # of outlets, in any case
LATITUDE, LONGITUDE = 90.0, 360.0  # beyond which no degrees are
USUAL_SITES = ("site", "site_no")  # fields that need no key
CODE_NAME = ("code", "id", "no", "number", "gage_id", "gauge_id")


def describe_outlets(description: Description, text: str) -> bool:
    """Add what a text holds as a table of gauges: a site a row, with its place.

    Returns:
        Whether it is one: it has columns of places, no times, and no site twice.
    """
    table = find_table(text.splitlines())
    if table is None or not table.header:
        return False
    names = {name.lower(): name for name in table.header}
    pair = next(((names[x], names[y]) for x, y in PAIRS if x in names and y in names), None)
    columns = [list(column) for column in zip(*table.rows, strict=True)]
    at = dict(zip(table.header, columns, strict=True))
    sites = _site_column(at)
    if pair is None or sites is None or find_times(columns) is not None:
        return False
    places = [[number(one) for one in at[name]] for name in pair]
    if any(one is None for column in places for one in column):
        return False
    description.kind = "outlets"
    description.add("format", f"table of {len(table.rows)} gauges, fields {listed(table.header)}")
    _add_sites(description, sites, at[sites])
    _add_places(description, *(np.array(column, float) for column in places))
    _add_area(description, at)
    return True


def _site_column(columns: dict[str, list[str]]) -> str | None:
    """The name of a column that holds each site once."""
    likely = [name for name in columns if SITE_NAME.search(name) or name.lower() in CODE_NAME]
    return next((name for name in likely if len(set(columns[name])) == len(columns[name])), None)


def _add_sites(description: Description, field: str, sites: Sequence[str]) -> None:
    description.add("sites", f"{len(sites)} in {field}: {listed(sites)}")
    description.add("site_field", f"{field}: each once")
    description.add("features", f"{len(sites)}: gauges as points, to delineate")
    description.sites[field] = list(sites)
    description.keys["site_field"] = field


def _add_places(description: Description, x: np.ndarray, y: np.ndarray) -> None:
    description.add("bounds", f"{x.min():g}..{x.max():g}, {y.min():g}..{y.max():g}")
    if np.abs(x).max() > LONGITUDE or np.abs(y).max() > LATITUDE:
        description.add("crs", "none stated, and the places are no degrees")
        description.keys["crs"] = OPEN

    def draw(axes: Any) -> None:
        axes.plot(x, y, "o")
        axes.set_aspect("equal")

    description.draw = draw


def _add_area(description: Description, columns: dict[str, list[str]]) -> None:
    """Add the column of drainage areas, which has to be named if it is not `area`."""
    name = next((one for one in columns if "area" in one.lower()), None)
    if name is None:
        return
    areas = pd.to_numeric(pd.Series(columns[name]), errors="coerce")
    description.add("area_field", f"{name}: {areas.min():g} to {areas.max():g}, km2 if not stated")
    if name.lower() != "area":
        description.keys["area_field"] = name
