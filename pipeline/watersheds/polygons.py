"""Watersheds: read, check and repair their polygons, or have them delineated.

Edges are straight in longitude and latitude, as in every GIS file; areas are on the WGS84
ellipsoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.regrid.grid import zone_area
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.outlet_points import SnappedOutlet
from pipeline.watersheds.site_table import SiteFields, select_sites
from pipeline.watersheds.vector_files import read_features, rounded

LOG = get_logger(__name__)
REPAIR_TOLERANCE = 1e-3  # largest relative change of area by the repair of a ring
AREA_WARN, AREA_FAIL = 0.1, 0.5  # relative differences from the reported drainage area
AREA_SAME = 0.02  # likewise: the polygons of one basin by two agencies
POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
FULL_TURN = np.array([360.0, 0.0])  # degrees of longitude and latitude
MAX_WIDTH = 90.0  # degrees of longitude that a watershed may span
METRES = " (metres under a CRS of degrees? watersheds.crs says which)"
SWAPPED = " (longitude and latitude swapped?)"
SOUTHERNMOST, NORTHERNMOST = -60.0, 84.0  # no river is gauged beyond


@dataclass(frozen=True)
class Watershed:
    """A gauge's drainage basin.

    Attributes:
        site_no: site number, with its leading zeros.
        name: from the file, or the site number.
        polygon: in EPSG:4326, with longitudes from -180 to 180, or from 0 to 360 if one of the
            catalog's watersheds crosses the antimeridian.
        reported_area: drainage area that the file reports [m2], or None.
        area: the polygon's area on the ellipsoid [m2].
        outlet: from which the polygon was delineated; None if it was read.
    """

    site_no: str
    name: str
    polygon: Polygon | MultiPolygon
    reported_area: float | None
    area: float
    outlet: SnappedOutlet | None = None

    @property
    def gauged_area(self) -> float:
        """Area [m2] over which depths of discharge lie: as reported, or else the polygon's."""
        return self.reported_area or self.area


def read_watersheds(catalog: Catalog) -> list[Watershed]:
    """Read or delineate the catalog's watersheds, sorted by site, in one range of longitudes.

    Warns of an area that differs by more than 10 % from the reported drainage area.

    Raises:
        InputError: the file, a field or a site is missing, a site occurs twice, a polygon cannot be
            repaired, or its area differs by more than 50 % from the reported one; as `delineate`.
    """
    path = catalog.watersheds_path
    if catalog.watersheds.outlets is None:
        watersheds = _read_polygons(catalog, path)
    else:
        from pipeline.watersheds.delineate import delineate  # pyflwdir takes seconds to import

        watersheds = [
            Watershed(
                site_no=one.gauge.site_no,
                name=one.gauge.name,
                polygon=one.polygon,
                reported_area=one.gauge.area,
                area=polygon_area(one.polygon),
                outlet=one.outlet,
            )
            for one in delineate(catalog)
        ]
    for watershed in watersheds:
        _compare_areas(watershed, path)
    return _align_longitudes(watersheds)


def _read_polygons(catalog: Catalog, path: Path) -> list[Watershed]:
    """Read watersheds from a file of polygons."""
    settings = catalog.watersheds
    fields = SiteFields(settings.site_field or "", settings.name_field, settings.area_field)
    table = select_sites(catalog, path, read_features(catalog, path, "Polygon"), fields, "polygon")
    sites = table["site_no"].tolist()
    polygons = _valid_polygons(np.asarray(table.geometry), path, sites)
    return [
        Watershed(*row)
        for row in zip(
            sites,
            table["name"],
            polygons,
            table["area"],
            polygon_areas(polygons).tolist(),
            strict=True,
        )
    ]


def polygon_area(polygon: Polygon | MultiPolygon) -> float:
    """Area [m2] of a polygon of EPSG:4326 on the WGS84 ellipsoid."""
    return float(polygon_areas(np.array([polygon]))[0])


def polygon_areas(polygons: np.ndarray) -> np.ndarray:
    """Areas [m2] of polygons of EPSG:4326 on the WGS84 ellipsoid, float64 (n,).

    Green's theorem: the area between an edge and the equator is the edge's width in longitude times
    the mean of `zone_area` along it, by Gauss's quadrature with three points. Its relative error is
    below 1e-9 for edges of 10 degrees.
    """
    parts, owner = shapely.get_parts(shapely.orient_polygons(polygons), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    along = ring[1:] == ring[:-1]
    start, end = xy[:-1][along], xy[1:][along]
    step = end - start
    middle, reach = (start + end)[:, 1] / 2, np.sqrt(0.15) * step[:, 1]
    outer = zone_area(middle - reach) + zone_area(middle + reach)
    zone = (5 * outer + 8 * zone_area(middle)) / 18
    # counterclockwise, the northern edges run west
    below = -np.radians(step[:, 0]) * zone
    return np.bincount(owner[part[ring[1:][along]]], below, len(polygons))


def _valid_polygons(geometries: np.ndarray, path: Path, sites: Sequence[str]) -> np.ndarray:
    """Return valid polygons; see `_valid_polygon`."""
    polygons = geometries.copy()
    bounds = shapely.bounds(geometries)
    (west, south), (east, north) = bounds.T[:2], bounds.T[2:]
    degrees = (west >= -180) & (east <= 180) & (south >= SOUTHERNMOST) & (north <= NORTHERNMOST)
    polygonal = np.isin(shapely.get_type_id(geometries), POLYGONAL)
    good = polygonal & degrees & (east - west <= MAX_WIDTH) & shapely.is_valid(geometries)
    for index in np.flatnonzero(~good).tolist():
        polygons[index] = _valid_polygon(geometries[index], path, sites[index])
    return polygons


def _valid_polygon(geometry: object, path: Path, site: str) -> Polygon | MultiPolygon:
    """Return a valid polygon; rings are repaired if that hardly changes the area."""
    if not isinstance(geometry, Polygon | MultiPolygon) or geometry.is_empty:
        some = isinstance(geometry, shapely.Geometry) and not geometry.is_empty
        kind = type(geometry).__name__ if some else "nothing"
        raise InputError(f"{path}: {site}: geometry is {kind}: expected a polygon")
    polygon = geometry
    west, south, east, north = polygon.bounds
    turned = -360 <= west < east <= 360 and -90 <= south < north <= 90
    if turned and (east - west > 180 or west < 180 < east or west < -180 < east):
        polygon = _join_across_antimeridian(geometry)
        west, _, east, _ = polygon.bounds
        if east - west > MAX_WIDTH:
            raise InputError(
                f"{path}: {site}: spans {rounded(polygon.bounds)}: expected a watershed of at "
                f"most {MAX_WIDTH:g} degrees of longitude"
            )
    elif not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        swapped = -180 <= south < north <= 180 and -90 <= west < east <= 90
        metres = max(map(abs, polygon.bounds)) > 360
        guess = SWAPPED if swapped else METRES if metres else ""
        raise InputError(
            f"{path}: {site}: spans {rounded(polygon.bounds)}: expected degrees within "
            f"-180..180 and -90..90{guess}"
        )
    if south < SOUTHERNMOST or north > NORTHERNMOST:
        raise InputError(
            f"{path}: {site}: spans {rounded(polygon.bounds)}: expected latitudes from "
            f"{SOUTHERNMOST:g} to {NORTHERNMOST:g}{SWAPPED}"
        )
    if polygon.is_valid:
        return polygon
    parts = shapely.get_parts(shapely.make_valid(polygon, method="structure"))
    repaired = shapely.union_all(
        [part for part in parts if isinstance(part, Polygon | MultiPolygon)]
    )
    if abs(repaired.area - polygon.area) > REPAIR_TOLERANCE * repaired.area or repaired.is_empty:
        raise InputError(
            f"{path}: {site}: invalid ring ({shapely.is_valid_reason(polygon)}), and its repair "
            f"changes its area from {polygon.area:.6g} to {repaired.area:.6g} square degrees: "
            f"expected a change below {REPAIR_TOLERANCE:.1%}"
        )
    LOG.warning("%s: %s: repaired: %s", path, site, shapely.is_valid_reason(polygon))
    return repaired


def _join_across_antimeridian(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """Join a polygon that is cut at the antimeridian, as in GeoJSON; longitudes from 0 to 360."""
    turned = shapely.transform(geometry, lambda xy: xy + FULL_TURN * (xy[:, :1] < 0))
    parts = shapely.get_parts(turned)
    if not shapely.is_valid(parts).all():
        return turned  # repaired later
    joined = shapely.union_all(parts)
    return joined if abs(joined.area - turned.area) <= REPAIR_TOLERANCE * joined.area else turned


def _align_longitudes(watersheds: list[Watershed]) -> list[Watershed]:
    """Give watersheds longitudes from 0 to 360 if one of them crosses the antimeridian."""
    bounds = shapely.bounds([watershed.polygon for watershed in watersheds])
    if bounds[:, 2].max() <= 180:
        return watersheds
    return [
        replace(watershed, polygon=shapely.transform(watershed.polygon, lambda xy: xy + FULL_TURN))
        if west < 0
        else watershed
        for watershed, west in zip(watersheds, bounds[:, 0], strict=True)
    ]


def _area_if_swapped(polygon: Polygon | MultiPolygon) -> float:
    """Area [m2] with longitude and latitude swapped; NaN if that is no place."""
    west, _, east, _ = polygon.bounds
    if not -90 <= west <= east <= 90:
        return math.nan
    return polygon_area(shapely.transform(polygon, lambda xy: xy[:, ::-1]))


def _compare_areas(watershed: Watershed, path: Path) -> None:
    """Warn of, or refuse, a polygon whose area differs from the reported drainage area."""
    if watershed.reported_area is None:
        return
    off = watershed.area / watershed.reported_area - 1
    message = (
        f"{path}: {watershed.site_no}: polygon of {watershed.area / M2_PER_KM2:.4g} km2 is "
        f"{off:+.1%} off the reported drainage area of "
        f"{watershed.reported_area / M2_PER_KM2:.4g} km2"
    )
    if abs(off) > AREA_WARN and watershed.outlet is None:
        swapped = _area_if_swapped(watershed.polygon) / watershed.reported_area - 1
        if abs(swapped) < AREA_SAME:
            raise InputError(
                f"{message}, and {swapped:+.1%} with longitude and latitude swapped: expected "
                "coordinates in this order"
            )
        if abs(off) > AREA_FAIL:
            raise InputError(f"{message}: expected within {AREA_FAIL:.0%}")
    if abs(off) > AREA_WARN:
        LOG.warning("%s", message)
