"""Presets of products: real files against their decoding without the product, made-up files of the
versions that are not here, and files that contradict what their product says."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.catalog.products import PRODUCTS, ProductName
from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries, open_series
from tests.pipeline import oracles
from tests.pipeline.handmade import World, write_raster

ROWS = 900
DAY, HOUR = pd.Timedelta("1D"), pd.Timedelta("1h")


def catalog_of(
    folder: Path, forcings: dict[str, Any], step: str, start: str, end: str, root: Path
) -> Catalog:
    """A catalog of some forcings, of which no record or polygon exists."""
    path = folder / "catalog.yaml"
    settings = {
        "title": "A product",
        "root": str(root),
        "period": {
            "step": step,
            "start": pd.Timestamp(start).isoformat(),
            "end": pd.Timestamp(end).isoformat(),
        },
        "forcings": forcings,
        "gauges": {"format": "csv", "files": "a.csv", "units": "m3/s"},
        "watersheds": {"file": "b.geojson", "site_field": "site"},
    }
    path.write_text(yaml.safe_dump(settings))
    return load_catalog(path)


def read(series: RasterSeries) -> dict[str, np.ndarray]:
    """All rasters but rows beyond `ROWS`, in the source's units."""
    rows, columns = series.layout.shape
    window = slice(0, min(rows, ROWS)), slice(0, columns)
    return dict(series.read(0, series.present.size, window))


def from_the_north(rasters: oracles.Rasters) -> oracles.Rasters:
    """Rasters whose rows are scanned from the south, as GDAL turns them; without their place."""
    return oracles.Rasters(rasters.values[:, ::-1], rasters.corners)


# ------------------------------------------------------------------ real files

STAGE4 = "stage4_{time:%Y%m%d%H}.01h.grb"
MRMS = "MRMS_GaugeCorr_QPE_01H_00.00_{time:%Y%m%d-%H%M%S}.grib2"
IMERG = "3B-HHR.MS.MRG.3IMERG.{time:%Y%m%d-S%H%M%S}-*.V06B.HDF5.SUB.hdf5"
Decode = Callable[[Path], oracles.Rasters]
REAL: list[tuple[ProductName, dict[str, Any], str, str, str, str, Decode]] = [
    # product, keys beside it, file, step of the store, first start, end of the last, oracle
    (
        *("prism", {"files": "PRISM_ppt_stable_4kmD2_{time:%Y%m%d}_bil.zip"}),
        *("PRISM_ppt_stable_4kmD2_20170101_bil.zip", "day", "2016-12-31T12", "2017-01-01T12"),
        oracles.zipped_bil,
    ),
    (
        *("stage4", {"files": STAGE4}, "stage4_2005010100.01h.grb"),
        *("hour", "2004-12-31T23", "2005-01-01T00"),
        lambda path: from_the_north(oracles.grib1(path)),
    ),
    (
        *("mrms", {"files": MRMS}, "MRMS_GaugeCorr_QPE_01H_00.00_20170102-120000.grib2"),
        *("hour", "2017-01-02T11", "2017-01-02T12", oracles.grib2_png),
    ),
    (
        *("imerg", {"files": IMERG, "max_missing_steps": 1}),
        "3B-HHR.MS.MRG.3IMERG.20170103-S110000-E112959.0660.V06B.HDF5.SUB.hdf5",
        *("hour", "2017-01-03T11", "2017-01-03T12"),
        lambda path: oracles.hdf5(path, "precipitationCal", "lat", "lon"),
    ),
    (
        *("cmorph", {}, "CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc"),
        *("hour", "2017-01-01T01", "2017-01-01T02"),
        lambda path: oracles.hdf5(path, "cmorph", "lat", "lon"),
    ),
    (
        *("aorc", {"files": "AORC_APCP_MARFC_{time:%Y%m%d%H}.nc4"}),
        *("AORC_APCP_MARFC_1984010100.nc4", "hour", "1983-12-31T23", "1984-01-01T00"),
        lambda path: oracles.hdf5(path, "APCP_surface", "latitude", "longitude"),
    ),
    (
        *("gridmet", {"files": "gridmet_pr_{time:%Y}_oregon.nc"}, "gridmet_pr_2000_oregon.nc"),
        *("day", "2000-01-01T07", "2001-01-01T07"),
        lambda path: oracles.hdf5(path, "precipitation_amount", "lat", "lon"),
    ),
    (  # a subset whose labels were moved from noon to midnight
        *("daymet", {"files": "daymet_lcc_km.nc", "time": {"label": "start"}}),
        *("daymet_lcc_km.nc", "day", "1999-09-13T00", "1999-09-18T00"),
        lambda path: oracles.lambert_in_km(path, "prcp"),
    ),
]


@pytest.mark.parametrize(
    ("product", "keys", "file", "step", "start", "end", "decode"), REAL, ids=[o[0] for o in REAL]
)
def test_a_real_file_is_read_right(
    domst_data: Path,
    tmp_path: Path,
    product: ProductName,
    keys: dict[str, Any],
    file: str,
    step: str,
    start: str,
    end: str,
    decode: Decode,
) -> None:
    folder = domst_data / "precipitation"
    source = {"product": product, **keys}
    catalog = catalog_of(tmp_path, {"precipitation": source}, step, start, end, folder)
    series = open_series(catalog, ["precipitation"])
    assert series.times[0] == pd.Timestamp(start)
    assert series.intervals.times[-1] + series.intervals.step == pd.Timestamp(end)
    found = read(series)["precipitation"][series.present]
    expected = decode(folder / file).values[:, :ROWS]
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    factor, _ = series.conversion("precipitation")  # of the mean over a step: all are mm or mm/h
    assert factor == pytest.approx(1)


def test_what_a_preset_fills_in_is_printed_and_changes_no_store(stored: World) -> None:
    source = {"product": "prism", "files": "rain/rain_{time:%Y%m%d}.tif"}
    world_days = {"label": "start"}
    stored.edit(forcings={"precipitation": {**source, "time": world_days}})
    said = stored.command("plan", stored.catalog, "--store", stored.store).output
    assert "product    precipitation: prism fills in band: 1, units: mm, driver: geotiff\n" in said
    assert "finished, nothing is to be done" in said


# ------------------------------------------------------------------ versions that are not here


def latitudes_longitudes(rows: int = 4, columns: int = 5) -> dict[str, Any]:
    return {
        "latitude": ("latitude", 40 - 0.1 * np.arange(rows), {"units": "degrees_north"}),
        "longitude": ("longitude", 8 + 0.1 * np.arange(columns), {"units": "degrees_east"}),
    }


def test_prism_of_2025_is_a_geotiff_in_a_zip(tmp_path: Path) -> None:
    rain = np.random.default_rng(0).gamma(1.0, 3.0, (12, 12)).astype(np.float32)
    for name, values in (("ppt", rain), ("tmean", rain - 5)):
        stem = f"prism_{name}_us_25m_20250312"
        write_raster(tmp_path / f"{stem}.tif", values)
        with zipfile.ZipFile(tmp_path / f"{stem}.zip", "w") as archive:
            archive.write(tmp_path / f"{stem}.tif", f"{stem}.tif")
            archive.writestr(f"{stem}.xml", "<metadata/>")
    prism = {"product": "prism"}
    for files in ("", "prism_{}_us_25m_{{time:%Y%m%d}}.tif"):
        more = {k: {"files": files.format(c)} for k, c in zip(NAMES, ("ppt", "tmean"), strict=True)}
        forcings = {name: prism | (more[name] if files else {}) for name in NAMES}
        times = ("day", "2025-03-11T12:00", "2025-03-12T12:00")
        catalog = catalog_of(tmp_path, forcings, *times, tmp_path)
        for name, values in zip(NAMES, (rain, rain - 5), strict=True):
            series = open_series(catalog, [name])
            np.testing.assert_array_equal(read(series)[name][0], values)
    assert catalog.forcings["temperature"].store_units == "degC"


NAMES = ("precipitation", "temperature")


SINCE_1980 = "seconds since 1980-01-06 00:00:00 UTC"


def test_imerg_7_is_in_a_group(tmp_path: Path) -> None:
    """As the files' listing at GES DISC shows it: longitude first, seconds of a Julian calendar."""
    rates = np.random.default_rng(1).gamma(0.5, 2.0, (2, 5, 4)).astype(np.float32)
    for half in range(2):
        name = f"3B-HHR.MS.MRG.3IMERG.20240115-S00{30 * half:02d}00-E00{30 * half + 29}59"
        with h5py.File(tmp_path / f"{name}.{30 * half:04d}.V07B.HDF5", "w") as file:
            grid = file.create_group("Grid")
            for key, values, units in (
                (
                    "time",
                    np.array([1389312000 + 1800 * half]),
                    "seconds since 1980-01-06 00:00:00 UTC",
                ),
                ("lon", 8 + 0.1 * np.arange(5), "degrees_east"),
                ("lat", 40 + 0.1 * np.arange(4), "degrees_north"),
            ):
                grid[key] = values
                grid[key].attrs["units"] = units
                grid[key].make_scale(key)
            grid["time"].attrs["calendar"] = "julian"
            grid["precipitation"] = rates[half : half + 1]
            grid["precipitation"].attrs["units"] = "mm/hr"
            for k, key in enumerate(("time", "lon", "lat")):
                grid["precipitation"].dims[k].attach_scale(grid[key])
    times = ("hour", "2024-01-15T00", "2024-01-15T01")
    catalog = catalog_of(tmp_path, {"precipitation": {"product": "imerg"}}, *times, tmp_path)
    series = open_series(catalog, ["precipitation"])
    np.testing.assert_array_equal(read(series)["precipitation"], rates.transpose(0, 2, 1))
    assert series.conversion("precipitation")[0] == pytest.approx(1)  # mm/h, over an hour


def test_era5_land_is_taken_apart(tmp_path: Path) -> None:
    """As the data store writes it: valid_time, and scalars beside the axes."""
    hours = pd.date_range("2020-01-01T01", "2020-01-03T00", freq="h")
    rain = np.random.default_rng(2).gamma(0.5, 1e-3, (48, 4, 5))
    totals = rain.reshape(2, 24, 4, 5).cumsum(axis=1).reshape(rain.shape)
    axes = {
        "valid_time": ("valid_time", hours, {"standard_name": "time"}),
        **latitudes_longitudes(),
    }
    dims = ("valid_time", "latitude", "longitude")
    xr.Dataset(
        {"tp": (dims, totals, {"units": "m"}), "t2m": (dims, 280 + rain, {"units": "K"})},
        {**axes, "number": 0, "expver": ("valid_time", ["0001"] * 48)},
    ).to_netcdf(tmp_path / "january.nc")
    forcings = {name: {"product": "era5-land", "files": "january.nc"} for name in NAMES}
    times = ("hour", "2020-01-01T00", "2020-01-03T00")
    catalog = catalog_of(tmp_path, forcings, *times, tmp_path)
    series = open_series(catalog, list(NAMES))  # of one file
    assert series.times[0] == pd.Timestamp("2020-01-01")
    assert series.present.all()
    assert list(np.flatnonzero(series.stretches["precipitation"])) == [0, 24]
    np.testing.assert_allclose(read(series)["precipitation"], totals, rtol=1e-6)
    assert series.conversion("precipitation")[0] == pytest.approx(1000)


def test_era5_is_not_era5_land(tmp_path: Path) -> None:
    """Of the same names and units, but amounts of each hour."""
    hours = pd.date_range("2020-01-01T01", "2020-01-02T00", freq="h")
    axes = latitudes_longitudes()
    coarse = {key: (key, 2.5 * axes[key][1], axes[key][2]) for key in axes}
    about = {"units": "m"}
    dims = ("time", "latitude", "longitude")
    for name, place in (("era5.nc", coarse), ("land.nc", axes)):
        data = xr.Dataset({"tp": (dims, np.zeros((24, 4, 5)), about)}, {"time": hours, **place})
        data.to_netcdf(tmp_path / name)
        source = {"product": "era5-land", "files": name}
        times = ("hour", "2020-01-01T00", "2020-01-02T00")
        catalog = catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path)
        if name == "era5.nc":
            assert "era5.nc: columns 0.25 wide: expected 0.1 degrees" in refusal(catalog)
        else:
            assert open_series(catalog, ["precipitation"]).present.all()


def write_daymet(path: Path, year: int, code: str, units: str, noon: bool = True) -> np.ndarray:
    """365 days, with the time at noon, in Daymet's projection."""
    days = pd.date_range(f"{year}-01-01", periods=365)
    values = np.random.default_rng(3).gamma(0.5, 5.0, (365, 3, 4)).astype(np.float32)
    begin = days.to_numpy()
    lambert = {
        "grid_mapping_name": "lambert_conformal_conic",
        "longitude_of_central_meridian": -100.0,
        "latitude_of_projection_origin": 42.5,
        "standard_parallel": [25.0, 60.0],
        "semi_major_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }
    about = {"units": units, "grid_mapping": "lambert_conformal_conic"}
    xr.Dataset(
        {
            code: (("time", "y", "x"), values, about),
            "time_bnds": (("time", "nv"), np.stack([begin, begin + DAY.to_numpy()], axis=1)),
            "lambert_conformal_conic": ((), 0, lambert),
        },
        {
            "time": ("time", days + (DAY / 2 if noon else 0 * DAY), {"bounds": "time_bnds"}),
            "y": ("y", 1000.0 * np.arange(3)[::-1], {"units": "m"}),
            "x": ("x", 1000.0 * np.arange(4), {"units": "m"}),
        },
    ).to_netcdf(path, encoding={"time": {"units": "days since 1950-01-01", "dtype": "float64"}})
    return values


def test_daymet_leaves_out_the_last_day_of_leap_years(tmp_path: Path) -> None:
    rain = [
        write_daymet(tmp_path / f"daymet_v4_daily_na_prcp_{year}.nc", year, "prcp", "mm/day")
        for year in (2020, 2021)
    ]
    write_daymet(tmp_path / "daymet_v4_daily_na_tmax_2020.nc", 2020, "tmax", "degrees C")
    daymet = {"product": "daymet"}
    times = ("2020-01-01", "2022-01-01")
    catalog = catalog_of(tmp_path, {"precipitation": daymet}, "day", *times, tmp_path)
    assert catalog.forcings["precipitation"].max_missing_steps == 1
    series = open_series(catalog, ["precipitation"])
    assert list(series.missing_times) == [pd.Timestamp("2020-12-31")]
    found = read(series)["precipitation"]
    np.testing.assert_array_equal(found[:365], rain[0])
    np.testing.assert_array_equal(found[366:], rain[1])
    forcings = {"precipitation": daymet, "maximum_temperature": daymet}
    catalog = catalog_of(tmp_path, forcings, "day", "2020-01-01", "2020-12-31", tmp_path)
    assert catalog.forcings["maximum_temperature"].max_missing_steps == 0
    assert open_series(catalog, ["maximum_temperature"]).present.all()
    explicit = {"precipitation": daymet | {"max_missing_steps": 5}}
    catalog = catalog_of(tmp_path, explicit, "day", *times, tmp_path)
    assert catalog.forcings["precipitation"].max_missing_steps == 5


def test_eobs_days_are_those_of_their_date(tmp_path: Path) -> None:
    days = pd.date_range("2000-02-27", "2000-03-02")
    rain = np.random.default_rng(4).integers(0, 300, (5, 4, 5)).astype(np.int16)
    for code, units in (("rr", "mm"), ("tg", "Celsius")):
        about = {"units": units, "scale_factor": 0.1, "_FillValue": np.int16(-9999)}
        data = xr.Dataset(
            {code: (("time", "latitude", "longitude"), rain, about)},
            {"time": days, **latitudes_longitudes()},
        )
        data.to_netcdf(tmp_path / f"{code}_ens_mean_0.1deg_reg_v30.0e.nc")
    forcings = {name: {"product": "eobs"} for name in NAMES}
    catalog = catalog_of(tmp_path, forcings, "day", "2000-02-27", "2000-03-03", tmp_path)
    for name in NAMES:
        series = open_series(catalog, [name])
        assert list(series.times) == list(days)
        np.testing.assert_allclose(read(series)[name], rain * 0.1, rtol=1e-6)


def as_stage4(domst_data: Path, path: Path, hours: int) -> None:
    """A message of GRIB 2 from Canada, made one of NCEP that ends `hours` after its start."""
    message = bytearray((domst_data / "foreign/rasters/rdpa_apcp24h_2023121806.grib2").read_bytes())
    at = 16
    message[at + 5 : at + 7] = (7).to_bytes(2, "big")  # NCEP
    while message[at + 4] != 4:
        at += int.from_bytes(message[at : at + 4], "big")
    message[at + 18 : at + 22] = bytes(4)  # forecast time
    day, hour = divmod(18 * 24 + 6 + hours, 24)
    message[at + 37 : at + 39] = bytes([day, hour])  # end, of December 2023
    message[at + 49 : at + 53] = hours.to_bytes(4, "big")
    path.write_bytes(message)


def test_stage_4_in_grib_2(domst_data: Path, tmp_path: Path) -> None:
    as_stage4(domst_data, tmp_path / "st4_conus.2023121807.01h.grb2", 1)
    source = {"product": "stage4"}
    times = ("hour", "2023-12-18T06", "2023-12-18T07")
    series = open_series(
        catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path), ["precipitation"]
    )
    assert np.nanmax(read(series)["precipitation"]) == pytest.approx(158.5, abs=0.1)  # its README
    as_stage4(domst_data, tmp_path / "st4_conus.2023121812.06h.grb2", 6)
    source |= {"files": "st4_conus.{time:%Y%m%d%H}.06h.grb2"}
    times = ("day", "2023-12-18T06", "2023-12-19T06")
    catalog = catalog_of(
        tmp_path, {"precipitation": source | {"max_missing_steps": 3}}, *times, tmp_path
    )
    series = open_series(catalog, ["precipitation"])
    assert (series.times[0], series.intervals.step) == (pd.Timestamp("2023-12-18T06"), 6 * HOUR)


# ------------------------------------------------------------------ contradictions


def refusal(catalog: Catalog, name: str = "precipitation") -> str:
    with pytest.raises(InputError) as raised:
        read(open_series(catalog, [name]))
    return str(raised.value)


@pytest.mark.parametrize(
    ("product", "real", "name", "files", "fragments"),
    [
        (
            *("stage4", "stage4_2005010100.01h.grb", "st4.2005010100.06h"),
            *("st4.{time:%Y%m%d%H}.06h", ["of APCP", "'GRIB_FORECAST_SECONDS': 21600", "expected"]),
        ),
        (
            *("mrms", "MRMS_GaugeCorr_QPE_01H_00.00_20170102-120000.grib2"),
            "MultiSensor_QPE_01H_Pass2_00.00_2017010212.grib2",
            "MultiSensor_QPE_01H_Pass2_00.00_{time:%Y%m%d%H}.grib2",
            ["of GaugeCorrQPE01H", "MultiSensor_QPE_01H_Pass2", "expected"],
        ),
        (
            *("imerg", "3B-HHR.MS.MRG.3IMERG.20170103-S110000-E112959.0660.V06B.HDF5.SUB.hdf5"),
            *("3B-HHR-2017010212.V07B.HDF5", "3B-HHR-{time:%Y%m%d%H}.V07B.HDF5"),
            ["expected netcdf with group 'Grid'"],
        ),
        (
            *("aorc", "CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc", "2017010212.nc"),
            *("{time:%Y%m%d%H}.nc", ["no variable 'APCP_surface': expected one of", "cmorph"]),
        ),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_refused(
    domst_data: Path,
    tmp_path: Path,
    product: str,
    real: str,
    name: str,
    files: str,
    fragments: list[str],
) -> None:
    (tmp_path / name).symlink_to(domst_data / "precipitation" / real)
    start = pd.Timestamp("2004-12-31T18") if product == "stage4" else pd.Timestamp("2017-01-02T11")
    end = start + (6 * HOUR if product == "stage4" else 24 * HOUR)
    step = "hour"
    if product == "stage4":
        step, end = "day", start + DAY
    source = {"product": product, "files": files, "max_missing_steps": 100}
    times = (step, f"{start:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}")
    said = refusal(catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path))
    for fragment in (name, *fragments):
        assert fragment in said


@pytest.mark.parametrize(
    ("units", "fragments"),
    [
        ("mm/day", ["'mm/day'", "expected 'mm/h'"]),
        ("", ["''", "expected 'mm/h', as files of cmorph state, or units"]),
        ("furlong", ["'furlong'", "expected 'mm/h', as files of cmorph state, or units"]),
    ],
)
def test_other_units_are_refused(tmp_path: Path, units: str, fragments: list[str]) -> None:
    name = "CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc"
    xr.Dataset(
        {"cmorph": (("latitude", "longitude"), np.ones((4, 5)), {"units": units} if units else {})},
        latitudes_longitudes(),
    ).to_netcdf(tmp_path / name)
    times = ("hour", "2017-01-01T01", "2017-01-01T02")
    catalog = catalog_of(tmp_path, {"precipitation": {"product": "cmorph"}}, *times, tmp_path)
    said = refusal(catalog)
    for fragment in (name, *fragments):
        assert fragment in said
    if units != "mm/day":  # the catalog may say them
        source = {"product": "cmorph", "units": "mm/h"}
        catalog = catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path)
        assert read(open_series(catalog, ["precipitation"]))["precipitation"].max() == 1


def test_a_second_band_is_refused(domst_data: Path, tmp_path: Path) -> None:
    """Of these files, derived from PRISM, band 1 is the temperature."""
    files = "daddys_creek/prism/prism_{time:%Y%m%d}.tif"
    times = ("day", "2015-12-31T12", "2016-01-05T12")
    catalog = catalog_of(
        tmp_path, {"precipitation": {"product": "prism", "files": files}}, *times, domst_data
    )
    said = refusal(catalog)
    assert "prism_20160101.tif: has 2 bands: expected one, as files of prism have" in said
    source = {"product": "prism", "files": files, "band": 2}
    catalog = catalog_of(tmp_path, {"precipitation": source}, *times, domst_data)
    assert open_series(catalog, ["precipitation"]).present.all()


def test_daymet_with_other_labels_is_refused(tmp_path: Path) -> None:
    write_daymet(tmp_path / "daymet_v4_daily_na_prcp_2021.nc", 2021, "prcp", "mm/day", noon=False)
    source: dict[str, Any] = {"product": "daymet"}
    times = ("day", "2021-01-01", "2021-12-31")
    said = refusal(catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path))
    assert "starts at 2020-12-31 12:00:00: expected" in said
    source |= {"time": {"label": "start"}}
    catalog = catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path)
    assert open_series(catalog, ["precipitation"]).present.all()


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"product": "prsim"}, ["precipitation.product: 'prsim'", "did you mean prism?"]),
    (
        {"product": "prism", "files": "p/PRISM_tmean_{time:%Y%m%d}.tif"},
        ["'PRISM_tmean_{time:%Y%m%d}.tif' is tmean", "expected ppt"],
    ),
    (
        {"product": "prism", "files": "p/{time:%Y%m%d}.asc"},
        ["expected .tif, .bil or .zip in the name, or driver"],
    ),
    (
        {"product": "gridmet", "files": "pr_{time:%Y}.nc"},
        ["a day of gridmet begins at 07:00", "expected period.start at 07:00"],
    ),
    ({"product": "era5-land"}, ["precipitation.files", "no fixed ones"]),
    ({"product": "imerg", "files": "3B-DAY.{time:%Y%m%d}.V07.nc4"}, ["3B-HHR", "or variable"]),
    ({"product": "stage4", "files": "{time:%Y%m%d%H}.grb"}, [".01h", "or select, step"]),
    ({"product": "mrms", "files": "PrecipRate_{time:%Y%m%d%H}.grib2"}, ["QPE_01H", "or select"]),
    (
        {"product": "eobs", "files": "rr_ens_spread_0.1deg_reg_v30.0e.nc"},
        ["does not tell", "expected ens_mean in the name, or driver"],
    ),
    ({"product": ["prism"]}, ["precipitation.product: ['prism']"]),
]


@pytest.mark.parametrize(("source", "fragments"), REFUSED)
def test_catalogs_that_are_refused(
    tmp_path: Path, source: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(InputError) as raised:
        catalog_of(
            tmp_path, {"precipitation": source}, "day", "2020-01-01T12", "2020-01-05T12", tmp_path
        )
    for fragment in (*fragments, str(tmp_path / "catalog.yaml"), "expected"):
        assert fragment in str(raised.value)


def test_a_forcing_that_a_product_lacks(tmp_path: Path) -> None:
    forcings = {name: {"product": "gridmet"} for name in NAMES}
    with pytest.raises(InputError, match=r"gridmet has no temperature: expected one of precipit"):
        catalog_of(tmp_path, forcings, "day", "2020-01-01T07", "2020-01-05T07", tmp_path)


# ------------------------------------------------------------------ the table


def test_every_product_has_an_entry() -> None:
    assert list(PRODUCTS) == list(get_args(ProductName))


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_said_wins(tmp_path: Path, product: ProductName) -> None:
    """Each key that a preset would fill in, said with another value, and its driver with it."""
    hours = PRODUCTS[product].day_begins / HOUR
    start = f"2020-01-01T{hours:02.0f}:00"
    files = {"files": "a.nc"} if product == "era5-land" else {}

    def source(**keys: Any) -> Any:
        said = {"precipitation": {"product": product, **files, **keys}}
        step = "hour" if PRODUCTS[product].keys.get("step") != "1d" else "day"
        times = (step, start, start.replace("01-01", "02-01"))
        return catalog_of(tmp_path, said, *times, tmp_path).forcings["precipitation"]

    own: dict[str, Any] = {
        "units": "inch", "time": {"label": "start", "offset": "1h"}, "missing": [7],
        "variable": "other", "group": "other", "select": {"a": "b"}, "band": 3,
        "max_missing_steps": 9, "totals": "6h", "times": "name", "inside": "x",
    }  # fmt: skip
    filled = source().filled
    assert filled
    for key in filled.keys() & own.keys() - {"units"}:
        changed = source(**{key: own[key]})
        assert changed.model_dump(mode="json")[key] != source().model_dump(mode="json")[key]
        assert filled.keys() - changed.filled.keys() == {key}
    assert source(units="inch").units == "inch"


def test_keys_of_another_driver_are_left_out(tmp_path: Path) -> None:
    source = {"product": "eobs", "driver": "geotiff", "files": "rr_{time:%Y%m%d}.tif"}
    times = ("day", "2020-01-01", "2020-02-01")
    catalog = catalog_of(tmp_path, {"precipitation": source}, *times, tmp_path)
    assert catalog.forcings["precipitation"].filled.keys() == {"time", "units"}
