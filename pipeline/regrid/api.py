"""The public regridder: an xarray object in, values and valid fractions on a grid out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.errors import InputError
from pipeline.regrid import cf_grid
from pipeline.regrid.arrays import regrid_dask, regrid_numpy
from pipeline.regrid.axis import Setting, UndecidedError
from pipeline.regrid.coordinates import crs_of, is_lat_or_lon, read_coordinates, role_of
from pipeline.regrid.grid import Grid
from pipeline.regrid.placement import (
    Axes,
    Curvilinear,
    Weights,
    place_pixels,
)
from pipeline.regrid.separable import FULL_TURN, column_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMERIC = "fiub"  # kinds of dtype that are regridded
ADVICE: dict[Setting, str] = {
    "axes": "drop the others with `drop_vars`",
    "axes_at": "`assign_coords` gives them",
    "crs": "`rio.write_crs` sets a CRS",
    "place_by": "drop the wrong coordinates with `drop_vars`",
}


def regrid(
    data: xr.DataArray | xr.Dataset, grid: Grid | None = None, *, min_valid: float = 0.5
) -> xr.Dataset:
    """Regrid conservatively onto a longitude-latitude grid: values and valid fractions.

    The value of a cell is the mean over the part of its area that has valid data, and its valid
    fraction is the size of that part (first-order conservative remapping, Jones 1999, with missing
    data left out). Areas are exact on the WGS84 ellipsoid:

        w_ij    = area(cell i and pixel j)
        value_i = sum_j w_ij m_j p_j / sum_j w_ij m_j      m_j = 1 where pixel j is valid, else 0
        valid_i = sum_j w_ij m_j / area_i

    NaN and infinite pixels are missing, and they may differ from step to step at no cost. What fell
    on the pixels falls on the cells: `sum(value * valid * cell area)` equals `sum(p * pixel area)`.

    Args:
        data: one or more variables (..., y, x), in memory or on Dask, of any real dtype, with the
            dimensions in any order and any others beside y and x (time, ensemble, band). Values
            are amounts per area or states, not totals of a pixel. One of these gives the location
            of the pixels' centres, whose datum is ignored:

            - 1-D latitudes and longitudes [degrees], ascending or descending, -180..180 or 0..360;
            - 1-D x and y with a projected CRS, from a CF grid mapping variable or
              `rio.write_crs`; pixels are rectangles in the CRS;
            - 2-D latitudes and longitudes [degrees] of the centres.
        grid: the target, of any resolution. The default is the smallest crop of the global
            5-arc-minute lattice that covers the data.
        min_valid: least valid fraction, 0 to 1, of a cell that gets a value; below it the value is
            NaN and the valid fraction stays.

    Returns:
        A Dataset with two variables, float32 (..., y, x), for each variable of the data: its values
        in the source's unit, and their valid fractions, 0 to 1, named `<name>_valid_fraction`
        (`valid_fraction` for `precipitation`; a DataArray without a name becomes `value`).
        Latitudes `y` descend, longitudes `x` ascend, and `spatial_ref` holds the CRS. Input is
        rounded to float32, sums are in float64.

        Input on Dask gives lazy output, with one task for each chunk of the dimensions beside y and
        x. Other input is regridded immediately on all available cores; of a file that xarray
        opened, only the window that `grid` needs is read.

        In a Dataset, variables without y and x stay as they are. Variables that are not numbers
        are dropped, and so is what describes the source's pixels, such as bounds and grid mappings.

    Raises:
        InputError: no location or two that contradict each other, numbers that are not decoded
            (a `_FillValue` or `scale_factor` among the attributes), no overlap with `grid`,
            variables on different pixels, or a valid fraction's name that is taken.

    Weights are computed by the call itself, which loads 2-D coordinates. Those of projected and
    curvilinear pixels take longer and are cached in `$DOMST_CACHE`, or `~/.cache/dom-st`.

    Example:
        >>> import numpy as np
        >>> import xarray as xr
        >>> from pipeline import Grid, regrid
        >>> rain = xr.DataArray(
        ...     np.full((2, 40, 60), 3.0),
        ...     dims=("time", "lat", "lon"),
        ...     coords={"lat": 41.99 - 0.02 * np.arange(40), "lon": -94.99 + 0.02 * np.arange(60)},
        ...     name="precipitation",
        ...     attrs={"units": "mm"},
        ... )
        >>> rain[:, :10, :15] = np.nan
        >>> result = regrid(rain)
        >>> dict(result.sizes)
        {'time': 2, 'y': 10, 'x': 15}
        >>> result["precipitation"].values[0, 0, 1:6]
        array([nan, nan, nan,  3.,  3.], dtype=float32)
        >>> result["valid_fraction"].values[0, 0, 1:6]
        array([0. , 0. , 0.4, 1. , 1. ], dtype=float32)
        >>> dict(regrid(rain, Grid.covering((-95, 41, -94, 42), cells_per_degree=4)).sizes)
        {'time': 2, 'y': 4, 'x': 4}
    """
    if not isinstance(data, xr.DataArray | xr.Dataset):
        raise InputError(f"data is a {type(data).__name__}: expected a DataArray or Dataset")
    if grid is not None and not isinstance(grid, Grid):
        raise InputError(f"grid is {grid!r}: expected a Grid, such as Grid.covering(bounds)")
    if not 0 <= min_valid <= 1:
        raise InputError(f"min_valid is {min_valid}: expected 0 to 1")
    dataset = _as_dataset(data)
    names, y, x = _find_pixels(dataset, whole=isinstance(data, xr.DataArray))
    for name in names:
        _require_decoded(name, dataset[name])
    with _naming(names[0]):
        placement = _place(dataset, names, y, x)
        grid = grid or _cover(placement)
        weights = placement.weights(grid)
    return _assemble(dataset, names, (y, x), weights, grid, min_valid)


def _as_dataset(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """A Dataset whose variables have names that are text, as attributes refer to them."""
    if isinstance(data, xr.DataArray):
        return data.to_dataset(name="value" if data.name is None else str(data.name))
    return data.rename({name: str(name) for name in data if not isinstance(name, str)})


def _find_pixels(dataset: xr.Dataset, whole: bool) -> tuple[list[str], str, str]:
    """Names of the variables to regrid, and their dimensions along rows and columns.

    Args:
        whole: every variable is to be regridded, so one that cannot be is refused.
    """
    described = _describing(dataset)
    found: dict[str, tuple[str, str]] = {}
    for name, variable in dataset.data_vars.items():
        pair = _spatial_dims(dataset, variable)
        if pair is None or variable.dtype.kind not in NUMERIC or str(name) in described:
            continue
        found[str(name)] = pair
    if not found or (whole and len(found) < len(dataset.data_vars)):
        listed = "; ".join(
            f"{name} {variable.dtype} ({', '.join(map(str, variable.dims))})"
            for name, variable in dataset.data_vars.items()
        )
        raise InputError(
            f"{listed or 'no variable'}: expected numbers with one dimension along y and one along "
            "x, named so or with a coordinate after CF"
        )
    first, (y, x) = next(iter(found.items()))
    for name, pair in found.items():
        if pair != (y, x):
            raise InputError(
                f"{first} lies on {y}, {x} and {name} on {', '.join(pair)}: expected variables on "
                "the same pixels; regrid them one by one"
            )
    return list(found), y, x


def _grid_mappings(dataset: xr.Dataset) -> set[str]:
    """Names of all grid mappings that variables name."""
    return {_grid_mapping(variable).partition(":")[0] for variable in dataset.data_vars.values()}


def _describing(dataset: xr.Dataset) -> set[str]:
    """Names of data variables that describe the pixels of others: grid mappings, bounds, and
    latitudes and longitudes that are not marked as coordinates."""
    names = {str(name) for name, variable in dataset.data_vars.items() if _is_mesh(name, variable)}
    for variable in dataset.variables.values():
        for about in (variable.attrs, variable.encoding):
            names.add(str(about.get("bounds", "")))
    return names | _grid_mappings(dataset)


def _is_mesh(name: Hashable, variable: xr.DataArray) -> bool:
    return is_lat_or_lon(name, variable.variable) or variable.attrs.get("standard_name") in (
        "latitude", "longitude",
    )  # fmt: skip


def _spatial_dims(dataset: xr.Dataset, variable: xr.DataArray) -> tuple[str, str] | None:
    """Dimensions (y, x) of a variable by their coordinates or names, else those of the 2-D
    latitudes that lie along two of them; None if neither is clear."""
    roles = {str(dim): role_of(dataset.variables, dim) for dim in variable.dims}
    y, x = ([dim for dim, role in roles.items() if role == axis] for axis in ("y", "x"))
    if len(y) == len(x) == 1:
        return y[0], x[0]
    meshes = {
        tuple(dim for dim in variable.dims if dim in mesh.dims)
        for name, mesh in dataset.variables.items()
        if mesh.ndim == 2 and is_lat_or_lon(name, mesh) and set(mesh.dims) <= set(variable.dims)
    }
    if len(meshes) == 1:
        first, second = meshes.pop()
        return str(first), str(second)
    return None


def _require_decoded(name: str, variable: xr.DataArray) -> None:
    """Refuse numbers that are packed or hold codes for missing.

    Raises:
        InputError: attributes that xarray's decoding would have taken away.
    """
    plain = {"scale_factor": 1, "add_offset": 0}
    for key in ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"):
        if key not in variable.attrs:
            continue
        value = variable.attrs[key]
        numbers = np.ravel(value)
        if numbers.dtype.kind in "fiu" and (
            (numbers == plain[key]).all() if key in plain else np.isnan(numbers).all()
        ):
            continue
        raise InputError(
            f"{name}: attribute {key} is {value}, so its numbers are not decoded: expected numbers "
            "in their unit, NaN where missing (mask_and_scale=True, masked=True or xr.decode_cf)"
        )


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the variable's name, and what the caller can do, into errors."""
    try:
        yield
    except UndecidedError as error:
        raise InputError(f"{name}: {error}; {ADVICE[error.setting]}") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _place(dataset: xr.Dataset, names: Sequence[str], y: str, x: str) -> Axes | Curvilinear:
    """Where the pixels lie.

    Raises:
        InputError: coordinates that do not say it, or contradict each other.
    """
    mappings = {_grid_mapping(dataset[name]) for name in names}
    if len(mappings) > 1:
        raise InputError(f"grid mappings {', '.join(sorted(mappings))}: expected the same for all")
    mapping = mappings.pop()
    variables = dataset.variables
    crs = crs_of(variables, mapping)
    try:
        return place_pixels(read_coordinates(variables, y, x, crs))
    except UndecidedError as error:
        if error.setting == "crs" and mapping and mapping.partition(":")[0] not in variables:
            raise InputError(
                f"grid mapping {mapping} is not among its coordinates: expected the Dataset that "
                "has it, or one opened with decode_coords='all'"
            ) from error
        raise


def _grid_mapping(variable: xr.DataArray) -> str:
    """Grid mapping that a variable names, else rioxarray's default; "" for neither."""
    for about in (variable.attrs, variable.encoding):
        if "grid_mapping" in about:
            return str(about["grid_mapping"])
    return cf_grid.GRID_MAPPING if cf_grid.GRID_MAPPING in variable.coords else ""


def _cover(placement: Axes | Curvilinear) -> Grid:
    """The smallest crop of the default lattice that covers the pixels."""
    west, south, east, north = placement.bounds
    return Grid.covering((west, south, min(east, west + FULL_TURN), north))


def _assemble(
    dataset: xr.Dataset,
    names: Sequence[str],
    pixels: tuple[str, str],
    weights: Weights,
    grid: Grid,
    min_valid: float,
) -> xr.Dataset:
    """The regridded variables, those that stay as they are, and the grid's coordinates."""
    kept = dataset.drop_dims([dim for dim in {*pixels, "y", "x"} if dim in dataset.dims])
    replaced = {"y", "x", cf_grid.GRID_MAPPING} | _grid_mappings(dataset)
    kept = kept.drop_vars([name for name in kept.variables if str(name) in replaced])
    spatial = {"grid_mapping": cf_grid.GRID_MAPPING}
    found: dict[Hashable, xr.Variable] = {}
    for name in dataset.data_vars:
        if str(name) not in names:
            if name in kept:
                found[name] = kept[name].variable
            continue
        variable = _window(dataset[name].variable.transpose(..., *pixels), weights)
        if variable.chunks is None:
            both: Any = regrid_numpy(variable.values, weights, min_valid)
        else:
            both = regrid_dask(variable.data, weights, min_valid)
        dims = (*variable.dims[:-2], "y", "x")
        fraction = cf_grid.valid_fraction_name(str(name))
        for key, values, attributes in (
            (name, both[0], cf_grid.value_attributes(str(name), variable.attrs)),
            (fraction, both[1], cf_grid.valid_fraction_attributes(str(name))),
        ):
            if key in found or (key == fraction and key in dataset.variables):
                raise InputError(
                    f"{fraction}: valid fraction of {name}, but also a variable of the data: "
                    "expected no variable of this name"
                )
            found[key] = xr.Variable(dims, values, attributes, encoding=spatial)
    coordinates: dict[Hashable, Any] = {
        name: xr.Variable(name, values, attributes)
        for name, (values, attributes) in cf_grid.axis_coordinates(grid).items()
    }
    coordinates[cf_grid.GRID_MAPPING] = ((), np.array(0), cf_grid.grid_mapping_attributes(grid))
    attributes = {
        key: value
        for key, value in dataset.attrs.items()
        if not str(key).startswith(("geospatial_", "_")) and key not in cf_grid.OF_THE_SOURCE
    }
    result = xr.Dataset(found, {**kept.coords, **coordinates}, {**attributes, **_about(grid)})
    for coordinate in result.coords.values():  # CF allows no missing coordinates
        coordinate.encoding = {"_FillValue": None, **coordinate.encoding}
    return result


def _window(variable: xr.Variable, weights: Weights) -> xr.Variable:
    """The part of a variable (..., rows, columns) that the weights need; nothing else is read."""
    *_, y, x = variable.dims
    parts = [
        variable.isel({y: weights.window[0], x: columns})
        for columns in column_parts(weights.window, variable.sizes[x])
    ]
    return parts[0] if len(parts) == 1 else xr.Variable.concat(parts, x)


def _about(grid: Grid) -> Mapping[str, str]:
    """Attributes that describe the grid."""
    west, south, east, north = (f"{bound:g}" for bound in grid.bounds)
    return {
        "Conventions": "CF-1.11",
        "grid": (
            f"longitude-latitude, {grid.cells_per_degree} cells per degree, {grid.nx} x {grid.ny} "
            f"cells from {west} to {east} degrees east and {south} to {north} degrees north"
        ),
    }
