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

if TYPE_CHECKING:
    import dask.array as da

STEPS = 16  # steps that the kernel for projected rasters takes at a time
MAX_STEPS = 3 * STEPS  # steps of a block: enough to make the cost of a call negligible
MAX_COPIES = 2**31  # bytes of float32 copies that all threads may hold together

Floats = NDArray[np.float32]


def regrid_numpy(
    raw: NDArray[Any], weights: Weights, min_valid: float, threads: int | None = None
) -> Floats:
    """Regrid a NumPy array, on several threads if there are several blocks.

    Args:
        raw: real numbers (..., rows, columns) of the weights' window, of any dtype and memory
            order; NaN and infinite pixels are missing.
        weights: weights of the raster's pixels in the cells of a grid.
        min_valid: least valid fraction of a cell that gets a value.
        threads: largest number of threads; all available cores if None.

    Returns:
        Values and valid fractions, float32 (2, ..., ny, nx).
    """
    out = np.empty((2, *raw.shape[:-2], *weights.shape), np.float32)
    source, value, valid = raw, out[0], out[1]
    if raw.ndim == 2:
        source, value, valid = source[None], value[None], valid[None]
    longest = int(np.argmax(source.shape[:-2]))  # the leading dimension to cut into blocks
    source, value, valid = (np.moveaxis(a, longest, -3) for a in (source, value, valid))
    threads = threads or _available_cores()
    step_bytes = 4 * math.prod(weights.raw_shape)
    steps = math.prod(source.shape[:-2])
    size = min(MAX_STEPS, STEPS * max(1, math.ceil(steps / threads / STEPS)))
    threads = max(1, min(threads, MAX_COPIES // (size * step_bytes)))

    def run(block: tuple[Any, ...]) -> None:
        value[block], valid[block] = _apply(source[block], weights, min_valid)

    blocks = list(_blocks(source.shape[:-2], size))
    if threads == 1 or len(blocks) == 1:
        for block in blocks:
            run(block)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, blocks))
    return out


def regrid_dask(raw: da.Array, weights: Weights, min_valid: float) -> da.Array:
    """Regrid a Dask array lazily, with one task for each chunk of the leading dimensions.

    Rows and columns are merged into one chunk. The leading dimensions are rechunked only if that
    would make chunks larger than Dask's `array.chunk-size`.

    Arguments and result are those of `regrid_numpy`.
    """
    import dask
    import dask.array as da
    from dask.delayed import delayed

    leading = raw.chunks[:-2]
    largest = math.prod(max(sizes, default=0) for sizes in leading)
    limit = dask.utils.parse_bytes(dask.config.get("array.chunk-size"))
    fits = largest * math.prod(weights.raw_shape) * raw.dtype.itemsize <= limit
    if any(len(sizes) > 1 for sizes in raw.chunks[-2:]):
        raw = raw.rechunk((*(leading if fits else ("auto",) * len(leading)), -1, -1))
    return da.map_blocks(
        _regrid_chunk,
        raw,
        weights=delayed(weights, pure=True),  # once in the graph, not once a chunk
        min_valid=min_valid,
        new_axis=0,
        chunks=((2,), *raw.chunks[:-2], *((size,) for size in weights.shape)),
        dtype=np.float32,
        meta=np.empty((0,) * (raw.ndim + 1), np.float32),
        name=None,
    )


def _regrid_chunk(pixels: NDArray[Any], weights: Weights, min_valid: float) -> Floats:
    """Regrid a chunk with one thread: Dask runs several chunks at a time."""
    leading = pixels.shape[:-2]
    out = np.empty((2, math.prod(leading), *weights.shape), np.float32)
    flat = pixels.reshape(-1, *pixels.shape[-2:])
    for (block,) in _blocks(flat.shape[:1], MAX_STEPS):
        out[:, block] = _apply(flat[block], weights, min_valid)
    return out.reshape(2, *leading, *weights.shape)


def _apply(pixels: NDArray[Any], weights: Weights, min_valid: float) -> tuple[Floats, Floats]:
    """Return values and valid fractions of a block (steps, rows, columns)."""
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, so missing
        raw = np.ascontiguousarray(pixels, np.float32)
    value, valid = weights.apply(raw)
    drop_below(value, valid, min_valid)
    return value, valid


def drop_below(value: Floats, valid: Floats, min_valid: float) -> None:
    """Set values to NaN in place where the valid fraction is too small.

    The threshold is rounded as the fractions are: a cell with exactly 0.7 has a value by 0.7.
    """
    value[valid < np.float32(min_valid)] = np.nan


def _blocks(leading: tuple[int, ...], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield indices of blocks: numbers for all leading dimensions but the last, which is cut."""
    for outer in np.ndindex(*leading[:-1]):
        for start in range(0, leading[-1], size):
            yield (*outer, slice(start, start + size))


def _available_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
