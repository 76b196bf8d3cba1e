"""Raster series: values, time labels, and every way in which a file does not fit its series."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from rasterio.io import DatasetReader
from rasterio.transform import Affine, from_origin

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.rasters.drivers import gdal_open
from pipeline.rasters.series import group_forcings, open_series
from pipeline.regrid.placement import Axes

CHECKOUT = Path(__file__).resolve().parents[3]
PLACE = from_origin(-95.0, 43.0, 0.05, 0.05)
WHOLE = (slice(0, 4), slice(0, 6))
PERIOD = {"step": "day", "start": "2020-01-01T00:00:00Z", "end": "2020-01-04T00:00:00Z"}


def write(path: Path, *bands: np.ndarray, **profile: Any) -> None:
    """A GeoTIFF of 4 x 6 pixels, unless `profile` says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack(bands)
    settings = {
        "driver": "GTiff",
        "crs": "EPSG:4326",
        "transform": PLACE,
        "nodata": -9999.0,
        "dtype": stack.dtype,
        "compress": "deflate",
        "count": stack.shape[0],
        "height": stack.shape[1],
        "width": stack.shape[2],
    } | profile
    with rasterio.open(path, "w", **settings) as target:
        target.write(stack)


def day(number: float) -> np.ndarray:
    """A field in which every pixel differs: 100 * number + 10 * row + column."""
    return (100 * number + 10 * np.arange(4)[:, None] + np.arange(6)).astype(np.float32)


def catalog(folder: Path, period: dict | None = None, **source: Any) -> Catalog:
    """A catalog whose rain lies in `folder`; `source` overrides its keys."""
    rain = {"driver": "geotiff", "files": "rain_{time:%Y%m%d}.tif", "units": "mm"} | source
    path = folder / "catalog.yaml"
    content = {
        "title": "test",
        "period": period or PERIOD,
        "forcings": {"precipitation": rain},
        "gauges": {"format": "rdb", "files": "unused.txt", "units": "m3/s"},
        "watersheds": {"file": "unused.shp", "site_field": "site"},
    }
    path.write_text(yaml.safe_dump(content))
    return load_catalog(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days of rain."""
    for number in (1, 2, 3):
        write(tmp_path / f"rain_2020010{number}.tif", day(number))
    return tmp_path


def rain_of(folder: Path, window=WHOLE, **source: Any) -> np.ndarray:
    series = open_series(catalog(folder, **source), ["precipitation"])
    return series.read(0, len(series.period.times), window)["precipitation"]


def test_reads_what_was_written(folder: Path):
    series = open_series(catalog(folder), ["precipitation"])
    assert series.times.equals(pd.date_range("2020-01-01", periods=3))
    assert [Path(path).name for path in series.paths] == [f"rain_2020010{n}.tif" for n in (1, 2, 3)]
    assert len(series.missing_times) == 0
    placement = series.layout.placement
    assert isinstance(placement, Axes)
    assert placement.crs is None
    np.testing.assert_allclose(placement.x_edges, np.linspace(-95.0, -94.7, 7), rtol=1e-12)
    np.testing.assert_allclose(placement.y_edges, np.linspace(43.0, 42.8, 5), rtol=1e-12)
    data = series.read(1, 3, WHOLE)
    assert data["precipitation"].dtype == np.float32
    np.testing.assert_array_equal(data["precipitation"], [day(2), day(3)])
    assert series.read(1, 1, WHOLE)["precipitation"].shape == (0, 4, 6)


def test_a_window_is_a_crop_and_counts_columns_round_the_globe(folder: Path):
    rows, columns = slice(1, 3), slice(4, 9)
    expected = np.stack([day(n)[rows][:, [4, 5, 0, 1, 2]] for n in (1, 2, 3)])
    np.testing.assert_array_equal(rain_of(folder, (rows, columns)), expected)
    crop = rain_of(folder, (rows, slice(2, 6)))
    np.testing.assert_array_equal(crop, [day(n)[rows, 2:6] for n in (1, 2, 3)])


def test_nodata_nan_and_missing_codes_are_nan(tmp_path: Path):
    raw = day(0)
    raw[0, 0], raw[1, 1], raw[2, 2], raw[3, 3] = -9999.0, np.nan, -3.0, -99.9
    expected = raw.copy()
    expected[0, 0] = expected[1, 1] = expected[2, 2] = expected[3, 3] = np.nan
    for number in (1, 2, 3):
        write(tmp_path / f"rain_2020010{number}.tif", raw)
    np.testing.assert_array_equal(rain_of(tmp_path, missing=[-3, -99.9]), [expected] * 3)


def test_packed_integers_are_unpacked_and_codes_are_those_of_the_file(tmp_path: Path):
    packed = np.arange(24, dtype=np.int16).reshape(4, 6)
    packed[0, 0], packed[0, 1] = -32768, -3
    for number in (1, 2, 3):
        path = tmp_path / f"rain_2020010{number}.tif"
        write(path, packed, nodata=-32768)
        with rasterio.open(path, "r+") as target:
            target.scales, target.offsets = (0.1,), (5.0,)
    expected = (packed * 0.1 + 5.0).astype(np.float32)
    expected[0, :2] = np.nan
    np.testing.assert_allclose(rain_of(tmp_path, missing=[-3]), [expected] * 3, rtol=1e-6)


def test_bands_of_one_file_are_read_with_one_open(tmp_path: Path, monkeypatch):
    for number in (1, 2, 3):
        write(tmp_path / f"rain_2020010{number}.tif", day(-number), day(number), day(7))
    described = catalog(tmp_path, band=2)
    rain = described.forcings["precipitation"]
    warm = rain.model_copy(update={"band": 1, "units": "degC", "missing": [-100.0]})
    other = rain.model_copy(update={"files": "pet_{time:%Y%m%d}.tif"})
    forcings = {"precipitation": rain, "pet": other, "temperature": warm}
    described = described.model_copy(update={"forcings": forcings})
    assert group_forcings(described) == [["precipitation", "temperature"], ["pet"]]
    series = open_series(described, ["precipitation", "temperature"])
    opened = []

    def counting(path: str, **options: Any) -> Any:
        opened.append(Path(path))
        return DatasetReader(path, **options)

    monkeypatch.setattr(gdal_open, "DatasetReader", counting)
    data = series.read(0, 3, WHOLE)
    assert opened == series.paths
    np.testing.assert_array_equal(data["precipitation"], [day(n) for n in (1, 2, 3)])
    cold = np.stack([day(-n) for n in (1, 2, 3)])
    cold[0, 0, 0] = np.nan  # -100, a code of this band alone
    np.testing.assert_array_equal(data["temperature"], cold)


@pytest.mark.parametrize(
    ("files", "label", "period", "names"),
    [
        (  # PRISM's days: the label's date is that of the end, at 12 UTC
            "rain_{time:%Y%m%d}.tif",
            {"label": "end", "offset": "12h"},
            {"step": "day", "start": "2020-02-28T12:00:00Z", "end": "2020-03-01T12:00:00Z"},
            ["rain_20200229.tif", "rain_20200301.tif"],
        ),
        (
            "rain/{time:%Y/rain_%Y%m%d}.tif",
            {},
            {"step": "day", "start": "2019-12-31T00:00:00Z", "end": "2020-01-02T00:00:00Z"},
            ["rain/2019/rain_20191231.tif", "rain/2020/rain_20200101.tif"],
        ),
        (
            "50%[a]_{time:%Y-%j}_v2.tif",
            {},
            {"step": "day", "start": "2020-12-30T00:00:00Z", "end": "2021-01-01T00:00:00Z"},
            ["50%[a]_2020-365_v2.tif", "50%[a]_2020-366_v2.tif"],
        ),
        (
            "rain_{time:%Y%m%d%H}.tif",
            {"label": "end"},
            {"step": "hour", "start": "2019-12-31T23:00:00Z", "end": "2020-01-01T01:00:00Z"},
            ["rain_2020010100.tif", "rain_2020010101.tif"],
        ),
        (  # folders of days, and the hour twice in a name
            "{time:%Y}/{time:%m}/{time:%d}/rain_{time:%Y%m%d%H}_{time:%Y%m%d%H}.tif",
            {},
            {"step": "hour", "start": "2019-12-31T23:00:00Z", "end": "2020-01-01T01:00:00Z"},
            [
                "2019/12/31/rain_2019123123_2019123123.tif",
                "2020/01/01/rain_2020010100_2020010100.tif",
            ],
        ),
        (
            "{time:%Y}/*/rain_{time:%d}.{time:%m}.tif",
            {},
            {"step": "day", "start": "2019-12-31T00:00:00Z", "end": "2020-01-02T00:00:00Z"},
            ["2019/winter/rain_31.12.tif", "2020/a/rain_01.01.tif"],
        ),
    ],
)
def test_labels_name_steps(tmp_path: Path, files: str, label: dict, period: dict, names: list[str]):
    for number, name in enumerate(names):
        write(tmp_path / name, day(number))
    described = catalog(tmp_path, period, files=files, time=label)
    series = open_series(described, ["precipitation"])
    assert series.times.equals(described.period.times)
    assert series.paths == [tmp_path / name for name in names]
    np.testing.assert_array_equal(series.read(0, 2, WHOLE)["precipitation"], [day(0), day(1)])


@pytest.mark.parametrize("other", ["2020/rain_20210102.tif", "2020/rain_20200103_20200102.tif"])
@pytest.mark.parametrize("wild", ["", "*"])
def test_a_name_that_holds_two_times_is_refused(tmp_path: Path, other: str, wild: str):
    files = f"{{time:%Y}}/{wild}rain_{{time:%Y%m%d}}.tif"
    if "_" in other.removeprefix("2020/rain_"):
        files = files.replace(".tif", "_{time:%Y%m%d}.tif")
    write(tmp_path / other, day(1))
    described = catalog(tmp_path, files=files)
    refused(lambda: open_series(described, ["precipitation"]), other, "two times in its name")


def test_scale_and_offset_make_units_of_numbers(tmp_path: Path):
    """Tenths of mm, and hundredths of kelvin from 200 K on."""
    for number in (1, 2, 3):
        write(tmp_path / f"rain_2020010{number}.tif", day(number), day(100 * number))
    rain = catalog(tmp_path, scale=0.1).forcings["precipitation"]
    warm = rain.model_copy(update={"band": 2, "units": "K", "scale": 0.01, "offset": 200.0})
    described = catalog(tmp_path).model_copy(
        update={"forcings": {"precipitation": rain, "temperature": warm}}
    )
    series = open_series(described, ["precipitation", "temperature"])
    assert series.conversion("precipitation") == pytest.approx((0.1, 0.0))
    assert series.conversion("temperature") == pytest.approx((0.01, 200 - 273.15))


def test_a_rate_in_tenths_is_scaled(folder: Path):
    series = open_series(catalog(folder, units="mm/h", scale=0.1), ["precipitation"])
    assert series.conversion("precipitation") == pytest.approx((2.4, 0.0))


@pytest.mark.parametrize("packed", [(0.1, 0.0), (1.0, 5.0)])
def test_a_file_and_its_catalog_do_not_both_scale(folder: Path, packed: tuple[float, float]):
    with rasterio.open(folder / "rain_20200101.tif", "r+") as target:
        target.scales, target.offsets = packed[:1], packed[1:]
    refused(lambda: rain_of(folder, scale=0.1), "rain_20200101.tif", "already")


def test_other_files_and_days_outside_the_period_are_left_alone(folder: Path):
    write(folder / "rain_20191231.tif", day(0)[:2])  # another shape, were it read
    write(folder / "rain_20200104.tif", day(0)[:2])
    (folder / "rain_20200102.tif.aux.xml").write_text("not a raster")
    (folder / "rain_readme.tif").write_text("not a raster")
    np.testing.assert_array_equal(rain_of(folder), [day(n) for n in (1, 2, 3)])


def test_allowed_holes_are_nan(folder: Path):
    (folder / "rain_20200102.tif").unlink()
    series = open_series(catalog(folder, max_missing_steps=1), ["precipitation"])
    assert series.missing_times.equals(pd.DatetimeIndex(["2020-01-02"]))
    assert len(series.paths) == len(series.times) == 2
    data = series.read(0, 3, WHOLE)["precipitation"]
    np.testing.assert_array_equal(data, [day(1), np.full((4, 6), np.nan), day(3)])


def test_a_long_series_is_small_on_the_wire(folder: Path):
    period = PERIOD | {"end": "2030-01-01T00:00:00Z"}
    series = open_series(catalog(folder, period, max_missing_steps=10**6), ["precipitation"])
    sent = pickle.dumps(series)
    assert len(sent) < 10_000
    data = pickle.loads(sent).read(0, 3, WHOLE)["precipitation"]  # noqa: S301 -- our own bytes
    np.testing.assert_array_equal(data, [day(n) for n in (1, 2, 3)])


def refused(action: Callable[[], Any], *said: str) -> None:
    """The action raises an InputError of one line that holds every string."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    for part in said:
        assert part in message, message


def test_holes_beyond_the_limit_are_refused(folder: Path):
    (folder / "rain_20200102.tif").unlink()
    refused(
        lambda: rain_of(folder),
        "1 of 3 steps of 1 day have no raster",
        "rain_20200102.tif",
        "at most 0",
        "forcings.precipitation.max_missing_steps",
    )


@pytest.mark.parametrize(
    ("extra", "source", "said"),
    [
        (
            "rain_2020010212.tif",
            {"files": "rain_{time:%Y%m%d%H}.tif"},
            ["rain_2020010212.tif", "before rain_2020010200.tif ends at 2020-01-03 00:00:00"],
        ),
        (
            "rain_2020010100.tif",
            {"time": {"offset": "6h"}},
            ["01 06:00:00", "whole number of steps of 1 day from"],
        ),
        ("rain_20200230.tif", {}, ["rain_20200230.tif", "day"]),
        (
            "2020/rain_20190101.tif",
            {"files": "{time:%Y/rain_%Y%m%d}.tif"},
            ["two times in its name"],
        ),
    ],
)
def test_dates_that_overlap_or_contradict_are_refused(tmp_path: Path, extra, source, said):
    for number in (1, 2, 3):
        write(tmp_path / f"rain_2020010{number}.tif", day(number))
        write(tmp_path / f"rain_2020010{number}00.tif", day(number))
    write(tmp_path / extra, day(0))
    refused(lambda: rain_of(tmp_path, **source), *said)


@pytest.mark.parametrize("field", ["%Y%m", "%d", "%Y%m%d%p", "%y%m%d", "%H%M"])
def test_a_time_field_without_a_plain_date_is_refused(folder: Path, field: str):
    files = f"rain_{{time:{field}}}.tif"
    refused(lambda: rain_of(folder, files=files), "forcings.precipitation.files", field)


def test_no_files_or_none_in_the_period_is_refused(folder: Path):
    refused(lambda: rain_of(folder, files="snow/snow_{time:%Y%m%d}.tif"), "snow/snow_%Y%m%d.tif")
    later = PERIOD | {"start": "2021-01-01T00:00:00Z", "end": "2021-02-01T00:00:00Z"}
    refused(
        lambda: open_series(catalog(folder, later), ["precipitation"]),
        *("3 rasters", "2020-01-01 00:00:00 to 2020-01-04 00:00:00", "2021-01-01"),
    )


def spoil(path: Path, how: str) -> None:
    """Make a raster unreadable in one of the ways in which files go bad."""
    good = path.read_bytes()
    bad = {
        "empty": b"",
        "text": b"<html>503 Service Unavailable</html>",
        "cut in the header": good[:20],
        "cut in the data": good[: len(good) - 12],
        "zeros": bytes(len(good)),
    }[how]
    path.write_bytes(bad)


@pytest.mark.parametrize("how", ["empty", "text", "cut in the header", "cut in the data", "zeros"])
@pytest.mark.parametrize("name", ["rain_20200101.tif", "rain_20200102.tif"])
def test_an_unreadable_file_is_named(tmp_path: Path, how: str, name: str):
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):  # the data lie at the end of the file
        noise = rng.random((4, 6), dtype=np.float32)
        write(tmp_path / f"rain_2020010{number}.tif", noise, compress=None)
    spoil(tmp_path / name, how)
    refused(lambda: rain_of(tmp_path), str(tmp_path / name), "not readable")


def test_a_file_that_vanishes_is_named(folder: Path):
    series = open_series(catalog(folder), ["precipitation"])
    (folder / "rain_20200103.tif").unlink()
    refused(lambda: series.read(0, 3, WHOLE), str(folder / "rain_20200103.tif"))


@pytest.mark.parametrize(
    ("bands", "profile", "said"),
    [
        ([day(2)[:3]], {}, ["rows x columns (3, 6)", "expected (4, 6)"]),
        ([day(2)], {"crs": "EPSG:4269"}, ["CRS EPSG:4269", "expected EPSG:4326"]),
        ([day(2)], {"crs": None}, ["CRS None", "expected EPSG:4326"]),
        ([day(2), day(2)], {}, ["number of bands 2", "expected 1"]),
        ([day(2)], {"transform": from_origin(-95.05, 43.0, 0.05, 0.05)}, ["origin", "-95.05"]),
        ([day(2)], {"transform": from_origin(-95.0, 43.0, 0.06, 0.05)}, ["pixel size", "0.06"]),
        ([day(2)[::-1]], {"transform": from_origin(-95.0, 42.8, 0.05, -0.05)}, ["42.8"]),
    ],
)
def test_a_file_unlike_the_first_is_refused(folder: Path, bands, profile, said):
    path = folder / "rain_20200102.tif"
    write(path, *bands, **profile)
    refused(lambda: rain_of(folder), str(path), "as in rain_20200101.tif", *said)


def test_rounding_in_the_place_is_no_difference(folder: Path):
    write(
        folder / "rain_20200102.tif",
        day(2),
        transform=Affine(0.05 * (1 + 1e-7), 0, -95, 0, -0.05, 43),
    )
    np.testing.assert_array_equal(rain_of(folder), [day(n) for n in (1, 2, 3)])


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"crs": None}, ["has no CRS", "the catalog says it (crs)"]),
        ({"transform": Affine(0.05, 0.01, -95, 0.01, -0.05, 43)}, ["geotransform", "parallels"]),
        ({"transform": None}, ["geotransform", "parallels"]),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_series_without_a_place_is_refused(folder: Path, profile, said):
    write(folder / "rain_20200101.tif", day(1), **profile)
    refused(lambda: rain_of(folder), str(folder / "rain_20200101.tif"), *said)


def test_a_band_that_is_not_there_is_refused(folder: Path):
    refused(lambda: rain_of(folder, band=2), "has 1 bands", "band 2")


def test_real_prism_series(domst_data: Path):
    """Six years of Daddys Creek; one day against rioxarray's masked reading of its file."""
    described = load_catalog(CHECKOUT / "catalogs" / "daddys_creek.yaml")
    assert group_forcings(described) == [["precipitation", "temperature"]]
    series = open_series(described, ["precipitation", "temperature"])
    assert series.times.equals(described.period.times)
    assert len(series.paths) == 2192
    step = series.times.get_loc(pd.Timestamp("2019-02-22 12:00"))
    window = (slice(1, 7), slice(2, 8))
    data = series.read(step, step + 1, window)
    file = domst_data / "daddys_creek" / "prism" / "prism_20190223.tif"
    with xr.open_dataarray(file, engine="rasterio", mask_and_scale=True) as day_of_file:
        for band, name in ((1, "temperature"), (2, "precipitation")):
            expected = day_of_file.sel(band=band)[window].values
            np.testing.assert_array_equal(data[name][0], expected)
            assert np.isnan(expected).any()
            assert np.nanmax(expected) > 5.0
