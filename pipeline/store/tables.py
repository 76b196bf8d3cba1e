"""The tables of a store: its watersheds, their cells, and the discharge records.

A watershed is a row of arrays (site,). Its cells, those that it covers at least in part, follow
each other in arrays (cell,), a contiguous ragged array after CF: `cell_count` says how many there
are. Records and polygons are files of some sites each, a group, so that a task writes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from pipeline.regrid.grid import Grid
from pipeline.store import cf
from pipeline.store.encode import MemoryFolder, create_array, create_empty, create_text
from pipeline.store.layout import about
from pipeline.store.spec import group_size
from pipeline.watersheds.coverage import Site

if TYPE_CHECKING:  # importing it takes longer than a small run
    from pipeline.watersheds.flow_distance import FlowPath

CELLS_CHUNK, CELLS_FILE = 2**13, 2**20  # cells that are compressed together, that are one file
RECORD_CHUNK = 2**15  # values of records that are compressed together, if one has not more
WATERSHEDS, GAUGES = "watersheds", "gauges"


@dataclass(frozen=True)
class TableSpec:
    """What the tables' layout follows from.

    Attributes:
        title: of the catalog.
        synthetic: whether the data are made up.
        count: number of watersheds.
        steps: of the period.
        grid: of the region.
    """

    title: str
    synthetic: bool
    count: int
    steps: int
    grid: Grid


@dataclass(frozen=True, eq=False)
class SiteRow:
    """A watershed's row of the table, with its cells.

    Attributes:
        numbers: values of the columns, by name; NaN if not known.
        site_no, name, method: text.
        row, column: int32 (cells,), position in the region.
        coverage, flow_distance: float64 (cells,), share inside and metres to the outlet.
    """

    site_no: str
    name: str
    method: str
    numbers: dict[str, float]
    row: np.ndarray
    column: np.ndarray
    coverage: np.ndarray
    flow_distance: np.ndarray


def make_row(site: Site, flow: FlowPath, shift: float) -> SiteRow:
    """Make a watershed's row.

    Args:
        site: the watershed on the grid.
        flow: its flow distances.
        shift: seconds by which its intervals of discharge end after their steps.
    """
    rows, columns = site.window
    row, column = np.nonzero(site.coverage)
    unknown = float("nan")
    return SiteRow(
        site_no=site.watershed.site_no,
        name=site.watershed.name,
        method=flow.method,
        numbers={
            "longitude": flow.outlet[0],
            "latitude": flow.outlet[1],
            "drainage_area": site.watershed.area,
            "reported_drainage_area": site.watershed.reported_area or unknown,
            "traced_drainage_area": flow.traced_area or unknown,
            "slope": unknown if flow.slope is None else flow.slope,
            "discharge_shift": shift,
            "window_row": rows.start,
            "window_column": columns.start,
            "window_rows": rows.stop - rows.start,
            "window_columns": columns.stop - columns.start,
            "cell_count": row.size,
        },
        row=(row + rows.start).astype(np.int32),
        column=(column + columns.start).astype(np.int32),
        coverage=site.coverage[row, column],
        flow_distance=flow.distance[row, column],
    )


def record_files(
    spec: TableSpec, first: int, discharge: np.ndarray, flag: np.ndarray
) -> dict[str, bytes]:
    """Files with the records of a group of sites.

    Args:
        spec: of the tables.
        first: position of the group's first site.
        discharge: float32 (sites, time) [m3 s-1].
        flag: uint8 (sites, time).
    """
    folder = MemoryFolder()
    gauges = folder.group(GAUGES, {})
    for array, values in zip(_records(gauges, spec), (discharge, flag), strict=True):
        array[first : first + len(values)] = values
    return folder.chunks()


def polygon_files(spec: TableSpec, first: int, polygons: Sequence[str]) -> dict[str, bytes]:
    """Files with the outlines of a group of sites, as WKT."""
    folder = MemoryFolder()
    array = _polygons(folder.group(WATERSHEDS, {}), spec)
    array[first : first + len(polygons)] = np.array(polygons, dtype=np.dtypes.StringDType())
    return folder.chunks()


def table_files(spec: TableSpec, rows: Sequence[SiteRow]) -> dict[str, bytes]:
    """All files of the tables but those of the groups: metadata, columns and cells."""
    assert len(rows) == spec.count
    folder = MemoryFolder()
    attributes = about(spec.title)
    table = folder.group(WATERSHEDS, {**attributes, "synthetic": int(spec.synthetic)})
    gauges = folder.group(GAUGES, {**attributes, "featureType": "timeSeries"})
    for group in (table, gauges):
        _sites(group, rows)
    create_text(table, "name", [r.name for r in rows], spec.count, cf.NAME, spec.count)
    methods = [r.method for r in rows]
    create_text(table, "flow_distance_method", methods, spec.count, cf.METHOD, spec.count)
    for name, described in cf.COLUMNS.items():
        values = np.array([r.numbers[name] for r in rows])
        kind = np.int32 if name in cf.COUNTS else np.float64
        create_array(table, name, values.astype(kind), ("site",), described)
    _polygons(table, spec)
    for name, described in cf.CELLS.items():
        _cells(table, name, np.concatenate([getattr(r, name) for r in rows]), described)
    cells = [_outlet_cell(spec.grid, r.numbers["longitude"], r.numbers["latitude"]) for r in rows]
    for at, name in enumerate(("cell_y", "cell_x")):
        values = np.array([cell[at] for cell in cells], np.int32)
        create_array(gauges, name, values, ("site",), cf.OUTLET_CELL[name])
    _records(gauges, spec)
    return folder.files()


def _sites(group: zarr.Group, rows: Sequence[SiteRow]) -> None:
    """Create what tells the sites apart: number and outlet."""
    sites = [row.site_no for row in rows]
    create_text(group, "site_no", sites, len(sites), cf.SITE_NO, len(sites))
    for name, described in cf.OUTLET.items():
        values = np.array([row.numbers[name] for row in rows])
        create_array(group, name, values, ("site",), described)


def _records(group: zarr.Group, spec: TableSpec) -> tuple[zarr.Array, zarr.Array]:
    """Create discharge and flag, a file a group of sites, chunks of some whole records inside."""
    size = group_size(spec.count)
    together = min(size, 1 << max(0, (RECORD_CHUNK // spec.steps).bit_length() - 1))
    labels = {"coordinates": "site_no longitude latitude"}
    discharge, flag = (
        create_empty(
            group, name, (spec.count, spec.steps), dtype, ("site", "time"),
            {**attributes, **labels}, (together, spec.steps), (size, spec.steps),
        )
        for name, dtype, attributes in (
            ("discharge", "float32", cf.DISCHARGE), ("flag", "uint8", cf.FLAG),
        )
    )  # fmt: skip
    return discharge, flag


def _polygons(group: zarr.Group, spec: TableSpec) -> zarr.Array:
    size = group_size(spec.count)
    return create_text(group, "polygon", None, spec.count, cf.POLYGON, size)


def _cells(group: zarr.Group, name: str, data: np.ndarray, attributes: Any) -> None:
    """Create an array (cell,) with its values."""
    chunk = min(data.size, CELLS_CHUNK)
    shard = chunk * -(-min(data.size, CELLS_FILE) // chunk)
    array = create_empty(
        group, name, data.shape, data.dtype.name, ("cell",), attributes, (chunk,), (shard,)
    )
    array[...] = data


def _outlet_cell(grid: Grid, longitude: float, latitude: float) -> tuple[int, int]:
    """Row and column of the cell that holds a point, or of the nearest cell."""
    column = np.searchsorted(grid.x_edges, longitude, side="right") - 1
    row = np.searchsorted(-grid.y_edges, -latitude, side="right") - 1
    return int(np.clip(row, 0, grid.ny - 1)), int(np.clip(column, 0, grid.nx - 1))
