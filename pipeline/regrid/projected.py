"""Conservative regridding of projected and curvilinear rasters onto a longitude-latitude grid.

The formula is that of `pipeline.regrid.separable`. But here the sides of pixels and cells are not
parallel, so the weights are a sparse matrix with one row for each cell. It depends on the two grids
only and is cached in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from scipy.sparse import coo_array

from pipeline.errors import InputError
from pipeline.regrid.cell_shares import shares
from pipeline.regrid.grid import Grid
from pipeline.regrid.kernels import SIDE, Tiles, cell_means, cut_tiles
from pipeline.regrid.pixel_edges import Sides, curvilinear_sides, projected_sides
from pipeline.regrid.separable import SLIVER, Window, require_axis
from pipeline.regrid.weights_cache import key_of, load_arrays, save_arrays

ALGORITHM = 3  # part of the cache's key: raise it whenever the weights come out differently
BAND_PIXELS = 2**18  # pixels whose overlaps are computed together
MAX_OVERLAP = 1e-3  # share of a cell that pixels may cover twice: the rounding of a seam
MAX_LOST = 4 * SLIVER  # share of a cell that overlaps too narrow to count may have had

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OverlapWeights:
    """Weights of the pixels of any raster in the cells of a grid, as a sparse matrix.

    Attributes:
        window: slices (rows, columns) of the raster that the cells need.
        shape: (rows, columns) of the grid.
        start: int32 (cells + 1,); cell i overlaps the pixels `pixel[start[i] : start[i + 1]]`.
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
        assert (self.coverage <= 1 + 1e-9).all()

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

        It uses one thread and releases the GIL: call it from several threads, one block each.
        Steps are taken 16 at a time, so blocks of a multiple of 16 cost least.

        Args:
            raw: float32 (steps, rows, columns), the raster's `window`; NaN and infinite pixels are
                missing.

        Returns:
            value: float32 (steps, ny, nx), mean over the valid part of each cell, in raw's unit;
                NaN where no part is valid.
            valid_fraction: float32 (steps, ny, nx), 0 to 1.
        """
        steps = raw.shape[0]
        assert raw.shape == (steps, *self.raw_shape), (raw.shape, self.raw_shape)
        assert raw.dtype == np.float32, raw.dtype
        value = np.empty((steps, *self.shape), np.float32)
        valid = np.empty_like(value)
        pixels = np.ascontiguousarray(raw).reshape(steps, -1)
        if pixels.shape[1] < SIDE:
            pixels = np.pad(pixels, ((0, 0), (0, SIDE - pixels.shape[1])))
        tiles = self._tiles
        cell_means(
            *(pixels, self.start, self.weight),
            *(tiles.cells, tiles.lines, tiles.source, tiles.local),
            *(value.reshape(steps, -1), valid.reshape(steps, -1)),
        )
        return value, valid

    @cached_property
    def _tiles(self) -> Tiles:
        height, width = self.raw_shape
        return cut_tiles(self.start, self.pixel, max(SIDE, height * width))


def projected_weights(x_edges: Floats, y_edges: Floats, crs: CRS, grid: Grid) -> OverlapWeights:
    """Compute the weights of a projected raster's pixels in the cells of a grid, areas on WGS84.

    Pixels are rectangles in `crs`. The projection is inverted without a change of datum: as for
    lat/lon rasters, coordinates are taken as they are.

    Args:
        x_edges: coordinates of the columns' edges, width + 1 of them, ascending or descending, in
            the unit of `crs` (metres, kilometres, degrees of a rotated pole).
        y_edges: coordinates of the rows' edges, height + 1 of them, likewise.
        crs: reference system of the edges.
        grid: the target.

    Raises:
        InputError: edges that are not strictly monotonic, a CRS without latitude and longitude, no
            pixel that overlaps the grid, or a grid that reaches a pole inside the raster.
    """
    x_edges, y_edges = np.asarray(x_edges, np.float64), np.asarray(y_edges, np.float64)
    require_axis("x", x_edges)
    require_axis("y", y_edges)
    key = key_of("projected", ALGORITHM, x_edges, y_edges, crs.to_wkt(), grid)

    def make() -> OverlapWeights:
        made = _weights(projected_sides(x_edges, y_edges, crs, grid), grid)
        if made is None:
            raise InputError(
                f"raster covers x {min(x_edges):.6g} to {max(x_edges):.6g} and y "
                f"{min(y_edges):.6g} to {max(y_edges):.6g} of {crs.name}: expected some of "
                f"{_region(grid)}"
            )
        return made

    return _cached(key, make)


def curvilinear_weights(latitude: Floats, longitude: Floats, grid: Grid) -> OverlapWeights:
    """Compute the weights of pixels around given centres in the cells of a grid, areas on WGS84.

    A corner of a pixel is the mean of the four centres around it, extrapolated at the rim. Sides
    are straight in longitude and latitude.

    Args:
        latitude: latitudes of the centres [degrees north], shape (height, width), at least 2 x 2.
        longitude: longitudes of the centres [degrees east], likewise, in any range.
        grid: the target.

    Raises:
        InputError: centres that are not finite or not on the globe, pixels that overlap each other,
            no pixel that overlaps the grid, or a grid that reaches a pole inside the raster.
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

    def make() -> OverlapWeights:
        made = _weights(curvilinear_sides(latitude, longitude, grid), grid)
        if made is None:
            raise InputError(
                f"raster covers longitudes {longitude.min():.6g} to {longitude.max():.6g} and "
                f"latitudes {latitude.min():.6g} to {latitude.max():.6g}: expected some of "
                f"{_region(grid)}"
            )
        return made

    return _cached(key, make)


def _cached(key: str, make: Callable[[], OverlapWeights]) -> OverlapWeights:
    """Return the cached weights, or compute and cache them."""
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


def _region(grid: Grid) -> str:
    bounds = tuple(round(b, 4) for b in grid.bounds)
    return f"the region {bounds} (west, south, east, north)"


def _weights(sides: Sides | None, grid: Grid) -> OverlapWeights | None:
    """Compute weights from the pixels' sides, and the smallest window; None without an overlap."""
    if sides is None:
        return None
    rows, columns = sides.window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    band = max(1, BAND_PIXELS // width)
    bands = []
    for first in range(0, height, band):
        rows_and_columns = sides.draw(first, min(first + band, height))
        bands.append(shares(*rows_and_columns, grid, first))
    cell, pixel, share = (np.concatenate([found[n] for found in bands]) for n in range(3))
    one_way, other_way, polar = (sum(int(found[n]) for found in bands) for n in range(3, 6))
    if polar:
        raise InputError(
            f"raster has a pole among its pixels, and {_region(grid)} reaches it: expected a "
            "region that ends before the pole"
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
    covered = matrix.sum(axis=1)
    if covered.max() > 1 + MAX_OVERLAP:
        raise InputError(
            f"raster covers a cell {covered.max():.6g} times: expected no overlapping pixels"
        )
    covered[covered < 1 - MAX_LOST] = 1  # and stay so; the others become whole
    weight = matrix.data / np.repeat(covered, np.diff(matrix.indptr))
    window = (
        slice(rows.start + top, rows.start + bottom + 1),
        slice(columns.start + left, columns.start + right + 1),
    )
    start, pixel = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
    return OverlapWeights(window, grid.shape, start, pixel, weight)
