"""Recompute a few steps of a store from its raw files, in plain float64, and compare.

This is a second implementation. It shares only the formula with `pipeline.regrid.separable`,
`pipeline.regrid.projected` and `pipeline.run.aggregate`: rasters are read one at a time and in
full, overlaps are a dense matrix of every cell and pixel, and sums are matrix products; pixels that
do not follow parallels become polygons, and a sample of the cells is compared. Files are read and
unpacked by `pipeline.check.published`, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import zarr

from pipeline.catalog.models import PRECIPITATION, Catalog, load_catalog
from pipeline.catalog.time import NEVER
from pipeline.check.pixel_polygons import pixel_corners
from pipeline.check.published import misplaced, read_published
from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries, open_series
from pipeline.regrid.grid import CELLS_PER_DEGREE, zone_area
from pipeline.regrid.placement import Axes, Curvilinear
from pipeline.run.aggregate import NEGATIVE_NOISE
from pipeline.store.root import array_of
from pipeline.store.spec import valid_fraction_name

LEAST_STEPS, MOST_STEPS = 5, 40  # of each forcing that are compared
BUDGET = 5.0  # seconds after which a forcing's comparison stops at the least
# Cells that are compared of a raster whose pixels become polygons: with a value in the store, and
# without.
FULL_CELLS, EMPTY_CELLS = 30, 10
TOTAL_TOLERANCE = 1e-6  # relative, of a step's total over the region
CELL_TOLERANCE = 1e-5  # of the largest raw value


@dataclass(frozen=True)
class Difference:
    """Largest differences between a store and its raw files.

    Attributes:
        forcing, units: what is compared.
        steps: how many.
        total: |sum of value x valid fraction x area - the raw files' sum| over the latter's scale.
        cell: largest difference of a cell.
        within_tolerance: whether both are.
        misplaced: how the file's axes contradict the store; empty if they do not.
    """

    forcing: str
    units: str
    steps: int
    total: float
    cell: float
    within_tolerance: bool
    misplaced: str


def compare_with_raw(root: zarr.Group, catalog_path: Path, digest: str) -> list[Difference]:
    """Compare `LEAST_STEPS` steps of each forcing, or more if that is quick.

    They are chosen at random, but always in the same order.

    Raises:
        InputError: the catalog or a raw file is not there any more, or has changed.
    """
    catalog = load_catalog(catalog_path)
    if catalog.digest != digest:
        raise InputError(f"{catalog_path}: has changed since the store was written")
    steps = len(catalog.period.times)
    chosen = np.random.default_rng(steps).permutation(steps)
    return [_compare(root, catalog, name, chosen) for name in catalog.forcings]


def _compare(root: zarr.Group, catalog: Catalog, name: str, chosen: np.ndarray) -> Difference:
    source = catalog.forcings[name]
    series = open_series(catalog, [name])
    x, y = (np.asarray(array_of(root, f"region/{axis}")[...]) for axis in ("x", "y"))
    area = np.asarray(array_of(root, "region/cell_area")[...])
    values = array_of(root, f"region/{name}")
    fractions = array_of(root, f"region/{valid_fraction_name(name)}")
    scale, offset = series.conversion(name)
    regrid = _regridder(series.layout.placement, x, y, np.isfinite(values[int(chosen[0])]))
    total = cell = 0.0
    wrong = misplaced(series, name)
    good, compared = not wrong, 0
    started = time.monotonic()
    for step in chosen.tolist():
        late = time.monotonic() - started > BUDGET
        if compared == MOST_STEPS or (late and compared >= LEAST_STEPS):
            break
        raw = [
            _raw(catalog, series, name, interval)
            for interval in range(step * series.per_step, (step + 1) * series.per_step)
            if series.present[interval]
        ]
        if not raw:
            continue
        parts = [regrid(pixels) for pixels in raw]
        amount, share = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        fraction = share / series.per_step
        with np.errstate(invalid="ignore"):
            expected = amount / share * scale + offset
        value = np.asarray(values[step], dtype=np.float64)
        valid = np.asarray(fractions[step], dtype=np.float64)
        kept = fraction >= source.min_valid
        largest = max(float(np.nanmax(np.abs(pixels), initial=0.0)) for pixels in raw)
        limit = CELL_TOLERANCE * max(largest * abs(scale) + abs(offset), 1e-6)
        seen = np.isfinite(share)  # cells that were computed again
        both = np.isfinite(value) & kept & seen
        error = np.abs(value[both] - expected[both])
        ours = float((value * valid * area)[both].sum())
        theirs = float((expected * fraction * area)[both].sum())
        # rounding is that of the raw numbers, such as 280 K of which 7 degrees are stored
        norm = float((np.abs(expected - offset) * fraction * area)[both].sum())
        norm = max(norm, 1e-6 * float(area.sum()))
        cell = max(cell, float(error.max(initial=0.0)))
        total = max(total, abs(ours - theirs) / norm)
        clear = np.abs(fraction - source.min_valid) >= 1e-5  # others may fall on either side
        good &= bool((np.isfinite(value) == kept)[clear & seen].all())
        good &= float(error.max(initial=0.0)) <= limit
        good &= total <= TOTAL_TOLERANCE
        compared += 1
    return Difference(name, source.store_units, compared, total, cell, good, wrong)


def _raw(catalog: Catalog, series: RasterSeries, name: str, interval: int) -> np.ndarray:
    """Read a whole raster as float64 (rows, columns) in the source's units, missing as NaN."""
    source = catalog.forcings[name]
    raw = read_published(series, name, interval)
    if source.totals:
        start = series.intervals.times[interval]
        goes_on = source.totals == NEVER or (start - start.normalize()) % source.totals
        if goes_on:  # not the first of its stretch
            known = interval > 0 and series.present[interval - 1]
            raw -= read_published(series, name, interval - 1) if known else np.nan
    if name == PRECIPITATION:
        step = series.intervals.step
        factor = source.conversion(source.units, step, step)[0]
        raw = np.where(raw < 0, np.where(raw * factor >= -NEGATIVE_NOISE, 0.0, np.nan), raw)
    return np.where(np.isfinite(raw), raw, np.nan)


Regridder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _regridder(
    placement: Axes | Curvilinear, x: np.ndarray, y: np.ndarray, full: np.ndarray
) -> Regridder:
    """Return a function that regrids a raster: `_regrid`, or the like with NaN in cells that are
    not compared; `full` (y, x) says which cells have a value in the store."""
    if isinstance(placement, Axes) and placement.crs is None:
        return partial(_regrid, x_edges=placement.x_edges, y_edges=placement.y_edges, x=x, y=y)
    drawn = pixel_corners(placement)
    order = np.random.default_rng(x.size).permutation(x.size * y.size)
    has = full.ravel()[order]
    chosen = np.concatenate((order[has][:FULL_CELLS], order[~has][:EMPTY_CELLS]))
    at = list(zip(*np.unravel_index(chosen, (y.size, x.size)), strict=True))
    shares = [drawn.shares(x[column], y[row], 1 / CELLS_PER_DEGREE) for row, column in at]

    def regrid(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        amount, share = (np.full((y.size, x.size), np.nan) for _ in range(2))
        for cell, (pixels, part) in zip(at, shares, strict=True):
            here = raw[pixels]
            amount[cell] = (part * np.nan_to_num(here)).sum()
            share[cell] = (part * np.isfinite(here)).sum()
        return amount, share

    return regrid


def _regrid(
    raw: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over valid pixels of (share of the cell's area) x value, and of the shares: (y, x)."""
    half = 0.5 / CELLS_PER_DEGREE
    turn = 360 * np.round((x.mean() - x_edges) / 360).astype(int)
    turns = np.unique(turn)  # the region may lie on both sides of a global raster's seam
    columns = np.sum([_overlap(x_edges + t, x - half, x + half) for t in turns], axis=0)
    columns /= 2 * half
    zones = zone_area(y_edges), zone_area(y - half), zone_area(y + half)
    rows = _overlap(*zones) / (zones[2] - zones[1])[:, None]
    mask = np.isfinite(raw)
    return rows @ np.nan_to_num(raw) @ columns.T, rows @ mask @ columns.T


def _overlap(edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Length shared by each cell (low to high) and each pixel between edges, (cells, pixels)."""
    left, right = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    shared = np.minimum(right, high[:, None]) - np.maximum(left, low[:, None])
    return np.maximum(shared, 0.0)
