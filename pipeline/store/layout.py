"""Create a store: all groups, arrays, coordinates and static layers, before any data.

These files, the template, are built in memory, written beside their place and renamed, so that an
incomplete store is never visible. At a URL, where nothing can be renamed, the root is written last.
Two templates of the same inputs differ only in the time at which they were created.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from pipeline.catalog.time import Period
from pipeline.gauges.read import read_gauges
from pipeline.gauges.to_steps import MAX_GAP, MIN_VALID, on_steps, shift_seconds
from pipeline.regrid import cf_grid
from pipeline.regrid.grid import Grid
from pipeline.storage import Location, file_system
from pipeline.store import cf
from pipeline.store.metadata import MAX_WATERSHEDS, METADATA, consolidate
from pipeline.store.resume import digest_parts
from pipeline.store.root import PROGRESS, STATIC, UNFINISHED
from pipeline.store.spec import StoreSpec, valid_fraction_name
from pipeline.store.write import writing
from pipeline.units import runoff_depth
from pipeline.watersheds.coverage import Site
from pipeline.watersheds.flow_distance import FlowPath, flow_paths

COMPRESSOR = ZstdCodec(level=1, checksum=True)  # Blosc decodes a damaged chunk without an error


def write_template(spec: StoreSpec, attributes: Mapping[str, Any], path: Location) -> None:
    """Create a store at `path`, where there is none yet.

    Raises:
        InputError: from reading gauges and terrain; something else is at `path`; as
            `reporting_access`.
        RunError: the disk is full or read-only; as `reporting_access`.
    """
    keys = build_template(spec, attributes)
    if isinstance(path, Path):
        _write_folder(keys, path)
    else:
        _write_objects(keys, path)


def _write_folder(keys: Mapping[str, bytes], path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed here
            for folder in {os.path.dirname(key) for key in keys}:
                os.makedirs(partial / folder, exist_ok=True)
            for key, content in keys.items():
                (partial / key).write_bytes(content)
            os.rename(partial, path)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _write_objects(keys: Mapping[str, bytes], url: str) -> None:
    system, root = file_system(url)
    mark, top = f"{root}/{UNFINISHED}", f"{root}/{METADATA}"
    objects = {f"{root}/{key}": content for key, content in keys.items()}
    with writing(url):
        system.pipe_file(mark, b"")
        left = [name for name in system.find(root) if name != mark]
        if left:  # of a run that was killed here
            system.rm(left)
        system.pipe({name: content for name, content in objects.items() if name != top})
        system.pipe_file(top, objects[top])
        system.rm_file(mark)


def build_template(spec: StoreSpec, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Build the template: content of all files by path below the store.

    Raises:
        InputError: from reading gauges and terrain.
    """
    flows = [flow_paths(spec.catalog, s.watershed, s.grid, s.coverage) for s in spec.sites]
    records = read_gauges(spec.catalog, [site.watershed.site_no for site in spec.sites])
    gauges, period = spec.catalog.gauges, spec.catalog.period
    series = [
        on_steps(r, period, gauges.min_valid or MIN_VALID, gauges.max_gap or MAX_GAP)
        for r in records.values()
    ]
    buffers: dict[str, Any] = {}
    root = zarr.create_group(MemoryStore(buffers), attributes=dict(attributes), zarr_format=3)
    root.create_array(
        PROGRESS,
        shape=(spec.block_count,),
        chunks=(1,),
        dtype="uint64",
        fill_value=0,
        compressors=None,
        dimension_names=("block",),
        attributes={"long_name": "stamp of the raw files that a block was made from, 0: not done"},
    )
    about = {
        "Conventions": cf.CONVENTIONS,
        "title": spec.catalog.title,
        "history": cf.HISTORY,
    }
    _region(root.create_group("region", attributes=about), spec)
    about_gauges = {**about, "featureType": "timeSeries"}
    _gauges(root.create_group("gauges", attributes=about_gauges), spec, flows, series)
    watersheds = root.create_group("watersheds")
    shifts = [shift_seconds(record, period) for record in records.values()]
    for site, flow, (discharge, flag), shift in zip(spec.sites, flows, series, shifts, strict=True):
        group = watersheds.create_group(
            site.watershed.site_no,
            attributes={**about, **_site_attributes(spec, site, flow, shift)},
        )
        _watershed(group, spec, site, flow, discharge, flag)
    files = {key: buffer.to_bytes() for key, buffer in buffers.items() if "/" in key}
    root.attrs[STATIC] = digest_parts(files)
    top = buffers[METADATA].to_bytes()
    if len(spec.sites) <= MAX_WATERSHEDS:
        top = consolidate(top, files)
    return {**files, METADATA: top}


def _region(group: zarr.Group, spec: StoreSpec) -> None:
    _time(group, spec.catalog.period)
    _space(group, spec.grid)
    _layer(group, "cell_area", spec.grid.cell_area, cf.AREA)
    for name in spec.forcings:
        fraction = valid_fraction_name(name)
        extra = {"ancillary_variables": fraction, "cell_measures": "area: cell_area"}
        _forcing(group, spec, name, spec.grid, extra)
        _forcing(
            group,
            spec,
            fraction,
            spec.grid,
            cf_grid.valid_fraction_attributes(name),
        )


def _gauges(
    group: zarr.Group,
    spec: StoreSpec,
    flows: Sequence[FlowPath],
    series: Sequence[tuple[np.ndarray, np.ndarray]],
) -> None:
    _time(group, spec.catalog.period)
    sites = [site.watershed.site_no for site in spec.sites]
    _text(group, "site_no", sites, ("gauge",), cf.SITE_NO)
    for name, at, attributes in (("longitude", 0, cf.LONGITUDE), ("latitude", 1, cf.LATITUDE)):
        outlets = np.array([flow.outlet[at] for flow in flows])
        described = {**attributes, "long_name": f"{name} of the outlet"}
        _array(group, name, outlets, ("gauge",), described)
    dims, labels = ("gauge", "time"), {"coordinates": "site_no longitude latitude"}
    _array(group, "discharge", np.stack([d for d, _ in series]), dims, {**cf.DISCHARGE, **labels})
    _array(group, "flag", np.stack([f for _, f in series]), dims, {**cf.FLAG, **labels})
    cells = np.array([_cell(spec.grid, flow.outlet) for flow in flows], np.int32)
    for name, at, what in (("cell_y", 0, "row"), ("cell_x", 1, "column")):
        attributes = {"long_name": f"{what} of the outlet's cell in /region, from 0", "units": "1"}
        _array(group, name, cells[:, at], ("gauge",), attributes)


def _cell(grid: Grid, outlet: tuple[float, float]) -> tuple[int, int]:
    """Row and column of the cell that holds a point, or of the nearest cell."""
    column = np.searchsorted(grid.x_edges, outlet[0], side="right") - 1
    row = np.searchsorted(-grid.y_edges, -outlet[1], side="right") - 1
    return int(np.clip(row, 0, grid.ny - 1)), int(np.clip(column, 0, grid.nx - 1))


def _watershed(
    group: zarr.Group,
    spec: StoreSpec,
    site: Site,
    flow: FlowPath,
    discharge: np.ndarray,
    flag: np.ndarray,
) -> None:
    _time(group, spec.catalog.period)
    _space(group, site.grid)
    for name in spec.forcings:
        _forcing(group, spec, name, site.grid, {})
    _layer(group, "cell_area", site.grid.cell_area, cf.AREA)
    _layer(group, "coverage", site.coverage, cf.COVERAGE)
    _layer(group, "flow_distance", flow.distance, {**cf.DISTANCE, "method": flow.method})
    _array(group, "discharge", discharge, ("time",), cf.DISCHARGE)
    _array(group, "flag", flag, ("time",), cf.FLAG)
    step_seconds = spec.catalog.period.step_seconds
    runoff = runoff_depth(discharge.astype(np.float64), site.watershed.area, step_seconds)
    _array(group, "runoff", runoff.astype(np.float32), ("time",), cf.RUNOFF)
    _text(group, "polygon", site.watershed.polygon.wkt, (), cf.POLYGON)


def _site_attributes(spec: StoreSpec, site: Site, flow: FlowPath, shift: float) -> dict[str, Any]:
    """Attributes of a watershed; unknown values are left out, because NetCDF has no null."""
    watershed = site.watershed
    known = {
        "synthetic": int(spec.catalog.synthetic),
        "site_no": watershed.site_no,
        "name": watershed.name,
        "outlet": list(flow.outlet),  # degrees east, degrees north
        "discharge_shift_s": shift,  # by which intervals of discharge end after their steps
        "drainage_area_m2": watershed.area,
        "reported_drainage_area_m2": watershed.reported_area,
        "traced_drainage_area_m2": flow.traced_area,
        "flow_distance_method": flow.method,
        "slope": flow.slope,  # mean height above the outlet over mean flow distance, m per m
    }
    return {name: value for name, value in known.items() if value is not None}


def _text(
    group: zarr.Group,
    name: str,
    values: str | Sequence[str],
    dimensions: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    """Create an array of text, in one chunk."""
    data = np.array(values, dtype=np.dtypes.StringDType())
    array = group.create_array(
        name,
        shape=data.shape,
        dtype="string",
        dimension_names=dimensions,
        attributes=dict(attributes),
    )
    array[...] = data


def _array(
    group: zarr.Group,
    name: str,
    data: np.ndarray,
    dimensions: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    """Create an array with its values, in one chunk."""
    group.create_array(
        name,
        data=np.asarray(data, order="C"),
        chunks=data.shape or "auto",
        compressors=COMPRESSOR,
        fill_value=np.nan if data.dtype.kind == "f" else 0,
        dimension_names=dimensions,
        attributes=dict(attributes),
    )


def _layer(group: zarr.Group, name: str, data: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """Create a static layer (y, x)."""
    _array(group, name, data, ("y", "x"), {**attributes, "grid_mapping": "spatial_ref"})


def _forcing(
    group: zarr.Group, spec: StoreSpec, name: str, grid: Grid, attributes: Mapping[str, Any]
) -> None:
    """Create an array (time, y, x) to be filled, one chunk per block."""
    source = spec.catalog.forcings.get(name)
    own = dict(cf.FORCINGS.get(name, {"long_name": name})) if source else {}
    if source:
        own["units"] = cf.UNITS[source.store_units]
        own["cell_methods"] = cf.OVER_TIME[source.sums]
    group.create_array(
        name,
        shape=(spec.steps, *grid.shape),
        chunks=(spec.block_steps, *grid.shape),
        dtype="float32",
        compressors=COMPRESSOR,
        fill_value=np.nan,
        dimension_names=("time", "y", "x"),
        attributes={**own, **attributes, "grid_mapping": "spatial_ref"},
    )


def _time(group: zarr.Group, period: Period) -> None:
    """Create the time axis: starts of the steps, and both ends of each."""
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    _array(group, "time", start, ("time",), cf.TIME)
    _array(group, "time_bnds", bounds, ("time", "bnds"), {})


def _space(group: zarr.Group, grid: Grid) -> None:
    """Create the coordinates of the cell centres, and the reference system."""
    for name, (values, attributes) in cf_grid.axis_coordinates(grid).items():
        _array(group, name, values, (name,), attributes)
    name, attributes = cf_grid.GRID_MAPPING, cf_grid.grid_mapping_attributes(grid)
    _array(group, name, np.array(0), (), attributes)
