"""Kernel for projected rasters: a sparse matrix applied to many steps at once.

The cells are cut into tiles of neighbours. For each tile and 16 steps, the pixels that the tile
needs are first copied so that the steps of a pixel are contiguous. The copy stays in the core's
cache, and each overlap is then loaded once for all steps. Missing values are masked without a
branch, so they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, float64, int32, int64, njit, types, void
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from pipeline.regrid.separable import FINITE

SIDE = 16  # pixels and steps that are copied together: a cache line of float32
STEPS = SIDE  # that are summed together
TILE = 4096  # most overlaps in a tile, unless a single cell has more: 256 KiB of pixels

Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tiles:
    """Runs of cells, and the pixels that each run needs in lines of `SIDE` neighbours.

    Attributes:
        cells: int32 (tiles + 1,); tile n holds the cells from cells[n] to cells[n + 1].
        lines: int32 (tiles + 1,); tile n needs the lines source[lines[n] : lines[n + 1]].
        source: int32, number of each line's first pixel in the window, ascending in a tile.
        local: int32 (overlaps,), number of each overlap's pixel in the lines of its tile.
    """

    cells: Numbers
    lines: Numbers
    source: Numbers
    local: Numbers


def cut_tiles(start: Numbers, pixel: Numbers, size: int) -> Tiles:
    """Cut a sparse matrix into tiles.

    Args:
        start, pixel: cell i overlaps the pixels `pixel[start[i] : start[i + 1]]`.
        size: number of pixels in the window, at least `SIDE`.
    """
    return Tiles(*_cut_tiles(start, pixel, size, TILE))


_INDEX = types.Array(int32, 1, "C", readonly=True)
_NUMBERS = types.Array(int32, 1, "C")


@njit(types.UniTuple(_NUMBERS, 4)(_INDEX, _INDEX, int64, int64), nogil=True, cache=True)
def _cut_tiles(
    start: Numbers, pixel: Numbers, size: int, most: int
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return the arrays of `Tiles`, with at most `most` overlaps in a tile of several cells."""
    cells, lines = np.zeros(start.size, np.int32), np.zeros(start.size, np.int32)
    source, local = np.empty(pixel.size, np.int32), np.empty(pixel.size, np.int32)
    needed_by = np.zeros(size, np.int32)  # number of the last tile that needs a pixel, from 1
    place = np.empty(size, np.int32)  # of a pixel in the lines of that tile
    tiles = count = last = 0
    while last < start.size - 1:
        begin = start[last]
        last += 1
        while last < start.size - 1 and start[last + 1] - begin <= most:
            last += 1
        tiles += 1
        low, high = size, 0
        for k in range(begin, start[last]):
            needed_by[pixel[k]] = tiles
            low, high = min(low, pixel[k]), max(high, pixel[k] + 1)
        origin = count
        for p in range(low, high):
            if needed_by[p] == tiles:
                if count == origin or p >= source[count - 1] + SIDE:
                    source[count] = min(p, size - SIDE)
                    count += 1
                place[p] = (count - 1 - origin) * SIDE + p - source[count - 1]
        for k in range(begin, start[last]):
            local[k] = place[pixel[k]]
        cells[tiles], lines[tiles] = last, count
    return cells[: tiles + 1].copy(), lines[: tiles + 1].copy(), source[:count].copy(), local


_LINE = ir.VectorType(ir.FloatType(), SIDE)
_SIZE = ir.IntType(64)


def _transpose(typing: Any, raw: Any, step: Any, pixel: Any, near: Any, row: Any) -> Any:
    """Copy a square of pixels and steps: near[row + k, t] = raw[step[t], pixel + k], k and t from
    0 to `SIDE` - 1.

    Written in LLVM's vectors through numba's extension interface, because no loop in Python makes
    the compiler exchange whole registers. With the best of nine plain loops the kernel takes 1.47
    times as long on a 1-km Lambert raster (1.03 on Stage IV), the public `regrid` of 192 steps 1.24
    times, and the pipeline, which also reads and writes, 1.03 times.

    Callable from compiled code alone. Nothing is checked: all of these elements have to exist.

    Args:
        raw: float32 (steps, pixels), contiguous.
        step: int64 (SIDE,).
        pixel, row: uint32.
        near: float32 (rows, SIDE), contiguous.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, steps, target = (
            make_array(signature.args[k])(context, builder, args[k]) for k in (0, 1, 3)
        )
        pixel, row = (builder.zext(args[k], _SIZE) for k in (2, 4))
        width = cgutils.unpack_tuple(builder, source.shape)[1]

        def line(array: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(array.data, [at]), _LINE.as_pointer())

        lines = []
        for t in range(SIDE):
            number = builder.load(builder.gep(steps.data, [_SIZE(t)]))
            at = builder.add(builder.mul(number, width), pixel)
            lines.append(builder.load(line(source, at), align=4))
        for k, transposed in enumerate(_transposed(builder, lines)):
            at = builder.mul(builder.add(row, _SIZE(k)), _SIZE(SIDE))
            builder.store(transposed, line(target, at), align=4)
        return context.get_dummy_value()

    return types.void(raw, step, pixel, near, row), generate


transpose: Any = intrinsic(_transpose)


def _transposed(builder: Any, lines: list[Any]) -> list[Any]:
    """Return the columns of a square of lines: exchange quarters across the diagonal, then the
    quarters of each quarter, and so on."""
    half = SIDE // 2
    while half:
        first = [k if not k & half else k - half + SIDE for k in range(SIDE)]
        second = [k + half if not k & half else k + SIDE for k in range(SIDE)]
        for k in range(SIDE):
            if not k & half:
                pair = lines[k], lines[k + half]
                lines[k], lines[k + half] = (
                    builder.shuffle_vector(*pair, ir.VectorType(ir.IntType(32), SIDE)(mask))
                    for mask in (first, second)
                )
        half //= 2
    return lines


_WEIGHT = types.Array(float64, 1, "C", readonly=True)
_RAW = types.Array(float32, 2, "C", readonly=True)
_OUT = types.Array(float32, 2, "C")


# Sums are in float64. Four overlaps at a time keep the sums in registers longer; unsigned indices
# need no test for negative ones.
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
        raw: float32 (steps, pixels), NaN or infinite where missing, at least `SIDE` pixels.
        start, weight: the sparse matrix; overlaps `start[i]` to `start[i + 1]` belong to cell i.
        cells, lines, source, local: its `Tiles`.
        value, valid: output arrays.
    """
    near = np.empty((np.diff(lines).max() * SIDE, STEPS), np.float32)  # the pixels of a tile
    amount, share = np.empty(STEPS), np.empty(STEPS)
    for first in range(0, raw.shape[0], STEPS):
        steps = min(STEPS, raw.shape[0] - first)
        step = np.minimum(np.arange(STEPS), steps - 1) + first  # repeats the last step
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
