"""Read radar images in KNMI's HDF5, whose calibration is a formula in a text.

After KNMI's HDF5 Data Format Specification, version 3.5: `GEO = a * PV + b` makes quantities of
pixel values, offsets count pixels from the origin of the projection, and pixels are in kilometres.
"""

from __future__ import annotations

import re
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

NUMBER = r"[-+]?\s*\d+(?:\.\d*)?(?:e[-+]?\d+)?"
FORMULA = re.compile(
    rf"\s*GEO\s*=\s*({NUMBER})\s*\*\s*PV\s*(?:\+?\s*({NUMBER}))?\s*", re.IGNORECASE
)
PARAMETER = re.compile(r"(.+?)_?\[(.*)\]")  # a quantity and its unit
AXIS = re.compile(r"\+?(a|b)=([\d.]+)")  # half an axis of the ellipsoid, in metres or kilometres
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
CORNERS = ("lower left", "upper left", "upper right", "lower right")
M_PER_KM = 1000.0
EARTH_IN_KM = 1e5  # a shorter axis is in kilometres


def read(path: Path) -> Composite:
    """Read the images of a file.

    Raises:
        InputError: a formula or unit that is not known, or corners that contradict the projection.
        KeyError, ValueError, OSError: it is damaged.
    """
    with netCDF4.Dataset(path) as root:
        root.set_auto_maskandscale(False)
        values, attributes = {}, {}
        for name, image in root.groups.items():
            if not re.fullmatch(r"image\d+", name) or "image_data" not in image.variables:
                continue
            said = str(image.getncattr("image_geo_parameter"))
            quantity = PARAMETER.fullmatch(said)
            key = quantity[1] if quantity and quantity[1] not in values else name
            values[key] = _decode(path, image)
            units = quantity[2].lower() if quantity else ""
            attributes[key] = {"long_name": said.replace("_", " ").lower(), "units": units}
        overview = root["overview"]
        start, end = (
            _time(overview.getncattr(f"product_datetime_{which}")) for which in ("start", "end")
        )
        crs, x, y = _place(path, root["geographic"])
        interval = (start, end) if end > start else None
        return Composite(values, attributes, crs, x, y, end, interval)


def _one(value: Any) -> Any:
    """The only element of an attribute, which may be an array."""
    return np.ravel(value)[0]


def _decode(path: Path, image: Any) -> NDArray[np.float32]:
    raw = image.variables["image_data"][:]
    calibration = image["calibration"]
    text = str(calibration.getncattr("calibration_formulas"))
    formula = FORMULA.fullmatch(text)
    if formula is None:
        raise InputError(f"{path}: calibration formula {text!r}: expected GEO = a * PV + b")
    factor, constant = (float((part or "0").replace(" ", "")) for part in formula.groups())
    values = (raw * factor + constant).astype(np.float32)
    for name in ("calibration_missing_data", "calibration_out_of_image"):
        if name in calibration.ncattrs():
            values[raw == _one(calibration.getncattr(name))] = np.nan
    return values


def _time(text: Any) -> datetime:
    """A time such as 26-AUG-2010;06:00:00.000, whatever the language of this machine."""
    day, month, rest = str(_one(text)).strip().split("-")
    year, clock = rest.split(";")
    hour, minute, second = clock.split(":")
    at = MONTHS.index(month.upper()[:3]) + 1
    return datetime(int(year), at, int(day), int(hour), int(minute), int(float(second)))


def _place(path: Path, group: Any) -> tuple[CRS, NDArray[np.float64], NDArray[np.float64]]:
    """CRS in metres, and the middles of columns and rows."""
    about = {name: _one(group.getncattr(name)) for name in group.ncattrs()}
    columns, rows = int(about["geo_number_columns"]), int(about["geo_number_rows"])
    if str(about["geo_dim_pixel"]).upper() != "KM,KM":
        raise InputError(f"{path}: pixels in {about['geo_dim_pixel']}: expected KM,KM")
    width, height = (float(about[f"geo_pixel_size_{axis}"]) * M_PER_KM for axis in "xy")
    text = str(group["map_projection"].getncattr("projection_proj4_params"))
    crs = CRS.from_user_input(AXIS.sub(_in_metres, text))
    x_edges = width * (float(about["geo_column_offset"]) + np.arange(columns + 1))
    y_edges = height * (float(about["geo_row_offset"]) + np.arange(rows + 1))
    corners = np.reshape(group.getncattr("geo_product_corners"), (4, 2)).astype(float)
    to_plane = Transformer.from_crs(degrees_of(crs), crs, always_xy=True)
    stated = {name: to_plane.transform(*at) for name, at in zip(CORNERS, corners, strict=True)}
    low, high = sorted((y_edges[0], y_edges[-1]))
    places = ((x_edges[0], low), (x_edges[0], high), (x_edges[-1], high), (x_edges[-1], low))
    require_corners(path, stated, dict(zip(CORNERS, places, strict=True)), abs(width))
    return crs, (x_edges[:-1] + x_edges[1:]) / 2, (y_edges[:-1] + y_edges[1:]) / 2


def _in_metres(found: re.Match[str]) -> str:
    length = float(found[2])
    return f"+{found[1]}={length * (M_PER_KM if length < EARTH_IN_KM else 1)}"
