"""Read JSON of the older USGS water services, WaterML 1.1 written as JSON.

https://waterservices.usgs.gov/docs/instantaneous-values/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISCHARGE,
    STATISTICS,
    check_parameter,
    check_units,
    read_json,
)
from pipeline.gauges.rows import Row
from pipeline.gauges.site_numbers import site_number

MIDNIGHT = "T00:00:00.000"  # which the service appends to a day


def read_nwis_json(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Yield the rows of an answer's time series of discharge with the wanted statistic.

    Raises:
        InputError: the file is no such answer, or its units contradict the catalog.
    """
    answer = read_json(path, "an answer of the water services")
    try:
        for series in answer["value"]["timeSeries"]:
            if _is_wanted(catalog, series["variable"]):
                units = series["variable"].get("unit", {}).get("unitCode", "")
                check_units(catalog, path, units)
                check_parameter(catalog, path, units or DISCHARGE)
                yield from _rows(series)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path}: malformed ({error!r}): expected value.timeSeries with sourceInfo, variable "
            "and values, as of the water services"
        ) from error


def _is_wanted(catalog: Catalog, variable: dict[str, Any]) -> bool:
    """Whether a variable is discharge with the statistic that the catalog names."""
    options = variable.get("options", {}).get("option", [])
    statistic = next((o["optionCode"] for o in options if "optionCode" in o), "")
    return (
        variable["variableCode"][0]["value"] == DISCHARGE
        and statistic in STATISTICS[catalog.gauges.values]
    )


def _rows(series: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of one time series, of all its methods."""
    site = site_number(series["sourceInfo"]["siteCode"][0]["value"], usgs=True)
    for block in series["values"]:
        method = (block["method"] or [{}])[0]  # there is none without values
        name = f"{method.get('methodID', '')} {method.get('methodDescription', '')}".strip()
        for number, value in enumerate(block["value"], start=1):
            qualifiers = value.get("qualifiers", [])
            if not isinstance(qualifiers, str):
                qualifiers = " ".join(qualifiers)
            time = value["dateTime"].removesuffix(MIDNIGHT)
            place = f"site {site}, method {name or 'without name'}, value {number}"
            yield Row(site, name, time, str(value["value"]).strip(), qualifiers, place)
