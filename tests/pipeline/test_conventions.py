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
from netCDF4 import Dataset
from rasterio.transform import from_origin

from pipeline.rasters import RasterSeries, open_series
from tests.pipeline.handmade import World
from tests.pipeline.test_rasters import catalog, refused
from tests.pipeline.test_readers import (
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
        "stand for 2 h",
        "expected 1 h",
        "precipitation.step",
    )


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
    else:
        refused(lambda: open_rain(tmp_path, **source), "all.grb2", "stand for 3 h", "expected 1 h")


@pytest.mark.parametrize("units", [None, "day as %Y%m%d"])
def test_numbers_that_are_no_times_after_cf_are_refused(tmp_path: Path, units: str | None):
    """A library would take them for nanoseconds of 1970."""
    made = degrees().assign_coords(time=("time", [2020010100, 2020010101, 2020010102, 2020010103]))
    if units:
        made.time.attrs["units"] = units
    made.to_netcdf(tmp_path / "rain.nc")
    refused(lambda: open_rain(tmp_path), "rain.nc", "time in", "expected times after CF")
