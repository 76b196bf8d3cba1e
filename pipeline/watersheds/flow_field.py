"""Accumulate areas and lengths along flow directions.

Lengths and areas of pixels are those on the WGS84 ellipsoid, whatever the raster's CRS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyflwdir
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from pipeline.regrid.grid import WGS84_A, WGS84_E2, zone_area

ROWS = 128  # that are computed at once, so that temporary arrays stay small


class Sides(NamedTuple):
    """Sides of a window at which it cuts the raster: water may come from beyond them."""

    north: bool = False
    south: bool = False
    west: bool = False
    east: bool = False


@dataclass(frozen=True, eq=False)
class FlowField:
    """Flow directions in a window of a raster, and what is derived from them.

    Attributes:
        source: file of the raster.
        crs, transform: georeference of the window.
        cut: sides at which the window cuts the raster.
        flow: the directions.
        elevation: [m], NaN if not valid or, of a D8 raster, not known; arrays are (rows, columns).
        lon, lat: pixel centres [degrees], continuous across the antimeridian.
        area: area of the pixels [m2], 0 if not valid.
    """

    source: Path
    crs: CRS
    transform: Affine
    cut: Sides
    flow: pyflwdir.FlwdirRaster
    elevation: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    area: np.ndarray

    @cached_property
    def valid(self) -> np.ndarray:
        """Whether a pixel has an elevation or a direction."""
        mask: np.ndarray = self.flow.mask.reshape(self.flow.shape)
        return mask

    def to_pixels(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows of points, whole at pixel centres."""
        x, y = from_degrees(self.crs).transform(lon, lat)
        inverse = ~self.transform
        columns = inverse.a * x + inverse.b * y + inverse.c - 0.5
        rows = inverse.d * x + inverse.e * y + inverse.f - 0.5
        return columns, rows

    @cached_property
    def upstream_area(self) -> np.ndarray:
        """Area of the window that drains through each pixel, its own included [m2]."""
        return self.accumulate(self.area)

    @cached_property
    def truncated(self) -> np.ndarray:
        """Whether the upstream area of a pixel reaches a side at which the window cuts the raster.

        It is then possibly greater than `upstream_area`.
        """
        edge = np.zeros(self.flow.shape, np.float32)
        edge[0], edge[-1] = self.cut.north, self.cut.south
        edge[:, 0] += self.cut.west
        edge[:, -1] += self.cut.east
        return self.accumulate(edge) > 0

    @cached_property
    def length(self) -> np.ndarray:
        """Length of the flow path to the window's edge or a pit [m]."""
        step = np.zeros(self.lon.size)
        lon, lat, below = self.lon.ravel(), self.lat.ravel(), self.flow.idxs_ds
        valid = self.valid.ravel()
        size = ROWS * self.lon.shape[1]
        for start in range(0, step.size, size):
            here = start + np.flatnonzero(valid[start : start + size])
            there = below[here]
            step[here] = _short_distance(lon[here], lat[here], lon[there], lat[there])
        length: np.ndarray = self.flow.accuflux(step.reshape(self.lon.shape), direction="down")
        return length

    def accumulate(self, amount: np.ndarray) -> np.ndarray:
        """Sums of an amount of the pixels over all that drain through each, itself included."""
        total: np.ndarray = self.flow.accuflux(amount)
        return total

    def upstream(self, pixel: tuple[int, int]) -> np.ndarray:
        """Whether water of each pixel flows through `pixel` (row, column), itself included."""
        return self.drains_to(np.array([pixel[0] * self.lon.shape[1] + pixel[1]]))

    def drains_to(self, pixels: np.ndarray) -> np.ndarray:
        """Whether water of each pixel flows through one of `pixels`, by index, itself included."""
        basin: np.ndarray = self.flow.basins(idxs=pixels) > 0
        return basin


def flow_field(
    flow: pyflwdir.FlwdirRaster,
    crs: CRS,
    transform: Affine,
    source: Path,
    elevation: np.ndarray,
    cut: Sides = Sides(),  # noqa: B008, immutable
) -> FlowField:
    """Locate the pixels of a window on the ellipsoid and derive their areas."""
    lon, lat, area = np.empty(flow.shape), np.empty(flow.shape), np.empty(flow.shape)
    columns = np.arange(flow.shape[1] + 1.0)
    for rows in _row_blocks(flow.shape[0]):
        row = np.arange(rows.start, rows.stop + 1.0)
        lon[rows], lat[rows] = pixel_degrees(crs, transform, row[:-1] + 0.5, columns[:-1] + 0.5)
        area[rows] = quadrilateral_areas(*pixel_degrees(crs, transform, row, columns))
    area[~flow.mask.reshape(flow.shape)] = 0.0
    return FlowField(source, crs, transform, cut, flow, elevation, continuous(lon), lat, area)


@lru_cache(maxsize=8)
def to_degrees(crs: CRS) -> Transformer:
    """Transformer from a CRS to longitude and latitude, cached; threads may share it."""
    return Transformer.from_crs(crs, 4326, always_xy=True)


@lru_cache(maxsize=8)
def from_degrees(crs: CRS) -> Transformer:
    """Transformer from longitude and latitude to a CRS, cached; threads may share it."""
    return Transformer.from_crs(4326, crs, always_xy=True)


def _row_blocks(rows: int) -> Iterator[slice]:
    """Slices of at most `ROWS` rows."""
    for start in range(0, rows, ROWS):
        yield slice(start, min(start + ROWS, rows))


def pixel_degrees(
    crs: CRS, transform: Affine, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes (rows, columns) of fractional pixel positions, continuous across the
    antimeridian.

    Args:
        crs, transform: georeference of the raster.
        rows, columns: pixel positions; centres are at halves.
    """
    column, row = np.meshgrid(columns, rows)
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    lon, lat = to_degrees(crs).transform(x, y)
    return continuous(lon), lat


def continuous(lon: np.ndarray) -> np.ndarray:
    """Longitudes without a step from 180 to -180 degrees."""
    around = np.nanmin(np.abs(lon)) > 90 and np.nanmin(lon) < 0 < np.nanmax(lon)
    return np.where(lon < 0, lon + 360, lon) if around else lon


def quadrilateral_areas(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Areas [m2] of the quadrilaterals between corners: shoelace formula in an equal-area plane."""
    x, y = np.radians(lon), zone_area(lat)
    dx1, dy1 = x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]
    dx2, dy2 = x[:-1, 1:] - x[1:, :-1], y[:-1, 1:] - y[1:, :-1]
    area: np.ndarray = 0.5 * np.abs(dx1 * dy2 - dx2 * dy1)
    return area


def _short_distance(
    lon0: np.ndarray, lat0: np.ndarray, lon1: np.ndarray, lat1: np.ndarray
) -> np.ndarray:
    """Distances [m] between neighbouring pixels, from the radii of curvature at their middle."""
    middle = np.radians((lat0 + lat1) / 2)
    w2 = 1 - WGS84_E2 * np.sin(middle) ** 2
    north = WGS84_A * (1 - WGS84_E2) / w2**1.5 * np.radians(lat1 - lat0)
    east = WGS84_A / np.sqrt(w2) * np.cos(middle) * np.radians(lon1 - lon0)
    length: np.ndarray = np.hypot(north, east)
    return length
