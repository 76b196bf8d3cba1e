"""Read radar composites that follow conventions of their own as datasets after CF.

The rest of the pipeline then reads them as it reads NetCDF: places, times, units and missing values
are what these files say in their own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.rasters.drivers import knmi, odim, radolan
from pipeline.rasters.drivers.radar_composite import Composite, head_of
from pipeline.storage import Location

RADOLAN = re.compile(rb"[A-Z][A-Z0-9]\d{6}\d{5}\d{4}BY")  # product, time, place, date, size
EXPECTED = "ODIM HDF5, KNMI HDF5 or RADOLAN"


def kind_of(path: Path) -> str | None:
    """Which of the known conventions a file follows; None for others.

    Raises:
        OSError: it is not readable.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x89HDF"):
        try:
            with netCDF4.Dataset(path) as root:
                if str(getattr(root, "Conventions", "")).startswith("ODIM_H5"):
                    return "ODIM HDF5"
                return "KNMI HDF5" if {"geographic", "image1"} <= root.groups.keys() else None
        except OSError:  # damaged, as whoever reads it says
            return None
    return "RADOLAN" if RADOLAN.match(head_of(path)) else None


def as_dataset(path: Location) -> xr.Dataset:
    """Read a radar composite as a dataset after CF, with one time.

    Raises:
        InputError: the file is at a URL, follows none of the conventions, or contradicts itself.
        OSError, KeyError, ValueError: it is damaged.
    """
    if not isinstance(path, Path):
        raise InputError(f"{path}: driver radar reads no URLs: expected a path")
    readers = {"ODIM HDF5": odim.read, "KNMI HDF5": knmi.read, "RADOLAN": radolan.read}
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no radar composite that is known: expected {EXPECTED}")
    return _dataset(readers[kind](path))


def _dataset(found: Composite) -> xr.Dataset:
    names = ("lat", "lon") if found.crs.is_geographic else ("y", "x")
    axes: tuple[dict[str, str], ...] = (
        {"standard_name": "projection_y_coordinate", "units": "m"},
        {"standard_name": "projection_x_coordinate", "units": "m"},
    )
    if found.crs.is_geographic:
        axes = {"units": "degrees_north"}, {"units": "degrees_east"}
    variables: dict[str, Any] = {
        name: (
            ("time", *names),
            values[None],
            {**found.attributes[name], "grid_mapping": "crs", "_FillValue": np.float32(np.nan)},
        )
        for name, values in found.values.items()
    }
    variables["crs"] = ((), 0, {"crs_wkt": found.crs.to_wkt()})
    variables["time"] = (("time",), _seconds([found.label]), {"units": SINCE, "bounds": "bounds"})
    if found.interval is not None:
        variables["bounds"] = (("time", "end"), _seconds(found.interval)[None])
    for name, values, attributes in zip(names, (found.y, found.x), axes, strict=True):
        variables[name] = ((name,), values, attributes)
    return xr.Dataset(variables)


SINCE = "seconds since 1970-01-01"


def _seconds(times: Sequence[datetime]) -> NDArray[np.float64]:
    return np.array([(time - datetime(1970, 1, 1)).total_seconds() for time in times])
