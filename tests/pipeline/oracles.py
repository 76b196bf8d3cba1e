"""Published rain files decoded without the product: bytes by their format's definition, or h5py and
SciPy; and overlaps of pixels with cells from polygons in an equal-area plane."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import shapely
from PIL import Image
from pyproj import CRS, Transformer
from scipy.io import netcdf_file

EQUAL_AREA = Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)
NCEP_SPHERE = 6371200.0  # [m] on which NCEP's GRIB 1 grids lie
PARTS = 4  # a pixel is cut into this many along each side, so that straight sides will do

Corners = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Rasters:
    """Rasters as published: values [mm] (rasters, rows, columns), NaN where missing, and what turns
    positions in pixels from the first corner (rows, columns) into longitudes and latitudes."""

    values: np.ndarray
    corners: Corners

    def cell(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """Sum of area [m2] x value, and valid area [m2], in a 5-arc-minute cell; (rasters,)."""
        row, column = self._near(x, y)
        fine = [np.arange(i.start * PARTS, i.stop * PARTS + 1) / PARTS for i in (row, column)]
        lon, lat = self.corners(*np.meshgrid(*fine, indexing="ij"))
        lon = lon - 360 * np.round((lon - x) / 360)
        points = np.stack(EQUAL_AREA.transform(lon, lat), axis=-1)
        rings = np.stack((points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]), 2)
        corner = EQUAL_AREA.transform([x - 1 / 24, x + 1 / 24], [y - 1 / 24, y + 1 / 24])
        box = shapely.box(corner[0][0], corner[1][0], corner[0][1], corner[1][1])
        area = shapely.area(shapely.intersection(shapely.polygons(rings), box))
        raw = self.values[:, row, column].repeat(PARTS, axis=1).repeat(PARTS, axis=2)
        valid = np.isfinite(raw) * area
        return (np.nan_to_num(raw) * valid).sum((1, 2)), valid.sum((1, 2))

    def _near(self, x: float, y: float) -> tuple[slice, slice]:
        """Rows and columns around a cell, with some to spare: among 200 of each, then among all."""
        window = tuple(range(n) for n in self.values.shape[1:])
        for _ in range(2):
            sampled = [numbers[:: max(1, len(numbers) // 200)] for numbers in window]
            lon, lat = self.corners(*np.meshgrid(*map(np.asarray, sampled), indexing="ij"))
            east = (lon - x + 180) % 360 - 180
            sizes = [[np.abs(np.diff(a, axis=axis)).max() for a in (east, lat)] for axis in (0, 1)]
            dx, dy = (max(size[k] for size in sizes) for k in (0, 1))
            dx = min(dx, 10.0)  # not the jump at the antimeridian
            near = np.argwhere((np.abs(east) < 0.1 + dx) & (np.abs(lat - y) < 0.1 + dy))
            first, last = near.min(axis=0) - 1, near.max(axis=0) + 2
            window = tuple(
                range(
                    max(0, numbers.start + a * numbers.step),
                    min(n, numbers.start + b * numbers.step),
                )
                for a, b, numbers, n in zip(
                    first, last, sampled, self.values.shape[1:], strict=True
                )
            )
        row, column = (slice(numbers.start, numbers.stop) for numbers in window)
        return row, column


def along_degrees(west: float, width: float, north: float, height: float) -> Corners:
    """Corners of pixels along parallels; a row is `height` degrees, negative towards the south."""
    return lambda row, column: (west + width * column, north + height * row)


def along_plane(crs: str, x: float, width: float, y: float, height: float) -> Corners:
    """Corners of pixels along the axes of a projection."""
    plane = CRS.from_user_input(crs)
    back = Transformer.from_crs(plane, plane.geodetic_crs, always_xy=True)
    return lambda row, column: back.transform(x + width * column, y + height * row)


def between_centres(longitude: np.ndarray, latitude: np.ndarray) -> Corners:
    """Corners midway between four centres, straight lines between them."""

    def corner(centre: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        grown = np.empty((centre.shape[0] + 2, centre.shape[1] + 2))
        grown[1:-1, 1:-1] = centre
        grown[0, 1:-1], grown[-1, 1:-1] = 2 * centre[0] - centre[1], 2 * centre[-1] - centre[-2]
        grown[:, 0] = 2 * grown[:, 1] - grown[:, 2]
        grown[:, -1] = 2 * grown[:, -2] - grown[:, -3]
        mean = (grown[1:, 1:] + grown[1:, :-1] + grown[:-1, 1:] + grown[:-1, :-1]) / 4
        r = np.minimum(row.astype(int), centre.shape[0] - 1)
        c = np.minimum(column.astype(int), centre.shape[1] - 1)
        u, v = row - r, column - c
        upper = mean[r, c] * (1 - v) + mean[r, c + 1] * v
        lower = mean[r + 1, c] * (1 - v) + mean[r + 1, c + 1] * v
        return upper * (1 - u) + lower * u

    return lambda row, column: (corner(longitude, row, column), corner(latitude, row, column))


def zipped_bil(path: Path) -> Rasters:
    """A band interleaved by line, with its header, in a zip."""
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).suffix: name for name in archive.namelist() if ".aux" not in name}
        words = archive.read(names[".hdr"]).decode().split()
        about = dict(zip(words[::2], words[1::2], strict=True))
        raw = np.frombuffer(archive.read(names[".bil"]), "<f4").astype(np.float64)
    rows, columns = int(about["NROWS"]), int(about["NCOLS"])
    raw[raw == float(about["NODATA"])] = np.nan
    width, height = float(about["XDIM"]), float(about["YDIM"])
    west, north = float(about["ULXMAP"]) - width / 2, float(about["ULYMAP"]) + height / 2
    return Rasters(raw.reshape(1, rows, columns), along_degrees(west, width, north, -height))


def _signed(octets: bytes) -> int:
    """Sign and magnitude, as GRIB writes whole numbers."""
    number = int.from_bytes(octets, "big")
    half = 1 << (8 * len(octets) - 1)
    return number if number < half else half - number


def grib1(path: Path) -> Rasters:
    """One polar stereographic message with a bit map and simple packing, after WMO 306 FM 92."""
    message = path.read_bytes()
    product = message[8:36]
    grid = message[36:]
    grid = grid[: int.from_bytes(grid[:3], "big")]
    bitmap = message[36 + len(grid) :]
    bitmap = bitmap[: int.from_bytes(bitmap[:3], "big")]
    data = message[36 + len(grid) + len(bitmap) :]
    columns, rows = (int.from_bytes(grid[k : k + 2], "big") for k in (6, 8))
    latitude, longitude = (_signed(grid[k : k + 3]) / 1000 for k in (10, 13))
    meridian, dx, dy = (_signed(grid[k : k + 3]) for k in (17, 20, 23))
    assert grid[5] == 5
    assert grid[27] == 0b01000000  # polar stereographic; rows from the south
    present = np.unpackbits(np.frombuffer(bitmap[6:], np.uint8))[: rows * columns].astype(bool)
    scale, reference, bits = _signed(data[4:6]), _ibm(data[6:10]), data[10]
    packed = np.unpackbits(np.frombuffer(data[11:], np.uint8))
    packed = packed[: present.sum() * bits].reshape(-1, bits) @ (1 << np.arange(bits)[::-1])
    values = np.full(rows * columns, np.nan)
    values[present] = (reference + packed * 2.0**scale) / 10.0 ** _signed(product[26:28])
    crs = f"+proj=stere +lat_0=90 +lat_ts=60 +lon_0={meridian / 1000} +R={NCEP_SPHERE}"
    plane = CRS.from_user_input(crs)
    to_plane = Transformer.from_crs(plane.geodetic_crs, plane, always_xy=True)
    x, y = to_plane.transform(longitude, latitude)
    return Rasters(
        values.reshape(1, rows, columns), along_plane(crs, x - dx / 2, dx, y - dy / 2, dy)
    )


def _ibm(octets: bytes) -> float:
    """A floating-point number of System/360."""
    sign = -1 if octets[0] & 0x80 else 1
    fraction = int.from_bytes(octets[1:], "big") / 2**24
    return float(sign * fraction * 16.0 ** ((octets[0] & 0x7F) - 64))


def grib2_png(path: Path) -> Rasters:
    """One message in longitude and latitude, packed as PNG (template 5.41), after FM 92; a number
    below zero is a code for missing."""
    message = path.read_bytes()
    sections, at = {}, 16
    while message[at : at + 4] != b"7777":
        length = int.from_bytes(message[at : at + 4], "big")
        sections[message[at + 4]] = message[at : at + length]
        at += length
    grid, packing, data = sections[3], sections[5], sections[7]
    columns, rows = (int.from_bytes(grid[k : k + 4], "big") for k in (30, 34))
    first_y, first_x, last_y, last_x = (_signed(grid[k : k + 4]) / 1e6 for k in (46, 50, 55, 59))
    assert int.from_bytes(packing[9:11], "big") == 41
    (reference,) = struct.unpack(">f", packing[11:15])
    two, ten = _signed(packing[15:17]), _signed(packing[17:19])
    packed = np.asarray(Image.open(io.BytesIO(data[5:])), np.float64)
    values = (reference + packed * 2.0**two) / 10.0**ten
    values[values < 0] = np.nan
    width, height = (last_x - first_x) / (columns - 1), (last_y - first_y) / (rows - 1)
    corners = along_degrees(first_x - width / 2, width, first_y - height / 2, height)
    return Rasters(values[None], corners)


def _even(centres: np.ndarray) -> tuple[float, float]:
    """First edge and width of evenly spaced pixels."""
    width = (float(centres[-1]) - float(centres[0])) / (len(centres) - 1)
    return float(centres[0]) - width / 2, width


def hdf5(path: Path, variable: str, y: str, x: str, hours: float = 1.0) -> Rasters:
    """A variable in longitude and latitude by h5py, in whichever order its dimensions are; a rate
    is turned into what falls in so many hours."""
    with h5py.File(path) as file:
        data = file[variable]
        raw = data[...].astype(np.float64)
        for key in ("_FillValue", "missing_value"):
            if key in data.attrs:
                raw[raw == np.float64(data.attrs[key].ravel()[0])] = np.nan
        raw = raw * float(np.ravel(data.attrs.get("scale_factor", 1))[0])
        (west, width), (north, height) = (_even(file[name][...]) for name in (x, y))
        if raw.shape[1:] == (file[x].size, file[y].size):
            raw = raw.transpose(0, 2, 1)
    return Rasters(raw * hours, along_degrees(west, width, north, height))


def lambert_in_km(path: Path, variable: str) -> Rasters:
    """A variable along projected axes in kilometres, by SciPy."""
    with netcdf_file(path, mmap=False) as file:
        data, mapping = file.variables[variable], file.variables["lambert_conformal_conic"]
        raw = data[:].astype(np.float64)
        raw[raw == float(data._FillValue)] = np.nan
        (x, width), (y, height) = (_even(file.variables[name][:]) for name in ("x", "y"))
        south, north = mapping.standard_parallel
        origin = mapping.latitude_of_projection_origin
        crs = (
            f"+proj=lcc +lat_1={south} +lat_2={north} +lat_0={origin}"
            f" +lon_0={mapping.longitude_of_central_meridian} +a={mapping.semi_major_axis}"
            f" +rf={mapping.inverse_flattening} +units=km"
        )
    return Rasters(raw, along_plane(crs, x, width, y, height))


def by_centres(path: Path, variable: str) -> Rasters:
    """A variable (time, y, x) beside latitudes and longitudes of its pixels, by SciPy; these may be
    (x, y)."""
    with netcdf_file(path, mmap=False) as file:
        raw = file.variables[variable][:].astype(np.float64)
        lat, lon = (file.variables[name] for name in ("lat", "lon"))
        turned = lat.dimensions == ("x", "y")
        centres = [(c[:].T if turned else c[:]).astype(np.float64) for c in (lon, lat)]
    return Rasters(raw, between_centres(*centres))
