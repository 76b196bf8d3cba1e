"""A few steps of a store computed again from its raw files, plainly and in float64.

Nothing is shared with `pipeline.regrid` or `pipeline.rasters` but the formula: files are opened
one at a time and in full, overlaps are a dense matrix of every cell and pixel, sums are matrix
products.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import zarr
from rasterio.errors import RasterioError

from pipeline.catalog import STEP, TIME_FIELD, Catalog, RasterSource, load_catalog
from pipeline.errors import InputError
from pipeline.grid import CELLS_PER_DEGREE, zone_area
from pipeline.store import array_of, valid_fraction_name

STEPS = 5  # compared for each forcing
TOTAL_TOLERANCE = 1e-6  # relative
CELL_TOLERANCE = 1e-5  # of the largest raw value


@dataclass(frozen=True)
class Difference:
    """Store against raw files, the worst of the steps.

    Attributes:
        forcing, units: what is compared.
        steps: how many.
        total: |sum of value x valid fraction x area - the raw files' sum| over the latter's scale.
        cell: largest difference of a cell.
        good: whether both are within tolerance.
    """

    forcing: str
    units: str
    steps: int
    total: float
    cell: float
    good: bool


def compare_with_raw(root: zarr.Group, catalog_path: Path, digest: str) -> list[Difference]:
    """Compare `STEPS` steps of each forcing, the same ones every time.

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
    x, y = (np.asarray(array_of(root, f"region/{axis}")[...]) for axis in ("x", "y"))
    area = np.asarray(array_of(root, "region/cell_area")[...])
    values = array_of(root, f"region/{name}")
    fractions = array_of(root, f"region/{valid_fraction_name(name)}")
    total = cell = 0.0
    good, compared = True, 0
    for step in chosen.tolist():
        path = _path(catalog, source, catalog.period.times[step])
        if compared == STEPS:
            break
        if not path.exists() and source.max_missing_steps:
            continue
        raw, x_edges, y_edges = _read(path, source)
        value = np.asarray(values[step], dtype=np.float64)
        valid = np.asarray(fractions[step], dtype=np.float64)
        amount, share = _regrid(raw, x_edges, y_edges, x, y)
        kept = share >= source.min_valid
        scale = max(float(np.nanmax(np.abs(raw), initial=0.0)), 1e-6)
        both = np.isfinite(value) & kept
        error = np.abs(value[both] - amount[both] / share[both])
        ours = float((value * valid * area)[both].sum())
        theirs = float((amount * area)[both].sum())
        norm = max(float((np.abs(amount) * area)[both].sum()), 1e-6 * float(area.sum()))
        cell = max(cell, float(error.max(initial=0.0)))
        total = max(total, abs(ours - theirs) / norm)
        near = np.abs(share - source.min_valid) < 1e-5  # may fall on either side
        good &= bool((np.isfinite(value) == kept)[~near].all())
        good &= float(error.max(initial=0.0)) <= CELL_TOLERANCE * scale
        good &= total <= TOTAL_TOLERANCE
        compared += 1
    return Difference(name, source.units, compared, total, cell, good)


def _path(catalog: Catalog, source: RasterSource, start: pd.Timestamp) -> Path:
    """The file of the step that starts at `start`."""
    length = STEP[catalog.period.step] if source.time.label == "end" else timedelta(0)
    label = start + length - source.time.offset
    name = TIME_FIELD.sub(lambda match: label.strftime(match[1]), source.files)
    return catalog.resolve(name)


def _read(path: Path, source: RasterSource) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A band as float64 with NaN, and the edges of its pixels."""
    try:
        with rasterio.open(path) as file:
            masked = file.read(source.band, masked=True).astype(np.float64)
            scale, offset = file.scales[source.band - 1], file.offsets[source.band - 1]
            transform, shape = file.transform, file.shape
    except RasterioError as error:
        raise InputError(
            f"{path}: not readable: expected the raster that the store holds"
        ) from error
    raw = masked.filled(np.nan)
    raw[np.isin(raw, source.missing)] = np.nan
    x_edges = transform.c + transform.a * np.arange(shape[1] + 1)
    y_edges = transform.f + transform.e * np.arange(shape[0] + 1)
    return raw * scale + offset, x_edges, y_edges


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
