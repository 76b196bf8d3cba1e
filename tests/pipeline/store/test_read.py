"""What the readers return: as stored, as NetCDF, and as CF asks for it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import netCDF4
import numpy as np
import pytest
import shapely
import xarray as xr
import zarr
from compliance_checker.runner import CheckSuite

from pipeline.errors import InputError
from pipeline.store.read import (
    list_sites,
    open_gauges,
    open_region,
    open_store,
    open_watershed,
)
from pipeline.store.root import open_root
from tests.pipeline.handmade import BOXES, World
from tests.pipeline.stores import set_attributes, unmark

SITE = "99000001"


def node_of(tree: xr.DataTree, group: str) -> xr.Dataset:
    """A group of a store, without the time axis of the root where it has none."""
    node = tree[group]
    assert isinstance(node, xr.DataTree)
    return node.to_dataset(inherit=group != "watersheds")


Reader = Callable[..., xr.Dataset]
READERS: dict[str, Reader] = {
    "region": open_region,
    "gauges": open_gauges,
    "watersheds": lambda store, **keys: node_of(open_store(store, **keys), "watersheds"),
}
ONE = f"watershed {SITE}"
TIME = ("time", "time_bnds")  # in the root, once
ALL_READERS: dict[str, Reader] = {
    **READERS,
    ONE: lambda store, **keys: open_watershed(store, SITE, **keys),
}
each_group = pytest.mark.parametrize("group", READERS)
each_reader = pytest.mark.parametrize("group", ALL_READERS)
each_engine = pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])


def stored_arrays(store: Path, group: str) -> dict[str, zarr.Array]:
    """The arrays of a group by name, and the time axis, through zarr alone."""
    root = zarr.open_group(store, mode="r", use_consolidated=False)
    found = dict(zarr.open_group(store, mode="r", path=group, use_consolidated=False).arrays())
    if group != "watersheds":
        found |= {name: root[name] for name in TIME}  # type: ignore[misc]
    return found


# --- NetCDF ------------------------------------------------------------------------------------


@each_engine
@each_group
def test_netcdf_holds_the_stored_bytes(
    tiny_store: Path, tmp_path: Path, group: str, engine: Any
) -> None:
    """Read back by netCDF4 without any decoding, every array is what Zarr holds."""
    READERS[group](tiny_store).to_netcdf(tmp_path / "data.nc", engine=engine)
    with netCDF4.Dataset(tmp_path / "data.nc") as file:
        file.set_auto_maskandscale(False)
        expected = stored_arrays(tiny_store, group)
        assert set(file.variables) == set(expected)
        for name, array in expected.items():
            variable = file.variables[name]
            assert variable.dimensions == (array.metadata.dimension_names or ())  # type: ignore[union-attr]
            np.testing.assert_array_equal(variable[...], np.asarray(array[...]), err_msg=name)
            if array.dtype.kind != "T":
                assert variable.dtype == array.dtype, name
        stored = dict(zarr.open_group(tiny_store, mode="r", path=group).attrs)
        for name, value in stored.items():
            np.testing.assert_array_equal(file.getncattr(name), value, err_msg=name)
        assert set(file.ncattrs()) == set(stored)


@each_engine
@each_reader
def test_netcdf_comes_back_as_the_same_dataset(
    tiny_store: Path, tmp_path: Path, group: str, engine: Any
) -> None:
    data = ALL_READERS[group](tiny_store)
    data.to_netcdf(tmp_path / "data.nc", engine=engine)
    with xr.open_dataset(tmp_path / "data.nc", decode_coords="all") as back:
        if group in ("gauges", "watersheds"):
            back = back.set_coords("site_no").set_xindex("site_no")
        xr.testing.assert_identical(back.load(), data.load())


@each_engine
def test_the_whole_tree_comes_back(tiny_store: Path, tmp_path: Path, engine: Any) -> None:
    tree = open_store(tiny_store)
    tree.to_netcdf(tmp_path / "tree.nc", engine=engine)
    with xr.open_datatree(tmp_path / "tree.nc", decode_coords="all") as back:
        for group, node in back.to_dict().items():
            expected = tree[group].to_dataset()
            if "site_no" in node.coords:
                node = node.set_xindex("site_no")
            xr.testing.assert_identical(node.load(), expected.load())


def test_nothing_known_is_no_attribute(stored: World, tmp_path: Path) -> None:
    """A watershed without terrain and without a reported area still becomes NetCDF."""
    data = open_watershed(stored.store, min(BOXES))
    unknown = {"slope", "reported_drainage_area_m2", "traced_drainage_area_m2"}
    assert not unknown & set(data.attrs)
    data.to_netcdf(tmp_path / "data.nc")


# --- CF ----------------------------------------------------------------------------------------


def complaints(path: Path) -> list[str]:
    """What the IOOS compliance checker says of a file, of any weight, by the rules of CF 1.11."""
    CheckSuite.load_all_available_checkers()
    suite = CheckSuite()
    dataset = suite.load_dataset(str(path))
    results, exceptions = suite.run_all(dataset, ["cf:1.11"])["cf:1.11"]
    assert len(results) > 25
    failed = [result for result in results if result.value[0] < result.value[1]]
    return [message for result in failed for message in result.msgs] + list(exceptions)


@each_engine
@each_reader
def test_the_compliance_checker_finds_nothing(
    tiny_store: Path, tmp_path: Path, group: str, engine: Any
) -> None:
    ALL_READERS[group](tiny_store).to_netcdf(tmp_path / "data.nc", engine=engine)
    assert complaints(tmp_path / "data.nc") == []


def test_the_compliance_checker_finds_something(tiny_store: Path, tmp_path: Path) -> None:
    """The test above would notice: a region as xarray writes it by itself."""
    with xr.open_zarr(tiny_store, group="region", decode_coords="all") as region:
        region.drop_attrs(deep=False).to_netcdf(tmp_path / "data.nc")
    said = " ".join(complaints(tmp_path / "data.nc"))
    assert "'x' must not have the _FillValue" in said
    assert "Conventions field is not present" in said


def test_a_node_of_the_tree_is_what_the_readers_give(tiny_store: Path) -> None:
    tree = open_store(tiny_store)
    for group, reader in READERS.items():
        node = node_of(tree, group)
        expected = reader(tiny_store)
        xr.testing.assert_identical(node.load(), expected.load())
        assert all(node[name].encoding["_FillValue"] is None for name in node.coords)
    root = dict(open_root(tiny_store).attrs)
    assert json.loads(tree.attrs["provenance"]) == root["provenance"]
    assert json.loads(tree.attrs["static"]) == root["static"]
    assert tree.to_dataset().sizes["time"] == 1095


# --- xarray alone ------------------------------------------------------------------------------


def test_xarray_opens_it_without_a_warning(tiny_store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.open_zarr(tiny_store).load()
        xr.open_datatree(tiny_store, engine="zarr").load()
        xr.open_datatree(tiny_store).load()
        tree = xr.open_datatree(tiny_store, engine="zarr", decode_coords="all")
        for group, reader in READERS.items():
            raw = xr.open_zarr(tiny_store, group=group, decode_coords="all")
            ours = reader(tiny_store)
            assert set(raw.variables) == set(ours.variables) - set(TIME)
            if group == "region":
                inherited = tree["region"].to_dataset()
                xr.testing.assert_equal(inherited.load(), ours.drop_vars("time_bnds").load())


# --- what is opened ----------------------------------------------------------------------------


def test_sites_and_outlets(tiny_store: Path) -> None:
    gauges = open_gauges(tiny_store)
    assert list_sites(tiny_store) == sorted(gauges.site_no.values)
    for site in list_sites(tiny_store):
        watershed, gauge = open_watershed(tiny_store, site), gauges.sel(site_no=site)
        assert (gauge.longitude.item(), gauge.latitude.item()) == tuple(watershed.outlet)
        np.testing.assert_array_equal(gauge.discharge, watershed.discharge)
        # the outlet is inside the polygon, or within a pixel of it
        polygon = shapely.from_wkt(watershed.polygon.item())
        assert polygon.distance(shapely.Point(watershed.outlet)) < 0.02


@pytest.mark.parametrize("chunks", [{}, "auto", {"time": -1}, 1095], ids=str)
@each_reader
def test_chunks_are_as_in_xarray(tiny_store: Path, group: str, chunks: Any) -> None:
    reader = ALL_READERS[group]
    plain, lazy = reader(tiny_store), reader(tiny_store, chunks=chunks)
    assert not plain.chunks
    expected = plain.load().drop_vars(["polygon", "site_no"], errors="ignore")
    for name, variable in expected.data_vars.items():
        if variable.ndim and variable.dtype.kind != "T":
            assert isinstance(lazy[name].data, da.Array)
    if "time" in plain.dims:
        steps = int(open_root(tiny_store).attrs["block_steps"])  # type: ignore[arg-type]
        lengths = {"time": steps} if chunks == {} else chunks
        if isinstance(lengths, int):
            lengths = dict.fromkeys(plain.dims, lengths)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            alone = expected.chunk(lengths)
        assert lazy.chunksizes["time"] == alone.chunksizes["time"]
    assert lazy.chunks  # and not that they are inconsistent
    xr.testing.assert_identical(lazy.load(), plain)


def test_blocks_are_dask_chunks(tiny_store: Path) -> None:
    steps = int(open_root(tiny_store).attrs["block_steps"])  # type: ignore[arg-type]
    region = open_region(tiny_store, chunks={})
    assert set(region.chunksizes["time"][:-1]) == {steps}
    assert region.chunksizes["y"] == (region.sizes["y"],)


@pytest.mark.parametrize("reader", [open_region, open_gauges, open_store])
def test_an_unfinished_store_is_refused(stored: World, reader: Reader) -> None:
    unmark(stored.store, 2)
    with pytest.raises(InputError, match=r"1 of 4 blocks are not done"):
        reader(stored.store)


def test_a_store_of_an_older_layout_is_refused(stored: World) -> None:
    set_attributes(stored.store, layout=3)
    with pytest.raises(InputError, match=r"store\.zarr: store layout 3: expected 4"):
        open_region(stored.store)
    result = stored.run()
    assert result.exit_code == 2
    assert "store layout 3: expected 4" in result.stderr
