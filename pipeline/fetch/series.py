"""Fetch rasters that are published as one file per step: daily PRISM, hourly MRMS.

PRISM (https://prism.oregonstate.edu/documents/PRISM_downloads_web_service.pdf): one zip file
per day and variable with a GeoTIFF in it. MRMS: one gzipped GRIB2 file per hour and product, since
October 2020 in NOAA's bucket, earlier at Iowa State University's mtarchive
(https://mtarchive.geol.iastate.edu).
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from pipeline.catalog.models import Catalog
from pipeline.catalog.raster_source import TIME_FIELD
from pipeline.errors import InputError, RunError
from pipeline.fetch.files import Item
from pipeline.fetch.services import Service, excerpt

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Series:
    """How a service publishes a series.

    Attributes:
        step: length of time that one file represents.
        address: relative to the service's, with {variable} and strftime directives.
        magic: first bytes of each file.
        packed, plain: suffixes of the published and the unpacked file.
        sized: whether the service may be asked for a file's size without that counting.
    """

    step: timedelta
    address: str
    magic: bytes
    packed: str
    plain: str
    sized: bool


SERIES = MappingProxyType(
    {
        "prism": Series(DAY, "{variable}/%Y%m%d", b"PK\x03\x04", ".zip", ".tif", sized=False),
        "mrms": Series(
            HOUR,
            "CONUS/{variable}_00.00/%Y%m%d/MRMS_{variable}_00.00_%Y%m%d-%H%M%S.grib2.gz",
            b"\x1f\x8b",
            ".gz",
            ".grib2",
            sized=True,
        ),
        "mtarchive": Series(
            HOUR,
            "%Y/%m/%d/mrms/ncep/{variable}/{variable}_00.00_%Y%m%d-%H%M%S.grib2.gz",
            b"\x1f\x8b",
            ".gz",
            ".grib2",
            sized=True,
        ),
    }
)


def labels(catalog: Catalog, name: str, step: timedelta) -> pd.DatetimeIndex:
    """Labels (naive UTC) of the intervals of length `step` in the period.

    Raises:
        InputError: labels are not whole steps, so the service's files do not fit the period.
    """
    period, time = catalog.period, catalog.forcings[name].time
    starts = pd.date_range(period.start, period.end, freq=step, inclusive="left")
    shift = time.start_of(starts[:1], step)[0] - starts[0]
    found = starts - shift
    if found[0] != found[0].floor(step):
        raise InputError(
            f"{catalog.path}: forcings.{name}.time: the period's first step has the label "
            f"{found[0]}: expected a whole {'day' if step == DAY else 'hour'}, as files are named"
        )
    return found


def plan_series(catalog: Catalog, name: str, service: Service) -> tuple[Path, list[Item]]:
    """Plan the fetch of a forcing that is published as one file per step.

    Returns:
        The folder that holds the files, and the files to fetch.

    Raises:
        InputError: the service's files do not fit the catalog's path.
    """
    assert catalog.fetch is not None
    series, source = SERIES[service.name], catalog.forcings[name]
    variable = catalog.fetch.forcings[name].variable
    suffix = Path(source.files).suffix
    if suffix not in (series.packed, series.plain):
        raise InputError(
            f"{catalog.path}: forcings.{name}.files: {source.files!r}: expected a name that ends "
            f"with {series.packed} or {series.plain}, as {service.name} is fetched"
        )
    folder = template_folder(catalog, source.files, f"forcings.{name}.files")
    unpack = {".zip": _tif_of_zip, ".gz": _gunzip}[series.packed]
    items: dict[Path, Item] = {}
    for label in labels(catalog, name, series.step):
        path = labelled(catalog, source.files, label)
        address = label.strftime(series.address.format(variable=variable))
        url = f"{service.url}/{address}"
        if path in items:
            raise InputError(
                f"{catalog.path}: forcings.{name}.files: {source.files!r}: names {path.name} "
                f"twice: expected one file every {series.step}"
            )
        items[path] = Item(
            path,
            url,
            _download(service, url, series.magic, unpack if suffix == series.plain else None),
            _request_size(service, url) if series.sized else None,
        )
    return folder, list(items.values())


def template_folder(catalog: Catalog, files: str, key: str) -> Path:
    """The folder of a path, up to the component with a {time:...} field.

    Raises:
        InputError: the path has a *, so it names no file to write.
    """
    if "*" in files:
        raise InputError(f"{catalog.path}: {key}: {files!r}: expected a path without *")
    before, _, _ = files.partition("{time:")
    return catalog.resolve(before.rpartition("/")[0] or ".")


def labelled(catalog: Catalog, files: str, label: datetime) -> Path:
    """The path for a time label."""
    return catalog.resolve(TIME_FIELD.sub(lambda field: label.strftime(field[1]), files))


def _download(
    service: Service, url: str, magic: bytes, unpack: Callable[[bytes], bytes] | None
) -> Callable[[], bytes | None]:
    def make() -> bytes | None:
        content = service.get(url)
        if content is None:
            return None
        if not content.startswith(magic):
            raise RunError(
                f"{service.name}: {url}: answered {excerpt(content)!r}: expected a file that "
                f"begins with {magic!r}"
            )
        try:
            return unpack(content) if unpack else content
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise RunError(f"{service.name}: {url}: cannot be unpacked ({error})") from error

    return make


def _request_size(service: Service, url: str) -> Callable[[], int | None]:
    return lambda: service.size(url)


def _tif_of_zip(content: bytes) -> bytes:
    """The only GeoTIFF of a zip file; its checksum is verified."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".tif")]
        if len(names) != 1:
            raise ValueError(f"holds {', '.join(archive.namelist()) or 'nothing'}, not one .tif")
        return archive.read(names[0])


def _gunzip(content: bytes) -> bytes:
    return gzip.decompress(content)
