"""Sides of a raster's pixels as points in the equal-area plane of `pipeline.regrid.cell_shares`.

Only pixels that may overlap the grid get points, one band of rows at a time, so memory does not
grow with the raster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.errors import InputError
from pipeline.regrid.cell_shares import to_plane
from pipeline.regrid.grid import WGS84_A, Grid
from pipeline.regrid.separable import FULL_TURN, Window

SECTION = 0.05  # degrees (5.6 km): a longer side consists of several parabolas
MAX_SECTIONS = 200  # parabolas of a side

Floats = NDArray[np.float64]
Lines = tuple[Floats, Floats]
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Sides:
    """Sides of the pixels that may overlap a grid.

    Attributes:
        window: slices (rows, columns) of the raster.
        draw: function of a first row and the one after the last, counted in the window, that
            returns points (u, s) along the row edges and along the column edges of these rows, as
            `pipeline.regrid.cell_shares.shares` takes them.
    """

    window: Window
    draw: Callable[[int, int], tuple[Lines, Lines]]


@dataclass(frozen=True, eq=False)
class _Globe:
    """Transformation from a CRS to longitude and latitude in degrees, on the CRS's own datum.

    Attributes:
        inverse: PROJ's transformation to the longitudes and latitudes that the CRS is based on.
        unit: degrees in one unit of these.
        meridian: longitude of their prime meridian [degrees east of Greenwich].
    """

    inverse: Transformer
    unit: float
    meridian: float

    @classmethod
    def of(cls, crs: CRS) -> _Globe:
        """Find the transformation of a CRS.

        Raises:
            InputError: a CRS without longitude and latitude, or one that PROJ cannot compute.
        """
        globe = crs.geodetic_crs
        if globe is not None and globe.is_derived:  # a rotated pole
            globe = globe.source_crs
        if globe is None or globe.prime_meridian is None:
            raise InputError(f"raster CRS {crs.name}: expected one on the globe")
        meridian = globe.prime_meridian
        try:
            inverse = Transformer.from_crs(crs, globe, always_xy=True)
        except ProjError as error:
            raise InputError(f"raster CRS {crs.name}: expected one that PROJ computes") from error
        return cls(
            inverse,
            np.degrees(globe.axis_info[0].unit_conversion_factor),
            np.degrees(meridian.longitude * float(meridian.unit_conversion_factor)),
        )

    def to_degrees(self, x: Floats, y: Floats) -> Lines:
        """Transform points to longitudes and latitudes; latitudes are NaN outside the globe."""
        x, y = np.broadcast_arrays(x, y)
        longitude, latitude = self.inverse.transform(x, y)
        latitude = np.where(np.isfinite(latitude), latitude, np.nan)
        return longitude * self.unit + self.meridian, latitude * self.unit


def projected_sides(x_edges: Floats, y_edges: Floats, crs: CRS, grid: Grid) -> Sides | None:
    """Return sides that are straight in a projected CRS; PROJ takes their points to the globe.

    Returns:
        None if the raster does not come near the grid.

    Raises:
        InputError: a CRS without longitude and latitude.
    """
    globe = _Globe.of(crs)

    def to_grid(x: Floats, y: Floats) -> Lines:
        return to_plane(*globe.to_degrees(x, y), grid)

    west, south, east, north = grid.bounds
    unit = globe.unit
    box = globe.inverse.transform_bounds(
        *((west - globe.meridian) / unit, south / unit),
        *((east - globe.meridian) / unit, north / unit),
        densify_pts=1000,
        direction="INVERSE",
    )
    if not np.isfinite(box).all():  # the projection does not show the whole region
        box = (-np.inf, -np.inf, np.inf, np.inf)
    if crs.is_geographic:  # longitudes on any turn
        box = (-np.inf, box[1], np.inf, box[3])
    columns, rows = (
        _pixels_between(x_edges, box[0], box[2]),
        _pixels_between(y_edges, box[1], box[3]),
    )
    if not (columns.stop and rows.stop):
        return None
    x, y = x_edges[columns.start : columns.stop + 1], y_edges[rows.start : rows.stop + 1]
    k = _raster_steps(x, y, crs)

    def draw(first: int, last: int) -> tuple[Lines, Lines]:
        edges = y[first : last + 1]
        along_rows = to_grid(_subdivided(x, np.diff(x), k), edges[:, None])
        return along_rows, to_grid(x[:, None], _subdivided(edges, np.diff(edges), k))

    return Sides((rows, columns), draw)


def curvilinear_sides(latitude: Floats, longitude: Floats, grid: Grid) -> Sides | None:
    """Return sides that are straight in longitude and latitude, between interpolated corners.

    Returns:
        None if the raster does not come near the grid.
    """
    corner_y, corner_x = _corners(latitude, longitude)
    west, south, east, north = grid.bounds
    east_of = _around_corners(_shortest(corner_x - (west + east) / 2))
    spread = np.abs(_shortest(east_of - east_of[0])).max(axis=0)
    near = np.abs(east_of).min(axis=0) < (east - west) / 2 + spread
    height = _around_corners(corner_y)
    near &= (height.max(axis=0) > south) & (height.min(axis=0) < north)
    if not near.any():
        return None
    rows, columns = (_range_of(near.any(axis=axis)) for axis in (1, 0))
    part = slice(rows.start, rows.stop + 1), slice(columns.start, columns.stop + 1)
    x, y = corner_x[part], corner_y[part]
    k = _side_steps(max(np.abs(np.diff(y, axis=axis)).max() for axis in (0, 1)))

    def lines(x: Floats, y: Floats) -> Lines:
        dx, dy = _shortest(np.diff(x, axis=1)), np.diff(y, axis=1)
        return to_plane(_subdivided(x, dx, k), _subdivided(y, dy, k), grid)

    def draw(first: int, last: int) -> tuple[Lines, Lines]:
        band = slice(first, last + 1)
        return lines(x[band], y[band]), lines(x[band].T, y[band].T)

    return Sides((rows, columns), draw)


def _pixels_between(edges: Floats, low: float, high: float) -> slice:
    """Return the pixels that overlap the range from `low` to `high`, and one more on each side."""
    inside = (np.maximum(edges[:-1], edges[1:]) > low) & (np.minimum(edges[:-1], edges[1:]) < high)
    found = _range_of(inside)
    return slice(max(0, found.start - 1), min(inside.size, found.stop + 1)) if found.stop else found


def _range_of(chosen: NDArray[np.bool_]) -> slice:
    """Return the range from the first to the last chosen number; empty if none is chosen."""
    at = np.flatnonzero(chosen)
    return slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, 0)


def _side_steps(longest: float) -> int:
    """Return the steps from corner to corner, two for each parabola, for a side in degrees."""
    return 2 * int(np.clip(np.ceil(longest / SECTION), 1, MAX_SECTIONS))


def _raster_steps(x_edges: Floats, y_edges: Floats, crs: CRS) -> int:
    """Return the steps from corner to corner for the pixels of a projected raster."""
    radius = 1 if crs.is_geographic else WGS84_A
    degree = np.radians(radius) / crs.axis_info[0].unit_conversion_factor
    longest = max(np.abs(np.diff(edges)).max() for edges in (x_edges, y_edges))
    return _side_steps(longest / degree)


def _subdivided(edges: Floats, steps: Floats, k: int) -> Floats:
    """Cut each step from an edge to the next into k, along the last axis; edges keep their bits."""
    points = edges[..., :-1, None] + steps[..., None] * (np.arange(k) / k)
    flat = points.reshape(*edges.shape[:-1], -1)
    return np.concatenate((flat, edges[..., -1:]), axis=-1)


def _corners(latitude: Floats, longitude: Floats) -> Lines:
    """Interpolate latitudes and longitudes of the corners, shape (height + 1, width + 1)."""
    y, x = latitude, longitude
    for _ in range(2):  # a column on either side, then, transposed, a row
        y = np.hstack((2 * y[:, :1] - y[:, 1:2], y, 2 * y[:, -1:] - y[:, -2:-1])).T
        first, last = _shortest(x[:, 1:2] - x[:, :1]), _shortest(x[:, -1:] - x[:, -2:-1])
        x = np.hstack((x[:, :1] - first, x, x[:, -1:] + last)).T
    around = _around_corners(x)
    corner_x = around[0] + _shortest(around - around[0]).mean(axis=0)
    return np.clip(_around_corners(y).mean(axis=0), -90, 90), corner_x


def _around_corners(a: Floats) -> Floats:
    """Return the four values around each inner corner, shape (4, rows - 1, columns - 1)."""
    return np.stack((a[:-1, :-1], a[:-1, 1:], a[1:, :-1], a[1:, 1:]))


def _shortest(difference: Floats) -> Floats:
    """Return a difference of longitudes the short way round."""
    return difference - FULL_TURN * np.rint(difference / FULL_TURN)


def projected_bounds(x_edges: Floats, y_edges: Floats, crs: CRS) -> Bounds:
    """Bounds (west, south, east, north) in degrees of a projected raster.

    They are found along its outline, or at all corners of pixels if the outline leaves the globe.
    If a pole is inside, they go around the globe and reach that pole.

    Raises:
        InputError: a CRS without longitude and latitude, or a raster outside the globe.
    """
    globe = _Globe.of(crs)
    k = _raster_steps(x_edges, y_edges, crs)
    x, y = (_subdivided(edges, np.diff(edges), k) for edges in (x_edges, y_edges))
    outline_x = np.concatenate((x, np.full(y.size, x[-1]), x[::-1], np.full(y.size, x[0])))
    outline_y = np.concatenate((np.full(x.size, y[0]), y, np.full(x.size, y[-1]), y[::-1]))
    longitude, latitude = globe.to_degrees(outline_x, outline_y)
    if not np.isfinite(latitude).all():
        longitude, latitude = globe.to_degrees(x_edges, y_edges[:, None])
        inside = np.isfinite(latitude)
        if not inside.any():
            raise InputError(f"raster in {crs.name}: expected some of it on the globe")
        longitude, latitude = longitude[inside], latitude[inside]
        east = longitude[0] + _shortest(longitude - longitude[0])
        return float(east.min()), float(latitude.min()), float(east.max()), float(latitude.max())
    east = np.unwrap(longitude, period=FULL_TURN)
    south, north = float(latitude.min()), float(latitude.max())
    if abs(east[-1] - east[0]) > FULL_TURN / 2:  # a pole is inside
        south, north = (south, 90.0) if latitude.mean() > 0 else (-90.0, north)
    return float(east.min()), south, float(east.max()), north


def curvilinear_bounds(latitude: Floats, longitude: Floats) -> Bounds:
    """Bounds (west, south, east, north) in degrees of pixels around given centres."""
    y, x = _corners(latitude, longitude)
    x = np.unwrap(np.unwrap(x, period=FULL_TURN, axis=0), period=FULL_TURN, axis=1)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
