"""What a dataset says about where its pixels lie: axes, and latitudes and longitudes of all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError

Setting: TypeAlias = Literal["axes", "axes_at", "crs", "place_by"]

DEGREES_NORTH = re.compile(r"degrees?_?n(orth)?$", re.IGNORECASE)
DEGREES_EAST = re.compile(r"degrees?_?e(ast)?$", re.IGNORECASE)
METRES = {"m": 1.0, "km": 1e3}
LENGTHS = re.compile(r"(k(?:ilo)?)?m(?:et(?:er|re)s?)?$", re.IGNORECASE)
REGULAR = 1e-2  # centres within this share of a pixel of an even spacing count as evenly spaced


class UndecidedError(InputError):
    """Metadata that leave open where pixels lie.

    Attributes:
        setting: what the caller may state to decide it.
    """

    def __init__(self, message: str, setting: Setting) -> None:
        super().__init__(message)
        self.setting = setting


def edges_of(centres: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """Edges of pixels with given centres, shape (n + 1,).

    They are evenly spaced where the centres are, otherwise midway between neighbouring centres.

    Raises:
        InputError: fewer than two centres, or centres that neither ascend nor descend; `name` is
            their name in the message.
    """
    centres = np.asarray(centres, np.float64)
    steps = np.diff(centres)
    if centres.size == 1:
        raise InputError(
            f"{name} has one coordinate, {centres[0]:g}, which tells no size of a pixel: expected "
            "two or more"
        )
    if centres.size < 2 or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(
            f"{name} of {centres.size} coordinates from {centres[:1]} to {centres[-1:]}: expected "
            "two or more, ascending or descending"
        )
    step = (centres[-1] - centres[0]) / steps.size
    at = np.arange(centres.size)
    if np.abs(centres - (centres[0] + step * at)).max() <= REGULAR * abs(step):
        return centres[0] + step * (np.arange(centres.size + 1) - 0.5)
    middle = (centres[:-1] + centres[1:]) / 2
    ends = centres[0] - steps[0] / 2, centres[-1] + steps[-1] / 2
    return np.concatenate(([ends[0]], middle, [ends[1]]))


@dataclass(frozen=True, eq=False)
class Axis:
    """Coordinates along rows or columns, shape (n,), and their attributes.

    They are the middles of pixels; if `at_corner`, the edges where the pixels begin, counted from
    the first row or column.
    """

    name: str
    values: NDArray[np.float64]
    units: str = ""
    standard_name: str = ""
    at_corner: bool = False

    @property
    def counts(self) -> bool:
        """Whether the coordinates are numbers of rows or columns, which say nothing of a place."""
        if self.units not in ("", "1") or self.standard_name:
            return False
        return bool((self.values - np.arange(self.values.size) == min(self.values[0], 1)).all())

    def edges(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Edges of the pixels, shape (n + 1,), from `values` in the unit of a CRS.

        Raises:
            InputError: as `edges_of`.
        """
        if self.at_corner and values.size > 1:
            values = np.append(values, 2 * values[-1] - values[-2])
            edges_of(values, self.name)
            return values
        return edges_of(values, self.name)

    @property
    def in_degrees(self) -> bool:
        """Whether the coordinates are latitudes or longitudes."""
        if self.standard_name in ("latitude", "longitude"):
            return True
        if DEGREES_NORTH.match(self.units) or DEGREES_EAST.match(self.units):
            return not self.standard_name.startswith("grid_")
        named = self.name.lower() in ("lat", "latitude", "lon", "longitude")
        return named and self.units.lower() in ("", "degree", "degrees")

    @property
    def metres(self) -> float | None:
        """Metres in one unit of the coordinates; None where the unit is not a length."""
        length = LENGTHS.match(self.units)
        return None if length is None else METRES["km" if length[1] else "m"]

    @property
    def span(self) -> str:
        """Name, first and last coordinate and unit, as text."""
        return f"{self.name} {self.values[0]:g}..{self.values[-1]:g} {self.units}".rstrip()


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What a dataset says about where its pixels lie; None where it says nothing.

    Attributes:
        y, x: axes along rows and columns.
        latitude, longitude: coordinates of the pixels' centres [degrees], (rows, columns).
        crs: reference system of the axes.
    """

    y: Axis | None
    x: Axis | None
    latitude: NDArray[np.float64] | None
    longitude: NDArray[np.float64] | None
    crs: CRS | None
