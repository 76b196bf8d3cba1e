"""The files of a raster series with their versions, to notice changed inputs without decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.rasters.files import ONLY
from pipeline.rasters.fingerprints import take_fingerprints
from pipeline.rasters.series import RasterSeries
from pipeline.rasters.zarr_chunks import chunk_fingerprints
from pipeline.regrid.placement import Axes, Curvilinear
from pipeline.storage import Location, can_list


@dataclass(frozen=True, eq=False)
class FileList:
    """The files of a series, known without opening them.

    Attributes:
        lines: for each interval the name and version of its file, or of its chunks in a Zarr store,
            and the raster's position in it if there are several; empty without a raster.
        sizes: float64 (intervals,), bytes of the file or chunks, divided equally among the rasters.
        count: number of files.
    """

    lines: list[str]
    sizes: NDArray[np.float64]
    count: int


def describe_files(series: RasterSeries, by_content: bool) -> FileList:
    """List the files of a series and their versions.

    Args:
        series: that was opened a moment ago.
        by_content: versions by content, and not by time.

    Raises:
        InputError: a file is gone or not readable; by content, an object without an ETag.
        InputError, RunError: as `pipeline.storage.reporting_access`.
    """
    held: dict[Location, list[tuple[int, int]]] = {}
    for interval in np.flatnonzero(series.present).tolist():
        path, position = series.files.place(interval)
        held.setdefault(path, []).append((interval, position))
    lines, sizes = [""] * series.present.size, np.zeros(series.present.size)
    for path, rasters, versions in _versions(series, held, by_content):
        for (interval, position), (size, version) in zip(rasters, versions, strict=True):
            at = "" if position == ONLY else f" {position}"
            lines[interval] = f"{Path(path).name} {version}{at}"
            sizes[interval] = size
    return FileList(_with_totals(series, lines), sizes, len(held))


def _with_totals(series: RasterSeries, lines: list[str]) -> list[str]:
    """Add the line before to that of each raster whose total runs on from there."""
    begins = np.all([*series.stretches.values()], axis=0)  # true without such forcings
    runs_on = np.flatnonzero(~np.broadcast_to(begins, len(lines)))
    after = {k: lines[k - 1] for k in runs_on.tolist() if k and lines[k]}
    return [f"{line} after {after[k]}" if k in after else line for k, line in enumerate(lines)]


def _versions(
    series: RasterSeries, held: dict[Location, list[tuple[int, int]]], by_content: bool
) -> Iterator[tuple[Location, list[tuple[int, int]], list[tuple[float, str]]]]:
    """Yield each file with its rasters, and the bytes and version of each raster."""
    zarr = series.sources[0].driver == "zarr"
    if not (zarr and series.layout.time and can_list(series.layout.path)):
        whole = take_fingerprints(list(held), zarr, by_content)
        for path, rasters in held.items():
            size, version = whole[path]
            yield path, rasters, [(size / len(rasters), f"{size} {version}")] * len(rasters)
        return
    variables = [
        "/".join(filter(None, [(source.group or "").strip("/"), source.variable]))
        for source in series.sources
    ]
    placed = _digest(series.layout.placement)
    for path, rasters in held.items():
        positions = [0 if position == ONLY else position for _, position in rasters]
        found = chunk_fingerprints(path, variables, series.layout.time, positions, by_content)
        yield path, rasters, [(size, f"{version} {placed}") for size, version in found]


def _digest(placement: Axes | Curvilinear) -> str:
    """Digest of where pixels lie.

    It stands for the files of coordinates, which whoever appends to a store may write anew.
    """
    if isinstance(placement, Axes):
        crs = placement.crs.to_wkt() if placement.crs else ""
        first, second = placement.x_edges, placement.y_edges
    else:
        crs, first, second = "", placement.latitude, placement.longitude
    return hashlib.sha256(b"".join((crs.encode(), first.tobytes(), second.tobytes()))).hexdigest()
