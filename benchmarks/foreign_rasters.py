"""Foreign rasters: how a user would set each up, and what has to come of it.

Each case names files of a folder of real data, whose own README says what they hold. `expected`
reads them in another way than the pipeline: raw numbers, and a formula for the place of a pixel.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
Edits: TypeAlias = Mapping[str, str]
Box: TypeAlias = tuple[float, float, float, float]  # west, south, east, north


@dataclass(frozen=True, eq=False)
class Expected:
    """Rain in mm per step of the store, (steps, rows, columns), NaN where missing.

    `locate` gives fractional rows and columns of points, whose whole part is the pixel's number.
    """

    rain: Floats
    locate: Locate


@dataclass(frozen=True)
class Case:
    """A source, and what has to come of it.

    Attributes:
        name: short name of the source, as the table shows it.
        files: names in the folder of data, by the names that they get.
        box: of the watershed.
        days: of the gauge's record, first and last.
        edits: of the drafted catalog: regular expressions and what replaces each; counted.
        expected: reads the right values; None if the source is to be refused.
        refused: what the refusal has to say.
        prepare: makes the files of a folder, if they are not linked as they are.
    """

    name: str
    files: Mapping[str, str]
    box: Box
    days: tuple[str, str]
    edits: Edits = field(default_factory=dict)
    expected: Callable[[Path], Expected] | None = None
    refused: Sequence[str] = ()
    prepare: Callable[[Path, Path], None] | None = None


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


def unpack_tar(folder: Path, target: Path) -> None:
    """What a user does with an archive of grids."""
    with tarfile.open(folder / "radolan_RW-20221018_first3h.tar.gz") as archive:
        archive.extractall(target, filter="data")


def unpack_tar_with_prj(folder: Path, target: Path) -> None:
    """With the file that is to say the CRS under the name under which GDAL looks for it."""
    unpack_tar(folder, target)
    for path in sorted(target.glob("*.asc")):
        path.with_suffix(".prj").write_bytes((folder / "radolan_aaigrid.prj").read_bytes())


def dated_chirps(folder: Path, target: Path) -> None:
    """A raster whose date only its publisher knows: the user puts it into the name."""
    (target / "chirps_20180301.tif").write_bytes((folder / "chirps_iran_template.tif").read_bytes())


CASES = (
    Case(
        "lisflood_fraser",
        {"rain.nc": "lisflood_fraser_tp.nc"},
        (-123.9, 52.95, -122.1, 53.7),
        ("1986-01-02", "2018-01-02"),
        expected=lisflood,
    ),
    Case(
        "era5_cmor_rhine",
        {"pr.nc": "era5_cmor_rhine_pr_2000.nc"},
        (7.0, 47.5, 8.5, 49.0),
        ("2000-01-01", "2000-01-31"),
        expected=era5_cmor,
    ),
    Case(
        "era5_point_packed",
        {"point.nc": "era5_point_packed_hourly.nc"},
        (-123.5, 49.0, -123.0, 49.5),
        ("2018-01-01", "2018-01-09"),
        refused=["point.nc", "no rasters"],
    ),
    Case(
        "era5land_lon_lat_time",
        {"tp_1970.nc": "era5land_lon_lat_time_order.nc"},
        (-74.9, 46.4, -74.4, 46.9),
        ("1970-01-01", "1971-01-01"),
        expected=era5land_order,
    ),
    Case(
        "era5land_percentile",
        {"tp.nc": "era5land_percentile_no_units.nc"},
        (-77.9, 49.2, -77.2, 49.9),
        ("1970-01-01", "1970-01-16"),
        expected=era5land_percentile,
    ),
    Case(
        "geps_ensemble",
        {"geps.nc": "geps_ensemble_accumulated.nc"},
        (-70.0, 48.0, -69.0, 49.0),
        ("2018-06-01", "2018-06-17"),
        refused=["geps.nc", "no rasters"],
    ),
    Case(
        "rotated_pole_hirham",
        {"pr_1958.nc": "rotated_pole_hirham_pr.nc"},
        (9.0, 47.0, 11.0, 49.0),
        ("1958-01-01", "1958-01-06"),
        refused=["pr_1958.nc", "by the axes", "by latitude and longitude", "place_by"],
    ),
    Case(
        "rotated_pole_hirham, place_by",
        {"pr_1958.nc": "rotated_pole_hirham_pr.nc"},
        (9.0, 47.0, 11.0, 49.0),
        ("1958-01-01", "1958-01-06"),
        edits={r"^(    variable: pr.*)$": r"\1\n    place_by: latlon"},
        expected=hirham,
    ),
    Case(
        "wrf_accumulated",
        {"wrf.nc": "wrf_allvars_accumulated.nc"},
        (86.5, 29.5, 87.5, 30.5),
        ("2005-09-21", "2005-09-22"),
        refused=["wrf.nc"],
    ),
    Case(
        "hadgem2_360day",
        {"pr_2095.nc": "hadgem2_360day_pr_2095.nc"},
        (-74.9, 43.7, -73.7, 44.8),
        ("2095-01-01", "2095-12-31"),
        refused=["pr_2095.nc", "360_day"],
    ),
    Case(
        "vic_runoff",
        {"runoff.nc": "vic_runoff_undeclared_fill.nc"},
        (-123.0, 54.0, -122.0, 55.0),
        ("2000-01-01", "2000-04-10"),
        refused=["runoff.nc", "total runoff"],
    ),
    Case(
        "vic_stehekin",
        {"forcing.nc": "vic_stehekin_forcing.nc"},
        (-121.0, 48.2, -120.6, 48.5),
        ("1949-01-01", "1949-01-11"),
        expected=stehekin,
    ),
    Case(
        "livneh_single_cell",
        {"cell.nc": "livneh_single_cell_1972.nc"},
        (-121.6, 48.2, -121.57, 48.25),
        ("1972-01-01", "1972-03-03"),
        refused=["cell.nc", "expected two or more"],
    ),
    Case(
        "wflow_piave",
        {"inmaps.nc": "wflow_piave_inmaps.nc"},
        (12.0, 46.1, 12.4, 46.5),
        ("2010-02-02", "2010-02-11"),
        expected=wflow,
    ),
    Case(
        "chirps_iran",
        {"chirps.tif": "chirps_iran_template.tif"},
        (51.0, 31.0, 53.0, 33.0),
        ("2018-03-01", "2018-03-03"),
        refused=["chirps.tif", "needs a field such as {time"],
    ),
    Case(
        "chirps_iran, dated by hand",
        {},
        (51.0, 31.0, 53.0, 33.0),
        ("2018-03-01", "2018-03-03"),
        expected=chirps,
        prepare=dated_chirps,
    ),
    Case(
        "rdpa_apcp24h",
        {"rdpa_apcp24h_2023121806.grib2": "rdpa_apcp24h_2023121806.grib2"},
        (-95.0, 45.0, -93.0, 47.0),
        ("2023-12-17", "2023-12-19"),
        expected=rdpa,
    ),
    Case(
        "ecmwf_two_grids",
        {"tp.grib": "ecmwf_tp_two_grids.grib"},
        (5.0, 45.0, 8.0, 48.0),
        ("2017-10-17", "2017-10-20"),
        refused=["tp.grib", "another grid"],
    ),
    Case(
        "gfs_cprat",
        {"gfs.grib2": "gfs_cprat_instant_and_mean.grib2"},
        (5.0, 45.0, 8.0, 48.0),
        ("2023-05-10", "2023-05-12"),
        refused=["step: 5:00:00 does not divide"],
    ),
    Case(
        "gfs_cprat, the instant",
        {"gfs.grib2": "gfs_cprat_instant_and_mean.grib2"},
        (5.0, 45.0, 8.0, 48.0),
        ("2023-05-10", "2023-05-12"),
        edits={
            "GRIB_PDS_PDTN: 8": "GRIB_PDS_PDTN: 0",
            "^    step: 5h.*$": "",
            "step: day": "step: hour",
            "start: '2023.*$": "start: 2023-05-10T22:00Z",
            "end: '2023.*$": "end: 2023-05-10T23:00Z",
        },
        refused=["gfs.grib2", "a part of the rain"],
    ),
    Case(
        "opera_odim",
        {"opera_20180824180000.hdf": "opera_odim_20180824180000.hdf"},
        (9.0, 47.5, 12.0, 50.0),
        ("2018-08-24", "2018-08-26"),
        expected=odim,
    ),
    Case(
        "knmi_5min",
        {"RAD_NL25_RAP_5min_201008260600.h5": "knmi_RAD_NL25_RAP_5min_201008260600.h5"},
        (4.9, 51.9, 5.9, 52.6),
        ("2010-08-25", "2010-08-27"),
        edits={"^(    step: 5min.*)$": r"\1\n    max_missing_steps: 11\n    min_valid: 0.05"},
        expected=knmi,
    ),
    Case(
        "radolan_rw",
        {"raa01-rw_10000-1408030950-dwd---bin.gz": "raa01-rw_10000-1408030950-dwd---bin.gz"},
        (9.0, 48.5, 11.0, 51.0),
        ("2014-08-02", "2014-08-05"),
        expected=rw,
    ),
    Case(
        "radklim_yw",
        {"yw_1708160055.gz": "raa01-yw2017.002_10000-1708160055-dwd---bin.gz"},
        (9.0, 48.5, 11.0, 51.0),
        ("2017-08-15", "2017-08-18"),
        edits={"^(    step: 5min.*)$": r"\1\n    max_missing_steps: 11\n    min_valid: 0.05"},
        expected=yw,
    ),
    Case(
        "radolan_ascii, as tar",
        {"rw.tar.gz": "radolan_RW-20221018_first3h.tar.gz"},
        (9.0, 48.5, 11.0, 51.0),
        ("2022-10-17", "2022-10-19"),
        refused=["rw.tar.gz", "tar -xf"],
    ),
    Case(
        "radolan_ascii, unpacked",
        {},
        (9.0, 48.5, 11.0, 51.0),
        ("2022-10-17", "2022-10-19"),
        edits={
            "^    units: unknown.*$": "    units: mm\n    scale: 0.1",
            "label: start": "label: end",
            "start: '2022.*$": "start: 2022-10-17T23:50Z",
            "end: '2022.*$": "end: 2022-10-18T02:50Z",
            "^(    files: RW.*)$": r'\1\n    crs: "' + RADOLAN + '"',
        },
        expected=asc,
        prepare=unpack_tar,
    ),
    Case(
        "radolan_ascii, its own .prj",
        {},
        (9.0, 48.5, 11.0, 51.0),
        ("2022-10-17", "2022-10-19"),
        edits={"^    units: unknown.*$": "    units: mm\n    scale: 0.1"},
        refused=["RW_20221018-0050.asc", "some of the region"],
        prepare=unpack_tar_with_prj,
    ),
    Case(
        "nimrod",
        {"nimrod_202001280500": "nimrod_precipaccum_2km_cutout"},
        (-2.0, 52.0, -1.0, 53.0),
        ("2020-01-27", "2020-01-29"),
        refused=["nimrod_202001280500", "NIMROD", "iris"],
    ),
)
