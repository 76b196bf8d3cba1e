"""Conservative regridding of lat/lon rasters onto a longitude-latitude grid.

Precipitation is an amount per area, so the value of a cell is the mean over its valid part:

    value_i = sum_j w_ij m_j p_j / sum_j w_ij m_j     m_j = 1 where pixel j is valid, else 0
    valid_i = sum_j w_ij m_j                          w_ij = area(cell i and pixel j) / area(cell i)

Cells and pixels are both bounded by parallels and meridians, so w_ij is the product of a row share
(of the zone's area on the ellipsoid) and a column share (of the longitudes). Both matrices are
banded: the kernel adds up the rows of pixels below a row of cells first, then the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import float32, float64, int64, njit, types, void
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid, zone_area

# Published pixel edges carry rounding (1/24 degree written as 0.041666666667). An overlap narrower
# than this share of a pixel is rounding and counts as none; its area goes to the cell's others.
SLIVER = 1e-7
FULL_TURN = 360.0  # degrees of longitude around the globe

FINITE = np.finfo(np.float32).max  # abs(p) <= FINITE is false for NaN and infinite p

Window = tuple[slice, slice]


def column_parts(window: Window, width: int) -> list[slice]:
    """Columns of a window as slices of a raster `width` wide: two where they cross its seam."""
    columns = window[1]
    seam = min(columns.stop, width)
    parts = [slice(columns.start, seam)]
    if columns.stop > width:
        parts.append(slice(0, columns.stop - width))
    return parts


@dataclass(frozen=True, eq=False)
class Bands:
    """A banded matrix of shares: pixel `start[n] + k` covers the share `weight[n, k]` of cell n.

    Attributes:
        start: int64 (cells,), number of each cell's first pixel in the window.
        weight: float64 (cells, widest range), zero for pixels outside a cell's own range. Each row
            sums to the share of the cell that pixels cover.
        size: number of pixels in the window, at least `start` plus the widest range.
    """

    start: NDArray[np.int64]
    weight: NDArray[np.float64]
    size: int

    def __post_init__(self) -> None:
        cells, widest = self.weight.shape
        assert self.start.shape == (cells,)
        assert widest > 0
        assert (self.start >= 0).all()
        assert (self.start + widest <= self.size).all()
        assert (self.weight >= 0).all()  # false for NaN
        assert (self.weight.sum(axis=1) <= 1 + 1e-9).all()

    @cached_property
    def paired(self) -> NDArray[np.float64]:
        """The weights as shape (4, cells) if each cell starts two pixels after the one before and
        takes at most four, as on a raster of 1/24 degree; otherwise shape (4, 0)."""
        widest = self.weight.shape[1]
        if widest > 4 or (np.diff(self.start) != 2).any():
            return np.empty((4, 0))
        return np.pad(self.weight, ((0, 0), (0, 4 - widest))).T.copy()

    def dense(self) -> NDArray[np.float64]:
        """Return the full matrix, shape (cells, pixels)."""
        matrix = np.zeros((self.start.size, self.size))
        for row, start, weight in zip(matrix, self.start, self.weight, strict=True):
            row[start : start + weight.size] = weight
        return matrix


@dataclass(frozen=True, eq=False)
class SeparableWeights:
    """Weights of the pixels of a lat/lon raster in the cells of a grid, as two banded matrices.

    Attributes:
        window: slices (rows, columns) of the raster that the cells need. Where the grid crosses the
            seam of a global raster, columns continue past the last one: the raster's column is
            `column % width`.
        rows, columns: shares of a cell's area by row and by column of the window.
    """

    window: Window
    rows: Bands
    columns: Bands

    def __post_init__(self) -> None:
        for pixels, bands in zip(self.window, (self.rows, self.columns), strict=True):
            assert pixels == slice(pixels.start, pixels.start + bands.size)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self.rows.start.size, self.columns.start.size

    @property
    def raw_shape(self) -> tuple[int, int]:
        """(rows, columns) of the window."""
        return self.rows.size, self.columns.size

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share of each cell that the raster covers, valid or not, shape (ny, nx)."""
        return np.outer(self.rows.weight.sum(axis=1), self.columns.weight.sum(axis=1))

    def apply(self, raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Regrid a block of steps.

        It uses one thread and releases the GIL: call it from several threads, one block each.

        Args:
            raw: float32 (steps, rows, columns), the raster's `window`; NaN and infinite pixels are
                missing.

        Returns:
            value: float32 (steps, ny, nx), mean over the valid part of each cell, in raw's unit;
                NaN where no part is valid.
            valid_fraction: float32 (steps, ny, nx), 0 to 1.
        """
        assert raw.shape == (raw.shape[0], *self.raw_shape), (raw.shape, self.raw_shape)
        assert raw.dtype == np.float32, raw.dtype
        value = np.empty((raw.shape[0], *self.shape), np.float32)
        valid = np.empty_like(value)
        rows, columns = self.rows, self.columns
        _apply(
            np.ascontiguousarray(raw),
            rows.start,
            rows.weight,
            columns.start,
            columns.weight,
            columns.paired,
            value,
            valid,
        )
        return value, valid


def separable_weights(
    x_edges: NDArray[np.float64], y_edges: NDArray[np.float64], grid: Grid
) -> SeparableWeights:
    """Compute the weights of a lat/lon raster's pixels in the cells of a grid, areas on WGS84.

    Args:
        x_edges: longitudes of the columns' edges [degrees east], width + 1 of them, ascending or
            descending, at most once around the globe, in any range (-180..180, 0..360).
        y_edges: latitudes of the rows' edges [degrees north], height + 1 of them, ascending or
            descending. Pixels that reach past a pole are cut there.
        grid: the target.

    Raises:
        InputError: edges that are not strictly monotonic or not on the globe, or no pixel that
            overlaps the grid.
    """
    x_edges, y_edges = np.asarray(x_edges, np.float64), np.asarray(y_edges, np.float64)
    require_axis("longitudes", x_edges)
    require_axis("latitudes", y_edges)
    if abs(x_edges[-1] - x_edges[0]) > FULL_TURN * (1 + SLIVER):
        raise InputError(
            f"raster longitudes {x_edges[0]:g} to {x_edges[-1]:g}: expected at most 360 degrees"
        )
    if np.abs(y_edges[:-1] + y_edges[1:]).max() > 2 * 90:
        raise InputError(
            f"raster latitudes {y_edges[0]:g} to {y_edges[-1]:g}: expected pixels from -90 to 90"
        )
    pixels_x = _repeat_around_globe(x_edges, grid)
    pixels_y = np.clip(np.stack((y_edges[:-1], y_edges[1:])), -90, 90)
    rows = _overlap(zone_area(pixels_y), zone_area(grid.y_edges))
    columns = _overlap(pixels_x, grid.x_edges)
    if rows is None or columns is None:
        raise InputError(
            f"raster covers longitudes {min(x_edges):.6g} to {max(x_edges):.6g} and latitudes "
            f"{min(y_edges):.6g} to {max(y_edges):.6g}: expected some of the region "
            f"{tuple(round(b, 4) for b in grid.bounds)} (west, south, east, north)"
        )
    (row, row_bands), (column, column_bands) = rows, columns
    width = x_edges.size - 1
    first = column % width
    window = (slice(row, row + row_bands.size), slice(first, first + column_bands.size))
    return SeparableWeights(window, row_bands, column_bands)


def require_axis(name: str, edges: NDArray[np.float64]) -> None:
    """Require strictly monotonic edges.

    Raises:
        InputError: they are not; `name` is their name in the message.
    """
    if edges.ndim != 1 or edges.size < 2:
        raise InputError(f"raster {name} of shape {edges.shape}: expected two or more edges")
    steps = np.diff(edges)
    wrong = np.flatnonzero(~(steps * np.sign(steps[0]) > 0))  # true for NaN
    if wrong.size:
        before, after = edges[wrong[0] : wrong[0] + 2]
        raise InputError(
            f"raster {name} {edges[0]:g} to {edges[-1]:g}, {before:g} followed by {after:g}: "
            "expected strictly ascending or descending edges"
        )


def _repeat_around_globe(x_edges: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Repeat the columns over every turn of the globe that the grid may touch.

    Returns:
        First and last edges, shape (2, pixels); the raster's column is position % width.
    """
    low, high = x_edges.min(), x_edges.max()
    turns = np.arange(
        np.floor((grid.x_edges[0] - high) / FULL_TURN),
        np.ceil((grid.x_edges[-1] - low) / FULL_TURN) + 1,
    )
    if x_edges[0] > x_edges[-1]:
        turns = turns[::-1]
    shifted = np.stack((x_edges[:-1], x_edges[1:]))[:, None, :] + FULL_TURN * turns[None, :, None]
    return shifted.reshape(2, -1)


def _overlap(
    pixels: NDArray[np.float64], cell_edges: NDArray[np.float64]
) -> tuple[int, Bands] | None:
    """Compute the overlaps of cells and pixels along one axis, in coordinates linear in area.

    Args:
        pixels: first and last edge of each pixel, shape (2, pixels), all in one direction.
        cell_edges: edges of the cells, all in one direction, which may be the opposite one.

    Returns:
        The first needed pixel, and the bands, which count from there; None where nothing overlaps.
    """
    forward = bool(pixels[0, 0] < pixels[1, 0])
    low, high = pixels if forward else pixels[::-1, ::-1]
    cell_low = np.minimum(cell_edges[:-1], cell_edges[1:])[:, None]
    cell_high = np.maximum(cell_edges[:-1], cell_edges[1:])[:, None]
    first = np.searchsorted(high, cell_low[:, 0], side="right")
    length = np.maximum(np.searchsorted(low, cell_high[:, 0], side="left") - first, 0)
    at = first[:, None] + np.arange(max(1, length.max()))
    inside = at < (first + length)[:, None]
    at = np.minimum(at, low.size - 1)
    shared = np.where(inside, np.minimum(high[at], cell_high) - np.maximum(low[at], cell_low), 0)
    counted = np.where(shared > SLIVER * (high - low)[at], shared, 0)
    whole, kept = (part.sum(axis=1, keepdims=True) for part in (shared, counted))
    share = counted / (cell_high - cell_low) * (whole / np.where(kept > 0, kept, 1))
    if not share.any():
        return None
    if not forward:
        at = low.size - 1 - at
    return _bands(at, share)


def _bands(at: NDArray[np.int64], share: NDArray[np.float64]) -> tuple[int, Bands]:
    """Build bands from the pixel numbers and shares of each cell, both shape (cells, k)."""
    taken = share > 0
    origin, end = int(at[taken].min()), int(at[taken].max()) + 1
    first = np.where(taken, at, end).min(axis=1)
    last = np.where(taken, at, origin - 1).max(axis=1)
    widest = int((last - first).max()) + 1
    start = np.minimum(first, end - widest) - origin
    weight = np.zeros((at.shape[0], widest))
    cell, k = np.nonzero(taken)
    weight[cell, at[cell, k] - origin - start[cell]] = share[cell, k]
    return origin, Bands(start.astype(np.int64), weight, end - origin)


# Read-only in the signature takes both kinds of array: Dask may hand over either.
_INDEX = types.Array(int64, 1, "C", readonly=True)
_SHARE = types.Array(float64, 2, "C", readonly=True)
_RAW = types.Array(float32, 3, "C", readonly=True)
_OUT = types.Array(float32, 3, "C")
_SIGNATURE = void(_RAW, _INDEX, _SHARE, _INDEX, _SHARE, _SHARE, _OUT, _OUT)


# With a signature, a process compiles, or reads from the cache, when it imports this module and not
# in its first task. `contract` allows fused multiply-add and nothing else. Sums are in float64.
# Loops over contiguous memory are vectorised, so divisions have their own loop; unsigned indices
# need no test for negative ones. `Bands.paired` has its own loop, in which the compiler sees that
# pixels lie two apart and loads them in pairs.
@njit(
    _SIGNATURE,
    nogil=True,
    cache=True,
    fastmath={"contract"},
    error_model="numpy",  # 0 / 0 is NaN, and no exception
)
def _apply(
    raw: NDArray[np.float32],
    row_start: NDArray[np.int64],
    row_share: NDArray[np.float64],
    column_start: NDArray[np.int64],
    column_share: NDArray[np.float64],
    paired_share: NDArray[np.float64],
    value: NDArray[np.float32],
    valid: NDArray[np.float32],
) -> None:
    width = raw.shape[2]
    amount = np.zeros(width + 3)  # sum of share * p over a row of cells, for each column of pixels
    share = np.zeros(width + 3)  # sum of share where p is valid, likewise
    column = column_start.astype(np.uint32)
    total, covered = np.empty(column.size), np.empty(column.size)  # of each cell in the row
    first, paired = column[0], paired_share.shape[1]
    w0, w1, w2, w3 = paired_share[0], paired_share[1], paired_share[2], paired_share[3]
    for t in range(raw.shape[0]):
        for i in range(row_start.size):
            w, pixels = row_share[i, 0], raw[t, row_start[i]]
            for c in range(width):
                p = pixels[c]
                ok = abs(p) <= FINITE  # false for NaN
                amount[c] = w * p if ok else 0.0
                share[c] = w if ok else 0.0
            for r in range(1, row_share.shape[1]):
                w, pixels = row_share[i, r], raw[t, row_start[i] + r]
                if w > 0.0:
                    for c in range(width):
                        p = pixels[c]
                        ok = abs(p) <= FINITE
                        amount[c] += w * p if ok else 0.0
                        share[c] += w if ok else 0.0
            for j in range(paired):
                c = first + np.uint32(2) * np.uint32(j)
                d, e, f = c + np.uint32(1), c + np.uint32(2), c + np.uint32(3)
                a = w0[j] * amount[c] + w1[j] * amount[d] + w2[j] * amount[e] + w3[j] * amount[f]
                s = w0[j] * share[c] + w1[j] * share[d] + w2[j] * share[e] + w3[j] * share[f]
                valid[t, i, j] = s
                value[t, i, j] = a / s
            if paired:
                continue
            for j in range(column.size):
                a, s = 0.0, 0.0
                for k in range(column_share.shape[1]):
                    w, c = column_share[j, k], column[j] + np.uint32(k)
                    a += w * amount[c]
                    s += w * share[c]
                total[j], covered[j] = a, s
            for j in range(column.size):
                valid[t, i, j] = covered[j]
                value[t, i, j] = total[j] / covered[j]
