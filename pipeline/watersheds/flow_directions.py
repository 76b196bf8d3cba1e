"""Flow directions and accumulated areas and lengths, from a DEM or a D8 raster.

Lengths and areas of pixels are those on the WGS84 ellipsoid, whatever the raster's CRS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyflwdir
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import WGS84_A, WGS84_E2, zone_area


class Codes(NamedTuple):
    """A numbering of directions: pyflwdir's name, the eight directions, pits and nodata."""

    ftype: str
    directions: tuple[int, ...]
    pits: tuple[int, ...]
    nodata: int


CODES: Mapping[str, Codes] = MappingProxyType(
    {  # d8: ESRI and HydroSHEDS; ldd: PCRaster, as on a keypad
        "esri": Codes("d8", (1, 2, 4, 8, 16, 32, 64, 128), (0, 255), 247),
        "ldd": Codes("ldd", (1, 2, 3, 4, 6, 7, 8, 9), (5,), 255),
    }
)


@dataclass(frozen=True)
class FlowField:
    """Flow directions of a raster, and what is derived from them; arrays (rows, columns).

    Attributes:
        source: file of the raster.
        crs, transform: georeference of the raster.
        valid: whether a pixel has an elevation or a direction.
        elevation: [m], NaN if not valid or, of a D8 raster, not known.
        lon, lat: pixel centres [degrees].
        area: area of the pixels [m2], 0 if not valid.
        upstream_area: area that drains through each pixel, its own included [m2].
        length: length of the flow path to the raster's edge or a pit [m].
        position, last: numbering of the pixels. Those upstream of a pixel, itself included, have
            positions from its `position` to `last`, exclusive; whole numbers as float64.
    """

    source: Path
    crs: CRS
    transform: Affine
    valid: np.ndarray
    elevation: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    area: np.ndarray
    upstream_area: np.ndarray
    length: np.ndarray
    position: np.ndarray
    last: np.ndarray

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the valid pixels' centres [degrees]."""
        lon, lat = self.lon[self.valid], self.lat[self.valid]
        return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())

    @cached_property
    def min_pixel_side(self) -> float:
        """Side of a square with the area of the smallest valid pixel [m]."""
        return float(np.sqrt(self.area[self.valid].min()))

    @cached_property
    def from_degrees(self) -> Transformer:
        """Transformer from longitude and latitude to the raster's CRS."""
        return Transformer.from_crs(4326, self.crs, always_xy=True)


def flow_field_of(catalog: Catalog) -> FlowField:
    """Flow field of the catalog's terrain, cached until the file changes.

    Raises:
        InputError: as `derive_directions` and `read_directions`.
    """
    assert catalog.terrain is not None
    path = catalog.resolve(catalog.terrain.raster)
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}): expected a raster") from error
    return _field_of(path, catalog.terrain.codes, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _field_of(path: Path, codes: str | None, modified_ns: int, size: int) -> FlowField:
    """Flow field of a file in a certain version."""
    return derive_directions(path) if codes is None else read_directions(path, codes)


def derive_directions(dem: Path) -> FlowField:
    """Fill a DEM's depressions and derive D8 directions (Wang & Liu 2006, by pyflwdir).

    Water leaves at edge pixels without a lower neighbour.

    Raises:
        InputError: not readable, no CRS, or no valid pixel.
    """
    values, crs, transform = _read_raster(dem, "a DEM")
    elevation = np.ma.filled(values.astype(np.float32), np.nan)
    if np.isnan(elevation).all():
        raise InputError(f"{dem}: has no valid pixel: expected elevations")
    flow = pyflwdir.from_dem(elevation, nodata=np.nan)
    return flow_field(flow, crs, transform, dem, elevation)


def read_directions(path: Path, codes: str) -> FlowField:
    """Read D8 directions from a raster with the codes of `CODES[codes]`.

    Water leaves at pits, over the raster's edge and into pixels without a direction.

    Raises:
        InputError: not readable, no CRS, no valid pixel, other codes, or circular directions.
    """
    ftype, directions, pits, nodata = CODES[codes]
    values, crs, transform = _read_raster(path, "a D8 raster")
    data = np.ma.getdata(values)
    valid = ~np.ma.getmaskarray(values) & np.isfinite(data) & (data != nodata)
    data = np.where(data == -1, 255, data)  # 255 in a file of signed bytes
    known = (*directions, *pits)
    other = np.unique(data[valid & ~np.isin(data, known)])
    if other.size:
        found = np.unique(data[valid])
        fits = [k for k, v in CODES.items() if np.isin(found, (*v.directions, *v.pits)).all()]
        hint = f", or the {fits[0]} codes in terrain.codes, which would fit" if fits else ""
        raise InputError(
            f"{path}: holds {', '.join(f'{v:g}' for v in other[:8])}: expected {codes} codes, "
            f"{', '.join(map(str, known))}{hint}"
        )
    if not valid.any():
        raise InputError(f"{path}: has no valid pixel: expected D8 directions")
    data = np.where(valid, data, nodata).astype(np.uint8)
    flow = pyflwdir.from_array(data, ftype=ftype)
    circling = int((flow.rank == -1).sum())
    if circling:
        raise InputError(f"{path}: {circling} pixels drain in a circle: expected paths to a pit")
    unknown = np.full(data.shape, np.nan, np.float32)
    return flow_field(flow, crs, transform, path, unknown)


def _read_raster(path: Path, what: str) -> tuple[np.ma.MaskedArray, CRS, Affine]:
    """Read the first band of a raster, nodata masked, and its georeference."""
    try:
        with rasterio.open(path) as source:
            crs, transform = source.crs, source.transform
            values = source.read(1, masked=True)
    except RasterioError as error:
        raise InputError(f"{path}: not readable ({error}): expected {what}") from error
    if crs is None:
        raise InputError(f"{path}: has no CRS: expected {what} with one")
    return values, crs, transform


def flow_field(
    flow: pyflwdir.FlwdirRaster, crs: CRS, transform: Affine, source: Path, elevation: np.ndarray
) -> FlowField:
    """Accumulate areas and lengths along flow directions.

    They are those on the ellipsoid; pyflwdir's own are those of the raster's plane.
    """
    rows, columns = flow.shape
    valid = flow.mask.reshape(flow.shape)
    lon, lat = _degrees(crs, transform, np.arange(rows) + 0.5, np.arange(columns) + 0.5)
    corners = _degrees(crs, transform, np.arange(rows + 1.0), np.arange(columns + 1.0))
    area = np.where(valid, _areas(*corners), 0.0)
    below = np.where(valid.ravel(), flow.idxs_ds, np.arange(valid.size))
    step = _short_distance(lon.ravel(), lat.ravel(), lon.ravel()[below], lat.ravel()[below])
    position, last = _number_pixels(flow)
    return FlowField(
        source=source,
        crs=crs,
        transform=transform,
        valid=valid,
        elevation=elevation,
        lon=lon,
        lat=lat,
        area=area,
        upstream_area=flow.accuflux(area),
        length=flow.accuflux(step.reshape(flow.shape), direction="down"),
        position=position,
        last=last,
    )


def _number_pixels(flow: pyflwdir.FlwdirRaster) -> tuple[np.ndarray, np.ndarray]:
    """Number pixels by a depth-first walk of the flow trees: `FlowField.position` and `last`.

    Before a pixel come the one it drains to, earlier neighbours that drain there too, and all
    pixels upstream of those.
    """
    count = flow.accuflux(np.ones(flow.shape)).ravel()  # pixels upstream
    pixels = np.flatnonzero(flow.mask)
    below = np.where(flow.idxs_ds[pixels] == pixels, -1, flow.idxs_ds[pixels])  # -1: nothing
    pixels = pixels[np.argsort(below, kind="stable")]  # grouped by the pixel they drain to
    below = np.sort(below)
    before = np.cumsum(count[pixels]) - count[pixels]
    first = np.searchsorted(below, below)  # of those that drain to the same pixel
    ahead = np.zeros(flow.size)
    ahead[pixels] = 1 + before - before[first]
    position = flow.accuflux(ahead.reshape(flow.shape), direction="down")
    return position, position + count.reshape(flow.shape)


def _degrees(
    crs: CRS, transform: Affine, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes (rows, columns) of fractional pixel positions, continuous across the
    antimeridian."""
    column, row = np.meshgrid(columns, rows)
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    around = np.nanmin(np.abs(lon)) > 90 and np.nanmin(lon) < 0 < np.nanmax(lon)
    return np.where(lon < 0, lon + 360, lon) if around else lon, lat


def _areas(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Areas [m2] of the quadrilaterals between corners: shoelace formula in an equal-area plane."""
    x, y = np.radians(lon), zone_area(lat)
    dx1, dy1 = x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]
    dx2, dy2 = x[:-1, 1:] - x[1:, :-1], y[:-1, 1:] - y[1:, :-1]
    area: np.ndarray = 0.5 * np.abs(dx1 * dy2 - dx2 * dy1)
    return area


def _short_distance(
    lon0: np.ndarray, lat0: np.ndarray, lon1: np.ndarray, lat1: np.ndarray
) -> np.ndarray:
    """Distances [m] between neighbouring pixels, from the radii of curvature at their middle."""
    middle = np.radians((lat0 + lat1) / 2)
    w2 = 1 - WGS84_E2 * np.sin(middle) ** 2
    north = WGS84_A * (1 - WGS84_E2) / w2**1.5 * np.radians(lat1 - lat0)
    east = WGS84_A / np.sqrt(w2) * np.cos(middle) * np.radians(lon1 - lon0)
    length: np.ndarray = np.hypot(north, east)
    return length
