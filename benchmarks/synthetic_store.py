"""A store of made-up watersheds, with the parts that `model` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from benchmarks.synthetic import LATITUDE
from model.inputs.watershed import HeadData
from pipeline.regrid.grid import Grid
from pipeline.store import cf
from pipeline.store.encode import MemoryFolder, create_array
from pipeline.store.metadata import METADATA, consolidate
from pipeline.store.root import GRID, LAYOUT, PROGRESS, TABLES
from pipeline.store.tables import SiteRow, TableSpec, polygon_files, record_files, table_files


def write_store(heads: Sequence[HeadData], path: Path) -> None:
    """Write a store of watersheds that share their steps; their windows lie side by side."""
    rows = max(head.inside.shape[0] for head in heads)
    starts = np.cumsum([0, *(head.inside.shape[1] for head in heads)])
    grid = Grid(0, round(LATITUDE * 12) + rows, int(starts[-1]), rows)
    steps = len(heads[0].times)
    fields = {name: np.zeros((steps, *grid.shape), np.float32) for name in heads[0].channels}
    for head, column in zip(heads, starts, strict=False):
        window = (
            slice(rows - head.inside.shape[0], rows),
            slice(column, column + head.inside.shape[1]),
        )
        for channel, values in zip(head.channels, head.forcing.swapaxes(0, 1), strict=True):
            mean, deviation = head.standard.get(channel, (0.0, 1.0))
            fields[channel][:, *window][:, head.inside] = values * deviation + mean
    sites = [_row(head, rows, int(start)) for head, start in zip(heads, starts, strict=False)]
    spec = TableSpec("made-up watersheds", True, len(heads), steps, grid)
    tables = {
        **table_files(spec, sites),
        **polygon_files(spec, 0, [_outline(row, grid) for row in sites]),
        **record_files(
            spec, 0, np.stack([h.discharge for h in heads]).astype(np.float32),
            np.ones((len(heads), steps), np.uint8),
        ),
    }  # fmt: skip
    files = {**_region(heads[0], grid, fields), **tables}
    attributes = {
        "layout": LAYOUT,
        "title": spec.title,
        "synthetic": 1,
        "block_steps": steps,
        "step_seconds": heads[0].step_seconds,
        GRID: [grid.west, grid.north, grid.nx, grid.ny],
        "provenance": {"created": ""},
        TABLES: hashlib.sha256(b"".join(files.values())).hexdigest(),
    }
    for key, content in {**files, METADATA: consolidate(attributes, files)}.items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(content)


def _region(head: HeadData, grid: Grid, fields: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Files of the time axis, the marks and the forcings."""
    folder = MemoryFolder()
    root, marks, region = (folder.group(name, {}) for name in ("", PROGRESS, "region"))
    start = head.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    create_array(root, "time", start, ("time",), cf.TIME)
    bounds = np.stack((start, start + int(head.step_seconds)), axis=1)
    create_array(root, "time_bnds", bounds, ("time", "bnds"), {})
    for name, centres in (("y", grid.y), ("x", grid.x)):
        create_array(region, name, centres, (name,), {})
    create_array(region, "cell_area", grid.cell_area, ("y", "x"), cf.AREA)
    create_array(region, "spatial_ref", np.array(0), (), {})
    for name, values in fields.items():
        described = {"cell_measures": "area: cell_area", "grid_mapping": "spatial_ref"}
        create_array(region, name, values, ("time", "y", "x"), described)
        create_array(marks, name, np.ones(1, np.uint64), ("block",), {})
    return folder.files()


def _row(head: HeadData, rows: int, column: int) -> SiteRow:
    """A watershed's row of the table."""
    height, width = head.inside.shape
    y, x = np.nonzero(head.inside)
    return SiteRow(
        site_no=head.site_no,
        name=head.name,
        method="d8",
        numbers={
            "longitude": 0.0,
            "latitude": 0.0,
            "drainage_area": head.area,
            "reported_drainage_area": np.nan,
            "traced_drainage_area": np.nan,
            "slope": 3e-3,
            "discharge_shift": 0.0,
            "window_row": rows - height,
            "window_column": column,
            "window_rows": height,
            "window_columns": width,
            "cell_count": y.size,
        },
        row=(y + rows - height).astype(np.int32),
        column=(x + column).astype(np.int32),
        coverage=head.coverage.astype(np.float64),
        flow_distance=head.distance.astype(np.float64),
    )


def _outline(row: SiteRow, grid: Grid) -> str:
    """The polygon of a watershed's cells, as text."""
    west, south = grid.x[row.column] - 1 / 24, grid.y[row.row] - 1 / 24
    return str(shapely.union_all(shapely.box(west, south, west + 1 / 12, south + 1 / 12)).wkt)
