"""Foreign rasters: how a user would set each up, and what has to come of it.

Each case names files of a folder of real data, whose own README says what they hold.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.foreign_expected import (
    RADOLAN,
    Expected,
    asc,
    chirps,
    era5_cmor,
    era5land_order,
    era5land_percentile,
    hirham,
    knmi,
    lisflood,
    odim,
    rdpa,
    rw,
    stehekin,
    wflow,
    yw,
)

Edits: TypeAlias = Mapping[str, str]
Box: TypeAlias = tuple[float, float, float, float]  # west, south, east, north


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
