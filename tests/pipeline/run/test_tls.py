"""Connections of Dask: encrypted, and refused to whoever lacks the certificate."""

from __future__ import annotations

import gc
import os
import ssl
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster
from distributed.comm.core import CommClosedError
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.errors import InputError
from pipeline.run import cluster, tls
from pipeline.run.cluster import make_client
from pipeline.run.tls import is_exposed, read_certificates, refusal, write_certificates

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates."""
    folder = tmp_path_factory.mktemp("ours") / "tls"
    assert write_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another authority."""
    folder = tmp_path_factory.mktemp("theirs")
    assert write_certificates(folder)
    return folder


@contextmanager
def running(certificates: Path | None) -> Iterator[str]:
    """The address of a scheduler with one worker, with TLS or without."""
    options = {} if certificates is None else {"security": read_certificates(certificates)}
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, host="127.0.0.1",
        protocol="tcp://" if certificates is None else "tls://",
        dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0", **options,
    ) as own:  # fmt: skip
        yield str(own.scheduler_address)


@pytest.fixture(scope="module")
def encrypted(ours: Path) -> Iterator[str]:
    with running(ours) as address:
        yield address


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with running(None) as address:
        yield address


def collect() -> None:
    """Have done with clients that could not connect: Dask leaves their sockets, and a default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def refused(address: str, folder: Path | None = None) -> str:
    """What a client is told that may not connect; an input error, which exits with 2."""
    with pytest.raises(InputError) as error, make_client(address, tls=folder):
        pass
    collect()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_that_only_its_owner_reads(tmp_path: Path):
    folder = tmp_path / "new" / "tls"
    assert write_certificates(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert files == dict.fromkeys(["ca.pem", "cert.pem", "key.pem", "dask.yaml"], 0o600)


def test_certificates_are_made_anew_when_they_end_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert write_certificates(tmp_path)
    first = (tmp_path / "cert.pem").read_bytes()
    assert not write_certificates(tmp_path)
    assert (tmp_path / "cert.pem").read_bytes() == first
    monkeypatch.setattr(tls, "RENEW", timedelta(days=366))
    assert write_certificates(tmp_path)
    assert (tmp_path / "cert.pem").read_bytes() != first
    (tmp_path / "ca.pem").write_bytes(first)
    with pytest.raises(InputError, match=r"another authority: expected one that you renew"):
        write_certificates(tmp_path)
    (tmp_path / "cert.pem").write_text("nothing")
    with pytest.raises(InputError, match=r"cert\.pem: .*: expected a certificate in PEM"):
        write_certificates(tmp_path)


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_folder_of_certificates_that_is_not_one(
    ours: Path, theirs: Path, tmp_path: Path, name: str
):
    for path in ours.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(InputError, match="expected PEM files"):
        read_certificates(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"no {name}: expected .*`domst certificates"):
        read_certificates(tmp_path)
    (tmp_path / name).write_bytes((theirs / name).read_bytes())
    if name == "ca.pem":
        read_certificates(tmp_path)  # an authority may sign many
    else:
        with pytest.raises(InputError, match=r"key.*: expected PEM files, and the key of"):
            read_certificates(tmp_path)


def test_a_client_with_the_certificate(encrypted: str, ours: Path):
    with make_client(encrypted, tls=ours) as client:
        assert client.submit(os.getpid).result() == os.getpid()


def test_dasks_configuration_in_the_folder_does_the_same(encrypted: str, ours: Path):
    """What Dask's programs read where $DASK_CONFIG names the folder."""
    files = dask.config.collect([str(ours)], env={})
    merged = dask.config.merge(dask.config.get("distributed"), files["distributed"])
    with dask.config.set(distributed=merged):
        with make_client(encrypted) as client:
            assert client.submit(os.getpid).result() == os.getpid()
        with running(ours) as address:
            assert address.startswith("tls://")
        with make_client(workers=1) as client:  # threads, which need no connection
            assert client.scheduler_info()["address"].startswith("inproc://")


def test_a_client_without_the_certificate_is_refused(encrypted: str, theirs: Path):
    assert "no certificate: expected --tls FOLDER" in refused(encrypted)
    assert "its certificate is not ours (self-signed certificate)" in refused(encrypted, theirs)
    without = encrypted.replace("tls://", "tcp://")
    assert "refuses a connection without TLS, it seems: expected tls://" in refused(without)


def test_a_certificate_of_another_authority_is_refused(
    encrypted: str, ours: Path, theirs: Path, tmp_path: Path
):
    """We trust the scheduler, but it does not trust us."""
    for name, folder in {"ca.pem": ours, "cert.pem": theirs, "key.pem": theirs}.items():
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert "refuses our certificate, it seems: expected one of" in refused(encrypted, tmp_path)


def test_a_scheduler_without_tls_is_refused(plain: str, ours: Path):
    assert "certificates are given: expected tls://" in refused(plain, ours)
    assert "it does not speak TLS: expected tcp://" in refused(
        plain.replace("tcp://", "tls://"), ours
    )


def test_processes_of_this_machine_refuse_strangers():
    with make_client(processes=True, workers=1) as client:
        address = client.scheduler_info()["address"]
        (worker,) = client.scheduler_info()["workers"].values()
        assert all(one.startswith("tls://127.0.0.1") for one in (address, worker["nanny"]))
        assert "no certificate" in refused(address)
        assert "without TLS" in refused(address.replace("tls://", "tcp://"))
        assert client.submit(os.getpid).result() != os.getpid()


def test_certificates_without_a_scheduler(ours: Path):
    with pytest.raises(InputError, match="no scheduler is given"), make_client(tls=ours):
        pass


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://127.8.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("tls://10.0.0.5:8786", False),
        ("inproc://10.0.0.5/1/1", False),
        ("tcp://10.0.0.5:8786", True),
        ("tcp://0.0.0.0:8786", True),
        ("tcp://[fd00::5]:8786", True),
        ("tcp://no-such-host.invalid:8786", True),
    ],
)
def test_which_addresses_are_exposed(address: str, exposed: bool):
    assert is_exposed(address) == exposed


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("domst")]


def test_exposure_is_said_in_one_line(
    plain: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with make_client(plain):
        assert not said(caplog)
    monkeypatch.setattr(cluster, "is_exposed", lambda address: address == plain)
    with make_client(plain):
        pass
    (line,) = said(caplog)
    assert line.startswith(f"scheduler {plain}: not encrypted: ")


def closed(cause: Exception | None) -> CommClosedError:
    error = CommClosedError("closed")
    error.__cause__ = cause
    return error


ALERT = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
OTHER = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
EOF = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("tls", closed(ALERT), "it refuses our certificate"),
        ("tls", closed(EOF), "it refuses our certificate"),
        ("tls", closed(None), "it refuses our certificate"),
        ("tls", closed(OTHER), "it does not speak TLS"),
        ("tls", ValueError("IOStream is not idle; cannot convert to SSL"), "it does not speak TLS"),
        ("tls", AssertionError(), "it does not speak TLS"),
        ("tcp", closed(ConnectionResetError()), "it refuses a connection without TLS"),
    ],
)
def test_refusals_as_the_race_of_two_programs_tells_them(kind: str, error: Exception, reason: str):
    assert (refusal(f"{kind}://127.0.0.1:1", error) or "").startswith(reason)
    assert refusal(f"{kind}://127.0.0.1:1", OSError("Timed out")) is None


def test_the_commands_say_so_in_one_line_and_exit_with_2(
    encrypted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = RUNNER.invoke(app, ["certificates", str(tmp_path / "tls")])
    assert (made.exit_code, made.stdout) == (0, f"{tmp_path / 'tls'}: certificates for a year\n")
    again = RUNNER.invoke(app, ["certificates", str(tmp_path / "tls")])
    assert again.stdout.endswith("already finished, nothing to do\n")

    monkeypatch.setattr("pipeline.catalog.models.load_catalog", lambda _: None)
    run = ["run", "any.yaml", "--store", str(tmp_path / "store"), "--scheduler", encrypted]
    for more in ([], ["--tls", str(tmp_path / "tls")]):
        refused = RUNNER.invoke(app, [*run, *more])
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"error: scheduler {encrypted}: ")
    assert not (tmp_path / "store").exists()
    collect()
