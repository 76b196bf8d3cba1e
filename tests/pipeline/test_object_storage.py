"""Rasters and stores on S3, emulated by a local moto server.

The store equals the one in a folder, a run resumes wherever the connection was cut, and each
refusal is one line.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import s3fs
import xarray as xr
import yaml
from botocore.exceptions import EndpointConnectionError
from distributed import Client

from pipeline.catalog.models import load_catalog
from pipeline.check.checks import check_store
from pipeline.errors import InputError, RunError
from pipeline.rasters.series import open_series
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import list_sites, open_gauges, open_region, open_watershed
from tests.pipeline.handmade import World, assert_same_data, write_raster
from tests.pipeline.rasters.test_drivers import RAIN, grib, series_of
from tests.pipeline.rasters.test_file_list import LAYOUTS, Archive, follow
from tests.pipeline.s3_server import s3_server
from tests.pipeline.stores import contents
from tests.pipeline.test_command_line import require_one_line

BUCKET = "domst"
RASTERS = f"s3://{BUCKET}/raw/rain_{{time:%Y%m%d}}.tif"
STORE = f"s3://{BUCKET}/out/store.zarr"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server in a process of its own."""
    with s3_server() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def s3(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[s3fs.S3FileSystem]:
    """The server with one empty bucket, and the environment that a shell would export."""
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    post(f"{address}/moto-api/reset")
    forget_environment()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir(BUCKET)
    yield system
    forget_environment()


OLD_SYSTEMS: list[object] = []  # their connections must not be closed in another event loop


def forget_environment() -> None:
    """Drop cached file systems, which hold the environment of their first use."""
    OLD_SYSTEMS.extend(s3fs.S3FileSystem._cache.values())
    s3fs.S3FileSystem.clear_instance_cache()


def post(url: str, body: bytes = b"") -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


class Web:
    """A web server with files by range requests, and without listings."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = 0
        self.fails = False
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = answers.files.get(self.path)
                if answers.fails or content is None:
                    self.send_error(503 if answers.fails else 404)
                    return
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                part = content
                if asked:
                    answers.ranges += 1
                    first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
                    part = content[first : last + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(part)))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", hashlib.sha256(content).hexdigest())
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(part)

            do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/raw"

    def serve(self, path: Path) -> None:
        self.files[f"/raw/{path.name}"] = path.read_bytes()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def remote(world: World, s3: s3fs.S3FileSystem) -> World:
    """The hand-made world, its rasters on S3 as well."""
    s3.put([str(world.raster(day)) for day in range(12)], f"{BUCKET}/raw/")
    return world


def describe(world: World, **source: object) -> None:
    """Have the rain come from elsewhere."""
    known = {"driver": "geotiff", "files": RASTERS, "units": "mm"}
    world.edit(forcings={"precipitation": known | source})


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def objects(s3: s3fs.S3FileSystem, url: str) -> dict[str, bytes]:
    """Every object of a store."""
    root = url.removeprefix("s3://")
    return {name[len(root) + 1 :]: content for name, content in s3.cat(s3.find(root)).items()}


def of_the_run(key: str) -> bool:
    """Whether an object differs by the catalog's text, the raw files' times or the clock."""
    return key == "zarr.json" or (key.startswith("progress/") and "/c/" in key)


def test_rasters_and_store_on_s3_make_the_same_store(
    remote: World, s3: s3fs.S3FileSystem, tmp_path: Path
):
    assert remote.run().exit_code == 0
    local = contents(remote.store)
    describe(remote)
    with make_client(processes=True, workers=2) as processes:  # they receive only the URL
        report = run(load_catalog(remote.catalog), STORE, processes)
    assert report.files == 12
    found = objects(s3, STORE)
    assert found.keys() == local.keys()
    for key in found.keys() - set(filter(of_the_run, found)):
        assert found[key] == local[key], key
    assert list_sites(STORE) == list_sites(remote.store)
    assert_same_data(open_region(STORE), open_region(remote.store))
    assert_same_data(open_gauges(STORE), open_gauges(remote.store))
    for site in list_sites(STORE):
        assert_same_data(open_watershed(STORE, site), open_watershed(remote.store, site))
    again = remote.command("run", remote.catalog, "--store", f"{STORE}/")
    assert "nothing to do" in again.output
    planned = remote.command("plan", remote.catalog, "--store", STORE)
    assert f"{STORE}: finished" in planned.output
    checked = remote.command("check", STORE)
    assert checked.exit_code == 0, checked.output
    assert "FAIL" not in checked.output
    assert "raw files are not compared" not in checked.output


class Cut:
    """A connection that fails for good after some number of changes of the bucket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = self.made = 0
        call = s3fs.S3FileSystem._call_s3

        async def watched(system, method, *arguments, **settings):
            if method.startswith(("put_", "delete_")):
                self.left -= 1
            if self.left < 0:
                raise EndpointConnectionError(endpoint_url="http://cut.off")
            self.made += method.startswith(("put_", "delete_"))
            return await call(system, method, *arguments, **settings)

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", watched)
        monkeypatch.setattr("pipeline.retry.FIRST_WAIT", 0.001)  # or each try waits for longer


def test_cut_off_anywhere_and_resumed_it_is_the_same_store(
    remote: World, s3: s3fs.S3FileSystem, client: Client, monkeypatch: pytest.MonkeyPatch
):
    describe(remote)
    catalog = load_catalog(remote.catalog)
    cut = Cut(monkeypatch)
    cut.left = 1000
    run(catalog, STORE, client)
    whole, changes = objects(s3, STORE), cut.made
    for after in {0, 1, *range(30, changes - 2, 25), changes - 2}:  # the last ends the lease
        cut.left = 1000
        s3.rm(STORE, recursive=True)
        cut.left = after
        with pytest.raises(RunError, match=r"not reached .* the same command continues"):
            run(catalog, STORE, client)
        cut.left = 1000
        if s3.exists(f"{STORE}/zarr.json"):
            assert "FAIL" in [check.status for check in check_store(STORE)], after
        else:
            with pytest.raises(InputError, match="holds no store"):
                check_store(STORE)
        run(catalog, STORE, client)
        found = objects(s3, STORE)
        assert found.keys() == whole.keys(), after
        assert all(found[key] == whole[key] for key in found if key != "zarr.json"), after


def test_a_block_repeats_what_failed_for_a_moment(
    remote: World, s3: s3fs.S3FileSystem, client: Client, monkeypatch: pytest.MonkeyPatch, caplog
):
    """Three writes and three reads in a row fail; the store is the same, and the raster is not set
    aside."""
    describe(remote)
    catalog = load_catalog(remote.catalog)
    run(catalog, STORE, client)
    whole = objects(s3, STORE)
    s3.rm(STORE, recursive=True)
    call, failures = s3fs.S3FileSystem._call_s3, [3]

    async def unsteady(system, method, *arguments, **settings):
        if method == "put_object" and "region/precipitation/c/" in settings.get("Key", ""):
            failures[0] -= 1
            if failures[0] >= 0:
                raise EndpointConnectionError(endpoint_url="http://busy")
        return await call(system, method, *arguments, **settings)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", unsteady)
    monkeypatch.setattr("pipeline.retry.FIRST_WAIT", 0.001)
    report = run(catalog, STORE, client, keep_going=True)
    assert failures[0] < 0
    assert "try 2 of 8" in caplog.text
    assert report.unreadable == []
    found = objects(s3, STORE)
    assert all(found[key] == whole[key] for key in whole if key != "zarr.json")


def set_end(world: World, end: str) -> None:
    world.edit(period={"step": "day", "start": "2020-01-01", "end": end})


def test_a_store_on_s3_grows(
    remote: World, s3: s3fs.S3FileSystem, client: Client, monkeypatch: pytest.MonkeyPatch
):
    """Only the new blocks are done; cut off anywhere it is not read, and then grown to its end."""
    describe(remote)
    set_end(remote, "2020-01-07")
    run(load_catalog(remote.catalog), STORE, client)
    short = objects(s3, STORE)
    set_end(remote, "2020-01-13")
    assert "2 of 4 blocks" in remote.command("plan", remote.catalog, "--store", STORE).output
    cut = Cut(monkeypatch)
    cut.left = 1000
    whole = f"s3://{BUCKET}/out/whole.zarr"
    run(load_catalog(remote.catalog), whole, client)
    expected = objects(s3, whole)
    cut.made = 0
    report = run(load_catalog(remote.catalog), STORE, client)
    changes = cut.made
    assert {block.name for block in report.blocks} == {"2020-01-07", "2020-01-10"}
    assert_same_data(open_region(STORE), open_region(whole))
    for after in (1, changes // 2, changes - 2):
        cut.left = 1000
        s3.rm(STORE, recursive=True)
        s3.pipe({f"{STORE}/{key}": content for key, content in short.items()})
        cut.left = after
        with pytest.raises(RunError, match="the same command continues"):
            run(load_catalog(remote.catalog), STORE, client)
        cut.left = 1000
        if after > 1:  # else there is a lease, and nothing has changed
            with pytest.raises(InputError, match=r"not written yet|are not done"):
                open_region(STORE)
        run(load_catalog(remote.catalog), STORE, client)
        found = objects(s3, STORE)
        assert found.keys() == expected.keys(), after
        for key in found.keys() - {"zarr.json"}:  # which has the time of creation
            assert found[key] == expected[key], (after, key)


def test_a_changed_object_is_noticed(remote: World, s3: s3fs.S3FileSystem, client: Client, caplog):
    describe(remote)
    run(load_catalog(remote.catalog), STORE, client)
    write_raster(remote.raster(7), remote.rain[7] + 100)
    s3.put(str(remote.raster(7)), f"{BUCKET}/raw/")
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(remote.catalog), STORE, client)
    assert [block.name for block in report.blocks] == ["2020-01-07"]
    assert "1 of 4 blocks were made from has changed, the first from 2020-01-07" in caplog.text
    assert float(open_region(STORE).precipitation[7].min()) > 99


def test_versions_of_objects_by_content(remote: World, s3: s3fs.S3FileSystem, client: Client):
    describe(remote)
    remote.edit(versions="content")
    run(load_catalog(remote.catalog), STORE, client)
    s3.put(str(remote.raster(3)), f"{BUCKET}/raw/")  # the same, later
    assert not run(load_catalog(remote.catalog), STORE, client).blocks
    write_raster(remote.raster(7), remote.rain[7] + 100)
    s3.put(str(remote.raster(7)), f"{BUCKET}/raw/")
    report = run(load_catalog(remote.catalog), STORE, client)
    assert [block.name for block in report.blocks] == ["2020-01-07"]


def test_damage_is_found(remote: World, s3: s3fs.S3FileSystem, client: Client):
    describe(remote)
    run(load_catalog(remote.catalog), STORE, client)
    root = STORE.removeprefix("s3://")
    s3.rm_file(f"{root}/region/cell_area/c/0/0")
    s3.pipe_file(f"{root}/region/precipitation/c/1/0/0", b"damaged")
    require_one_line(remote.command("check", STORE), 1, STORE, "static", "readable")


def test_zarr_below_a_root_that_is_a_url(remote: World, s3: s3fs.S3FileSystem, client: Client):
    """Other inputs have local paths."""
    run(load_catalog(remote.catalog), remote.store, client)
    data = rain_of(remote)
    data.to_zarr(f"s3://{BUCKET}/raw/rain.zarr", zarr_format=3, consolidated=False)
    settings = yaml.safe_load(remote.catalog.read_text())
    settings["gauges"]["files"] = str(remote.folder / "discharge.csv")
    settings["watersheds"]["file"] = str(remote.folder / "basins.geojson")
    remote.edit(**settings, root=f"s3://{BUCKET}/raw/")
    describe(remote, driver="zarr", files="rain.zarr", variable="rain")
    run(load_catalog(remote.catalog), STORE, client)
    found, expected = open_region(STORE).load(), open_region(remote.store).load()
    np.testing.assert_allclose(found.precipitation, expected.precipitation, rtol=1e-5)
    np.testing.assert_allclose(found.valid_fraction, expected.valid_fraction, atol=1e-6)
    remote.edit(gauges={"format": "csv", "files": "discharge.csv", "units": "m3/s"})
    require_one_line(remote.run(), 2, f"s3://{BUCKET}/raw/discharge.csv", "expected a path")


@pytest.mark.parametrize(
    ("layout", "by_content"),
    [("2", True), ("3-sharded-consolidated", True), ("3-dot-group", False)],
)
def test_a_zarr_archive_that_grows(tmp_path: Path, layout: str, by_content: bool):
    follow(Archive(f"s3://{BUCKET}/raw/rain.zarr", **LAYOUTS[layout]), tmp_path, by_content)


def rain_of(world: World) -> xr.Dataset:
    edge = (np.arange(12) + 0.5) / 24
    return xr.Dataset(
        {"rain": (("time", "lat", "lon"), world.rain, {"units": "mm"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(12) * np.timedelta64(1, "D"),
            "lat": ("lat", 42.5 - edge, {"units": "degrees_north"}),
            "lon": ("lon", -93.0 + edge, {"units": "degrees_east"}),
        },
    )


def write_netcdf(world: World) -> list[Path]:
    """The world's rain, six days a file, packed and in chunks."""
    data = rain_of(world)
    packed = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1, "chunksizes": (1, 5, 5)}
    paths = []
    for first in (0, 6):
        paths.append(world.folder / f"rain_2020010{first + 1}.nc")
        data.isel(time=slice(first, first + 6)).to_netcdf(paths[-1], encoding={"rain": packed})
    return paths


@pytest.mark.parametrize(("where", "zarr_format"), [("s3", 2), ("s3", 3), ("web", 2)])
def test_zarr_stores_with_a_time_in_their_urls(
    remote: World, s3: s3fs.S3FileSystem, web: Web, client: Client, where: str, zarr_format: int
):
    """Two stores, of six days each, as AORC has one a year."""
    assert remote.run().exit_code == 0
    for first in (0, 6):
        folder = remote.folder / "stores" / f"rain_2020010{first + 1}.zarr"
        part = rain_of(remote).isel(time=slice(first, first + 6))
        part.to_zarr(folder, zarr_format=zarr_format, consolidated=zarr_format == 2)
        for path in folder.rglob("*"):
            if path.is_file():
                name = path.relative_to(folder.parent).as_posix()
                s3.pipe_file(f"{BUCKET}/stores/{name}", path.read_bytes())
                web.files[f"/raw/{name}"] = path.read_bytes()
    folder_url = web.url if where == "web" else f"s3://{BUCKET}/stores"
    files = f"{folder_url}/rain_{{time:%Y%m%d}}.zarr"
    describe(remote, driver="zarr", variable="rain", times="file", files=files)
    store = remote.folder / "remote.zarr"
    report = run(load_catalog(remote.catalog), store, client)
    assert report.files == 12
    for name in ("precipitation", "valid_fraction"):
        np.testing.assert_array_equal(open_region(store)[name], open_region(remote.store)[name])
    assert not run(load_catalog(remote.catalog), store, client).blocks


NETCDF = {"driver": "netcdf", "variable": "rain", "times": "file"}


def test_netcdf_on_s3(remote: World, s3: s3fs.S3FileSystem, client: Client):
    for path in write_netcdf(remote):
        s3.put(str(path), f"{BUCKET}/raw/")
    describe(remote, **NETCDF, files="rain_{time:%Y%m%d}.nc")
    assert remote.run().exit_code == 0
    local = contents(remote.store)
    describe(remote, **NETCDF, files=f"s3://{BUCKET}/raw/rain_{{time:%Y%m%d}}.nc")
    report = run(load_catalog(remote.catalog), STORE, client)
    assert report.files == 12
    found = objects(s3, STORE)
    assert found.keys() == local.keys()
    for key in found.keys() - set(filter(of_the_run, found)):
        assert found[key] == local[key], key
    checked = remote.command("check", STORE)
    assert checked.exit_code == 0, checked.output
    assert "raw files are not compared" not in checked.output


def test_netcdf_of_a_web_server(remote: World, web: Web, client: Client, caplog):
    """Files of the period are requested one by one, and their windows by range."""
    paths = write_netcdf(remote)
    for path in paths:
        web.serve(path)
    describe(remote, **NETCDF, files="rain_{time:%Y%m%d}.nc")
    run(load_catalog(remote.catalog), remote.store, client)
    describe(remote, **NETCDF, files=f"{web.url}/rain_{{time:%Y%m%d}}.nc")
    store = remote.folder / "web.zarr"
    run(load_catalog(remote.catalog), store, client)
    assert_same_data(open_region(store), open_region(remote.store))
    assert web.ranges
    assert run(load_catalog(remote.catalog), store, client).blocks == []
    with xr.open_dataset(paths[1]) as old:
        changed = (old.load() + 1).drop_encoding()
    changed.rain.attrs["units"] = "mm"
    changed.to_netcdf(paths[1])
    web.serve(paths[1])
    with caplog.at_level(logging.WARNING):
        report = run(load_catalog(remote.catalog), store, client)
    assert {block.name for block in report.blocks} == {"2020-01-07", "2020-01-10"}
    assert "2 of 4 blocks were made from has changed" in caplog.text
    web.files.clear()
    require_one_line(
        remote.command("run", remote.catalog, "--store", store), 2, "no file matches", web.url
    )
    web.fails = True
    require_one_line(
        remote.command("run", remote.catalog, "--store", store), 1, "not reached", web.url
    )


def test_a_web_server_that_does_not_answer(remote: World):
    describe(remote, **NETCDF, files="http://127.0.0.1:9/rain_{time:%Y%m%d}.nc")
    require_one_line(remote.run(), 1, "http://127.0.0.1:9", "not reached")


def test_a_zipped_raster_on_s3(remote: World, s3: s3fs.S3FileSystem):
    for day in range(12):
        packed = remote.folder / f"rain_202001{day + 1:02d}.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(remote.raster(day), "inside.tif")
        s3.put(str(packed), f"{BUCKET}/zipped/")
    files = f"s3://{BUCKET}/zipped/rain_{{time:%Y%m%d}}.zip"
    describe(remote, driver="gdal", files=files, inside="*.tif")
    series = open_series(load_catalog(remote.catalog), ["precipitation"])
    found = series.read(0, 12, (slice(0, 12), slice(0, 12)))["precipitation"]
    np.testing.assert_array_equal(found, remote.rain)


def test_grib_on_s3(tmp_path: Path, s3: s3fs.S3FileSystem):
    grib(tmp_path / "all.grb2", *((1, hour, np.nan_to_num(RAIN[hour])) for hour in range(4)))
    s3.put(str(tmp_path / "all.grb2"), f"{BUCKET}/raw/")
    found, expected = (
        series_of(tmp_path, driver="grib", variable=None, files=f"{folder}all.grb2")
        for folder in (f"s3://{BUCKET}/raw/", "")
    )
    window = slice(0, 12), slice(0, 10)
    rain = expected.read(0, 4, window)["precipitation"]
    assert rain.any()
    np.testing.assert_array_equal(found.read(0, 4, window)["precipitation"], rain)


REFUSED: dict[str, tuple[Callable[[World], None], tuple[str, ...]]] = {
    "no such bucket": (
        lambda world: describe(world, files=RASTERS.replace(BUCKET, "absent")),
        ("s3://absent/raw", "expected an existing bucket"),
    ),
    "no object matches": (
        lambda world: describe(world, files=RASTERS.replace("rain_", "snow_")),
        ("snow_", "expected one every 1 day"),
    ),
    "classic NetCDF": (
        lambda world: describe(world, driver="netcdf", variable="rain"),
        ("s3://domst/raw/rain_20200101.tif", "expected HDF5 or NetCDF 4", "classic"),
    ),
    "a list of a web server": (
        lambda world: describe(
            world, driver="netcdf", variable="rain", files="http://127.0.0.1:9/rain_*.nc"
        ),
        ("http://127.0.0.1:9/rain_*.nc", "expected no *"),
    ),
    "another service": (
        lambda world: describe(world, files=RASTERS.replace("s3:", "memory:")),
        ("memory://", "not read by the driver geotiff"),
    ),
    "an unknown kind of URL": (
        lambda world: describe(world, files=RASTERS.replace("s3:", "s4:")),
        ("s4://", "expected a path, or a URL"),
    ),
    "credentials in the catalog": (
        lambda world: describe(world, files=RASTERS.replace("//", "//key:secret@")),
        ("expected them in the environment",),
    ),
    "a list of Zarr stores": (
        lambda world: describe(
            world, driver="zarr", variable="rain", files=f"s3://{BUCKET}/raw/rain_*.zarr"
        ),
        ("rain_*.zarr", "expected a URL without *"),
    ),
    "Zarr stores of other years": (
        lambda world: describe(
            world, driver="zarr", variable="rain", files=f"s3://{BUCKET}/raw/{{time:%Y}}.zarr"
        ),
        ("no file matches", "%Y.zarr"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_one_line(remote: World, s3: s3fs.S3FileSystem, what: str):
    spoil, fragments = REFUSED[what]
    spoil(remote)
    result = remote.command("run", remote.catalog, "--store", STORE)
    require_one_line(result, 2, "expected", *fragments)
    assert "secret" not in result.output
    assert not s3.exists(STORE)


def test_a_store_in_no_bucket(remote: World):
    store = "s3://absent/store.zarr"
    require_one_line(
        remote.command("run", remote.catalog, "--store", store),
        2,
        store,
        "expected an existing bucket",
    )
    require_one_line(remote.command("check", store), 2, store, "expected")


def test_what_is_not_a_store_is_left_alone(remote: World, s3: s3fs.S3FileSystem):
    store = f"s3://{BUCKET}/raw"
    result = remote.command("run", remote.catalog, "--store", store)
    require_one_line(result, 2, store, "holds no store")
    assert len(s3.find(store)) == 12


@pytest.mark.parametrize("where", ["rasters", "store"])
def test_without_credentials(remote: World, monkeypatch: pytest.MonkeyPatch, where: str):
    if where == "rasters":
        describe(remote)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    forget_environment()
    result = remote.command("run", remote.catalog, "--store", STORE)
    require_one_line(result, 2, f"s3://{BUCKET}", "redentials", "in the environment")


def test_a_public_bucket_needs_no_credentials(remote: World, s3: s3fs.S3FileSystem):
    describe(remote)
    for name in s3.find(f"{BUCKET}/raw"):
        s3.chmod(name, "public-read")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    environment |= {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}
    environment |= {"AWS_NO_SIGN_REQUEST": "YES", "FSSPEC_S3_ANON": "true"}
    arguments = ["run", str(remote.catalog), "--store", str(remote.store)]
    command = [sys.executable, "-m", "pipeline", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 blocks" in done.stdout
    assert all("no terrain" in line for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("where", ["rasters", "store"])
def test_with_a_wrong_key(remote: World, address: str, where: str):
    if where == "rasters":
        describe(remote)
    forget_environment()
    post(f"{address}/moto-api/reset-auth", b"0")  # from now on keys are looked at
    try:
        result = remote.command("run", remote.catalog, "--store", STORE)
    finally:
        post(f"{address}/moto-api/reset-auth", b"inf")
    require_one_line(result, 2, f"s3://{BUCKET}", "refused", "credentials")


@pytest.mark.parametrize("where", ["rasters", "store"])
def test_without_a_server(remote: World, monkeypatch: pytest.MonkeyPatch, where: str):
    if where == "rasters":
        describe(remote)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_environment()
    result = remote.command("run", remote.catalog, "--store", STORE)
    require_one_line(result, 1, f"s3://{BUCKET}", "not reached")
