"""The 5-arc-minute lattice: cell edges on multiples of 1/12 degree, areas on the WGS84 ellipsoid.

A `Grid` is a rectangular crop of the global lattice, held in whole cells, so that two grids are
equal, or nested, exactly and not within a tolerance. Row 0 is the northernmost row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError

CELLS_PER_DEGREE = 12  # 60 arc-minutes / 5
STEPS_ROUND = 360 * CELLS_PER_DEGREE  # cells around the globe
WGS84_A = 6_378_137.0  # semi-major axis [m]
WGS84_E2 = 6.694379990141317e-3  # first eccentricity squared


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


@dataclass(frozen=True)
class Grid:
    """A crop of the lattice: `west` and `north` edges and the size, all counted in cells.

    Args:
        west: western edge, in cells east of Greenwich (may be negative).
        north: northern edge, in cells north of the equator.
        nx, ny: number of columns and rows, both at least 1.

    Raises:
        InputError: the crop is empty, reaches past a pole, or is wider than the globe.
    """

    west: int
    north: int
    nx: int
    ny: int

    def __post_init__(self) -> None:
        pole = 90 * CELLS_PER_DEGREE
        if not (1 <= self.nx <= STEPS_ROUND and self.ny >= 1):
            raise InputError(f"grid of {self.nx} x {self.ny} cells: expected 1 to {STEPS_ROUND}")
        if self.north > pole or self.north - self.ny < -pole:
            raise InputError(f"grid rows {self.north - self.ny} to {self.north} pass a pole")

    @classmethod
    def covering(cls, bounds: tuple[float, float, float, float], margin: int = 0) -> Grid:
        """The smallest crop that covers `bounds` (west, south, east, north in degrees).

        `margin` adds that many cells on each side. Bounds within 1e-9 degree of an edge count as
        on it, so that a grid's own `bounds` give the same grid back.
        """
        west, south, east, north = (b * CELLS_PER_DEGREE for b in bounds)
        if not (west < east and south < north):
            raise InputError(f"bounds {bounds}: expected west < east and south < north in degrees")
        slack = 1e-9 * CELLS_PER_DEGREE
        i0, i1 = math.floor(west + slack) - margin, math.ceil(east - slack) + margin
        pole = 90 * CELLS_PER_DEGREE
        j0 = max(math.floor(south + slack) - margin, -pole)
        j1 = min(math.ceil(north - slack) + margin, pole)
        return cls(west=i0, north=j1, nx=i1 - i0, ny=j1 - j0)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.ny, self.nx

    @property
    def x_edges(self) -> np.ndarray:
        """Longitudes of the nx + 1 cell edges [degrees east], ascending."""
        return np.arange(self.west, self.west + self.nx + 1) / CELLS_PER_DEGREE

    @property
    def y_edges(self) -> np.ndarray:
        """Latitudes of the ny + 1 cell edges [degrees north], descending."""
        return np.arange(self.north, self.north - self.ny - 1, -1) / CELLS_PER_DEGREE

    @property
    def x(self) -> np.ndarray:
        """Longitudes of the cell centres [degrees east], ascending."""
        return (np.arange(self.west, self.west + self.nx) + 0.5) / CELLS_PER_DEGREE

    @property
    def y(self) -> np.ndarray:
        """Latitudes of the cell centres [degrees north], descending."""
        return (np.arange(self.north, self.north - self.ny, -1) - 0.5) / CELLS_PER_DEGREE

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        return (
            self.west / CELLS_PER_DEGREE,
            (self.north - self.ny) / CELLS_PER_DEGREE,
            (self.west + self.nx) / CELLS_PER_DEGREE,
            self.north / CELLS_PER_DEGREE,
        )

    @property
    def cell_area(self) -> np.ndarray:
        """Areas of the cells [m2], shape (y, x)."""
        return cell_areas(self.x_edges, self.y_edges)

    def window(self, inner: Grid) -> tuple[slice, slice]:
        """Slices (rows, columns) of this grid at which `inner` lies.

        Raises:
            InputError: `inner` is not inside this grid.
        """
        row, column = self.north - inner.north, inner.west - self.west
        if row < 0 or column < 0 or row + inner.ny > self.ny or column + inner.nx > self.nx:
            raise InputError(f"window {inner.bounds} is not inside the grid {self.bounds}")
        return slice(row, row + inner.ny), slice(column, column + inner.nx)
