"""Longitude-latitude grids cropped from a global lattice, cell areas on the WGS84 ellipsoid.

The default lattice has cells of 5 arc-minutes, with edges on multiples of 1/12 degree. A `Grid`
counts in whole cells, so two grids are equal, or one lies inside the other, exactly and not within
a tolerance. Row 0 is the northernmost row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from pipeline.errors import InputError

CELLS_PER_DEGREE = 12  # of the default lattice: 60 arc-minutes / 5
WGS84_A = 6_378_137.0  # semi-major axis [m]
WGS84_E2 = 6.694379990141317e-3  # first eccentricity squared
SLACK = 1e-9  # degrees: bounds that are so close to an edge of the lattice lie on it

Number = TypeVar("Number", float, np.ndarray)


def zone_area(latitude: np.ndarray) -> np.ndarray:
    """Ellipsoidal area [m2 per radian of longitude] between the equator and `latitude` [degrees].

    Area of a cell = radians of longitude times a difference of this function, so areas separate
    into a row and a column factor. Snyder (1987), Map Projections: A Working Manual, eq. 3-12.
    """
    e = math.sqrt(WGS84_E2)
    s = np.sin(np.radians(np.asarray(latitude, dtype=np.float64)))
    q = (1 - WGS84_E2) * (s / (1 - WGS84_E2 * s * s) + np.arctanh(e * s) / e)
    return 0.5 * WGS84_A**2 * q


def cell_areas(x_edges: np.ndarray, y_edges: np.ndarray) -> np.ndarray:
    """Areas [m2], shape (y, x), of lat/lon cells between edges [degrees], ascending or not."""
    heights = np.abs(np.diff(zone_area(y_edges)))
    widths = np.abs(np.diff(np.radians(np.asarray(x_edges, dtype=np.float64))))
    return np.outer(heights, widths)


@dataclass(frozen=True, repr=False)
class Grid:
    """A crop of the global lattice: its western and northern edge and its size, in cells.

    Args:
        west: western edge, in cells east of Greenwich (may be negative).
        north: northern edge, in cells north of the equator.
        nx, ny: number of columns and rows, both at least 1.
        cells_per_degree: resolution of the lattice, an integer or an exact fraction: 12 for
            5 arc-minutes, 4 for a quarter of a degree, `Fraction(2, 5)` for 2.5 degrees.

    Raises:
        InputError: the crop is empty, reaches past a pole or is wider than the globe, or 90 degrees
            are not a whole number of cells.

    Example:
        >>> from pipeline import Grid
        >>> grid = Grid.covering((-95.0, 41.0, -94.0, 42.5))
        >>> grid
        Grid(west=-1140, north=510, nx=12, ny=18)
        >>> grid.bounds
        (-95.0, 41.0, -94.0, 42.5)
        >>> Grid.covering((-95.0, 41.0, -94.0, 42.5), cells_per_degree=4).shape
        (6, 4)
    """

    west: int
    north: int
    nx: int
    ny: int
    cells_per_degree: int | Fraction = CELLS_PER_DEGREE

    def __post_init__(self) -> None:
        try:
            pole = 90 * Fraction(self.cells_per_degree)
        except (TypeError, ValueError, OverflowError):
            pole = Fraction(0)
        if pole <= 0 or pole.denominator != 1:
            raise InputError(
                f"grid of {self.cells_per_degree} cells per degree: expected an integer or a "
                "fraction that makes 90 degrees a whole number of cells"
            )
        around = 4 * int(pole)
        if not (1 <= self.nx <= around and self.ny >= 1):
            raise InputError(f"grid of {self.nx} x {self.ny} cells: expected 1 to {around} columns")
        if self.north > pole or self.north - self.ny < -pole:
            raise InputError(
                f"grid rows {self.north - self.ny} to {self.north}: expected -{pole} to {pole}"
            )

    def __repr__(self) -> str:
        """The arguments, without the default resolution; part of the key of cached weights."""
        shown = f"west={self.west}, north={self.north}, nx={self.nx}, ny={self.ny}"
        if self.cells_per_degree != CELLS_PER_DEGREE:
            shown += f", cells_per_degree={self.cells_per_degree!r}"
        return f"Grid({shown})"

    @classmethod
    def covering(
        cls,
        bounds: tuple[float, float, float, float],
        margin: int = 0,
        *,
        cells_per_degree: int | Fraction = CELLS_PER_DEGREE,
    ) -> Grid:
        """Return the smallest crop that covers some bounds.

        Args:
            bounds: west, south, east and north [degrees]. Bounds within 1e-9 degree of an edge lie
                on it, so that the bounds of a grid give the same grid again.
            margin: cells to add on each side, but none beyond a pole.
            cells_per_degree: resolution of the lattice, as in `Grid`.

        Raises:
            InputError: west is not less than east, or south not less than north; as `Grid`.
        """
        if not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
            raise InputError(f"bounds {bounds}: expected west < east and south < north in degrees")
        lattice = cls(0, 1, 1, 1, cells_per_degree)  # for its resolution
        west, south, east, north = (lattice.to_cells(float(bound)) for bound in bounds)
        slack = lattice.to_cells(SLACK)
        i0, i1 = math.floor(west + slack) - margin, math.ceil(east - slack) + margin
        pole = lattice.cells_around // 4
        j0 = max(math.floor(south + slack) - margin, -pole)
        j1 = min(math.ceil(north - slack) + margin, pole)
        nx = i1 - i0
        if bounds[2] - bounds[0] <= 360 + SLACK:
            nx = min(nx, lattice.cells_around)  # each cell once
        return cls(i0, j1, nx, j1 - j0, cells_per_degree)

    @property
    def cells_around(self) -> int:
        """Number of cells around the globe."""
        return int(360 * Fraction(self.cells_per_degree))

    def to_cells(self, degrees: Number) -> Number:
        """Convert degrees to numbers of cells."""
        ratio = Fraction(self.cells_per_degree)
        return degrees * ratio.numerator / ratio.denominator

    def to_degrees(self, cells: Number) -> Number:
        """Convert numbers of cells to degrees."""
        ratio = Fraction(self.cells_per_degree)
        return cells * ratio.denominator / ratio.numerator

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.ny, self.nx

    @property
    def x_edges(self) -> np.ndarray:
        """Longitudes of the nx + 1 cell edges [degrees east], ascending."""
        return self.to_degrees(np.arange(self.west, self.west + self.nx + 1))

    @property
    def y_edges(self) -> np.ndarray:
        """Latitudes of the ny + 1 cell edges [degrees north], descending."""
        return self.to_degrees(np.arange(self.north, self.north - self.ny - 1, -1))

    @property
    def x(self) -> np.ndarray:
        """Longitudes of the cell centres [degrees east], ascending."""
        return self.to_degrees(np.arange(self.west, self.west + self.nx) + 0.5)

    @property
    def y(self) -> np.ndarray:
        """Latitudes of the cell centres [degrees north], descending."""
        return self.to_degrees(np.arange(self.north, self.north - self.ny, -1) - 0.5)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        west, east = self.to_degrees(self.west), self.to_degrees(self.west + self.nx)
        return west, self.to_degrees(self.north - self.ny), east, self.to_degrees(self.north)

    @property
    def cell_area(self) -> np.ndarray:
        """Areas of the cells [m2], shape (y, x)."""
        return cell_areas(self.x_edges, self.y_edges)

    def window(self, inner: Grid) -> tuple[slice, slice]:
        """Return the slices (rows, columns) of this grid at which another grid lies.

        Raises:
            InputError: `inner` is of another resolution, or not inside this grid.
        """
        if inner.cells_per_degree != self.cells_per_degree:
            raise InputError(
                f"window of {inner.cells_per_degree} cells per degree: expected "
                f"{self.cells_per_degree}"
            )
        row, column = self.north - inner.north, inner.west - self.west
        if row < 0 or column < 0 or row + inner.ny > self.ny or column + inner.nx > self.nx:
            raise InputError(f"window {inner.bounds} is not inside the grid {self.bounds}")
        return slice(row, row + inner.ny), slice(column, column + inner.nx)
