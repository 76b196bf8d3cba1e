"""Tell in which numbering a raster holds D8 flow directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyflwdir
from numpy.typing import NDArray

from pipeline.inspect.description import Description
from pipeline.watersheds.direction_codes import CODES, NO_DIRECTION, Numbering

MAX_CIRCLING = 1e-2  # share of pixels on or above a circle, of a damaged raster
MAX_CODES = 12  # distinct values of a raster of directions, with pits and nodata
LEAST_CODES = 3  # directions that occur
UNDECLARED = (0, -1, 247, 255, -128, -9999, -32768)  # usual values of no direction


@dataclass(frozen=True)
class Fit:
    """How well a numbering fits.

    Attributes:
        circling: share of pixels that drain in a circle.
        greatest: number of pixels of the greatest basin.
        nodata: values that have to be no direction, which nothing says.
    """

    circling: float
    greatest: int
    nodata: tuple[int, ...] = ()


def fitting_tables(values: NDArray[Any]) -> dict[str, Fit]:
    """Numberings in which a raster may hold flow directions, the best first.

    In the right numbering no path is a circle, and rivers are long; in a wrong one many are, and
    paths end soon.

    Args:
        values: (rows, columns), NaN where missing.

    Returns:
        By name in `CODES`, those in which at most `MAX_CIRCLING` of the pixels drain in a circle.
        Empty if the values are no directions.
    """
    found = np.unique(values[np.isfinite(values)])
    if not 4 <= found.size <= MAX_CODES or (found != np.round(found)).any():
        return {}
    present = {int(value) for value in found}
    fits = {}
    for name, numbering in CODES.items():
        unknown = present - {*numbering.known, *numbering.nodata}
        directions = present & set(numbering.around)
        if len(directions) >= LEAST_CODES and unknown <= set(UNDECLARED):
            fit = fit_of(values, numbering, tuple(sorted(unknown)))
            if fit.circling <= MAX_CIRCLING:
                fits[name] = fit
    return dict(sorted(fits.items(), key=lambda item: (item[1].circling, -item[1].greatest)))


def fit_of(values: NDArray[Any], numbering: Numbering, nodata: tuple[int, ...] = ()) -> Fit:
    """How well a numbering fits the directions of a raster."""
    valid = np.isfinite(values) & ~np.isin(values, (*numbering.nodata, *nodata))
    data = numbering.to_d8(values, valid)
    try:
        flow = pyflwdir.from_array(data, ftype="d8", check_ftype=False)
    except ValueError:  # pyflwdir's, if no path ends
        return Fit(1.0, 0, nodata)
    count = int((data != NO_DIRECTION).sum())
    circling = (count - int(flow.idxs_seq.size)) / max(count, 1)
    return Fit(max(circling, 0.0), int(flow.upstream_area().max()), nodata)


def add_directions(description: Description, values: NDArray[Any]) -> bool:
    """Add the numberings in which a raster may hold directions, the best first; False if in none.

    Args:
        description: of the file; gets the catalog's keys of the best.
        values: (rows, columns), NaN where missing.
    """
    fits = fitting_tables(values)
    for name, fit in fits.items():
        nodata = f", nodata: {list(fit.nodata)}" if fit.nodata else ""
        description.add(
            "D8 codes",
            f"terrain.codes: {name}{nodata}: {fit.circling:.2%} of pixels in circles, the greatest "
            f"basin has {fit.greatest} pixels",
        )
    if fits:
        description.kind = "directions"
        name, fit = next(iter(fits.items()))
        description.keys["codes"] = name
        if fit.nodata:
            description.keys["nodata"] = list(fit.nodata)
    return bool(fits)
