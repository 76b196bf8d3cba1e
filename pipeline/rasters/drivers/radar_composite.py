"""What a radar composite says of its rasters, and helpers of those who read one."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError

OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}  # by the first bytes


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


def head_of(path: Path, size: int = 512) -> bytes:
    """First bytes of a file, unpacked if it is packed with gzip or bzip2; as it is if damaged."""
    with path.open("rb") as file:
        start = file.read(size)
    for signature, open_packed in OPENERS.items():
        if start.startswith(signature):
            try:
                with open_packed(path, "rb") as packed:
                    return bytes(packed.read(size))
            except (OSError, EOFError, zlib.error):
                return start
    return start


def unpacked(path: Path) -> bytes:
    """Content of a file, unpacked if it is packed with gzip or bzip2."""
    content = path.read_bytes()
    for signature, open_packed in OPENERS.items():
        if content.startswith(signature):
            try:
                with open_packed(path, "rb") as packed:
                    return bytes(packed.read())
            except (EOFError, zlib.error) as error:
                raise OSError(f"damaged or cut: {error}") from error
    return content


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
