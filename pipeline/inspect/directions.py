"""Tell in which numbering a raster holds D8 flow directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyflwdir
from numpy.typing import NDArray

from pipeline.watersheds.flow_directions import CODES

# (row, column) of the neighbour that a pixel drains to
E, SE, S, SW = (0, 1), (1, 1), (1, 0), (1, -1)
W, NW, N, NE = (0, -1), (-1, -1), (-1, 0), (-1, 1)
MAX_CIRCLING = 1e-2  # share of pixels on or above a circle, of a damaged raster
PIT, NO_DIRECTION = 0, 247  # of pyflwdir's d8
MAX_CODES = 12  # distinct values of a raster of directions, with pits and nodata


@dataclass(frozen=True)
class Table:
    """A numbering: what each code drains to, and the codes that drain nowhere."""

    drains_to: Mapping[int, tuple[int, int]]
    others: tuple[int, ...]


def _numbered(first: int, around: tuple[tuple[int, int], ...]) -> dict[int, tuple[int, int]]:
    return dict(enumerate(around, first))


CLOCKWISE = (N, NE, E, SE, S, SW, W, NW)
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "esri": Table(
            dict(zip((1, 2, 4, 8, 16, 32, 64, 128), (E, SE, S, SW, W, NW, N, NE), strict=True)),
            (0, 247, 255, -1),
        ),
        "ldd": Table(
            dict(zip((1, 2, 3, 4, 6, 7, 8, 9), (SW, S, SE, W, E, NW, N, NE), strict=True)),
            (5, 0, 255, -1),
        ),
        "clockwise from north, 1 to 8": Table(_numbered(1, CLOCKWISE), (0, 255, -1)),
        "clockwise from east, 1 to 8": Table(
            _numbered(1, (E, SE, S, SW, W, NW, N, NE)), (0, 255, -1)
        ),
        "taudem": Table(_numbered(1, (E, NE, N, NW, W, SW, S, SE)), (0, 255, -1, -32768)),
        "grass": Table(_numbered(1, (NE, N, NW, W, SW, S, SE, E)), (0, -1, -2, -3, -4, -5, -6, -7)),
    }
)


@dataclass(frozen=True)
class Fit:
    """How well a numbering fits: the share of pixels that drain in a circle, and the number of
    pixels of the greatest basin."""

    circling: float
    greatest: int


def fitting_tables(values: NDArray[Any]) -> dict[str, Fit]:
    """Numberings in which a raster may hold flow directions, the best first.

    In the right numbering no path is a circle, and rivers are long; in a wrong one many are, and
    paths end soon.

    Args:
        values: (rows, columns), NaN where missing.

    Returns:
        By name in `TABLES`, those in which at most `MAX_CIRCLING` of the pixels drain in a circle.
        Empty if the values are no directions.
    """
    found = np.unique(values[np.isfinite(values)])
    if not 4 <= found.size <= MAX_CODES or (found != np.round(found)).any():
        return {}
    fits = {}
    for name, table in TABLES.items():
        directions = [code for code in found if int(code) in table.drains_to]
        if len(directions) >= 3 and np.isin(found, [*table.drains_to, *table.others]).all():
            fit = fit_of(values, table)
            if fit.circling <= MAX_CIRCLING:
                fits[name] = fit
    return dict(sorted(fits.items(), key=lambda item: (item[1].circling, -item[1].greatest)))


def fit_of(values: NDArray[Any], table: Table) -> Fit:
    """How well a numbering fits the directions of a raster."""
    code_of = {step: code for code, step in TABLES["esri"].drains_to.items()}
    data = np.full(values.shape, NO_DIRECTION, np.uint8)
    data[np.isfinite(values) & (values != NO_DIRECTION)] = PIT
    for code, step in table.drains_to.items():
        data[values == code] = code_of[step]
    valid = int((data != NO_DIRECTION).sum())
    try:
        flow = pyflwdir.from_array(data, ftype="d8", check_ftype=False)
    except ValueError:  # pyflwdir's, if no path ends
        return Fit(1.0, 0)
    circling = (valid - int(flow.idxs_seq.size)) / max(valid, 1)
    return Fit(max(circling, 0.0), int(flow.upstream_area().max()))


def describe_directions(fits: Mapping[str, Fit]) -> list[str]:
    """A line for each numbering that fits, with the catalog's key where there is one."""
    lines = []
    for name, fit in fits.items():
        key = f"terrain.codes: {name}" if name in CODES else "no value of terrain.codes"
        lines.append(
            f"{name} ({key}): {fit.circling:.2%} of pixels in circles, the greatest basin has "
            f"{fit.greatest} pixels"
        )
    return lines
