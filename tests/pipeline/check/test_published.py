"""`check` reads the files again by itself: what a driver misreads, it does not misread too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
import yaml
from rasterio.transform import from_origin

from pipeline.catalog.models import load_catalog
from pipeline.check.checks import check_store
from pipeline.check.contents import Check
from pipeline.check.published import misplaced, read_published
from pipeline.check.reference import LEAST_STEPS
from pipeline.rasters.coordinates import placement_of
from pipeline.rasters.drivers import grib, netcdf_zarr
from pipeline.rasters.drivers.cf_packing import packing
from pipeline.rasters.drivers.gdal import write_band
from pipeline.rasters.drivers.netcdf_zarr import _raw
from pipeline.rasters.series import open_series
from pipeline.regrid.placement import Axes
from tests.pipeline.handmade import COLUMNS, DAYS, NORTH, PIXEL, ROWS, WEST, World, write_raster
from tests.pipeline.stores import stored_array

LAT = NORTH - PIXEL * (np.arange(ROWS) + 0.5)
LON = WEST + PIXEL * (np.arange(COLUMNS) + 0.5)
SCALE, OFFSET, FILL = 0.002, -0.5, 65535


def dataset(world: World, *, packed: bool) -> xr.Dataset:
    """The world's rain as 16-bit numbers, `_Unsigned` as NetCDF 3 has it, or as it is."""
    about: dict[str, Any] = {"units": "mm"}
    values = world.rain
    if packed:
        numbers = np.where(np.isnan(values), FILL, np.round((values - OFFSET) / SCALE))
        values = numbers.astype("u2").view("i2")
        about |= {"_Unsigned": "true", "scale_factor": SCALE, "add_offset": OFFSET}
        about |= {"_FillValue": np.int16(-1)}
    return xr.Dataset(
        {"rain": (("time", "lat", "lon"), values, about)},
        {
            "time": ("time", np.arange(DAYS), {"units": "days since 2020-01-01"}),
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )


def expected(world: World, *, packed: bool) -> np.ndarray:
    """What the file says, from the numbers that went into it."""
    if not packed:
        return world.rain.astype(np.float64)
    numbers = np.round((world.rain - OFFSET) / SCALE)
    return numbers.astype(np.float64) * SCALE + OFFSET


KINDS = {
    "netcdf": ("rain.nc", lambda data, path: data.to_netcdf(path)),
    "netcdf 3": ("rain.nc", lambda data, path: data.to_netcdf(path, format="NETCDF3_64BIT")),
    "zarr 2": ("rain.zarr", lambda data, path: data.to_zarr(path, zarr_format=2)),
    "zarr 3": (
        "rain.zarr",
        lambda data, path: data.to_zarr(path, zarr_format=3, consolidated=False),
    ),
}


def publish(world: World, kind: str, data: xr.Dataset, **source: Any) -> None:
    """Write the rain in some format, and say so in the catalog."""
    name, write = KINDS[kind]
    write(data, world.folder / name)
    described = {"driver": kind.split()[0], "files": name, "variable": "rain", "units": "mm"}
    world.edit(forcings={"precipitation": described | source})


def conservation(world: World) -> Check:
    result = world.run()
    assert result.exit_code == 0, result.output
    return next(check for check in check_store(world.store) if check.name == "conservation")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("order", [("time", "lat", "lon"), ("lon", "lat", "time")])
def test_the_second_reader_reads_what_was_written(
    world: World, kind: str, packed: bool, order: tuple[str, ...]
) -> None:
    publish(world, kind, dataset(world, packed=packed).transpose(*order))
    catalog = load_catalog(world.catalog)
    series = open_series(catalog, ["precipitation"])
    assert misplaced(series, "precipitation") == ""
    for day, raster in enumerate(expected(world, packed=packed)):
        found = read_published(series, "precipitation", day)
        np.testing.assert_allclose(found, raster, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_store_of_each_format_agrees(world: World, kind: str) -> None:
    publish(world, kind, dataset(world, packed=True))
    check = conservation(world)
    assert check.status == "PASS", check
    assert f"{DAYS} steps" in check.detail, "all of a quick comparison"
    assert DAYS > LEAST_STEPS


def larger(*arguments: Any) -> tuple[float, float, list[float]]:
    scale, offset, codes = packing(*arguments)
    return scale * 1.5, offset, codes


def no_codes(*arguments: Any) -> tuple[float, float, list[float]]:
    scale, offset, _ = packing(*arguments)
    return scale, offset, []


def upside_down(*arguments: Any) -> np.ndarray:
    return _raw(*arguments)[:, ::-1]


@pytest.mark.parametrize("kind", ["netcdf", "zarr 3"])
@pytest.mark.parametrize(
    ("name", "broken"), [("packing", larger), ("packing", no_codes), ("_raw", upside_down)]
)
def test_what_the_driver_misreads(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, broken: Any
) -> None:
    publish(world, kind, dataset(world, packed=True))
    monkeypatch.setattr(netcdf_zarr, name, broken)
    assert conservation(world).status == "FAIL"


def test_axes_that_the_driver_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(world, "netcdf", dataset(world, packed=False))

    def turned(*arguments: Any) -> Axes:
        placement = placement_of(*arguments)
        assert isinstance(placement, Axes)
        return Axes(placement.x_edges, placement.y_edges[::-1], placement.crs)

    monkeypatch.setattr(netcdf_zarr, "placement_of", turned)
    check = conservation(world)
    assert check.status == "FAIL"
    assert "rain.nc: lat 42.4792..42.0208: expected pixels between 42 and 42.5" in check.detail


def test_grib_is_read_without_the_driver(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = world.folder / "all.tif"
    with rasterio.open(
        plain, "w", driver="GTiff", count=DAYS, dtype="float64", height=ROWS, width=COLUMNS,
        crs="EPSG:4326", transform=from_origin(WEST, NORTH, PIXEL, PIXEL),
    ) as file:  # fmt: skip
        for band, day in enumerate(reversed(range(DAYS)), start=1):  # not in the order of time
            file.write(np.nan_to_num(world.rain[day].astype(float), nan=-1), band)
            reference = f"CENTER=7 REF_TIME=2020-01-{day + 1:02d}T00:00:00Z"
            numbers = "1 8 2 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 255 0 0 0 0 0"
            file.update_tags(
                band, GRIB_DISCIPLINE="0", GRIB_IDS=reference, GRIB_PDS_PDTN="0",
                GRIB_PDS_TEMPLATE_NUMBERS=numbers,
            )  # fmt: skip
    rasterio.shutil.copy(
        plain, world.folder / "all.grb2", driver="GRIB", DATA_ENCODING="IEEE_FLOATING_POINT"
    )
    source = {"driver": "grib", "files": "all.grb2", "units": "mm", "missing": [-1]}
    world.edit(forcings={"precipitation": source})
    assert conservation(world).status == "PASS"
    world.store.rename(world.folder / "sound.zarr")

    def doubled(out: np.ndarray, *arguments: Any) -> None:
        write_band(out, *arguments)
        out *= 2

    monkeypatch.setattr(grib, "write_band", doubled)
    assert conservation(world).status == "FAIL"


def test_pixels_of_24_km_that_end_within_the_region(world: World) -> None:
    """No corner of theirs is near a cell beyond their edge."""
    size = 24_000.0
    side = 3
    rain = np.arange(DAYS * side**2, dtype=np.float32).reshape(DAYS, side, side)
    place = from_origin(490_000, 4_706_000, size, size)
    for day in range(DAYS):
        write_raster(
            world.raster(day), rain[day], crs="EPSG:32615", transform=place, nodata=-9999.0
        )
    settings = yaml.safe_load(world.catalog.read_text())
    world.edit(bounds=[-95.0, 40.5, -91.0, 44.0], forcings=settings["forcings"])
    result = world.run()
    assert result.exit_code == 0, result.output
    checks = {check.name: check for check in check_store(world.store)}
    assert "readable" not in checks, checks["readable"]
    assert checks["conservation"].status == "PASS"
    values = stored_array(world.store, "region/precipitation")
    kept = np.isfinite(np.asarray(values[0]))
    assert 0 < kept.sum() < kept.size / 2, "most cells lie beyond the raster"
    values[...] = np.asarray(values[...]) * np.float32(1.01)
    (check,) = (check for check in check_store(world.store) if check.name == "conservation")
    assert check.status == "FAIL", "cells with values are among those compared"


def test_a_raster_that_is_gone_is_no_agreement(world: World) -> None:
    publish(world, "netcdf", dataset(world, packed=True))
    assert conservation(world).status == "PASS"
    Path(world.folder / "rain.nc").write_bytes(b"CDF")
    check = next(check for check in check_store(world.store) if check.name == "conservation")
    assert check.status == "WARN"
    assert "rain.nc" in check.detail
