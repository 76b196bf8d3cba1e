"""Read composites in ODIM HDF5, the format of OPERA and of most weather services with radars.

After the OPERA Data Information Model for HDF5, version 2.4: corners are the outer ones of the
corner pixels, rows come from the north, and "undetect" is measured, and no rain.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.errors import InputError
from pipeline.rasters.drivers.radar_composite import Composite, require_corners
from pipeline.regrid.placement import degrees_of

UNITS = {"RATE": "mm h-1", "ACRR": "mm", "DBZH": "dBZ", "DBZV": "dBZ", "TH": "dBZ", "TV": "dBZ"}
SUMS = {"ACRR"}  # over the time from start to end; others belong to an instant
NAMES = {"RATE": "rain rate", "ACRR": "accumulated rain", "QIND": "quality", "DBZH": "reflectivity"}
IMAGES = {"COMP", "IMAGE"}
CORNERS = ("LL", "UL", "UR", "LR")


def read(path: Path) -> Composite:
    """Read a composite.

    Raises:
        InputError: it is no composite, or its corners contradict its projection.
        KeyError, ValueError, OSError: it is damaged.
    """
    with netCDF4.Dataset(path) as root:
        root.set_auto_maskandscale(False)
        about = _attributes(root["what"])
        if about["object"] not in IMAGES:
            raise InputError(
                f"{path}: ODIM object {about['object']}: expected a composite (COMP or IMAGE)"
            )
        values, attributes, intervals = {}, {}, set()
        for what, data in _images(root, about):
            name = what["quantity"]
            if name in values:
                raise InputError(f"{path}: holds two images of {name}: expected one")
            values[name] = _decode(data, what)
            attributes[name] = {"long_name": NAMES.get(name, ""), "units": UNITS.get(name, "")}
            if name in SUMS:
                intervals.add((_time(what, "start"), _time(what, "end")))
        if not values:
            raise InputError(f"{path}: holds no image: expected dataset1/data1")
        crs, x, y = _place(path, _attributes(root["where"]))
        return Composite(
            values=values,
            attributes=attributes,
            crs=crs,
            x=x,
            y=y,
            label=_time(about, ""),
            interval=intervals.pop() if len(intervals) == 1 else None,
        )


def _images(root: Any, about: dict[str, Any]) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
    """Attributes, of which those further inside count, and packed values of each image."""
    for name, dataset in root.groups.items():
        if not name.startswith("dataset"):
            continue
        outer = about | _attributes(dataset.groups.get("what"))
        for part, data in dataset.groups.items():
            if part.startswith("data") and "data" in data.variables:
                yield outer | _attributes(data.groups.get("what")), data.variables["data"][:]


def _attributes(group: Any) -> dict[str, Any]:
    return {} if group is None else {name: group.getncattr(name) for name in group.ncattrs()}


def _decode(raw: NDArray[Any], what: dict[str, Any]) -> NDArray[np.float32]:
    values = (raw * float(what["gain"]) + float(what["offset"])).astype(np.float32)
    values[raw == what["undetect"]] = 0
    values[raw == what["nodata"]] = np.nan
    return values


def _time(what: dict[str, Any], prefix: str) -> datetime:
    return datetime.strptime(f"{what[prefix + 'date']}{what[prefix + 'time']}", "%Y%m%d%H%M%S")


def _place(
    path: Path, where: dict[str, Any]
) -> tuple[CRS, NDArray[np.float64], NDArray[np.float64]]:
    """CRS, and the middles of columns and rows, in metres or degrees."""
    crs = CRS.from_user_input(str(where["projdef"]))
    to_plane = Transformer.from_crs(degrees_of(crs), crs, always_xy=True)
    unit = 1.0 if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    columns, rows = int(where["xsize"]), int(where["ysize"])
    width, height = float(where["xscale"]), float(where["yscale"])
    stated = {}
    for name in CORNERS:
        if f"{name}_lon" in where:
            place = to_plane.transform(float(where[f"{name}_lon"]), float(where[f"{name}_lat"]))
            stated[name] = (place[0] * unit, place[1] * unit)
    left, bottom = stated["LL"]
    right, top = left + columns * width, bottom + rows * height
    found = {"LL": (left, bottom), "UL": (left, top), "UR": (right, top), "LR": (right, bottom)}
    require_corners(path, stated, found, max(width, height))
    return (
        crs,
        left + width * (np.arange(columns) + 0.5),
        top - height * (np.arange(rows) + 0.5),
    )
