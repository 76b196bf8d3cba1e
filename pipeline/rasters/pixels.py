"""Where the pixels of a raster series lie, in any of the ways in which files say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.regrid.separable import SeparableWeights, Window, separable_weights
from pipeline.storage import Location as Location

if TYPE_CHECKING:
    from pyproj import CRS

    from pipeline.regrid.projected import OverlapWeights

Weights: TypeAlias = Union[SeparableWeights, "OverlapWeights"]

REGULAR = 1e-2  # centres off an even spacing by no more than this share of a pixel are rounded


@dataclass(frozen=True, eq=False)
class Axes:
    """Rows and columns along the axes of a reference system.

    Attributes:
        x_edges, y_edges: the columns' and rows' edges in the file's order, either direction; in
            degrees where `crs` is None, else in metres or whatever the CRS counts in.
        crs: a projected reference system; None for longitude and latitude.
    """

    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    crs: CRS | None

    def weights(self, grid: Grid) -> Weights:
        """The pixels' shares in the cells of `grid`."""
        if self.crs is None:
            return separable_weights(self.x_edges, self.y_edges, grid)
        from pipeline.regrid.projected import projected_weights  # most runs start faster without

        return projected_weights(self.x_edges, self.y_edges, self.crs, grid)

    @property
    def span(self) -> str:
        """Extent in words, x then y."""
        x, y = self.x_edges, self.y_edges
        return f"{min(x):.6g}..{max(x):.6g}, {min(y):.6g}..{max(y):.6g}"


@dataclass(frozen=True, eq=False)
class Curvilinear:
    """Pixels of which only the centres are known.

    Attributes:
        latitude, longitude: of the centres [degrees], float64 (rows, columns).
    """

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]

    def weights(self, grid: Grid) -> Weights:
        """The pixels' shares in the cells of `grid`."""
        from pipeline.regrid.projected import curvilinear_weights

        return curvilinear_weights(self.latitude, self.longitude, grid)

    @property
    def span(self) -> str:
        """Extent in words, x then y."""
        x, y = self.longitude, self.latitude
        return f"{x.min():.6g}..{x.max():.6g}, {y.min():.6g}..{y.max():.6g} (centres)"


@dataclass(frozen=True, eq=False)
class Layout:
    """What all rasters of one series have in common.

    Attributes:
        path: the file from which it was read.
        shape: (rows, columns).
        placement: where the pixels lie.
        units: what the file says of each forcing's unit; empty where it says nothing.
        chunk: (steps, rows, columns) that are compressed together, so that one costs all to read.
        itemsize: bytes of a pixel in the file, of all bands that come with it.
        lengths: of time that the file says its rasters stand for, each once; none where it says
            nothing.
        begins: when the file says that its rasters begin, naive UTC, by position; likewise.
    """

    path: Location
    shape: tuple[int, int]
    placement: Axes | Curvilinear
    units: tuple[str, ...]
    chunk: tuple[int, int, int]
    itemsize: int
    lengths: tuple[timedelta, ...] = field(default=(), kw_only=True)
    begins: tuple[datetime, ...] = field(default=(), kw_only=True)

    def weights(self, grid: Grid) -> Weights:
        """The pixels' shares in the cells of `grid`.

        Raises:
            InputError: the raster and the grid have nothing in common, or the placement is none.
        """
        try:
            return self.placement.weights(grid)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def degrees_of(crs: CRS) -> CRS:
    """The longitudes and latitudes that a projection, or a rotated pole, was made from."""
    found = crs.source_crs if crs.is_derived else crs.geodetic_crs
    assert found is not None, crs
    return found


def edges_of(centres: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    """Edges of pixels with these centres, shape (n + 1,): even where the spacing is, else midway.

    Raises:
        InputError: fewer than two centres, or they do not ascend or descend; `what` names them.
    """
    centres = np.asarray(centres, np.float64)
    steps = np.diff(centres)
    if centres.size < 2 or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"{what} {centres}: expected two or more, ascending or descending")
    step = (centres[-1] - centres[0]) / steps.size
    at = np.arange(centres.size)
    if np.abs(centres - (centres[0] + step * at)).max() <= REGULAR * abs(step):
        return centres[0] + step * (np.arange(centres.size + 1) - 0.5)
    middle = (centres[:-1] + centres[1:]) / 2
    ends = centres[0] - steps[0] / 2, centres[-1] + steps[-1] / 2
    return np.concatenate(([ends[0]], middle, [ends[1]]))


def column_parts(window: Window, width: int) -> list[slice]:
    """The window's columns as slices of a raster `width` wide, two where they cross its seam."""
    columns = window[1]
    seam = min(columns.stop, width)
    parts = [slice(columns.start, seam)]
    if columns.stop > width:
        parts.append(slice(0, columns.stop - width))
    return parts


def decode(
    out: NDArray[np.float32],
    raw: NDArray[Any],
    scale: float,
    offset: float,
    codes: list[float],
) -> None:
    """Write the file's numbers to `out` of the same shape: scaled, NaN where one of `codes`.

    `out` may be `raw` where there is nothing to scale.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of codes
        if (scale, offset) != (1.0, 0.0):
            out[...] = raw * scale + offset
        elif not np.may_share_memory(out, raw):
            out[...] = raw
    for code in codes:
        if code == code:  # NaN is NaN already
            np.copyto(out, np.nan, where=raw == code)
