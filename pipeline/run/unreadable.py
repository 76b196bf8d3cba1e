"""Set unreadable rasters aside, so that one damaged file does not end a run (`--keep-going`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.rasters.series import RasterSeries
from pipeline.retry import is_transient
from pipeline.storage import Location, has_file, read_files
from pipeline.store.write import StoreWriter

FILE = "unreadable.csv"  # at the root of a store, if rasters were set aside


class Unreadable(NamedTuple):
    """A raster that was set aside: first forcing of its series, time, file and what is wrong."""

    forcing: str
    time: str
    file: str
    reason: str


def read_around(
    series: RasterSeries,
    start: int,
    stop: int,
    window: tuple[slice, slice],
    unreadable: list[Unreadable],
) -> dict[str, NDArray[np.float32]]:
    """Read intervals of a series; those that cannot be read are NaN, and added to a list.

    Args:
        series, start, stop, window: as `RasterSeries.read`.
        unreadable: gets the rasters that cannot be read.
    """
    try:
        return series.read(start, stop, window)
    except InputError as error:
        if is_transient(error):
            raise
        if stop - start > 1:
            middle = (start + stop) // 2
            halves = [
                read_around(series, *part, window, unreadable)
                for part in ((start, middle), (middle, stop))
            ]
            return {name: np.concatenate([half[name] for half in halves]) for name in series.names}
        unreadable.append(
            Unreadable(
                series.names[0],
                f"{series.intervals.times[start]}",
                f"{series.files.place(start)[0]}",
                str(error),
            )
        )
    rows, columns = window
    shape = (1, rows.stop - rows.start, columns.stop - columns.start)
    return {name: np.full(shape, np.nan, np.float32) for name in series.names}


def require_few(series: RasterSeries, unreadable: Sequence[Unreadable]) -> None:
    """Refuse more rasters that are missing or set aside than the catalog allows.

    Args:
        series: of rasters.
        unreadable: rasters of all series that were set aside.

    Raises:
        InputError: with the last one.
    """
    forcing, allowed = series.names[0], series.sources[0].max_missing_steps
    found = [one for one in unreadable if one.forcing == forcing]
    missing = int((~series.present).sum())
    if found and missing + len(found) > allowed:
        raise InputError(
            f"{found[-1].reason}: {len(found)} rasters of {forcing} are unreadable and {missing} "
            f"are missing: expected at most {allowed} (forcings.{forcing}.max_missing_steps)"
        )


def save_unreadable(
    writer: StoreWriter,
    done: Mapping[str, Sequence[tuple[pd.Timestamp, pd.Timestamp]]],
    found: Sequence[Unreadable],
) -> None:
    """Write the list of rasters that were set aside, those of earlier runs included.

    Args:
        writer: of the store.
        done: by forcing, start and end of the blocks that this run did; earlier entries of these
            are dropped.
        found: rasters that this run set aside.

    Raises:
        RunError: the disk is full or read-only.
    """
    before = read_unreadable(writer.path)
    kept = [
        one
        for one in before
        if not any(
            start <= pd.Timestamp(one.time) < end for start, end in done.get(one.forcing, ())
        )
    ]
    if kept == before and not found:
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([Unreadable._fields, *sorted({*kept, *found})])
    writer.write({FILE: text.getvalue().encode()})


def read_unreadable(path: Location) -> list[Unreadable]:
    """Read the list of rasters that were set aside from a store; empty without one."""
    if not has_file(path, FILE):
        return []
    text = read_files(path, [FILE])[FILE].decode()
    return [Unreadable(*row) for row in csv.reader(io.StringIO(text))][1:]
