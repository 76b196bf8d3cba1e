"""Describe NetCDF, HDF5 and Zarr files: variables, places, times and values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.inspect.description import (
    HUGE,
    OPEN,
    Description,
    add_suspects,
    describe_times,
    describe_values,
    doubt_units,
    draw_map,
)
from pipeline.inspect.directions import add_directions
from pipeline.inspect.running_totals import propose_totals
from pipeline.inspect.variables import (
    MAX_LISTED,
    about_variable,
    data_variables,
    select_first,
    why_rain,
)
from pipeline.rasters.coordinates import (
    UNREADABLE,
    placement_of,
    reason_of,
    roles_of,
    units_of,
)
from pipeline.rasters.drivers.cf_packing import as_unsigned, outside_valid_range, packing
from pipeline.rasters.drivers.radar import as_dataset
from pipeline.rasters.files import format_duration
from pipeline.rasters.times import bounds_of, labels_of
from pipeline.regrid.coordinates import Roles
from pipeline.regrid.placement import Axes, Curvilinear
from pipeline.units import DISCHARGE_M3_S, FORCING_UNITS, recognise_unit, split_factor

DISCHARGE = re.compile(r"discharge|streamflow|qobs", re.IGNORECASE)
FILL_OF_NETCDF = float(netCDF4.default_fillvals["f4"])
SECONDS_PER_YEAR = 365.25 * 86400
MAX_VALUES = 20_000_000  # that are read, of rasters spread over the file
LABELS = {"start": 0.0, "middle": 0.5, "end": 1.0}


def describe_grid(path: Path, driver: str = "netcdf") -> Description:
    """Describe a NetCDF, HDF5 or Zarr file, or a radar composite.

    Args:
        path: of the file.
        driver: of the catalog: netcdf, zarr or radar.

    Raises:
        InputError: it cannot be opened.
    """
    description = Description(path, "raster")
    try:
        group = _richest_group(path) if driver == "netcdf" else None
        plain: dict[str, Any] = {"decode_cf": False, "chunks": None, "group": group}
        if driver == "radar":
            dataset = as_dataset(path)
        elif driver == "zarr":
            dataset = xr.open_zarr(path, **plain)
        else:
            dataset = xr.open_dataset(path, engine="netcdf4", cache=False, **plain)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable ({reason_of(error)}): expected NetCDF, HDF5 or Zarr"
        ) from error
    with dataset:
        _describe(description, dataset, driver, group)
    return description


def _richest_group(path: Path) -> str | None:
    """The group with the most variables of two or more dimensions; None for the root."""
    with netCDF4.Dataset(path) as root:
        found = {
            name: sum(variable.ndim >= 2 for variable in group.variables.values())
            for name, group in _groups(root, "")
        }
    best = max(found, key=lambda name: found[name])
    return best or None


def _groups(group: netCDF4.Dataset, name: str) -> Iterator[tuple[str, netCDF4.Dataset]]:
    yield name, group
    for key, child in group.groups.items():
        yield from _groups(child, f"{name}/{key}".strip("/"))


def _describe(
    description: Description, dataset: xr.Dataset, driver: str, group: str | None
) -> None:
    about = f"{driver}, {len(dataset.variables)} variables"
    description.add("format", about + (f", in group {group}" if group else ""))
    names = data_variables(dataset)
    for name in names[:MAX_LISTED]:
        description.add("variables", about_variable(name, dataset[name]))
    if len(names) > MAX_LISTED:
        description.add("variables", f"and {len(names) - MAX_LISTED} more")
    if not names:
        description.kind = "unknown"
        description.add("refused", "no variable with rows and columns")
        return
    name = names[0]
    description.add("described below", name)
    select = select_first(description, dataset, name)
    source = RasterSource.model_validate(
        {
            "driver": driver,
            "files": str(description.path),
            "variable": name,
            "group": group,
            "select": select,
            "units": recognise_unit(split_factor(units_of(dataset[name]))[1], FORCING_UNITS)
            or "mm",
        }
    )
    description.keys |= {"driver": driver, "variable": name} | ({"group": group} if group else {})
    description.reasons["variable"] = why_rain(dataset, names)
    _add_units(description, dataset[name])
    try:
        roles = roles_of(description.path, dataset, source)
    except InputError as error:
        description.refuse(error)
        _add_values(description, dataset, None, source)
        flows = [one for one in names if DISCHARGE.search(one)]
        if flows and flows[0] != name:
            description.add("described below", flows[0])
            _add_units(description, dataset[flows[0]])
            flow = source.model_copy(update={"variable": flows[0]})
            _add_values(description, dataset, None, flow)
        return
    placement = None
    try:
        placement = placement_of(description.path, dataset, roles, source)
        _add_placement(description, placement)
    except InputError as error:
        description.refuse(error)
    labels = _add_times(description, dataset, roles, source)
    values = _add_values(description, dataset, roles, source)
    if values is None:
        return
    _add_rain(description, values, source, roles, dataset, labels)
    _add_picture(description, values, dataset[name], roles, placement)


def _add_units(description: Description, variable: xr.DataArray) -> None:
    """Add the units of the file, and those of the catalog that they are."""
    for attribute in ("units", "unit"):
        text = str(variable.attrs.get(attribute, ""))
        if not text:
            continue
        factor, plain = split_factor(text)
        known = recognise_unit(plain if factor else text, FORCING_UNITS) or recognise_unit(
            text, DISCHARGE_M3_S
        )
        where = (
            "" if attribute == "units" else f" (attribute {attribute!r}, which CF does not know)"
        )
        scaled = f", scale: {factor:g}" if factor != 1 else ""
        said = (
            f"read as {known}{scaled}" if known else "not understood: the catalog has to say them"
        )
        description.add("units", f"{text!r}{where}: {said}")
        if known in FORCING_UNITS:
            description.propose("units", known, f"the file says {text}")
            if factor != 1:
                description.propose("scale", factor, f"the file says {text}")
        return
    description.add("units", "none stated: the catalog has to say them")


def _add_placement(description: Description, placement: Axes | Curvilinear) -> None:
    """Add the CRS, pixels and bounds."""
    west, south, east, north = placement.bounds
    where = f"{west:.6g}..{east:.6g} E, {south:.6g}..{north:.6g} N"
    if isinstance(placement, Curvilinear):
        rows, columns = placement.latitude.shape
        description.add("CRS", "latitude and longitude of every pixel")
        description.add("grid", f"{rows} rows x {columns} columns, {where}")
        return
    crs = placement.crs
    width, height = (np.diff(edges) for edges in (placement.x_edges, placement.y_edges))
    unit = "degrees" if crs is None else crs.axis_info[0].unit_name
    description.add("CRS", "longitude and latitude" if crs is None else crs.name)
    description.add(
        "grid",
        f"{height.size} rows x {width.size} columns of {abs(np.median(height)):.6g} x "
        f"{abs(np.median(width)):.6g} {unit}, {where}, "
        f"rows from {'north to south' if height[0] < 0 else 'south to north'}",
    )


def _add_times(
    description: Description, dataset: xr.Dataset, roles: Roles, source: RasterSource
) -> list[datetime]:
    """Add labels, their step, and what part of its interval a label names; return the labels."""
    if roles.time is None:
        description.add("times", "no dimension of times")
        return []
    try:
        labels = labels_of(description.path, dataset, roles, source)
    except InputError as error:
        description.refuse(error)
        return []
    description.add("times", describe_times(labels))
    description.labels = labels
    if roles.time in dataset.variables:
        calendar = dataset[roles.time].attrs.get("calendar", "standard")
        if calendar not in ("standard", "gregorian", "proleptic_gregorian"):
            description.add("calendar", f"{calendar}: days become days of the same date")
    lengths, begins = bounds_of(dataset, roles)
    if len(lengths) == 1 and len(begins) == len(labels):
        places = {(label - begin) / lengths[0] for label, begin in zip(labels, begins, strict=True)}
        place = next(iter(places)) if len(places) == 1 else None
        said = next((name for name, share in LABELS.items() if share == place), None)
        if said:
            description.keys |= {"label": said}
        description.keys["interval"] = lengths[0]
        text = (
            f"a label is the {said} of its interval" if said else "labels vary in their intervals"
        )
        description.add(
            "bounds",
            f"intervals of {format_duration(lengths[0])}, the first from {begins[0]}: {text}",
        )
    else:
        description.add("bounds", "none: label start or end has to be known from elsewhere")
    return labels


def _add_values(
    description: Description,
    dataset: xr.Dataset,
    roles: Roles | None,
    source: RasterSource,
) -> NDArray[np.float64] | None:
    """Add packing, range and suspects, of rasters spread over the file; return their values."""
    variable = dataset.variables[source.variable]
    order = _spread(variable, roles)
    try:
        raw, attributes = as_unsigned(np.asarray(variable.isel(order).values), variable.attrs)
        scale, offset, codes = packing(description.path, raw.dtype, attributes, source)
    except UNREADABLE as error:
        description.add("refused", f"values not readable ({reason_of(error)})")
        return None
    values = raw.astype(np.float64)
    for code in codes:
        values[raw == code] = np.nan
    outside = outside_valid_range(raw, attributes)
    if outside is not None:
        values[outside] = np.nan
    values = values * scale + offset
    stated = {key: attributes[key] for key in ("_FillValue", "missing_value") if key in attributes}
    said = ", ".join(f"{key} {value}" for key, value in stated.items()) or "no fill value stated"
    description.add("packing", f"{variable.dtype}, scale {scale:g}, offset {offset:g}, {said}")
    description.add("values", describe_values(values))
    doubt_units(description, values)
    suspects = add_suspects(description, values, "missing")
    if suspects and (scale, offset) == (1.0, 0.0):
        description.propose("missing", suspects, f"{OPEN}: see what looks missing")
    if (values > HUGE).any() or (FILL_OF_NETCDF in codes and not stated and np.isnan(values).any()):
        description.add("packing", "NetCDF's own 9.97e36 counts as missing, though nothing says so")
    return values


def _add_rain(
    description: Description,
    values: NDArray[np.float64],
    source: RasterSource,
    roles: Roles,
    dataset: xr.Dataset,
    labels: list[datetime],
) -> None:
    """Add what the mean would be in a year, and whether values only grow with time."""
    unit = FORCING_UNITS[source.units]
    mean = float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
    if "units" in description.keys and unit.kind != "state":
        step = (labels[-1] - labels[0]) / (len(labels) - 1) if len(labels) > 1 else None
        seconds = 1.0 if unit.kind == "rate" else step.total_seconds() if step else None
        if seconds:
            year = mean * unit.factor / seconds * SECONDS_PER_YEAR
            description.add("as rain", f"{year:.4g} mm a year, if these are {source.units}")
    if roles.time is None:
        return
    axis = dataset[source.variable].dims.index(roles.time)
    if 3 < len(labels) == values.shape[axis] and unit.kind == "amount":
        propose_totals(description, np.moveaxis(values, axis, 0), labels)


def _add_picture(
    description: Description,
    values: NDArray[np.float64],
    variable: xr.DataArray,
    roles: Roles,
    placement: Axes | Curvilinear | None,
) -> None:
    """Add the mean map, and the numbering if it holds flow directions."""
    picture = _mean_map(values, list(variable.dims), roles)
    add_directions(description, picture)
    extent = None
    if isinstance(placement, Axes):
        x, y = placement.x_edges, placement.y_edges
        extent = (float(x[0]), float(x[-1]), float(y[-1]), float(y[0]))
    description.draw = draw_map(picture, extent, str(variable.name))


def _spread(variable: xr.Variable, roles: Roles | None) -> dict[Any, Any]:
    """Indices of rasters spread over the first dimension that is neither row nor column."""
    plane = {roles.y, roles.x} if roles else set(variable.dims[-2:])
    others = [dimension for dimension in variable.dims if dimension not in plane]
    size = int(np.prod([variable.sizes[dimension] for dimension in plane], dtype=np.int64))
    index: dict[Any, Any] = {}
    for dimension in others[1:]:
        index[dimension] = slice(0, max(1, min(variable.sizes[dimension], MAX_VALUES // size)))
        size *= index[dimension].stop
    for dimension in others[:1]:
        steps = variable.sizes[dimension]
        most = max(1, min(steps, MAX_VALUES // size))
        index[dimension] = np.unique(np.linspace(0, steps - 1, most).astype(int))
    return index


def _mean_map(values: NDArray[Any], dims: list[Any], roles: Roles) -> NDArray[np.float64]:
    """The mean over all but rows and columns, (rows, columns)."""
    moved = np.moveaxis(values, [dims.index(roles.y), dims.index(roles.x)], [-2, -1])
    planes = moved.reshape(-1, *moved.shape[-2:])
    valid = np.isfinite(planes).sum(axis=0)
    return np.where(valid > 0, np.nansum(planes, axis=0) / np.maximum(valid, 1), np.nan)
