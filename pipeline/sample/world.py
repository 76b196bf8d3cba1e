"""The synthetic world: its place, period and gauges. Every number is fixed here.

Its parameters lie in ranges that are common in the American Midwest. It has no snow: winters are
mild and all precipitation is rain.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from affine import Affine

from pipeline.regrid.grid import Grid, cell_areas

GENERATOR_VERSION = "2"  # a change of any byte of the sample is a new version
SEED = 9
CRS = "EPSG:4326"

PIXELS_PER_DEGREE = 24  # rain pixels of 2.5 arc-minutes
DEM_PER_PIXEL = 5  # terrain pixels of 30 arc-seconds along the side of a rain pixel

DAY_START = timedelta(hours=6)  # 06:00 UTC is midnight, Central Standard Time
STEP_HOURS = 6.0  # storms, soil and routing are computed in quarters of a day
STEPS_PER_DAY = 4
STEP_SECONDS = STEP_HOURS * 3600.0


@dataclass(frozen=True)
class Gauge:
    """A gauge to be placed: size of its watershed [5-arc-minute cells] and the enclosing one."""

    cells: float
    inside: int | None = None  # index of the enclosing watershed in `World.gauges`


@dataclass(frozen=True)
class World:
    """One synthetic region: 5-arc-minute `grid`, gauges to place, water years and seed.

    `first_year` is the calendar year in which the first written water year starts (October 1st).
    One water year before it is simulated too, to fill soils and rivers, and not written.
    """

    grid: Grid
    gauges: tuple[Gauge, ...]
    first_year: int
    years: int
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rain pixels.

        Their centres lie on multiples of 2.5 arc-minutes, as PRISM's do, so that a cell of the
        5-arc-minute grid shares its pixels with its neighbours.
        """
        return 2 * self.grid.ny + 1, 2 * self.grid.nx + 1

    @property
    def dem_shape(self) -> tuple[int, int]:
        """Rows and columns of the terrain pixels; they tile the rain pixels."""
        rows, columns = self.shape
        return rows * DEM_PER_PIXEL, columns * DEM_PER_PIXEL

    @property
    def transform(self) -> Affine:
        """Rain pixels to longitude, latitude."""
        west, _, _, north = self.grid.bounds
        half = 0.5 / PIXELS_PER_DEGREE
        return Affine(2 * half, 0.0, west - half, 0.0, -2 * half, north + half)

    @property
    def dem_transform(self) -> Affine:
        """Terrain pixels to longitude, latitude."""
        return self.transform @ Affine.scale(1 / DEM_PER_PIXEL)

    @property
    def pixel_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes (x,) and latitudes (y,) of the rain pixels [degrees]."""
        return _centres(self.transform, self.shape)

    @property
    def dem_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes (x,) and latitudes (y,) of the terrain pixels [degrees]."""
        return _centres(self.dem_transform, self.dem_shape)

    @property
    def dem_area(self) -> np.ndarray:
        """Areas [m2] of the terrain pixels on the ellipsoid, shape (rows, columns)."""
        rows, columns = self.dem_shape
        t = self.dem_transform
        return cell_areas(t.c + t.a * np.arange(columns + 1), t.f + t.e * np.arange(rows + 1))

    @property
    def start(self) -> datetime:
        """Start of the written period, naive UTC."""
        return datetime(self.first_year, 10, 1) + DAY_START

    @property
    def end(self) -> datetime:
        """End of the written period, naive UTC."""
        return datetime(self.first_year + self.years, 10, 1) + DAY_START

    @property
    def days(self) -> int:
        """Days of the written period."""
        return (self.end - self.start).days

    @property
    def year_starts(self) -> list[datetime]:
        """Starts of all simulated water years, the warm-up first, and the end of the last."""
        first = self.first_year - 1
        return [datetime(y, 10, 1) + DAY_START for y in range(first, first + self.years + 2)]


def _centres(transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
    y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
    return x, y


_SEPARATE = (250, 225, 205, 190, 175, 160, 145, 130, 115, 100, 85, 70, 55, 40, 25)
_NESTED = ((120, 0), (95, 1), (75, 2), (60, 3), (45, 15), (35, 4), (22, 5), (15, 1))


def full_world(seed: int = SEED) -> World:
    """23 watersheds of 15 to 250 cells, six water years from October 2012."""
    gauges = (
        *(Gauge(cells) for cells in _SEPARATE),
        *(Gauge(cells, inside) for cells, inside in _NESTED),
    )
    grid = Grid(west=-97 * 12, north=490, nx=84, ny=54)
    return World(grid=grid, gauges=gauges, first_year=2012, years=6, seed=seed)


def tiny_world(seed: int = SEED) -> World:
    """Four watersheds, one nested, three water years from October 2012: for tests."""
    gauges = (Gauge(34), Gauge(24), Gauge(16), Gauge(11, inside=0))
    grid = Grid(west=-97 * 12, north=490, nx=20, ny=18)
    return World(grid=grid, gauges=gauges, first_year=2012, years=3, seed=seed)
