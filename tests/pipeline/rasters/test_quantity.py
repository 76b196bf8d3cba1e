"""What a file says that its numbers are: quantity, units, calendar, further dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from pipeline.catalog.models import Catalog
from pipeline.check.published import read_published
from pipeline.errors import InputError
from pipeline.rasters.quantity import names_rain, other_quantity, part_of_rain
from pipeline.rasters.series import RasterSeries, open_series

DAYS, MEMBERS = 3, 2
RAIN = np.random.default_rng(0).random((MEMBERS, DAYS, 3, 4)).astype(np.float32)
WHOLE = (slice(0, 3), slice(0, 4))


def write(path: Path, name: str = "rain", calendar: str = "standard", **attributes: Any) -> None:
    """Rain of two members, whose names are numbers, and no coordinate of the levels."""
    times = xr.date_range("2020-01-01", periods=DAYS, calendar=calendar, use_cftime=True)
    dims = ("member", "time", "lat", "lon")
    data = xr.Dataset(
        {name: (dims, RAIN, {"units": "mm", **attributes})},
        {
            "member": [7, 9],
            "time": times,
            "lat": ("lat", [46.0, 45.5, 45.0], {"units": "degrees_north"}),
            "lon": ("lon", [7.0, 7.5, 8.0, 8.5], {"units": "degrees_east"}),
        },
    )
    data.to_netcdf(path)


def opened(path: Path, **keys: Any) -> RasterSeries:
    source = {"driver": "netcdf", "files": str(path), "variable": "rain", "units": "mm"}
    described = Catalog.model_validate(
        {
            "title": "rain",
            "period": {"step": "day", "start": "2020-01-01", "end": "2020-01-04"},
            "forcings": {"precipitation": {**source, "select": {"member": 9}, **keys}},
            "gauges": {"format": "csv", "files": "x.csv", "units": "m3/s"},
            "watersheds": {"file": "x.gpkg", "site_field": "x"},
        }
    ).model_copy(update={"path": path.with_name("catalog.yaml")})
    return open_series(described, ["precipitation"])


def refused(path: Path, *said: str, **keys: Any) -> None:
    with pytest.raises(InputError) as caught:
        opened(path, **keys)
    message = str(caught.value)
    assert str(path) in message
    for part in ("expected", *said):
        assert part in message, message


def test_a_member_is_selected_by_its_coordinate(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.nc"
    write(path)
    found = opened(path).read(0, DAYS, WHOLE)["precipitation"]
    np.testing.assert_array_equal(found, RAIN[1])
    read_again = read_published(opened(path), "precipitation", 2)  # by `check`
    np.testing.assert_array_equal(read_again, RAIN[1, 2])


def test_without_a_coordinate_by_its_position(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.nc"
    write(path)
    with xr.open_dataset(path) as data:
        data.drop_vars("member").to_netcdf(tmp_path / "plain.nc")
    found = opened(tmp_path / "plain.nc", select={"member": 0})
    np.testing.assert_array_equal(found.read(0, DAYS, WHOLE)["precipitation"], RAIN[0])


def test_what_does_not_select_one_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ensemble.nc"
    write(path)
    refused(path, "member (7, 9)", "select: {member: ...}", select={})
    refused(path, "member (7, 9)", "one that is 8", select={"member": 8})
    refused(path, "level among them", select={"level": 1, "member": 7})


def test_a_series_of_one_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "point.nc"
    times = pd.date_range("2020-01-01", periods=DAYS)
    xr.Dataset({"rain": ("time", np.ones(DAYS))}, {"time": times}).to_netcdf(path)
    refused(path, "series of single places", select={})


def test_other_quantities_are_no_rain(tmp_path: Path) -> None:
    path = tmp_path / "file.nc"
    write(path, long_name="runoff over land")
    opened(path)  # the variable is called rain
    write(path, name="q", long_name="runoff over land")
    refused(path, "'runoff over land'", variable="q")
    opened(path, variable="q", attributes="ignore")
    write(path, long_name="convective rain")
    refused(path, "a part of the rain")
    opened(path, attributes="ignore")


def test_an_attribute_unit_counts_as_units(tmp_path: Path) -> None:
    path = tmp_path / "file.nc"
    write(path)
    with xr.open_dataset(path, decode_timedelta=False) as data:
        del data["rain"].attrs["units"]
        data["rain"].attrs["unit"] = "inch"
        data.to_netcdf(tmp_path / "unit.nc")
    refused(tmp_path / "unit.nc", "'inch'", "'mm'")
    opened(tmp_path / "unit.nc", units="inch")


def test_a_factor_in_the_units_has_to_be_said(tmp_path: Path) -> None:
    path = tmp_path / "file.nc"
    write(path, units="0.1 mm")
    refused(path, "'0.1 mm'")
    refused(path, "'0.1 mm'", scale=0.01)
    assert opened(path, scale=0.1).conversion("precipitation")[0] == pytest.approx(0.1)


@pytest.mark.parametrize("calendar", ["360_day", "julian", "all_leap"])
def test_calendars_of_other_dates_are_refused(tmp_path: Path, calendar: str) -> None:
    path = tmp_path / "file.nc"
    write(path, calendar=calendar)
    refused(path, "calendar", "convert_calendar")


def test_a_calendar_without_leap_days_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.nc"
    write(path, calendar="noleap")
    np.testing.assert_array_equal(opened(path).read(0, DAYS, WHOLE)["precipitation"], RAIN[1])


@pytest.mark.parametrize(
    ("texts", "rain", "other", "part"),
    [
        (("tp", "Total precipitation"), True, False, False),
        (("RAINNC", "ACCUMULATED TOTAL GRID SCALE PRECIPITATION"), True, False, True),
        (("pr", "Convective and large-scale precipitation"), True, False, False),
        (("probabilityLiquidPrecipitation", ""), False, True, False),
        (("CFRZR", "Categorical Freezing Rain [0=no; 1=yes]"), False, True, False),
        (("tas", "2 metre temperature"), False, True, False),
        (("prsn", "snowfall flux"), False, False, True),
        (("data", ""), False, False, False),
        (("RATE", "rain rate"), True, False, False),
        (("evaporation_rate", "rate of evaporation"), False, True, False),
    ],
)
def test_names_of_rain(texts: tuple[str, ...], rain: bool, other: bool, part: bool) -> None:
    assert names_rain(*texts) == rain
    assert (other_quantity(*texts) is not None) == other
    assert (part_of_rain(*texts) is not None) == part


def test_a_name_that_contradicts_the_time_in_the_file_is_refused(tmp_path: Path) -> None:
    """As names of local times do, or of the start of a forecast; both ends of a day are its own."""
    for hour, said in ((-6, None), (0, 0), (24, 0), (30, None)):
        folder = tmp_path / f"{hour}"
        folder.mkdir()
        for day in pd.date_range("2020-01-01", periods=DAYS):
            path = folder / f"rain_{day:%Y%m%d}.nc"
            write(path)
            with xr.open_dataset(path) as data:
                one = data.isel(time=[0]).load()
            one["time"] = [day + pd.Timedelta(f"{hour}h")]
            one.to_netcdf(path)
        where = folder / "rain_{time:%Y%m%d}.nc"
        if said is None:
            with pytest.raises(InputError, match="by the file itself"):
                opened(where)
            opened(where, bounds="ignore")
        else:
            opened(where)


def test_bands_are_what_their_descriptions_say(tmp_path: Path) -> None:
    path = tmp_path / "rain_20200101.tif"
    place = {"crs": "EPSG:4326", "transform": from_origin(7, 46, 0.5, 0.5)}
    shape = {"height": 3, "width": 4, "count": 3, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(np.broadcast_to(RAIN[0, 0], (3, 3, 4)))
        for band, text in enumerate(("temperature_2m", "total_precipitation_sum"), start=1):
            file.set_band_description(band, text)
    source = {"driver": "geotiff", "files": str(tmp_path / "rain_{time:%Y%m%d}.tif")}
    keys: dict[str, Any] = {**source, "variable": None, "select": {}, "max_missing_steps": 2}
    refused(path, "'temperature_2m'", **keys, band=1)
    opened(path, **keys, band=2)
    opened(path, **keys, band=3)  # which says nothing
