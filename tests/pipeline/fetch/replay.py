"""A local server that answers like the public services, and fails on request.

USGS answers are the recorded ones of the real-data folder, or made after them; rasters are small
and generated, in the services' own layouts.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import rasterio
from rasterio.transform import from_origin

SITE, AREA_MI2, NAME = "05427718", 35.8, "YAHARA RIVER AT WINDSOR, WI"
PAGE = b"<!DOCTYPE html><html><body>Down for maintenance</body></html>"
ITEMS = "/ogcapi/v1/collections/{}/items"
DAILY = ITEMS.format("daily")
FIRST, DAYS = date(2025, 12, 20), 6
FLOW = [20.2, 27.1, 26.0, 24.5, 23.0, 22.2, 21.0, 20.5]  # ft3/s, from the day before
BASIN = f"/nldi/nwissite/USGS-{SITE}/basin"


@dataclass(frozen=True)
class Answer:
    """A status, a body and headers; `cut` sends half of the body with its full Content-Length."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Replay:
    """Answers by path. `faults` of a path are sent first, one per request; `broken` always."""

    url: str
    answers: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    broken: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def answer(self, method: str, target: str, sent: dict[str, str]) -> Answer:
        split = urlsplit(target)
        path = split.path
        with self.lock:
            self.asked.append(path)
            self.requests.append((f"{method} {path}", parse_qs(split.query), sent))
            if self.faults.get(path):
                return self.faults[path].pop(0)
        if path in self.broken:
            return self.broken[path]
        if path not in self.answers:
            return Answer(b"no such file", 404)
        kind = "application/json" if self.answers[path][:1] == b"{" else "application/octet-stream"
        headers = {"Content-Type": kind}
        if path.startswith("/mtarchive/"):  # as Apache says of any .gz
            headers["Content-Encoding"] = "gzip"
        return Answer(self.answers[path], headers=headers)

    def count(self, part: str) -> int:
        """Requests whose path holds `part`."""
        return sum(part in path for path in self.asked)


@contextmanager
def serving() -> Iterator[Replay]:
    """A server on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = replay.answer(self.command, self.path, dict(self.headers))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                half = len(answer.body) // 2 if answer.cut else len(answer.body)
                self.wfile.write(answer.body[:half])
            self.close_connection = self.close_connection or answer.cut

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        replay = Replay(f"http://127.0.0.1:{server.server_address[1]}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield replay
        finally:
            server.shutdown()
            thread.join()


def recorded(domst_data: Path) -> dict[str, Any]:
    """The recorded answers of the Water Data API, by collection."""
    folder = domst_data / "gauges" / "waterservices"
    return json.loads((folder / "waterdata_ogc_fixtures.json").read_text())


def serve_usgs(replay: Replay, domst_data: Path, days: list[tuple[date, dict[str, Any]]]) -> None:
    """The recorded site, its recorded basin, and its recorded daily means carried on to `days`,
    each with its own properties."""
    answers = copy.deepcopy(recorded(domst_data))
    daily = answers["daily"]
    first = daily["features"][0]
    assert first["properties"]["monitoring_location_id"] == f"USGS-{SITE}"
    daily["features"] = [
        {
            **first,
            "id": str(number),
            "properties": {**first["properties"], "time": day.isoformat(), **properties},
        }
        for number, (day, properties) in enumerate(days)
    ]
    daily["numberReturned"] = len(days)
    place = answers["monitoring-locations"]["features"][0]
    place["id"] = place["properties"]["id"] = f"USGS-{SITE}"
    place["properties"] |= {
        "monitoring_location_number": SITE,
        "monitoring_location_name": NAME,
        "drainage_area": AREA_MI2,
    }
    answers["monitoring-locations"] |= {"features": [place], "numberReturned": 1}
    for collection in ("daily", "monitoring-locations"):
        replay.answers[ITEMS.format(collection)] = json.dumps(answers[collection]).encode()
    basin = domst_data / "gauges" / "waterservices" / "nldi_get_basin.json"
    replay.answers |= {
        "/nldi/": json.dumps([{"source": "nwissite"}, {"source": "WQP"}]).encode(),
        BASIN: basin.read_bytes(),
    }


def days_from(first: date, values: list[float]) -> list[tuple[date, dict[str, Any]]]:
    """Consecutive days with these daily means."""
    return [(first + timedelta(days=k), {"value": f"{value:g}"}) for k, value in enumerate(values)]


WEST, NORTH, PIXEL = -89.75, 43.25, 1 / 24  # of the generated PRISM rasters


def geotiff(rain: np.ndarray) -> bytes:
    """A float32 (rows, columns) raster [mm] as PRISM's: EPSG:4269, nodata -9999."""
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=rain.shape[0],
            width=rain.shape[1],
            count=1,
            dtype="float32",
            crs="EPSG:4269",
            nodata=-9999.0,
            transform=from_origin(WEST, NORTH, PIXEL, PIXEL),
        ) as file:
            file.write(rain.astype(np.float32), 1)
        return memory.read()


def serve_prism(replay: Replay, first: date, rain: np.ndarray) -> None:
    """A zip a day as PRISM's service sends it; `rain` (days, rows, columns) [mm]."""
    for k, field_of_day in enumerate(rain):
        day = f"{first + timedelta(days=k):%Y%m%d}"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"prism_ppt_us_25m_{day}.tif", geotiff(field_of_day))
            archive.writestr(f"prism_ppt_us_25m_{day}.info.txt", "PRISM_DATASET_TYPE: made up\n")
        replay.answers[f"/prism/ppt/{day}"] = content.getvalue()


def serve_mrms(replay: Replay, product: str, first: date, hours: int) -> dict[str, bytes]:
    """Gzipped hours in the layouts of NOAA's bucket and of mtarchive; their contents by hour."""
    contents = {}
    for hour in range(hours):
        stamp = f"{first:%Y%m%d}-{hour:02d}0000"
        contents[stamp] = b"GRIB" + stamp.encode() * 50
        name = f"{product}_00.00_{stamp}.grib2.gz"
        packed = gzip.compress(contents[stamp])
        replay.answers |= {
            f"/mrms/CONUS/{product}_00.00/{first:%Y%m%d}/MRMS_{name}": packed,
            f"/mtarchive/{first:%Y/%m/%d}/mrms/ncep/{product}/{name}": packed,
        }
    return contents
