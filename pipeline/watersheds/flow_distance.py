"""Flow distance from each cell of a watershed to its outlet, along traced flow paths."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import CELLS_PER_DEGREE, Grid
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.flow_directions import FlowField, flow_field_of
from pipeline.watersheds.polygons import Watershed
from pipeline.watersheds.straight_distance import (
    fill_gaps,
    guess_outlet,
    mean_distance,
    straight_distance,
)

LOG = logging.getLogger(__name__)
AREA_WARN, AREA_FAIL = 0.1, 0.5  # relative difference of the traced area from the polygon's
SINUOSITY = 1.7  # flow path over straight line; 1.69 to 1.76 traced on Daddys Creek
FIT_PIXELS = 2000  # number of traced pixels to fit a watershed's own sinuosity to, about

Window = tuple[slice, slice]


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

    Flow directions are read or derived once per process, for all watersheds. Warns of a traced area
    more than 10 % off the polygon's and, without terrain, of a guessed outlet.

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
    field = flow_field_of(catalog)
    return traced_paths(field, watershed, grid, coverage, catalog.terrain.outlet_snap)


def traced_paths(
    field: FlowField, watershed: Watershed, grid: Grid, coverage: np.ndarray, snap: float
) -> FlowPath:
    """Compute flow distances along traced paths; see `flow_paths`.

    The outlet is the pixel in the polygon, or within `snap` metres of it, whose upstream area
    agrees best with the polygon: greatest intersection over union. A larger river that touches the
    polygon drains more, and agrees less. The distance of the outlet's own pixel is half its side.
    """
    window, inside, near = _masks(field, watershed, snap)
    turned = _unwrap(field.lon[window], sum(grid.bounds[::2]) / 2)
    lon, lat, area = (values[inside] for values in (turned, field.lat[window], field.area[window]))
    position, length = (values[window][inside] for values in (field.position, field.length))
    upstream_area, start, last = (
        values[window][near] for values in (field.upstream_area, field.position, field.last)
    )
    order = np.argsort(position)
    total = np.append(0.0, np.cumsum(area[order]))  # area inside the polygon, in that order
    ends = np.searchsorted(position[order], (start, last))
    within = total[ends[1]] - total[ends[0]]  # upstream area inside the polygon
    agreement = within / (upstream_area + total[-1] - within)
    best = int(agreement.argmax())
    outlet = tuple(axis[best] for axis in np.nonzero(near))
    traced_area = float(upstream_area[best])
    _compare_areas(field, watershed, traced_area)

    used = (position >= start[best]) & (position < last[best])
    assert used.any(), "the best agreement is above 0, so a pixel inside drains to the outlet"
    half_pixel = 0.5 * np.sqrt(field.area[window][outlet])
    end = float(turned[outlet]), float(field.lat[window][outlet])
    lon, lat, weight = lon[used], lat[used], area[used]
    length = np.maximum(length[used] - field.length[window][outlet], half_pixel)
    height = field.elevation[window][inside][used] - field.elevation[window][outlet]
    slope = float(np.dot(height, weight) / np.dot(length, weight))
    distance = _cell_means(grid, coverage, lon, lat, length, weight)
    if np.isnan(distance[coverage > 0]).any():
        some = slice(None, None, 1 + length.size // FIT_PIXELS)
        straight = straight_distance(lon[some], lat[some], end)
        sinuosity = SINUOSITY  # for a watershed of one pixel
        if straight.any():
            sinuosity = np.dot(length[some], weight[some]) / np.dot(straight, weight[some])
        fill_gaps(distance, watershed.polygon, grid, coverage, end, sinuosity, half_pixel)
    return FlowPath(distance, end, traced_area, slope if np.isfinite(slope) else None, "d8")


def straight_paths(watershed: Watershed, grid: Grid, coverage: np.ndarray) -> FlowPath:
    """Compute straight distances times `SINUOSITY`, without terrain.

    The outlet is guessed; see `guess_outlet`. On Daddys Creek and two basins nested in it the guess
    is 2 to 5 km off the traced outlet; on a third it is the wrong end of the basin.
    """
    end = guess_outlet(watershed.polygon)
    LOG.warning(
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


def _masks(
    field: FlowField, watershed: Watershed, snap: float
) -> tuple[Window, np.ndarray, np.ndarray]:
    """Find valid pixels with their centre in the polygon, and those within `snap` metres of it.

    Returns:
        Slices (rows, columns) of the raster that hold them all, and two masks of that window.
    """
    west, south, east, north = watershed.polygon.bounds
    bounds = field.bounds
    inside = np.zeros(0, dtype=bool)
    middle, half = (bounds[0] + bounds[2]) / 2, (bounds[2] - bounds[0]) / 2
    apart = abs(_unwrap(np.array((west + east) / 2), middle) - middle) - (east - west) / 2
    # far from its origin a projection may have no finite coordinates
    if apart <= half and south <= bounds[3] and north >= bounds[1]:
        polygon = shapely.transform(
            watershed.polygon, field.from_degrees.transform, interleaved=False
        )
        reach = int(np.ceil(snap / field.min_pixel_side)) + 1
        window = _window(field, polygon, reach)
        touched = np.zeros(field.valid[window].shape, dtype=np.uint8)
        corner = Affine.translation(window[1].start, window[0].start)
        rasterize([polygon], out=touched, transform=field.transform * corner)
        inside = (touched > 0) & field.valid[window]
    if not inside.any():
        raise InputError(
            f"{field.source}: spans {bounds[0]:.4f}..{bounds[2]:.4f}, {bounds[1]:.4f}.."
            f"{bounds[3]:.4f}: expected pixels in the watershed of {watershed.site_no}, "
            f"{west:.4f}..{east:.4f}, {south:.4f}..{north:.4f}"
        )
    side = np.sqrt(field.area[window][inside].mean())
    near = distance_transform_edt(touched == 0) * side <= snap
    return window, inside, near & field.valid[window]


def _window(field: FlowField, polygon: shapely.Geometry, margin: int) -> Window:
    """Window of the raster within `margin` pixels of a polygon in its CRS, at least one pixel."""
    x, y = shapely.get_coordinates(polygon).T
    to_pixels = ~field.transform
    positions = (
        to_pixels.d * x + to_pixels.e * y + to_pixels.f,
        to_pixels.a * x + to_pixels.b * y + to_pixels.c,
    )
    starts, stops = [], []
    for position, size in zip(positions, field.valid.shape, strict=True):
        starts.append(min(max(int(position.min()) - margin, 0), size - 1))
        stops.append(min(max(int(position.max()) + 1 + margin, starts[-1] + 1), size))
    return slice(starts[0], stops[0]), slice(starts[1], stops[1])


def _compare_areas(field: FlowField, watershed: Watershed, traced: float) -> None:
    """Warn of, or refuse, a traced area that differs from the polygon's."""
    off = traced / watershed.area - 1
    message = (
        f"{field.source}: traces {traced / M2_PER_KM2:.4g} km2 to the outlet of "
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
