"""Files that say twice where their pixels lie: accounts that contradict each other are refused with
both, and axes that seem to name corners are a warning with numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from pipeline.rasters.series import open_series
from pipeline.regrid.placement import Axes, Curvilinear
from tests.pipeline.rasters.test_drivers import (
    LAT,
    LON,
    RAIN,
    TIMES,
    degrees,
    plane,
    regridded,
    series_of,
    with_mesh,
)
from tests.pipeline.rasters.test_series import catalog, refused

ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"axis": "Y"},
    {"units": "1"},
    {"units": "pixels"},
    {"standard_name": "projection_y_coordinate"},
    {"units": "km"},
]
POLAR = CRS.from_user_input("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=-45 +ellps=WGS84")
NORTH, EAST = slice(None, None, -1), slice(None, None, -1)


def anonymous(dataset: xr.Dataset, **attributes: Any) -> xr.Dataset:
    """Without a CRS, dimensions named as in models, and these attributes of the y axis."""
    made = dataset.drop_vars("crs").rename(y="yc", x="xc")
    made.yc.attrs, made.xc.attrs = attributes, {"axis": "X"}
    return made


def turned(dataset: xr.Dataset, y: bool = False, x: bool = False) -> xr.Dataset:
    """With latitudes and longitudes the other way round along an axis."""
    at = slice(None, None, -1 if y else 1), slice(None, None, -1 if x else 1)
    return dataset.assign(
        {name: (dataset[name].dims, dataset[name].values[at], dataset[name].attrs)
         for name in ("lat", "lon")}
    )  # fmt: skip


@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_axes_that_run_against_latitude_are_refused(tmp_path: Path, attributes: dict[str, Any]):
    """Without a CRS, and whatever is said of the axis. It may also be longitude that is turned."""
    upright = anonymous(with_mesh(plane()), **attributes)
    by_mesh = series_of(tmp_path, upright)
    assert isinstance(by_mesh.layout.placement, Curvilinear)
    expected = regridded(by_mesh)
    for y, x, said in ((True, False, "latitude runs"), (False, True, "xc"), (True, True, "lat")):
        bad = turned(upright, y, x)
        refused(partial(series_of, tmp_path, bad), "rain.nc", said, "place_by (axes or")
        chosen = series_of(tmp_path, bad, place_by="latlon").layout.placement
        assert isinstance(chosen, Curvilinear)
        np.testing.assert_array_equal(chosen.latitude, bad.lat.values)
    flipped = turned(upright, y=True).isel(yc=NORTH)
    refused(lambda: series_of(tmp_path, flipped), "ascends", "latitude runs")
    np.testing.assert_array_equal(regridded(series_of(tmp_path, upright))[0], expected[0])


def test_numbers_of_rows_say_nothing_of_a_place(tmp_path: Path):
    """They ascend whichever way the map lies; numbers that descend are no such count."""
    mesh = with_mesh(plane()).drop_vars(["crs", "y", "x"]).rename(y="yc", x="xc")
    expected = regridded(series_of(tmp_path, mesh))
    for start, units in ((0, ""), (1, "1")):
        for way in (1, -1):
            numbered = mesh.isel(yc=slice(None, None, way)).assign_coords(
                yc=("yc", np.arange(12) + start, {"axis": "Y", "units": units}),
                xc=("xc", np.arange(10) + start),
            )
            found = regridded(series_of(tmp_path, numbered))
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    backwards = mesh.isel(yc=NORTH).assign_coords(yc=("yc", np.arange(12)[::-1], {"axis": "Y"}))
    refused(lambda: series_of(tmp_path, backwards), "yc 11..0 descends", "latitude runs")


def polar(width: float) -> xr.Dataset:
    """Kilometres around the pole, without their CRS, and latitudes and longitudes."""
    x, y = width * (np.arange(10) - 4.4), -width * (np.arange(12) - 5.6)
    lon, lat = Transformer.from_crs(POLAR, POLAR.geodetic_crs, always_xy=True).transform(
        *np.meshgrid(x * 1000, y * 1000)
    )
    return xr.Dataset(
        {"rain": (("time", "yc", "xc"), RAIN, {"units": "mm"})},
        {
            "time": TIMES,
            "yc": ("yc", y, {"axis": "Y"}),
            "xc": ("xc", x, {"axis": "X"}),
            "lat": (("yc", "xc"), lat, {"units": "degrees_north"}),
            "lon": (("yc", "xc"), lon, {"units": "degrees_east"}),
        },
    )


def test_a_map_around_the_pole_has_an_orientation(tmp_path: Path):
    """No axis follows latitude there, but a mirror image is one."""
    data = polar(100)
    assert isinstance(series_of(tmp_path, data).layout.placement, Curvilinear)
    assert series_of(tmp_path, data.isel(yc=NORTH, xc=EAST))
    for y, x in ((True, False), (False, True)):
        bad = turned(data, y, x)
        refused(partial(series_of, tmp_path, bad), "mirror image", "place_by")


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("column", [0, -1])
def test_every_corner_is_compared(tmp_path: Path, row: int, column: int):
    data = with_mesh(plane())
    assert isinstance(series_of(tmp_path, data).layout.placement, Axes)
    data.lat.values[row, column] += 0.06
    corner = f"row {row % 12}, column {column % 10} lies at"
    refused(lambda: series_of(tmp_path, data), corner, "by latitude and longitude", "place_by")
    assert isinstance(series_of(tmp_path, data, place_by="axes").layout.placement, Axes)
    assert isinstance(series_of(tmp_path, data, place_by="latlon").layout.placement, Curvilinear)


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (-1, 0), (0.9, 0.9), (400, 0)])
@pytest.mark.parametrize("columns", [10, 200])
def test_a_pixel_apart_is_refused(tmp_path: Path, columns: int, shift: tuple[float, float]):
    """Also of an oblong raster, in either direction, and of one somewhere else."""
    made = plane()
    if columns > 10:
        made = made.isel(x=np.arange(columns) % 10)
        made = made.assign_coords(
            x=("x", made.x.values[0] + 4000.0 * np.arange(columns), made.x.attrs)
        )
    data = with_mesh(made)
    moved = data.assign_coords(
        y=("y", data.y.values - 4000 * shift[0], data.y.attrs),
        x=("x", data.x.values + 4000 * shift[1], data.x.attrs),
    )
    assert series_of(tmp_path, data)
    refused(lambda: series_of(tmp_path, moved), "by the axes (y ", "by latitude and longitude")


def test_half_a_pixel_apart_is_suspected_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """One warning with numbers, until the catalog says what the axes name."""
    data = with_mesh(plane())
    expected = regridded(series_of(tmp_path, data))
    near = data.assign_coords(y=("y", data.y.values + 400, data.y.attrs))
    series_of(tmp_path, near)
    assert not caplog.records
    for x, said in ((2000, "0.50 rows and 0.50 columns"), (0, "0.50 rows and 0.00 columns")):
        caplog.clear()
        corners = data.assign_coords(
            y=("y", data.y.values + 2000, data.y.attrs), x=("x", data.x.values - x, data.x.attrs)
        )
        series_of(tmp_path, corners)
        assert len(caplog.records) == 1
        assert said in caplog.text
        assert "rain.nc" in caplog.text
        assert "axes_at" in caplog.text
    caplog.clear()
    series_of(tmp_path, corners, place_by="axes")
    corners = data.assign_coords(
        y=("y", data.y.values + 2000, data.y.attrs), x=("x", data.x.values - 2000, data.x.attrs)
    )
    found = regridded(series_of(tmp_path, corners, axes_at="corner"))
    assert not caplog.records
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", [1, -1])
def test_axes_of_corners_begin_with_the_first_row_and_column(tmp_path: Path, way: int):
    """Beside bounds, they have to be theirs."""
    data = degrees().isel(lat=slice(None, None, way))
    expected = regridded(series_of(tmp_path, data))
    corners = data.assign_coords(
        lat=("lat", data.lat.values + way * 0.025, data.lat.attrs),
        lon=("lon", LON - 0.025, data.lon.attrs),
    )
    for one, other in zip(regridded(series_of(tmp_path, corners, axes_at="corner")), expected,
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    edges = np.stack([data.lat.values - 0.025, data.lat.values + 0.025], 1)

    def bounded(made: xr.Dataset) -> xr.Dataset:
        made = made.assign(lat_bnds=(("lat", "two"), edges))
        made.lat.attrs = {**made.lat.attrs, "bounds": "lat_bnds"}
        return made

    assert series_of(tmp_path, bounded(corners), axes_at="corner")
    refused(lambda: series_of(tmp_path, bounded(corners)), "lat starts with", "middle", "axes_at")
    refused(lambda: series_of(tmp_path, bounded(data), axes_at="corner"), "lat starts", "beginning")


@pytest.mark.parametrize("part", [slice(None), slice(3, 9)])
def test_a_geotransform_beside_axes_of_corners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: slice
):
    """As GDAL and rioxarray write it; it stays as it is if somebody cuts out a part."""
    data = plane()
    left, top = data.x.values[0] - 2000, data.y.values[0] + 2000
    data.crs.attrs["GeoTransform"] = f"{left} 4000.0 0.0 {top} 0.0 -4000.0"
    data = data.isel(y=part)
    series_of(tmp_path, data)
    series_of(tmp_path, data.isel(y=NORTH))
    assert not caplog.records
    corners = data.assign_coords(y=("y", data.y.values + 2000, data.y.attrs))
    series_of(tmp_path, corners)
    assert len(caplog.records) == 1
    assert all(said in caplog.text for said in ("rain.nc", "GeoTransform", "edges", "axes_at"))
    caplog.clear()
    both = corners.assign_coords(x=("x", data.x.values - 2000, data.x.attrs))
    series_of(tmp_path, both, axes_at="corner")
    assert not caplog.records
    series_of(tmp_path, data, axes_at="corner")
    assert "middles" in caplog.text


def test_packed_coordinates_are_unpacked(tmp_path: Path):
    """As whole numbers of hundredths of a degree."""
    data = degrees()
    expected = regridded(series_of(tmp_path, data))
    whole = data.assign_coords(
        lat=("lat", np.round((LAT - 40) * 1000).astype("i4"),
             {**data.lat.attrs, "scale_factor": 0.001, "add_offset": 40.0}),
    )  # fmt: skip
    for one, other in zip(regridded(series_of(tmp_path, whole)), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    mesh = with_mesh(plane()).drop_vars(["crs", "y", "x"])
    expected = regridded(series_of(tmp_path, mesh))
    packed = mesh.assign(
        lat=(("y", "x"), np.round(mesh.lat.values * 1e6).astype("i4"),
             {**mesh.lat.attrs, "scale_factor": 1e-6}),
    )  # fmt: skip
    for one, other in zip(regridded(series_of(tmp_path, packed)), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    mesh.lat.values[3, 3] = -999
    mesh.lat.attrs["_FillValue"] = -999.0
    refused(lambda: series_of(tmp_path, mesh), "1 pixels have no latitude or longitude")


@pytest.mark.parametrize("first", [-90.0, -89.0, -88.0])
def test_rows_beyond_a_pole_are_suspected_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: float
):
    """Two degrees each: they name the southern edges, the middles, or the northern edges."""
    lat = first + 2 * np.arange(90)
    data = xr.Dataset(
        {"rain": (("time", "lat", "lon"), np.ones((4, 90, 3), "f4"), {"units": "mm"})},
        {
            "time": TIMES,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", [-95.0, -94.0, -93.0], {"units": "degrees_east"}),
        },
    )
    series_of(tmp_path, data)
    assert len(caplog.records) == (first != -89)
    assert first == -89 or "1 degrees beyond a pole" in caplog.text
    caplog.clear()
    if first == -90:
        edges = series_of(tmp_path, data, axes_at="corner").layout.placement
        assert isinstance(edges, Axes)
        np.testing.assert_array_equal(edges.y_edges, 2.0 * np.arange(91) - 90)
        assert not caplog.records
    ends = ("lat", [-90.0, 90.0], data.lat.attrs)
    at_the_poles = data.isel(lat=slice(0, 2)).assign_coords(lat=ends)
    series_of(tmp_path, at_the_poles)
    assert not caplog.records


def test_a_wrong_rotated_pole_is_told_by_latitude_and_longitude(tmp_path: Path, domst_data: Path):
    """A real file, whose grid mapping puts its pixels up to 21 degrees of latitude away."""
    name = "rotated_pole_hirham_pr.nc"
    path = domst_data / "foreign/rasters" / name
    with xr.open_dataset(path, decode_times=False) as file:
        lat, lon = file.lat.values, file.lon.values
    days = {"step": "day", "start": "1958-01-01T12:00", "end": "1958-01-03T12:00"}
    source = {"driver": "netcdf", "files": str(path), "variable": "pr", "units": "kg m-2 s-1"}
    source |= {"bounds": "ignore"}

    def placement(**more: Any) -> Any:
        described = catalog(tmp_path, days, **source, **more)
        return open_series(described, ["precipitation"]).layout.placement

    refused(placement, name, "by the axes (rlat", "by latitude and longitude", "place_by")
    placed = placement(place_by="latlon")
    np.testing.assert_allclose(placed.latitude, lat, atol=1e-6)
    np.testing.assert_allclose(placed.longitude, lon, atol=1e-6)
