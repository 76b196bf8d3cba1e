"""Describe NetCDF files of series at stations: discharge over times, or over times and sites."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.gauges.formats.common import DISCHARGE_WORD, OTHER_QUANTITY, listed
from pipeline.gauges.formats.netcdf import texts_of
from pipeline.inspect.description import (
    OPEN,
    Description,
    add_suspects,
    describe_times,
    describe_values,
    suspected_codes,
)
from pipeline.inspect.tables import draw_hydrograph, try_keys
from pipeline.units import DISCHARGE_M3_S, RUNOFF_M_S, recognise_unit

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, OverflowError)
NAMES = re.compile(r"(?:^|_)q(?:$|_|obs)|qobs|streamflow|discharge", re.IGNORECASE)
STATION = re.compile(r"station|site|gauge|gage|basin|catchment|^id$|_id$", re.IGNORECASE)
GLOBAL_UNITS = r"{}\b[^\n\[]*\[([^\]\n]+)\]"  # a line of one attribute for all variables
MAX_LISTED = 8  # variables


def describe_series(path: Path) -> Description | None:
    """Describe a NetCDF file of discharge at stations; None if it holds none, or rasters."""
    try:
        with xr.open_dataset(path, decode_cf=False, engine="netcdf4", cache=False) as raw:
            time = _time(raw)
            if time is None or any(_is_grid(raw, one) for one in raw.data_vars.values()):
                return None
            series = [one for one in raw.data_vars.values() if _is_series(raw, one, time)]
            if not series:
                return None
            flows = sorted(filter(_is_discharge, series), key=_rank)
            if not flows:
                return None
            description = Description(path, "record")
            _describe(description, raw, time, series, flows)
            return description
    except UNREADABLE:
        return None  # which the reader of rasters says why


def _time(raw: xr.Dataset) -> str | None:
    """Name of the times, along one dimension."""
    for name, variable in raw.variables.items():
        if variable.ndim == 1 and " since " in str(variable.attrs.get("units", "")):
            return str(name)
    return None


def _is_grid(raw: xr.Dataset, variable: xr.DataArray) -> bool:
    """Whether a variable has rows and columns: further dimensions with longer coordinates."""
    sizes = [size for size in variable.sizes.values() if size > 1]
    names = {str(dimension).lower() for dimension in variable.dims}
    return variable.dtype.kind in "fiu" and (
        len(sizes) > 2
        or (
            bool(names & {"lat", "latitude", "y", "rlat", "northing"})
            and bool(names & {"lon", "longitude", "x", "rlon", "easting"})
        )
    )


def _is_series(raw: xr.Dataset, variable: xr.DataArray, time: str) -> bool:
    return (
        variable.dtype.kind in "fiu"
        and raw[time].dims[0] in variable.dims
        and str(variable.name) != time
        and "bnds" not in str(variable.dims)
    )


def _about(variable: xr.DataArray) -> str:
    attributes = (variable.attrs.get(key, "") for key in ("standard_name", "long_name"))
    return " ".join(map(str, (variable.name, *attributes)))


def _units(variable: xr.DataArray) -> str:
    """Text of the unit; of one global attribute for all, if the variable has none."""
    return str(variable.attrs.get("units", variable.attrs.get("unit", "")))


def _is_discharge(variable: xr.DataArray) -> bool:
    about = _about(variable)
    named = bool(NAMES.search(str(variable.name)) or DISCHARGE_WORD.search(about))
    volume = recognise_unit(_units(variable), DISCHARGE_M3_S) is not None
    return (named or volume) and not (OTHER_QUANTITY.search(about) and not volume)


def _rank(variable: xr.DataArray) -> tuple[bool, bool]:
    """The likeliest discharge first: observed, and a volume."""
    about = _about(variable)
    simulated = bool(re.search(r"sim|model|forecast", about, re.IGNORECASE))
    return simulated, NAMES.search(str(variable.name)) is None


def _stations(raw: xr.Dataset, time: str, variable: xr.DataArray) -> list[Hashable]:
    """Dimensions beside that of times."""
    return [dimension for dimension in variable.dims if dimension != raw[time].dims[0]]


def _describe(
    description: Description,
    raw: xr.Dataset,
    time: str,
    series: list[xr.DataArray],
    flows: list[xr.DataArray],
) -> None:
    description.add("format", f"netcdf, {len(raw.variables)} variables, series at stations")
    names = [one.name for one in flows]
    for one in [*flows, *(one for one in series if one.name not in names)][:MAX_LISTED]:
        sizes = ", ".join(f"{dimension} {size}" for dimension, size in one.sizes.items())
        said = str(one.attrs.get("long_name", ""))[:50]
        description.add("variables", f"{one.name} ({sizes}) [{_units(one)}] {said}".rstrip())
    flow = flows[0]
    others = ", ".join(str(one.name) for one in flows[1:])
    description.add("guess", f"discharge is {flow.name}" + (f", or {others}" if others else ""))
    stations = _stations(raw, time, flow)
    site = _site(description, raw, flow, stations)
    decoded = xr.decode_cf(raw[[str(flow.name), time]])
    times = decoded[time].to_index()
    description.add("times", describe_times(times))
    gaps = np.diff(times.to_numpy())
    daily = not (gaps.size and np.median(gaps) < np.timedelta64(1, "D"))
    keys: dict[str, Any] = {"format": "netcdf", "units": _add_units(description, raw, flow)}
    if not daily:
        keys |= {"values": "instantaneous", "time_zone": OPEN}
    keys["columns"] = {"site": site, "time": time, "discharge": str(flow.name)}
    values = np.asarray(decoded[flow.name].values, np.float64)
    description.add("discharge", describe_values(values))
    add_suspects(description, values, "gauges.missing")
    if codes := suspected_codes(values):
        keys["missing"] = [*codes]
    description.keys = keys
    along = np.moveaxis(values, flow.dims.index(raw[time].dims[0]), 0)
    description.draw = draw_hydrograph(times, along.reshape(times.size, -1)[:, 0])
    try_keys(description)


def _site(
    description: Description, raw: xr.Dataset, flow: xr.DataArray, stations: list[Hashable]
) -> str | None:
    """Name of the variable of the sites; None for one site."""
    if not stations:
        return None
    found = [
        str(name)
        for name, variable in raw.variables.items()
        if variable.dims[:1] == (stations[0],)
        and (variable.ndim == 1 or variable.dtype.kind == "S")
        and (variable.dtype.kind in "SUOi" or STATION.search(str(name)))
    ]
    found.sort(
        key=lambda name: (
            raw[name].attrs.get("cf_role") != "timeseries_id",
            name != stations[0],
            not STATION.search(name),
        )
    )
    for name in found:
        sites = texts_of(xr.decode_cf(raw[[name]])[name])
        description.add("sites", f"{name}: {listed(sites)}")
        description.sites[f"the variable {name}"] = sites
    if not found:
        return None if raw.sizes[stations[0]] == 1 else str(stations[0])
    return found[0]


def _add_units(description: Description, raw: xr.Dataset, flow: xr.DataArray) -> str:
    """Add the unit, of the variable or of a global attribute, and return the catalog's."""
    text = _units(flow)
    where = "of the variable"
    if not text:
        about = "\n".join(str(value) for value in raw.attrs.values())
        found = re.search(GLOBAL_UNITS.format(re.escape(str(flow.name))), about)
        text, where = (found[1], "in an attribute of the file") if found else ("", "")
    known = recognise_unit(text, (*DISCHARGE_M3_S, *RUNOFF_M_S))
    if known is None and text == "mm":
        known = "mm/day"
    description.add(
        "units", f"states {text!r}, {where}: {known or 'not understood'}" if text else "none stated"
    )
    return known or OPEN
