"""Open files, objects and members of zip files with GDAL."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, cast

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.session import DummySession

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError, client_errors
from pipeline.storage import Location, file_system

# A GeoTIFF's folder is not listed or searched for sidecar files, which takes longer than the read.
OPTIONS = {
    "geotiff": {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"},
    "grib": {"GRIB_NORMALIZE_UNITS": "NO"},  # keep the file's units, such as kelvins
}
# What Python raises on damaged zip files, or of those that GDAL finds files in and it does not.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError)
CHUNK = 2**20  # bytes
CACHE = {"GDAL_CACHEMAX": 64}  # [MB] of decoded blocks of open files
REMOTE = {  # objects may change: nothing is cached after they are closed
    "CPL_VSIL_CURL_NON_CACHED": "/vsis3/",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",  # [s], then longer
    "GDAL_HTTP_CONNECTTIMEOUT": "30",  # [s]
    "GDAL_HTTP_LOW_SPEED_TIME": "30",  # [s] without a byte; GDAL would wait forever
}
KINDS = {  # GDAL's driver, if known, and the expected content
    "geotiff": ("GTiff", "a GeoTIFF"),
    "grib": ("GRIB", "GRIB messages"),
    "gdal": (None, "a raster that GDAL reads"),
}


def environment(source: RasterSource) -> rasterio.Env:
    """GDAL's settings for a driver, to be entered before `opened`.

    GDAL reads credentials from the environment, but has another name for the endpoint.
    """
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    scheme, _, host = (url or "").rpartition("://")
    endpoint = {
        "AWS_S3_ENDPOINT": host.rstrip("/"),
        "AWS_HTTPS": "NO" if scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    options = {**CACHE, **REMOTE, **(endpoint if url else {}), **OPTIONS.get(source.driver, {})}
    return rasterio.Env(DummySession(), **options)


@contextmanager
def opened(path: Location, source: RasterSource) -> Iterator[DatasetReader]:
    """Open a raster, and attribute GDAL's errors to it while it is open.

    Call it within `environment`: `rasterio.open` would create an environment per file, which takes
    a quarter of the time of opening.

    Raises:
        InputError: the file is not readable, or damaged inside its zip file.
    """
    driver, expected = KINDS[source.driver]
    is_open = False
    try:
        with DatasetReader(gdal_name(path, source), driver=driver) as file:
            is_open = True
            if source.inside is not None:
                _require_intact(path, file.files)
            yield file
    except (RasterioError, UnicodeDecodeError) as error:  # also of what GDAL says
        reason = " ".join(str(error.__cause__ or error).split())
        # GDAL does not say why it cannot read on; at a URL it is the connection, most of the time
        cut = not isinstance(path, Path) and (is_open or "TIFFRead" in reason)
        cause = ConnectionError(reason) if cut else error
        hint = None
        if isinstance(path, Path) and not is_open:
            # they load NetCDF and xarray, which takes longer than a small run
            from pipeline.rasters.drivers import signatures
            from pipeline.rasters.drivers.netcdf_zarr import NETCDF

            with NETCDF:
                hint = signatures.conversion_of(path)
        raise InputError(
            f"{path}: {hint}" if hint else f"{path}: not readable ({reason}): expected {expected}"
        ) from cause


def gdal_name(path: Location, source: RasterSource) -> str:
    """GDAL's name of a file or object, or of the file inside a zip file.

    Raises:
        InputError: it is no zip file, or does not hold exactly one file that matches.
    """
    remote = not isinstance(path, Path)
    name = str(path).replace("s3://", "/vsis3/", 1) if remote else str(path)
    if source.inside is None:
        return name
    with _archive(path) as archive:
        return f"/vsizip/{name}/{_member(path, archive, source.inside)}"


@contextmanager
def _archive(path: Location) -> Iterator[zipfile.ZipFile]:
    try:
        with _binary(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except client_errors(*DAMAGED) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: not readable ({reason}): expected a zip file") from error


def _require_intact(path: Location, names: Sequence[str]) -> None:
    """Read the files of a raster inside a zip file to their checksums.

    GDAL does not compare them: a bit that fell over would become other rain.

    Args:
        names: of GDAL.

    Raises:
        InputError: one is damaged.
    """
    with _archive(path) as archive:
        for name in names:
            with archive.open(_inside(path, name)) as file:
                while file.read(CHUNK):
                    pass


def _member(path: Location, archive: zipfile.ZipFile, pattern: str) -> str:
    """The only file of an archive that matches a pattern."""
    names = archive.namelist()
    found = [name for name in names if fnmatch(name, pattern)]
    if len(found) != 1:
        raise InputError(
            f"{path}: {len(found)} of its {len(names)} files match {pattern!r}: expected one"
        )
    return found[0]


def read_head(path: Location, source: RasterSource, size: int) -> bytes:
    """Read the first bytes of the file that `gdal_name` names."""
    if source.inside is None:
        with _binary(path) as file:
            return file.read(size)
    with _archive(path) as archive, archive.open(_member(path, archive, source.inside)) as file:
        return file.read(size)


@contextmanager
def opened_binary(path: Location, source: RasterSource) -> Iterator[IO[bytes]]:
    """Open the file that `gdal_name` names, as bytes."""
    if source.inside is None:
        with _binary(path) as file:
            yield file
        return
    with _archive(path) as archive, archive.open(_member(path, archive, source.inside)) as file:
        yield file


def read_part(path: Location, source: RasterSource, name: str) -> bytes:
    """Read one of the files of a raster, by GDAL's name."""
    if source.inside is None:
        with _binary(_location(name)) as file:
            return file.read()
    with _archive(path) as archive:
        return archive.read(_inside(path, name))


def part_size(path: Location, source: RasterSource, name: str) -> int:
    """Bytes of one of the files of a raster, by GDAL's name."""
    if source.inside is None:
        with _binary(_location(name)) as file:
            return file.seek(0, os.SEEK_END)
    with _archive(path) as archive:
        return archive.getinfo(_inside(path, name)).file_size


def _location(name: str) -> Location:
    """Where a file is, by GDAL's name."""
    remote = name.startswith("/vsis3/")
    return name.replace("/vsis3/", "s3://", 1) if remote else Path(name)


def _inside(path: Location, name: str) -> str:
    """Name in an archive, by GDAL's name."""
    return name.partition(f"{Path(path).name}/")[2]


def _binary(path: Location) -> IO[bytes]:
    if isinstance(path, Path):
        return path.open("rb")
    system, root = file_system(path)
    return cast(IO[bytes], system.open(root, "rb"))
