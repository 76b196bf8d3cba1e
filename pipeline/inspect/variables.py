"""Which variable of a dataset is rain, and what selects it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.inspect.description import OPEN, Description
from pipeline.rasters.coordinates import describe, units_of
from pipeline.rasters.quantity import is_usual_name, names_rain, other_quantity, part_of_rain
from pipeline.regrid.coordinates import is_lat_or_lon, mesh_dimensions, role_of
from pipeline.units import FORCING_UNITS, recognise_unit, split_factor

MAX_LISTED = 8  # variables, or values of a dimension


def data_variables(dataset: xr.Dataset) -> list[str]:
    """Names of numeric variables that are no coordinates, what looks like rain first."""
    bounds = {str(v.attrs.get("bounds", "")) for v in dataset.variables.values()}
    found = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "fiu"
        and variable.ndim >= 1
        and variable.dims != (name,)
        and str(name) not in bounds
        and not is_lat_or_lon(name, variable)
    ]

    def rank(name: str) -> tuple[bool, ...]:
        about = describe(dataset[name])
        units = split_factor(units_of(dataset[name]))[1]
        known = recognise_unit(units, FORCING_UNITS)
        return (
            not names_rain(*about),
            not is_usual_name(name),
            known is None or FORCING_UNITS[known].kind == "state",
            other_quantity(*about) is not None,
            dataset[name].ndim < 2,
        )

    return sorted(found, key=rank)


def why_rain(dataset: xr.Dataset, names: list[str]) -> str:
    """Why the first variable is described: because it alone speaks of rain, or not."""
    about = [one for one in describe(dataset[names[0]]) if one]
    rain = [name for name in names if names_rain(*describe(dataset[name]))]
    if other := other_quantity(*about):
        return f"{OPEN}: is it rain? The file says {other!r}"
    if not rain:
        return f"{OPEN}: is it rain? No variable is named so"
    if part := part_of_rain(*about):
        return f"{OPEN}: {part!r}: is it all the rain?"
    also = [name for name in rain[1:] if set(dataset[name].dims) == set(dataset[names[0]].dims)]
    said = about[-1] if len(about) > 1 else "by its name"
    return f"{OPEN}: or {', '.join(also[:MAX_LISTED])}" if also else said


def select_first(description: Description, dataset: xr.Dataset, name: str) -> dict[str, Any]:
    """The first value of each further dimension that has several, such as the first member."""
    variable = dataset[name]
    roles = {str(dimension): role_of(dataset.variables, dimension) for dimension in variable.dims}
    mesh = mesh_dimensions(dataset.variables) or ()
    if not ({"y", "x"} <= set(roles.values()) or mesh):
        return {}
    select = {}
    for dimension, role in roles.items():
        if role is None and dimension not in mesh and variable.sizes[dimension] > 1:
            known = dataset.get(dimension, np.arange(variable.sizes[dimension]))
            values = [
                str(v, "utf-8") if isinstance(v, bytes) else v for v in np.array(known).tolist()
            ]
            select[dimension] = values[0]
            shown = ", ".join(map(str, values[:MAX_LISTED]))
            more = ", ..." if len(values) > MAX_LISTED else ""
            description.add("further dimensions", f"{dimension}: {shown}{more}: select one")
    if select:
        description.propose("select", select, f"{OPEN}: one value of each further dimension")
    return select


def about_variable(name: str, variable: xr.DataArray) -> str:
    sizes = ", ".join(f"{dimension} {size}" for dimension, size in variable.sizes.items())
    said = variable.attrs.get("long_name") or variable.attrs.get("standard_name") or ""
    units = units_of(variable)
    return f"{name} ({sizes}) {variable.dtype}" + f" [{units}] {str(said)[:50]}".rstrip()
