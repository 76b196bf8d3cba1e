"""Read layouts, times and windows of NetCDF, HDF5, Zarr and radar variables with xarray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.coordinates import (
    UNREADABLE,
    common_roles,
    corners_of,
    describe,
    placement_of,
    reading,
    roles_of,
    selected,
    units_of,
    variable_of,
)
from pipeline.rasters.drivers.cf_packing import FILLS, as_unsigned, outside_valid_range, packing
from pipeline.rasters.drivers.classic_netcdf import require_whole
from pipeline.rasters.drivers.radar import as_dataset
from pipeline.rasters.drivers.signatures import conversion_of
from pipeline.rasters.files import ONLY, Place
from pipeline.rasters.pixels import Layout, decode
from pipeline.rasters.times import bounds_of, labels_of
from pipeline.regrid.coordinates import Roles
from pipeline.regrid.separable import column_parts
from pipeline.storage import Location, file_system

CORNER_TOLERANCE = 1e-3  # share of a pixel by which corners may differ in a series


@dataclass(frozen=True, eq=False)
class DatasetLayout(Layout):
    """A layout with the coordinates to compare in every file.

    Attributes:
        corners: outermost values of each coordinate, by name.
        pixel: width of a pixel in each coordinate, by name.
    """

    corners: dict[str, NDArray[np.float64]]
    pixel: dict[str, float]


# The NetCDF library is not thread-safe, not even with two files, and xarray's own lock does not
# cover the opening of a file. Other threads decode and regrid meanwhile.
NETCDF = Lock()
# Objects are read in blocks of bytes, some of which are cached.
BY_RANGE = {"cache_type": "blockcache", "block_size": 2**20, "cache_options": {"maxblocks": 16}}
COORDINATES = "coordinates of its pixels"
EXPECTED = {"netcdf": "HDF5 or NetCDF 4 (classic NetCDF is read from paths)", "zarr": "zarr"}


# The open store of each series in this process, by layout.
_STORES: WeakKeyDictionary[DatasetLayout, tuple[Location, xr.Dataset]] = WeakKeyDictionary()


@contextmanager
def _opened(path: Location, source: RasterSource) -> Iterator[xr.Dataset]:
    """Open a file or store undecoded: packed values, encoded times, coordinates as variables.

    Values are read from it under `_lock` alone.
    """
    with _lock(source):
        dataset = _dataset(path, source)
    try:
        yield dataset
    finally:
        with _lock(source):
            dataset.close()


def _lock(source: RasterSource) -> AbstractContextManager[Any]:
    """What a thread holds while it uses the library that reads a source."""
    return NETCDF if source.driver in ("netcdf", "radar") else nullcontext()


def _dataset(path: Location, source: RasterSource) -> xr.Dataset:
    plain: dict[str, Any] = {
        "group": source.group,
        "mask_and_scale": False,
        "decode_times": False,
        "decode_coords": False,
        "create_default_indexes": False,  # they take as long as the rest of opening
        "chunks": None,
    }
    group = f" with group {source.group!r}" if source.group else ""
    kind = source.driver if isinstance(path, Path) else EXPECTED[source.driver]
    with reading(path, f"{kind}{group}"):
        if source.driver == "zarr":
            root = zarr.open_group(str(path), mode="r")
            whole = root.metadata.consolidated_metadata is not None
            dataset = xr.open_zarr(str(path), consolidated=whole, **plain)
            _restore_fills(dataset, root, source.group)
            return dataset
        if source.driver == "radar":
            return as_dataset(path)
        if isinstance(path, Path):
            require_whole(path)
            try:
                return xr.open_dataset(path, engine="netcdf4", cache=False, **plain)
            except UNREADABLE:
                _require_no_other(path)
                raise
        system, name = file_system(path)
        file = system.open(name, "rb", **BY_RANGE)
        return xr.open_dataset(file, engine="h5netcdf", phony_dims="access", cache=False, **plain)


def _require_no_other(path: Path) -> None:
    """Raise if a file is of another known format.

    Raises:
        InputError: it is.
    """
    if hint := conversion_of(path):
        raise InputError(f"{path}: {hint}")


def _restore_fills(dataset: xr.Dataset, root: zarr.Group, group: str | None) -> None:
    """Set each variable's `_FillValue` to the one of its attributes.

    In format 2 xarray replaces it by the array's `fill_value`, which is 0 by default; in format 3
    it ignores a `fill_value` that is no attribute.
    """
    for name, variable in dataset.variables.items():
        array = root[f"{group}/{name}" if group else str(name)]
        if not isinstance(array, zarr.Array) or variable.dtype.kind not in "fiu":
            continue
        said, fill = array.attrs.get(FILLS[0]), array.fill_value
        if said is None and fill is not None and fill != 0 and fill == fill:
            variable.attrs[FILLS[0]] = fill
        elif said is None:
            variable.attrs.pop(FILLS[0], None)
        elif array.metadata.zarr_format == 2:
            variable.attrs[FILLS[0]] = said


def read_layout(path: Location, sources: Sequence[RasterSource]) -> DatasetLayout:
    """Read the layout of some variables of a file.

    Raises:
        InputError: the file is not readable, lacks a variable, or has no clear coordinates; the
            variables are on different grids.
    """
    if sources[0].driver == "netcdf" and isinstance(path, Path) and path.is_file():
        with NETCDF:
            _require_no_other(path)
    with _opened(path, sources[0]) as dataset, _lock(sources[0]), reading(path, COORDINATES):
        return _layout(path, dataset, sources)


def _layout(path: Location, dataset: xr.Dataset, sources: Sequence[RasterSource]) -> DatasetLayout:
    roles = common_roles(path, dataset, sources)
    variable = variable_of(path, dataset, sources[0])
    placement = placement_of(path, dataset, roles, sources[0])
    for source in sources:
        packing(path, variable.dtype, dataset[source.variable].attrs, source)
        selected(path, dataset, source)
    chunks = variable.encoding.get("preferred_chunks") or {}
    corners = corners_of(dataset, roles)
    lengths, begins = bounds_of(dataset, roles)
    return DatasetLayout(
        path=path,
        shape=(variable.sizes[roles.y], variable.sizes[roles.x]),
        placement=placement,
        units=tuple(units_of(dataset[source.variable]) for source in sources),
        chunk=(
            int(chunks.get(roles.time, 1)) if roles.time else 1,
            int(chunks.get(roles.y, variable.sizes[roles.y])),
            int(chunks.get(roles.x, variable.sizes[roles.x])),
        ),
        itemsize=variable.dtype.itemsize,
        about=tuple(describe(dataset[source.variable]) for source in sources),
        lengths=lengths,
        begins=begins,
        label=_only_label(path, dataset, roles, sources[0]),
        time=roles.time,
        corners=corners,
        pixel={
            name: float(abs(values.flat[-1] - values.flat[0]))
            / max(1, max(variable.sizes[roles.y], variable.sizes[roles.x]) - 1)
            for name, values in corners.items()
        },
    )


def _only_label(
    path: Location, dataset: xr.Dataset, roles: Roles, source: RasterSource
) -> datetime | None:
    """The time of the only raster; None if there are several, or none after CF."""
    if roles.time is None or dataset.sizes[roles.time] != 1:
        return None
    try:
        return labels_of(path, dataset, roles, source)[0]
    except InputError:
        return None


def _require_same(
    path: Location,
    found: Roles,
    dataset: xr.Dataset,
    layout: DatasetLayout,
    sources: Sequence[RasterSource],
) -> None:
    """Raise if shape, outermost coordinates or units differ from the series' first file."""
    first = Path(layout.path).name
    variable = variable_of(path, dataset, sources[0])
    shape = variable.sizes[found.y], variable.sizes[found.x]
    if shape != layout.shape:
        raise InputError(f"{path}: rows x columns {shape}: expected {layout.shape} as in {first}")
    corners = corners_of(dataset, found)
    for name, expected in layout.corners.items():
        one = corners.get(name)
        if (
            one is None
            or one.shape != expected.shape
            or (np.abs(one - expected).max() > CORNER_TOLERANCE * layout.pixel[name])
        ):
            said = None if one is None else one.ravel().tolist()
            raise InputError(
                f"{path}: {name} at the corners {said}: expected {expected.ravel().tolist()} as in "
                f"{first}"
            )
    for source, units in zip(sources, layout.units, strict=True):
        says = units_of(dataset[source.variable])
        if says != units:
            raise InputError(
                f"{path}: units of {source.variable} {says!r}: expected {units!r} as in {first}"
            )


@contextmanager
def _opened_checked(
    path: Location, layout: DatasetLayout, sources: Sequence[RasterSource]
) -> Iterator[xr.Dataset]:
    """Open a file or store, and compare it with the series' first.

    A Zarr store stays open for the next block, as opening and comparing take many requests, and
    longer than regridding a block.
    """
    kept = _STORES.get(layout)
    if kept is not None and kept[0] == path:
        yield kept[1]
        return
    with _opened(path, sources[0]) as dataset:
        with _lock(sources[0]), reading(path, COORDINATES):
            roles = common_roles(path, dataset, sources)
            _require_same(path, roles, dataset, layout, sources)
        if sources[0].driver == "zarr":  # which needs no closing
            _STORES[layout] = path, dataset
        yield dataset


def read_times(path: Location, sources: Sequence[RasterSource]) -> list[datetime]:
    """Read the labels (naive UTC) of a file's rasters, in the file's order.

    Raises:
        InputError: the file is not readable or has no times.
    """
    with _opened(path, sources[0]) as dataset, _lock(sources[0]), reading(path, COORDINATES):
        roles = common_roles(path, dataset, sources)
        return labels_of(path, dataset, roles, sources[0])


def read_block(
    places: Sequence[Place | None],
    layout: Layout,
    sources: Sequence[RasterSource],
    window: tuple[slice, slice],
) -> list[NDArray[np.float32]]:
    """Read a window of some variables of some files, opening each file once.

    Args:
        places: of the rasters; None without one.
        layout: that each file must have.
        sources: one per variable.
        window: (rows, columns); columns from the width on start again at the first column.

    Returns:
        For each source float32 (places, rows, columns), in the published units (scale and offset
        applied), NaN where missing or without a file.

    Raises:
        InputError: a file is not readable, or differs from `layout`.
    """
    assert isinstance(layout, DatasetLayout)
    rows, columns = window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    numbered = [(k, place) for k, place in enumerate(places) if place is not None]
    files = [
        (path, *zip(*((k, place[1]) for k, place in group), strict=True))
        for path, group in groupby(numbered, key=lambda item: item[1][0])
    ]
    if len(files) == 1 and len(numbered) == len(places):  # returned without a copy
        path, _, positions = files[0]
        return _read_file(path, positions, layout, sources, window)
    blocks = [np.full((len(places), *shape), np.nan, np.float32) for _ in sources]
    for path, at, positions in files:
        for block, part in zip(
            blocks, _read_file(path, positions, layout, sources, window), strict=True
        ):
            block[list(at)] = part
    return blocks


def _read_file(
    path: Location,
    positions: Sequence[int],
    layout: DatasetLayout,
    sources: Sequence[RasterSource],
    window: tuple[slice, slice],
) -> list[NDArray[np.float32]]:
    """Read rasters at some positions of a file: per source float32 (rasters, rows, columns)."""
    decoded = []
    with _opened_checked(path, layout, sources) as dataset:
        for source in sources:
            variable = dataset.variables[source.variable]
            with reading(path, str(source.variable)):
                with _lock(source):
                    roles = roles_of(path, dataset, source)
                    others = selected(path, dataset, source)
                    raw = _raw(path, variable, roles, positions, window, others)
                raw, about = as_unsigned(raw, variable.attrs)
                scale, offset, codes = packing(path, raw.dtype, about, source)
            outside = outside_valid_range(raw, about)
            if raw.dtype == np.float32 and (scale, offset) == (1.0, 0.0):
                out = raw = np.ascontiguousarray(raw)
            else:
                out = np.empty(raw.shape, np.float32)
            for one, packed in zip(out, raw, strict=True):  # one by one, to stay in the CPU cache
                decode(one, packed, scale, offset, codes)
            if outside is not None:
                out[outside] = np.nan
            decoded.append(out)
    return decoded


def _raw(
    path: Location,
    variable: xr.Variable,
    roles: Roles,
    positions: Sequence[int],
    window: tuple[slice, slice],
    others: Mapping[str, int],
) -> NDArray[Any]:
    """Read packed values, (positions, rows, columns); `others` are positions of dimensions."""
    steps = variable.sizes[roles.time] if roles.time else 1
    if positions[0] == ONLY and steps != 1:
        raise InputError(
            f"{path}: holds {steps} rasters: expected one, of the time in its name, or "
            "times: file in the catalog"
        )
    positions = [0] if positions[0] == ONLY else positions
    first, last = positions[0], positions[-1] + 1
    index: dict[Any, Any] = {roles.y: window[0]}
    if roles.time:
        whole = list(positions) == list(range(first, last))
        index[roles.time] = slice(first, last) if whole else list(positions)
    rest = [str(d) for d in variable.dims if d not in (roles.time, roles.y, roles.x)]
    index |= {dimension: others.get(dimension, 0) for dimension in rest}
    order = (*((roles.time,) if roles.time else ()), roles.y, roles.x)
    pieces = [
        variable.isel({**index, roles.x: part}).transpose(*order).values
        for part in column_parts(window, variable.sizes[roles.x])
    ]
    raw = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)
    return raw.reshape(len(positions), *raw.shape[-2:])
