"""Read GeoJSON of the USGS Water Data API, collections `daily` and `continuous`.

https://api.waterdata.usgs.gov/ogcapi/v0
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.flags import WITHHOLDING, holds_value
from pipeline.gauges.formats.common import (
    DISCHARGE,
    STATISTICS,
    check_parameter,
    check_units,
    read_json,
)
from pipeline.gauges.rows import Row
from pipeline.gauges.site_numbers import site_number


def read_waterdata(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Yield the rows of a collection's values of discharge with the wanted statistic.

    Raises:
        InputError: the file is no such collection, one page of several, or its units contradict
            the catalog.
    """
    answer = read_json(path, "features of the Water Data API")
    units: set[str] = set()
    try:
        if any(link.get("rel") == "next" for link in answer.get("links") or []):
            raise InputError(
                f"{path}: one page of several, with a link to the next: expected the features of "
                "all pages in one file, as `domst fetch` writes them"
            )
        for number, feature in enumerate(answer["features"], start=1):
            values = feature["properties"]
            statistic = values["statistic_id"] or ""
            if values["parameter_code"] != DISCHARGE:
                continue
            if statistic not in STATISTICS[catalog.gauges.values]:
                continue
            unit = values["unit_of_measure"]
            if unit not in units:
                check_units(catalog, path, unit)
                check_parameter(catalog, path, unit)
                units.add(unit)
            yield _row(values, f"feature {number}")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: malformed ({error!r}): expected features of the Water Data API's collections "
            "daily or continuous"
        ) from error


def _row(values: dict[str, Any], place: str) -> Row:
    """The row of a feature's properties.

    A value with a qualifier of ice or equipment is the agency's estimate, and counts as such.
    """
    site = values["monitoring_location_id"].partition("-")[2]  # after the agency's code
    value, found = (
        str("" if values["value"] is None else values["value"]).strip(),
        values["qualifier"] or [],
    )
    qualifiers = [found] if isinstance(found, str) else list(found)
    if holds_value(value):
        qualifiers = ["e" if q.casefold() in WITHHOLDING else q for q in qualifiers]
    status = values["approval_status"] or ""
    series, time = str(values["time_series_id"]), str(values["time"])
    number = site_number(site, usgs=True)
    return Row(number, series, time, value, " ".join([status, *qualifiers]), place)
