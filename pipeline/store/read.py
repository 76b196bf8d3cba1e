"""Open a finished store with xarray: all of it, the region, one watershed, or the gauges.

Everything is read when it is used, and can be written with `.to_netcdf()`: attributes are text,
numbers or lists of numbers, and coordinates have no fill value. What a store holds is described in
docs/store.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import zarr

from pipeline.errors import InputError
from pipeline.storage import Location, parse_location
from pipeline.store.root import (
    EXTENDING,
    array_of,
    open_root,
    read_array,
    read_marks,
)

if TYPE_CHECKING:  # importing xarray takes longer than a small run
    import xarray as xr

StorePath: TypeAlias = str | os.PathLike[str]
TEXT = ["polygon", "site_no"]  # arrays that Dask cannot cut into chunks of a certain size
Chunks: TypeAlias = int | dict[Any, Any] | Literal["auto"] | None


def list_sites(path: StorePath) -> list[str]:
    """List the site numbers of a store's watersheds.

    Args:
        path: folder or URL of a store; it need not be finished.

    Returns:
        Site numbers with their leading zeros, sorted.

    Raises:
        InputError: there is no store at `path`.

    Examples:
        >>> list_sites(store)
        ['99000001', '99000002', '99000003', '99000004']
    """
    return _site_numbers(open_root(path))


def open_watershed(path: StorePath, site_no: str, *, chunks: Chunks = None) -> xr.Dataset:
    """Open one watershed of a finished store, on the smallest grid that covers it.

    Args:
        path: folder or URL of the store.
        site_no: site number of its gauge, with leading zeros.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.

    Returns:
        Variables, missing values as NaN, `time` the start of each step in UTC:

        - precipitation (time, y, x) in mm per step, and the catalog's other forcings;
        - coverage (y, x), share of the cell's area inside the watershed, 0 to 1;
        - cell_area (y, x) in m2 and flow_distance (y, x) to the outlet in m;
        - discharge (time) in m3 s-1, flag (time), and runoff (time) in mm per step;
        - polygon (), the outline as WKT.

        Attributes: site_no, name, outlet (longitude, latitude), drainage_area_m2 and others.

    Raises:
        InputError: there is no store at `path`, it is not finished, or it has no such watershed.

    Examples:
        >>> watershed = open_watershed(store, site_no)
        >>> area = watershed.coverage * watershed.cell_area
        >>> rain = watershed.precipitation.weighted(area).mean(("y", "x"))
        >>> rain.dims
        ('time',)
        >>> round(float(area.sum()) / watershed.drainage_area_m2, 6)
        1.0
    """
    path = parse_location(path)
    root = _open_finished(path)
    sites = _site_numbers(root)
    if site_no not in sites:
        raise InputError(
            f"{path}: has no watershed {site_no!r}: expected one of {', '.join(sites)}"
        )
    return _open(path, f"watersheds/{site_no}", chunks)


def open_region(path: StorePath, *, chunks: Chunks = None) -> xr.Dataset:
    """Open the forcings of a finished store on the region's grid.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.

    Returns:
        Variables, missing values as NaN, `time` the start of each step in UTC:

        - precipitation (time, y, x) in mm per step, and the catalog's other forcings;
        - valid_fraction (time, y, x), share of the cell's area with valid precipitation, 0 to 1,
          and likewise `<forcing>_valid_fraction`;
        - cell_area (y, x) in m2.

    Raises:
        InputError: there is no store at `path`, or it is not finished.

    Examples:
        >>> region = open_region(store, chunks={})
        >>> region.precipitation.dims
        ('time', 'y', 'x')
        >>> region.precipitation.units
        'mm'
    """
    path = parse_location(path)
    _open_finished(path)
    return _open(path, "region", chunks)


def open_gauges(path: StorePath, *, chunks: Chunks = None) -> xr.Dataset:
    """Open the discharge records of a finished store.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.

    Returns:
        discharge (gauge, time) in m3 s-1, NaN where missing; flag (gauge, time), the agency's
        qualifier; cell_y (gauge) and cell_x (gauge), row and column of the outlet's cell in the
        region. Coordinates: site_no (gauge), indexed; longitude (gauge) and latitude (gauge) of the
        outlet.

    Raises:
        InputError: there is no store at `path`, or it is not finished.

    Examples:
        >>> gauges = open_gauges(store)
        >>> gauges.discharge.sel(site_no=site_no).dims
        ('time',)
        >>> gauges.discharge.units
        'm3 s-1'
    """
    path = parse_location(path)
    _open_finished(path)
    return _open(path, "gauges", chunks)


def open_store(path: StorePath, *, chunks: Chunks = None) -> xr.DataTree:
    """Open a whole finished store: `/region`, `/gauges` and `/watersheds/<site_no>`.

    This opens every array; of a store of many watersheds `open_watershed` opens one much sooner.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.

    Returns:
        The groups as `open_region`, `open_gauges` and `open_watershed` give them. Attributes of the
        root that are nested (`provenance`, `static`) are JSON text.

    Raises:
        InputError: there is no store at `path`, or it is not finished.

    Examples:
        >>> tree = open_store(store)
        >>> sorted(tree.children)
        ['gauges', 'region', 'watersheds']
        >>> tree["watersheds"][site_no].discharge.dims
        ('time',)
    """
    import xarray as xr

    path = parse_location(path)
    root = _open_finished(path)
    groups = ["region", "gauges", *(f"watersheds/{site}" for site in _site_numbers(root))]
    top = _open(path, "", chunks)
    top.attrs = {
        name: json.dumps(value) if isinstance(value, Mapping) else value
        for name, value in top.attrs.items()
    }
    return xr.DataTree.from_dict(
        {"/": top, **{group: _open(path, group, chunks) for group in groups}}
    )


def _open_finished(path: Location) -> zarr.Group:
    """Open the root of a store, all blocks of which must be done."""
    root = open_root(path)
    advice = "expected a finished store; `domst run` with the same catalog finishes it"
    if EXTENDING in root.attrs:
        raise InputError(f"{path}: the extension of its period was interrupted: {advice}")
    marks = read_marks(root)
    if not marks.all():
        undone = int((marks == 0).sum())
        raise InputError(f"{path}: {undone} of {marks.size} blocks are not done: {advice}")
    return root


def _site_numbers(root: zarr.Group) -> list[str]:
    """Site numbers of the watersheds, sorted."""
    return [str(site) for site in read_array(array_of(root, "gauges/site_no"))]


def _open(path: Location, group: str, chunks: Chunks) -> xr.Dataset:
    """Open a group, ready to be written as NetCDF after CF."""
    import xarray as xr

    data = xr.open_zarr(
        str(path),
        group=group,
        chunks=chunks,
        drop_variables=[] if chunks is None else TEXT,
        consolidated=False,  # else the whole store's metadata would be decoded for one group
        zarr_format=3,
        decode_coords="all",
    )
    if chunks is not None:
        text = xr.open_zarr(str(path), group=group, chunks=None, consolidated=False, zarr_format=3)
        data = data.unify_chunks().assign(
            {name: text[name].variable for name in TEXT if name in text.variables}
        )
    if "site_no" in data.variables:
        data = data.set_coords("site_no").set_xindex("site_no")
    for name in data.coords:
        # xarray gives every array of floats a fill value, which CF forbids of coordinates
        data.variables[name].encoding["_FillValue"] = None
    for variable in data.variables.values():
        if "flag_values" in variable.attrs:  # of the type of the flags, which JSON does not keep
            values = np.array(variable.attrs["flag_values"], variable.dtype)
            variable.attrs["flag_values"] = values
    return data
