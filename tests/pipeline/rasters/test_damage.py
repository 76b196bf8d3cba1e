"""Damaged files: each is refused in one line that names it, and none passes as other rain."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from netCDF4 import Dataset
from rasterio.transform import from_origin

from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries, open_series
from tests.pipeline.handmade import World
from tests.pipeline.rasters.test_conventions import with_bounds
from tests.pipeline.rasters.test_drivers import (
    HOURS,
    LAT,
    LON,
    RAIN,
    TIMES,
    degrees,
    grib,
    series_of,
)
from tests.pipeline.rasters.test_series import catalog, refused

WHOLE = (slice(0, 12), slice(0, 10))
DRY = np.nan_to_num(RAIN, nan=-9999)
BIL: dict[str, Any] = {"driver": "gdal", "variable": None, "files": "rain_{time:%Y%m%d%H}.bil"}


def write_bils(folder: Path, driver: str = "EHdr") -> list[Path]:
    """An hour a file, with its header and CRS beside it."""
    paths = [folder / f"rain_20200101{hour:02d}.bil" for hour in range(4)]
    for path, rain in zip(paths, DRY, strict=True):
        with rasterio.open(
            path, "w", driver=driver, count=1, dtype="float32", height=12, width=10,
            crs="EPSG:4326", nodata=-9999, transform=from_origin(-95, 43, 0.05, 0.05),
        ) as file:  # fmt: skip
            file.write(rain, 1)
    return paths


def write_tifs(folder: Path, damaged: int, scale: float, offset: float) -> RasterSeries:
    """A series of whole numbers, one file of which has another scale and offset."""
    for hour in range(4):
        with rasterio.open(
            folder / f"rain_20200101{hour:02d}.tif", "w", driver="GTiff", count=1, dtype="int16",
            height=12, width=10, crs="EPSG:4326", transform=from_origin(-95, 43, 0.05, 0.05),
        ) as file:  # fmt: skip
            file.write((DRY[hour] * 10).astype("i2"), 1)
            if hour == damaged:
                file.scales, file.offsets = (scale,), (offset,)
    return open_series(catalog(folder, HOURS, files="rain_{time:%Y%m%d%H}.tif"), ["precipitation"])


def read(series: RasterSeries) -> np.ndarray:
    return series.read(0, 4, WHOLE)["precipitation"]


def test_every_bit_of_a_file_in_a_zip_counts(tmp_path: Path):
    """Whichever falls over, in pixels, header or CRS: the rain that was written, or a refusal.

    The rows that are read lie before the end, where GDAL would notice.
    """
    rain = np.round(np.random.default_rng(8).gamma(0.3, 4, (200, 200)), 1).astype("f4")
    raw = tmp_path / "rain.bil"
    with rasterio.open(
        raw, "w", driver="EHdr", count=1, dtype="float32", height=200, width=200, crs="EPSG:4326",
        transform=from_origin(-95, 43, 0.005, 0.005),
    ) as file:  # fmt: skip
        file.write(rain, 1)
    damaged = tmp_path / "rain_20200101.zip"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(tmp_path.glob("rain.*")):
            archive.write(part, part.name)
    day = {"step": "day", "start": "2020-01-01", "end": "2020-01-02"}
    source = {"driver": "gdal", "files": "rain_{time:%Y%m%d}.zip", "inside": "*.bil"}
    series = open_series(catalog(tmp_path, day, **source), ["precipitation"])
    good, window = damaged.read_bytes(), (slice(0, 60), slice(0, 200))
    bits, refusals = np.unpackbits(np.frombuffer(good, np.uint8)), []
    for at in np.random.default_rng(7).choice(bits.size, 80, replace=False):
        turned = bits.copy()
        turned[at] ^= 1
        damaged.write_bytes(np.packbits(turned).tobytes())
        try:
            found = series.read(0, 1, window)["precipitation"][0]
        except InputError as error:
            refusals.append(str(error))
        else:
            np.testing.assert_array_equal(found, rain[:60])
    assert len(refusals) > 40
    assert all(str(damaged) in said and "\n" not in said for said in refusals), refusals


@pytest.mark.parametrize(
    ("scale", "offset"), [(0, 0), (np.nan, 0), (np.inf, 0), (1, np.nan), (2, -np.inf)]
)
@pytest.mark.parametrize("driver", ["netcdf", "zarr", "geotiff"])
def test_a_scale_that_makes_no_numbers_is_refused(
    tmp_path: Path, driver: str, scale: float, offset: float
):
    """While planning if it is the first file's."""
    raw = np.nan_to_num(RAIN * 10).astype("i2")
    made = degrees().assign(rain=(("time", "lat", "lon"), raw, {"units": "mm"}))
    made.rain.attrs |= {"scale_factor": float(scale), "add_offset": float(offset)}
    said = ("scale", f"{float(scale)}", f"{float(offset)}", "expected finite numbers")
    if driver == "netcdf":
        refused(lambda: series_of(tmp_path, made), "rain.nc: rain has", *said)
    elif driver == "zarr":
        made.to_zarr(tmp_path / "rain.zarr", zarr_format=2, consolidated=False)
        source: dict[str, Any] = {"driver": "zarr", "files": "rain.zarr"}
        refused(lambda: series_of(tmp_path, **source), "rain.zarr: rain has", *said)
    else:
        refused(lambda: write_tifs(tmp_path, 0, scale, offset), "00.tif: band 1 has", *said)
        later = write_tifs(tmp_path, 2, scale, offset)
        refused(lambda: read(later), "rain_2020010102.tif: band 1 has", *said)


def test_a_later_file_without_a_scale_is_refused(tmp_path: Path):
    for hour in range(4):
        raw = np.nan_to_num(RAIN[hour : hour + 1] * 10).astype("i2")
        made = degrees().isel(time=[hour]).assign(rain=(("time", "lat", "lon"), raw))
        made.rain.attrs = {"units": "mm", "scale_factor": 0.0 if hour == 3 else 0.1}
        made.to_netcdf(tmp_path / f"rain_20200101{hour:02d}.nc")
    series = series_of(tmp_path, files="rain_{time:%Y%m%d%H}.nc")
    refused(lambda: read(series), "rain_2020010103.nc: rain has the scale 0.0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NBITS          32", "NBITS          16"),
        ("NBITS          32", "NBITS          8"),
        ("NBITS          32", "NBITS          1"),
        ("PIXELTYPE      FLOAT", "PIXELTYPE      FLOAU"),
    ],
)
@pytest.mark.parametrize("hour", [0, 3])
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, hour: int, old: str, new: str):
    header = write_bils(tmp_path)[hour].with_suffix(".hdr")
    header.write_text(header.read_text().replace(old, new))
    path = str(header.with_suffix(".bil"))
    refused(
        lambda: read(series_of(tmp_path, **BIL)),
        path,
        new.split()[0],
        repr(new.split()[1]),
        "one type",
    )


def test_a_header_of_whole_numbers_is_read(tmp_path: Path):
    """Also without PIXELTYPE, which means unsigned ones."""
    raw = np.arange(120).reshape(12, 10)
    for hour, (bits, kind) in enumerate(
        [(8, ""), (16, "SIGNEDINT"), (16, ""), (32, "UNSIGNEDINT")]
    ):
        path = tmp_path / f"rain_{hour}.bil"
        path.write_bytes(raw.astype(f"{'i' if kind == 'SIGNEDINT' else 'u'}{bits // 8}").tobytes())
        path.with_suffix(".hdr").write_text(
            f"BYTEORDER I\nNROWS 12\nNCOLS 10\nNBANDS 1\nNBITS {bits}\n"
            + f"PIXELTYPE {kind}\n" * bool(kind)
            + "ULXMAP -94.975\nULYMAP 42.975\nXDIM 0.05\nYDIM 0.05\n"
        )
        day = {"step": "day", "start": "2020-01-01", "end": "2020-01-02"}
        named = path.rename(tmp_path / f"rain{hour}_20200101.bil")
        path.with_suffix(".hdr").rename(named.with_suffix(".hdr"))
        source = {**BIL, "files": f"rain{hour}_{{time:%Y%m%d}}.bil", "crs": "EPSG:4326"}
        del source["variable"]
        series = open_series(catalog(tmp_path, day, **source), ["precipitation"])
        np.testing.assert_array_equal(series.read(0, 1, WHOLE)["precipitation"][0], raw)


@pytest.mark.parametrize("driver", ["EHdr", "ENVI"])
@pytest.mark.parametrize("kept", [0, 10, 479])
def test_a_cut_file_is_not_dry(tmp_path: Path, driver: str, kept: int):
    """GDAL reads zeros beyond its end."""
    paths = write_bils(tmp_path, driver)
    series = series_of(tmp_path, **BIL)
    np.testing.assert_array_equal(read(series), RAIN)
    for path in (paths[0], paths[2]):
        good = path.read_bytes()
        assert len(good) == 480
        path.write_bytes(good[:kept])
        refused(lambda: read(series), str(path))
        path.write_bytes(good)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("unlimited", [True, False])
def test_a_cut_classic_netcdf_is_not_dry(tmp_path: Path, kind: Any, unlimited: bool):
    """The library reads zeros beyond its end; whole files of every layout are read."""
    path = tmp_path / "rain.nc"
    with Dataset(path, "w", format=kind) as file:
        file.title, file.version = "odd", np.array([1, 2, 3], "i2")
        for name, size in (("time", None if unlimited else 4), ("lat", 12), ("lon", 10)):
            file.createDimension(name, size)
        for name, values, units in (
            ("time", range(4), "hours since 2020-01-01"),
            ("lat", LAT, "degrees_north"),
            ("lon", LON, "degrees_east"),
        ):
            axis = file.createVariable(name, "f8", (name,))
            axis.units, axis[:] = units, values
        flag = file.createVariable("flag", "i1", ("time",))  # one byte a record, filled up to four
        flag[:] = range(4)
        rain = file.createVariable("rain", "f4", ("time", "lat", "lon"), fill_value=-9999)
        rain.units, rain[:] = "mm", DRY
    np.testing.assert_array_equal(read(series_of(tmp_path)), RAIN)
    good = path.read_bytes()
    for kept in (*range(4, len(good) - 4, 97), len(good) - 4):
        path.write_bytes(good[:kept])
        refused(lambda: series_of(tmp_path), str(path))


def test_a_single_record_variable_is_not_filled_up(tmp_path: Path):
    """Its records follow one another, unlike those of several variables: bytes of 120."""
    path = tmp_path / "rain.nc"
    with Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        for name, size in (("time", None), ("lat", 3), ("lon", 3)):
            file.createDimension(name, size)
        for name, values in (("lat", LAT[:3]), ("lon", LON[:3])):
            file.createVariable(name, "f8", (name,))[:] = values
        rain = file.createVariable("rain", "i1", ("time", "lat", "lon"))
        rain.units, rain[:] = "mm", np.arange(9).reshape(1, 3, 3)
    for hour in range(4):
        (tmp_path / f"rain_20200101{hour:02d}.nc").write_bytes(path.read_bytes())
    found = series_of(tmp_path, files="rain_{time:%Y%m%d%H}.nc").read(
        0, 4, (slice(0, 3), slice(0, 3))
    )
    np.testing.assert_array_equal(found["precipitation"][2], np.arange(9).reshape(3, 3))


def test_text_is_no_rain(tmp_path: Path):
    """NumPy would read it as numbers."""
    text = np.vectorize("{:.2f}".format)(np.nan_to_num(RAIN))
    made = degrees().assign(rain=(("time", "lat", "lon"), text.astype(object), {"units": "mm"}))
    refused(lambda: series_of(tmp_path, made), "rain.nc: rain holds", "expected numbers")
    made = degrees().assign(rain=(("time", "lat", "lon"), text.astype("S6"), {"units": "mm"}))
    made.to_zarr(tmp_path / "rain.zarr", zarr_format=2, consolidated=False)
    source: dict[str, Any] = {"driver": "zarr", "files": "rain.zarr"}
    refused(lambda: series_of(tmp_path, **source), "rain.zarr: rain holds", "expected numbers")


@pytest.mark.parametrize("name", ["lat", "lon", "time", "time_bnds", "rain"])
def test_broken_blocks_of_hdf5_are_named(tmp_path: Path, name: str):
    """Coordinates too, whose bytes are overwritten where the file says that they are."""
    h5py = pytest.importorskip("h5py")
    chunks = {"lat": None, "lon": None, "rain": None, "time": (4,), "time_bnds": (4, 2)}
    encoding: dict[str, Any] = {
        key: {"zlib": True, "chunksizes": size} for key, size in chunks.items()
    }
    encoding["time"]["units"] = "hours since 2020-01-01"
    with_bounds(TIMES).to_netcdf(
        tmp_path / "rain.nc", encoding=encoding, unlimited_dims=["time", "lat", "lon"]
    )
    with h5py.File(tmp_path / "rain.nc") as file:
        chunk = file[name].id.get_chunk_info(0)
    good = (tmp_path / "rain.nc").read_bytes()
    end = chunk.byte_offset + chunk.size
    (tmp_path / "rain.nc").write_bytes(
        good[: chunk.byte_offset] + b"\x55" * chunk.size + good[end:]
    )
    refused(lambda: read(series_of(tmp_path)), str(tmp_path / "rain.nc"), "NetCDF: ")


def test_a_broken_chunk_of_zarr_is_named(tmp_path: Path):
    degrees().to_zarr(tmp_path / "rain.zarr", zarr_format=3, consolidated=False)
    for name in ("rain", "lat", "time"):
        chunk = next(
            path for path in (tmp_path / "rain.zarr" / name / "c").rglob("*") if path.is_file()
        )
        good = chunk.read_bytes()
        for bad in (b"", good[: len(good) // 2], b"\x55" * len(good)):
            chunk.write_bytes(bad)
            refused(
                lambda: read(series_of(tmp_path, driver="zarr", files="rain.zarr")),
                str(tmp_path / "rain.zarr"),
            )
        chunk.write_bytes(good)
    found = read(series_of(tmp_path, driver="zarr", files="rain.zarr"))
    np.testing.assert_array_equal(found, RAIN)


@pytest.mark.parametrize("text", ["", "GEOGCS[", "\x00\x01\x02"])
def test_a_damaged_prj_is_named(tmp_path: Path, text: str):
    paths = write_bils(tmp_path)
    series = series_of(tmp_path, **BIL)
    good = paths[0].with_suffix(".prj").read_text()
    paths[2].with_suffix(".prj").write_text(text)
    refused(lambda: read(series), f"{paths[2]}: CRS None: expected")
    paths[2].with_suffix(".prj").write_text(good)
    paths[0].with_suffix(".prj").write_text(text)
    refused(lambda: series_of(tmp_path, **BIL), f"{paths[0]}: rain_2020010100.prj is not", "crs")
    assert series_of(tmp_path, **BIL, crs="EPSG:4326").layout.shape == (12, 10)


def test_a_cut_grib_is_not_dry(tmp_path: Path):
    """Wherever it ends, even between two messages, of which the last one is missing then."""
    path = tmp_path / "all.grb2"
    grib(path, *((1, hour, DRY[hour]) for hour in range(4)))
    source: dict[str, Any] = {
        "driver": "grib", "variable": None, "files": "all.grb2", "missing": [-9999],
    }  # fmt: skip
    np.testing.assert_allclose(read(series_of(tmp_path, **source)), RAIN, rtol=1e-6)
    good = path.read_bytes()
    for kept in [*range(0, len(good), 61), len(good) - 1]:
        path.write_bytes(good[:kept])
        refused(lambda: read(series_of(tmp_path, **source)), str(path))


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}])
def test_a_cut_geotiff_keeps_its_scale(tmp_path: Path, options: dict[str, str]):
    """Which may be its last bytes: GDAL goes on without one."""
    for hour in range(4):
        path = tmp_path / f"rain_20200101{hour:02d}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="int16", height=12, width=10, nodata=-99,
            crs="EPSG:4326", transform=from_origin(-95, 43, 0.05, 0.05), **options,
        ) as file:  # fmt: skip
            file.write(np.nan_to_num(RAIN[hour] * 10, nan=-99).astype("i2"), 1)
            file.scales = (0.1,)
    described = catalog(tmp_path, HOURS, files="rain_{time:%Y%m%d%H}.tif")
    expected = read(open_series(described, ["precipitation"]))
    np.testing.assert_allclose(expected, RAIN, atol=0.1)
    good = path.read_bytes()
    for kept in (*range(len(good) - 300, len(good), 23), len(good) - 1):
        path.write_bytes(good[:kept])
        refused(lambda: read(open_series(described, ["precipitation"])), str(path))
    path.write_bytes(good)
    np.testing.assert_array_equal(read(open_series(described, ["precipitation"])), expected)


@pytest.mark.parametrize("kept", [0, 4, 200, -20])
def test_a_run_says_in_a_line_what_is_damaged(world: World, kept: int):
    """An empty or a cut GeoTIFF, without a traceback."""
    path = sorted((world.folder).rglob("*.tif"))[0]
    path.write_bytes(path.read_bytes()[:kept])
    result = world.run()
    assert result.exit_code == 2
    assert path.name in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
