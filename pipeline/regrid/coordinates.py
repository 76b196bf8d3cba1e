"""Which dimension of a dataset is which, and which of its variables say where the pixels lie.

Attributes after the CF conventions decide, then names. Dimensions are found by name, never by
position, so transposed arrays are read correctly.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.errors import InputError
from pipeline.regrid.axis import (
    DEGREES_EAST,
    DEGREES_NORTH,
    Axis,
    Coordinates,
    UndecidedError,
)

STANDARD_NAMES = {
    "time": "time",
    "latitude": "y",
    "longitude": "x",
    "projection_y_coordinate": "y",
    "projection_x_coordinate": "x",
    "grid_latitude": "y",
    "grid_longitude": "x",
}
NAMES = {
    "time": {"time", "t", "day", "date", "datetime", "valid_time"},
    "y": {"y", "lat", "latitude", "northing", "south_north", "rlat", "nlat", "yc", "n", "chy"},
    "x": {"x", "lon", "longitude", "easting", "west_east", "rlon", "nlon", "xc", "e", "chx"},
}
CRS_ATTRIBUTES = ("grid_mapping_name", "crs_wkt", "spatial_ref")  # one of them makes a grid mapping
SINCE = re.compile(r"^\s*\w+\s+since\s", re.IGNORECASE)
OFF_CENTRE = 0.1  # pixels by which the coordinates of an axis may be off the middle of their bounds

Variables = Mapping[Hashable, xr.Variable]


@dataclass(frozen=True)
class AxisNames:
    """Names that the caller states, where the metadata do not tell; None where they do.

    Attributes:
        time, y, x: dimensions.
        latitude, longitude: coordinates of both y and x, or of one of them.
    """

    time: str | None = None
    y: str | None = None
    x: str | None = None
    latitude: str | None = None
    longitude: str | None = None


STATED_NOTHING = AxisNames()


@dataclass(frozen=True)
class Roles:
    """Names of a variable's dimensions; `time` is None where it has none."""

    time: str | None
    y: str
    x: str


def role_of(
    variables: Variables, dimension: Hashable, names: AxisNames = STATED_NOTHING
) -> str | None:
    """Role of a dimension: `time`, `y` or `x`; None where it is not known.

    What the caller states comes first, then attributes, then names.
    """
    for role in ("time", "y", "x"):
        if getattr(names, role) == dimension:
            return role
    attributes = variables[dimension].attrs if dimension in variables else {}
    if found := STANDARD_NAMES.get(str(attributes.get("standard_name", ""))):
        return found
    axis = str(attributes.get("axis", "")).lower()
    if axis in ("t", "y", "x"):
        return "time" if axis == "t" else axis
    units = str(attributes.get("units", ""))
    for pattern, role in ((SINCE, "time"), (DEGREES_NORTH, "y"), (DEGREES_EAST, "x")):
        if pattern.match(units):
            return role
    name = str(dimension).lower()
    if found := next((role for role, known in NAMES.items() if name in known), None):
        return found
    along = {
        role
        for other, variable in variables.items()
        for role in ("latitude", "longitude")
        if variable.dims == (dimension,) and _is(role, other, variable)
    }
    return STANDARD_NAMES[along.pop()] if len(along) == 1 else None


def mesh_dimensions(variables: Variables) -> tuple[str, str] | None:
    """Dimensions of latitudes and longitudes of all pixels; None without them, or with several."""
    found: dict[str, set[tuple[Hashable, ...]]] = {
        role: {v.dims for n, v in variables.items() if v.ndim == 2 and _is(role, n, v)}
        for role in ("latitude", "longitude")
    }
    both = found["latitude"] & found["longitude"]
    if len(both) != 1:
        return None
    y, x = both.pop()
    return str(y), str(x)


def _is(role: str, name: Hashable, variable: xr.Variable) -> bool:
    """Whether numbers are latitudes, or longitudes: by attributes or by name."""
    pattern = DEGREES_NORTH if role == "latitude" else DEGREES_EAST
    attributes = variable.attrs
    says = attributes.get("standard_name") == role or pattern.match(
        str(attributes.get("units", ""))
    )
    named = str(name).lower() in (role, role[:3])
    return variable.dtype.kind in "fiu" and bool(says or named)


def read_coordinates(
    variables: Variables,
    y: str,
    x: str,
    crs: CRS | None,
    names: AxisNames = STATED_NOTHING,
    at_corner: bool = False,
) -> Coordinates:
    """Collect what a dataset says about where its pixels lie.

    Args:
        variables: all variables of the dataset, coordinates among them.
        y, x: dimensions along rows and columns.
        crs: reference system of the axes.
        names: what the caller states.
        at_corner: axes name the edges where pixels begin, and not their middles.

    Raises:
        InputError: a stated name without a coordinate.
        UndecidedError: several coordinates for the same axis, or coordinates that are not the
            middle of their bounds, or not their beginning if `at_corner`.
    """
    latitude, longitude = (
        _find_mesh(variables, y, x, names, role) for role in ("latitude", "longitude")
    )
    return Coordinates(
        y=_find_axis(variables, y, names.latitude, at_corner),
        x=_find_axis(variables, x, names.longitude, at_corner),
        latitude=None if latitude is None else _float64(latitude.transpose(y, x)),
        longitude=None if longitude is None else _float64(longitude.transpose(y, x)),
        crs=crs,
    )


def crs_of(variables: Variables, grid_mapping: str) -> CRS | None:
    """Reference system of a grid mapping variable; None where there is no such variable.

    Args:
        variables: all variables of the dataset.
        grid_mapping: attribute of that name, `name` or `name: coordinate coordinate`.

    Raises:
        UndecidedError: a grid mapping that does not follow the CF conventions.
    """
    name = grid_mapping.partition(":")[0]
    if name not in variables:
        return None
    attributes = {  # as Python's own numbers and lists, which pyproj wants
        key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for key, value in variables[name].attrs.items()
    }
    if not any(key in attributes for key in CRS_ATTRIBUTES):
        return None
    try:
        return CRS.from_cf(attributes)
    except (CRSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndecidedError(
            f"grid mapping {name} is not understood ({reason}): expected one after CF", "crs"
        ) from error


def is_lat_or_lon(name: Hashable, variable: xr.Variable) -> bool:
    """Whether a variable holds latitudes or longitudes, by its units or its name."""
    units = str(variable.attrs.get("units", ""))
    return bool(DEGREES_NORTH.match(units) or DEGREES_EAST.match(units)) or str(name).lower() in (
        "lat", "lon", "latitude", "longitude",
    )  # fmt: skip


def doubt_of_header(variables: Variables, grid_mapping: str, found: Coordinates) -> str | None:
    """Say that GDAL's geotransform, beside a grid mapping, puts the coordinates on pixels' edges.

    Only the fraction of a pixel counts: who cuts out a part leaves the geotransform as it is.

    Returns:
        None where there is no geotransform of this pixel size, or it agrees.
    """
    name = grid_mapping.partition(":")[0]
    said = variables[name].attrs.get("GeoTransform", "") if name in variables else ""
    try:
        left, width, _, top, _, height = map(float, str(said).split())
    except ValueError:
        return None
    for axis, origin, size in ((found.x, left, width), (found.y, top, height)):
        if axis is None or axis.values.size < 2 or not size:
            continue
        step = abs(axis.values[1] - axis.values[0])
        at = (axis.values[0] - origin) / size - (0.0 if axis.at_corner else 0.5)
        if abs(step - abs(size)) < OFF_CENTRE * step and abs(at - round(at)) > 0.5 - OFF_CENTRE:
            what = "edges" if not axis.at_corner else "middles"
            return (
                f"{axis.span} are {what} of pixels by the GeoTransform of {name} ({said}): read as "
                f"{'edges' if axis.at_corner else 'middles'}"
            )
    return None


def _float64(variable: xr.Variable) -> NDArray[np.float64]:
    return _unpacked(variable, variable.attrs)


def _unpacked(variable: xr.Variable, attributes: dict[Any, Any]) -> NDArray[np.float64]:
    """Coordinates, unpacked if they were left packed; NaN where they are the fill value."""
    values = np.asarray(variable.values, np.float64)
    if "_FillValue" in attributes:
        values = np.where(values == np.float64(attributes["_FillValue"]), np.nan, values)
    scale = float(attributes.get("scale_factor", 1))
    offset = float(attributes.get("add_offset", 0))
    return values if (scale, offset) == (1.0, 0.0) else values * scale + offset


def _find_axis(
    variables: Variables, dimension: str, stated: str | None, at_corner: bool
) -> Axis | None:
    """Find the coordinate along a dimension: the stated one, the one of the dimension's name, or
    the one of latitudes or longitudes; None where there is none."""
    along = {
        str(name): variable
        for name, variable in variables.items()
        if variable.dims == (dimension,) and variable.dtype.kind in "fiu"
    }
    degrees = [name for name, variable in along.items() if is_lat_or_lon(name, variable)]
    chosen = [name for name in (stated, dimension) if name in along][:1] or degrees
    if len(chosen) > 1:
        raise UndecidedError(
            f"{', '.join(sorted(chosen))} all lie along {dimension}: expected one coordinate",
            "axes",
        )
    if not chosen:
        return None
    variable = along[chosen[0]]
    _require_bounds(variables, chosen[0], variable, at_corner)
    return Axis(
        name=chosen[0],
        values=_float64(variable),
        units=str(variable.attrs.get("units", "")),
        standard_name=str(variable.attrs.get("standard_name", "")),
        at_corner=at_corner,
    )


def _require_bounds(
    variables: Variables, name: str, variable: xr.Variable, at_corner: bool
) -> None:
    """Require that the coordinates of an axis are the middles of its bounds, if it has any.

    If they are `at_corner`, they are the bounds where the pixels begin.

    Raises:
        UndecidedError: they are not.
    """
    bounds = variables.get(str(variable.attrs.get("bounds", "")))
    if bounds is None or bounds.shape != (variable.size, 2) or not variable.size:
        return
    values = _float64(variable)
    edges = _unpacked(bounds, {**variable.attrs, **bounds.attrs})  # which bounds need not repeat
    begin = edges.min(1) if values[-1] >= values[0] else edges.max(1)
    apart = np.abs(values - (begin if at_corner else edges.mean(1))).max()
    if not apart <= OFF_CENTRE * np.abs(edges[:, 1] - edges[:, 0]).min():
        raise UndecidedError(
            f"{name} starts with {values[0]:g}, whose bounds are {edges[0, 0]:g} to "
            f"{edges[0, 1]:g}: expected their {'beginning' if at_corner else 'middle'}",
            "axes_at",
        )


def _find_mesh(
    variables: Variables, y: str, x: str, names: AxisNames, role: str
) -> xr.Variable | None:
    """Find the latitudes or longitudes of all pixels' centres; None where there are none."""
    stated = getattr(names, role)
    if stated is not None:
        dims = variables[stated].dims if stated in variables else ()
        if dims in ((y,), (x,)):
            return None  # an axis
        if stated in variables and variables[stated].dtype.kind not in "fiu":
            raise InputError(
                f"axes.{role} is {stated!r}, of {variables[stated].dtype}: expected numbers"
            )
        if set(dims) != {y, x}:
            raise InputError(
                f"axes.{role} is {stated!r}: expected a variable along {y} and {x}, or one of them"
            )
        return variables[stated]
    found = {}
    for name, variable in variables.items():
        if set(variable.dims) == {y, x} and variable.ndim == 2 and _is(role, name, variable):
            found[str(name)] = variable
    if len(found) > 1:
        raise UndecidedError(
            f"{', '.join(sorted(found))} are all a {role}: expected one coordinate", "axes"
        )
    return next(iter(found.values()), None)
