"""Radar composites: hand-made ones, whose content is known."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from pyproj import Transformer

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.drivers import signatures
from pipeline.rasters.drivers.gdal_open import environment, opened
from pipeline.rasters.drivers.netcdf_zarr import NETCDF
from pipeline.rasters.drivers.radar import as_dataset, kind_of
from pipeline.rasters.drivers.signatures import conversion_of

PROJ = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84"
ROWS, COLUMNS, PIXEL, LEFT, BOTTOM = 3, 4, 2000.0, 1_900_000.0, -2_200_000.0
RAW = np.array([[0, 1, 2, 255], [10, 20, 30, 0], [0, 0, 7, 9]], np.uint8)


def write_odim(path: Path, shift: float = 0.0, kind: str = "COMP", quantity: str = "ACRR") -> None:
    """Raw 0 is undetected, 255 no data; others are half of mm, less one; `shift` pixels off."""
    to_degrees = Transformer.from_crs(PROJ, "EPSG:4326", always_xy=True)
    right, top = LEFT + COLUMNS * PIXEL, BOTTOM + ROWS * PIXEL
    corners = {"LL": (LEFT, BOTTOM), "UL": (LEFT, top), "UR": (right + shift * PIXEL, top)}
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        what = file.create_group("what")
        for key, value in {"object": kind, "date": "20200102", "time": "060000"}.items():
            what.attrs[key] = np.bytes_(value)
        where = file.create_group("where")
        where.attrs["projdef"] = np.bytes_(PROJ)
        where.attrs.update(xsize=COLUMNS, ysize=ROWS, xscale=PIXEL, yscale=PIXEL)
        for name, place in corners.items():
            lon, lat = to_degrees.transform(*place)
            where.attrs.update({f"{name}_lon": lon, f"{name}_lat": lat})
        about = file.create_group("dataset1/data1/what")
        about.attrs.update(gain=0.5, offset=-1.0, nodata=255.0, undetect=0.0)
        about.attrs["quantity"] = np.bytes_(quantity)
        times = {"startdate": "20200102", "starttime": "050000", "enddate": "20200102"}
        for key, value in {**times, "endtime": "060000"}.items():
            file["dataset1"].require_group("what").attrs[key] = np.bytes_(value)
        file["dataset1/data1/data"] = RAW


def test_an_odim_composite_of_known_content(tmp_path: Path) -> None:
    path = tmp_path / "sum.h5"
    write_odim(path)
    found = as_dataset(path)
    expected = RAW * 0.5 - 1
    expected[RAW == 0] = 0
    expected[RAW == 255] = np.nan
    np.testing.assert_array_equal(found["ACRR"].values[0], expected)
    assert found["ACRR"].attrs["units"] == "mm"
    np.testing.assert_allclose(found["x"], LEFT + PIXEL * (np.arange(COLUMNS) + 0.5))
    np.testing.assert_allclose(found["y"], BOTTOM + PIXEL * (np.arange(ROWS)[::-1] + 0.5))
    seconds = datetime(2020, 1, 2, 6).timestamp() - datetime(1970, 1, 1).timestamp()
    assert found["time"].values.tolist() == [seconds]
    assert found["bounds"].values.tolist() == [[seconds - 3600, seconds]]


def test_a_rate_belongs_to_an_instant(tmp_path: Path) -> None:
    path = tmp_path / "rate.h5"
    write_odim(path, quantity="RATE")
    found = as_dataset(path)
    assert found["RATE"].attrs["units"] == "mm h-1"
    assert "bounds" not in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shift": 0.6}, "UR corner is 0.6 pixels"),
        ({"kind": "PVOL"}, "ODIM object PVOL: expected a composite"),
    ],
)
def test_odim_that_contradicts_itself_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    path = tmp_path / "odim.h5"
    write_odim(path, **change)
    with pytest.raises(InputError, match=said) as caught:
        as_dataset(path)
    assert str(path) in str(caught.value)


def write_knmi(path: Path, formula: str, row_offset: float = 3650.0) -> None:
    """Two rows and three columns at the corner of KNMI's grid."""
    proj = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752"
    to_degrees = Transformer.from_crs(proj, "EPSG:4326", always_xy=True)
    corners = [(0, -3652e3), (0, -3650e3), (3e3, -3650e3), (3e3, -3652e3)]
    with h5py.File(path, "w") as file:
        place = file.create_group("geographic")
        place.attrs["geo_dim_pixel"] = np.bytes_("KM,KM")
        for key, value in {"columns": 3, "rows": 2}.items():
            place.attrs[f"geo_number_{key}"] = np.array([value], np.int32)
        for key, value in {"pixel_size_x": 1, "pixel_size_y": -1, "column_offset": 0}.items():
            place.attrs[f"geo_{key}"] = np.array([value], np.float32)
        place.attrs["geo_row_offset"] = np.array([row_offset], np.float32)
        place.attrs["geo_product_corners"] = np.array(
            [to_degrees.transform(*corner) for corner in corners], np.float32
        ).ravel()
        text = proj.replace("6378137", "6378.137").replace("6356752", "6356.752")
        place.create_group("map_projection").attrs["projection_proj4_params"] = np.bytes_(text)
        overview = file.create_group("overview")
        overview.attrs["product_datetime_start"] = np.bytes_("31-DEC-2019;23:55:00.000")
        overview.attrs["product_datetime_end"] = np.bytes_("01-JAN-2020;00:00:00.000")
        image = file.create_group("image1")
        image.attrs["image_geo_parameter"] = np.bytes_("ACCUMULATED_PRECIPITATION_[MM]")
        image["image_data"] = np.array([[0, 1, 2], [3, 65535, 65534]], np.uint16)
        calibration = image.create_group("calibration")
        calibration.attrs["calibration_formulas"] = np.bytes_(formula)
        calibration.attrs["calibration_missing_data"] = np.array([65535], np.int32)
        calibration.attrs["calibration_out_of_image"] = np.array([65534], np.int32)


@pytest.mark.parametrize(
    ("formula", "factor", "constant"),
    [
        ("GEO=0.01*PV+0.0", 0.01, 0),
        ("GEO = 0.500000 * PV + -32.000000", 0.5, -32),
        ("GEO=1e-2*PV", 0.01, 0),
    ],
)
def test_knmi_formulas(tmp_path: Path, formula: str, factor: float, constant: float) -> None:
    path = tmp_path / "knmi.h5"
    write_knmi(path, formula)
    found = as_dataset(path)
    values = found["ACCUMULATED_PRECIPITATION"].values[0]
    expected = np.array([[0, 1, 2], [3, np.nan, np.nan]]) * factor + constant
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(found["y"], [-3650500, -3651500])
    np.testing.assert_allclose(found["x"], [500, 1500, 2500])
    assert np.diff(found["bounds"].values).item() == 300


def test_knmi_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "knmi.h5"
    write_knmi(path, "GEO=10^((PV-109)/32)")
    with pytest.raises(InputError, match="expected GEO = a"):
        as_dataset(path)
    write_knmi(path, "GEO=0.01*PV+0.0", row_offset=3651)
    with pytest.raises(InputError, match=r"lower left corner is 1\.0 pixels"):
        as_dataset(path)


def test_other_files_are_no_composites(tmp_path: Path) -> None:
    for name, content in {
        "text": b"RW is a product\n" * 9,
        "damaged.h5": b"\x89HDF\r\n\x1a\n" + bytes(90),
        "damaged.gz": b"\x1f\x8b" + bytes(90),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) is None
    with pytest.raises(InputError, match="expected ODIM HDF5, KNMI HDF5 or RADOLAN"):
        as_dataset(tmp_path / "text")


def test_the_netcdf_library_is_locked_while_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens HDF5, and other threads may read NetCDF."""
    held: list[bool] = []
    monkeypatch.setattr(signatures, "conversion_of", lambda path: held.append(NETCDF.locked()))
    (tmp_path / "rain").write_bytes(bytes(90))
    source = RasterSource(driver="gdal", files="{time:%Y}.tif", units="mm")
    with (
        pytest.raises(InputError, match="not readable"),
        environment(source),
        opened(tmp_path / "rain", source),
    ):
        pass
    assert held == [True]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"BUFR" + bytes(90), "BUFR"),
        (b"\x0e\x03\x13\x01" + bytes(90), "HDF4"),
        (b"\x1f\x8b" + bytes(90), "gunzip"),
        (b"BZh9" + bytes(90), "bunzip2"),
        (bytes(257) + b"ustar" + bytes(90), "tar -xf"),
        (b"\x00\x00\x02\x00\x07\xe4" + bytes(90), "NIMROD"),
        (b"\x00\x00\x02\x00\x27\xe4" + bytes(90), None),  # no year
        (b"CDF\x01" + bytes(90), None),
    ],
)
def test_formats_that_are_named(tmp_path: Path, content: bytes, said: str | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    found = conversion_of(path)
    assert (found is None) == (said is None)
    assert said is None or (said in (found or "") and "expected" in (found or ""))
