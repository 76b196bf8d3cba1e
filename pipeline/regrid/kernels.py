"""Means over the valid part of cells: a sparse matrix applied to many steps at once.

The cells are cut into tiles of neighbours. For each tile and 16 steps, the pixels that the tile
needs are first copied so that the steps of a pixel lie side by side. The copy stays in the core's
own cache, and an overlap is then loaded once for all of the steps. Missing values are masked, not
branched on, so they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import float32, float64, int32, njit, types, void
from numpy.typing import NDArray

from pipeline.regrid.separable import FINITE
from pipeline.regrid.transpose import SIDE, transpose

STEPS = SIDE  # that are summed together
TILE = 4096  # overlaps in a tile, at most, unless a single cell has more: 256 KiB of pixels

Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tiles:
    """Runs of cells and the pixels that each of them needs, `SIDE` neighbours at a time.

    Attributes:
        cells: int32 (tiles + 1,); tile n holds the cells from cells[n] to cells[n + 1].
        lines: int32 (tiles + 1,); it needs the lines source[lines[n] : lines[n + 1]].
        source: int32, number in the window of each line's first pixel, ascending in a tile.
        local: int32 (overlaps,), number of each overlap's pixel among those of its tile's lines.
    """

    cells: Numbers
    lines: Numbers
    source: Numbers
    local: Numbers


def cut_tiles(start: Numbers, pixel: Numbers, size: int) -> Tiles:
    """Cut a sparse matrix into tiles.

    Args:
        start, pixel: `pixel[start[i] : start[i + 1]]` are those of cell i.
        size: number of pixels that there are, at least `SIDE`.
    """
    cells, count, sources, locals_ = [0], [0], [], []
    while cells[-1] < start.size - 1:
        first = cells[-1]
        last = int(np.searchsorted(start, start[first] + TILE, side="right")) - 1
        last = max(last, first + 1)
        mine = pixel[start[first] : start[last]]
        lines = _lines(np.unique(mine), size)
        line = np.searchsorted(lines, mine, side="right") - 1
        cells.append(last)
        count.append(count[-1] + lines.size)
        sources.append(lines)
        locals_.append(line * SIDE + mine - lines[line])
    return Tiles(
        np.asarray(cells, np.int32),
        np.asarray(count, np.int32),
        np.concatenate(sources).astype(np.int32),
        np.concatenate(locals_).astype(np.int32),
    )


def _lines(needed: Numbers, size: int) -> Numbers:
    """First pixels of lines, none beyond the last of `size`, that hold all that are needed."""
    lines, at = [], 0
    while at < needed.size:
        lines.append(min(int(needed[at]), size - SIDE))
        at = int(np.searchsorted(needed, lines[-1] + SIDE))
    return np.asarray(lines, np.int32)


_INDEX = types.Array(int32, 1, "C", readonly=True)
_WEIGHT = types.Array(float64, 1, "C", readonly=True)
_RAW = types.Array(float32, 2, "C", readonly=True)
_OUT = types.Array(float32, 2, "C")


# Sums are in float64. Four overlaps at a time keep the sums in registers longer; unsigned numbers
# spare a test for negative ones.
@njit(
    void(_RAW, _INDEX, _WEIGHT, _INDEX, _INDEX, _INDEX, _INDEX, _OUT, _OUT),
    nogil=True,
    cache=True,
    fastmath={"contract"},
    error_model="numpy",  # 0 / 0 is NaN, and no exception
)
def cell_means(
    raw: NDArray[np.float32],
    start: Numbers,
    weight: NDArray[np.float64],
    cells: Numbers,
    lines: Numbers,
    source: Numbers,
    local: Numbers,
    value: NDArray[np.float32],
    valid: NDArray[np.float32],
) -> None:
    """Write value and valid fraction of each cell, float32 (steps, cells).

    Args:
        raw: float32 (steps, pixels), NaN or infinite where missing, `SIDE` pixels at least.
        start, weight: the sparse matrix, overlaps `start[i]` to `start[i + 1]` being cell i's.
        cells, lines, source, local: its `Tiles`.
        value, valid: filled here.
    """
    near = np.empty((np.diff(lines).max() * SIDE, STEPS), np.float32)  # the pixels of a tile
    amount, share = np.empty(STEPS), np.empty(STEPS)
    for first in range(0, raw.shape[0], STEPS):
        steps = min(STEPS, raw.shape[0] - first)
        step = np.minimum(np.arange(STEPS), steps - 1) + first  # the last again and again
        for tile in range(cells.size - 1):
            origin = lines[tile]
            for n in range(lines[tile + 1] - origin):
                pixel, row = np.uint32(source[origin + n]), np.uint32(n * SIDE)
                transpose(raw, step, pixel, near, row)
            for cell in range(cells[tile], cells[tile + 1]):
                amount[:] = 0.0
                share[:] = 0.0
                begin, end = start[cell], start[cell + 1]
                rest = end - (end - begin) % 4
                for k in range(begin, rest, 4):
                    wa, wb, wc, wd = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
                    ja, jb = np.uint32(local[k]), np.uint32(local[k + 1])
                    jc, jd = np.uint32(local[k + 2]), np.uint32(local[k + 3])
                    for t in range(STEPS):
                        a, b, c, d = near[ja, t], near[jb, t], near[jc, t], near[jd, t]
                        va, vb = abs(a) <= FINITE, abs(b) <= FINITE  # false for NaN
                        vc, vd = abs(c) <= FINITE, abs(d) <= FINITE
                        amount[t] += ((wa * a if va else 0.0) + (wb * b if vb else 0.0)) + (
                            (wc * c if vc else 0.0) + (wd * d if vd else 0.0)
                        )
                        share[t] += ((wa if va else 0.0) + (wb if vb else 0.0)) + (
                            (wc if vc else 0.0) + (wd if vd else 0.0)
                        )
                for k in range(rest, end):
                    w, j = weight[k], np.uint32(local[k])
                    for t in range(STEPS):
                        p = near[j, t]
                        ok = abs(p) <= FINITE
                        amount[t] += w * p if ok else 0.0
                        share[t] += w if ok else 0.0
                for t in range(steps):
                    valid[first + t, cell] = share[t]
                    value[first + t, cell] = amount[t] / share[t]
