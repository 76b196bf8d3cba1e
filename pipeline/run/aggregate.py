"""Aggregate a source's intervals to the store's steps, and limit its invalid pixels.

Within a step the value is the mean over the area and time that have data, weighted by both; the
valid fraction is the share of the cell's area times the step's time that had data:

    value = sum_k v_k f_k / sum_k f_k       v_k, f_k: value and valid fraction of interval k
    valid = sum_k f_k / n                   n: intervals in a step

A sum over the step is that mean times n. A step with a missing part gets the amount of the rest at
the same rate, and its valid fraction says how much was there.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int64, njit, types
from numpy.typing import NDArray

from pipeline.catalog.models import PRECIPITATION
from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries
from pipeline.regrid.arrays import drop_below
from pipeline.regrid.separable import FINITE
from pipeline.run.plan import RasterBlock, Source

NEGATIVE_NOISE = 0.01  # [mm] per interval; precipitation closer below zero is packing noise


class StepMeans:
    """Accumulates the intervals of a forcing to the steps of a block, cell by cell.

    Args:
        steps: in the block.
        per_step: intervals in a step.
        shape: (rows, columns) of the grid.
    """

    def __init__(self, steps: int, per_step: int, shape: tuple[int, int]) -> None:
        self.per_step = per_step
        plain = per_step == 1  # then nothing is averaged, and float32 is kept bit for bit
        self._amount = np.zeros((steps, *shape), np.float32 if plain else np.float64)
        self._share = np.zeros_like(self._amount)

    def add(
        self, first: int, value: NDArray[np.floating], valid_fraction: NDArray[np.floating]
    ) -> None:
        """Add intervals, arrays (intervals, y, x), from position `first` in the block on."""
        if self.per_step == 1:
            self._amount[first : first + len(value)] = value
            self._share[first : first + len(value)] = valid_fraction
            return
        step = np.arange(first, first + len(value)) // self.per_step
        share = valid_fraction.astype(np.float64)
        np.add.at(self._amount, step, np.where(share > 0, value, 0.0) * share)
        np.add.at(self._share, step, share)

    def result(
        self, scale: float, offset: float, min_valid: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return values, mean * scale + offset, and valid fractions: float32 (steps, y, x)."""
        valid = (self._share / self.per_step).astype(np.float32, copy=False)
        value = self._amount
        if self.per_step > 1:
            share = np.where(self._share > 0, self._share, np.nan)
            value = value / share
        if (scale, offset) != (1.0, 0.0):
            value = value * scale + offset
        value = value.astype(np.float32, copy=False)
        drop_below(value, valid, min_valid)
        return value, valid


class PixelCounts:
    """Counts of a forcing's raw pixels in a block, to be held against the catalog's limits.

    Attributes:
        pixels: all over the region, of the present and of the missing rasters.
        invalid: those without a value.
        negative: those below zero, of precipitation.
    """

    def __init__(self) -> None:
        self.pixels = self.invalid = self.negative = 0

    def add(self, series: RasterSeries, name: str, raw: NDArray[np.float32]) -> None:
        """Count pixels, and replace negative precipitation in place.

        It becomes 0 down to -`NEGATIVE_NOISE` mm per interval, and NaN below.
        """
        assert raw.flags.c_contiguous  # else `reshape` copied
        interval = series.intervals.step
        source = series.sources[series.names.index(name)]
        factor, _ = source.conversion(source.units, interval, interval)
        for one in raw.reshape(len(raw), -1):
            valid, negative = _count(one)
            if negative and name == PRECIPITATION:
                below = one < 0
                one[below] = np.where(one[below] * factor >= -NEGATIVE_NOISE, 0, np.nan)
                valid, _ = _count(one)
                self.negative += negative
            self.invalid += one.size - valid
        self.pixels += raw.size

    @property
    def invalid_share(self) -> float:
        """Share of all pixels without a value."""
        return self.invalid / self.pixels

    def require(self, source: Source, name: str, block: RasterBlock) -> None:
        """Refuse a block with too many invalid or negative pixels.

        Raises:
            InputError: with counts and percentages.
        """
        series = source.series
        limits = series.sources[series.names.index(name)]
        for what, found, limit, key, hint in (
            ("are below zero", self.negative, limits.max_negative, "max_negative",
             "; a code for missing values belongs into `missing`"),
            ("have no value", self.invalid, limits.max_invalid, "max_invalid", ""),
        ):  # fmt: skip
            if found > limit * self.pixels:
                raise InputError(
                    f"{series.layout.path} and its like: {found} of {self.pixels} pixels "
                    f"({found / self.pixels:.2%}) of the block from {block.name} {what}: expected "
                    f"at most {limit:.2%} (forcings.{name}.{key}){hint}"
                )


@njit(types.UniTuple(int64, 2)(types.Array(float32, 1, "C")), nogil=True, cache=True)
def _count(pixels: NDArray[np.float32]) -> tuple[int, int]:
    """Count the finite pixels, and those of them below zero, in one pass."""
    finite = negative = 0
    for k in range(pixels.size):  # is vectorised, as a loop over `pixels` is not
        p = pixels[k]
        finite += abs(p) <= FINITE
        negative += -FINITE <= p < 0
    return finite, negative
