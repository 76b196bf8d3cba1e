"""Raw raster series as a catalog describes them: one file a step, labelled by its time.

A series is opened by listing its files once; nothing but the first file's header is read then.
Every file is checked against that header when it is read.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog import STEP, TIME_FIELD, Catalog, Period, RasterSource
from pipeline.errors import InputError
from pipeline.rasters.geotiff import Layout, read_block, read_layout

__all__ = ["RasterSeries", "group_forcings", "open_series"]

# Directives of a time field and the digits that they stand for: each has a fixed width, so that a
# label has one spelling and a path can be made from its time.
DIGITS = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}


def group_forcings(catalog: Catalog) -> list[list[str]]:
    """Names of the forcings that are bands of the same files, group by group in catalog order."""
    groups: dict[object, list[str]] = {}
    for name, source in catalog.forcings.items():
        groups.setdefault(_same_files(source), []).append(name)
    return list(groups.values())


def _same_files(source: RasterSource) -> tuple[object, ...]:
    return source.driver, source.files, source.time


@dataclass(frozen=True)
class Template:
    """Where the files of a series lie.

    Attributes:
        folder: the deepest folder without a time in its name.
        pattern: path below it, with strftime directives.
    """

    folder: Path
    pattern: str

    @classmethod
    def of(cls, path: Path, key: str) -> Template:
        """Split a path with one {time:...} field; `key` names it in errors.

        Raises:
            InputError: a directive that is not supported, or no full date.
        """
        before, field, after = TIME_FIELD.split(str(path))
        directives = re.findall("%(.)", field)
        has_date = {"Y", "m", "d"} <= set(directives) or {"Y", "j"} <= set(directives)
        if not has_date or not set(directives) <= DIGITS.keys():
            known = " ".join(f"%{letter}" for letter in DIGITS)
            raise InputError(f"{key}: time field {field!r}: expected a date made of {known}")
        folder, _, stem = before.rpartition("/")
        return cls(Path(folder or "/"), stem.replace("%", "%%") + field + after.replace("%", "%%"))

    def path(self, label: datetime) -> Path:
        """The file of a time label."""
        return self.folder / label.strftime(self.pattern)

    def listed(self) -> dict[str, datetime]:
        """Files that exist and their labels, by path below `folder`.

        Raises:
            InputError: a file whose label is not a date, or contradicts itself.
        """
        shape = wild = ""
        groups = []
        for literal, letter in re.findall("([^%]*)(?:%(.)|$)", self.pattern):
            shape += re.escape(literal)
            wild += glob.escape(literal)
            if letter == "%":
                shape, wild = shape + "%", wild + "%"
            elif letter:
                shape, wild = shape + rf"(\d{{{DIGITS[letter]}}})", wild + "*"
                groups.append(letter)
        labels = {}
        for name in glob.iglob(wild, root_dir=self.folder):
            if match := re.fullmatch(shape, name):
                number = zip(groups, map(int, match.groups()), strict=True)
                labels[name] = self._label(name, dict(number))
        return labels

    def _label(self, name: str, number: dict[str, int]) -> datetime:
        clock = (number.get("H", 0), number.get("M", 0), number.get("S", 0))
        try:
            label = datetime(number["Y"], number.get("m", 1), number.get("d", 1), *clock)
        except ValueError as error:
            raise InputError(
                f"{self.folder / name}: {error}: expected a date in its name"
            ) from error
        if "j" in number and "d" not in number:
            label += timedelta(days=number["j"] - 1)
        if label.strftime(self.pattern) != name:
            raise InputError(f"{self.folder / name}: expected {self.path(label)} for {label}")
        return label


@dataclass(frozen=True, eq=False)
class RasterSeries:
    """Forcings that are bands of the same files, over the steps of a period.

    Holds no open file and not one path, so it costs next to nothing to send to a worker.

    Attributes:
        names: the forcings.
        bands: the band of each, from 1.
        missing: for each, codes that mean missing besides the files' nodata.
        layout: shape, CRS and place of every raster.
        template: where the files lie.
        period: the steps.
        shift: start of a step minus its label.
        present: bool (steps,), whether the step has a file.
    """

    names: tuple[str, ...]
    bands: tuple[int, ...]
    missing: tuple[tuple[float, ...], ...]
    layout: Layout
    template: Template
    period: Period
    shift: timedelta
    present: NDArray[np.bool_]

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the steps that have a file."""
        return self.period.times[self.present]

    @property
    def missing_steps(self) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the steps without a file."""
        return self.period.times[~self.present]

    @property
    def paths(self) -> list[Path]:
        """The files, aligned with `times`."""
        return [self._path(step) for step in np.flatnonzero(self.present).tolist()]

    @property
    def x_edges(self) -> NDArray[np.float64]:
        """Longitudes of the columns' edges [degrees], as published, in the files' order."""
        return self.layout.x_edges

    @property
    def y_edges(self) -> NDArray[np.float64]:
        """Latitudes of the rows' edges [degrees], in the files' order."""
        return self.layout.y_edges

    def read(
        self, start: int, stop: int, window: tuple[slice, slice]
    ) -> dict[str, NDArray[np.float32]]:
        """Read a window of the steps `start` to `stop` of the period, each file once.

        Args:
            start, stop: positions in `period.times`.
            window: (rows, columns) of the rasters; columns from the width on start again at the
                first column, as in `SeparableWeights.window`.

        Returns:
            For each name float32 (stop - start, rows, columns), in the source's units; NaN where
            the pixel is nodata or a missing code, or the step has no file.

        Raises:
            InputError: a file is not readable, or differs from the series in shape, CRS, number
                of bands or place.
        """
        assert 0 <= start <= stop <= self.present.size, (start, stop, self.present.size)
        paths = [self._path(step) if self.present[step] else None for step in range(start, stop)]
        block = read_block(paths, self.layout, self.bands, self.missing, window)
        return dict(zip(self.names, block, strict=True))

    def _path(self, step: int) -> Path:
        length = STEP[self.period.step]
        return self.template.path(self.period.start + step * length - self.shift)


def open_series(catalog: Catalog, names: Sequence[str]) -> RasterSeries:
    """List the files of some forcings and read the first one's header.

    Args:
        catalog: describes the forcings.
        names: forcings with the same files and time labels, such as a group of `group_forcings`.

    Raises:
        InputError: no file in the period; files whose steps overlap or do not start where the
            period's do; more steps without a file than `max_missing_steps`; a first file that is
            not a readable GeoTIFF in lat/lon or lacks a band.
    """
    sources = [catalog.forcings[name] for name in names]
    first = sources[0]
    assert all(_same_files(source) == _same_files(first) for source in sources), names
    key = f"{catalog.path}: forcings.{names[0]}.files"
    template = Template.of(catalog.resolve(first.files), key)
    period, length = catalog.period, STEP[catalog.period.step]
    shift = first.time.start_of(pd.DatetimeIndex([period.start]), length)[0] - period.start
    present = _present(template, period, shift.to_pytimedelta(), key)
    series = RasterSeries(
        names=tuple(names),
        bands=tuple(source.band for source in sources),
        missing=tuple(tuple(source.missing) for source in sources),
        layout=read_layout(
            template.path(period.start + int(present.argmax()) * length - shift.to_pytimedelta())
        ),
        template=template,
        period=period,
        shift=shift.to_pytimedelta(),
        present=present,
    )
    for name, source in zip(names, sources, strict=True):
        if source.band > series.layout.bands:
            raise InputError(
                f"{series.layout.path}: has {series.layout.bands} bands: expected band "
                f"{source.band} of forcings.{name}"
            )
        _require_few_holes(series, name, source.max_missing_steps)
    return series


def _present(template: Template, period: Period, shift: timedelta, key: str) -> NDArray[np.bool_]:
    """Which steps of the period have a file, bool (steps,)."""
    where = template.folder / template.pattern
    listed = sorted((label + shift, name) for name, label in template.listed().items())
    if not listed:
        raise InputError(f"{key}: no file matches {where}: expected one a {period.step}")
    length = STEP[period.step]
    inside = [(start, name) for start, name in listed if period.start - length < start < period.end]
    if not inside:
        raise InputError(
            f"{where}: {len(listed)} files, from {listed[0][0]} to {listed[-1][0] + length}: "
            f"expected some from {period.start} to {period.end}"
        )
    for (start, name), (later, other) in pairwise(inside):
        if later - start < length:
            raise InputError(
                f"{template.folder / other}: starts at {later}, before {name} ends at "
                f"{start + length}: expected one file a {period.step}"
            )
    present = np.zeros(len(period.times), bool)
    for start, name in inside:
        step, rest = divmod(start - period.start, length)
        if rest:
            raise InputError(
                f"{template.folder / name}: starts at {start}: expected a start of a "
                f"{period.step} that is whole {period.step}s from {period.start}"
            )
        present[step] = True
    return present


def _require_few_holes(series: RasterSeries, name: str, allowed: int) -> None:
    holes = np.flatnonzero(~series.present)
    if holes.size > allowed:
        raise InputError(
            f"{series.template.folder / series.template.pattern}: {holes.size} of "
            f"{series.present.size} steps have no file, the first {series._path(int(holes[0]))}: "
            f"expected at most {allowed} (forcings.{name}.max_missing_steps)"
        )
