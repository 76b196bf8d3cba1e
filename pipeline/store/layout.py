"""The store's template: every group, array, coordinate and static layer, written before any data.

It is built in memory, written beside its place and renamed, so that a store is never seen half
laid out. At a URL, where nothing can be renamed, the root is written last: without it there is no
store. What it holds follows from the spec and the static inputs alone: two templates of the same
inputs differ in the time they were created and in nothing else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from pipeline.catalog.time import Period
from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.gauges.to_steps import MAX_GAP, MIN_VALID, on_steps, shift_seconds
from pipeline.regrid.grid import CELLS_PER_DEGREE, Grid
from pipeline.storage import Location, file_system, sha256
from pipeline.store import cf
from pipeline.store.resume import digests
from pipeline.store.root import LAYOUT, PROGRESS, STATIC, UNFINISHED
from pipeline.store.spec import StoreSpec, valid_fraction_name
from pipeline.store.write import writing
from pipeline.units import runoff_depth
from pipeline.watersheds.coverage import Site
from pipeline.watersheds.flow_distance import FlowPath, flow_paths

PACKAGES = (
    "numba",
    "numpy",
    "pyflwdir",
    "pyproj",
    "rasterio",
    "shapely",
    "zarr",
)  # make the numbers
COMPRESSOR = ZstdCodec(level=1, checksum=True)  # Blosc decodes a damaged chunk to any values


def root_attributes(spec: StoreSpec) -> dict[str, Any]:
    """The root's attributes as they would be written now; only `created` is not from inputs."""
    catalog = spec.catalog
    static = {
        "gauges": sorted(
            {
                catalog.resolve(catalog.gauges.files.replace("{site}", site.watershed.site_no))
                for site in spec.sites
            }
        ),
        "watersheds": _with_siblings(catalog.resolve(catalog.watersheds.file)),
        "terrain": [catalog.resolve(catalog.terrain.raster)] if catalog.terrain else [],
    }
    return {
        "Conventions": cf.CONVENTIONS,
        "title": catalog.title,
        "synthetic": catalog.synthetic,
        "layout": LAYOUT,
        "block_steps": spec.block_steps,
        "provenance": {
            "catalog": {
                "path": str(catalog.path),
                "text": catalog.text,
                "sha256": catalog.digest,
            },
            "forcings": {
                name: {"files": raw.count, "bytes": raw.size, "sha256": raw.digest}
                for name, raw in spec.raw_files.items()
            },
            **{
                key: {"files": len(files), "sha256": _digest(files)}
                for key, files in static.items()
            },
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def _with_siblings(path: Path) -> list[Path]:
    """A vector file and, of a shapefile, the others that belong to it."""
    if path.suffix.lower() != ".shp":
        return [path]
    return sorted(p for p in path.parent.iterdir() if p.stem == path.stem)


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of names and contents.

    Raises:
        InputError: a file is not readable.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            content = sha256(path)
        except OSError as error:
            raise InputError(
                f"{path}: not readable ({error.strerror}): expected a file that the catalog names"
            ) from error
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()


def write_template(spec: StoreSpec, attributes: Mapping[str, Any], path: Location) -> None:
    """Lay a store out at `path`, where there is none yet.

    Raises:
        InputError: as reading gauges and terrain; something else is in the way; as `reaching`.
        RunError: the disk is full or read-only; as `reaching`.
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
    mark, top = f"{root}/{UNFINISHED}", f"{root}/zarr.json"
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
    """The template's files: path below the store, and content.

    Raises:
        InputError: as reading gauges and terrain.
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
    _region(root.create_group("region"), spec)
    _gauges(root.create_group("gauges"), spec, flows, series)
    watersheds = root.create_group("watersheds")
    shifts = [shift_seconds(record, period) for record in records.values()]
    for site, flow, (discharge, flag), shift in zip(spec.sites, flows, series, shifts, strict=True):
        group = watersheds.create_group(
            site.watershed.site_no, attributes=_site_attributes(spec, site, flow, shift)
        )
        _watershed(group, spec, site, flow, discharge, flag)
    files = {key: buffer.to_bytes() for key, buffer in buffers.items() if "/" in key}
    root.attrs[STATIC] = digests(files)
    return {**files, "zarr.json": buffers["zarr.json"].to_bytes()}


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
            {"long_name": f"share of the cell with valid {name}", "units": "1"},
        )


def _gauges(
    group: zarr.Group,
    spec: StoreSpec,
    flows: Sequence[FlowPath],
    series: Sequence[tuple[np.ndarray, np.ndarray]],
) -> None:
    _time(group, spec.catalog.period)
    sites = [site.watershed.site_no for site in spec.sites]
    numbers = group.create_array(
        "gauge",
        shape=(len(sites),),
        dtype="string",
        dimension_names=("gauge",),
        attributes={"long_name": "site number", "cf_role": "timeseries_id"},
    )
    numbers[:] = np.array(sites, dtype=np.dtypes.StringDType())
    _array(group, "discharge", np.stack([d for d, _ in series]), ("gauge", "time"), cf.DISCHARGE)
    _array(group, "flag", np.stack([f for _, f in series]), ("gauge", "time"), cf.FLAG)
    cells = np.array([_cell(spec.grid, flow.outlet) for flow in flows], np.int32)
    for name, at, what in (("cell_y", 0, "row"), ("cell_x", 1, "column")):
        attributes = {"long_name": f"{what} of the outlet's cell in /region, from 0", "units": "1"}
        _array(group, name, cells[:, at], ("gauge",), attributes)


def _cell(grid: Grid, outlet: tuple[float, float]) -> tuple[int, int]:
    """Row and column of the cell that holds a point, or of the nearest one."""
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


def _site_attributes(spec: StoreSpec, site: Site, flow: FlowPath, shift: float) -> dict[str, Any]:
    watershed = site.watershed
    return {
        "title": spec.catalog.title,
        "synthetic": spec.catalog.synthetic,
        "site_no": watershed.site_no,
        "name": watershed.name,
        "outlet": list(flow.outlet),  # degrees east, degrees north
        "discharge_shift_s": shift,  # by which its intervals end after the steps
        "drainage_area_m2": watershed.area,
        "reported_drainage_area_m2": watershed.reported_area,
        "traced_drainage_area_m2": flow.traced_area,
        "flow_distance_method": flow.method,
        "slope": flow.slope,  # mean height above the outlet over mean flow distance, m per m
        "polygon": watershed.polygon.wkt,
    }


def _array(
    group: zarr.Group,
    name: str,
    data: np.ndarray,
    dimensions: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    """An array with all of its values, in one chunk."""
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
    """A static float64 layer (y, x)."""
    _array(group, name, data, ("y", "x"), {**attributes, "grid_mapping": "spatial_ref"})


def _forcing(
    group: zarr.Group, spec: StoreSpec, name: str, grid: Grid, attributes: Mapping[str, Any]
) -> None:
    """An array (time, y, x) to be filled, one chunk a block."""
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
    """Starts of the steps, and both ends of each."""
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    _array(group, "time", start, ("time",), cf.TIME)
    _array(group, "time_bnds", bounds, ("time", "bnds"), {})


def _space(group: zarr.Group, grid: Grid) -> None:
    """Cell centres and the reference system."""
    for name, values, what in (("y", grid.y, "latitude"), ("x", grid.x, "longitude")):
        attributes = {
            "standard_name": what,
            "units": "degrees_north" if name == "y" else "degrees_east",
            "axis": name.upper(),
        }
        _array(group, name, values, (name,), attributes)
    west, _, _, north = grid.bounds
    width = 1 / CELLS_PER_DEGREE
    transform = {"GeoTransform": f"{west!r} {width!r} 0.0 {north!r} 0.0 {-width!r}"}
    _array(group, "spatial_ref", np.array(0), (), {**cf.WGS84, **transform})
