"""HTTP access to the public services: addresses, rate limits, retries and checks of answers.

A request is retried after 429, 5xx and broken connections, with growing waits or the wait that the
service names. Any other answer that is not the requested file ends the fetch with one line.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass, field
from types import MappingProxyType

import httpx

from pipeline.catalog.fetch import Fetch, ServiceName
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError
from pipeline.retry import pause

LONGEST_RETRY_AFTER = 300.0  # s that a service may name; beyond, the fetch ends
HTML = re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True)
class Defaults:
    """A service's address, minimum time between requests [s], and simultaneous requests."""

    url: str
    pause: float
    connections: int = 1


# AORC and MRMS are in public buckets of the NOAA Open Data Dissemination programme, which need no
# account; PRISM's documentation asks for single requests with pauses and refuses a third download
# of a file within a day; the USGS limits requests by the hour, more generously with a key.
SERVICES = MappingProxyType(
    {
        "aorc": Defaults("https://noaa-nws-aorc-v1-1-1km.s3.amazonaws.com", 0.0, 8),
        "mrms": Defaults("https://noaa-mrms-pds.s3.amazonaws.com", 0.0, 8),
        "mtarchive": Defaults("https://mtarchive.geol.iastate.edu", 0.5),
        "prism": Defaults("https://services.nacse.org/prism/data/get/us/4km", 2.0),
        "waterdata": Defaults("https://api.waterdata.usgs.gov", 1.0),
        "nldi": Defaults("https://api.water.usgs.gov/nldi/linked-data", 1.0),
    }
)


@dataclass
class Service:
    """A service as configured by the catalog and the environment.

    Attributes:
        name: of `SERVICES`.
        url: base address, without a slash at its end.
        pause: minimum time between the starts of two requests [s].
        connections: simultaneous requests.
        retries: retries of a request after a temporary failure.
        timeout: longest wait for an answer [s].
    """

    name: ServiceName
    url: str
    pause: float
    connections: int
    retries: int
    timeout: float
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: float = 0.0  # time.monotonic() at which the next request may start
    _client: httpx.Client | None = None

    @classmethod
    def of(cls, catalog: Catalog, fetch: Fetch, name: ServiceName) -> Service:
        """Configure a service from $DOMST_FETCH_<NAME>_URL, else the catalog, else `SERVICES`.

        Raises:
            InputError: the variable is no http address.
        """
        default, settings = SERVICES[name], fetch.services.get(name)
        variable = f"DOMST_FETCH_{name.upper()}_URL"
        url = os.environ.get(variable) or (settings and settings.url) or default.url
        if not re.match(r"https?://[^/]", url):
            raise InputError(f"{variable}: {url!r}: expected an http or https address")
        return cls(
            name,
            url.rstrip("/"),
            default.pause if settings is None or settings.pause is None else settings.pause,
            (settings and settings.connections) or default.connections,
            fetch.retries,
            fetch.timeout,
        )

    def stop(self) -> None:
        """Start no further request; those in progress end."""
        self._stopped.set()

    def take_turn(self) -> None:
        """Wait until the next request may start.

        Raises:
            RunError: the fetch has been stopped.
        """
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self.pause
        self._wait(start - time.monotonic())

    def get(self, url: str) -> bytes | None:
        """The body of an answer, or None where the service says that there is no such file (404).

        Raises:
            RunError: the service refuses, keeps failing, or answers with an HTML page.
        """
        answer = self._request("GET", url)
        if answer is None:
            return None
        headers, content = answer
        if headers.get("Content-Type", "").startswith("text/html") or HTML.match(content):
            raise RunError(
                f"{self.name}: {url}: answered with an HTML page ({excerpt(content)}): "
                "expected a file"
            )
        return content

    def size(self, url: str) -> int | None:
        """Size of a file [bytes], if the service states it."""
        answer = self._request("HEAD", url)
        length = answer[0].get("Content-Length") if answer else None
        return int(length) if length else None

    def _request(self, method: str, url: str) -> tuple[httpx.Headers, bytes] | None:
        """Request with retries; headers and content of status 200, None for 404."""
        problem = ""
        for attempt in range(self.retries + 1):
            self.take_turn()
            named: float | None = None  # wait that the service names [s]
            try:
                status, headers, content = self._read(method, url)
            except (httpx.TransportError, httpx.DecodingError) as error:
                problem = f"no whole answer ({str(error) or type(error).__name__})"
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise RunError(f"{self.name}: {url}: {error}: expected a file") from error
            else:
                if status == 200:
                    return headers, content
                if status == 404:
                    return None
                problem = f"HTTP {status} ({excerpt(content)})"
                if status != 429 and status < 500:
                    raise RunError(f"{self.name}: {url}: {problem}: expected a file")
                named = _seconds(headers.get("Retry-After"))
            if named is not None and named > LONGEST_RETRY_AFTER:
                raise RunError(f"{self.name}: {url}: {problem}, to be repeated in {named:.0f} s")
            if attempt < self.retries:
                self._wait(pause(attempt) if named is None else named)
        raise RunError(f"{self.name}: {url}: {problem}, asked {self.retries + 1} times")

    def _read(self, method: str, url: str) -> tuple[int, httpx.Headers, bytes]:
        """Send one request. A .gz stays packed, although some servers declare it an encoding."""
        with self._session().stream(method, url) as answer:
            if url.endswith(".gz"):
                return answer.status_code, answer.headers, b"".join(answer.iter_raw())
            return answer.status_code, answer.headers, answer.read()

    def _session(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                agent = {"User-Agent": "dom-st"}
                self._client = httpx.Client(
                    headers=agent, timeout=self.timeout, follow_redirects=True
                )
            return self._client

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(max(seconds, 0.0)):
            raise RunError(f"{self.name}: stopped")


def excerpt(content: bytes) -> str:
    """The first words of an answer, for messages."""
    text = re.sub(r"<[^>]*>", " ", content[:2000].decode("utf-8", "replace"))
    return " ".join(text.split())[:120] or "empty"


def _seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is ignored."""
    return float(value) if value and re.fullmatch(r"\d{1,6}", value.strip()) else None
