"""Read times from a dataset: labels of its rasters, and the bounds of their intervals."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError, client_errors
from pipeline.rasters.coordinates import UNREADABLE, reason_of
from pipeline.regrid.coordinates import SINCE, Roles
from pipeline.storage import Location

# Calendars whose dates are the dates of ours; some leave out 29 February.
CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "noleap", "365_day")
REFERENCE = "forecast_reference_time"


def labels_of(
    path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource
) -> list[datetime]:
    """Labels (naive UTC) of the rasters from the file's time axis, in the file's order.

    Raises:
        InputError: the file has no times, or none after CF.
    """
    name = _time_name(path, dataset, roles, source)
    variable = dataset.variables[name]
    units = str(variable.attrs.get("units", ""))
    if variable.dtype.kind in "fiu" and not SINCE.match(units):
        raise InputError(f"{path}: {name} in {units!r}: expected times after CF, as 'hours since'")
    calendar = str(variable.attrs.get("calendar", "standard")).lower()
    if calendar not in CALENDARS:
        raise InputError(
            f"{path}: {name} is in the calendar {calendar}, whose days are no dates of ours: "
            f"expected one of {', '.join(CALENDARS)}; xarray's convert_calendar makes such a file"
        )
    zone = re.search(r"\d\s*([A-Za-z]+)\s*$", units)
    if zone and zone[1].upper() not in ("Z", "UTC", "GMT"):
        raise InputError(f"{path}: {name} in {units!r}: expected UTC, or an offset from it")
    try:
        values = np.atleast_1d(xr.decode_cf(xr.Dataset({name: variable}))[name].values)
    except client_errors(*UNREADABLE) as error:
        raise InputError(
            f"{path}: {name} is not understood ({reason_of(error)}): expected times after CF"
        ) from error
    return _datetimes(path, name, values)


def bounds_of(
    dataset: xr.Dataset, roles: Roles
) -> tuple[tuple[timedelta, ...], tuple[datetime, ...]]:
    """Intervals of the rasters, from the bounds of the file's time axis.

    Returns:
        Lengths, each once, and starts (naive UTC) in the file's order; both empty without valid
        bounds.
    """
    time = dataset.variables.get(roles.time) if roles.time else None
    bounds = str(time.attrs.get("bounds", "")) if time is not None else ""
    if time is None or bounds not in dataset.variables:
        return (), ()
    variable = dataset.variables[bounds]
    if variable.shape != (time.size, 2):
        return (), ()
    both = xr.Dataset({str(roles.time): time.load(), bounds: variable.load()})
    try:
        values = xr.decode_cf(both, decode_coords=False)[bounds].values
        lengths = pd.to_timedelta(np.ravel(values[:, 1] - values[:, 0])).round("min")
        begins = pd.DatetimeIndex(values[:, 0]).round("s")
    except client_errors(*UNREADABLE):
        return (), ()
    if begins.hasnans or not (lengths > timedelta(0)).any():
        return (), ()
    found = [length.to_pytimedelta() for length in lengths.unique() if length > timedelta(0)]
    return tuple(found), tuple(begin.to_pydatetime() for begin in begins)


def _datetimes(path: Location, name: str, values: NDArray[Any]) -> list[datetime]:
    """Convert to whole seconds; days of other calendars become days of the same date."""
    try:
        if values.dtype == object:
            values = np.array([value.isoformat() for value in values], "datetime64[us]")
        times = pd.DatetimeIndex(values).round("s")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: {name} is not understood ({reason_of(error)}): expected dates"
        ) from error
    if times.hasnans:
        raise InputError(f"{path}: {name} has missing values: expected a time for each raster")
    return [time.to_pydatetime() for time in times]


def _time_name(path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource) -> str:
    """Name of the variable with the times at which rasters are valid, not of forecast starts."""
    attributes = dataset.variables[roles.time].attrs if roles.time in dataset.variables else {}
    if roles.time in dataset.variables and attributes.get("standard_name") != REFERENCE:
        return str(roles.time)
    found = [
        str(name)
        for name, variable in dataset.variables.items()
        if SINCE.match(str(variable.attrs.get("units", "")))
        and variable.dims == ((roles.time,) if roles.time else ())
        and variable.attrs.get("standard_name") != REFERENCE
    ]
    if len(found) != 1:
        raise InputError(
            f"{path}: {len(found)} variables hold the times of {source.variable} after CF, in "
            "units such as 'hours since 2000-01-01': expected one, or labels in the files' names "
            "(times: name)"
        )
    return found[0]
