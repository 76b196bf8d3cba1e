"""Drivers beside GeoTIFF on small generated files: every way to turn an axis, several rasters in a
file, and every way in which a file does not fit its catalog."""

from __future__ import annotations

import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.transform import from_origin

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries, open_series
from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import Curvilinear
from tests.pipeline.rasters.test_series import catalog, refused

HOURS = {"step": "hour", "start": "2020-01-01T00:00:00Z", "end": "2020-01-01T04:00:00Z"}
TIMES = np.arange("2020-01-01T00", "2020-01-01T04", dtype="datetime64[h]").astype("M8[ns]")
LAT, LON = 43 - 0.05 * (np.arange(12) + 0.5), -95 + 0.05 * (np.arange(10) + 0.5)
GRID = Grid.covering((-94.95, 42.5, -94.6, 42.95))
LCC = CRS.from_user_input("+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84")
RAIN = np.random.default_rng(5).gamma(0.5, 4, (4, 12, 10)).astype(np.float32)
RAIN[np.random.default_rng(6).random(RAIN.shape) < 0.1] = np.nan


def degrees() -> xr.Dataset:
    """Four hours in longitude and latitude, rows from the north."""
    return xr.Dataset(
        {"rain": (("time", "lat", "lon"), RAIN, {"units": "mm"})},
        {
            "time": TIMES,
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )


def plane(metres: float = 1000.0, units: str = "m") -> xr.Dataset:
    """The same numbers on a Lambert plane, 3 km wide, rows from the north, with its grid mapping;
    the axes count in units of so many `metres`."""
    x, y = Transformer.from_crs(4326, LCC, always_xy=True).transform(-94.97, 42.97)
    unit = {"m": 1.0, "km": 1000.0}[units]
    mapping = xr.DataArray(0, attrs=LCC.to_cf())
    return xr.Dataset(
        {
            "rain": (("time", "y", "x"), RAIN, {"units": "mm", "grid_mapping": "crs"}),
            "crs": mapping,
        },
        {
            "time": TIMES,
            "y": ("y", (y - 4 * metres * np.arange(12)) / unit, {"units": units}),
            "x": ("x", (x + 4 * metres * np.arange(10)) / unit, {"units": units}),
        },
    )


def with_mesh(dataset: xr.Dataset) -> xr.Dataset:
    """With the latitude and longitude of every pixel."""
    back = Transformer.from_crs(LCC, LCC.geodetic_crs, always_xy=True)
    unit = {"m": 1.0, "km": 1000.0}[dataset.y.attrs["units"]]
    lon, lat = back.transform(*np.meshgrid(dataset.x.values * unit, dataset.y.values * unit))
    return dataset.assign(
        lat=(("y", "x"), lat, {"units": "degrees_north"}),
        lon=(("y", "x"), lon, {"units": "degrees_east"}),
    )


def series_of(folder: Path, dataset: xr.Dataset | None = None, **source: Any) -> RasterSeries:
    """A series whose one file holds the dataset."""
    if dataset is not None:
        dataset.to_netcdf(folder / "rain.nc", engine="netcdf4")
    described = describe(folder, **source)
    return open_series(described, ["precipitation"])


def describe(folder: Path, **source: Any) -> Catalog:
    described = {"driver": "netcdf", "files": "rain.nc", "variable": "rain"} | source
    return catalog(folder, HOURS, **{k: v for k, v in described.items() if v is not None})


def regridded(series: RasterSeries) -> tuple[np.ndarray, np.ndarray]:
    """Values and valid fractions on the grid."""
    weights = series.layout.weights(GRID)
    raw = series.read(0, series.intervals.count, weights.window)["precipitation"]
    return weights.apply(raw)


@pytest.fixture
def plain(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The plain file, regridded; its own road is held against polygons elsewhere."""
    value, valid = regridded(series_of(tmp_path, degrees()))
    assert np.isfinite(value).any()
    assert (valid > 0.99).any()
    return value, valid


def packed(dataset: xr.Dataset) -> xr.Dataset:
    """As whole numbers with scale, offset and fill value, read as unsigned."""
    raw = np.where(np.isnan(RAIN), 65535, np.round((RAIN - 0.5) / 0.001) + 600).astype("u2")
    made = dataset.assign(rain=(("time", "lat", "lon"), raw.view("i2")))
    made.rain.attrs = {
        "units": "mm", "scale_factor": 0.001, "add_offset": 0.5 - 0.6, "_Unsigned": "true",
        "_FillValue": np.int16(-1),
    }  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("turn", "source"),
    [
        (lambda d: d.transpose("lon", "time", "lat"), {}),
        (lambda d: d.isel(lat=slice(None, None, -1)), {}),
        (lambda d: d.isel(lon=slice(None, None, -1)).transpose("time", "lon", "lat"), {}),
        (lambda d: d.assign_coords(lon=("lon", LON + 360, d.lon.attrs)), {}),
        (lambda d: d.astype({"rain": "f4"}).assign_coords(lat=d.lat.astype("f4")), {}),
        (lambda d: d.rename(time="day", lat="a", lon="b"), {}),
        (
            lambda d: d.rename(time="when", lat="p", lon="q").drop_attrs(),
            {"axes": {"time": "when", "y": "p", "x": "q"}, "crs": "EPSG:4326", "units": "mm"},
        ),
        (lambda d: d.expand_dims(height=[2.0]), {}),
        (lambda d: d.rename_dims(lat="nlat", lon="nlon").reset_index(["lat", "lon"]), {}),
        (
            lambda d: d.drop_attrs().rename_dims(lat="p", lon="q").reset_index(["lat", "lon"]),
            {"axes": {"y": "p", "x": "q", "latitude": "lat", "longitude": "lon"}},
        ),
        (packed, {}),
        (lambda d: d.fillna(-3.0), {"missing": [-3]}),
        (lambda d: d.isel(time=[2, 0, 3, 1]), {}),
    ],
    ids=["transposed", "ascending", "westward", "0..360", "float32", "day", "named", "height",
         "beside", "pointed",
         "packed", "code", "shuffled"],
)  # fmt: skip
def test_turned_axes_give_the_same_cells(
    tmp_path: Path, request, plain, turn, source: dict[str, Any]
):
    value, valid = regridded(series_of(tmp_path, turn(degrees()), **source))
    rounded = {"packed": 6e-4, "float32": 1e-3}  # [mm] half of the packing's step; edges in float32
    tolerance = rounded.get(request.node.callspec.id, 1e-6)
    np.testing.assert_allclose(value, plain[0], rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(valid, plain[1], atol=2e-4 if tolerance == 1e-3 else 1e-6)


def test_groups_are_read(tmp_path: Path, plain):
    degrees().to_netcdf(tmp_path / "grouped.h5", group="Grid/inner", engine="netcdf4")
    series = series_of(tmp_path, files="grouped.h5", group="Grid/inner")
    np.testing.assert_array_equal(regridded(series)[0], plain[0])
    refused(lambda: series_of(tmp_path, files="grouped.h5", group="Else"), "grouped.h5", "'Else'")
    refused(lambda: series_of(tmp_path, files="grouped.h5"), "no variable 'rain'")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_is_read_like_netcdf(tmp_path: Path, plain, zarr_format: int):
    degrees().to_zarr(tmp_path / "rain.zarr", zarr_format=zarr_format, consolidated=False)
    series = series_of(tmp_path, driver="zarr", files="rain.zarr")
    np.testing.assert_array_equal(regridded(series)[0], plain[0])
    url = f"file://{tmp_path}/rain.zarr"
    np.testing.assert_array_equal(
        regridded(series_of(tmp_path, driver="zarr", files=url))[0], plain[0]
    )


def test_a_zarr_store_is_opened_once_for_all_blocks_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    degrees().to_zarr(tmp_path / "rain.zarr", zarr_format=3, consolidated=False)
    series = series_of(tmp_path, driver="zarr", files="rain.zarr")
    opened, window = [], (slice(0, 12), slice(0, 10))
    open_zarr = xr.open_zarr

    def counted(*args: Any, **kwargs: Any) -> xr.Dataset:
        opened.append(args)
        return open_zarr(*args, **kwargs)

    monkeypatch.setattr(xr, "open_zarr", counted)
    read = np.concatenate([series.read(n, n + 1, window)["precipitation"] for n in range(4)])
    np.testing.assert_array_equal(read, RAIN)
    assert len(opened) == 1
    # the next run looks the store over again
    halved = (degrees() / 2).assign(rain=lambda d: d.rain.assign_attrs(units="mm"))
    halved.to_zarr(tmp_path / "rain.zarr", zarr_format=3, consolidated=False, mode="w")
    again = series_of(tmp_path, driver="zarr", files="rain.zarr")
    np.testing.assert_array_equal(again.read(0, 4, window)["precipitation"], RAIN / 2)


def test_consolidated_zarr_in_memory(tmp_path: Path, plain):
    degrees().to_zarr("memory://test/rain.zarr", zarr_format=3, consolidated=False)
    series = series_of(tmp_path, driver="zarr", files="memory://test/rain.zarr")
    np.testing.assert_array_equal(regridded(series)[0], plain[0])


def test_one_file_an_hour_by_name_or_by_its_own_time(tmp_path: Path, plain):
    for hour in range(4):
        degrees().isel(time=[hour]).to_netcdf(tmp_path / f"r_2020010{1}{hour:02d}_{hour * 7}.nc")
    for files in ("r_{time:%Y%m%d%H}_*.nc", "r_*.nc", "r_{time:%Y}*.nc"):
        np.testing.assert_array_equal(regridded(series_of(tmp_path, files=files))[0], plain[0])


def test_threads_read_at_once(tmp_path: Path):
    """The NetCDF library crashes where two threads are in it."""
    for hour in range(4):
        degrees().isel(time=[hour]).to_netcdf(tmp_path / f"rain_20200101{hour:02d}.nc")
    series = series_of(tmp_path, files="rain_{time:%Y%m%d%H}.nc")
    whole = (slice(0, 12), slice(0, 10))
    with ThreadPoolExecutor(8) as threads:
        for read in threads.map(lambda _: series.read(0, 4, whole), range(100)):
            np.testing.assert_array_equal(read["precipitation"], RAIN)


def test_files_of_other_years_are_left_alone(tmp_path: Path, plain):
    degrees().to_netcdf(tmp_path / "r_2020.nc")
    (tmp_path / "r_1990.nc").write_text("not a raster")
    series = series_of(tmp_path, files="r_{time:%Y}.nc")
    np.testing.assert_array_equal(regridded(series)[0], plain[0])
    (tmp_path / "r_2020.nc").unlink()
    refused(lambda: series_of(tmp_path, files="r_{time:%Y}.nc"), "1 files", "2020 to 2020")


def test_series_travel_to_workers(tmp_path: Path):
    grib(tmp_path / "all.grb2", *((1, hour, np.nan_to_num(RAIN[hour])) for hour in range(4)))
    message = {"driver": "grib", "variable": None, "files": "all.grb2"}
    for dataset, source in ((plane(), {}), (with_mesh(plane()), {"place_by": "latlon"}),
                            (None, message)):  # fmt: skip
        series = series_of(tmp_path, dataset, **source)
        sent = pickle.loads(pickle.dumps(series))  # noqa: S301 -- our own bytes
        for one, other in zip(regridded(sent), regridded(series), strict=True):
            np.testing.assert_array_equal(one, other)


def test_files_inside_a_zip(tmp_path: Path):
    for hour in range(4):
        raw = tmp_path / f"rain_{hour}.bil"
        with rasterio.open(
            raw, "w", driver="EHdr", count=1, dtype="float32", height=12, width=10, crs="EPSG:4326",
            nodata=-9999, transform=from_origin(-95, 43, 0.05, 0.05),
        ) as file:  # fmt: skip
            file.write(np.nan_to_num(RAIN[hour], nan=-9999), 1)
        with zipfile.ZipFile(tmp_path / f"rain_20200101{hour:02d}.zip", "w") as archive:
            for part in tmp_path.glob(f"rain_{hour}.*"):
                archive.write(part, f"deep/{part.name}")
    source: dict[str, Any] = {"driver": "gdal", "variable": None, "inside": "*.bil"}
    source["files"] = "rain_{time:%Y%m%d%H}.zip"
    found = series_of(tmp_path, **source).read(0, 4, (slice(0, 12), slice(0, 10)))
    np.testing.assert_array_equal(found["precipitation"], RAIN)
    refused(lambda: series_of(tmp_path, **source | {"inside": "*"}), "files match '*'", "one")
    refused(lambda: series_of(tmp_path, **source | {"inside": "*.tif"}), "0 of its")
    (tmp_path / "rain_2020010100.zip").write_text("<html>")
    refused(lambda: series_of(tmp_path, **source), "rain_2020010100.zip", "a zip file")


def test_kilometres_and_either_direction_are_the_same_plane(tmp_path: Path):
    expected = regridded(series_of(tmp_path, plane()))
    assert np.isfinite(expected[0]).any()
    bare = plane(units="km").drop_vars("crs")
    for dataset, source in (
        (plane(units="km"), {}),
        (plane().isel(y=slice(None, None, -1)).transpose("time", "x", "y"), {}),
        (bare, {"crs": LCC.to_wkt()}),
        (with_mesh(plane(units="km")), {}),
    ):
        value, valid = regridded(series_of(tmp_path, dataset, **source))
        np.testing.assert_allclose(value, expected[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(valid, expected[1], atol=1e-5)
    refused(lambda: series_of(tmp_path, bare), "without a CRS", "crs")


def test_gdal_reads_a_projected_raster_like_netcdf(tmp_path: Path):
    data = plane()
    expected = regridded(series_of(tmp_path, data))
    for hour in range(4):
        with rasterio.open(
            tmp_path / f"rain_20200101{hour:02d}.img", "w", driver="HFA", count=1,
            dtype="float32", height=12, width=10, crs=LCC.to_wkt(), nodata=-1,
            transform=from_origin(data.x.values[0] - 2000, data.y.values[0] + 2000, 4000, 4000),
        ) as file:  # fmt: skip
            file.write(np.nan_to_num(RAIN[hour], nan=-1), 1)
    series = series_of(tmp_path, driver="gdal", variable=None, files="rain_{time:%Y%m%d%H}.img")
    value, valid = regridded(series)
    np.testing.assert_allclose(value, expected[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(valid, expected[1], atol=1e-4)


def test_a_rotated_pole_is_told_by_its_grid_mapping(tmp_path: Path):
    """Pixels of 0.05 degree around the rotated grid's equator, beside their true places."""
    mapping = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 47.3,  # the rotated equator runs through 42.7 N, 94.8 W
        "grid_north_pole_longitude": 85.2,
    }
    rotated = CRS.from_cf(mapping)
    rlat, rlon = 0.05 * (5.5 - np.arange(12)), 0.05 * (np.arange(10) - 4.5)
    back = Transformer.from_crs(rotated, rotated.source_crs, always_xy=True)
    lon, lat = back.transform(*np.meshgrid(rlon, rlat))
    assert np.hypot(lon + 94.8, lat - 42.7).max() < 0.6
    data = xr.Dataset(
        {
            "rain": (("time", "rlat", "rlon"), RAIN, {"units": "mm", "grid_mapping": "pole"}),
            "pole": ((), 0, mapping),
        },
        {
            "time": TIMES,
            "rlat": ("rlat", rlat, {"standard_name": "grid_latitude", "units": "degrees"}),
            "rlon": ("rlon", rlon, {"standard_name": "grid_longitude", "units": "degrees"}),
            "lat": (("rlat", "rlon"), lat, {"units": "degrees_north"}),
            "lon": (("rlat", "rlon"), lon, {"units": "degrees_east"}),
        },
    )
    by_axes = regridded(series_of(tmp_path, data))
    by_centres = regridded(series_of(tmp_path, data, place_by="latlon"))
    assert np.isfinite(by_axes[0]).any()
    for one, other in zip(by_axes, by_centres, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    bare = data.drop_vars("pole")
    np.testing.assert_array_equal(regridded(series_of(tmp_path, bare))[0], by_centres[0])
    refused(lambda: series_of(tmp_path, bare.drop_vars(["lat", "lon"])), "without a CRS")


def test_an_orientation_given_twice_has_to_agree(tmp_path: Path):
    """A y axis that descends beside latitudes that ascend."""
    data = with_mesh(plane(units="km"))
    turned = data.assign(lat=(("y", "x"), data.lat.values[::-1], data.lat.attrs),
                         lon=(("y", "x"), data.lon.values[::-1], data.lon.attrs))  # fmt: skip
    refused(
        lambda: series_of(tmp_path, turned),
        *("by the axes (y ", "by latitude and longitude", "place_by", " km"),
    )
    bare = turned.drop_vars("crs")
    refused(lambda: series_of(tmp_path, bare), "y ", "descends", "latitude runs", "place_by")
    by_axes = regridded(series_of(tmp_path, turned, place_by="axes"))
    np.testing.assert_array_equal(by_axes[0], regridded(series_of(tmp_path, data))[0])
    by_mesh = series_of(tmp_path, turned, place_by="latlon")
    assert isinstance(by_mesh.layout.placement, Curvilinear)
    upright = regridded(series_of(tmp_path, data.isel(y=slice(None, None, -1)), place_by="latlon"))
    flipped = turned.assign(rain=(turned.rain.dims, RAIN[:, ::-1], turned.rain.attrs))
    found = regridded(series_of(tmp_path, flipped, place_by="latlon"))
    np.testing.assert_allclose(found[0], upright[0], rtol=1e-5, atol=1e-5)


def test_curvilinear_dimensions_are_found_by_name(tmp_path: Path):
    """Transposed coordinates and data are read as named; other names are refused."""
    data = with_mesh(plane()).drop_vars(["x", "y", "crs"])
    expected = regridded(series_of(tmp_path, data))
    assert np.isfinite(expected[0]).any()
    mesh = data.assign(lat=data.lat.transpose("x", "y"), lon=data.lon.transpose("x", "y"))
    for turned in (mesh, mesh.transpose("x", "y", "time"), data.transpose("x", "time", "y")):
        np.testing.assert_array_equal(regridded(series_of(tmp_path, turned))[0], expected[0])
    alien = data.assign(lat=(("p", "q"), data.lat.values), lon=(("p", "q"), data.lon.values))
    refused(lambda: series_of(tmp_path, alien), "no coordinate", "latitudes and longitudes")
    twice = data.assign(latitude=data.lat)
    refused(lambda: series_of(tmp_path, twice), "lat, latitude", "axes.latitude")
    chosen = series_of(tmp_path, twice, axes={"latitude": "lat"})
    np.testing.assert_array_equal(regridded(chosen)[0], expected[0])


def grib(path: Path, *messages: tuple[int, int, np.ndarray]) -> None:
    """GRIB 2 messages: parameter category (1: rain, 0: temperature), hour, field."""
    plain = path.with_suffix(".tif")
    rows, columns = messages[0][2].shape
    with rasterio.open(
        plain, "w", driver="GTiff", count=len(messages), dtype="float64", height=rows,
        width=columns, crs="EPSG:4326", transform=from_origin(-95, 43, 0.05, 0.05), nodata=-1,
    ) as file:  # fmt: skip
        for band, (category, hour, field) in enumerate(messages, 1):
            file.write(np.nan_to_num(field.astype(np.float64), nan=-1), band)
            file.update_tags(
                band,
                GRIB_DISCIPLINE="0",
                GRIB_IDS=f"CENTER=7 REF_TIME=2020-01-01T{hour:02d}:00:00Z",
                GRIB_PDS_PDTN="0",
                GRIB_PDS_TEMPLATE_NUMBERS=f"{category} {8 if category else 0} 2 0 0 0 0 0 1 0 0 0 0"
                " 1 0 0 0 0 0 255 0 0 0 0 0",
            )
    rasterio.shutil.copy(plain, path, driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT")


def test_grib_messages_are_selected_by_their_keys(tmp_path: Path, plain):
    messages = [(1, hour, RAIN[hour]) for hour in (3, 1, 0, 2)]
    cold = np.full((12, 10), 250.0) - 273.15  # GDAL writes kelvins
    grib(tmp_path / "all.grb2", *messages, *((0, hour, cold + hour) for hour in range(4)))
    source: dict[str, Any] = {
        "driver": "grib",
        "variable": None,
        "files": "all.grb2",
        "missing": [-1],
    }
    rain: dict[str, Any] = {"select": {"GRIB_ELEMENT": "APCP"}}
    found = regridded(series_of(tmp_path, **source, **rain))
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-5, atol=1e-5)
    described = describe(tmp_path, **source, **rain)
    warm = described.forcings["precipitation"].model_copy(
        update={"units": "K", "select": {"GRIB_ELEMENT": "TMP"}}
    )
    both = described.model_copy(update={"forcings": {**described.forcings, "temperature": warm}})
    series = open_series(both, ["precipitation", "temperature"])
    kelvins = series.read(1, 3, (slice(0, 12), slice(0, 10)))["temperature"]
    expected = np.broadcast_to([[[251.0]], [[252.0]]], (2, 12, 10))
    np.testing.assert_allclose(kelvins, expected, rtol=1e-6)
    refused(lambda: series_of(tmp_path, **source), "messages 3 and 5", "select")
    refused(
        lambda: series_of(tmp_path, **source, select={"GRIB_ELEMENT": "SNOD"}), "APCP, TMP", "SNOD"
    )
    grib(tmp_path / "r_2020010100.grb2", *messages[:2])
    by_name = {**source, "files": "r_{time:%Y%m%d%H}.grb2", "max_missing_steps": 3}
    refused(lambda: regridded(series_of(tmp_path, **by_name)), "holds 2 rasters", "times: file")


@pytest.mark.parametrize(
    ("change", "source", "said"),
    [
        (lambda d: d, {"variable": "snow"}, ["no variable 'snow'", "rain"]),
        (lambda d: d.rename(lat="p").drop_vars("p"), {}, ["p (12)", "axes"]),
        (lambda d: d.rename(lat="y", lon="x").drop_attrs(), {}, ["without a CRS", "place_by"]),
        (lambda d: d.isel(time=[0, 1, 3]), {}, ["1 of 4 steps of 1 h", "max_missing_steps"]),
        (lambda d: d.assign_coords(time=TIMES + np.timedelta64(600, "s")), {}, ["00:10:00", "1 h"]),
        (lambda d: d, {"units": "inch"}, ["'mm'", "'inch'", "forcings.precipitation.units"]),
        (lambda d: d, {"units": "mm/day"}, ["'mm'", "'mm/day'"]),
        (lambda d: d.isel(lat=[0]), {}, ["lat", "two or more"]),
        (lambda d: d, {"files": "rain_{time:%Y%m%d}.nc"}, ["no file matches"]),
        (lambda d: d, {"files": "rain.*", "times": "name"}, ["no whole date"]),
        (lambda d: d, {"crs": "EPSG:nonsense"}, ["'EPSG:nonsense'"]),
        (lambda d: d, {"crs": "EPSG:5070"}, ["degrees_north", "NAD83 / Conus Albers"]),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change, source: dict[str, Any], said):
    refused(lambda: series_of(tmp_path, change(degrees()), **source), *said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.isel(lat=slice(0, 11)), ["(11, 10)", "(12, 10)"]),
        (lambda d: d.assign_coords(lat=d.lat + 0.05), ["lat at the corners", "42.9"]),
        (lambda d: d.isel(lat=slice(None, None, -1)), ["lat at the corners"]),
        (lambda d: d.assign(rain=d.rain.assign_attrs(units="inch")), ["'inch'", "'mm'"]),
        (lambda d: d.rename(rain="snow"), ["no variable 'rain'"]),
        (lambda d: xr.concat([d, d], "time"), ["holds 2 rasters"]),
    ],
)
def test_a_file_unlike_the_first_is_refused(tmp_path: Path, change, said: list[str]):
    for hour in range(4):
        data = degrees().isel(time=[hour])
        data = change(data) if hour == 2 else data
        data.to_netcdf(tmp_path / f"rain_20200101{hour:02d}.nc")
    series = series_of(tmp_path, files="rain_{time:%Y%m%d%H}.nc")
    refused(lambda: regridded(series), str(tmp_path / "rain_2020010102.nc"), *said)


def test_damaged_files_are_named(tmp_path: Path):
    degrees().to_netcdf(tmp_path / "rain.nc", encoding={"rain": {"chunksizes": (1, 12, 10)}})
    good = (tmp_path / "rain.nc").read_bytes()
    for bad in (b"", b"<html>", good[:100], bytes(len(good))):
        (tmp_path / "rain.nc").write_bytes(bad)
        refused(lambda: series_of(tmp_path), str(tmp_path / "rain.nc"), "not readable")
    (tmp_path / "rain.nc").write_bytes(good[: len(good) - 3000])
    refused(lambda: regridded(series_of(tmp_path)), str(tmp_path / "rain.nc"), "not readable")
    grib(tmp_path / "all.grb2", *((1, hour, RAIN[hour]) for hour in range(4)))
    good = (tmp_path / "all.grb2").read_bytes()
    source: dict[str, Any] = {"driver": "grib", "variable": None, "files": "all.grb2"}
    for bad in (b"", b"<html>", good[:60]):
        (tmp_path / "all.grb2").write_bytes(bad)
        refused(lambda: series_of(tmp_path, **source), "all.grb2", "not readable")


def test_an_unknown_unit_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = degrees()
    data.rain.attrs["units"] = "furlong"
    series_of(tmp_path, data)
    assert "'furlong'" in caplog.text
    assert "read as mm" in caplog.text


def test_a_unit_per_no_time_is_refused(tmp_path: Path):
    data = degrees()
    data.rain.attrs["units"] = "mm/0h"
    refused(lambda: series_of(tmp_path, data), "rain.nc", "'mm/0h'", "expected 'mm'")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"driver": "netcdf"}, "needs a variable"),
        ({"driver": "geotiff", "variable": "rain"}, "variable is a key of netcdf, radar, zarr"),
        ({"driver": "zarr", "variable": "rain", "band": 2}, "band is a key of gdal, geotiff"),
        ({"driver": "gdal", "files": "rain.tif"}, "needs a field such as {time:%Y%m%d}"),
        ({"step": "3h"}, "coarser than the period's"),
        ({"step": "25min"}, "does not divide"),
        ({"units": "degC"}, "an amount or a rate"),
        ({"over_time": "mean"}, "an amount or a rate"),
        ({"units": "mm/h", "over_time": "mean"}, "does not apply"),
        ({"offset": 1.0}, "offset 1.0 of units 'mm'"),
        ({"scale": 0}, "scale"),
    ],
)
def test_catalogs_that_make_no_sense_are_refused(tmp_path: Path, source: dict[str, Any], said):
    with pytest.raises(InputError) as caught:
        catalog(tmp_path, HOURS, **source)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
