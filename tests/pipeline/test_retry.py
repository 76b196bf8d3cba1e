"""Retries, against errors that the clients raise themselves: S3's, GDAL's, HTTP's and the disk's.

An S3 server (moto) answers through a proxy that fails as services and networks do.
"""

from __future__ import annotations

import gc
import http.client
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from types import MappingProxyType
from typing import Any, TypeAlias

import h5py
import numpy as np
import pytest
import s3fs
import xarray as xr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from pipeline import retry
from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError, RunError
from pipeline.rasters.drivers import gdal_open
from pipeline.rasters.series import RasterSeries, open_series
from pipeline.retry import TRIES, is_transient, pause, retrying
from pipeline.storage import list_objects, read_files, remove_files, write_objects
from tests.pipeline.handmade import World, make_world, write_raster
from tests.pipeline.s3_server import s3_server
from tests.pipeline.test_object_storage import BUCKET, NETCDF, describe, forget_environment

PIXELS = 600
Window: TypeAlias = tuple[slice, slice]
SetVariables: TypeAlias = Callable[[Mapping[str, str | None]], None]
WINDOW = slice(0, PIXELS), slice(0, PIXELS)
VALUE = default_buffer_prototype().buffer.from_bytes(b"1" * 1000)
XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass(frozen=True)
class Fault:
    """An answer that fails, with the messages of S3; or what a network does."""

    status: int = 0
    body: str = ""
    network: str = ""


PASSING = {
    "slow down": Fault(503, XML.format("SlowDown", "Please reduce your request rate.")),
    "internal error": Fault(
        500, XML.format("InternalError", "We encountered an internal error. Please try again.")
    ),
    "request timeout": Fault(
        400,
        XML.format(
            "RequestTimeout",
            "Your socket connection to the server was not read from or written to within the "
            "timeout period. Idle connections will be closed.",
        ),
    ),
    "no body": Fault(503),
    "a proxy's page": Fault(502, "<html><body>502 Bad Gateway</body></html>"),
    "reset": Fault(network="reset"),
    "cut": Fault(network="cut"),
}
SILENT = Fault(network="silent")
LASTING = {
    "refused": Fault(403, XML.format("AccessDenied", "Access Denied")),
    "no bucket": Fault(404, XML.format("NoSuchBucket", "The specified bucket does not exist")),
    "expired": Fault(400, XML.format("ExpiredToken", "The provided token has expired.")),
    "unknown to s3fs": Fault(400, XML.format("InvalidWhatever", "Not so.")),  # which says EIO
    "full": Fault(507, XML.format("XMinioStorageFull", "Storage backend has reached its limit.")),
}


@dataclass
class Proxy:
    """In front of an S3 server: requests that `matches` names fail, the first `skipped` excepted.

    Attributes:
        left: number of requests that fail.
        hits: number of requests that failed.
        given_up: number of those without an answer that the client waited for in vain.
    """

    port: int
    fault: Fault = field(default_factory=Fault)
    matches: Callable[[str, str], bool] = lambda method, path: False
    skipped: int = 0
    left: int = 0
    hits: int = 0
    given_up: int = 0
    lock: Lock = field(default_factory=Lock)

    def take(self, method: str, path: str) -> Fault | None:
        with self.lock:
            if not self.matches(method, path) or (method == "HEAD" and self.fault.status == 400):
                return None  # the answer to HEAD has no body to say what is bad
            self.skipped -= 1
            if self.skipped >= 0 or self.left <= 0:
                return None
            self.left -= 1
            self.hits += 1
            return self.fault

    def plant(self, fault: Fault, matches: Callable[[str, str], bool], skipped: int, left: int):
        with self.lock:
            self.fault, self.matches, self.skipped = fault, matches, skipped
            self.left, self.hits, self.given_up = left, 0, 0

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> tuple[Any, bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.port)
        kept = {key: value for key, value in headers.items() if key.lower() != "connection"}
        server.request(method, path, body, kept)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        return answer, content


def handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.take(self.command, self.path)
            if fault and fault.status:
                self.send_response(fault.status)
                self.send_header("Content-Length", str(len(fault.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(fault.body.encode())
                return
            if fault and fault.network != "cut":
                self.close_connection = True
                if fault.network == "silent":
                    self.connection.settimeout(20)
                    assert self.connection.recv(1) == b""  # the client gave up
                    proxy.given_up += 1
                    return
                linger = struct.pack("ii", 1, 0)  # a reset and no orderly end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                return
            answer, content = proxy.forward(self.command, self.path, self.headers, body)
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(key, value)
            if answer.getheader("Content-Length") is None:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fault else content)
            self.close_connection = self.close_connection or fault is not None

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # closed above, or by a client that gave up
                return

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                return

    return Handler


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, Proxy]]:
    """Of the proxy."""
    with s3_server() as port:
        proxy = Proxy(port)
        front = ThreadingHTTPServer(("127.0.0.1", 0), handler(proxy))
        thread = Thread(target=front.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{front.server_port}", proxy
        front.shutdown()
        thread.join()
        front.server_close()


@pytest.fixture(scope="module")
def raw(address: tuple[str, Proxy], tmp_path_factory: pytest.TempPathFactory) -> World:
    """The hand-made world with larger rasters, also on S3, in the formats of all drivers."""
    world = make_world(tmp_path_factory.mktemp("world"))
    options = {"client_kwargs": {"endpoint_url": address[0]}, "key": "testing", "secret": "testing"}
    system = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    system.mkdir(BUCKET)
    rain = np.random.default_rng(5).random((2, PIXELS, PIXELS), np.float32)
    edge = (np.arange(PIXELS) + 0.5) / PIXELS / 2
    for day, pixels in enumerate(rain):
        data = xr.Dataset(
            {"rain": (("time", "lat", "lon"), pixels[None], {"units": "mm"})},
            {
                "time": [np.datetime64(f"2020-01-0{day + 1}", "ns")],
                "lat": ("lat", 42.5 - edge, {"units": "degrees_north"}),
                "lon": ("lon", -93.0 + edge, {"units": "degrees_east"}),
            },
        )
        data.to_netcdf(world.folder / "rain.nc", encoding={"rain": {"chunksizes": (1, 100, 100)}})
        system.put(str(world.folder / "rain.nc"), f"{BUCKET}/rain_2020010{day + 1}.nc")
        append = {"append_dim": "time"} if day else {"zarr_format": 3}
        data.to_zarr(world.folder / "rain.zarr", consolidated=False, **append)
        path = world.folder / "rain.tif"
        write_raster(path, pixels, tiled=True, blockxsize=128, blockysize=128)
        system.put(str(path), f"{BUCKET}/rain_2020010{day + 1}.tif")
        small = {"compress": "deflate"}
        write_raster(path, np.full((20, 20), day, np.float32), **small)
        system.put(str(path), f"{BUCKET}/small_2020010{day + 1}.tif")
    system.put(str(world.folder / "rain.zarr"), f"{BUCKET}/rain.zarr", recursive=True)
    return world


@pytest.fixture(scope="module")
def clients(address: tuple[str, Proxy]) -> Iterator[None]:
    """Clients that use the proxy, and give up at once; made once, because that takes a while."""
    environment = {
        "AWS_ENDPOINT_URL": address[0],
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        patch.setitem(gdal_open.REMOTE, "GDAL_HTTP_MAX_RETRY", "0")
        forget_environment()
        yield
        forget_environment()


@pytest.fixture
def proxy(clients: None, address: tuple[str, Proxy], raw: World) -> Iterator[Proxy]:
    """The proxy without a fault."""
    address[1].plant(Fault(), lambda method, path: False, 0, 0)
    yield address[1]
    address[1].plant(Fault(), lambda method, path: False, 0, 0)


@pytest.fixture
def other_clients(clients: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetVariables]:
    """Function that sets variables of the environment, None to remove one, for new clients."""

    def set_variables(variables: Mapping[str, str | None]) -> None:
        for key, value in variables.items():
            if value is None:
                monkeypatch.delenv(key)
            else:
                monkeypatch.setenv(key, value)
        forget_environment()

    yield set_variables
    forget_environment()


def series(raw: World, source: Mapping[str, object]) -> RasterSeries:
    describe(raw, **source)  # the world's rain comes from there
    raw.edit(period={"step": "day", "start": "2020-01-01", "end": "2020-01-03"})
    return open_series(load_catalog(raw.catalog), ["precipitation"])


def read(raw: World, source: Mapping[str, object], window: Window = WINDOW) -> Callable:
    opened = series(raw, source)
    return lambda: opened.read(0, 2, window)["precipitation"].tobytes()


def fenced_set() -> None:
    store = FsspecStore.from_url(f"s3://{BUCKET}/out")
    sync(store.set("x", VALUE))


def url(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


@dataclass(frozen=True)
class Call:
    """What fails: made from the world, in the requests that match, after some of them."""

    make: Callable[[World], Callable]
    matches: Callable[[str, str], bool]
    skipped: int = 0


ZARR = {"driver": "zarr", "variable": "rain"}
SMALL = slice(0, 20), slice(0, 20)
CALLS = MappingProxyType(
    {
        "GeoTIFF, opened": Call(
            lambda raw: read(raw, {"files": url("small_{time:%Y%m%d}.tif")}, SMALL),
            lambda method, path: "small_20200102.tif" in path,
        ),
        "GeoTIFF, read": Call(
            lambda raw: read(raw, {"files": url("rain_{time:%Y%m%d}.tif")}),
            lambda method, path: method == "GET" and "rain_20200102.tif" in path,
            skipped=1,
        ),
        "NetCDF, opened": Call(
            lambda raw: read(raw, {**NETCDF, "files": url("rain_{time:%Y%m%d}.nc")}),
            lambda method, path: "rain_20200102.nc" in path,
        ),
        "NetCDF, read": Call(
            lambda raw: read(raw, {**NETCDF, "files": url("rain_{time:%Y%m%d}.nc")}),
            lambda method, path: method == "GET" and "rain_20200102.nc" in path,
            skipped=1,
        ),
        "Zarr": Call(
            lambda raw: read(raw, {**ZARR, "files": url("rain.zarr")}),
            lambda method, path: method == "GET" and "/rain/c/" in path,
            skipped=1,
        ),
        "list": Call(lambda raw: lambda: sorted(list_objects(url("rain.zarr"))), lambda *_: True),
        "read": Call(
            lambda raw: lambda: read_files(url("rain.zarr"), ["zarr.json"]), lambda *_: True
        ),
        "write": Call(
            lambda raw: lambda: write_objects(url("out"), {"a": b"1", "b": b"2"}),
            lambda method, path: method == "PUT",
        ),
        "Zarr, written": Call(lambda raw: fenced_set, lambda method, path: method == "PUT"),
        "remove": Call(lambda raw: lambda: remove_files(url("out"), ["none"]), lambda *_: True),
    }
)


# ------------------------------------------------------------------ what is repeated


FULLY = ("GeoTIFF, opened", "GeoTIFF, read", "NetCDF, read", "Zarr", "write")  # others in part


@pytest.mark.parametrize(
    ("name", "fault"),
    [(n, f) for n in CALLS for f in PASSING if n in FULLY or f in ("slow down", "reset")],
)
def test_a_passing_failure_is_repeated(proxy: Proxy, raw: World, name: str, fault: str):
    call = CALLS[name]
    made = call.make(raw)
    expected = made()
    waits: list[float] = []
    proxy.plant(PASSING[fault], call.matches, call.skipped, 3)
    assert retrying(made, waits.append) == expected
    assert proxy.hits
    assert waits or PASSING[fault].network  # after which the clients repeat some by themselves
    assert len(waits) <= 3


@pytest.mark.parametrize("name", FULLY)
def test_a_connection_that_falls_silent(
    proxy: Proxy,
    raw: World,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    other_clients: SetVariables,
):
    """On a slow machine the short timeouts may end other requests as well, which does no harm."""
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 2)
    monkeypatch.setitem(gdal_open.REMOTE, "GDAL_HTTP_LOW_SPEED_TIME", "2")
    other_clients({})
    call = CALLS[name]

    def sleep(seconds: float) -> None:
        pass

    made = retrying(lambda: call.make(raw), sleep)
    expected = retrying(made, sleep)
    proxy.plant(SILENT, call.matches, call.skipped, 1)
    assert retrying(made, sleep) == expected
    assert proxy.given_up == proxy.hits == 1


NO_CHUNK = ("Zarr", "no bucket")  # what S3 does not have is a chunk of fill values to Zarr


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (n, f)
        for n in CALLS
        for f in LASTING
        if (n in FULLY or f == "refused") and (n, f) != NO_CHUNK
    ],
)
def test_what_the_user_can_mend_is_not_repeated(proxy: Proxy, raw: World, name: str, fault: str):
    """Where GDAL fails to read on it does not say why, so that the file is opened once more."""
    call = CALLS[name]
    made = call.make(raw)
    made()
    waits: list[float] = []
    proxy.plant(LASTING[fault], call.matches, call.skipped, 1000)
    with pytest.raises((InputError, RunError, OSError)) as failure:
        retrying(made, waits.append)
    assert "tried" not in str(failure.value)
    assert proxy.hits
    assert len(waits) == (name == "GeoTIFF, read")


def test_a_lasting_failure_ends_with_one_line(proxy: Proxy, raw: World, caplog):
    call = CALLS["GeoTIFF, opened"]
    made = call.make(raw)
    waits: list[float] = []
    proxy.plant(PASSING["slow down"], call.matches, 0, 1000)
    with pytest.raises(RunError) as failure, caplog.at_level(logging.WARNING):
        retrying(made, waits.append)
    message = str(failure.value)
    assert message.startswith(f"{url('small_20200102.tif')}: not readable (Please reduce")
    assert message.endswith("(tried 8 times)")
    assert "\n" not in message
    logged = [
        record.getMessage() for record in caplog.records if record.name == "domst.pipeline.retry"
    ]
    assert len(waits) == TRIES - 1 == len(logged)
    assert 60 < sum(waits) < 127
    assert "Please reduce your request rate" in logged[0]
    assert "try 2 of 8 follows in" in logged[0]


def test_pauses_grow_and_differ():
    for attempt in range(12):
        longest = min(60, 2**attempt)
        pauses = [pause(attempt) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


# ------------------------------------------------------------------ other errors


def caught(call: Callable[[], object]) -> Exception:
    """The error of a call."""
    try:
        call()
    except Exception as error:  # noqa: BLE001, whatever it is
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no.such.host.invalid"])
@pytest.mark.parametrize("name", ["list", "write", "GeoTIFF, opened"])
def test_no_server(proxy: Proxy, raw: World, other_clients: SetVariables, name: str, endpoint: str):
    made = CALLS[name].make(raw)
    other_clients({"AWS_ENDPOINT_URL": endpoint})
    assert is_transient(caught(made))


@pytest.fixture
def https(tmp_path: Path) -> Iterator[str]:
    """Address of a server with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    own = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    both = tmp_path / "both.pem"
    both.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["list", "write", "GeoTIFF, opened"])
def test_a_wrong_certificate_is_not_repeated(
    proxy: Proxy, raw: World, https: str, other_clients: SetVariables, name: str
):
    made = CALLS[name].make(raw)
    other_clients({"AWS_ENDPOINT_URL": https})
    error = caught(made)
    assert "ertificate" in str(error)
    assert not is_transient(error)


def test_no_credentials_are_not_repeated(proxy: Proxy, other_clients: SetVariables):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    other_clients({**none, "AWS_SHARED_CREDENTIALS_FILE": "/none"})
    error = caught(lambda: list_objects(url("rain.zarr")))
    assert "redentials" in str(error)
    assert not is_transient(error)


def read_local(path: Path, content: bytes) -> Callable:
    path.write_bytes(content)
    (path.parent / "world").mkdir()
    world = make_world(path.parent / "world")
    window = slice(0, 12), slice(0, 12)
    return read(world, {"files": str(path.parent / "rain_{time:%Y%m%d}.tif")}, window)


def test_a_wrong_file_is_not_repeated(tmp_path: Path, raw: World):
    whole = (raw.folder / "rain" / "rain_20200101.tif").read_bytes()
    (tmp_path / "rain_20200101.tif").write_bytes(whole)
    made = read_local(tmp_path / "rain_20200102.tif", whole)
    for content in (whole[:600], b"text", b""):
        (tmp_path / "rain_20200102.tif").write_bytes(content)
        error = caught(made)
        assert isinstance(error, InputError)
        assert not is_transient(error)


def test_errors_of_the_disk(tmp_path: Path):
    """A full disk stays full, unlike a connection that another program closed."""
    with open("/dev/full", "wb", buffering=0) as full:
        assert not is_transient(caught(lambda: full.write(b"1")))
    assert not is_transient(caught((tmp_path / "none").read_bytes))
    assert not is_transient(caught(tmp_path.read_bytes))
    assert not is_transient(caught(lambda: 1 // 0))
    reading, writing = os.pipe()
    os.close(reading)
    assert is_transient(caught(lambda: os.write(writing, b"1")))
    os.close(writing)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        assert is_transient(caught(server.accept))


def test_causes_of_causes():
    """The innermost error that says something decides; a loop of causes ends."""
    full = OSError(28, "No space left on device")
    outer = RunError("not written")
    outer.__cause__ = full
    assert not is_transient(outer)
    full.__context__ = TimeoutError("before")
    assert is_transient(outer)
    full.__suppress_context__ = True
    assert not is_transient(outer)
    full.__cause__ = outer
    assert not is_transient(outer)


def test_interrupts_pass():
    waits: list[float] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrying(interrupted, waits.append)
    assert waits == []


def test_a_failed_read_leaves_no_objects_of_hdf5(proxy: Proxy, raw: World):
    """If the garbage collector found them later, in fsspec's thread, it would wait forever."""
    call = CALLS["NetCDF, read"]
    made = call.make(raw)
    gc.collect()
    gc.disable()
    try:
        before = held_by_hdf5()
        for _ in range(3):
            proxy.plant(PASSING["slow down"], call.matches, call.skipped, 1)
            waits: list[float] = []
            retrying(made, waits.append)
            assert waits
        assert held_by_hdf5() == before
    finally:
        gc.enable()


def held_by_hdf5() -> int:
    return sum(type(one) in (h5py.Dataset, h5py.File) for one in gc.get_objects())


def test_the_budget(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry, "TRIES", 3)
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise TimeoutError("later")

    with pytest.raises(RunError, match=r"later \(tried 3 times\)"):
        retrying(fail, lambda seconds: None)
    assert len(calls) == 3
