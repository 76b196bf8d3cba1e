"""Describe polygon files: layers, fields, the fields of site numbers and areas, places."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyogrio.errors
import shapely

from pipeline.errors import InputError
from pipeline.gauges.site_numbers import site_number
from pipeline.inspect.description import OPEN, Description
from pipeline.units import AREA_M2, M2_PER_KM2
from pipeline.watersheds.polygons import POLYGONAL, polygon_areas
from pipeline.watersheds.vector_files import PARQUET

SITE_NAME = re.compile(r"site|station|gauge|gage|_no$|id$|number|code|hru", re.IGNORECASE)
NAME_NAME = re.compile(r"name", re.IGNORECASE)
SAME_AREA = 0.15  # relative difference of a field of areas from the polygons' own, for most
MOST = 0.8
MAX_LISTED = 12  # fields
MAX_OVERLAID = 500  # polygons that are joined to find overlaps
OVERLAP = 0.01  # share of the sum of areas that is told
UNREADABLE = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, OSError)


def describe_outlines(path: Path) -> Description | None:
    """Describe a file of polygons; None if it holds none."""
    table, layer, layers, polygonal = _read(path)
    if table is None or not _holds_polygons(table):
        return None
    description = Description(path, "polygons")
    description.add("format", "GeoParquet" if path.suffix in PARQUET else "vector file of GDAL")
    if len(layers) > 1:
        description.add("layers", f"{', '.join(layers)}; {layer} is described")
        description.keys["layer"] = layer
        choice = f"{OPEN}: of {', '.join(polygonal)}" if len(polygonal) > 1 else "of the polygons"
        description.add("layer", choice)
    _describe(description, table)
    return description


def _read(path: Path) -> tuple[gpd.GeoDataFrame | None, str, list[str], list[str]]:
    """The first layer with polygons, its name, the names of all layers and of those of polygons."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if path.suffix.lower() in PARQUET:
                return gpd.read_parquet(path), "", [], []
            layers = pyogrio.list_layers(path)
            found = {
                str(name): table
                for name, kind in layers
                if kind in (None, "Unknown") or "Polygon" in kind
                if _holds_polygons(table := gpd.read_file(path, layer=name))
            }
        except UNREADABLE:
            return None, "", [], []
    if not found:
        return None, "", [], []
    name = next(iter(found))
    return found[name], name, [str(name) for name, _ in layers], [*found]


def _holds_polygons(table: object) -> bool:
    if not isinstance(table, gpd.GeoDataFrame) or not len(table):
        return False
    return bool(np.isin(shapely.get_type_id(table.geometry), POLYGONAL).any())


def _describe(description: Description, table: gpd.GeoDataFrame) -> None:
    kinds = pd.Series(table.geom_type).value_counts()
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    description.add("features", f"{len(table)}: {said}")
    left, bottom, right, top = table.total_bounds
    span = f"{left:.8g}..{right:.8g}, {bottom:.8g}..{top:.8g}"
    degrees = -360 <= left <= right <= 360 and -90 <= bottom <= top <= 90
    areas = None
    if table.crs is None:
        like = "could be degrees (EPSG:4326)" if degrees else "are no degrees, but a projection's"
        description.add("CRS", "none stated")
        description.add("place", f"{span}: the numbers {like}")
        description.add("crs", f"{OPEN}: none stated, {span}: the numbers {like}")
        description.keys["crs"] = "EPSG:4326" if degrees else OPEN
        description.refuse(InputError("has no CRS: expected polygons with one, or watersheds.crs"))
    else:
        code = table.crs.to_authority() or ("no code",)
        description.add("CRS", f"{table.crs.name} ({':'.join(code)})")
        description.add("place", span)
        if table.crs.is_geographic and not degrees:
            description.refuse(InputError("the CRS counts in degrees, but the numbers are none"))
        else:
            areas = _areas(description, table)
    invalid = table.geometry[~table.geometry.is_valid]
    if len(invalid):
        reason = shapely.is_valid_reason(invalid.iloc[0])
        description.add("invalid", f"{len(invalid)}, such as {reason}")
    _describe_fields(description, table, areas)
    description.draw = lambda axes: table.boundary.plot(ax=axes, linewidth=0.6)


def _areas(description: Description, table: gpd.GeoDataFrame) -> Any:
    areas = polygon_areas(np.asarray(table.to_crs(4326).geometry)) / M2_PER_KM2
    description.add(
        "areas", f"{areas.min():.6g} to {areas.max():.6g} km2, sum {areas.sum():.6g} km2"
    )
    if len(table) <= MAX_OVERLAID:
        union = polygon_areas(np.array([table.to_crs(4326).union_all()]))[0] / M2_PER_KM2
        if union < (1 - OVERLAP) * areas.sum():
            description.add("areas", f"some overlap: {union:.6g} km2 together (nested, or parts?)")
    return areas


def _describe_fields(description: Description, table: gpd.GeoDataFrame, areas: Any) -> None:
    fields = table.drop(columns=table.geometry.name)
    sites = []
    for k, name in enumerate(fields.columns):
        column = fields[name]
        distinct = column.nunique()
        said = f"{name}: {column.dtype}, {distinct} distinct, such as {str(column.iloc[0])[:40]!r}"
        if k < MAX_LISTED:
            description.add("fields", said)
        whole = column.dtype.kind in "iu" or (column.dtype.kind not in "fb")
        if distinct == len(column) and column.notna().all() and whole:
            sites.append(str(name))
    if len(fields.columns) > MAX_LISTED:
        description.add("fields", f"and {len(fields.columns) - MAX_LISTED} more")
    sites.sort(key=lambda name: not SITE_NAME.search(name))
    description.sites |= {name: [site_number(one, False) for one in fields[name]] for name in sites}
    if sites:
        others = f", or {', '.join(sites[1:4])}" if len(sites) > 1 else ""
        description.add("site_field", f"{sites[0]}{others}: different in each feature")
        description.keys["site_field"] = sites[0]
    else:
        description.add("site_field", "none: no field is different in each feature")
    found = [] if areas is None else [_area_units(fields[name], areas) for name in fields.columns]
    agreeing = sorted(
        (*one, str(name)) for one, name in zip(found, fields.columns, strict=False) if one
    )
    for off, units, name in agreeing[:2]:
        text = f"{name}, in {units}: {off:.2%} off the polygons' areas in the mean"
        description.add("area_field", text)
    if agreeing:
        _, units, name = agreeing[0]
        description.keys |= {"area_field": name, "area_units": units}
    names = [str(name) for name in fields.columns if NAME_NAME.search(str(name))]
    if names:
        description.keys["name_field"] = names[0]


def _area_units(column: Any, areas: Any) -> tuple[float, str] | None:
    """How far a field is off the areas [km2], and in which unit; None if it agrees in none."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    known = np.isfinite(numbers) & (numbers > 0)
    if not known.any():
        return None
    for units, square_metres in AREA_M2.items():
        ratio = numbers[known] * square_metres / M2_PER_KM2 / areas[known]
        if (np.abs(ratio - 1) <= SAME_AREA).mean() > MOST:
            return float(np.abs(ratio - 1).mean()), units
    return None
