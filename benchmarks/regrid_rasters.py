"""Rasters that regridding is measured on, made-up rain on them, and the exact result.

The target is always the 84 x 48 cells of Iowa, and rasters are cropped to what these cells need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.sparse import csr_array, kron

from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import Axes
from pipeline.regrid.projected import OverlapWeights, projected_weights

GRID = Grid.covering((-97.0, 40.0, -90.0, 44.0))  # 84 x 48 cells
LONLAT = CRS("EPSG:4326")
SIDE_POINTS = 32  # of a polygon's side, for the exact result

Edges = NDArray[np.float64]
Field = NDArray[np.float32]
Exact = tuple[Edges, Edges]


@dataclass(frozen=True)
class Raster:
    """A grid of pixels, edges in the unit of its CRS, and the number and spacing of its fields."""

    name: str
    crs: CRS
    x_edges: Edges
    y_edges: Edges
    steps: int
    step: str = "hour"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.y_edges.size - 1, self.x_edges.size - 1

    @property
    def axes(self) -> Axes:
        """Where the pixels lie, as the pipeline describes it."""
        return Axes(self.x_edges, self.y_edges, None if self.is_lonlat else self.crs)

    @property
    def is_lonlat(self) -> bool:
        """Whether rows and columns are parallels and meridians."""
        return bool(self.crs.is_geographic)

    @cached_property
    def matrix(self) -> OverlapWeights:
        """Our weights as a sparse matrix, for peers that take one."""
        return projected_weights(self.x_edges, self.y_edges, self.crs, GRID)

    def to_degrees(self, x: Edges, y: Edges) -> tuple[Edges, Edges]:
        """Convert points in the CRS to longitudes and latitudes."""
        plane = self.crs.geodetic_crs
        assert plane is not None
        longitude, latitude = Transformer.from_crs(self.crs, plane, always_xy=True).transform(x, y)
        return longitude, latitude

    def over_iowa(self, share: float = 1.0) -> Raster:
        """Crop the raster to what Iowa needs, and to a share of the steps."""
        rows, columns = self.axes.weights(GRID).window
        x = self.x_edges[columns.start : columns.stop + 1]
        y = self.y_edges[rows.start : rows.stop + 1]
        return replace(self, x_edges=x, y_edges=y, steps=max(48, int(self.steps * share)))


# Pixels of 7/800 by 4/500 degree, so that each lies below a cell.
HUNDREDTH = Raster(
    "0.01 degree", LONLAT, np.linspace(-97.0, -90.0, 801), np.linspace(44.0, 40.0, 501), 720
)
PRISM = Raster(
    "PRISM",
    LONLAT,
    -125.0 - 1 / 48 + np.arange(1406) / 24,
    49.9375 - np.arange(622) / 24,
    3653,
    "day",
)
LAMBERT = Raster(  # Daymet's
    "1-km Lambert",
    CRS("+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84 +units=km"),
    np.arange(-2000.0, 2001.0),
    np.arange(2000.0, -2001.0, -1.0),
    528,
    "day",
)
STAGE_IV = Raster(
    "Stage IV",
    CRS("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=-105 +R=6371200"),
    -1_901_430.0 + 4762.5 * np.arange(1122.0),
    -7_613_145.0 + 4762.5 * np.arange(882.0),
    720,
)


def fields(raster: Raster) -> Field:
    """Make rain [mm], float32 (steps, rows, columns): skewed, dry in places, complete."""
    rng = np.random.default_rng(0)
    raw = rng.standard_exponential((raster.steps, *raster.shape), dtype=np.float32)
    raw -= 0.5
    return np.maximum(raw, 0, out=raw)


def with_holes(raw: Field) -> Field:
    """Copy fields and set a moving disc, and 2 % of single pixels in each step, to NaN."""
    raw = raw.copy()
    rng = np.random.default_rng(1)
    _, height, width = raw.shape
    row, column = np.ogrid[:height, :width]
    for step, field in enumerate(raw):
        y, x = height * (0.5 + 0.4 * np.sin(step / 7)), width * (0.5 + 0.4 * np.cos(step / 11))
        field[(row - y) ** 2 + (column - x) ** 2 < (height / 5) ** 2] = np.nan
        field.flat[rng.integers(0, field.size, field.size // 50)] = np.nan
    return raw


def exact_areas(raster: Raster) -> csr_array:
    """Compute overlaps [m2], shape (cells, pixels), without the pipeline's code."""
    return _lonlat_areas(raster) if raster.is_lonlat else _drawn_areas(raster)


def _lonlat_areas(raster: Raster) -> csr_array:
    """From PROJ's equal-area cylinder, on which pixels and cells are rectangles."""
    plane = Transformer.from_crs(LONLAT, "+proj=cea +ellps=WGS84", always_xy=True)

    def overlap(cells: Edges, pixels: Edges) -> Edges:
        low = np.maximum(cells[:-1, None], pixels[None, :-1])
        return np.clip(np.minimum(cells[1:, None], pixels[None, 1:]) - low, 0, None)

    def north(y: Edges) -> Edges:
        return -np.asarray(plane.transform(np.zeros(len(y)), y)[1])  # ascending from the north

    def east(x: Edges) -> Edges:
        return np.asarray(plane.transform(x, np.zeros(len(x)))[0])

    rows = overlap(north(GRID.y_edges), north(raster.y_edges))
    columns = overlap(east(GRID.x_edges), east(raster.x_edges))
    return csr_array(kron(csr_array(rows), csr_array(columns)))


def _drawn_areas(raster: Raster) -> csr_array:
    """By shapely, from polygons in an equal-area projection."""
    laea = f"+proj=laea +lat_0={GRID.y.mean()} +lon_0={GRID.x.mean()} +ellps=WGS84"
    to_plane = Transformer.from_crs(LONLAT, laea, always_xy=True)
    x, y = to_plane.transform(*_outlines(GRID.x_edges, GRID.y_edges))
    cells = shapely.polygons(np.stack((x, y), axis=-1))
    tree, shape = shapely.STRtree(cells), (cells.size, math.prod(raster.shape))
    found = csr_array(shape)
    for row in range(0, raster.shape[0], 64):  # a band of pixels at a time, for memory
        x, y = _outlines(raster.x_edges, raster.y_edges[row : row + 65])
        x, y = to_plane.transform(*raster.to_degrees(x, y))
        pixels = shapely.polygons(np.stack((x, y), axis=-1))
        pixel, cell = tree.query(pixels, predicate="intersects")
        area = shapely.area(shapely.intersection(cells[cell], pixels[pixel]))
        found = found + csr_array((area, (cell, pixel + row * raster.shape[1])), shape)
    return found


def _outlines(x: Edges, y: Edges) -> tuple[Edges, Edges]:
    """Return points around each rectangle between edges, shape (rectangles, points)."""
    t = np.arange(SIDE_POINTS) / SIDE_POINTS
    one, zero = np.ones_like(t), np.zeros_like(t)
    sides = np.broadcast_arrays(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
    x0, y0, x1, y1 = (a.ravel()[:, None] for a in sides)
    east, north = np.r_[t, one, 1 - t, zero], np.r_[zero, t, one, 1 - t]
    return x0 + (x1 - x0) * east, y0 + (y1 - y0) * north


def exact(raw: Field, areas: csr_array) -> Exact:
    """Compute the mean over the valid part of each cell, and that part's area [m2], in float64."""
    flat = raw.reshape(len(raw), -1).astype(np.float64)
    area = (areas @ np.isfinite(flat).astype(np.float64).T).T
    area[area < 1.0] = 0.0  # m2: rounding
    with np.errstate(invalid="ignore", divide="ignore"):  # a cell without a valid part
        mean = np.where(area > 0, (areas @ np.nan_to_num(flat).T).T / area, np.nan)
    return mean.reshape(-1, *GRID.shape), area.reshape(-1, *GRID.shape)


def accuracy(value: Field, truth: Exact) -> dict[str, float]:
    """Compare with the exact result: worst cell [mm], relative error of the total, and number of
    cells that are wrongly missing or wrongly present."""
    mean, area = truth
    value = value.astype(np.float64)
    volume = (np.nan_to_num(value) * area).sum() / (np.nan_to_num(mean) * area).sum()
    return {
        "worst_cell_mm": float(np.nanmax(np.abs(value - mean))),
        "total_volume_relative": float(volume - 1),
        "cells_missing_wrongly": int((np.isnan(value) != np.isnan(mean)).sum()),
    }
