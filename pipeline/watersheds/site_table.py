"""Select and check the sites of a table of polygons or outlets."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import pandas as pd

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.site_numbers import Spellings, site_number, unpadded
from pipeline.units import AREA_M2


class SiteFields(NamedTuple):
    """Names of a table's fields of site numbers, names and reported areas."""

    site: str
    name: str | None = None
    area: str | None = None


def select_sites(
    catalog: Catalog, path: Path, table: gpd.GeoDataFrame, fields: SiteFields, what: str
) -> gpd.GeoDataFrame:
    """Select the catalog's sites from a table, sorted by site number.

    Args:
        catalog: with the sites and the unit of areas.
        path: of the table, for messages.
        table: one row a site.
        fields: that are read.
        what: a row is, for messages: `polygon`, `outlet`.

    Returns:
        The rows with the columns `site_no`, `name` and `area` [m2], None if not known.

    Raises:
        InputError: a field or a site is missing, a site number is damaged or occurs twice, or an
            area is no number.
    """
    for field in filter(None, fields):
        if field not in table.columns:
            found = ", ".join(str(c) for c in table.columns.drop(table.geometry.name))
            lost = path.suffix.lower() == ".shp" and not found
            missing = " (is its .dbf there, and whole?)" if lost else ""
            raise InputError(f"{path}: fields {found or 'none'}{missing}: expected {field}")
    sites = [site_number(site, catalog.usgs) for site in table[fields.site]]
    for site, absent in zip(sites, table[fields.site].isna(), strict=True):
        if absent or not re.fullmatch(r"[\w-]+", site):
            raise InputError(
                f"{path}: {fields.site} {site!r}: expected a site number of letters and digits"
            )
    names = sites
    if fields.name:
        names = ["" if pd.isna(one) else str(one).strip() for one in table[fields.name]]
    reported = table[fields.area] if fields.area else pd.Series(None, table.index, object)
    table = table.assign(
        site_no=sites,
        name=[name or site for name, site in zip(names, sites, strict=True)],
        area=reported,
    )
    if catalog.watersheds.sites is not None:
        table = _of_sites(catalog, path, table, what)
    twice = table["site_no"][table["site_no"].map(unpadded).duplicated(keep=False)]
    if not twice.empty:
        raise InputError(
            f"{path}: several {what}s of {', '.join(sorted(set(twice)))}: expected one a site"
        )
    if table.empty:
        raise InputError(f"{path}: holds no {what}: expected one a gauge")
    units = catalog.watersheds.area_units
    areas = [_square_metres(value, units, path) for value in table["area"]]
    return table.assign(area=pd.Series(areas, table.index, object)).sort_values("site_no")


def _of_sites(catalog: Catalog, path: Path, table: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """Rows of the catalog's sites, whose numbers become as the catalog spells them."""
    spellings = Spellings(catalog, path, table["site_no"])
    wanted = {site_number(site, catalog.usgs) for site in catalog.watersheds.sites or ()}
    found = {site: spellings.of(site) for site in sorted(wanted)}
    lacking = [site for site, spelled in found.items() if spelled is None]
    if lacking:
        raise InputError(f"{path}: no {what} of {', '.join(lacking)}: expected one a site")
    whose = {spelled: site for site, spelled in found.items()}
    table = table[table["site_no"].isin(whose.keys())]
    return table.assign(site_no=table["site_no"].map(whose))


def _square_metres(value: object, units: str, path: Path) -> float | None:
    """Convert a reported drainage area to m2; None if it is blank or zero."""
    try:
        area = float(str("nan" if value is None else value).strip() or "nan")
    except ValueError as error:
        raise InputError(f"{path}: drainage area {value!r}: expected a number") from error
    return area * AREA_M2[units] if math.isfinite(area) and area > 0 else None
