"""Means of the forcings over watersheds, block by block of the region.

A sparse matrix (site, cell) holds the share of each watershed's area in each cell, so that a block
becomes the means of all watersheds in a product, however the watersheds overlap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from scipy.sparse import csr_array

from pipeline.errors import InputError
from pipeline.export.output import (
    NETCDF,
    TableFile,
    new_file,
    new_netcdf,
    parts,
    repeated_text,
)
from pipeline.regrid.cf_grid import valid_fraction_name
from pipeline.storage import Location, parse_location, reporting_access
from pipeline.store import cf
from pipeline.store.read import StorePath, open_gauges, open_region
from pipeline.store.root import array_of, attributes_of, open_root, read_array, read_arrays
from pipeline.store.sites import SiteTable, read_sites
from pipeline.store.tables import GAUGES, WATERSHEDS
from pipeline.units import runoff_depth

if TYPE_CHECKING:
    import xarray as xr

SITES = 32  # whose records are in memory at a time, and a chunk of NetCDF
ROWS = 2**20  # of a table that are in memory at a time, if a record is not longer
VALUES = 2**22  # of a block that are multiplied at a time
KEPT = ("standard_name", "units", "units_metadata", "cell_methods")  # attributes of a forcing


def basin_means(store: StorePath, sites: Sequence[str] | None = None) -> xr.Dataset:
    """Average the forcings over watersheds, weighted by the area that each covers of a cell.

    Memory holds the result and one block of a forcing of the region.

    Args:
        store: folder or URL of the store.
        sites: site numbers with leading zeros; by default all.

    Returns:
        Variables, missing values as NaN, `time` the start of each step in UTC:

        - precipitation (site, time) in mm per step, and the catalog's other forcings: the mean
          over the watershed's cells with a value, NaN where none has one;
        - valid_fraction (site, time), share of the watershed's area in such cells, 0 to 1, and
          `<forcing>_valid_fraction`;
        - discharge (site, time) in m3 s-1, flag (site, time), and runoff (site, time) in mm per
          step;
        - drainage_area (site) in m2.

        Coordinates: site_no (site), indexed; longitude and latitude (site) of the outlet.

    Raises:
        InputError: there is no store at `store`, it is not finished, or it has no such watershed.

    Examples:
        >>> means = basin_means(store, sites=[site_no])
        >>> means.precipitation.dims
        ('site', 'time')
        >>> means.sel(site_no=site_no).discharge.units
        'm3 s-1'
    """
    source = _open(store, sites)
    data = source.frame().copy(deep=True)
    for name, steps, values in _block_means(source):
        data[name].values[:, steps] = values
    for name, values in source.records(slice(None)).items():
        data[name].values[:] = values
    return data


def export_basin_means(
    store: StorePath, out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write the means of all watersheds of a store, with their records, as one file.

    Memory holds one block of a forcing of the region, or the records of a few watersheds. Tables
    are made from a temporary NetCDF file beside `out`.

    Args:
        store: folder or URL of the store.
        out: the file; its suffix tells the format. `.nc` is what `basin_means` returns, as NetCDF.
            `.parquet` and `.csv` are a table with a row for each site and step, sorted by both.
        force: replace an existing file.

    Raises:
        InputError: `out` has another suffix, or exists and not `force`; there is no store, or it
            is not finished.
        RunError: the file is not written.
    """
    with new_file(out, force) as partial:
        source = _open(store, None)
        netcdf = partial.with_suffix(NETCDF)
        _write_netcdf(netcdf, source)
        if partial != netcdf:
            _write_table(partial, netcdf, source)


@dataclass(frozen=True, eq=False)
class _Source:
    """A store opened for averaging over some of its watersheds.

    Attributes:
        path, root: of the store.
        region, gauges: as they are opened; gauges of the watersheds alone.
        table: of all watersheds of the store.
        positions: of the watersheds in the table, (site,).
        forcings: names.
        window: slices (rows, columns) of the region that hold all cells of the watersheds.
        cells: positions in the flat window of the cells that a watershed covers, (cell,).
        shares: of the watersheds' areas in these cells, float64 (site, cell); a row's sum is 1.
    """

    path: Location
    root: zarr.Group
    region: xr.Dataset
    gauges: xr.Dataset
    table: SiteTable
    positions: np.ndarray
    forcings: tuple[str, ...]
    window: tuple[slice, slice]
    cells: np.ndarray
    shares: csr_array

    @property
    def block_steps(self) -> int:
        """Steps in a block."""
        return int(attributes_of(self.root)["block_steps"])

    def frame(self) -> xr.Dataset:
        """A dataset as `basin_means` returns it, with placeholders that take no memory."""
        import xarray as xr

        data = self.gauges.drop_vars(list(self.gauges.data_vars)).load()
        shape = tuple(data.sizes[name] for name in ("site", "time"))

        def add(name: str, attributes: Any, kind: type = np.float32) -> None:
            fill = {"_FillValue": np.nan if kind is np.float32 else None}
            values: np.ndarray = np.broadcast_to(np.zeros((), kind), shape)
            data[name] = xr.Variable(("site", "time"), values, attributes, fill)

        for name in self.forcings:
            attributes, fraction = self.region[name].attrs, valid_fraction_name(name)
            kept = {key: attributes[key] for key in KEPT if key in attributes}
            about = f"{attributes['long_name']}, mean over the watershed"
            add(name, {**kept, "long_name": about, "ancillary_variables": fraction})
            valid = f"share of the watershed with valid {name}"
            add(fraction, {"long_name": valid, "units": "1"})
        add("discharge", self.gauges["discharge"].attrs)
        add("flag", self.gauges["flag"].attrs, np.uint8)
        add("runoff", cf.RUNOFF)
        area = self.table.numbers["drainage_area"][self.positions]
        data["drainage_area"] = xr.Variable("site", area, cf.COLUMNS["drainage_area"])
        return data.assign_attrs({**self.table.about, "featureType": "timeSeries"})

    def field(self, name: str, steps: slice) -> np.ndarray:
        """Read a forcing on the window, float32 (time, y, x)."""
        with reporting_access(self.path):
            return read_array(array_of(self.root, f"region/{name}"), (steps, *self.window))

    def records(self, sites: slice) -> dict[str, np.ndarray]:
        """Read discharge [m3 s-1], flag and runoff [mm per step] of some sites, (site, time)."""
        positions = self.positions[sites]
        with reporting_access(self.path):
            discharge, flag = (
                read_array(array_of(self.root, f"{GAUGES}/{name}"), (positions, slice(None)))
                for name in ("discharge", "flag")
            )
        areas = self.table.numbers["drainage_area"][positions]
        runoff = [
            runoff_depth(one.astype(np.float64), float(area), self.table.step_seconds)
            for one, area in zip(discharge, areas, strict=True)
        ]
        return {"discharge": discharge, "flag": flag, "runoff": np.array(runoff, np.float32)}


def _open(store: StorePath, sites: Sequence[str] | None) -> _Source:
    path = parse_location(store)
    region, gauges = open_region(path), open_gauges(path)
    root = open_root(path)
    table = read_sites(root)
    chosen = table.site_no if sites is None else sites
    positions = np.array([table.find(path, site) for site in chosen], dtype=int)
    if not positions.size:
        raise InputError("sites: is empty: expected at least one site number")
    names = map(str, region.data_vars)
    forcings = tuple(name for name in names if valid_fraction_name(name) in region)
    with reporting_access(path):
        window, cells, shares = _shares(root, table, positions)
    return _Source(
        path, root, region, gauges.isel(site=positions), table, positions, forcings, window, cells,
        shares,
    )  # fmt: skip


def _shares(
    root: zarr.Group, table: SiteTable, positions: np.ndarray
) -> tuple[tuple[slice, slice], np.ndarray, csr_array]:
    """The window, cells and shares of a `_Source`."""
    everything = read_arrays(root, [f"{WATERSHEDS}/{n}" for n in ("row", "column", "coverage")])
    counts = table.numbers["cell_count"][positions]
    starts = table.first_cell[positions]
    chosen = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, counts, strict=True)])
    row, column, coverage = (values[chosen] for values in everything)
    area = coverage * read_array(array_of(root, "region/cell_area"))[row, column]
    rows, columns = (slice(int(at.min()), int(at.max()) + 1) for at in (row, column))
    flat = (row - rows.start) * (columns.stop - columns.start) + column - columns.start
    cells, index = np.unique(flat, return_inverse=True)
    first = np.append(0, np.cumsum(counts))
    share = area / np.repeat(np.add.reduceat(area, first[:-1]), counts)
    return (rows, columns), cells, csr_array((share, index, first), (len(counts), len(cells)))


def _block_means(source: _Source) -> Iterator[tuple[str, slice, np.ndarray]]:
    """Read each block of the region once; yield means and valid fractions, float32 (site, time)."""
    steps = source.gauges.sizes["time"]
    for block in parts(steps, source.block_steps):
        for name in source.forcings:
            # a field with a name would stay in memory while the next one is read
            means, valid = _average(source, source.field(name, block))
            yield name, block, means
            yield valid_fraction_name(name), block, valid


def _average(source: _Source, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and valid fractions (site, time) of a field (time, y, x), some steps at a time."""
    field = field.reshape(len(field), -1)
    means, fractions = (
        np.empty((source.shares.shape[0], len(field)), np.float32) for _ in range(2)
    )
    length = max(1, VALUES // len(source.cells))
    for steps in parts(len(field), length):
        values = field[steps, source.cells].T  # (cell, time)
        missing = np.isnan(values)
        valid = source.shares @ (~missing).astype(np.float64) if missing.any() else 1.0
        total = source.shares @ np.where(missing, 0.0, values).astype(np.float64)
        with np.errstate(invalid="ignore"):  # 0 / 0 where no cell has a value
            means[:, steps] = total / valid
        fractions[:, steps] = valid
    return means, fractions


def _write_netcdf(path: Path, source: _Source) -> None:
    """Write means block by block, and records some sites at a time."""
    count, steps = (source.gauges.sizes[name] for name in ("site", "time"))
    chunks = {"site": min(SITES, count), "time": min(source.block_steps, steps)}
    with new_netcdf(path, source.frame(), chunks) as file:
        for name, block, values in _block_means(source):
            file[name][:, block] = values
        for sites in parts(count, SITES):
            for name, values in source.records(sites).items():
                file[name][sites] = values


def _write_table(path: Path, netcdf: Path, source: _Source) -> None:
    """Write the arrays (site, time) of a NetCDF file as a table, some sites at a time."""
    import netCDF4

    frame = source.frame()
    times, numbers = frame["time"].values, [str(site) for site in frame["site_no"].values]
    names = [str(name) for name, one in frame.data_vars.items() if "time" in one.dims]
    with netCDF4.Dataset(netcdf) as file, TableFile(path, frame) as table:
        file.set_auto_maskandscale(False)
        for sites in parts(len(numbers), SITES):
            chosen = numbers[sites]
            values = {name: file[name][sites] for name in names}
            for some in parts(len(chosen), max(1, ROWS // len(times))):
                words = chosen[some]
                table.append(
                    {
                        "site_no": repeated_text(words, np.repeat(range(len(words)), len(times))),
                        "time": np.tile(times, len(words)),
                        **{name: one[some].ravel() for name, one in values.items()},
                    }
                )
