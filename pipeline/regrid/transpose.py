"""Sixteen pixels of sixteen steps, turned so that the steps of a pixel lie side by side.

Written in LLVM's own vectors, as no loop in Python makes the compiler shuffle whole registers:
pixel by pixel the same takes about twice as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

SIDE = 16  # of the square: a cache line of float32

_LINE = ir.VectorType(ir.FloatType(), SIDE)
_SIZE = ir.IntType(64)


def _transpose(typing: Any, raw: Any, step: Any, pixel: Any, near: Any, row: Any) -> Any:
    """near[row + k, t] = raw[step[t], pixel + k] for k and t from 0 to `SIDE`; in numba alone.

    Nothing is checked: all of these elements have to be there.

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
        for k, turned in enumerate(_turned(builder, lines)):
            at = builder.mul(builder.add(row, _SIZE(k)), _SIZE(SIDE))
            builder.store(turned, line(target, at), align=4)
        return context.get_dummy_value()

    return types.void(raw, step, pixel, near, row), generate


transpose: Any = intrinsic(_transpose)


def _turned(builder: Any, lines: list[Any]) -> list[Any]:
    """Columns of a square of lines: halves change places across the diagonal, then their halves."""
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
