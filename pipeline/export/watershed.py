"""Export one watershed: its clip of the region with its record, as a file of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import InputError
from pipeline.export.output import (
    NETCDF,
    TableFile,
    fill,
    new_file,
    new_netcdf,
    parts,
    repeated_text,
)
from pipeline.storage import Location, parse_location, reporting_access
from pipeline.store.read import StorePath, open_watershed
from pipeline.store.root import DAMAGED, attributes_of, open_root
from pipeline.store.sites import read_sites

if TYPE_CHECKING:
    import xarray as xr


def export_watershed(
    store: StorePath, site_no: str, out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write one watershed of a store as a file for people who have no Zarr.

    Memory holds one block of the store at a time.

    Args:
        store: folder or URL of the store.
        site_no: site number of its gauge, with leading zeros.
        out: the file; its suffix tells the format. `.nc` is what `open_watershed` returns, as
            NetCDF. `.parquet` and `.csv` are a table with a row for each step and each cell that
            the watershed covers, sorted by time, row and column.
        force: replace an existing file.

    Raises:
        InputError: `out` has another suffix, or exists and not `force`; there is no store, it is
            not finished, or it has no such watershed.
        RunError: the file is not written.
    """
    path = parse_location(store)
    with new_file(out, force) as partial:
        data = open_watershed(path, site_no)
        block_steps = int(attributes_of(open_root(path))["block_steps"])
        write = _write_netcdf if partial.suffix == NETCDF else _write_table
        write(partial, path, data, block_steps)


def _write_netcdf(partial: Path, store: Location, data: xr.Dataset, block_steps: int) -> None:
    with new_netcdf(partial, data, {"time": min(block_steps, data.sizes["time"])}) as file:
        for steps, part in _blocks(store, data, block_steps):
            fill(file, steps, part)


def _write_table(partial: Path, store: Location, data: xr.Dataset, block_steps: int) -> None:
    """Write a row a step and cell; what has no cells, such as discharge, repeats in each."""
    table = read_sites(open_root(store))
    window = table.window(table.find(store, data.attrs["site_no"]))
    inside = np.nonzero(data["coverage"].values)
    row, column = inside
    cells = {
        "row": (row + window[0].start).astype(np.int32),
        "column": (column + window[1].start).astype(np.int32),
        "latitude": data["y"].values[row],
        "longitude": data["x"].values[column],
        **{name: data[name].values[inside] for name in ("coverage", "cell_area", "flow_distance")},
    }
    with TableFile(partial, data.rename(y="latitude", x="longitude")) as file:
        for _, part in _blocks(store, data, block_steps):
            length = part.sizes["time"]
            fields, series = {}, {}
            for name, variable in part.data_vars.items():
                if "y" in variable.dims:
                    fields[str(name)] = variable.values[:, row, column].ravel()
                else:
                    series[str(name)] = np.repeat(variable.values, row.size)
            file.append(
                {
                    "site_no": repeated_text([data.attrs["site_no"]], np.zeros(length * row.size)),
                    "time": np.repeat(part["time"].values, row.size),
                    **{name: np.tile(values, length) for name, values in cells.items()},
                    **fields,
                    **series,
                }
            )


def _blocks(
    store: Location, data: xr.Dataset, block_steps: int
) -> Iterator[tuple[slice, xr.Dataset]]:
    """Load what lies along time, a block of the store at a time."""
    along = data[[name for name, one in data.data_vars.items() if "time" in one.dims]]
    for steps in parts(data.sizes["time"], block_steps):
        try:
            with reporting_access(store):
                part = along.isel(time=steps).load()
        except (ValueError, RuntimeError) as error:  # what codecs raise
            raise InputError(f"{store}: {error}: expected a chunk, {DAMAGED}") from error
        yield steps, part
