"""Flow distance from each cell of a watershed to its outlet, along traced flow paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.regrid.grid import CELLS_PER_DEGREE, Grid
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.flow_directions import open_terrain
from pipeline.watersheds.outlet import Outlet, find_outlet, require_pixels
from pipeline.watersheds.polygons import Watershed
from pipeline.watersheds.straight_distance import (
    fill_gaps,
    guess_outlet,
    mean_distance,
    straight_distance,
)

LOG = get_logger(__name__)
AREA_WARN, AREA_FAIL = 0.1, 0.5  # relative difference of the traced area from the polygon's
SINUOSITY = 1.7  # flow path over straight line; 1.69 to 1.76 traced on Daddys Creek
FIT_PIXELS = 2000  # number of traced pixels to fit a watershed's own sinuosity to, about


@dataclass(frozen=True)
class FlowPath:
    """Flow distances of a watershed on a grid.

    Attributes:
        distance: metres to the outlet, mean over the cell's part inside the watershed, float64
            (y, x); above 0, and NaN where coverage is 0.
        outlet: (longitude, latitude) [degrees].
        traced_area: area that drains to the outlet on the terrain [m2]; None without terrain.
        slope: mean height above the outlet over mean distance to it; None without elevations.
        method: "d8", along traced paths; "great-circle", straight times a sinuosity.
    """

    distance: np.ndarray
    outlet: tuple[float, float]
    traced_area: float | None
    slope: float | None
    method: Literal["d8", "great-circle"]


def flow_paths(
    catalog: Catalog, watershed: Watershed, grid: Grid, coverage: np.ndarray
) -> FlowPath:
    """Compute flow distances of a watershed on a grid, from the catalog's terrain.

    Of the terrain a window around the polygon is read, so that time and memory grow with the
    watershed and not with the raster. Warns of a traced area more than 10 % off the polygon's.

    Args:
        catalog: with the location of the terrain, if there is one.
        watershed: with its polygon.
        grid: the cells.
        coverage: share of each cell inside the watershed, (y, x) of `grid`.

    Raises:
        InputError: the terrain is not readable, has no CRS, does not cover the polygon, or the
            traced area is more than 50 % off the polygon's.
    """
    assert coverage.shape == grid.shape
    if catalog.terrain is None:
        return straight_paths(watershed, grid, coverage)
    outlet = find_outlet(open_terrain(catalog), watershed, catalog.terrain.outlet_snap)
    return traced_paths(outlet, watershed, grid, coverage)


def require_reached(catalog: Catalog, watersheds: Sequence[Watershed]) -> None:
    """Require that the catalog's terrain reaches each watershed; only its header is read.

    Raises:
        InputError: as `open_terrain`; the terrain does not reach one.
    """
    require_pixels(open_terrain(catalog), watersheds)


def traced_paths(
    outlet: Outlet, watershed: Watershed, grid: Grid, coverage: np.ndarray
) -> FlowPath:
    """Compute flow distances along traced paths to the outlet; see `flow_paths`.

    The distance of the outlet's own pixel is half its side.
    """
    field, pixel = outlet.field, outlet.pixel
    _compare_areas(outlet, watershed)
    used = outlet.inside & field.upstream(pixel)
    assert used.any(), "the best agreement is above 0, so a pixel inside drains to the outlet"
    lon = _unwrap(field.lon[used], sum(grid.bounds[::2]) / 2)
    lat, weight = field.lat[used], field.area[used]
    end = float(_unwrap(field.lon[pixel], sum(grid.bounds[::2]) / 2)), float(field.lat[pixel])
    half_pixel = 0.5 * np.sqrt(field.area[pixel])
    length = np.maximum(field.length[used] - field.length[pixel], half_pixel)
    height = field.elevation[used] - field.elevation[pixel]
    slope = float(np.dot(height, weight) / np.dot(length, weight))
    distance = _cell_means(grid, coverage, lon, lat, length, weight)
    if np.isnan(distance[coverage > 0]).any():
        some = slice(None, None, 1 + length.size // FIT_PIXELS)
        straight = straight_distance(lon[some], lat[some], end)
        sinuosity = SINUOSITY  # for a watershed of one pixel
        if straight.any():
            sinuosity = np.dot(length[some], weight[some]) / np.dot(straight, weight[some])
        fill_gaps(distance, watershed.polygon, grid, coverage, end, sinuosity, half_pixel)
    known_slope = slope if np.isfinite(slope) else None
    return FlowPath(distance, end, outlet.upstream_area, known_slope, "d8")


def straight_paths(watershed: Watershed, grid: Grid, coverage: np.ndarray) -> FlowPath:
    """Compute straight distances times `SINUOSITY`, without terrain.

    The outlet is guessed; see `guess_outlet`. On Daddys Creek and two basins nested in it the guess
    is 2 to 5 km off the traced outlet; on a third it is the wrong end of the basin.
    """
    end = guess_outlet(watershed.polygon)
    LOG.info(
        "%s: no terrain: outlet guessed at %.4f, %.4f, distances straight times %g",
        watershed.site_no, *end, SINUOSITY,
    )  # fmt: skip
    distance = SINUOSITY * mean_distance(watershed.polygon, grid, end)
    distance[coverage == 0] = np.nan
    fill_gaps(distance, watershed.polygon, grid, coverage, end, SINUOSITY, 1.0)
    return FlowPath(distance, end, None, None, "great-circle")


def _unwrap(lon: np.ndarray, middle: float) -> np.ndarray:
    """Shift longitudes to within 180 degrees of `middle`."""
    return np.asarray(lon - 360 * np.round((lon - middle) / 360))


def _compare_areas(outlet: Outlet, watershed: Watershed) -> None:
    """Warn of, or refuse, a traced area that differs from the polygon's."""
    traced = outlet.upstream_area
    off = traced / watershed.area - 1
    message = (
        f"{outlet.field.source}: traces {traced / M2_PER_KM2:.4g} km2 to the outlet of "
        f"{watershed.site_no}, {off:+.1%} off its polygon's {watershed.area / M2_PER_KM2:.4g} km2"
    )
    if abs(off) > AREA_FAIL:
        raise InputError(f"{message}: expected within {AREA_FAIL:.0%}")
    if abs(off) > AREA_WARN:
        LOG.warning("%s", message)


def _cell_means(
    grid: Grid,
    coverage: np.ndarray,
    lon: np.ndarray,
    lat: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Weighted means of point values in covered cells (y, x), NaN in cells without a point."""
    column = np.floor(lon * CELLS_PER_DEGREE).astype(int) - grid.west
    row = grid.north - 1 - np.floor(lat * CELLS_PER_DEGREE).astype(int)
    held = (column >= 0) & (column < grid.nx) & (row >= 0) & (row < grid.ny)
    cell = (row * grid.nx + column)[held]
    size = grid.nx * grid.ny
    total = np.bincount(cell, (value * weight)[held], size)
    amount = np.bincount(cell, weight[held], size)
    mean = np.where(amount > 0, total / np.where(amount > 0, amount, 1.0), np.nan)
    return np.where(coverage > 0, mean.reshape(grid.shape), np.nan)
