"""Conservative regridding of projected and curvilinear rasters onto the 5-arc-minute lattice.

The formula is that of `pipeline.regrid`, but pixels and cells do not share their sides' directions
here, so each overlap is a number of its own: a sparse matrix, one row a cell. It depends on the two
grids only and is kept in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import float32, float64, int32, njit, types, void
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.sparse import coo_array

from pipeline.cache import key_of, load_arrays, save_arrays
from pipeline.clip import shares, to_plane
from pipeline.errors import InputError
from pipeline.grid import WGS84_A, Grid
from pipeline.regrid import ROUND, Window, require_axis

ALGORITHM = 1  # part of the cache's key: to be raised whenever the weights come out differently
SECTION = 0.05  # degrees (5.6 km): longer sides are made of several parabolas
OVERLAPPING = 1e-6  # share of a cell by which pixels may cover it more than once

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OverlapWeights:
    """How the pixels of a raster of any shape make up the cells of a grid: a sparse matrix.

    Attributes:
        window: slices (rows, columns) of the raster that the cells need.
        shape: (rows, columns) of the grid.
        start: int32 (cells + 1,); cell i takes the pixels `pixel[start[i] : start[i + 1]]`.
        pixel: int32 (overlaps,), row-major numbers of pixels in the window, ascending in a cell.
        weight: float64 (overlaps,), share of the cell's area that lies in the pixel.
    """

    window: Window
    shape: tuple[int, int]
    start: NDArray[np.int32]
    pixel: NDArray[np.int32]
    weight: Floats

    def __post_init__(self) -> None:
        ny, nx = self.shape
        height, width = self.raw_shape
        assert height > 0
        assert width > 0
        assert self.start.shape == (ny * nx + 1,)
        assert self.start[0] == 0
        assert (np.diff(self.start) >= 0).all()
        assert self.pixel.shape == self.weight.shape == (self.start[-1],)
        assert 0 <= self.pixel.min() <= self.pixel.max() < height * width
        assert (self.weight > 0).all()  # false for NaN
        assert (self.coverage <= 1 + OVERLAPPING).all()

    @property
    def raw_shape(self) -> tuple[int, int]:
        """(rows, columns) of the window."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def coverage(self) -> Floats:
        """Share of each cell that the raster covers, valid or not, shape (ny, nx)."""
        summed = np.concatenate(([0.0], np.cumsum(self.weight)))[self.start]
        return np.diff(summed).reshape(self.shape)

    def apply(self, raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Regrid a block of steps.

        One thread, without the interpreter's lock: call it from several threads, one block each.

        Args:
            raw: float32 (steps, rows, columns), the raster's `window`; NaN is missing.

        Returns:
            value: float32 (steps, ny, nx), mean over the valid part of each cell, in raw's units;
                NaN where no part is valid.
            valid_fraction: float32 (steps, ny, nx), 0 to 1.
        """
        steps = raw.shape[0]
        assert raw.shape == (steps, *self.raw_shape), (raw.shape, self.raw_shape)
        assert raw.dtype == np.float32, raw.dtype
        value = np.empty((steps, *self.shape), np.float32)
        valid = np.empty_like(value)
        flat = np.ascontiguousarray(raw).reshape(steps, -1)
        out = value.reshape(steps, -1), valid.reshape(steps, -1)
        _apply(flat, self.start, self.pixel, self.weight, *out)
        return value, valid


def projected_weights(x_edges: Floats, y_edges: Floats, crs: CRS, grid: Grid) -> OverlapWeights:
    """Weights of a projected raster's pixels in the cells of `grid`, areas on the WGS84 ellipsoid.

    Pixels are rectangles in `crs`. Their corners are taken to longitude and latitude by undoing
    the projection alone: as for rasters in lat/lon, coordinates are taken as they are, whatever
    their datum.

    Args:
        x_edges: coordinates of the columns' edges, width + 1 of them, ascending or descending, in
            the unit of `crs` (metres, kilometres, degrees of a rotated pole).
        y_edges: likewise of the rows' edges, height + 1 of them.
        crs: the raster's.
        grid: the target.

    Raises:
        InputError: edges that are not strictly monotonic, a CRS without latitude and longitude, no
            pixel below any cell of the grid, or a grid that reaches a pole inside the raster.
    """
    x_edges, y_edges = np.asarray(x_edges, np.float64), np.asarray(y_edges, np.float64)
    require_axis("x", x_edges)
    require_axis("y", y_edges)
    key = key_of("projected", ALGORITHM, x_edges, y_edges, crs.to_wkt(), grid)
    return _kept(key, lambda: _projected(x_edges, y_edges, crs, grid))


def curvilinear_weights(latitude: Floats, longitude: Floats, grid: Grid) -> OverlapWeights:
    """Weights of the pixels around given centres in the cells of `grid`, areas on WGS84.

    A corner of a pixel is the mean of the four centres around it, extrapolated at the rim. Its
    sides are straight in longitude and latitude.

    Args:
        latitude: of the centres [degrees north], shape (height, width), at least 2 x 2.
        longitude: of the centres [degrees east], likewise, on any turn of the globe.
        grid: the target.

    Raises:
        InputError: centres that are not finite or not on the globe, pixels that overlap, no pixel
            below any cell of the grid, or a grid that reaches a pole inside the raster.
    """
    latitude, longitude = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    if latitude.shape != longitude.shape or latitude.ndim != 2 or min(latitude.shape) < 2:
        raise InputError(
            f"raster latitudes of shape {latitude.shape} and longitudes of shape "
            f"{longitude.shape}: expected the same, at least 2 x 2"
        )
    if not (np.isfinite(longitude).all() and (np.abs(latitude) <= 90).all()):
        raise InputError(
            f"raster latitudes {np.nanmin(latitude):g} to {np.nanmax(latitude):g}, "
            f"{(~np.isfinite(latitude + longitude)).sum()} coordinates missing: expected latitudes "
            "from -90 to 90 and none missing"
        )
    key = key_of("curvilinear", ALGORITHM, latitude, longitude, grid)
    return _kept(key, lambda: _curvilinear(latitude, longitude, grid))


def _kept(key: str, make: Callable[[], OverlapWeights]) -> OverlapWeights:
    """The weights in the cache, or new ones, which are put there."""
    arrays = load_arrays(key)
    if arrays is not None:
        rows, columns, shape = arrays["place"].tolist()
        window = slice(*rows), slice(*columns)
        ny, nx = shape
        return OverlapWeights(window, (ny, nx), arrays["start"], arrays["pixel"], arrays["weight"])
    made = make()
    place = [[s.start, s.stop] for s in made.window] + [list(made.shape)]
    arrays = {"start": made.start, "pixel": made.pixel, "weight": made.weight}
    save_arrays(key, arrays | {"place": np.asarray(place, np.int64)})
    return made


def _projected(x_edges: Floats, y_edges: Floats, crs: CRS, grid: Grid) -> OverlapWeights:
    plane = crs.geodetic_crs
    if plane is not None and plane.is_derived:  # a rotated pole
        plane = plane.source_crs
    if plane is None or plane.prime_meridian is None:
        raise InputError(f"raster CRS {crs.name}: expected one on the globe")
    inverse = Transformer.from_crs(crs, plane, always_xy=True)
    unit = np.degrees(plane.axis_info[0].unit_conversion_factor)
    meridian = plane.prime_meridian
    greenwich = np.degrees(meridian.longitude * float(meridian.unit_conversion_factor))

    def to_grid(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        x, y = np.broadcast_arrays(x, y)
        longitude, latitude = inverse.transform(x, y)
        return to_plane(longitude * unit + greenwich, latitude * unit, grid)

    west, south, east, north = grid.bounds
    box = inverse.transform_bounds(
        *((west - greenwich) / unit, south / unit, (east - greenwich) / unit, north / unit),
        densify_pts=1000,
        direction="INVERSE",
    )
    if not np.isfinite(box).all():  # the projection does not show the whole region
        box = (-np.inf, -np.inf, np.inf, np.inf)
    if crs.is_geographic:  # longitudes on any turn
        box = (-np.inf, box[1], np.inf, box[3])
    columns, rows = _between(x_edges, box[0], box[2]), _between(y_edges, box[1], box[3])
    x, y = x_edges[columns.start : columns.stop + 1], y_edges[rows.start : rows.stop + 1]
    found = None
    if x.size > 1 and y.size > 1:
        metres = crs.axis_info[0].unit_conversion_factor * (WGS84_A if crs.is_geographic else 1)
        longest = max(np.abs(np.diff(x)).max(), np.abs(np.diff(y)).max()) * metres
        k = 2 * int(np.ceil(longest / (np.radians(SECTION) * WGS84_A)))
        along_rows = to_grid(_subdivided(x, k)[None, :], y[:, None])
        along_columns = to_grid(x[:, None], _subdivided(y, k)[None, :])
        found = _weights(along_rows, along_columns, (rows, columns), grid)
    if found is None:
        raise InputError(
            f"raster covers x {min(x_edges):.6g} to {max(x_edges):.6g} and y {min(y_edges):.6g} "
            f"to {max(y_edges):.6g} of {crs.name}: expected some of {_region(grid)}"
        )
    return found


def _between(edges: Floats, low: float, high: float) -> slice:
    """The pixels that have some part from `low` to `high`, and one more on either side."""
    inside = np.flatnonzero(
        (np.maximum(edges[:-1], edges[1:]) > low) & (np.minimum(edges[:-1], edges[1:]) < high)
    )
    if not inside.size:
        return slice(0, 0)
    return slice(max(0, int(inside[0]) - 1), min(edges.size - 1, int(inside[-1]) + 2))


def _subdivided(edges: Floats, k: int) -> Floats:
    """Each interval cut in k; the edges themselves stay exactly as they are."""
    steps = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(k) / k)
    return np.append(steps.ravel(), edges[-1])


def _curvilinear(latitude: Floats, longitude: Floats, grid: Grid) -> OverlapWeights:
    corner_y, corner_x = _corners(latitude, longitude)
    side = max(np.abs(np.diff(corner_y, axis=axis)).max() for axis in (0, 1))
    k = 2 * max(1, int(np.ceil(side / SECTION)))
    along_rows = to_plane(_drawn(corner_x, k, turns=True), _drawn(corner_y, k), grid)
    along_columns = to_plane(_drawn(corner_x.T, k, turns=True), _drawn(corner_y.T, k), grid)
    whole = slice(0, latitude.shape[0]), slice(0, latitude.shape[1])
    found = _weights(along_rows, along_columns, whole, grid)
    if found is None:
        raise InputError(
            f"raster covers longitudes {longitude.min():.6g} to {longitude.max():.6g} and "
            f"latitudes {latitude.min():.6g} to {latitude.max():.6g}: expected some of "
            f"{_region(grid)}"
        )
    return found


def _corners(latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    """Latitudes and longitudes of the pixels' corners, shape (height + 1, width + 1)."""
    y, x = latitude, longitude
    for _ in range(2):  # a column on either side, then, transposed, a row
        y = np.hstack((2 * y[:, :1] - y[:, 1:2], y, 2 * y[:, -1:] - y[:, -2:-1])).T
        first, last = _turn(x[:, 1:2] - x[:, :1]), _turn(x[:, -1:] - x[:, -2:-1])
        x = np.hstack((x[:, :1] - first, x, x[:, -1:] + last)).T
    base = x[:-1, :-1]
    others = (x[:-1, 1:], x[1:, :-1], x[1:, 1:])
    corner_x = base + sum(_turn(other - base) for other in others) / 4
    corner_y = (y[:-1, :-1] + y[:-1, 1:] + y[1:, :-1] + y[1:, 1:]) / 4
    return np.clip(corner_y, -90, 90), corner_x


def _turn(difference: Floats) -> Floats:
    """A difference of longitudes on the short way round."""
    return difference - ROUND * np.rint(difference / ROUND)


def _drawn(corners: Floats, k: int, turns: bool = False) -> Floats:
    """Points along straight sides, k to a side, shape (lines, sides * k + 1)."""
    steps = np.diff(corners, axis=1)
    steps = _turn(steps) if turns else steps
    points = corners[:, :-1, None] + steps[:, :, None] * (np.arange(k) / k)
    return np.hstack((points.reshape(len(corners), -1), corners[:, -1:]))


def _region(grid: Grid) -> str:
    bounds = tuple(round(b, 4) for b in grid.bounds)
    return f"the region {bounds} (west, south, east, north)"


def _weights(
    along_rows: tuple[Floats, Floats],
    along_columns: tuple[Floats, Floats],
    window: Window,
    grid: Grid,
) -> OverlapWeights | None:
    """Weights from the pixels' sides (see `pipeline.clip.shares`); None where no pixel lies below
    any cell. The window is cut down to what is needed."""
    rows, columns = window
    width = columns.stop - columns.start
    cell, pixel, share, one_way, other_way, polar = shares(along_rows, along_columns, grid)
    if polar:
        raise InputError(
            f"raster has a pole among its pixels, and {_region(grid)} reaches it: expected a "
            "region that ends short of it"
        )
    if one_way and other_way:
        raise InputError(
            f"raster turns over: {one_way} pixels of one orientation, {other_way} of the other: "
            "expected rows and columns in their order"
        )
    if not cell.size:
        return None
    j, i = np.divmod(pixel, width)
    (top, bottom), (left, right) = (int(j.min()), int(j.max())), (int(i.min()), int(i.max()))
    height, width = bottom - top + 1, right - left + 1
    pixel = (j - top) * width + (i - left)
    shape = grid.ny * grid.nx, height * width
    matrix = coo_array((share, (cell, pixel)), shape).tocsr()
    matrix.sum_duplicates()  # and sorts
    covered = matrix.sum(axis=1).max()
    if covered > 1 + OVERLAPPING:
        raise InputError(
            f"raster covers a cell {covered:.6g} times: expected no overlapping pixels"
        )
    window = (
        slice(rows.start + top, rows.start + bottom + 1),
        slice(columns.start + left, columns.start + right + 1),
    )
    start, pixel = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
    return OverlapWeights(window, grid.shape, start, pixel, matrix.data)


STEPS = 8  # regridded at once: an overlap is loaded once for all of them

_INDEX = types.Array(int32, 1, "C", readonly=True)
_WEIGHT = types.Array(float64, 1, "C", readonly=True)
_RAW = types.Array(float32, 2, "C", readonly=True)
_OUT = types.Array(float32, 2, "C")


@njit(
    void(_RAW, _INDEX, _INDEX, _WEIGHT, _OUT, _OUT), nogil=True, cache=True, fastmath={"contract"}
)
def _apply(
    raw: NDArray[np.float32],
    start: NDArray[np.int32],
    pixel: NDArray[np.int32],
    weight: Floats,
    value: NDArray[np.float32],
    valid: NDArray[np.float32],
) -> None:
    amount, share = np.empty(STEPS), np.empty(STEPS)
    for first in range(0, raw.shape[0], STEPS):
        steps = min(STEPS, raw.shape[0] - first)
        for cell in range(start.size - 1):
            amount[:] = 0.0
            share[:] = 0.0
            for k in range(start[cell], start[cell + 1]):
                w, j = weight[k], pixel[k]
                for t in range(steps):
                    p = raw[first + t, j]
                    ok = p == p  # false for NaN
                    amount[t] += w * p if ok else 0.0
                    share[t] += w if ok else 0.0
            for t in range(steps):
                valid[first + t, cell] = share[t]
                value[first + t, cell] = amount[t] / share[t] if share[t] > 0.0 else np.nan
