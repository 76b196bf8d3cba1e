"""What is exported: the same numbers as in the store, as NetCDF, Parquet and CSV, or nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner, Result

from pipeline.__main__ import app
from pipeline.errors import InputError
from pipeline.export import basin_means as module
from pipeline.export.basin_means import basin_means, export_basin_means
from pipeline.export.watershed import export_watershed
from pipeline.gauges.flags import FLAGS
from pipeline.store.read import list_sites, open_gauges, open_region, open_watershed
from pipeline.store.root import attributes_of, open_root
from tests.pipeline.store.test_read import complaints
from tests.pipeline.stores import stored_array, unmark

EVERYWHERE, SOMEWHERE = slice(3, 5), slice(200, 210)  # steps of `store` without rain
FORCINGS = ("precipitation", "temperature")
each_suffix = pytest.mark.parametrize("suffix", [".nc", ".parquet", ".csv"])

each_export = pytest.mark.parametrize(
    "what", [["--basin-means"], ["--watershed", "99000002"]], ids=["means", "watershed"]
)


@pytest.fixture(scope="module")
def store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shrunken sample with a sixth of the rain missing, and some steps of whole watersheds."""
    path = tmp_path_factory.mktemp("gaps") / "store.zarr"
    shutil.copytree(tiny_store, path)
    rain = stored_array(path, "region/precipitation")
    values = np.asarray(rain[...])
    values[np.random.default_rng(5).random(values.shape) < 1 / 6] = np.nan
    values[EVERYWHERE] = np.nan
    values[SOMEWHERE, :, : values.shape[2] // 2] = np.nan
    rain[...] = values
    return path


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go through the samples in many parts, as through large stores."""
    monkeypatch.setattr(module, "SITES", 3)  # of 4
    monkeypatch.setattr(module, "ROWS", 2500)  # two sites of 1095 steps
    monkeypatch.setattr(module, "VALUES", 2000)  # a few steps of a block


def export(store: Path, *arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["export", str(store), *map(str, arguments)])


def area_of(watershed: xr.Dataset) -> xr.DataArray:
    return watershed.coverage * watershed.cell_area


# --- basin means -------------------------------------------------------------------------------


def assert_means(means: xr.Dataset, store: Path, site: str) -> None:
    """Assert that the means of a site are those that xarray computes from its clip."""
    mine, watershed = means.sel(site_no=site), open_watershed(store, site).load()
    area = area_of(watershed)
    for name in FORCINGS:
        expected = watershed[name].weighted(area).mean(("y", "x"))
        np.testing.assert_allclose(mine[name], expected, rtol=1e-6, atol=1e-6)
        fraction = "valid_fraction" if name == "precipitation" else f"{name}_valid_fraction"
        valid = watershed[name].notnull().weighted(area).mean(("y", "x"))
        np.testing.assert_allclose(mine[fraction], valid, rtol=1e-6)
    for name in ("discharge", "flag", "runoff"):
        np.testing.assert_array_equal(mine[name], watershed[name])
        assert mine[name].dtype == watershed[name].dtype
    assert mine.drainage_area == watershed.drainage_area_m2
    assert (mine.longitude.item(), mine.latitude.item()) == tuple(watershed.outlet)
    np.testing.assert_array_equal(mine.time_bnds, watershed.time_bnds)


def test_means_are_those_of_xarray(store: Path) -> None:
    means = basin_means(store)
    assert list(means.site_no.values) == list_sites(store)
    for site in list_sites(store):
        assert_means(means, store, site)
    dry = np.isnan(means.precipitation)
    assert dry[:, EVERYWHERE].all()
    assert 0 < dry[:, SOMEWHERE].mean() < 1  # of some watersheds no cell has a value
    assert ((means.valid_fraction > 0) & (means.valid_fraction < 1)).sum() > 3000
    assert means.discharge.isnull().any()
    assert set(means.precipitation.dims) == {"site", "time"}


def test_means_of_some_sites_in_their_order(store: Path) -> None:
    sites = list_sites(store)
    for chosen in ([sites[2], sites[0]], *([site] for site in sites)):
        means = basin_means(store, sites=chosen)
        assert list(means.site_no.values) == chosen
        for site in chosen:
            assert_means(means, store, site)
    with pytest.raises(InputError, match="has no watershed '1'"):
        basin_means(store, sites=["1"])
    with pytest.raises(InputError, match="at least one site"):
        basin_means(store, sites=[])


def test_the_region_is_read_once_block_by_block(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of a block, and no shard is decompressed twice, whatever the watersheds."""
    reads: dict[str, list[tuple[int, int]]] = {}
    read = zarr.Array.__getitem__

    def count(array: zarr.Array, selection: Any) -> Any:
        found = read(array, selection)
        if len(array.shape) == 3:
            steps = selection[0]
            assert np.shape(found)[0] == steps.stop - steps.start
            reads.setdefault(array.path, []).append((steps.start, steps.stop))
        return found

    monkeypatch.setattr(zarr.Array, "__getitem__", count)
    export_basin_means(store, tmp_path / "means.parquet")
    size, steps = int(attributes_of(open_root(store))["block_steps"]), 1095
    blocks = [(start, min(start + size, steps)) for start in range(0, steps, size)]
    assert len(blocks) == 8
    assert reads == {f"region/{name}": blocks for name in FORCINGS}


def test_netcdf_of_means(store: Path, tmp_path: Path) -> None:
    export_basin_means(store, tmp_path / "means.nc")
    with xr.open_dataset(tmp_path / "means.nc", decode_coords="all") as file:
        back = file.set_xindex("site_no").load()
    xr.testing.assert_identical(back, basin_means(store))
    assert back.synthetic == 1
    assert complaints(tmp_path / "means.nc") == []


def test_means_in_memory_become_the_same_netcdf(store: Path, tmp_path: Path) -> None:
    means = basin_means(store)
    means.to_netcdf(tmp_path / "means.nc")
    with xr.open_dataset(tmp_path / "means.nc", decode_coords="all") as back:
        xr.testing.assert_identical(back.set_xindex("site_no").load(), means)
    assert complaints(tmp_path / "means.nc") == []


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with pandas: flags as codes, times without their zone, which is UTC."""
    if path.suffix == ".csv":
        table = pd.read_csv(path, dtype={"site_no": str}, parse_dates=["time"])
    else:
        table = pd.read_parquet(path)
    assert str(table.time.dt.tz) == "UTC"
    table["time"] = table.time.dt.tz_localize(None)
    table["flag"] = [FLAGS[meaning] for meaning in table.flag]
    return table


def assert_tables(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert that tables hold the same rows and columns, floats to the last bit of their type."""
    assert list(table.columns) == list(expected.columns)
    for name in table:
        column, known = table[name].to_numpy(), expected[name].to_numpy()
        np.testing.assert_array_equal(column.astype(known.dtype), known, err_msg=name)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_table_of_means(store: Path, tmp_path: Path, suffix: str) -> None:
    export_basin_means(store, tmp_path / f"means{suffix}")
    means = basin_means(store).drop_vars("drainage_area")
    plain = means.drop_indexes("site_no").reset_coords("site_no").drop_vars("time_bnds")
    expected = plain.to_dataframe(["site", "time"]).reset_index()
    columns = ["site_no", "time", *means.data_vars]
    assert_tables(read_table(tmp_path / f"means{suffix}"), expected[columns])


def test_parquet_says_what_it_holds(store: Path, tmp_path: Path) -> None:
    export_basin_means(store, tmp_path / "means.parquet")
    file = pq.ParquetFile(tmp_path / "means.parquet")
    assert file.num_row_groups == 3  # sites 1 and 2, 3, 4
    schema = file.schema_arrow
    assert schema.field("discharge").metadata[b"units"] == b"m3 s-1"
    assert schema.metadata[b"synthetic"] == b"1"
    # for other programs, a missing value is null and not a number that is none
    rain = file.read().column("precipitation")
    assert rain.null_count == int(basin_means(store).precipitation.isnull().sum()) > 0


# --- one watershed -----------------------------------------------------------------------------


def test_netcdf_of_a_watershed(store: Path, tmp_path: Path) -> None:
    site = list_sites(store)[1]
    export_watershed(store, site, tmp_path / "one.nc")
    with xr.open_dataset(tmp_path / "one.nc", decode_coords="all") as back:
        xr.testing.assert_identical(back.load(), open_watershed(store, site).load())
        assert back.precipitation.encoding["complevel"] == 1
    assert complaints(tmp_path / "one.nc") == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_table_of_a_watershed(store: Path, tmp_path: Path, suffix: str) -> None:
    """A row for each step and cell inside, as xarray makes them."""
    site = list_sites(store)[1]
    export_watershed(store, site, tmp_path / f"one{suffix}")
    table = read_table(tmp_path / f"one{suffix}")
    data = open_watershed(store, site).drop_vars(["time_bnds", "spatial_ref", "polygon"])
    names = {"y": "latitude", "x": "longitude"}
    expected = data.to_dataframe(["time", "y", "x"]).reset_index().rename(columns=names)
    expected = expected[expected.coverage > 0].assign(site_no=site)
    region = open_region(store)
    np.testing.assert_array_equal(region.y.values[table.pop("row")], table.latitude)
    np.testing.assert_array_equal(region.x.values[table.pop("column")], table.longitude)
    assert set(table.columns) == set(expected.columns)
    assert_tables(table, expected[table.columns])


# --- the command -------------------------------------------------------------------------------


@each_suffix
@each_export
def test_the_command(store: Path, tmp_path: Path, what: list[str], suffix: str) -> None:
    out = tmp_path / f"out{suffix.upper()}"
    result = export(store, *what, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: ")
    again = export(store, *what, "--out", out)
    assert again.exit_code == 2
    assert "exists: expected another name, or --force" in again.stderr
    os.truncate(out, 0)
    assert export(store, *what, "--out", out, "--force").exit_code == 0
    assert out.stat().st_size > 0
    assert os.listdir(tmp_path) == [out.name]


REFUSED = {
    "two exports": (["--basin-means", "--watershed", "99000001", "--out", "a.nc"], "either"),
    "no export": (["--out", "a.nc"], "either --watershed SITE or --basin-means"),
    "suffix": (["--basin-means", "--out", "a.xlsx"], r"a\.xlsx: expected a name that ends in \.nc"),
    "no suffix": (["--basin-means", "--out", "a"], "expected a name that ends in"),
    "site": (["--watershed", "1", "--out", "a.nc"], "has no watershed '1': expected one of 99"),
    "folder": (["--basin-means", "--out", "b/a.nc"], "folder b is missing"),
    "not a file": (["--basin-means", "--out", "folder.nc", "--force"], "is a folder"),
    "URL": (["--basin-means", "--out", "memory://a.nc"], "expected a local path"),
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_refusals(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.nc").mkdir()
    assert_refused(export(tiny_store, *arguments[0]), arguments[1])
    assert os.listdir() == ["folder.nc"]


def assert_refused(result: Result, said: str, code: int = 2) -> None:
    """Assert that a command failed with one line."""
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(said, line), line


@each_export
@each_suffix
def test_what_fails_leaves_the_file_alone(
    store: Path, tmp_path: Path, what: list[str], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, broken = tmp_path / f"out{suffix}", tmp_path / "store.zarr"
    out.write_text("before")
    arguments = [*what, "--out", out, "--force"]
    assert_refused(export(tmp_path / "none", *arguments), "holds no store")
    shutil.copytree(store, broken)
    unmark(broken, 6)
    assert_refused(export(broken, *arguments), "1 of 8 blocks are not done")
    shard = store / "region/temperature/c/6/0/0"
    shutil.rmtree(broken)
    shutil.copytree(store, broken)
    damaged = bytearray(shard.read_bytes())
    damaged[10 : len(damaged) // 2] = bytes(len(damaged) // 2 - 10)
    (broken / shard.relative_to(store)).write_bytes(damaged)
    assert_refused(export(broken, *arguments), "region/temperature|store.zarr: .*expected a chunk")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        assert_refused(export(store, *arguments), "not written .*No space left", code=1)
    assert out.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == sorted([out.name, "store.zarr"])


def fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_damaged_record_is_named(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "store.zarr"
    shutil.copytree(store, broken)
    (shard, *_) = (path for path in (broken / "gauges/discharge/c").rglob("*") if path.is_file())
    shard.write_bytes(b"\x00" * shard.stat().st_size)
    result = export(broken, "--basin-means", "--out", tmp_path / "a.nc")
    assert_refused(result, "gauges/discharge: .*expected a chunk")
    assert open_gauges(store).discharge.notnull().any()
