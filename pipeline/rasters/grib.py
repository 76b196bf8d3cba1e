"""GRIB, editions 1 and 2, as ecCodes decodes it: places, times and windows of messages.

A message is a raster. Its label is its validity time, the end of what it accumulates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.catalog import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.files import ONLY, Place
from pipeline.rasters.layout import Axes, Layout, Location, column_parts, decode, edges_of
from pipeline.rasters.placement import ROUND, catalog_crs

MISSING = float(np.finfo(np.float32).max)  # what ecCodes is told to write where a bit map says so
GRID = (  # what is compared with the first message of a series
    "gridType", "Nx", "Ny", "latitudeOfFirstGridPoint", "longitudeOfFirstGridPoint",
    "iDirectionIncrement", "jDirectionIncrement", "DxInMetres", "DyInMetres",
    "iScansNegatively", "jScansPositively", "jPointsAreConsecutive", "alternativeRowScanning",
    "projString",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GribLayout(Layout):
    """A layout, and the keys of the messages' grid, which are compared in every message."""

    grid: dict[str, Any]


class Message:
    """A message while it is open."""

    def __init__(self, path: Location, handle: int) -> None:
        self._path, self._handle = path, handle

    def get(self, key: str) -> Any:
        """A key's value, None where the message has no such key."""
        try:
            return eccodes.codes_get(self._handle, key)
        except eccodes.CodesInternalError:
            return None

    def matches(self, source: RasterSource) -> bool:
        """Whether it is one of those that the catalog selects."""
        return all(
            str(self.get(key)) == str(value) or self.get(key) == value
            for key, value in source.select.items()
        )

    @property
    def label(self) -> datetime:
        """The validity time, UTC."""
        date, clock = int(self.get("validityDate")), int(self.get("validityTime"))
        return datetime(date // 10000, date // 100 % 100, date % 100, clock // 100, clock % 100)

    @property
    def grid(self) -> dict[str, Any]:
        """What says where the pixels lie."""
        return {key: self.get(key) for key in GRID}

    @property
    def values(self) -> NDArray[np.float64]:
        """All numbers, in the message's order, NaN where its bit map says missing."""
        with _decoding(self._path):
            eccodes.codes_set(self._handle, "missingValue", MISSING)
            values = eccodes.codes_get_values(self._handle)
        values[values == MISSING] = np.nan
        return values


@contextmanager
def _decoding(path: Location) -> Iterator[None]:
    """Whatever ecCodes finds wrong is the file's fault."""
    try:
        yield
    except (eccodes.CodesInternalError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not readable ({reason}): expected GRIB messages") from error


def _messages(path: Location, headers_only: bool = False) -> Iterator[Message]:
    """The file's messages, each open until the next is asked for."""
    with _decoding(path), open(path, "rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file, headers_only)) is not None:
            try:
                yield Message(path, handle)
            finally:
                eccodes.codes_release(handle)


def read_layout(path: Location, sources: Sequence[RasterSource]) -> GribLayout:
    """The layout of the messages that some sources select.

    Raises:
        InputError: the file is not readable, holds none of a source's messages, or its grid is of
            a type that is not known here.
    """
    units: dict[int, str] = {}
    grid: dict[str, Any] = {}
    placement = None
    for message in _messages(path):
        for number, source in enumerate(sources):
            if number in units or not message.matches(source):
                continue
            found = message.get("units")
            units[number] = "" if found in (None, "unknown") else str(found)
            if placement is None:
                grid, placement = message.grid, _placement(path, message, source)
            _require_same(path, message, grid, path)
    for number, source in enumerate(sources):
        if number not in units:
            raise InputError(f"{path}: no message matches {source.select}: expected some")
    assert placement is not None
    return GribLayout(
        path=path,
        shape=(placement.y_edges.size - 1, placement.x_edges.size - 1),
        placement=placement,
        units=tuple(units[number] for number in range(len(sources))),
        chunk_steps=1,
        grid=grid,
    )


def _placement(path: Location, message: Message, source: RasterSource) -> Axes:
    grid = message.grid
    if grid["alternativeRowScanning"]:
        raise InputError(f"{path}: rows run to and fro: expected all in one direction")
    projection = message.get("projTargetString")
    degrees = [
        message.get(f"{axis}Of{which}GridPointInDegrees")
        for axis in ("longitude", "latitude")
        for which in ("First", "Last")
    ]
    if grid["gridType"] == "regular_ll":
        west, east, first, last = map(float, degrees)
        if not grid["iScansNegatively"] and east < west:
            east += ROUND
        x, y = np.linspace(west, east, grid["Nx"]), np.linspace(first, last, grid["Ny"])
        crs = None
    elif grid["DxInMetres"] and grid["DyInMetres"] and projection:
        crs = catalog_crs(source) or CRS.from_user_input(projection)
        geodetic = crs.geodetic_crs
        assert geodetic is not None
        to_plane = Transformer.from_crs(geodetic, crs, always_xy=True)
        east, north = to_plane.transform(float(degrees[0]), float(degrees[2]))
        width = float(grid["DxInMetres"]) * (-1 if grid["iScansNegatively"] else 1)
        height = float(grid["DyInMetres"]) * (1 if grid["jScansPositively"] else -1)
        x, y = east + width * np.arange(grid["Nx"]), north + height * np.arange(grid["Ny"])
    else:
        raise InputError(
            f"{path}: grid of type {grid['gridType']}: expected regular_ll or one in a projection"
        )
    return Axes(edges_of(x, f"{path}: longitudes"), edges_of(y, f"{path}: latitudes"), crs)


def _require_same(
    path: Location, message: Message, expected: dict[str, Any], first: Location
) -> None:
    for key, value in message.grid.items():
        if value != expected[key]:
            raise InputError(
                f"{path}: {key} {value}: expected {expected[key]} as in {Path(first).name}"
            )


def read_times(path: Location, sources: Sequence[RasterSource]) -> list[datetime]:
    """Labels of the file's rasters, naive UTC, ascending: of messages that every source selects.

    Raises:
        InputError: the file is not readable; a source selects two messages of one time.
    """
    found: list[set[datetime]] = [set() for _ in sources]
    for message in _messages(path, headers_only=True):
        for labels, source in zip(found, sources, strict=True):
            if message.matches(source):
                if message.label in labels:
                    raise InputError(_twice(path, message, source))
                labels.add(message.label)
    return sorted(set.intersection(*found))


def _twice(path: Location, message: Message, source: RasterSource) -> str:
    return (
        f"{path}: a second message of {message.label}, {message.get('shortName')} at level "
        f"{message.get('level')}, matches {source.select}: expected one of a time (select)"
    )


def read_block(
    places: Sequence[Place | None],
    layout: Layout,
    sources: Sequence[RasterSource],
    window: tuple[slice, slice],
) -> NDArray[np.float32]:
    """A window of some messages of some files, opening each file once.

    A message is decoded whole, whatever the window: GRIB packs all of it together.

    Args:
        places: rasters of the series that `layout` describes; None where there is none.
        layout: what each message has to look like.
        sources: what selects the messages of each forcing.
        window: (rows, columns); columns from the width on start again at the first column.

    Returns:
        float32 (sources, places, rows, columns), in the published units, NaN where missing or
        without a file.

    Raises:
        InputError: a file is not readable, or not like the series' first.
    """
    assert isinstance(layout, GribLayout)
    rows, columns = window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    block = np.full((len(sources), len(places), *shape), np.nan, np.float32)
    numbered = [(k, place) for k, place in enumerate(places) if place is not None]
    for path, group in groupby(numbered, key=lambda item: item[1][0]):
        at = {place[1]: k for k, place in group}
        labels = read_times(path, sources)
        if ONLY in at:
            if len(labels) != 1:
                raise InputError(
                    f"{path}: holds {len(labels)} rasters: expected one, of the time in its name; "
                    "or that the catalog says that times stand in the file (times: file)"
                )
            at = {0: at[ONLY]}
        wanted = {labels[position]: k for position, k in at.items()}
        for message in _messages(path):
            k = wanted.get(message.label)
            for number, source in enumerate(sources):
                if k is not None and message.matches(source):
                    _require_same(path, message, layout.grid, layout.path)
                    raw = _window(message, layout, window)
                    decode(block[number, k], raw, 1.0, 0.0, source.missing)
    return block


def _window(
    message: Message, layout: GribLayout, window: tuple[slice, slice]
) -> NDArray[np.float64]:
    """The window of a message's numbers, (rows, columns)."""
    values = message.values
    rows, columns = layout.shape
    if layout.grid["jPointsAreConsecutive"]:
        field = values.reshape(columns, rows).T
    else:
        field = values.reshape(rows, columns)
    parts = column_parts(window, columns)
    return np.concatenate([field[window[0], part] for part in parts], axis=1)
