"""Flow directions in a window of a DEM or a D8 raster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
import pyflwdir
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import array_bounds

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.watersheds.direction_codes import CODES, numbering_of
from pipeline.watersheds.flow_field import (
    FlowField,
    Sides,
    flow_field,
    from_degrees,
    pixel_degrees,
    quadrilateral_areas,
    to_degrees,
)

Window = tuple[slice, slice]  # rows, columns
Codes: TypeAlias = str | tuple[int, ...]  # of a numbering
# Pixels of a DEM whose directions are derived once for all of it, which is exact and, for many
# watersheds, quicker than in a window of each; they are kept as a byte a pixel.
WHOLE_PIXELS = 2**22
# Pixels around what is traced in a wider DEM. A depression that reaches the window's edge drains
# there, and may drain elsewhere in the whole raster: the margin is wider than all but great lakes.
DEM_MARGIN = 128
ROUND_TRIP = 1e-3  # degrees by which a projection and its inverse may differ


class NoPixelError(InputError):
    """A raster, or a window of it, has no valid pixel."""


@dataclass(frozen=True)
class TerrainRaster:
    """Header of a DEM or a D8 raster; pixels are read by windows.

    Attributes:
        path: of the file.
        codes: as of `numbering_of`; None for a DEM.
        crs, transform: georeference.
        shape: (rows, columns).
        nodata: values without elevation or direction, besides the file's own.
        name: GDAL's name of the raster, which is the path but in a file of several.
    """

    path: Path
    codes: Codes | None
    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    nodata: tuple[float, ...] = ()
    name: str = ""  # by default the path

    @classmethod
    def open(
        cls,
        path: Path,
        codes: Codes | None = None,
        stated: str | None = None,
        nodata: Sequence[float] = (),
        variable: str | None = None,
    ) -> TerrainRaster:
        """Read the header of a DEM, or of a D8 raster with `codes`.

        Args:
            path: of the raster.
            codes: as of `numbering_of`.
            stated: the CRS by the catalog, in place of the file's.
            nodata: values without elevation or direction, besides the file's own.
            variable: of a NetCDF file of several.

        Raises:
            InputError: not readable, no CRS, or several variables.
        """
        what = "a DEM" if codes is None else "a D8 raster"
        name = str(path) if variable is None else f'netcdf:"{path}":{variable}'
        try:
            with rasterio.open(name) as source:
                crs, transform, shape = source.crs, source.transform, source.shape
                variables = [one.rpartition(":")[2] for one in source.subdatasets]
                degrees = {"degrees_north", "degrees_east"} <= set(source.tags().values())
        except RasterioError as error:
            raise InputError(f"{path}: not readable ({error}): expected {what}") from error
        if variables:
            raise InputError(
                f"{path}: holds {', '.join(variables)}: expected one in terrain.variable of the "
                "catalog"
            )
        crs = CRS.from_epsg(4326) if crs is None and degrees else crs
        crs = _crs(path, crs, stated, transform, shape)
        if shape == (1, 1):
            raise InputError(f"{path}: has one pixel: expected {what} of more")
        return cls(path, codes, crs, transform, shape, tuple(nodata), name)

    @property
    def whole(self) -> Window:
        """The window that holds the whole raster."""
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    @property
    def has_directions(self) -> bool:
        """Whether the directions in a window are those of the whole raster."""
        return self.codes is not None or self.shape[0] * self.shape[1] <= WHOLE_PIXELS

    @property
    def span(self) -> tuple[float, float, float, float]:
        """West, south, east, north of a lattice of pixel centres [degrees]."""
        rows, columns = (np.linspace(0.5, size - 0.5, min(size, 100)) for size in self.shape)
        lon, lat = pixel_degrees(self.crs, self.transform, rows, columns)
        finite = np.isfinite(lon) & np.isfinite(lat)
        lon, lat = lon[finite], lat[finite]
        return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())

    def window_around(
        self, place: shapely.Geometry, reach: float, margin: int, share: float
    ) -> Window | None:
        """Find the window around a polygon or a point; None if the raster does not reach it.

        Args:
            place: in EPSG:4326.
            reach: distance around it [m].
            margin: pixels around that.
            share: of its longer side that is added around it.
        """
        box = self._pixel_box(place)
        if box is None or (box[1] <= 0).any() or (box[0] >= self.shape).any():
            return None
        side = self._pixel_side(box)
        around = np.ceil(reach / side) + 1 + margin + np.ceil(share * (box[1] - box[0]).max())
        start = np.maximum(np.floor(box[0]) - around, 0).astype(int)
        stop = np.minimum(np.floor(box[1]) + 1 + around, self.shape).astype(int)
        return slice(int(start[0]), int(stop[0])), slice(int(start[1]), int(stop[1]))

    def _pixel_box(self, place: shapely.Geometry) -> np.ndarray | None:
        """Least and greatest pixel position of a place, ((row, column), (row, column)).

        None if the raster's projection does not reach there: far from its origin it may have no
        finite coordinates, or those of another place.
        """
        lon, lat = shapely.get_coordinates(place).T
        x, y = from_degrees(self.crs).transform(lon, lat)
        back = to_degrees(self.crs).transform(x, y)
        with np.errstate(invalid="ignore"):
            off = np.array([(back[0] - lon + 180) % 360 - 180, back[1] - lat])
        if not np.abs(off).max() < ROUND_TRIP:
            return None
        inverse = ~self.transform
        rows = inverse.d * x + inverse.e * y + inverse.f
        columns = inverse.a * x + inverse.b * y + inverse.c
        return np.array([[rows.min(), columns.min()], [rows.max(), columns.max()]])

    def _pixel_side(self, box: np.ndarray) -> float:
        """Side of a square with the area of the smallest of the pixels at the corners of a box."""
        sides = []
        for row in box[:, 0]:
            for column in box[:, 1]:
                corners = row + np.arange(2), column + np.arange(2)
                area = quadrilateral_areas(*pixel_degrees(self.crs, self.transform, *corners))
                sides.append(np.sqrt(area.item()))
        return float(np.nanmin(sides))

    def flow_field(self, window: Window | None = None) -> FlowField:
        """Read, or derive from elevations, the flow directions in a window or the whole raster.

        A DEM's depressions are filled and D8 directions derived (Wang & Liu 2006, by pyflwdir), in
        the whole raster if it is small, otherwise in the window; water leaves at edge pixels
        without a lower neighbour. With D8 directions water leaves at pits, over the edge and into
        pixels without a direction.

        Raises:
            InputError: not readable, no valid pixel, other codes, or circular directions.
        """
        rows, columns = window or self.whole
        values = self._read(rows, columns)
        if self.codes is None:
            elevation = np.ma.filled(values.astype(np.float32), np.nan)
            if np.isnan(elevation).all():
                raise NoPixelError(f"{self.path}: has no valid pixel: expected elevations")
            if self.has_directions:
                directions = _directions_of(self)[rows, columns]
                flow = pyflwdir.from_array(directions, ftype="d8", check_ftype=False)
            else:
                flow = pyflwdir.from_dem(elevation, nodata=np.nan)
        else:
            elevation = np.broadcast_to(np.float32(np.nan), values.shape)
            flow = self._parse_directions(values, self.codes)
        transform = self.transform * Affine.translation(columns.start, rows.start)
        cut = Sides(
            north=rows.start > 0,
            south=rows.stop < self.shape[0],
            west=columns.start > 0,
            east=columns.stop < self.shape[1],
        )
        return flow_field(flow, self.crs, transform, self.path, elevation, cut)

    def _read(self, rows: slice, columns: slice) -> np.ma.MaskedArray:
        """Read the first band, nodata masked."""
        window = rasterio.windows.Window.from_slices(rows, columns)
        try:
            with rasterio.open(self.name or self.path) as source:
                values: np.ma.MaskedArray = source.read(1, masked=True, window=window)
        except RasterioError as error:
            raise InputError(f"{self.path}: not readable ({error}): expected a raster") from error
        for code in self.nodata:  # compared in the raster's own type: -9999.9 as its float32 is
            values = np.ma.masked_where(np.ma.getdata(values) == code, values)
        return values

    def _parse_directions(self, values: np.ma.MaskedArray, codes: Codes) -> pyflwdir.FlwdirRaster:
        """Check directions and parse them."""
        numbering = numbering_of(codes)
        data = np.ma.getdata(values)
        valid = ~np.ma.getmaskarray(values) & np.isfinite(data)
        valid &= ~np.isin(data, numbering.nodata)
        found = np.unique(data[valid])
        other = found[~np.isin(found, numbering.known)]
        if other.size:
            fits = [
                name
                for name, one in CODES.items()
                if np.isin(found, (*one.known, *one.nodata)).all()
            ]
            hint = ""
            if fits:
                hint = f", or terrain.codes: {' or '.join(fits)}, whose values these could be"
            raise InputError(
                f"{self.path}: holds {', '.join(f'{v:g}' for v in other[:8])}: expected {codes} "
                f"codes, {', '.join(map(str, numbering.known))}{hint}"
            )
        if not valid.any():
            raise NoPixelError(f"{self.path}: has no valid pixel: expected D8 directions")
        circling = int(valid.sum())
        with suppress(ValueError):  # pyflwdir's, if there is no pit
            flow = pyflwdir.from_array(numbering.to_d8(data, valid), ftype="d8", check_ftype=False)
            circling -= flow.idxs_seq.size  # of all pixels from pits upstream
        if circling:
            raise InputError(
                f"{self.path}: {circling} pixels drain in a circle: expected paths to a pit "
                "(terrain.codes?)"
            )
        return flow


def _crs(
    path: Path, crs: CRS | None, stated: str | None, transform: Affine, shape: tuple[int, int]
) -> CRS:
    """CRS of a raster: as the catalog states it, or its own.

    Raises:
        InputError: there is none, or that of the catalog is none, or contradicts its numbers.
    """
    if stated is None:
        if crs is None:
            raise InputError(f"{path}: has no CRS: expected one, or terrain.crs in the catalog")
        return crs
    try:
        found = CRS.from_user_input(stated)
    except CRSError as error:
        raise InputError(
            f"{path}: terrain.crs: {stated!r}: expected an EPSG code, WKT or PROJ text"
        ) from error
    west, south, east, north = array_bounds(*shape, transform)
    degrees = max(abs(west), abs(east)) <= 360 and max(abs(south), abs(north)) <= 90
    if found.is_geographic != degrees:
        raise InputError(
            f"{path}: spans {west:g}..{east:g}, {south:g}..{north:g}: expected "
            f"{'degrees' if found.is_geographic else 'metres'}, as terrain.crs is {stated!r}"
        )
    return found


def _directions_of(dem: TerrainRaster) -> np.ndarray:
    """D8 directions of a whole DEM, uint8; derived once per process, by one thread."""
    stat = dem.path.stat()
    with _DERIVING:
        return _derive_directions(dem, stat.st_mtime_ns, stat.st_size)


_DERIVING = Lock()


@lru_cache(maxsize=1)
def _derive_directions(dem: TerrainRaster, modified_ns: int, size: int) -> np.ndarray:
    """D8 directions of a whole DEM in a certain version."""
    elevation = np.ma.filled(dem._read(*dem.whole).astype(np.float32), np.nan)
    directions: np.ndarray = pyflwdir.from_dem(elevation, nodata=np.nan).to_array("d8")
    return directions


def open_terrain(catalog: Catalog) -> TerrainRaster:
    """Read the header of the catalog's terrain.

    Raises:
        InputError: not readable, or no CRS.
    """
    assert catalog.terrain is not None
    path = catalog.resolve(catalog.terrain.raster)
    try:
        path.stat()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}): expected a raster") from error
    terrain = catalog.terrain
    return TerrainRaster.open(path, terrain.codes, terrain.crs, terrain.nodata, terrain.variable)
