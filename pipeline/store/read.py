"""Open a store with xarray: all of it, the region, one watershed, or the gauges.

Fields are read when they are used, and everything can be written with `.to_netcdf()`: attributes
are text, numbers or lists of numbers, and coordinates have no fill value. What a store holds is
described in docs/store.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import zarr

from pipeline.errors import InputError
from pipeline.regrid import cf_grid
from pipeline.storage import Location, parse_location
from pipeline.store import cf
from pipeline.store.root import TABLES, array_of, attributes_of, blocks_done, open_root
from pipeline.store.sites import SiteTable, read_site_numbers, read_sites
from pipeline.store.tables import GAUGES, WATERSHEDS
from pipeline.units import runoff_depth

if TYPE_CHECKING:  # importing xarray takes longer than a small run
    import xarray as xr

StorePath: TypeAlias = str | os.PathLike[str]
TEXT = ["flow_distance_method", "name", "polygon", "site_no"]  # Dask cannot cut text into chunks
Chunks: TypeAlias = int | dict[Any, Any] | Literal["auto"] | None


def list_sites(path: StorePath) -> list[str]:
    """List the site numbers of a store's watersheds.

    Args:
        path: folder or URL of a store; its blocks need not be done.

    Returns:
        Site numbers with their leading zeros, sorted.

    Raises:
        InputError: there is no store at `path`, or its watersheds are not written yet.

    Examples:
        >>> list_sites(store)
        ['99000001', '99000002', '99000003', '99000004']
    """
    path = parse_location(path)
    return read_site_numbers(_with_tables(path, open_root(path)))


def open_watershed(
    path: StorePath, site_no: str, *, chunks: Chunks = None, partial: bool = False
) -> xr.Dataset:
    """Open one watershed of a store, on the smallest grid that covers it.

    Args:
        path: folder or URL of the store.
        site_no: site number of its gauge, with leading zeros.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.
        partial: open an unfinished store too, up to its first block that is not done.

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
    root, steps = _open_finished(path, partial)
    table = read_sites(_with_tables(path, root))
    return _in_chunks(_watershed(path, root, table, site_no, steps), root, chunks)


def open_region(path: StorePath, *, chunks: Chunks = None, partial: bool = False) -> xr.Dataset:
    """Open the forcings of a store on the region's grid.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.
        partial: open an unfinished store too, up to its first block that is not done.

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
    root, steps = _open_finished(path, partial)
    return _in_chunks(_region(root, steps), root, chunks)


def open_gauges(path: StorePath, *, chunks: Chunks = None, partial: bool = False) -> xr.Dataset:
    """Open the discharge records of a store.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.
        partial: open an unfinished store too, up to its first block that is not done.

    Returns:
        discharge (site, time) in m3 s-1, NaN where missing; flag (site, time), the agency's
        qualifier; cell_y (site) and cell_x (site), row and column of the outlet's cell in the
        region. Coordinates: site_no (site), indexed; longitude (site) and latitude (site) of the
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
    root, steps = _open_finished(path, partial)
    return _in_chunks(_gauges(_with_tables(path, root), steps), root, chunks)


def open_store(path: StorePath, *, chunks: Chunks = None, partial: bool = False) -> xr.DataTree:
    """Open a whole store as it is laid out: `/region`, `/gauges` and `/watersheds`.

    Args:
        path: folder or URL of the store.
        chunks: as for `xarray.open_zarr`; None gives lazy NumPy arrays, `{}` Dask arrays in the
            store's blocks of time.
        partial: open an unfinished store too, up to its first block that is not done.

    Returns:
        `/region` and `/gauges` as `open_region` and `open_gauges` give them, and `/watersheds`, the
        table of all watersheds (site) with their cells (cell). Attributes of the root that are
        nested (`provenance`, `static`) are JSON text.

    Raises:
        InputError: there is no store at `path`, or it is not finished.

    Examples:
        >>> tree = open_store(store)
        >>> sorted(tree.children)
        ['gauges', 'region', 'watersheds']
        >>> tree["watersheds"].drainage_area.dims
        ('site',)
    """
    import xarray as xr

    path = parse_location(path)
    root, steps = _open_finished(path, partial)
    _with_tables(path, root)
    top = _group(root, "").isel(time=slice(steps))
    top.attrs = {
        name: json.dumps(value) if isinstance(value, Mapping) else value
        for name, value in attributes_of(root).items()
    }
    groups = {
        "/": top,
        "region": _region(root, steps),
        GAUGES: _gauges(root, steps),
        WATERSHEDS: _by_number(_group(root, WATERSHEDS)),
    }
    return xr.DataTree.from_dict(
        {name: _in_chunks(one, root, chunks) for name, one in groups.items()}
    )


def _open_finished(path: Location, partial: bool) -> tuple[zarr.Group, int]:
    """Open the root of a store and return the steps to read: all, which must be done, or a part."""
    root = open_root(path)
    marks = blocks_done(root)
    steps = int(array_of(root, "time").shape[0])
    if marks.all() and (partial or TABLES in root.attrs):
        return root, steps
    done = marks.size if marks.all() else int(marks.argmin())
    if partial and done:
        return root, min(steps, done * int(attributes_of(root)["block_steps"]))
    left = f"{int((~marks).sum())} of {marks.size} blocks are not done"
    if marks.all():
        left = "its watersheds and gauges are not written yet"
    elif partial:
        left = "its first block is not done"
    raise InputError(
        f"{path}: {left}: expected a finished store; `domst run` with the same catalog finishes it"
    )


def _with_tables(path: Location, root: zarr.Group) -> zarr.Group:
    """Return the root of a store whose watersheds and gauges are written."""
    if TABLES not in root.attrs:
        raise InputError(
            f"{path}: its watersheds and gauges are not written yet: expected them; `domst run` "
            "with the same catalog writes them"
        )
    return root


def _region(root: zarr.Group, steps: int) -> xr.Dataset:
    return _group(root, "region").isel(time=slice(steps))


def _gauges(root: zarr.Group, steps: int) -> xr.Dataset:
    return _by_number(_group(root, GAUGES)).isel(time=slice(steps))


def _by_number(data: xr.Dataset) -> xr.Dataset:
    """Index sites by their numbers."""
    numbered = data.set_coords("site_no").set_xindex("site_no")
    numbered.variables["site_no"].encoding["_FillValue"] = None
    return numbered


def _watershed(
    path: Location, root: zarr.Group, table: SiteTable, site_no: str, steps: int
) -> xr.Dataset:
    """Put a watershed together: its window of the region, its cells and its record."""
    import xarray as xr

    site = table.find(path, site_no)
    window = table.window(site)
    grid, cells = table.grid(site), table.read_cells(root, site)
    region = _group(root, "region")
    fractions = [name for name in region.data_vars if str(name).endswith("valid_fraction")]
    data = region.drop_vars(fractions).reset_coords("cell_area")
    data = data.isel(y=window[0], x=window[1])
    for variable in data.data_vars.values():  # of the region alone
        variable.attrs.pop("ancillary_variables", None)
        variable.encoding.pop("cell_measures", None)
    data[cf_grid.GRID_MAPPING].attrs = cf_grid.grid_mapping_attributes(grid)
    record = _group(root, GAUGES)[["discharge", "flag"]].isel(site=site).load()
    for name in ("discharge", "flag"):
        record[name].encoding.pop("coordinates", None)
    runoff = runoff_depth(
        record["discharge"].values.astype(np.float64),
        float(table.numbers["drainage_area"][site]),
        table.step_seconds,
    )
    outline = np.array(table.read_polygon(root, site), np.dtypes.StringDType())
    method = {"method": table.text["flow_distance_method"][site]}
    missing = {"_FillValue": np.nan}
    on_grid = {"grid_mapping": cf_grid.GRID_MAPPING, **missing}
    data = data.assign(
        coverage=xr.Variable(("y", "x"), cells["coverage"], cf.COVERAGE, on_grid),
        flow_distance=xr.Variable(
            ("y", "x"), cells["flow_distance"], {**cf.DISTANCE, **method}, on_grid
        ),
        discharge=record["discharge"].variable,
        flag=record["flag"].variable,
        runoff=xr.Variable("time", runoff.astype(np.float32), cf.RUNOFF, missing),
        polygon=xr.Variable((), outline, cf.POLYGON),
    )
    data.attrs = {**data.attrs, **table.attributes(site)}
    return data.isel(time=slice(steps))


def _group(root: zarr.Group, name: str) -> xr.Dataset:
    """Open a group, ready to be written as NetCDF after CF; what was opened last is kept.

    Args:
        root: of the store.
        name: of the group; empty for the root, which has the time axis.
    """
    last = _LAST[0] if _LAST else None
    if last is None or last[0] is not root:
        last = root, {}
        _LAST[:] = [last]
    groups = last[1]
    if name not in groups:
        data = _open_group(root, name)
        if "time" in data.dims and name:
            data = data.assign_coords(_group(root, "").variables)
        groups[name] = data
    return groups[name].copy()


_LAST: list[tuple[zarr.Group, dict[str, xr.Dataset]]] = []  # a root and its groups, if any


def _open_group(root: zarr.Group, name: str) -> xr.Dataset:
    import xarray as xr

    group = root[name] if name else root
    assert isinstance(group, zarr.Group)
    data = xr.open_dataset(
        xr.backends.ZarrStore(group, mode="r"),
        engine="store",
        chunks=None,
        decode_coords="all",
    )
    for coordinate in data.coords:
        # xarray gives every array of floats a fill value, which CF forbids of coordinates
        data.variables[coordinate].encoding["_FillValue"] = None
    for variable in data.variables.values():
        if "flag_values" in variable.attrs:  # of the type of the flags, which JSON does not keep
            values = np.array(variable.attrs["flag_values"], variable.dtype)
            variable.attrs["flag_values"] = values
    return data


def _in_chunks(data: xr.Dataset, root: zarr.Group, chunks: Chunks) -> xr.Dataset:
    """Turn arrays into Dask arrays, as `xarray.open_zarr` does with `chunks`."""
    if chunks is None:
        return data
    text = {name: data[name] for name in TEXT if name in data.data_vars}
    if chunks == {}:
        chunks = {"time": int(attributes_of(root)["block_steps"])}
    elif isinstance(chunks, int):
        chunks = dict.fromkeys(data.dims, chunks)
    if isinstance(chunks, dict):
        chunks = {name: length for name, length in chunks.items() if name in data.dims}
    return data.drop_vars(text).chunk(chunks).assign(text)
