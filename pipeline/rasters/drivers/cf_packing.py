"""Interpret packed values of NetCDF and Zarr variables after the CF conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
from netCDF4 import default_fillvals
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource
from pipeline.rasters.pixels import require_packing
from pipeline.storage import Location

FILLS = ("_FillValue", "missing_value")
RANGES = ("valid_min", "valid_max", "valid_range")


def as_unsigned(
    raw: NDArray[Any], attributes: dict[Any, Any]
) -> tuple[NDArray[Any], dict[Any, Any]]:
    """View packed values, and the attributes in their units, as unsigned if `_Unsigned` is set."""
    if str(attributes.get("_Unsigned", "")).lower() != "true" or raw.dtype.kind != "i":
        return raw, attributes
    unsigned = np.dtype(f"u{raw.dtype.itemsize}")
    if FILLS[0] not in attributes and raw.dtype.itemsize > 1:  # the default of the stored type
        attributes = {**attributes, FILLS[0]: default_fillvals[raw.dtype.str[1:]]}
    changed = {
        key: np.asarray(_numbers(attributes[key])).astype(raw.dtype).view(unsigned)
        for key in (*FILLS, *RANGES)
        if key in attributes
    }
    return raw.view(unsigned), attributes | changed


def packing(
    path: Location, dtype: np.dtype[Any], attributes: dict[Any, Any], source: RasterSource
) -> tuple[float, float, list[float]]:
    """Scale and offset of packed values, and the codes that mean missing.

    Raises:
        InputError: a scale or offset that makes no numbers of them.
    """
    codes = [code for key in FILLS for code in _numbers(attributes.get(key))]
    if source.driver == "netcdf" and FILLS[0] not in attributes and dtype.itemsize > 1:
        codes += [fill for fill in [default_fillvals.get(dtype.str[1:])] if fill is not None]
    said = attributes.get("scale_factor", 1), attributes.get("add_offset", 0)
    scale, offset = require_packing(path, str(source.variable), *said, source)
    return scale, offset, [*(float(code) for code in codes), *source.missing]


def _numbers(value: Any) -> list[Any]:
    """Numbers of an attribute, which may be text; empty if it has none."""
    if value is None:
        return []
    found = np.ravel(value)
    if found.dtype.kind in "fiu":
        return list(found)
    try:
        return [float(text) for text in found]
    except ValueError:  # a word
        return []


def outside_valid_range(raw: NDArray[Any], attributes: dict[Any, Any]) -> NDArray[np.bool_] | None:
    """Where packed values are outside the file's valid range; None without one of their type."""
    lowest, highest, both = (_numbers(attributes.get(key)) for key in RANGES)
    if len(both) == 2:
        lowest, highest = both[:1], both[1:]
    outside = None
    for limits, beyond in ((lowest, np.less), (highest, np.greater)):
        if len(limits) == 1 and np.asarray(limits[0]).dtype.kind == raw.dtype.kind:
            found = beyond(raw, limits[0])
            outside = found if outside is None else outside | found
    return outside
