"""An S3 server on this machine, emulated by moto, that counts the requests of its clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

COUNTS = "/counts"  # path of the server at which it tells what it counted
KINDS = ("GET", "HEAD", "LIST", "PUT", "POST", "DELETE")
RECEIVED, SENT = "received bytes", "sent bytes"


@dataclass(frozen=True)
class CountedServer:
    """A running server.

    Attributes:
        address: URL.
        environment: of a process that uses it.
    """

    address: str
    environment: dict[str, str]

    def make_bucket(self, name: str) -> None:
        """Create an empty bucket."""
        request = urllib.request.Request(f"{self.address}/{name}", method="PUT")
        with urllib.request.urlopen(request):
            pass

    def counts(self) -> Counter[str]:
        """Requests since the start by `KINDS`, and `RECEIVED` and `SENT`, of bodies of objects."""
        with urllib.request.urlopen(self.address + COUNTS) as answer:
            return Counter(json.load(answer))


@contextmanager
def counted_s3() -> Iterator[CountedServer]:
    """Start a server in a process of its own, and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.counted_s3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a line per request
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        try:
            yield CountedServer(address, environment)
        finally:
            process.stdin.close()  # which ends it


class CountRequests:
    """A WSGI application in front of another, which counts what passes."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNTS:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.counts).encode()]
        kind = kind_of(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"])
        self.add(kind, 1)
        if kind == "PUT":
            sent = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ["CONTENT_LENGTH"]
            self.add(RECEIVED, int(sent or 0))

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if kind == "GET" and status.startswith("2"):
                self.add(SENT, int(dict(headers)["Content-Length"]))
            return start_response(status, headers, *rest)

        answer: Iterable[bytes] = self.application(environ, start)
        return answer

    def add(self, name: str, number: int) -> None:
        with self.lock:
            self.counts[name] += number


def kind_of(method: str, path: str, query: str) -> str:
    """Return which of `KINDS` S3 bills a request as."""
    if method == "GET" and "/" not in path.strip("/"):
        return "LIST"
    if method == "POST" and "delete" in parse_qs(query, keep_blank_values=True):
        return "DELETE"  # of many objects
    return method


def serve() -> None:
    """Print the port, and serve until the end of the standard input."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = CountRequests(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
