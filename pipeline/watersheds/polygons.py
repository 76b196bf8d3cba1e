"""Watershed polygons: which grid cells they cover, and how much of each cell.

Edges are straight in longitude and latitude, as in every GIS file; areas are on the WGS84
ellipsoid.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio.errors
import shapely
from pyarrow.lib import ArrowException
from pyproj import Geod
from pyproj.exceptions import ProjError
from shapely.geometry import MultiPolygon, Polygon

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.read import site_number
from pipeline.regrid.grid import CELLS_PER_DEGREE, Grid, zone_area
from pipeline.units import AREA_M2, M2_PER_KM2

LOG = logging.getLogger(__name__)
WGS84 = Geod(ellps="WGS84")
REPAIR_TOLERANCE = 1e-3  # largest relative change of area that mending a ring may make
AREA_REPORT, AREA_REFUSE = 0.1, 0.5  # relative differences from the reported drainage area
PARQUET = (".parquet", ".geoparquet")  # which GDAL's wheels do not read
EASTWARDS = np.array([360.0, 0.0])  # degrees, once around
WIDEST = 90.0  # degrees of longitude that a watershed spans at most
SEGMENT = 0.005  # degrees; an edge this long bends less than 0.1 m from a geodesic
ROUNDING = 1e-12  # shares of a cell nearer than this to 0 or 1 are rounding errors


@dataclass(frozen=True)
class Watershed:
    """A gauge's drainage basin.

    Attributes:
        site_no: site number, with its leading zeros.
        name: the polygon file's name for it, or the site number.
        polygon: Polygon or MultiPolygon in EPSG:4326, its longitudes from -180 to 180, or where one
            of the catalog's crosses the antimeridian, from 0 to 360.
        reported_area: drainage area the file reports [m2], or None.
        area: the polygon's area on the ellipsoid [m2].
    """

    site_no: str
    name: str
    polygon: Polygon | MultiPolygon
    reported_area: float | None
    area: float


def read_watersheds(catalog: Catalog) -> list[Watershed]:
    """The catalog's watersheds, sorted by site number, all on one turn around the Earth.

    A polygon whose area is more than 10 % off the reported drainage area is logged.

    Raises:
        InputError: the file, a field or a site is missing, a site is there twice, a polygon cannot
            be mended, or its area is more than 50 % off the reported one.
    """
    settings = catalog.watersheds
    path = catalog.resolve(settings.file)
    table = _read_table(path)
    fields = [settings.site_field, settings.name_field, settings.area_field]
    for field in filter(None, fields):
        if field not in table.columns:
            found = ", ".join(str(c) for c in table.columns.drop(table.geometry.name))
            raise InputError(f"{path}: fields {found}: expected {field}")
    table["site_no"] = [site_number(site) for site in table[settings.site_field]]
    for site, absent in zip(table["site_no"], table[settings.site_field].isna(), strict=True):
        if absent or not re.fullmatch(r"[\w-]+", site):
            raise InputError(
                f"{path}: {settings.site_field} {site!r}: expected a site number of letters and "
                "digits"
            )
    if settings.sites is not None:
        wanted = {site_number(site) for site in settings.sites}
        lacking = sorted(wanted - set(table["site_no"]))
        if lacking:
            raise InputError(f"{path}: no polygon of {', '.join(lacking)}: expected one a site")
        table = table[table["site_no"].isin(wanted)]
    twice = sorted(set(table.loc[table["site_no"].duplicated(), "site_no"]))
    if twice:
        raise InputError(f"{path}: several polygons of {', '.join(twice)}: expected one a site")
    if table.empty:
        raise InputError(f"{path}: holds no polygon: expected one a gauge")
    watersheds = []
    for _, row in table.sort_values("site_no").iterrows():
        polygon = _sound(row[table.geometry.name], path, row["site_no"])
        reported = row[settings.area_field] if settings.area_field else None
        watershed = Watershed(
            site_no=row["site_no"],
            name=str(row[settings.name_field]) if settings.name_field else row["site_no"],
            polygon=polygon,
            reported_area=_reported_area(reported, settings.area_units, path),
            area=polygon_area(polygon),
        )
        _compare_areas(watershed, path)
        watersheds.append(watershed)
    return _on_one_turn(watersheds)


def polygon_area(polygon: Polygon | MultiPolygon) -> float:
    """Area [m2] of a polygon of EPSG:4326 on the WGS84 ellipsoid (Karney 2013, geodesics)."""
    oriented = shapely.orient_polygons(shapely.segmentize(polygon, SEGMENT))
    return float(WGS84.geometry_area_perimeter(oriented)[0])


def watershed_grid(polygon: Polygon | MultiPolygon) -> Grid:
    """The watershed's window: the smallest grid that covers it."""
    return Grid.covering(polygon.bounds)


def region_grid(catalog: Catalog, watersheds: Sequence[Watershed]) -> Grid:
    """The region's grid: the catalog's bounds, or else the watersheds' own.

    Raises:
        InputError: a watershed reaches out of the catalog's bounds.
    """
    if catalog.bounds is None:
        west, south, east, north = shapely.total_bounds([w.polygon for w in watersheds])
        return Grid.covering((west, south, east, north))
    region = Grid.covering(catalog.bounds)
    for watershed in watersheds:
        if not shapely.box(*region.bounds).covers(shapely.box(*watershed.polygon.bounds)):
            raise InputError(
                f"{catalog.path}: bounds: {region.bounds}: expected to hold the watershed of "
                f"{watershed.site_no}, which spans {_rounded(watershed.polygon.bounds)}"
            )
    return region


def coverage(polygon: Polygon | MultiPolygon, grid: Grid) -> np.ndarray:
    """Share of each cell's area inside the polygon, float64 (y, x), 0..1, exact.

    Green's theorem, cell by cell: with the boundary cut at the cells' edges, the area inside a
    cell is the sum over the pieces in its row of height times the width that lies east of the
    piece, pieces going down counted positive and pieces going up negative. Holes and parts need
    no care beyond the direction of their rings.
    """
    rings = shapely.get_rings(
        shapely.get_parts(shapely.orient_polygons(shapely.segmentize(polygon, SEGMENT)))
    )
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    u = xy[:, 0] * CELLS_PER_DEGREE - grid.west  # columns east of the grid's west edge
    v = grid.north - xy[:, 1] * CELLS_PER_DEGREE  # rows south of its north edge
    along = ring[1:] == ring[:-1]
    u, v = _cut(np.stack([u[:-1], u[1:]])[:, along], np.stack([v[:-1], v[1:]])[:, along])
    u, v = np.clip(u, 0, grid.nx), np.clip(v, 0, grid.ny)  # outside, only what is west counts
    middle_u, middle_v = u.mean(axis=0), v.mean(axis=0)  # (pieces,), each within one cell
    column = np.minimum(middle_u.astype(int), grid.nx - 1)
    row = np.minimum(middle_v.astype(int), grid.ny - 1)
    # heights as shares of the row's area: the sphere's zones are equal in area, not in latitude
    zone = zone_area((grid.north - v) / CELLS_PER_DEGREE)
    edges = zone_area(grid.y_edges)
    height = (zone[0] - zone[1]) / (edges[row] - edges[row + 1])
    east = column + 1 - middle_u  # mean width of the cell east of the piece
    partial, whole = np.zeros(grid.shape), np.zeros(grid.shape)
    np.add.at(partial, (row, column), height * east)
    np.add.at(whole, (row, column), height)  # cells farther east get the full width
    share = partial + np.cumsum(whole, axis=1) - whole
    assert -1e-9 < share.min() <= share.max() < 1 + 1e-9, (share.min(), share.max())
    share[share < ROUNDING] = 0.0
    share[share > 1 - ROUNDING] = 1.0
    return share


def _cut(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut segments, ends (2, segments), at the integers of u and v; ends (2, pieces) of the rest.

    Segments are shorter than a cell, so that each crosses at most one integer in u and in v.
    """
    at_u, at_v = _crossing(*u), _crossing(*v)
    t = np.stack([0 * at_u, np.minimum(at_u, at_v), np.maximum(at_u, at_v), 1 + 0 * at_u])
    u, v = u[0] + t * (u[1] - u[0]), v[0] + t * (v[1] - v[0])  # (4, segments)
    return np.stack([u[:-1], u[1:]]).reshape(2, -1), np.stack([v[:-1], v[1:]]).reshape(2, -1)


def _crossing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the way from a to b at which an integer is crossed, 1 where none is."""
    integer = np.ceil(np.minimum(a, b))
    crosses = (integer > np.minimum(a, b)) & (integer < np.maximum(a, b))
    return np.where(crosses, (integer - a) / np.where(crosses, b - a, 1.0), 1.0)


def _read_table(path: Path) -> gpd.GeoDataFrame:
    """The polygon file in EPSG:4326."""
    try:
        with warnings.catch_warnings(record=True) as said:  # by GDAL, of what it mended
            warnings.simplefilter("always")
            parquet = path.suffix.lower() in PARQUET
            table = gpd.read_parquet(path) if parquet else gpd.read_file(path)
    except (
        OSError,
        ArrowException,
        pyogrio.errors.DataSourceError,
        shapely.errors.ShapelyError,
    ) as error:
        raise InputError(f"{path}: not readable ({error}): expected polygons") from error
    except ValueError as error:  # geopandas, of a table without geometries
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not readable ({reason}): expected GeoParquet") from error
    for one in said:
        LOG.warning("%s: %s", path, one.message)
    if not isinstance(table, gpd.GeoDataFrame) or table.crs is None:
        raise InputError(f"{path}: has no CRS: expected polygons with one")
    try:
        return table.to_crs(4326)
    except ProjError as error:
        raise InputError(f"{path}: CRS {table.crs.name}: expected one on the Earth") from error


def _sound(geometry: object, path: Path, site: str) -> Polygon | MultiPolygon:
    """A valid polygon, rings mended where that does not change what it covers."""
    if not isinstance(geometry, Polygon | MultiPolygon) or geometry.is_empty:
        some = isinstance(geometry, shapely.Geometry) and not geometry.is_empty
        kind = type(geometry).__name__ if some else "nothing"
        raise InputError(f"{path}: {site}: geometry is {kind}: expected a polygon")
    polygon = geometry
    west, south, east, north = polygon.bounds
    turned = -360 <= west < east <= 360 and -90 <= south < north <= 90
    if turned and (east - west > 180 or west < 180 < east or west < -180 < east):
        polygon = _in_one_piece(geometry)
        west, _, east, _ = polygon.bounds
        if east - west > WIDEST:
            raise InputError(
                f"{path}: {site}: spans {_rounded(polygon.bounds)}: expected a watershed of at "
                f"most {WIDEST:g} degrees of longitude"
            )
    elif not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise InputError(
            f"{path}: {site}: spans {_rounded(polygon.bounds)}: expected degrees within "
            "-180..180 and -90..90"
        )
    if polygon.is_valid:
        return polygon
    parts = shapely.get_parts(shapely.make_valid(polygon, method="structure"))
    mended = shapely.union_all([part for part in parts if isinstance(part, Polygon | MultiPolygon)])
    if abs(mended.area - polygon.area) > REPAIR_TOLERANCE * mended.area or mended.is_empty:
        raise InputError(
            f"{path}: {site}: invalid ring ({shapely.is_valid_reason(polygon)}), and mending it "
            f"changes its area from {polygon.area:.6g} to {mended.area:.6g} square degrees: "
            f"expected a change below {REPAIR_TOLERANCE:.1%}"
        )
    LOG.warning("%s: %s: mended: %s", path, site, shapely.is_valid_reason(polygon))
    return mended


def _in_one_piece(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """A polygon across the antimeridian, with longitudes of 0 to 360: as GeoJSON has it, cut
    there, its parts are joined."""
    turned = shapely.transform(geometry, lambda xy: xy + EASTWARDS * (xy[:, :1] < 0))
    parts = shapely.get_parts(turned)
    if not shapely.is_valid(parts).all():
        return turned  # mended later
    joined = shapely.union_all(parts)
    return joined if abs(joined.area - turned.area) <= REPAIR_TOLERANCE * joined.area else turned


def _on_one_turn(watersheds: list[Watershed]) -> list[Watershed]:
    """Watersheds with longitudes of 0 to 360 where one of them crosses the antimeridian."""
    if all(watershed.polygon.bounds[2] <= 180 for watershed in watersheds):
        return watersheds
    return [
        replace(watershed, polygon=shapely.transform(watershed.polygon, lambda xy: xy + EASTWARDS))
        if watershed.polygon.bounds[0] < 0
        else watershed
        for watershed in watersheds
    ]


def _reported_area(value: object, units: str, path: Path) -> float | None:
    """Reported drainage area [m2]; blank and zero mean that none is reported."""
    try:
        area = float(str("nan" if value is None else value).strip() or "nan")
    except ValueError as error:
        raise InputError(f"{path}: drainage area {value!r}: expected a number") from error
    return area * AREA_M2[units] if math.isfinite(area) and area > 0 else None


def _compare_areas(watershed: Watershed, path: Path) -> None:
    """Report or refuse a polygon that is not the reported drainage area's."""
    if watershed.reported_area is None:
        return
    off = watershed.area / watershed.reported_area - 1
    message = (
        f"{path}: {watershed.site_no}: polygon of {watershed.area / M2_PER_KM2:.4g} km2 is "
        f"{off:+.1%} off the reported drainage area of "
        f"{watershed.reported_area / M2_PER_KM2:.4g} km2"
    )
    if abs(off) > AREA_REFUSE:
        raise InputError(f"{message}: expected within {AREA_REFUSE:.0%}")
    if abs(off) > AREA_REPORT:
        LOG.warning("%s", message)


def _rounded(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Bounds for a message."""
    return tuple(round(b, 4) for b in bounds)
