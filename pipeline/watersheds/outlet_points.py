"""Read gauges as points: CSV files, vector files, or lists in the catalog."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.watersheds.site_table import SiteFields, select_sites
from pipeline.watersheds.vector_files import place_features, read_features, rounded

TABLES = (".csv", ".tsv", ".txt")
DELIMITERS = ",;\t"
SITE, NAME, AREA = ("site", "site_no"), ("name",), ("area",)  # fields by default, in any case
LONLAT = (("lon", "lat"), ("longitude", "latitude"))
PLANE = (("x", "y"),)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class GaugePoint:
    """A gauge as a point.

    Attributes:
        site_no: site number.
        name: of the gauge, or the site number.
        lon, lat: where it lies [degrees].
        area: known drainage area [m2], or None.
    """

    site_no: str
    name: str
    lon: float
    lat: float
    area: float | None


@dataclass(frozen=True)
class SnappedOutlet:
    """The outlet of a delineated watershed.

    Attributes:
        gauge: (longitude, latitude) of the gauge [degrees].
        pixel: (longitude, latitude) of the centre of the pixel to which it was moved.
        moved: distance between them [m].
    """

    gauge: tuple[float, float]
    pixel: tuple[float, float]
    moved: float


def read_outlets(catalog: Catalog) -> list[GaugePoint]:
    """Read the catalog's outlets, sorted by site number.

    Raises:
        InputError: the file or a column is missing, a number is damaged, a feature is no point, or
            a place is not on the Earth; as `select_sites` and `read_features`.
    """
    settings, path = catalog.watersheds, catalog.watersheds_path
    if settings.points:
        table = _listed(catalog, path)
        fields = SiteFields("site", "name", "area")
    elif path.suffix.lower() in TABLES:
        table, fields = _read_csv(catalog, path)
    else:
        if settings.x_field is not None:
            raise InputError(
                f"{catalog.path}: watersheds.x_field: expected with a CSV file only, {path} has "
                "points"
            )
        table = read_features(catalog, path, "Point")
        fields = _site_fields(catalog, path, table.columns.drop(table.geometry.name).tolist())
    table = select_sites(catalog, path, table, fields, "outlet")
    return [
        GaugePoint(site, name, *_lonlat(path, site, point), area)
        for site, name, point, area in zip(
            table["site_no"], table["name"], table.geometry, table["area"], strict=True
        )
    ]


def _listed(catalog: Catalog, path: Path) -> gpd.GeoDataFrame:
    """The outlets that stand in the catalog."""
    points = catalog.watersheds.points
    table = pd.DataFrame(
        [(one.site, one.name, one.area) for one in points],
        columns=["site", "name", "area"],
        dtype=object,
    )
    return _placed(catalog, path, table, [one.x for one in points], [one.y for one in points])


def _read_csv(catalog: Catalog, path: Path) -> tuple[gpd.GeoDataFrame, SiteFields]:
    """Read a CSV file of outlets, and find its fields."""
    settings = catalog.watersheds
    table, delimiter = _read_table(path)
    columns = table.columns.tolist()
    fields = _site_fields(catalog, path, columns)
    if settings.x_field is not None and settings.y_field is not None:
        pairs: tuple[tuple[str, str], ...] = ((settings.x_field, settings.y_field),)
    else:
        pairs = LONLAT + PLANE if settings.crs is None else PLANE + LONLAT
    found = [(_find(columns, (x,)), _find(columns, (y,))) for x, y in pairs]
    x, y = next(((x, y) for x, y in found if x is not None and y is not None), (None, None))
    if x is None or y is None:
        raise InputError(
            f"{path}: columns {', '.join(columns)}: expected "
            f"{' or '.join(f'{x} and {y}' for x, y in pairs)} (watersheds.x_field, y_field)"
        )
    comma = delimiter != ","
    for field in (x, y, fields.area):
        if field in columns:
            table[field] = [
                _number(text, f"{path}: line {line}: {field}", comma, blank=field == fields.area)
                for line, text in table[field].items()
            ]
    return _placed(catalog, path, table, table[x].tolist(), table[y].tolist()), fields


def _read_table(path: Path) -> tuple[pd.DataFrame, str]:
    """Read a CSV file as text, and its delimiter; rows are indexed by their lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error}): expected CSV in UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        found = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        rows = {line: row for line, row in found if any(row)}
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num}: {error}: expected a row of CSV"
        ) from error
    if not rows:
        raise InputError(f"{path}: is empty: expected a header and one line a gauge")
    columns = rows.pop(min(rows))
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"{path}: several columns {', '.join(twice)}: expected one of each")
    for line, row in rows.items():
        if len(row) != len(columns):
            raise InputError(
                f"{path}: line {line}: {len(row)} values: expected {len(columns)}, as the header"
            )
    if not rows:
        raise InputError(f"{path}: holds no outlet: expected one line a gauge")
    table = pd.DataFrame(rows.values(), index=list(rows), columns=columns, dtype=object)
    return table, delimiter


def _site_fields(catalog: Catalog, path: Path, columns: list[str]) -> SiteFields:
    """The fields that the catalog names, or those with the usual names."""
    settings = catalog.watersheds
    site = settings.site_field or _find(columns, SITE)
    if site is None:
        raise InputError(
            f"{path}: columns {', '.join(columns) or 'none'}: expected {' or '.join(SITE)} "
            "(watersheds.site_field)"
        )
    return SiteFields(
        site,
        settings.name_field or _find(columns, NAME),
        settings.area_field or _find(columns, AREA),
    )


def _find(columns: list[str], names: tuple[str, ...]) -> str | None:
    """The first column with one of these names; case matters only if it has to."""
    for name in names:
        for spelled in (name, *(one for one in columns if one.lower() == name.lower())):
            if spelled in columns:
                return spelled
    return None


def _number(text: str, where: str, comma: bool, *, blank: bool) -> float | None:
    """Parse a number; its decimals may follow a comma, unless commas separate columns."""
    if not text and blank:
        return None
    plain = text.replace(",", ".") if comma and text.count(",") == 1 and "." not in text else text
    if not NUMBER.fullmatch(plain):
        raise InputError(f"{where}: {text!r}: expected a number")
    return float(plain)


def _placed(
    catalog: Catalog, path: Path, table: pd.DataFrame, x: list[float], y: list[float]
) -> gpd.GeoDataFrame:
    """Points in EPSG:4326; without a CRS in the catalog, x and y are longitude and latitude."""
    points = gpd.GeoDataFrame(table, geometry=shapely.points(x, y), crs=4326)
    west, south, east, north = points.total_bounds
    if catalog.watersheds.crs is None and not (
        -180 <= west <= east <= 360 and -90 <= south <= north <= 90
    ):
        raise InputError(
            f"{path}: outlets span {rounded(points.total_bounds)}: expected longitudes and "
            f"latitudes, or watersheds.crs in {catalog.path}"
        )
    return place_features(catalog, path, points)


def _lonlat(path: Path, site: str, point: shapely.Geometry | None) -> tuple[float, float]:
    """Longitude and latitude of a feature that is a point."""
    xy = shapely.get_coordinates(point)
    if point is None or "Point" not in point.geom_type or len(xy) != 1:
        kind = "nothing" if point is None or point.is_empty else point.geom_type
        raise InputError(f"{path}: {site}: geometry is {kind}: expected a point")
    lon, lat = xy[0].tolist()
    if not (np.isfinite(xy).all() and -180 <= lon <= 360 and -90 <= lat <= 90):
        raise InputError(
            f"{path}: {site}: at {lon:.4g} {lat:.4g}: expected degrees within -180..180 and "
            "-90..90 (metres under a CRS of degrees? watersheds.crs says which)"
        )
    return lon - 360 if lon > 180 else lon, lat
