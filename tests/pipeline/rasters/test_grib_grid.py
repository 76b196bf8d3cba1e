"""Places of GRIB messages: the same numbers, scanned otherwise, lie where they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil
import xarray as xr
from rasterio.transform import from_origin

from pipeline.rasters.series import RasterSeries
from pipeline.regrid.placement import Axes
from tests.pipeline.rasters.test_drivers import RAIN, TIMES, degrees, grib, regridded, series_of
from tests.pipeline.rasters.test_series import refused

RAINS = np.nan_to_num(RAIN, nan=-1.0)
# Of N = 32, as ECMWF lists it: https://confluence.ecmwf.int/display/UDOC/N32
N32 = [87.8638, 85.0965, 82.3129, 79.5256, 76.7369, 73.9475, 71.1577, 68.3678]


def section(message: bytes | bytearray, number: int) -> int:
    """Where a section of an edition 2 message begins."""
    at = 16
    while message[at + 4] != number:
        at += int.from_bytes(message[at : at + 4], "big")
    return at


def put(message: bytearray, first: int, value: float, octets: int = 4) -> None:
    """A whole number into section 3, at an octet counted from 1; negative ones by their sign."""
    number = round(abs(value)) | (1 << (8 * octets - 1) if value < 0 else 0)
    at = section(message, 3) + first - 1
    message[at : at + octets] = number.to_bytes(octets, "big")


def messages(folder: Path, change) -> RasterSeries:
    """The hours of RAIN as GRIB, each message changed."""
    for hour in range(4):
        path = folder / f"r_20200101{hour:02d}.grb2"
        grib(path, (1, hour, RAINS[hour]))
        message = bytearray(path.read_bytes())
        change(message)
        path.write_bytes(message)
    return opened(folder)


def axes(series: RasterSeries) -> Axes:
    placed = series.layout.placement
    assert isinstance(placed, Axes)
    return placed


def opened(folder: Path) -> RasterSeries:
    return series_of(
        folder, driver="grib", variable=None, files="r_{time:%Y%m%d%H}.grb2", missing=[-1]
    )


def numbers(message: bytearray) -> np.ndarray:
    """The rain in a message, rows as they are scanned, to be changed in place."""
    at = section(message, 7)
    return np.frombuffer(message, ">f8", 120, at + 5).reshape(12, 10)


def from_the_east(message: bytearray) -> None:
    lon = [int.from_bytes(message[section(message, 3) + k - 1 :][:4], "big") for k in (51, 60)]
    put(message, 51, lon[1])
    put(message, 60, lon[0])
    put(message, 72, message[section(message, 3) + 71] | 0x80, 1)
    rain = numbers(message)
    rain[:] = rain[:, ::-1].copy()


def every_other_row_back(message: bytearray) -> None:
    put(message, 72, message[section(message, 3) + 71] | 0x10, 1)
    rain = numbers(message)
    rain[1::2] = rain[1::2, ::-1].copy()


@pytest.mark.parametrize("change", [lambda _: None, from_the_east, every_other_row_back])
def test_scans_of_longitudes(tmp_path: Path, change):
    plain = regridded(series_of(tmp_path, degrees()))
    found = regridded(messages(tmp_path, change))
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


def gaussian(latitudes: list[float], parallels: int):
    """Rows of a Gaussian grid, in place of the even ones."""

    def change(message: bytearray) -> None:
        put(message, 13, 40, 2)
        put(message, 47, latitudes[0] * 1e6)
        put(message, 56, latitudes[-1] * 1e6)
        put(message, 68, parallels)

    return change


def test_rows_of_a_gaussian_grid(tmp_path: Path):
    """In the far north, where they are least even: those of a NetCDF with the listed parallels."""
    n160 = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(320)[0]))[::-1]
    np.testing.assert_allclose(
        np.degrees(np.arcsin(np.polynomial.legendre.leggauss(64)[0]))[::-1][:8], N32, atol=6e-5
    )
    for rows in (n160[:12], n160[90:102]):
        data = xr.Dataset(
            {"rain": (("time", "lat", "lon"), RAIN, {"units": "mm"})},
            {
                "time": TIMES,
                "lat": ("lat", rows, {"units": "degrees_north"}),
                "lon": ("lon", degrees().lon.data, {"units": "degrees_east"}),
            },
        )
        expected = axes(series_of(tmp_path, data))
        found = axes(messages(tmp_path, gaussian(rows.tolist(), 160)))
        np.testing.assert_allclose(found.y_edges, expected.y_edges, atol=1e-9)
        np.testing.assert_allclose(found.x_edges, expected.x_edges, atol=1e-6)


def test_rows_that_are_none_of_the_gaussian_grid(tmp_path: Path):
    wrong = np.linspace(42.97, 42.42, 12).tolist()
    refused(
        lambda: messages(tmp_path, gaussian(wrong, 160)), "r_2020010100.grb2", "N = 160", "42.97"
    )


def plane(folder: Path, change=lambda _: None) -> RasterSeries:
    """RAIN on a Lambert plane, which GDAL writes from the south."""
    crs = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +R=6371229"
    for hour in range(4):
        path = folder / f"r_20200101{hour:02d}.grb2"
        with rasterio.open(
            folder / "plane.tif", "w", driver="GTiff", count=1, dtype="float64", height=12,
            width=10, crs=crs, transform=from_origin(413000, 60000, 3000, 3000),
        ) as file:  # fmt: skip
            file.write(RAINS[hour].astype(np.float64), 1)
        rasterio.shutil.copy(
            folder / "plane.tif", path, driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT",
            DISCIPLINE="0", IDS=f"CENTER=7 REF_TIME=2020-01-01T{hour:02d}:00:00Z",
            PDS_PDTN="0",
            PDS_TEMPLATE_NUMBERS="1 8 2 0 0 0 0 0 1 0 0 0 0 1 0 0 0 0 0 255 0 0 0 0 0",
        )  # fmt: skip
        message = bytearray(path.read_bytes())
        change(message)
        path.write_bytes(message)
    return opened(folder)


def test_a_plane_from_the_south_is_read_and_one_from_the_north_refused(tmp_path: Path):
    """Of these the manual says one thing and the libraries do another."""
    placed = axes(plane(tmp_path))
    assert placed.x_edges[[0, -1]] == pytest.approx([413000, 443000], abs=5)
    assert placed.y_edges[[0, -1]] == pytest.approx([60000, 24000], abs=5)

    def from_the_north(message: bytearray) -> None:
        put(message, 65, 0, 1)

    refused(lambda: plane(tmp_path, from_the_north), "r_2020010100.grb2", "north-west", "GDAL")


def test_a_reduced_grid_is_refused(tmp_path: Path):
    def reduced(message: bytearray) -> None:
        at = section(message, 3) + 30
        message[at : at + 4] = b"\xff" * 4

    refused(lambda: messages(tmp_path, reduced), "r_2020010100.grb2", "reduced grid")


def test_gdal_on_netcdf_is_refused(tmp_path: Path):
    """It takes any latitudes for even ones."""
    degrees().isel(time=0).to_netcdf(tmp_path / "r_2020010100.nc")
    refused(
        lambda: series_of(
            tmp_path,
            driver="gdal",
            variable=None,
            files="r_{time:%Y%m%d%H}.nc",
            max_missing_steps=3,
        ),
        "netCDF",
        "driver: netcdf",
    )
