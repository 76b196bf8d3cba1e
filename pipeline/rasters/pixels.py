"""Layout that all rasters of a series share, and windows of their pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import Axes, Curvilinear, Weights
from pipeline.storage import Location


@dataclass(frozen=True, eq=False)
class Layout:
    """The layout that all rasters of a series share.

    Attributes:
        path: the file from which it was read.
        shape: (rows, columns).
        placement: where the pixels lie.
        units: of each forcing as the file states them; empty if it does not.
        chunk: (steps, rows, columns) that are compressed together, and read as a whole.
        itemsize: bytes of a pixel in the file, including bands that are read with it.
        about: names and descriptions of each forcing in the file; empty without any.
        lengths: of the rasters' intervals as the file states them, each once; empty if it does not.
        begins: starts (naive UTC) of the rasters' intervals as the file states them, by position;
            empty if it does not.
        label: time (naive UTC) of the file's only raster as the file states it; None without.
        time: name of the time dimension; None without one.
    """

    path: Location
    shape: tuple[int, int]
    placement: Axes | Curvilinear
    units: tuple[str, ...]
    chunk: tuple[int, int, int]
    itemsize: int
    about: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)
    lengths: tuple[timedelta, ...] = field(default=(), kw_only=True)
    begins: tuple[datetime, ...] = field(default=(), kw_only=True)
    label: datetime | None = field(default=None, kw_only=True)
    time: str | None = field(default=None, kw_only=True)

    def weights(self, grid: Grid) -> Weights:
        """The pixels' shares in the cells of `grid`.

        Raises:
            InputError: the raster and the grid have nothing in common, or the placement is none.
        """
        try:
            return self.placement.weights(grid)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def catalog_crs(source: RasterSource) -> CRS | None:
    """The CRS that the catalog gives; None if it gives none.

    Raises:
        InputError: it is not a CRS.
    """
    if source.crs is None:
        return None
    try:
        return CRS.from_user_input(source.crs)
    except CRSError as error:
        raise InputError(f"crs {source.crs!r}: expected an EPSG code, WKT or PROJ text") from error


def require_packing(
    path: Location, name: str, scale: Any, offset: Any, source: RasterSource
) -> tuple[float, float]:
    """Scale and offset of a file as numbers.

    Args:
        path: of the file.
        name: of what they are given for.
        source: the catalog's description, which may have a scale and an offset of its own.

    Raises:
        InputError: a scale that is 0, or either is not a finite number; both the file and the
            catalog scale.
    """
    found = []
    for value in (scale, offset):
        try:
            found.append(float(np.asarray(value).item()))
        except ValueError:
            found.append(np.nan)
    if not np.isfinite(found).all() or found[0] == 0:
        raise InputError(
            f"{path}: {name} has the scale {scale} and the offset {offset}: expected finite "
            "numbers, and no scale of 0"
        )
    if found != [1.0, 0.0] and (source.scale, source.offset) != (1.0, 0.0):
        raise InputError(
            f"{path}: {name} has the scale {found[0]:g} and the offset {found[1]:g} already: "
            f"expected none in the catalog, which has {source.scale:g} and {source.offset:g}"
        )
    return found[0], found[1]


def decode(
    out: NDArray[np.float32],
    raw: NDArray[Any],
    scale: float,
    offset: float,
    codes: list[float],
) -> None:
    """Scale packed values into `out`, with NaN where they equal one of `codes`.

    Args:
        out: of the shape of `raw`; may be `raw` if there is nothing to scale.
        raw: packed values.
        scale, offset: value = raw * scale + offset.
        codes: packed values that mean missing.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of codes
        if (scale, offset) != (1.0, 0.0):
            out[...] = raw * scale + offset
        elif not np.may_share_memory(out, raw):
            out[...] = raw
    for code in codes:
        if code == code:  # NaN is NaN already
            np.copyto(out, np.nan, where=raw == code)
