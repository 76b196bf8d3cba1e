"""Certificates for Dask: connections are encrypted, and refused without the certificate.

A Dask scheduler runs whatever code a client sends it. Clusters of this machine get a certificate of
their own in memory; a folder of certificates does the same for schedulers that run elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from distributed.comm.addressing import parse_address
from distributed.comm.core import CommClosedError
from distributed.security import Security

from pipeline.errors import InputError

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
DASK_FILE = "dask.yaml"  # makes `dask scheduler` and `dask worker` use the folder
RENEW = timedelta(days=30)  # certificates that end sooner are made anew; they last a year
ROLES = ("client", "scheduler", "worker")
ELSEWHERE = "--tls FOLDER, or the variables DASK_DISTRIBUTED__COMM__TLS__*"


def read_certificates(folder: Path) -> Security:
    """Return the TLS settings of a folder with ca.pem, cert.pem and key.pem.

    Raises:
        InputError: a file is missing or damaged, or the key does not belong to the certificate.
    """
    files = [folder.absolute() / name for name in (CA, CERTIFICATE, KEY)]
    for file in files:
        if not file.is_file():
            raise InputError(
                f"--tls {folder}: no {file.name}: expected {CA}, {CERTIFICATE} and {KEY}, as "
                f"`domst certificates {folder}` makes them"
            )
    ca, certificate, key = map(str, files)
    roles = {f"tls_{role}_{kind}": file for role in ROLES for kind, file in
             (("cert", certificate), ("key", key))}  # fmt: skip
    security = Security(require_encryption=True, tls_ca_file=ca, **roles)
    try:
        security.get_connection_args("client")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InputError(
            f"--tls {folder}: {error}: expected PEM files, and the key of the certificate"
        ) from error
    return security


def write_certificates(folder: Path) -> bool:
    """Write a certificate, its key and Dask's configuration, where those that exist end soon.

    The certificate is its own authority: whoever has the folder may join the cluster, and nobody
    else. Dask uses the folder where $DASK_CONFIG names it.

    Args:
        folder: made if missing, and readable by its owner alone.

    Returns:
        Whether it was written: False if a certificate is valid for 30 days or more.

    Raises:
        InputError: the certificate that is there cannot be read, or is not a folder's own.
    """
    if (folder / CERTIFICATE).exists():
        if _ends(folder / CERTIFICATE) - datetime.now(UTC) >= RENEW:
            read_certificates(folder)
            return False
        if (folder / CA).read_bytes() != (folder / CERTIFICATE).read_bytes():
            raise InputError(
                f"{folder}: {CERTIFICATE} ends soon and is signed by another authority: expected "
                "one that you renew there"
            )
    made = Security.temporary().get_tls_config_for_role("client")
    where = folder.absolute()
    files = {
        CA: made["ca_file"],
        CERTIFICATE: made["cert"],
        KEY: made["key"],
        DASK_FILE: yaml.safe_dump({"distributed": {"comm": _dask_settings(where)}}),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        new = folder / f".{name}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        new.replace(folder / name)
    return True


def _dask_settings(folder: Path) -> dict[str, object]:
    """Dask's settings `distributed.comm` that use a folder of certificates."""
    pair = {"cert": str(folder / CERTIFICATE), "key": str(folder / KEY)}
    return {
        "default-scheme": "tls",
        "require-encryption": True,
        "tls": {"ca-file": str(folder / CA)} | {role: dict(pair) for role in ROLES},
    }


def _ends(certificate: Path) -> datetime:
    """Until when a certificate is valid."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except ValueError as error:
        raise InputError(f"{certificate}: {error}: expected a certificate in PEM") from error


def require_encrypted(address: str, security: Security) -> None:
    """Refuse an address that does not fit the TLS settings, before a client tries it.

    Raises:
        InputError: tls:// without a certificate, or certificates beside another kind of address.
    """
    encrypted = parse_address(address)[0] == "tls"
    ours = security.get_tls_config_for_role("client")
    if encrypted and not (ours["ca_file"] and ours["cert"]):
        raise InputError(f"scheduler {address}: no certificate: expected {ELSEWHERE}")
    if security.require_encryption and not encrypted:
        raise InputError(
            f"scheduler {address}: not encrypted, and certificates are given: expected tls://"
        )


def refusal(address: str, error: Exception) -> str | None:
    """Why a scheduler that answers cannot be talked to, or None if it did not answer."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not ours ({cause.verify_message}): expected certificates of one "
            "authority here and there"
        )
    plain = isinstance(cause, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(cause)
    # the others are Tornado's, if it speaks first, which nothing with TLS does
    if plain or isinstance(error, ValueError | AssertionError):
        return "it does not speak TLS: expected tcp:// if it has no certificate"
    if not isinstance(error, CommClosedError):
        return None
    if parse_address(address)[0] == "tls":
        return "it refuses our certificate, it seems: expected one of its authority"
    return f"it refuses a connection without TLS, it seems: expected tls:// and {ELSEWHERE}"


def is_exposed(address: str) -> bool:
    """Whether other machines can reach an address of Dask, and need no certificate for it."""
    parts = urlsplit(address)
    if parts.scheme in ("tls", "inproc"):
        return False
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(parts.hostname, None)}
    except OSError:
        return True
    return not all(ipaddress.ip_address(ip.partition("%")[0]).is_loopback for ip in found)
