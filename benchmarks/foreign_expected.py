"""What has to come of foreign rasters, read in another way than the pipeline reads them.

Raw numbers, and a formula for the place of a pixel.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h5py
import netCDF4
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

Floats: TypeAlias = NDArray[np.float64]
Locate: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]  # lon, lat -> row, column


@dataclass(frozen=True, eq=False)
class Expected:
    """Rain in mm per step of the store, (steps, rows, columns), NaN where missing.

    `locate` gives fractional rows and columns of points, whose whole part is the pixel's number.
    """

    rain: Floats
    locate: Locate


def even(first_lat: float, first_lon: float, dlat: float, dlon: float) -> Locate:
    """Pixels of an even grid of degrees, by the middle of the first."""
    return lambda lon, lat: ((lat - first_lat) / dlat + 0.5, (lon - first_lon) / dlon + 0.5)


def plane(proj: str, left: float, top: float, width: float, height: float) -> Locate:
    """Pixels in a projection on its own datum, by the outer corner of the first."""
    datum = " ".join(re.findall(r"\+(?:a|b|R|ellps|datum)=\S+", proj))
    to_plane = Transformer.from_crs(f"+proj=longlat {datum} +no_defs", proj, always_xy=True)

    def locate(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        x, y = to_plane.transform(lon, lat)
        return (y - top) / height, (x - left) / width

    return locate


def variable(path: Path, name: str) -> Floats:
    """Numbers of a NetCDF variable, unpacked by its own attributes, NaN where masked."""
    with netCDF4.Dataset(path) as file:
        return np.ma.filled(file.variables[name][:].astype(np.float64), np.nan)


# ------------------------------------------------------------------ what the files hold


def lisflood(folder: Path) -> Expected:
    return Expected(variable(folder / "rain.nc", "pr"), even(53.95, -124.45, -0.1, 0.1))


def era5_cmor(folder: Path) -> Expected:
    rain = variable(folder / "pr.nc", "pr") * 86400
    return Expected(rain, even(46.25, 4.0, 0.25, 0.25))


def era5land_order(folder: Path) -> Expected:
    rain = variable(folder / "tp_1970.nc", "tp").transpose(2, 1, 0)
    return Expected(rain, even(47.0, -75.0, -0.1, 0.1))


def era5land_percentile(folder: Path) -> Expected:
    return Expected(variable(folder / "tp.nc", "tp")[0], even(50.0, -78.0, -0.1, 0.1))


def hirham(folder: Path) -> Expected:
    """By the true pole, 39.25 N and 162 W, at which the file's own latitudes lie."""
    rain = variable(folder / "pr_1958.nc", "pr") * 86400
    pole = np.radians(39.25)

    def locate(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        x, y = np.radians(lon - (-162.0 + 180)), np.radians(lat)
        up = np.sin(y) * np.sin(pole) - np.cos(y) * np.cos(x) * np.cos(pole)
        east = np.arctan2(
            np.cos(y) * np.sin(x),
            np.cos(y) * np.cos(x) * np.sin(pole) + np.sin(y) * np.cos(pole),
        )
        rlat, rlon = np.degrees(np.arcsin(up)), np.degrees(east)
        return (rlat + 20.68) / 0.22 + 0.5, (rlon + 22.16) / 0.22 + 0.5

    return Expected(rain, locate)


def stehekin(folder: Path) -> Expected:
    return Expected(variable(folder / "forcing.nc", "prcp"), even(48.1875, -121.0625, 0.125, 0.125))


def wflow(folder: Path) -> Expected:
    rain = variable(folder / "inmaps.nc", "precip")
    with netCDF4.Dataset(folder / "inmaps.nc") as file:
        lat, lon = (
            np.asarray(file.variables[name][:], float) for name in ("latitude", "longitude")
        )
    return Expected(rain, even(lat[0], lon[0], -1 / 60, 1 / 60))


def chirps(folder: Path) -> Expected:
    with rasterio.open(next(folder.glob("*.tif"))) as file:
        rain, t = np.ma.filled(file.read(1, masked=True).astype(np.float64), np.nan), file.transform
    return Expected(rain[None], lambda lon, lat: ((lat - t.f) / t.e, (lon - t.c) / t.a))


def rdpa(folder: Path) -> Expected:
    with rasterio.open(next(folder.glob("*.grib2"))) as file:
        rain, t = np.ma.filled(file.read(1, masked=True), np.nan), file.transform
    proj = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=249 +R=6371229"
    return Expected(rain[None], plane(proj, t.c, t.f, t.a, t.e))


def odim(folder: Path) -> Expected:
    """The rate of one instant, for the quarter of an hour before it; one of four in the hour."""
    with h5py.File(next(folder.glob("*.hdf"))) as file:
        raw = file["dataset1/data1/data"][:]
    rate = np.where(raw == -9999000, np.nan, np.where(raw == -8888000, 0, raw))
    proj = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +ellps=WGS84"
    return Expected(rate[None], plane(proj, 0, 0, 2000, -2000))


def knmi(folder: Path) -> Expected:
    """One sum of five minutes, which stands for the hour."""
    with h5py.File(next(folder.glob("*.h5"))) as file:
        raw = file["image1/image_data"][:].astype(float)
    rain = np.where(raw == 65535, np.nan, raw * 0.01) * 12
    proj = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752"
    return Expected(rain[None], plane(proj, 0, -3650e3, 1000, -1000))


RADOLAN = "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +R=6370040"


def radolan(folder: Path, rows: int, factor: float, left: float, bottom: float) -> Expected:
    """Numbers of 12 bits, flags above them, rows from the south."""
    content = gzip.decompress(next(folder.glob("*.gz")).read_bytes())
    raw = np.frombuffer(content[content.index(b"\x03") + 1 :], "<u2").reshape(rows, 900)
    rain = (raw & 0xFFF).astype(np.float64) * factor
    rain[(raw & 0x2000) > 0] = np.nan  # no data
    rain[(raw & 0x8000) > 0] = np.nan  # clutter
    return Expected(rain[None], plane(RADOLAN, left, bottom, 1000, 1000))


def rw(folder: Path) -> Expected:
    return radolan(folder, 900, 0.1, -523462.17, -4658644.72)


def yw(folder: Path) -> Expected:
    """One sum of five minutes, which stands for the hour."""
    return radolan(folder, 1100, 0.12, -443462.17, -4758644.72)


def asc(folder: Path) -> Expected:
    grids = [np.loadtxt(path, skiprows=6) for path in sorted(folder.glob("*.asc"))]
    rain = np.where(np.stack(grids) == -1, np.nan, np.stack(grids) * 0.1)
    return Expected(rain, plane(RADOLAN, -523462, -4658645 + 900e3, 1000, -1000))


# ------------------------------------------------------------------ folders that are not only links
