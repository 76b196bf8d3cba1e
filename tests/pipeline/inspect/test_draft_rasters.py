"""Drafts of series of rasters in the layouts of publishers, on invented rain."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from rasterio.transform import from_origin

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.inspect.description import Description
from pipeline.inspect.draft.catalog import draft_catalog
from pipeline.inspect.running_totals import propose_totals
from pipeline.inspect.time_template import time_template

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RNG = np.random.default_rng(0)


def rain(steps: int, *more: int) -> np.ndarray:
    """Showers on 3 x 4 pixels."""
    amounts = RNG.gamma(0.4, 4, (steps, *more, 3, 4))
    amounts[RNG.random(amounts.shape) < 0.4] = 0
    return amounts


def dataset(values: np.ndarray, times: pd.DatetimeIndex, **attributes: Any) -> xr.Dataset:
    """Rain along times, latitudes and longitudes."""
    axes = {
        "lat": ("lat", [46.0, 45.5, 45.0], {"units": "degrees_north"}),
        "lon": ("lon", [7.0, 7.5, 8.0, 8.5], {"units": "degrees_east"}),
    }
    variable = (("time", "lat", "lon"), values, attributes)
    return xr.Dataset({"precipitation": variable}, {"time": times, **axes})


def write_tif(path: Path, bands: np.ndarray) -> None:
    profile = {"driver": "GTiff", "height": 3, "width": 4, "count": len(bands), "dtype": "float32"}
    place = {"crs": "EPSG:4326", "transform": from_origin(7, 46, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(bands.astype("float32"))


def drafted(folder: Path) -> dict[str, Any]:
    """The draft of a folder, as YAML has it."""
    found: dict[str, Any] = yaml.safe_load(draft_catalog(folder, folder / "catalog.yaml"))
    return found


def source_of(folder: Path) -> dict[str, Any]:
    """The draft's precipitation, which the catalog's model takes."""
    found = drafted(folder)["forcings"]["precipitation"]
    RasterSource.model_validate(found)
    return dict(found)


def three_hourly(folder: Path) -> None:
    for time in pd.date_range("2020-01-01", periods=16, freq="3h"):
        path = folder / f"{time:%Y%j.%H}.nc"
        dataset(rain(1), pd.DatetimeIndex([time]), units="mm/3h").to_netcdf(path)


def numbered_hours(folder: Path) -> None:
    """Hours in names as no known form of a time."""
    for k, time in enumerate(pd.date_range("2020-01-01", periods=48, freq="1h")):
        path = folder / f"rain.{time:%Y%m%d}.v{k % 24}.nc"
        dataset(rain(1), pd.DatetimeIndex([time]), units="mm").to_netcdf(path)


def ten_minutes(folder: Path) -> None:
    times = pd.date_range("2020-01-01 00:20", periods=18, freq="10min")
    dataset(rain(18), times, units="mm/h").to_netcdf(folder / "rate.nc")


def months_with_whole_dates(folder: Path) -> None:
    for first in pd.date_range("2020-01-01", periods=2, freq="MS"):
        times = pd.date_range(first, first + pd.offsets.MonthEnd(), freq="1D")
        path = folder / f"day_{first:%Y%m%d}-{times[-1]:%Y%m%d}.nc"
        dataset(rain(times.size), times, units="mm").to_netcdf(path)


def names_an_hour_early(folder: Path) -> None:
    for time in pd.date_range("2020-01-01", periods=24, freq="1h"):
        path = folder / f"rain_{time:%Y%m%d%H}.nc"
        dataset(rain(1), pd.DatetimeIndex([time + HOUR]), units="mm").to_netcdf(path)


def labels_at_noon(folder: Path) -> None:
    times = pd.date_range("2020-01-01 12:00", periods=9, freq="1D")
    dataset(rain(9), times, units="mm").to_netcdf(folder / "noon.nc")


def ends_of_hours(folder: Path) -> None:
    """Labels are the ends of hours by their bounds."""
    times = pd.date_range("2020-01-01 01:00", periods=24, freq="1h")
    data = dataset(rain(24), times, units="mm")
    data["bounds"] = (("time", "side"), np.stack([times - HOUR, times], axis=1))
    data["time"].attrs["bounds"] = "bounds"
    data.to_netcdf(folder / "ends.nc", encoding={"time": {"units": "hours since 2020-01-01"}})


def one_day_missing(folder: Path) -> None:
    times = pd.date_range("2020-01-01", periods=9, freq="1D").delete(4)
    dataset(rain(8), times, units="mm").to_netcdf(folder / "gap.nc")


@pytest.mark.parametrize(
    ("write", "keys", "step", "start", "end"),
    [
        (three_hourly, {"step": "3h", "units": "mm/h"}, "day", "2020-01-01", "2020-01-03"),
        (
            numbered_hours,
            {"files": "rain.{time:%Y%m%d}.v*.nc", "times": "file"},
            "hour",
            "2020-01-01",
            "2020-01-03",
        ),
        (ten_minutes, {"step": "10min"}, "hour", "2020-01-01T01:00", "2020-01-01T03:00"),
        (
            months_with_whole_dates,
            {"files": "day_{time:%Y%m%d}-*.nc", "times": "file"},
            "day",
            "2020-01-01",
            "2020-03-01",
        ),
        (names_an_hour_early, {"times": "file"}, "hour", "2020-01-01T01:00", "2020-01-02T01:00"),
        (
            labels_at_noon,
            {"time": {"label": "start", "offset": "-12h"}},
            "day",
            "2020-01-01",
            "2020-01-10",
        ),
        (ends_of_hours, {"time": {"label": "end"}}, "hour", "2020-01-01", "2020-01-02"),
        (one_day_missing, {"max_missing_steps": 1}, "day", "2020-01-01", "2020-01-10"),
    ],
)
def test_layouts_of_publishers(
    tmp_path: Path,
    write: Callable[[Path], None],
    keys: dict[str, Any],
    step: str,
    start: str,
    end: str,
) -> None:
    write(tmp_path)
    found = source_of(tmp_path)
    assert {key: found.get(key) for key in keys} == keys
    period = drafted(tmp_path)["period"]
    assert period["step"] == step
    for key, value in (("start", start), ("end", end)):
        said = datetime.fromisoformat(period[key]).replace(tzinfo=None)
        assert said == datetime.fromisoformat(value), key


def test_bands_that_look_alike_have_to_be_decided(tmp_path: Path) -> None:
    for day in (1, 2):
        write_tif(tmp_path / f"rain_2020010{day}.tif", rain(24))
    assert drafted(tmp_path)["forcings"]["precipitation"]["band"] == 0
    assert "OPEN: one of 1, 2, 3" in draft_catalog(tmp_path, tmp_path / "catalog.yaml")


@pytest.mark.parametrize("numbers", [np.rint(10 * rain(1)), rain(1) / 1000])
def test_doubtful_numbers_without_a_unit_have_to_be_decided(
    tmp_path: Path, numbers: np.ndarray
) -> None:
    """Tenths of mm, or metres?"""
    for day in (1, 2):
        write_tif(tmp_path / f"rain_2020010{day}.tif", numbers)
    assert drafted(tmp_path)["forcings"]["precipitation"]["units"] == "unknown"


def test_a_folder_with_links(tmp_path: Path) -> None:
    """A link that leads nowhere is named; one to a folder above is not followed."""
    for day in (1, 2):
        write_tif(tmp_path / f"rain_2020010{day}.tif", rain(1))
    (tmp_path / "gone.nc").symlink_to(tmp_path / "nothing.nc")
    (tmp_path / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    text = draft_catalog(tmp_path, tmp_path / "catalog.yaml")
    (line,) = [line for line in text.splitlines() if "gone.nc" in line]
    assert "not readable" in line
    assert "again" not in text
    assert source_of(tmp_path)["files"] == "rain_{time:%Y%m%d}.tif"


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_raster_of_a_series_is_one_line(tmp_path: Path, damaged: int) -> None:
    paths = [tmp_path / f"rain_2020010{day}.tif" for day in (1, 2, 3)]
    for path in paths:
        write_tif(path, rain(1))
    paths[damaged].write_bytes(paths[damaged].read_bytes()[:100])
    with pytest.raises(InputError) as error:
        draft_catalog(tmp_path, tmp_path / "catalog.yaml")
    assert str(error.value).startswith(f"{paths[damaged]}: not readable (")
    assert "\n" not in str(error.value)


def test_rain_without_a_date_is_no_dem(tmp_path: Path) -> None:
    write_tif(tmp_path / "mean.tif", rain(1))
    assert "terrain" not in drafted(tmp_path)


def test_a_member_of_an_ensemble_is_open(tmp_path: Path) -> None:
    values = rain(5, 3)
    members = dataset(values[:, 0], pd.date_range("2020", periods=5), units="mm")
    members = members.drop_vars("precipitation").assign_coords(member=[4, 5, 6])
    members["tp"] = (("time", "member", "lat", "lon"), values, {"units": "mm"})
    members.to_netcdf(tmp_path / "ensemble.nc")
    assert source_of(tmp_path)["select"] == {"member": 4}
    assert "select: {member: 4} # OPEN" in draft_catalog(tmp_path, tmp_path / "catalog.yaml")


@pytest.mark.parametrize(
    ("restart", "proposed"), [(24, "1d"), (6, "6h"), (1000, "never"), (1, None)]
)
def test_running_totals(restart: int, proposed: str | None) -> None:
    """From amounts by their definition; with amounts themselves as totals of one step.

    A restart that is at no multiple of its stretch from 00:00 UTC cannot be described.
    """
    amounts = RNG.gamma(1, 1, (72, 3, 4)) * (RNG.random((72, 1, 1)) < 0.8)
    parts = [part.cumsum(axis=0) for part in np.split(amounts, range(restart, 72, restart))]
    for begin, expected in ((1, proposed), (5, proposed if proposed == "never" else None)):
        labels = pd.date_range(f"2020-01-01 0{begin}:00", periods=72, freq="1h").to_pydatetime()
        description = Description(Path("totals.nc"), "raster")
        propose_totals(description, np.concatenate(parts), labels.tolist())
        assert description.keys.get("totals") == expected, begin


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("2020/001.tif", "{time:%Y}/{time:%j}.tif"),
        ("a/2020/01/31/0600.nc", "a/{time:%Y}/{time:%m}/{time:%d}/{time:%H%M}.nc"),
        ("chirps-v2.0.2020.01.31.tif", "chirps-v2.0.{time:%Y.%m.%d}.tif"),
        ("tp_202001.nc", "tp_{time:%Y%m}.nc"),
        ("A20200131.0600.020.nc", "A{time:%Y%m%d.%H%M}.020.nc"),
        ("wrfout_d01_2020-01-31_06:00:00.nc", "wrfout_d01_{time:%Y-%m-%d_%H:%M:%S}.nc"),
        ("202001.csv", None),  # a site's number
    ],
)
def test_times_in_paths_of_rasters(path: str, template: str | None) -> None:
    found = time_template(path)
    assert (found and found[0]) == template
