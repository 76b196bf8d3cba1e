"""Rasters that are published one file a step: PRISM's days, the hours of MRMS.

PRISM (https://prism.oregonstate.edu/documents/PRISM_downloads_web_service.pdf): a zip a day with a
GeoTIFF in it, by variable and date. MRMS: a gzipped GRIB2 an hour, by product; NOAA's bucket holds
them since October 2020, Iowa State University's mtarchive (https://mtarchive.geol.iastate.edu)
older ones.
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
        step: of time that one file stands for.
        address: below the service's, with {variable} and strftime directives.
        magic: first bytes of each file.
        packed, plain: suffixes of a file as it is published, and as it is unpacked.
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
    """Labels of the intervals of length `step` that make up the period, naive UTC.

    Raises:
        InputError: they are not whole steps, so that the service's files do not fit the period.
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
    """The files of a forcing, and the folder that holds them.

    Raises:
        InputError: the catalog's path is not one that the service's files can go to.
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
            _maker(service, url, series.magic, unpack if suffix == series.plain else None),
            _sizer(service, url) if series.sized else None,
        )
    return folder, list(items.values())


def template_folder(catalog: Catalog, files: str, key: str) -> Path:
    """The deepest folder of a path with a {time:...} field that has no field in its name.

    Raises:
        InputError: there is a * in the path, so that it names no file to be written.
    """
    if "*" in files:
        raise InputError(f"{catalog.path}: {key}: {files!r}: expected a path without *")
    before, _, _ = files.partition("{time:")
    return catalog.resolve(before.rpartition("/")[0] or ".")


def labelled(catalog: Catalog, files: str, label: datetime) -> Path:
    """The path of a time label."""
    return catalog.resolve(TIME_FIELD.sub(lambda field: label.strftime(field[1]), files))


def _maker(
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


def _sizer(service: Service, url: str) -> Callable[[], int | None]:
    return lambda: service.size(url)


def _tif_of_zip(content: bytes) -> bytes:
    """The one GeoTIFF of a zip file; its checksum is compared."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".tif")]
        if len(names) != 1:
            raise ValueError(f"holds {', '.join(archive.namelist()) or 'nothing'}, not one .tif")
        return archive.read(names[0])


def _gunzip(content: bytes) -> bytes:
    return gzip.decompress(content)
