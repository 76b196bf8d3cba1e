"""Which dimension of a dataset is which, and which of its variables say where the pixels lie.

Both follow from attributes after CF, then from names; a catalog says what cannot be told from
either. Dimensions are found by name, never by position, so that transposed arrays are read as they
are meant.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.geolocation import DEGREES_EAST, DEGREES_NORTH, Axis, Coordinates
from pipeline.rasters.pixels import Location

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
    "y": {"y", "lat", "latitude", "northing", "south_north", "rlat", "nlat", "yc"},
    "x": {"x", "lon", "longitude", "easting", "west_east", "rlon", "nlon", "xc"},
}
# What backends raise on files that are cut, damaged, or something else.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, IndexError, AttributeError, TypeError)
OFF_CENTRE = 0.1  # pixels by which the numbers of an axis may be off the middle of their bounds
SINCE = re.compile(r"^\s*\w+\s+since\s", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """Names of a variable's dimensions; `time` is None where it has none."""

    time: str | None
    y: str
    x: str


def reason_of(error: Exception) -> str:
    """What another library says of a file, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def variable_of(path: Location, dataset: xr.Dataset, source: RasterSource) -> xr.DataArray:
    """The variable that a source names, as an array.

    Raises:
        InputError: there is none.
    """
    assert source.variable is not None
    if source.variable not in dataset.variables:
        raise InputError(
            f"{path}: has no variable {source.variable!r}: expected one of "
            f"{', '.join(sorted(map(str, dataset.variables)))}"
        )
    return dataset[source.variable]


def _role(dataset: xr.Dataset, dimension: Hashable, source: RasterSource) -> str | None:
    """`time`, `y` or `x`: what the catalog says, then the attributes, then the name."""
    for role in ("time", "y", "x"):
        if getattr(source.axes, role) == dimension:
            return role
    attributes = dataset.variables[dimension].attrs if dimension in dataset.variables else {}
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
    return next((role for role, names in NAMES.items() if name in names), None)


def roles_of(path: Location, dataset: xr.Dataset, source: RasterSource) -> Roles:
    """Which dimension of a source's variable is which.

    Raises:
        InputError: there is no such variable, or its dimensions are not told apart.
    """
    variable = variable_of(path, dataset, source)
    found: dict[str, list[str]] = {"time": [], "y": [], "x": []}
    rest = []
    for dimension in variable.dims:
        role = _role(dataset, dimension, source)
        if role:
            found[role].append(str(dimension))
        elif variable.sizes[dimension] > 1:
            rest.append(str(dimension))
    if rest or not (len(found["y"]) == len(found["x"]) == 1 and len(found["time"]) <= 1):
        sizes = ", ".join(f"{name} ({size})" for name, size in variable.sizes.items())
        raise InputError(
            f"{path}: {source.variable} has the dimensions {sizes}: expected to recognise one y, "
            "one x and at most one time among them; the catalog can name them (axes)"
        )
    return Roles(next(iter(found["time"]), None), found["y"][0], found["x"][0])


def common_roles(path: Location, dataset: xr.Dataset, sources: Sequence[RasterSource]) -> Roles:
    """Those of the first source, whose rows and columns are those of all.

    Raises:
        InputError: as `roles_of`; the variables lie on different grids.
    """
    roles = [roles_of(path, dataset, source) for source in sources]
    for source, other in zip(sources, roles, strict=True):
        if (other.y, other.x) != (roles[0].y, roles[0].x):
            raise InputError(
                f"{path}: {source.variable} lies on {other.y}, {other.x}, {sources[0].variable} "
                f"on {roles[0].y}, {roles[0].x}: expected one grid in a file"
            )
        if other.time != roles[0].time:
            raise InputError(
                f"{path}: {source.variable} has the times {other.time}, {sources[0].variable} "
                f"{roles[0].time}: expected one, or that the catalog names them (axes.time)"
            )
    return roles[0]


def coordinates_of(
    path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource
) -> Coordinates:
    """What the file says of where its pixels lie.

    Raises:
        InputError: it says so with several variables, or with a CRS that is not understood.
    """
    variables = dataset.variables
    latitude, longitude = (
        _mesh(path, dataset, roles, source, role) for role in ("latitude", "longitude")
    )
    mapping = str(dataset[source.variable].attrs.get("grid_mapping", "")).partition(":")[0]
    crs = None
    if mapping in variables and source.crs is None:
        attributes = {  # as Python's own numbers and lists, which pyproj wants
            key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
            for key, value in variables[mapping].attrs.items()
        }
        if "grid_mapping_name" in attributes or "crs_wkt" in attributes:
            try:
                crs = CRS.from_cf(attributes)
            except (CRSError, KeyError, ValueError) as error:
                raise InputError(
                    f"{path}: grid mapping {mapping} is not understood ({reason_of(error)}): "
                    "expected one after CF, or that the catalog says the CRS (crs)"
                ) from error
    return Coordinates(
        y=_axis(path, dataset, roles.y, source.axes.latitude),
        x=_axis(path, dataset, roles.x, source.axes.longitude),
        latitude=_values(latitude, roles),
        longitude=_values(longitude, roles),
        crs=crs,
    )


def _axis(path: Location, dataset: xr.Dataset, dimension: str, named: str | None) -> Axis | None:
    """The coordinate along a dimension, if there is one: of its name, of the name that the catalog
    gives, or the one of latitudes or longitudes."""
    along = {
        str(name): variable
        for name, variable in dataset.variables.items()
        if variable.dims == (dimension,)
    }
    degrees = [name for name, variable in along.items() if _is_mesh(name, variable)]
    chosen = [name for name in (named, dimension) if name in along][:1] or degrees
    if len(chosen) > 1:
        raise InputError(
            f"{path}: {', '.join(sorted(chosen))} all lie along {dimension}: expected one, or that "
            "the catalog says which (axes.latitude, axes.longitude)"
        )
    if not chosen:
        return None
    variable = along[chosen[0]]
    _require_centres(path, dataset, chosen[0], variable)
    return Axis(
        name=chosen[0],
        values=np.asarray(variable.values, np.float64),
        units=str(variable.attrs.get("units", "")),
        standard_name=str(variable.attrs.get("standard_name", "")),
    )


def _require_centres(path: Location, dataset: xr.Dataset, name: str, variable: xr.Variable) -> None:
    """The numbers along an axis are the middles of its bounds, if it has any.

    Raises:
        InputError: they are not; such as corners.
    """
    bounds = dataset.variables.get(str(variable.attrs.get("bounds", "")))
    if bounds is None or bounds.shape != (variable.size, 2) or not variable.size:
        return
    edges = np.asarray(bounds.values, np.float64)
    apart = np.abs(np.asarray(variable.values, np.float64) - edges.mean(1)).max()
    if apart > OFF_CENTRE * np.abs(edges[:, 1] - edges[:, 0]).min():
        raise InputError(
            f"{path}: {name} starts with {variable.values[0]:g}, whose bounds are "
            f"{edges[0, 0]:g} to {edges[0, 1]:g}: expected their middle"
        )


def _values(mesh: xr.Variable | None, roles: Roles) -> NDArray[np.float64] | None:
    if mesh is None:
        return None
    return np.asarray(mesh.transpose(roles.y, roles.x).values, np.float64)


def _mesh(
    path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource, role: str
) -> xr.Variable | None:
    """The latitudes or longitudes (y, x) of the pixels' centres, if the file has any."""
    pattern = DEGREES_NORTH if role == "latitude" else DEGREES_EAST
    named = getattr(source.axes, role)
    if named is not None:
        dims = dataset.variables[named].dims if named in dataset.variables else ()
        if dims in ((roles.y,), (roles.x,)):
            return None  # an axis
        if set(dims) != {roles.y, roles.x}:
            raise InputError(
                f"{path}: axes.{role} is {named!r}: expected a variable along {roles.y} and "
                f"{roles.x}, or one of them"
            )
        return dataset.variables[named]
    found = {}
    for name, variable in dataset.variables.items():
        if variable.ndim == 2 and set(variable.dims) == {roles.y, roles.x}:
            attributes = variable.attrs
            says = attributes.get("standard_name") == role or pattern.match(
                str(attributes.get("units", ""))
            )
            if says or str(name).lower() in (role, role[:3]):
                found[str(name)] = variable
    if len(found) > 1:
        raise InputError(
            f"{path}: {', '.join(sorted(found))} are all a {role}: expected one, or that the "
            f"catalog says which (axes.{role})"
        )
    return next(iter(found.values()), None)


def corners_of(dataset: xr.Dataset, roles: Roles) -> dict[str, NDArray[np.float64]]:
    """First and last numbers along each dimension of every coordinate of the pixels, by name."""
    found = {}
    for name, variable in dataset.variables.items():
        dims = [dimension for dimension in (roles.y, roles.x) if dimension in variable.dims]
        places = variable.dims == (name,) or _is_mesh(name, variable)
        if places and dims and len(dims) == variable.ndim and variable.dtype.kind in "fiu":
            ends = variable.transpose(*dims).isel({dimension: [0, -1] for dimension in dims})
            found[str(name)] = np.asarray(ends.values, np.float64)
    return found


def _is_mesh(name: Hashable, variable: xr.Variable) -> bool:
    units = str(variable.attrs.get("units", ""))
    return bool(DEGREES_NORTH.match(units) or DEGREES_EAST.match(units)) or str(name).lower() in (
        "lat", "lon", "latitude", "longitude",
    )  # fmt: skip
