"""The public `regrid`: laziness, Datasets, files, and refusals."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from compliance_checker.runner import CheckSuite
from pyproj import CRS
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.errors import InputError
from pipeline.regrid import api, arrays, grid, projected
from pipeline.regrid.api import regrid
from pipeline.regrid.grid import Grid
from tests.pipeline.regrid.rasters import LAMBERT, MAKE, lambert, plain, require_equal


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees weights that another one cached."""
    monkeypatch.setenv("DOMST_CACHE", str(tmp_path_factory.mktemp("cache")))


# ------------------------------------------------------------------ laziness and the cache


def counted(monkeypatch, module: ModuleType, name: str) -> list[int]:
    """One entry for each call of a function."""
    calls: list[int] = []
    function = getattr(module, name)

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return function(*arguments)

    monkeypatch.setattr(module, name, counting)
    return calls


def refuse(*arguments: Any, **options: Any) -> None:
    raise AssertionError("computed")


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("chunks", [(7, -1, -1), (20, 13, 9), (1, 40, 11)])
def test_chunked_input_is_lazy_and_gives_the_same(kind: str, chunks: tuple, monkeypatch):
    data = MAKE[kind]()
    expected = regrid(data)
    chunked = data.chunk(dict(zip(data.dims, chunks, strict=True))).assign_coords(data.coords)
    with dask.config.set(scheduler=refuse):
        found = regrid(chunked)
    steps = chunked.chunksizes["time"]
    assert found.rain.chunks == (steps, *((n,) for n in found.rain.shape[1:]))
    calls = counted(monkeypatch, arrays, "_apply")
    with dask.config.set(scheduler="synchronous"):
        require_equal(found.compute(), expected)
    assert len(calls) == len(steps), "values and valid fractions in one pass"


def test_chunks_that_would_grow_too_large_are_cut_in_time():
    data = plain(200).chunk(time=200, lat=5)
    with dask.config.set({"array.chunk-size": "64kiB"}):
        found = regrid(data)
    assert len(found.rain.chunks[0]) > 10
    require_equal(found.compute(), regrid(data.compute()))


class OnDisk(BackendArray):
    """An array as xarray opens it from a file, which notes the shapes that are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._take)

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        taken = self.values[key]
        self.read.append(taken.shape)
        return taken


def test_only_the_window_of_a_file_is_read():
    data, grid = plain(), Grid.covering((-94.5, 41.25, -94.25, 41.5))
    file = OnDisk(data.values)
    lazy = data.copy(data=indexing.LazilyIndexedArray(file))
    require_equal(regrid(lazy, grid), regrid(data, grid))
    assert file.read == [(20, 9, 9)], "0.25 degree is 8.3 pixels of 0.03"


def test_projected_weights_are_computed_once(monkeypatch):
    calls = counted(monkeypatch, projected, "shares")
    first = regrid(lambert())
    require_equal(regrid(lambert().astype("f8").chunk()), first)
    assert len(calls) == 1


# ------------------------------------------------------------------ Datasets and files


def test_a_dataset_keeps_what_does_not_lie_on_the_pixels():
    data = plain(4).assign_coords(time=np.arange(4), station=7, height=("lat", np.zeros(40)))
    dataset = xr.Dataset(
        {
            "precipitation": data,
            "kind": data.astype(str),
            "gauge": ("time", np.arange(4.0), {"units": "m3 s-1"}),
            "lat_bnds": (("lat", "nv"), np.zeros((40, 2))),
            "crs": ((), 0, CRS(4326).to_cf()),
            "time_bnds": (("time", "nv"), np.zeros((4, 2))),
            "other": ("y", np.arange(3.0)),  # another y than the grid's
            "temperature": data.assign_attrs(
                units="K", standard_name="air_temperature", cell_methods="time: mean",
                grid_mapping="crs", valid_max=400.0,
            ),
        },
        attrs={"title": "Rain", "geospatial_lat_min": 40.0, "_NCProperties": "version=2"},
    )  # fmt: skip
    dataset.precipitation.attrs["grid_mapping"] = "crs"
    found = regrid(dataset)
    assert list(found.data_vars) == [
        *("precipitation", "valid_fraction", "gauge", "time_bnds"),
        *("temperature", "temperature_valid_fraction"),
    ]
    assert set(found.coords) == {"time", "station", "x", "y", "spatial_ref"}
    xr.testing.assert_identical(found.gauge.variable, dataset.gauge.variable)
    assert found.temperature.attrs == {
        "units": "K",
        "standard_name": "air_temperature",
        "cell_methods": "time: mean area: mean",
        "ancillary_variables": "temperature_valid_fraction",
    }
    assert found.attrs["title"] == "Rain"
    assert "12 cells per degree" in found.attrs["grid"]
    assert set(found.attrs) == {"title", "grid", "Conventions"}
    np.testing.assert_array_equal(found.temperature, regrid(data).rain)
    assert regrid(found[["temperature"]]).temperature.cell_methods == "time: mean area: mean"


@pytest.mark.parametrize("kind", MAKE)
def test_results_survive_netcdf_and_say_where_they_lie(kind: str, tmp_path: Path):
    grid = None
    if kind != "plain":
        grid = Grid.covering((-97, 42, -94.5, 43), cells_per_degree=4)
    data = MAKE[kind]().chunk().assign_coords(time=pd.date_range("2020", periods=20))
    found = regrid(data, grid)
    assert not data.time.encoding
    found.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as again:
        require_equal(again, found.compute())
        assert again.rain.rio.crs.to_epsg() == 4326
        transform = again.rain.rio.transform(recalc=True)
        np.testing.assert_allclose(again.rain.rio.transform(), transform, atol=1e-9)
        for name in ("x", "y", "time"):
            assert "_FillValue" not in again[name].encoding
        twice = regrid(again[["rain"]], min_valid=0)
        np.testing.assert_array_equal(np.isnan(twice.rain), twice.rain_valid_fraction == 0)


def test_results_follow_cf(tmp_path: Path):
    """By the IOOS compliance checker."""
    data = plain(3).assign_coords(time=pd.date_range("2020", periods=3))
    dataset = xr.Dataset({"rain": data}, attrs={"title": "Rain", "history": "made up"})
    dataset.rain.attrs["long_name"] = "rain"
    dataset.time.attrs |= {"standard_name": "time", "units_metadata": "leap_seconds: none"}
    regrid(dataset).to_netcdf(tmp_path / "out.nc")
    CheckSuite.load_all_available_checkers()
    suite = CheckSuite()
    opened = suite.load_dataset(str(tmp_path / "out.nc"))
    results, exceptions = suite.run_all(opened, ["cf:1.11"])["cf:1.11"]
    assert not exceptions
    assert len(results) > 30
    assert [m for result in results if result.value[0] < result.value[1] for m in result.msgs] == []


def test_the_docstring_examples_hold():
    for module in (api, grid):
        assert doctest.testmod(module).failed == 0
        assert doctest.testmod(module).attempted > 0


# ------------------------------------------------------------------ refusals

BAD: dict[str, tuple[Any, str]] = {
    "a number": (3.0, "expected a DataArray or Dataset"),
    "text": (plain().astype(str), "rain <U32 .* expected numbers"),
    "no x": (plain().isel(lon=0), r"\(time, lat\): expected numbers with one"),
    "two x": (plain().rename(time="x"), "expected numbers with one"),
    "no variable": (xr.Dataset(), "no variable: expected"),
    "no CRS": (plain().rename(lat="y", lon="x"), "without a CRS: expected .*; `rio.write_crs`"),
    "no coordinates": (plain().drop_vars(["lat", "lon"]), "no coordinate, without a CRS"),
    "mapping left behind": (
        lambert().drop_vars("spatial_ref").assign_attrs(grid_mapping="crs"),
        "grid mapping crs is not among its coordinates: expected the Dataset",
    ),
    "degrees in a projection": (
        plain().assign_coords(spatial_ref=((), 0, CRS(LAMBERT).to_cf())),
        "with the projected CRS .* expected axes of",
    ),
    "two places": (
        lambert().assign_coords(
            lat=(("y", "x"), np.full((30, 40), 10.0)), lon=(("y", "x"), np.full((30, 40), 5.0))
        ),
        "by the axes .* but at .* drop the wrong coordinates",
    ),
    "an unknown CRS": (
        lambert().assign_coords(spatial_ref=((), 0, {"grid_mapping_name": "flat"})),
        "grid mapping spatial_ref is not understood",
    ),
    "latitudes beyond": (plain().assign_coords(lat=np.arange(40) + 60.0), "from -90 to 90"),
    "not monotonic": (plain().assign_coords(lon=np.arange(50) % 9.0), "ascending or descending"),
    "packed": (plain().assign_attrs(scale_factor=0.1), "attribute scale_factor is 0.1"),
    "a code": (plain().assign_attrs(_FillValue=np.float32(-9999)), "attribute _FillValue is -9999"),
    "two grids": (
        xr.Dataset({"a": plain(), "b": plain().rename(lat="y", lon="x")}),
        "a lies on lat, lon and b on y, x",
    ),
    "a name twice": (
        xr.Dataset({"rain": plain(), "rain_valid_fraction": plain()}),
        "rain_valid_fraction: valid fraction of rain, but also",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_input_that_is_unclear_is_refused_in_one_line(name: str):
    data, said = BAD[name]
    with pytest.raises(InputError, match=said) as caught:
        regrid(data)
    assert "\n" not in str(caught.value)


def test_arguments_that_make_no_sense_are_refused():
    for options, said in (
        ({"grid": 0.25}, "grid is 0.25: expected a Grid"),
        ({"min_valid": 1.5}, "min_valid is 1.5: expected 0 to 1"),
        ({"grid": Grid.covering((10, 10, 11, 11))}, "rain: raster covers .* expected some of"),
    ):
        with pytest.raises(InputError, match=said):
            regrid(plain(), **options)


def test_neutral_packing_attributes_are_taken():
    """rioxarray leaves them on decoded data."""
    data = plain().assign_attrs(scale_factor=1.0, add_offset=0.0, _FillValue=np.nan)
    require_equal(regrid(data), regrid(plain()))
    assert not {"scale_factor", "add_offset", "_FillValue"} & set(regrid(data).rain.attrs)
