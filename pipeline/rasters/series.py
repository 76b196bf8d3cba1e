"""Raw raster series in any format, as a catalog describes them.

To open a series, its files are listed once, and the header of the first one is read, or the times
of all files whose names do not hold them. Each file is compared with the first one when it is read.
A driver is a module with these functions:

    read_layout(path, sources)                      layout that all rasters of a series share
    read_block(places, layout, sources, window)     for each source float32 (places, rows, columns)
    read_times(path, sources)                       labels of a file's rasters (not in gdal)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.models import PRECIPITATION, Catalog
from pipeline.catalog.products import PRODUCTS
from pipeline.catalog.raster_source import TIME_FIELD, RasterSource
from pipeline.catalog.time import STEP, Period
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.rasters.accumulation import begins
from pipeline.rasters.files import ONLY, Files, Intervals, Named, Template, format_duration
from pipeline.rasters.pixels import Layout
from pipeline.rasters.quantity import require_rain
from pipeline.regrid.placement import Axes
from pipeline.storage import Location, join
from pipeline.units import FORCING_UNITS, recognise_unit, split_factor

__all__ = ["RasterSeries", "group_forcings", "open_series"]

LOG = get_logger(__name__)
MODULES = {  # imported when needed: importing xarray takes longer than a small run
    "geotiff": "pipeline.rasters.drivers.gdal",
    "gdal": "pipeline.rasters.drivers.gdal",
    "netcdf": "pipeline.rasters.drivers.netcdf_zarr",
    "zarr": "pipeline.rasters.drivers.netcdf_zarr",
    "radar": "pipeline.rasters.drivers.netcdf_zarr",
    "grib": "pipeline.rasters.drivers.grib",
}
MAX_LABEL_DISTANCE = timedelta(days=62)  # of a file's label from the period
FILE_KEYS = (  # keys that determine how files are opened and which rasters they hold
    "driver", "files", "inside", "group", "axes", "axes_at", "crs", "place_by", "step", "time",
    "times", "bounds",
)  # fmt: skip


def group_forcings(catalog: Catalog) -> list[list[str]]:
    """Group the names of forcings that are in the same files, in catalog order."""
    groups: dict[object, list[str]] = {}
    for name, source in catalog.forcings.items():
        groups.setdefault(_file_key(source), []).append(name)
    return list(groups.values())


def _file_key(source: RasterSource) -> tuple[object, ...]:
    return tuple(getattr(source, key) for key in FILE_KEYS)


def _driver(source: RasterSource) -> Any:
    return import_module(MODULES[source.driver])


@dataclass(frozen=True, eq=False)
class RasterSeries:
    """Forcings that are in the same files, over the intervals of a period.

    It holds no open file, and no paths if names follow from times, so it is cheap to send to a
    worker.

    Attributes:
        names: of the forcings.
        sources: the catalog's description of each.
        layout: shape and location of each raster.
        files: place of each interval's raster.
        intervals: the period divided into the source's own steps.
        present: whether an interval has a raster, bool (intervals,).
    """

    names: tuple[str, ...]
    sources: tuple[RasterSource, ...]
    layout: Layout
    files: Files
    intervals: Intervals
    present: NDArray[np.bool_]

    @property
    def period(self) -> Period:
        """The store's steps."""
        return self.intervals.period

    @property
    def per_step(self) -> int:
        """Intervals in a step of the store."""
        return STEP[self.period.step] // self.intervals.step

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the intervals with a raster."""
        return self.intervals.times[self.present]

    @property
    def missing_times(self) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the intervals without a raster."""
        return self.intervals.times[~self.present]

    @property
    def stretches(self) -> dict[str, NDArray[np.bool_]]:
        """Of the forcings whose numbers are totals that run on: bool (intervals,), whether an
        interval is the first of a stretch."""
        return {
            name: begins(self.intervals.times, source.totals)
            for name, source in zip(self.names, self.sources, strict=True)
            if source.totals
        }

    @property
    def paths(self) -> list[Location]:
        """The file of each raster, aligned with `times`."""
        return [self.files.place(k)[0] for k in np.flatnonzero(self.present).tolist()]

    def conversion(self, name: str) -> tuple[float, float]:
        """Scale and offset from the mean of raw values over a step to the store's value."""
        source = self.sources[self.names.index(name)]
        return source.conversion(source.units, self.intervals.step, STEP[self.period.step])

    def read(
        self, start: int, stop: int, window: tuple[slice, slice]
    ) -> dict[str, NDArray[np.float32]]:
        """Read a window of the intervals `start` to `stop`, each raster once.

        Args:
            start, stop: positions in `intervals.times`.
            window: (rows, columns) of the rasters; columns from the width on start again at the
                first column, as in `SeparableWeights.window`.

        Returns:
            By name float32 (stop - start, rows, columns), in the source's units; NaN where the
            pixel is missing or the interval has no raster. Infinite values of the file are kept,
            and count as missing too.

        Raises:
            InputError: a file is not readable, or differs from the series' first.
        """
        assert 0 <= start <= stop <= self.present.size, (start, stop, self.present.size)
        places = [self.files.place(k) if self.present[k] else None for k in range(start, stop)]
        driver = _driver(self.sources[0])
        block = driver.read_block(places, self.layout, self.sources, window)
        return dict(zip(self.names, block, strict=True))


def open_series(catalog: Catalog, names: Sequence[str]) -> RasterSeries:
    """Open a raster series: list its files, and read the header of the first.

    Args:
        catalog: describes the forcings.
        names: forcings in the same files, a group of `group_forcings`.

    Raises:
        InputError: no raster in the period; rasters that overlap or do not fit the source's steps;
            more than `max_missing_steps` intervals without one; a first file that is not
            readable, lacks a forcing or coordinates, or contradicts the catalog in units or times.
    """
    sources = tuple(catalog.forcings[name] for name in names)
    first = sources[0]
    assert all(_file_key(source) == _file_key(first) for source in sources), names
    key = f"{catalog.path}: forcings.{names[0]}.files"
    period = catalog.period
    step = first.step or STEP[period.step]
    shift = first.time.start_of(pd.DatetimeIndex([period.start]), step)[0] - period.start
    intervals = Intervals(period, step, shift.to_pytimedelta())
    files, present = _files(catalog, sources, intervals, key)
    series = RasterSeries(
        names=tuple(names),
        sources=sources,
        layout=_driver(first).read_layout(files.place(int(present.argmax()))[0], sources),
        files=files,
        intervals=intervals,
        present=present,
    )
    _require_pixels(catalog, series)
    _require_lengths(catalog, series)
    _require_begin(catalog, series)
    _require_label(catalog, series)
    _require_whole_stretches(catalog, series)
    for name, units in zip(names, series.layout.units, strict=True):
        _require_units(catalog, series, name, units)
    _require_rain(catalog, series)
    for name, source in zip(names, sources, strict=True):
        _require_few_missing(series, name, source.max_missing_steps)
    return series


def _files(
    catalog: Catalog, sources: tuple[RasterSource, ...], intervals: Intervals, key: str
) -> tuple[Files, NDArray[np.bool_]]:
    """Places of the rasters, and whether each interval has one."""
    first = sources[0]
    where = catalog.locate(first.files)
    if not isinstance(where, Path):
        _require_readable(where, first.driver, key)
    zarr = first.driver == "zarr"
    if not isinstance(where, Path) and zarr and not TIME_FIELD.search(where):
        paths: list[Location] = [where]
    else:
        template = Template.of(where, key, zarr)
        by_name = first.times == "name" if first.times else template.dated
        if by_name or first.driver in ("geotiff", "gdal"):
            return intervals.named(template, key)
        margin = pd.Timedelta(MAX_LABEL_DISTANCE)
        names = template.names(
            pd.date_range(catalog.period.start - margin, catalog.period.end + margin, freq="h")
        )
        if not names:
            raise InputError(f"{key}: no file matches {template.where}: expected one")
        years = range(catalog.period.start.year - 1, catalog.period.end.year + 2)
        paths = [
            join(template.folder, name)
            for name, at in names.items()
            if at.get("Y", years[1]) in years
        ]
        if not paths:
            raise InputError(
                f"{template.where}: {len(names)} files: expected some of the years "
                f"{years[1]} to {years[-2]}"
            )

    def read_times(path: Location) -> list[datetime]:
        return _driver(first).read_times(path, sources)

    return intervals.dated_inside(paths, read_times)


def _require_readable(url: str, driver: str, key: str) -> None:
    """Raise if the driver does not read from such a URL."""
    if driver == "zarr":
        if "*" in url:
            raise InputError(f"{key}: {url}: Zarr stores are not listed: expected a URL without *")
    elif driver == "netcdf":
        if find_spec("h5netcdf") is None:
            raise InputError(f"{key}: {url}: expected h5netcdf installed (dom-st[s3])")
    elif not url.startswith("s3://"):
        raise InputError(
            f"{key}: {url}: not read by the driver {driver}: expected a path or s3://; any other "
            "URL with netcdf or zarr"
        )


def _require_units(catalog: Catalog, series: RasterSeries, name: str, units: str) -> None:
    """Raise if the first file states units of another value than the catalog's."""
    source = series.sources[series.names.index(name)]
    factor, plain = split_factor(units)
    known = recognise_unit(plain, FORCING_UNITS)
    where = f"{series.layout.path}: {name} in {units!r}"
    if source.attributes == "ignore":
        return
    if known is None:
        # GRIB, NetCDF and Zarr files of the products that are known all state their units
        if "units" in source.filled and source.driver not in ("geotiff", "gdal"):
            raise InputError(
                f"{where}: expected {source.units!r}, as files of {source.product} state, or units "
                f"of forcings.{name} in {catalog.path}"
            )
        if units:
            LOG.warning("%s: unknown unit, read as %s", where, source.units)
        return
    step = series.intervals.step
    plain_source = source.model_copy(update={"scale": 1.0, "offset": 0.0})
    stated, expected = (plain_source.conversion(unit, step, step) for unit in (known, source.units))
    scale = source.scale if factor != 1 else 1.0  # without a factor scale says what the file leaves
    same = FORCING_UNITS[known].store == source.store_units
    if not (
        same
        and np.allclose(
            np.multiply(stated, factor), np.multiply(expected, scale), rtol=1e-6, atol=0
        )
    ):
        scaled = f", scale: {source.scale:g}" if source.scale != 1 else ""
        raise InputError(
            f"{where}, in steps of {format_duration(step)}: expected {source.units!r}{scaled}, as "
            f"forcings.{name}.units of {catalog.path} says (or attributes: ignore)"
        )


def _require_rain(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if what the catalog reads as precipitation says in the file to be something else."""
    for name, source, about in zip(series.names, series.sources, series.layout.about, strict=False):
        if name == PRECIPITATION and source.attributes != "ignore":
            require_rain(series.layout.path, about, f"forcings.{name} of {catalog.path}")


def _require_pixels(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if the first file has other pixels than its product."""
    source, placement = series.sources[0], series.layout.placement
    expected = None if source.product is None else PRODUCTS[source.product].pixel
    if expected is None:
        return
    widths = np.diff(placement.x_edges) if isinstance(placement, Axes) else np.zeros(1)
    if not np.allclose(np.abs(widths), expected, rtol=0.01):
        raise InputError(
            f"{series.layout.path}: columns {np.abs(widths).mean():.4g} wide: expected "
            f"{expected:g} degrees, as files of {source.product} have "
            f"(forcings.{series.names[0]}.product of {catalog.path})"
        )


def _require_lengths(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if the first file states that rasters last other than a step of the source.

    Running totals last one or more steps.
    """
    step = series.intervals.step
    stretch = max([source.totals or step for source in series.sources])
    for length in series.layout.lengths:
        steps = min(max(1, round(length / step)), stretch // step)
        if abs(length - steps * step) > step / 100:
            raise InputError(
                f"{series.layout.path}: rasters that last {format_duration(length)}: expected "
                f"{format_duration(step)} (forcings.{series.names[0]}.step of {catalog.path}), or "
                "sums since a reset (totals)"
            )


def _require_begin(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if the first file states that rasters begin at other times than the catalog."""
    first = int(series.present.argmax())
    position = max(series.files.place(first)[1], 0)
    source, begins = series.sources[0], series.layout.begins
    if source.bounds == "ignore" or series.stretches or position >= len(begins):
        return
    said, expected = begins[position], series.intervals.times[first]
    if abs(said - expected) > series.intervals.step / 100:
        raise InputError(
            f"{series.layout.path}: a raster begins at {said} by its own bounds: expected "
            f"{expected}, as forcings.{series.names[0]}.time of {catalog.path} says (or bounds: "
            "ignore)"
        )


def _require_label(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if the first file is of another time than the interval that its name tells.

    The time of a file may be the start, the middle or the end of its interval.
    """
    first, said = int(series.present.argmax()), series.layout.label
    source, position = series.sources[0], series.files.place(first)[1]
    if position != ONLY or said is None or source.bounds == "ignore" or series.layout.begins:
        return
    start = series.intervals.times[first]
    if not start <= said <= start + series.intervals.step:
        raise InputError(
            f"{series.layout.path}: its raster is of {said} by the file itself: expected a time "
            f"from {start} to {start + series.intervals.step}, as its name and "
            f"forcings.{series.names[0]}.time of {catalog.path} say (or times: file, or bounds: "
            "ignore)"
        )


def _require_whole_stretches(catalog: Catalog, series: RasterSeries) -> None:
    """Raise if running totals have intervals that are no whole steps from 00:00 UTC."""
    times, step = series.intervals.times, series.intervals.step
    if series.stretches and not begins(times, step).all():
        raise InputError(
            f"{catalog.path}: forcings.{series.names[0]}: rasters that start at {times[0]:%H:%M} "
            f"UTC: expected whole steps of {format_duration(step)} from 00:00 UTC with totals"
        )


def _require_few_missing(series: RasterSeries, name: str, allowed: int) -> None:
    """Raise if more intervals lack a raster than the catalog allows."""
    missing = np.flatnonzero(~series.present)
    if missing.size > allowed:
        named = isinstance(series.files, Named)
        expected = f", {series.files.place(int(missing[0]))[0]}" if named else ""
        raise InputError(
            f"{series.layout.path} and others: {missing.size} of {series.present.size} steps of "
            f"{format_duration(series.intervals.step)} have no raster, the first from "
            f"{series.missing_times[0]}{expected}: expected at most {allowed} "
            f"(forcings.{name}.max_missing_steps)"
        )
