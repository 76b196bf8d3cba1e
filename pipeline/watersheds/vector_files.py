"""Read vector files in EPSG:4326, and refuse those that are damaged or of another place.

Copies are often incomplete: a shapefile is four files. Of those that can be read, some state a CRS
that their coordinates contradict.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import geopandas as gpd
import numpy as np
import pyogrio
import pyogrio.errors
import shapely
from pyarrow.lib import ArrowException
from pyproj import CRS
from pyproj.exceptions import ProjError

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.log import get_logger

LOG = get_logger(__name__)
Kind = Literal["Polygon", "Point"]
PARQUET = (".parquet", ".geoparquet")  # GDAL's wheels do not read it
NEAR = 10.0  # degrees beside a CRS's area of use: rivers cross the borders of zones
NOT_READABLE = (
    OSError,
    UnicodeDecodeError,
    ArrowException,
    ProjError,
    pyogrio.errors.DataLayerError,  # also of CRS, fields and features
    pyogrio.errors.DataSourceError,
    shapely.errors.ShapelyError,
)


def read_features(catalog: Catalog, path: Path, kind: Kind) -> gpd.GeoDataFrame:
    """Read the catalog's file of polygons, or of points, in EPSG:4326.

    Raises:
        InputError: it is not readable, has several layers of that kind and the catalog names none,
            or as `place_features`.
    """
    parquet = path.suffix.lower() in PARQUET
    try:
        with warnings.catch_warnings(record=True) as caught:  # GDAL's, of its repairs
            warnings.simplefilter("always")
            table = (
                gpd.read_parquet(path)
                if parquet
                else gpd.read_file(path, layer=_layer(catalog, path, kind))
            )
    except NOT_READABLE as error:
        raise InputError(
            f"{path}: not readable ({_reason(error)}): expected {_whole(path, kind)}"
        ) from error
    except ValueError as error:  # geopandas, of a table without geometries
        expected = "GeoParquet" if parquet else f"{kind.lower()}s"
        raise InputError(f"{path}: not readable ({_reason(error)}): expected {expected}") from error
    for one in caught:
        LOG.warning("%s: %s", path, _reason(one.message))
    return place_features(catalog, path, table)


def place_features(catalog: Catalog, path: Path, table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Convert features to EPSG:4326 from the catalog's CRS or their own.

    Raises:
        InputError: they have no CRS, or one that their coordinates contradict.
    """
    table = _with_crs(catalog, path, table)
    try:
        placed = table.to_crs(4326)
    except ProjError as error:
        raise InputError(f"{path}: CRS {table.crs.name}: expected one on the Earth") from error
    _require_place(path, table, placed)
    return placed


def _layer(catalog: Catalog, path: Path, kind: Kind) -> str | None:
    """Name of the layer to read; None for the only one."""
    wanted = catalog.watersheds.layer
    layers = {str(name): str(kind) for name, kind in pyogrio.list_layers(path)}
    if wanted is not None:
        if wanted not in layers:
            raise InputError(
                f"{path}: layers {', '.join(layers)}: expected {wanted}, the watersheds.layer of "
                f"{catalog.path}"
            )
        return wanted
    if len(layers) < 2:
        return None
    found = [name for name, geometry in layers.items() if kind in geometry]
    if len(found) != 1:
        raise InputError(
            f"{path}: layers {', '.join(found or layers)}: expected a choice of one in "
            f"watersheds.layer of {catalog.path}"
        )
    return found[0]


def _with_crs(catalog: Catalog, path: Path, table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The table with the catalog's CRS, or its own."""
    wanted = catalog.watersheds.crs
    known = isinstance(table, gpd.GeoDataFrame)
    if known and wanted is not None:
        try:
            return table.set_crs(wanted, allow_override=True)
        except ProjError as error:
            raise InputError(
                f"{catalog.path}: watersheds.crs: {wanted!r}: expected an EPSG code, WKT or PROJ "
                "text"
            ) from error
    if not known or table.crs is None:
        file = "a .prj beside it" if path.suffix.lower() == ".shp" else "a file with one"
        raise InputError(
            f"{path}: has no CRS: expected {file}, or watersheds.crs in {catalog.path}"
        )
    return table


def _require_place(path: Path, table: gpd.GeoDataFrame, placed: gpd.GeoDataFrame) -> None:
    """Require that the coordinates fit the CRS that the table states.

    Raises:
        InputError: degrees in a CRS of metres, or a place far from where the CRS is used.
    """
    bounds, crs = table.total_bounds, CRS(table.crs)
    degrees = bool((np.abs(bounds) <= (360, 90, 360, 90)).all())
    if np.isnan(bounds).any() or (crs.is_geographic and not degrees):  # refused later, by site
        return
    spans = f"{path}: spans {rounded(bounds)} in {crs.name}"
    if crs.is_projected and degrees:
        raise InputError(f"{spans}: expected metres, these look like degrees (watersheds.crs?)")
    use = crs.area_of_use
    west, south, east, north = placed.total_bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    if use is None or not np.isfinite([lon, lat]).all():  # refused later
        return
    width = (use.east - use.west) % 360 or 360
    beside = (lon - use.west + NEAR) % 360 > width + 2 * NEAR and width + 2 * NEAR < 360
    if beside or not use.south - NEAR <= lat <= use.north + NEAR:
        area = (use.west, use.south, use.east, use.north)
        raise InputError(
            f"{spans}, around {lon:.4g} {lat:.4g}: expected a place within {rounded(area)}, where "
            "this CRS is used (another CRS, or x and y swapped?)"
        )


def _whole(path: Path, kind: Kind) -> str:
    """What is expected of a file, for messages."""
    if path.suffix.lower() == ".shp":
        return f"{kind.lower()}s, and whole copies of .shp, .shx, .dbf and .prj"
    return f"{kind.lower()}s, in a whole copy"


def _reason(error: object) -> str:
    """A library's message in one line, without advice on its own settings."""
    return " ".join(str(error).split(" Set SHAPE_RESTORE_SHX")[0].split())


def rounded(bounds: object) -> tuple[float, ...]:
    """Round bounds for a message."""
    return tuple(round(float(b), 4) for b in np.asarray(bounds))
