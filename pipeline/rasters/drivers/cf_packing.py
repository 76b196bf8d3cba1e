"""Packed numbers of NetCDF and Zarr variables after the CF conventions.

Attributes say how numbers are scaled, which ones mean missing, and which are valid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from netCDF4 import default_fillvals
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource

FILLS = ("_FillValue", "missing_value")
RANGES = ("valid_min", "valid_max", "valid_range")


def as_unsigned(
    raw: NDArray[Any], attributes: dict[Any, Any]
) -> tuple[NDArray[Any], dict[Any, Any]]:
    """Packed numbers, and the attributes that speak of them, as unsigned where `_Unsigned`."""
    if str(attributes.get("_Unsigned", "")).lower() != "true" or raw.dtype.kind != "i":
        return raw, attributes
    unsigned = np.dtype(f"u{raw.dtype.itemsize}")
    if FILLS[0] not in attributes and raw.dtype.itemsize > 1:  # the fill of what is stored
        attributes = {**attributes, FILLS[0]: default_fillvals[raw.dtype.str[1:]]}
    changed = {
        key: np.asarray(_numbers(attributes[key])).astype(raw.dtype).view(unsigned)
        for key in (*FILLS, *RANGES)
        if key in attributes
    }
    return raw.view(unsigned), attributes | changed


def packing(
    raw: NDArray[Any], attributes: dict[Any, Any], source: RasterSource
) -> tuple[float, float, list[float]]:
    """Scale and offset of packed numbers, and the codes that mean missing, after CF."""
    codes = [code for key in FILLS for code in _numbers(attributes.get(key))]
    if source.driver == "netcdf" and FILLS[0] not in attributes and raw.dtype.itemsize > 1:
        codes += [fill for fill in [default_fillvals.get(raw.dtype.str[1:])] if fill is not None]
    scale, offset = (
        float(attributes.get(key, plain)) for key, plain in (("scale_factor", 1), ("add_offset", 0))
    )
    return scale, offset, [*(float(code) for code in codes), *source.missing]


def _numbers(value: Any) -> list[Any]:
    """Of an attribute: one or several numbers, or the text of one."""
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
    """Where numbers lie outside of the range that the file calls valid, if it gives one for them as
    they are packed."""
    lowest, highest, both = (_numbers(attributes.get(key)) for key in RANGES)
    if len(both) == 2:
        lowest, highest = both[:1], both[1:]
    outside = None
    for limits, beyond in ((lowest, np.less), (highest, np.greater)):
        if len(limits) == 1 and np.asarray(limits[0]).dtype.kind == raw.dtype.kind:
            found = beyond(raw, limits[0])
            outside = found if outside is None else outside | found
    return outside
