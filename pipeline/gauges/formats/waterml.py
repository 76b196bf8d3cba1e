"""Read WaterML 1.1 (CUAHSI) of the USGS water services, daily or instantaneous.

http://his.cuahsi.org/wofws.html, namespace http://www.cuahsi.org/waterML/1.1/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import (
    DISCHARGE,
    STATISTICS,
    check_parameter,
    check_units,
    read_text,
)
from pipeline.gauges.rows import Row
from pipeline.gauges.site_numbers import site_number

NAMESPACE = "{http://www.cuahsi.org/waterML/1.1/}"
MIDNIGHT = "T00:00:00.000"  # which the service appends to a day


def read_waterml(catalog: Catalog, path: Path) -> Iterator[Row]:
    """Yield the rows of a document's time series of discharge with the wanted statistic.

    Raises:
        InputError: the file is no such document, or its units contradict the catalog.
    """
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not XML ({error}): expected WaterML 1.1") from error
    if root.tag != f"{NAMESPACE}timeSeriesResponse":
        raise InputError(f"{path}: is {root.tag[:80]!r}: expected a WaterML 1.1 timeSeriesResponse")
    for series in root.iter(f"{NAMESPACE}timeSeries"):
        option = _find(series, "variable/options/option[@optionCode]")
        statistic = "" if option is None else option.get("optionCode", "")
        wanted = statistic in STATISTICS[catalog.gauges.values]
        if not wanted or _text(series, "variable/variableCode") != DISCHARGE:
            continue
        units = _text(series, "variable/unit/unitCode")
        check_units(catalog, path, units)
        check_parameter(catalog, path, units or DISCHARGE)
        yield from _rows(series, path)


def _rows(series: ElementTree.Element, path: Path) -> Iterator[Row]:
    """Yield the rows of one time series, of all its methods."""
    site = site_number(_text(series, "sourceInfo/siteCode"), usgs=True)
    for block in series.iter(f"{NAMESPACE}values"):
        method = _find(block, "method")
        name = "" if method is None else method.get("methodID", "")
        name = f"{name} {_text(block, 'method/methodDescription')}".strip()
        for number, value in enumerate(block.iter(f"{NAMESPACE}value"), start=1):
            place = f"site {site}, method {name or 'without name'}, value {number}"
            time = value.get("dateTime")
            if time is None:
                raise InputError(f"{path}: {place}: has no dateTime: expected one")
            qualifiers = value.get("qualifiers", "")
            text = (value.text or "").strip()
            yield Row(site, name, time.removesuffix(MIDNIGHT), text, qualifiers, place)


def _find(element: ElementTree.Element, path: str) -> ElementTree.Element | None:
    """The first element at a path of the namespace's names."""
    return element.find("/".join(NAMESPACE + name for name in path.split("/")))


def _text(element: ElementTree.Element, path: str) -> str:
    """Text of the first element at a path, or a blank."""
    found = _find(element, path)
    return "" if found is None else (found.text or "").strip()
