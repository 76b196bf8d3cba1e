"""Conventions by which files say what is missing, when, and for how long: each is heeded, or the
file is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
import zarr
from netCDF4 import Dataset
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from pipeline.catalog.models import Catalog
from pipeline.catalog.raster_source import AxisNames, RasterSource
from pipeline.rasters.series import RasterSeries, group_forcings, open_series
from tests.pipeline.handmade import World
from tests.pipeline.rasters.test_drivers import (
    HOURS,
    LAT,
    LON,
    RAIN,
    TIMES,
    degrees,
    describe,
    regridded,
    series_of,
)
from tests.pipeline.rasters.test_series import catalog, refused


@pytest.fixture
def plain(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    return regridded(series_of(tmp_path, degrees()))


def open_rain(folder: Path, **source: Any) -> RasterSeries:
    return open_series(describe(folder, **source), ["precipitation"])


def filled(value: float, **attributes: Any) -> xr.Dataset:
    """The plain rain with a number for what is missing, and the attributes that say so."""
    made = degrees().fillna(value)
    made.rain.attrs |= attributes
    made.rain.encoding["_FillValue"] = None
    return made


@pytest.mark.parametrize(
    "dataset",
    [
        filled(np.inf),
        filled(-np.inf),
        filled(9.969209968386869e36),
        filled(999, valid_max=np.float32(500)),
        filled(-5, valid_min=np.float32(0)),
        filled(999, valid_range=np.array([0, 500], "f4")),
        filled(-9999, missing_value="-9999."),
        filled(-9999, missing_value=np.array([-9999, -8888], "f4"), _FillValue=np.float32(-1)),
    ],
    ids=["inf", "-inf", "netcdf's own", "max", "min", "range", "text", "several"],
)
def test_what_is_missing(tmp_path: Path, plain, dataset: xr.Dataset):
    for found, expected in zip(regridded(series_of(tmp_path, dataset)), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_was_never_written_is_missing(tmp_path: Path):
    with Dataset(tmp_path / "rain.nc", "w") as file:
        for name, size in (("time", 4), ("lat", 12), ("lon", 10)):
            file.createDimension(name, size)
        for name, values, units in (
            ("time", range(4), "hours since 2020-01-01"),
            ("lat", LAT, "degrees_north"),
            ("lon", LON, "degrees_east"),
        ):
            axis = file.createVariable(name, "f8", (name,))
            axis.units, axis[:] = units, values
        rain = file.createVariable("rain", "f4", ("time", "lat", "lon"))
        rain.units, rain[0] = "mm", 1.0
    value, valid = regridded(series_of(tmp_path))
    assert np.nanmax(value) == pytest.approx(1)
    assert valid[0].max() > 0.99
    assert valid[1:].max() == 0


def test_a_range_of_packed_numbers_is_of_those(tmp_path: Path):
    raw = np.full(RAIN.shape, 50, "i2")
    raw[:, ::2] = 120
    made = degrees().assign(rain=(("time", "lat", "lon"), raw))
    made.rain.attrs = {"units": "mm", "scale_factor": 0.1, "valid_range": np.array([0, 100], "i2")}
    found = series_of(tmp_path, made).read(0, 1, (slice(0, 12), slice(0, 10)))["precipitation"][0]
    assert np.isnan(found[::2]).all()
    np.testing.assert_allclose(found[1::2], 5)


def test_the_mask_of_a_geotiff(tmp_path: Path):
    """Numbers under it are no rain."""
    mask = np.isfinite(RAIN[0])
    for hour in range(4):
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                tmp_path / f"rain_20200101{hour:02d}.tif", "w", driver="GTiff", count=1, height=12,
                width=10, dtype="float32", crs="EPSG:4326",
                transform=from_origin(-95, 43, 0.05, 0.05),
            ) as file,
        ):  # fmt: skip
            file.write(np.where(mask, 7, 500).astype("f4"), 1)
            file.write_mask(mask)
    described = catalog(tmp_path, HOURS, files="rain_{time:%Y%m%d%H}.tif")
    series = open_series(described, ["precipitation"])
    found = series.read(0, 4, (slice(0, 12), slice(0, 10)))["precipitation"]
    np.testing.assert_array_equal(found, np.tile(np.where(mask, 7, np.nan), (4, 1, 1)))


@pytest.mark.parametrize("kind", ["only later", "alpha", "rounded"])
def test_masks_that_are_not_the_first_files_or_not_gdals(tmp_path: Path, kind: str):
    """A mask that the first file lacks, an alpha band of floats, and a nodata value that was
    written with fewer digits than its pixels."""
    good = np.isfinite(RAIN[0])
    lowest = np.finfo("f4").min
    for hour in range(4):
        masked = kind == "only later" and hour > 0
        profile = {"nodata": -3.40282e38} if kind == "rounded" else {}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                tmp_path / f"rain_20200101{hour:02d}.tif", "w", driver="GTiff", height=12, width=10,
                count=1 + (kind == "alpha"), dtype="float32", crs="EPSG:4326",
                transform=from_origin(-95, 43, 0.05, 0.05), **profile,
            ) as file,
        ):  # fmt: skip
            bad = 7 if kind == "only later" and not masked else lowest if kind == "rounded" else 500
            file.write(np.where(good, 7, bad).astype("f4"), 1)
            if kind == "alpha":
                file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
                file.write(good.astype("f4") * 255, 2)
            if masked:
                file.write_mask(good)
    series = open_series(
        catalog(tmp_path, HOURS, files="rain_{time:%Y%m%d%H}.tif"), ["precipitation"]
    )
    found = series.read(1, 4, (slice(0, 12), slice(0, 10)))["precipitation"]
    np.testing.assert_array_equal(found, np.tile(np.where(good, 7, np.nan), (3, 1, 1)))


def test_a_range_of_unsigned_numbers(tmp_path: Path):
    """NetCDF 3 stores them, and the limits, as signed ones: -6 is 65530."""
    raw = np.arange(RAIN.size).reshape(RAIN.shape).astype("u2") * 136
    made = degrees().assign(rain=(("time", "lat", "lon"), raw.view("i2")))
    limits = np.array([0, 65000], "u2").view("i2")
    made.rain.attrs = {"units": "mm", "_Unsigned": "true", "valid_range": limits}
    found = series_of(tmp_path, made).read(0, 4, (slice(0, 12), slice(0, 10)))["precipitation"]
    np.testing.assert_array_equal(found, np.where(raw > 65000, np.nan, raw.astype("f4")))


@pytest.mark.parametrize("fill", [0, -9999])
def test_the_fill_of_a_zarr_array_is_none_that_nobody_chose(tmp_path: Path, plain, fill: int):
    """Format 2 has one for every array, 0 where nothing is said; the attribute counts."""
    root = zarr.open_group(tmp_path / "rain.zarr", mode="w", zarr_format=2)
    for name, dims, values, attributes in (
        ("time", ["time"], np.arange(4), {"units": "hours since 2020-01-01"}),
        ("lat", ["lat"], LAT, {"units": "degrees_north"}),
        ("lon", ["lon"], LON, {"units": "degrees_east"}),
        ("rain", ["time", "lat", "lon"], np.nan_to_num(RAIN, nan=-9999), {"units": "mm"}),
    ):
        array = root.create_array(
            name, shape=values.shape, chunks=values.shape, dtype=values.dtype,
            fill_value=fill if name == "rain" else 0,
        )  # fmt: skip
        array[...] = values
        array.attrs.update({"_ARRAY_DIMENSIONS": dims, **attributes})
    if fill == 0:
        root["rain"].attrs["_FillValue"] = -9999
    found = regridded(series_of(tmp_path, driver="zarr", files="rain.zarr"))
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    dry = zarr.open_array(tmp_path / "rain.zarr", path="rain", mode="r+")
    dry[...] = np.where(np.isnan(RAIN), -9999, 0)
    value, valid = regridded(series_of(tmp_path, driver="zarr", files="rain.zarr"))
    np.testing.assert_array_equal(valid, plain[1])
    assert np.nanmax(value) == 0


def test_a_day_that_a_calendar_leaves_out_is_a_missing_raster(world: World):
    """Daymet has no 31 December of a leap year; other calendars have no 29 February."""
    days = xr.date_range("2020-02-24", periods=12, freq="D", calendar="noleap", use_cftime=True)
    edge = (np.arange(12) + 0.5) / 24
    xr.Dataset(
        {"rain": (("time", "lat", "lon"), world.rain, {"units": "mm"})},
        {
            "time": days,
            "lat": ("lat", 42.5 - edge, {"units": "degrees_north"}),
            "lon": ("lon", -93.0 + edge, {"units": "degrees_east"}),
        },
    ).to_netcdf(world.folder / "rain.nc")
    record = world.folder / "discharge.csv"
    record.write_text(record.read_text().replace("2020-01-0", "2020-03-0"))
    source = {"driver": "netcdf", "files": "rain.nc", "variable": "rain", "units": "mm"}
    described = {"step": "day", "start": "2020-02-27", "end": "2020-03-03"}
    world.edit(period=described, forcings={"precipitation": source})
    result = world.command("plan", world.catalog)
    assert result.exit_code == 2
    assert "1 of 5 steps of 1 day have no raster, the first from 2020-02-29" in result.stderr
    world.edit(forcings={"precipitation": {**source, "max_missing_steps": 1}})
    assert "1 of 5 rasters are missing" in world.command("plan", world.catalog).stdout


def with_bounds(starts: np.ndarray) -> xr.Dataset:
    ends = TIMES + np.timedelta64(1, "h")
    made = degrees().assign(time_bnds=(("time", "two"), np.stack([starts, ends], axis=1)))
    made.time.attrs["bounds"] = "time_bnds"
    made.time.encoding["units"] = "hours since 2020-01-01"
    return made


def test_sums_since_the_start_of_a_forecast_are_refused(tmp_path: Path, plain):
    """By the bounds of the time axis, where a file has them."""
    np.testing.assert_array_equal(regridded(series_of(tmp_path, with_bounds(TIMES)))[0], plain[0])
    since_the_start = with_bounds(np.repeat(TIMES[:1], 4))
    since_the_start.to_netcdf(tmp_path / "rain.nc")
    refused(
        lambda: open_rain(tmp_path),
        "rain.nc",
        "last 2 h",
        "expected 1 h",
        "precipitation.step",
    )


def test_labels_that_the_bounds_contradict_are_refused(tmp_path: Path, plain):
    """The file labels its hours by their ends; the catalog takes labels for starts."""
    by_ends = with_bounds(TIMES - np.timedelta64(1, "h"))
    by_ends["time_bnds"] = by_ends.time_bnds - np.array([0, 3600 * 10**9], "m8[ns]")
    by_ends.to_netcdf(tmp_path / "rain.nc")
    said = ("2019-12-31 23:00:00", "2020-01-01 00:00:00", "precipitation.time", "bounds: ignore")
    refused(lambda: open_rain(tmp_path), "rain.nc", *said)
    np.testing.assert_array_equal(regridded(open_rain(tmp_path, bounds="ignore"))[0], plain[0])
    late = open_rain(tmp_path, time={"label": "end"}, max_missing_steps=1)
    assert list(late.missing_times) == [TIMES[-1]]


def test_two_variables_with_times_of_their_own(tmp_path: Path):
    """In one file; named in the catalog, each is read by its own."""
    made = degrees().assign(
        warm=(("time1", "lat", "lon"), RAIN[::-1].copy(), {"units": "K"}),
        time1=("time1", TIMES[::-1]),
    )
    made.to_netcdf(tmp_path / "rain.nc")
    described = describe(tmp_path)
    warm = described.forcings["precipitation"].model_copy(update={"variable": "warm", "units": "K"})

    def both(warm: RasterSource) -> Catalog:
        forcings = {**described.forcings, "temperature": warm}
        return described.model_copy(update={"forcings": forcings})

    refused(lambda: open_series(both(warm), ["precipitation", "temperature"]), "time1", "axes.time")
    named = both(warm.model_copy(update={"axes": AxisNames(time="time1")}))
    assert group_forcings(named) == [["precipitation"], ["temperature"]]
    found = open_series(named, ["temperature"]).read(0, 4, (slice(0, 12), slice(0, 10)))
    np.testing.assert_array_equal(found["temperature"], RAIN)


def test_when_a_forecast_began_is_no_time_of_its_rasters(tmp_path: Path, plain):
    """As in GRIB that was converted by cfgrib: `time` is when it began, `valid_time` when it is."""
    began = TIMES - np.timedelta64(1, "h")
    made = degrees().assign_coords(time=began, valid_time=("time", TIMES))
    made.time.attrs["standard_name"] = "forecast_reference_time"
    made.valid_time.attrs["standard_name"] = "time"
    np.testing.assert_array_equal(regridded(series_of(tmp_path, made))[0], plain[0])
    refused(lambda: series_of(tmp_path, made.drop_vars("valid_time")), "0 variables", "rain")


@pytest.mark.parametrize("zone", ["CST", "LST"])
def test_times_of_a_zone_by_name_are_refused(tmp_path: Path, zone: str):
    made = degrees().assign_coords(time=("time", np.arange(4)))
    made.time.attrs["units"] = f"hours since 2020-01-01 00:00:00 {zone}"
    made.to_netcdf(tmp_path / "rain.nc")
    refused(lambda: open_rain(tmp_path), zone, "UTC")


def test_an_axis_of_corners_is_refused(tmp_path: Path):
    """By its bounds, where a file has them."""
    edges = np.stack([LAT + 0.025, LAT - 0.025], 1)
    made = degrees().assign(lat_bnds=(("lat", "two"), edges))
    made.lat.attrs["bounds"] = "lat_bnds"
    assert regridded(series_of(tmp_path, made))
    corners = made.assign_coords(lat=("lat", LAT + 0.025, made.lat.attrs))
    refused(lambda: series_of(tmp_path, corners), "lat starts with 43", "expected their middle")


@pytest.mark.parametrize(("hours", "good"), [(1, True), (3, False)])
def test_a_grib_message_says_how_long_its_sum_is(tmp_path: Path, hours: int, good: bool):
    plain = tmp_path / "all.tif"
    with rasterio.open(
        plain, "w", driver="GTiff", count=4, dtype="float64", height=12, width=10,
        crs="EPSG:4326", transform=from_origin(-95, 43, 0.05, 0.05), nodata=-1,
    ) as file:  # fmt: skip
        for hour in range(4):
            file.write(np.nan_to_num(RAIN[hour].astype(float), nan=-1), hour + 1)
            until = f"7 228 1 1 {hour + 1} 0 0 1 0 0 0 0 1 2 1 0 0 0 {hours} 255 0 0 0 0"
            file.update_tags(
                hour + 1,
                GRIB_DISCIPLINE="0",
                GRIB_IDS=f"CENTER=7 REF_TIME=2020-01-01T{hour:02d}:00:00Z",
                GRIB_PDS_PDTN="8",
                GRIB_PDS_TEMPLATE_NUMBERS="1 8 2 0 0 0 0 0 1 0 0 0 0 1 0 0 0 0 0 255 0 0 0 0 0 "
                + until,
            )
    rasterio.shutil.copy(
        plain, tmp_path / "all.grb2", driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT"
    )
    source = {"driver": "grib", "variable": None, "files": "all.grb2", "missing": [-1],
              "time": {"label": "end"}, "max_missing_steps": 1}  # fmt: skip
    if good:
        assert open_rain(tmp_path, **source).layout.lengths
        by_starts = {**source, "time": {"label": "start"}}
        refused(lambda: open_rain(tmp_path, **by_starts), "all.grb2", "by its own bounds")
    else:
        refused(lambda: open_rain(tmp_path, **source), "all.grb2", "last 3 h", "expected 1 h")


@pytest.mark.parametrize("units", [None, "day as %Y%m%d"])
def test_numbers_that_are_no_times_after_cf_are_refused(tmp_path: Path, units: str | None):
    """A library would take them for nanoseconds of 1970."""
    made = degrees().assign_coords(time=("time", [2020010100, 2020010101, 2020010102, 2020010103]))
    if units:
        made.time.attrs["units"] = units
    made.to_netcdf(tmp_path / "rain.nc")
    refused(lambda: open_rain(tmp_path), "rain.nc", "time in", "expected times after CF")
