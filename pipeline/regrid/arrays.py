"""Weights applied to arrays of any dtype and number of dimensions, NumPy's and Dask's."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.regrid.placement import Weights
from pipeline.regrid.separable import column_parts

if TYPE_CHECKING:
    import dask.array as da

STEPS = 16  # that the kernel for projected rasters takes at a time
MAX_STEPS = 3 * STEPS  # of a block: enough for calls to cost nothing
MAX_COPIES = 2**31  # bytes: of all blocks that threads may hold as float32 copies

Floats = NDArray[np.float32]


def regrid_numpy(
    raw: NDArray[Any], weights: Weights, min_valid: float, threads: int | None = None
) -> Floats:
    """Regrid a NumPy array, on several threads where there are several blocks.

    Args:
        raw: real numbers (..., rows, columns) of the whole raster, of any dtype and memory order;
            NaN and infinite is missing.
        weights: of the raster's pixels in the cells of a grid.
        min_valid: least valid fraction of a cell that gets a value.
        threads: at most; all of the processor's if None.

    Returns:
        Values and valid fractions, float32 (2, ..., ny, nx).
    """
    out = np.empty((2, *raw.shape[:-2], *weights.shape), np.float32)
    source, value, valid = raw, out[0], out[1]
    if raw.ndim == 2:
        source, value, valid = source[None], value[None], valid[None]
    longest = int(np.argmax(source.shape[:-2]))  # the dimension that is cut into blocks
    source, value, valid = (np.moveaxis(a, longest, -3) for a in (source, value, valid))
    threads = threads or _available_cores()
    step_bytes = 4 * math.prod(weights.raw_shape)
    steps = math.prod(source.shape[:-2])
    size = min(MAX_STEPS, STEPS * max(1, math.ceil(steps / threads / STEPS)))
    threads = max(1, min(threads, MAX_COPIES // (size * step_bytes)))

    def run(block: tuple[Any, ...]) -> None:
        pixels = _window(source[block], weights)
        value[block], valid[block] = _apply(pixels, weights, min_valid)

    blocks = list(_blocks(source.shape[:-2], size))
    if threads == 1 or len(blocks) == 1:
        for block in blocks:
            run(block)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, blocks))
    return out


def regrid_dask(raw: da.Array, weights: Weights, min_valid: float) -> da.Array:
    """Regrid a Dask array lazily, one task a chunk of the leading dimensions.

    Rows and columns are merged into one chunk; the leading dimensions are cut anew only where that
    would make chunks larger than Dask's own `array.chunk-size`.

    Args and result are those of `regrid_numpy`.
    """
    import dask
    import dask.array as da
    from dask.delayed import delayed

    rows = weights.window[0]
    parts = [raw[..., rows, part] for part in column_parts(weights.window, raw.shape[-1])]
    window = da.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    leading = window.chunks[:-2]
    largest = math.prod(max(sizes, default=0) for sizes in leading)
    limit = dask.utils.parse_bytes(dask.config.get("array.chunk-size"))
    fits = largest * math.prod(weights.raw_shape) * raw.dtype.itemsize <= limit
    if any(len(sizes) > 1 for sizes in window.chunks[-2:]):
        window = window.rechunk((*(leading if fits else ("auto",) * len(leading)), -1, -1))
    return da.map_blocks(
        _regrid_chunk,
        window,
        weights=delayed(weights, pure=True),  # once in the graph, not once a chunk
        min_valid=min_valid,
        new_axis=0,
        chunks=((2,), *window.chunks[:-2], *((size,) for size in weights.shape)),
        dtype=np.float32,
        meta=np.empty((0,) * (window.ndim + 1), np.float32),
        name=None,
    )


def _regrid_chunk(pixels: NDArray[Any], weights: Weights, min_valid: float) -> Floats:
    """Regrid a chunk of the window with one thread: Dask runs several chunks at a time."""
    leading = pixels.shape[:-2]
    out = np.empty((2, math.prod(leading), *weights.shape), np.float32)
    flat = pixels.reshape(-1, *pixels.shape[-2:])
    for (block,) in _blocks(flat.shape[:1], MAX_STEPS):
        out[:, block] = _apply(flat[block], weights, min_valid)
    return out.reshape(2, *leading, *weights.shape)


def _apply(pixels: NDArray[Any], weights: Weights, min_valid: float) -> tuple[Floats, Floats]:
    """Value and valid fraction of a block (steps, rows, columns) of the window."""
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite, so missing
        raw = np.ascontiguousarray(pixels, np.float32)
    value, valid = weights.apply(raw)
    value[valid < np.float32(min_valid)] = np.nan
    return value, valid


def _window(pixels: NDArray[Any], weights: Weights) -> NDArray[Any]:
    rows = weights.window[0]
    parts = [pixels[:, rows, part] for part in column_parts(weights.window, pixels.shape[-1])]
    return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def _blocks(leading: tuple[int, ...], size: int) -> Iterator[tuple[Any, ...]]:
    """Indices of blocks: numbers in all leading dimensions but the last, which is sliced."""
    for outer in np.ndindex(*leading[:-1]):
        for start in range(0, leading[-1], size):
            yield (*outer, slice(start, start + size))


def _available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
