"""Read radar composites that follow conventions of their own as datasets after CF.

The rest of the pipeline then reads them as it reads NetCDF: places, times, units and missing values
are what these files say in their own words.
"""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.storage import Location

OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}  # by the first bytes
RADOLAN = re.compile(rb"[A-Z][A-Z0-9]\d{6}\d{5}\d{4}BY")  # product, time, place, date, size
EXPECTED = "ODIM HDF5, KNMI HDF5 or RADOLAN"


@dataclass(frozen=True)
class Composite:
    """What a file says of its rasters, rows from the north.

    Attributes:
        values: float32 (rows, columns) by name, NaN where missing.
        attributes: of each of them, after CF.
        crs: of the plane.
        x, y: middles of columns and rows, in metres, or degrees if the CRS is geographic.
        label: UTC, to which the composite belongs.
        interval: start and end of what the values are sums over; None for instants.
    """

    values: Mapping[str, NDArray[np.float32]]
    attributes: Mapping[str, Mapping[str, str]]
    crs: CRS
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    label: datetime
    interval: tuple[datetime, datetime] | None


def kind_of(path: Path) -> str | None:
    """Which of the known conventions a file follows; None for others.

    Raises:
        OSError: it is not readable.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF"):
        try:
            with netCDF4.Dataset(path) as root:
                if str(getattr(root, "Conventions", "")).startswith("ODIM_H5"):
                    return "ODIM HDF5"
                return "KNMI HDF5" if {"geographic", "image1"} <= root.groups.keys() else None
        except OSError:  # damaged, as whoever reads it says
            return None
    return "RADOLAN" if RADOLAN.match(head_of(path)) else None


def head_of(path: Path, size: int = 512) -> bytes:
    """First bytes of a file, unpacked if it is packed with gzip or bzip2; as it is if damaged."""
    with path.open("rb") as file:
        start = file.read(size)
    for signature, open_packed in OPENERS.items():
        if start.startswith(signature):
            try:
                with open_packed(path, "rb") as packed:
                    return bytes(packed.read(size))
            except (OSError, EOFError):
                return start
    return start


def unpacked(path: Path) -> bytes:
    """Content of a file, unpacked if it is packed with gzip or bzip2."""
    content = path.read_bytes()
    for signature, open_packed in OPENERS.items():
        if content.startswith(signature):
            with open_packed(path, "rb") as packed:
                return bytes(packed.read())
    return content


def as_dataset(path: Location) -> xr.Dataset:
    """Read a radar composite as a dataset after CF, with one time.

    Raises:
        InputError: the file is at a URL, follows none of the conventions, or contradicts itself.
        OSError, KeyError, ValueError: it is damaged.
    """
    from pipeline.rasters.drivers import knmi, odim, radolan

    if not isinstance(path, Path):
        raise InputError(f"{path}: driver radar reads no URLs: expected a path")
    readers = {"ODIM HDF5": odim.read, "KNMI HDF5": knmi.read, "RADOLAN": radolan.read}
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no radar composite that is known: expected {EXPECTED}")
    return _dataset(readers[kind](path))


def _dataset(found: Composite) -> xr.Dataset:
    names = ("lat", "lon") if found.crs.is_geographic else ("y", "x")
    axes: tuple[dict[str, str], ...] = (
        {"standard_name": "projection_y_coordinate", "units": "m"},
        {"standard_name": "projection_x_coordinate", "units": "m"},
    )
    if found.crs.is_geographic:
        axes = {"units": "degrees_north"}, {"units": "degrees_east"}
    variables: dict[str, Any] = {
        name: (
            ("time", *names),
            values[None],
            {**found.attributes[name], "grid_mapping": "crs", "_FillValue": np.float32(np.nan)},
        )
        for name, values in found.values.items()
    }
    variables["crs"] = ((), 0, {"crs_wkt": found.crs.to_wkt()})
    variables["time"] = (("time",), _seconds([found.label]), {"units": SINCE, "bounds": "bounds"})
    if found.interval is not None:
        variables["bounds"] = (("time", "end"), _seconds(found.interval)[None])
    for name, values, attributes in zip(names, (found.y, found.x), axes, strict=True):
        variables[name] = ((name,), values, attributes)
    return xr.Dataset(variables)


SINCE = "seconds since 1970-01-01"


def _seconds(times: Sequence[datetime]) -> NDArray[np.float64]:
    return np.array([(time - datetime(1970, 1, 1)).total_seconds() for time in times])


def require_corners(
    path: Path,
    stated: Mapping[str, tuple[float, float]],
    found: Mapping[str, tuple[float, float]],
    pixel: float,
) -> None:
    """Raise if corners of a raster lie more than half a pixel from where the file puts them.

    Args:
        path: of the file.
        stated, found: x and y of the corners by name.
        pixel: width in the same unit.

    Raises:
        InputError: one does.
    """
    for name, place in stated.items():
        apart = np.hypot(place[0] - found[name][0], place[1] - found[name][1])
        if not apart <= pixel / 2:
            raise InputError(
                f"{path}: its {name} corner is {apart / pixel:.1f} pixels from where its pixel "
                "size and projection put it: expected one place"
            )
