"""Dimensions and coordinates of the variables that raster sources name, and where pixels lie.

The file's own metadata decide; a catalog states what they leave open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError, client_errors
from pipeline.log import get_logger
from pipeline.rasters.pixels import catalog_crs
from pipeline.regrid.axis import UndecidedError
from pipeline.regrid.coordinates import (
    AxisNames,
    Roles,
    crs_of,
    doubt_of_header,
    is_lat_or_lon,
    mesh_dimensions,
    read_coordinates,
    role_of,
)
from pipeline.regrid.placement import Axes, Curvilinear, doubt_of, place_pixels
from pipeline.storage import Location

LOG = get_logger(__name__)
# What backends raise on truncated, damaged or other files.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, IndexError, AttributeError, TypeError)
DESCRIPTIONS = ("standard_name", "long_name", "description")
MOST_SHOWN = 12  # values of a dimension in a message
# Keys of a raster source that decide what a file leaves open.
KEYS = {
    "axes": "axes.latitude and axes.longitude",
    "axes_at": "axes_at (centre or corner)",
    "crs": "crs, axes or place_by",
    "place_by": "place_by (axes or latlon)",
}


@contextmanager
def reading(path: Location, expected: str) -> Iterator[None]:
    """Attribute what backends raise on damaged values to their file.

    Raises:
        InputError: the file is not readable.
    """
    try:
        yield
    except InputError:
        raise
    except client_errors(*UNREADABLE) as error:
        raise InputError(
            f"{path}: not readable ({reason_of(error)}): expected {expected}"
        ) from error


def reason_of(error: Exception) -> str:
    """The message of another library's error, in one line."""
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
    variable = dataset[source.variable]
    if variable.dtype.kind not in "fiu":
        raise InputError(f"{path}: {source.variable} holds {variable.dtype}: expected numbers")
    return variable


def roles_of(path: Location, dataset: xr.Dataset, source: RasterSource) -> Roles:
    """Names of the dimensions of a source's variable.

    Raises:
        InputError: there is no such variable, or its dimensions cannot be told apart.
    """
    variable = variable_of(path, dataset, source)
    names = AxisNames(**source.axes.model_dump())
    found: dict[str, list[str]] = {"time": [], "y": [], "x": []}
    rest = []
    mesh = mesh_dimensions(dataset.variables)
    for dimension in variable.dims:
        role = role_of(dataset.variables, dimension, names)
        if role is None and mesh is not None and dimension in mesh:
            role = "y" if dimension == mesh[0] else "x"
        if role:
            found[role].append(str(dimension))
        elif variable.sizes[dimension] > 1 and str(dimension) not in source.select:
            rest.append(str(dimension))
    if not found["y"] and not found["x"] and (not rest or found["time"]) and len(rest) < 2:
        sizes = ", ".join(f"{name} ({size})" for name, size in variable.sizes.items())
        raise InputError(
            f"{path}: {source.variable} has the dimensions {sizes}: series of single places, no "
            "rasters: expected rows and columns"
        )
    if rest and found["y"] and found["x"]:
        said = ", ".join(_values_of(dataset, name) for name in rest)
        raise InputError(
            f"{path}: {source.variable} has further dimensions: {said}: expected one value of "
            f"each (select: {{{rest[0]}: ...}}), or axes in the catalog"
        )
    if rest or not (len(found["y"]) == len(found["x"]) == 1 and len(found["time"]) <= 1):
        sizes = ", ".join(f"{name} ({size})" for name, size in variable.sizes.items())
        raise InputError(
            f"{path}: {source.variable} has the dimensions {sizes}: expected to recognise one y, "
            f"one x and at most one time among them, or axes in the catalog"
        )
    return Roles(next(iter(found["time"]), None), found["y"][0], found["x"][0])


def selected(path: Location, dataset: xr.Dataset, source: RasterSource) -> dict[str, int]:
    """Positions along the dimensions that a source selects a value of.

    A value is one of the dimension's coordinate, or without a coordinate the position from 0.

    Raises:
        InputError: there is no such dimension or value.
    """
    positions = {}
    for name, value in source.select.items():
        if name not in variable_of(path, dataset, source).dims:
            raise InputError(
                f"{path}: {source.variable} has the dimensions "
                f"{', '.join(map(str, dataset[source.variable].dims))}: expected {name} among them "
                "(select)"
            )
        known = _coordinate(dataset, name)
        if known.dtype.kind in "fiu" and not isinstance(value, str):
            found = np.flatnonzero(np.isclose(known.astype(float), value, rtol=1e-6, atol=0))
        else:
            found = np.flatnonzero(known.astype(str) == str(value))
        if found.size != 1:
            raise InputError(
                f"{path}: {_values_of(dataset, name)}: expected one that is {value!r} (select)"
            )
        positions[name] = int(found[0])
    return positions


def _coordinate(dataset: xr.Dataset, name: str) -> NDArray[Any]:
    """Values of a dimension: texts or numbers, its positions without a coordinate."""
    if name not in dataset.variables:
        return np.arange(dataset.sizes[name])
    values = np.asarray(dataset.variables[name].values)
    return np.char.decode(values) if values.dtype.kind == "S" else values


def _values_of(dataset: xr.Dataset, name: str) -> str:
    """A dimension and its values, as text."""
    known = [str(value) for value in _coordinate(dataset, name).tolist()]
    shown = known if len(known) <= MOST_SHOWN else [*known[:MOST_SHOWN], "..."]
    what = "" if name in dataset.variables else "positions "
    return f"{name} ({what}{', '.join(shown)})"


def units_of(variable: xr.DataArray | xr.Variable) -> str:
    """Units that a variable states; some programs write `unit`."""
    return str(variable.attrs.get("units", variable.attrs.get("unit", "")))


def describe(variable: xr.DataArray) -> tuple[str, ...]:
    """Name and descriptions of a variable."""
    return (str(variable.name), *(str(variable.attrs.get(key, "")) for key in DESCRIPTIONS))


def common_roles(path: Location, dataset: xr.Dataset, sources: Sequence[RasterSource]) -> Roles:
    """Names of the dimensions that all sources of a file share.

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


def placement_of(
    path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource
) -> Axes | Curvilinear:
    """Location of the pixels of a source's variable.

    A warning says where axes seem to name the corners of pixels.

    Raises:
        InputError: the file has no coordinates, contradictory ones, or a CRS that is not
            understood.
    """
    mapping = str(dataset[source.variable].attrs.get("grid_mapping", ""))
    names = AxisNames(**source.axes.model_dump())
    with _naming(path):
        crs = catalog_crs(source) or crs_of(dataset.variables, mapping)
        at_corner = source.axes_at == "corner"
        found = read_coordinates(dataset.variables, roles.y, roles.x, crs, names, at_corner)
        placement = place_pixels(found, source.place_by)
    if source.crs is not None and isinstance(placement, Curvilinear):
        raise InputError(
            f"{path}: its pixels are placed by latitude and longitude: expected no crs in the "
            f"catalog, which says {source.crs!r}"
        )
    doubt = doubt_of(found, placement) if source.place_by is None else None
    if doubt is None and isinstance(placement, Axes):
        doubt = doubt_of_header(dataset.variables, mapping, found)
    if doubt is not None:
        LOG.warning("%s: %s (%s)", path, doubt, KEYS["axes_at"])
    return placement


@contextmanager
def _naming(path: Location) -> Iterator[None]:
    """Put the file, and the key of the catalog that would decide, into errors."""
    try:
        yield
    except UndecidedError as error:
        raise InputError(f"{path}: {error}, or {KEYS[error.setting]} in the catalog") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def corners_of(dataset: xr.Dataset, roles: Roles) -> dict[str, NDArray[np.float64]]:
    """First and last values along each dimension of every coordinate of the pixels, by name."""
    found = {}
    for name, variable in dataset.variables.items():
        dims = [dimension for dimension in (roles.y, roles.x) if dimension in variable.dims]
        places = variable.dims == (name,) or is_lat_or_lon(name, variable)
        if places and dims and len(dims) == variable.ndim and variable.dtype.kind in "fiu":
            ends = variable.transpose(*dims).isel({dimension: [0, -1] for dimension in dims})
            found[str(name)] = np.asarray(ends.values, np.float64)
    return found
