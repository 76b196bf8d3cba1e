"""A coarse picture of the region's rain in a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SIZE = 64  # rows, and columns


@dataclass(frozen=True)
class RainPicture:
    """Rain on a coarse grid, whose pixels are squares of cells.

    Attributes:
        block: name of the block.
        values: (rows, columns) mean over the block's steps and a pixel's cells, of those with a
            value [mm per step]; the north first; NaN without any.
        cells: width and height of a pixel.
    """

    block: str
    values: NDArray[np.float16]
    cells: int

    @classmethod
    def draw(cls, block: str, rain: NDArray[np.float32]) -> RainPicture:
        """Draw the rain of a block, (steps, y, x) [mm per step]."""
        shape = rain.shape[1:]
        total, count = np.zeros(shape), np.zeros(shape, np.int64)
        for step in rain:  # one by one: a copy of the block would not fit into the memory
            known = ~np.isnan(step)
            np.add(total, step, out=total, where=known)
            count += known
        cells = -(-max(shape) // MAX_SIZE)
        for axis, length in enumerate(shape):
            starts = np.arange(0, length, cells)
            total = np.add.reduceat(total, starts, axis)
            count = np.add.reduceat(count, starts, axis)
        values = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return cls(block, values.astype(np.float16), cells)

    def pack(self) -> dict[str, Any]:
        """Return the picture as an event."""
        return {
            "block": self.block,
            "values": self.values.tobytes(),
            "shape": list(self.values.shape),
            "cells": self.cells,
        }

    @classmethod
    def unpack(cls, event: Mapping[str, Any]) -> RainPicture:
        """Return the picture that `pack` made the event of."""
        values = np.frombuffer(event["values"], np.float16).reshape(event["shape"])
        return cls(event["block"], values, event["cells"])
