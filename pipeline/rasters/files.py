"""The files of a raster series: which there are, and which interval of time each raster is of.

The period is cut into intervals of the source's own step. Every raster has to be one of them
exactly, and there is at most one of each.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.raster_source import TIME_FIELD
from pipeline.catalog.time import Period
from pipeline.errors import InputError
from pipeline.storage import Location, can_list, find_objects, join, list_files

# Directives of a time field and the digits that they stand for: each has a fixed width, so that a
# label has one spelling and a path can be made from its time.
DIGITS = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}
WHOLE_DATES = ({"Y", "m", "d"}, {"Y", "j"})

# Files of which a Zarr store has at least one at its root.
ZARR_ROOT_FILES = ("zarr.json", ".zmetadata", ".zgroup")

# A file, and the raster's position among its rasters; ONLY where it has to be alone in it.
Place: TypeAlias = tuple[Location, int]
ONLY = -1


class Files(Protocol):
    """Where the raster of each interval is."""

    def place(self, interval: int) -> Place:
        """Of an interval that has a raster."""


@dataclass(frozen=True)
class Template:
    """A path or URL with a time in it, and anything where it says *.

    Attributes:
        folder: the deepest folder without either in its name.
        pattern: path below it, with strftime directives.
        zarr: whether each path is a Zarr store, which is a folder.
    """

    folder: Location
    pattern: str
    zarr: bool = False

    @classmethod
    def of(cls, path: Location, key: str, zarr: bool = False) -> Template:
        """Split a path with at most one {time:...} field; `key` names it in errors.

        Raises:
            InputError: a directive that is not supported.
        """
        before, *rest = TIME_FIELD.split(str(path))
        field, after = rest or ("", "")
        if not set(re.findall("%(.?)", field)) <= DIGITS.keys():
            raise InputError(f"{key}: time field {field!r}: expected one made of {KNOWN}")
        pattern = before.replace("%", "%%") + field + after.replace("%", "%%")
        fixed = re.match(r"[^*%]*(?:%%[^*%]*)*", pattern)
        assert fixed
        cut = fixed[0].rpartition("/")[0]
        folder = cut.replace("%%", "%")
        return cls(
            Path(folder or "/") if isinstance(path, Path) else folder, pattern[len(cut) + 1 :], zarr
        )

    @property
    def dated(self) -> bool:
        """Whether a name holds a whole date."""
        found = set(re.findall("%([^%])", self.pattern.replace("%%", "")))
        return any(date <= found for date in WHOLE_DATES)

    @property
    def where(self) -> Location:
        """For messages."""
        return join(self.folder, self.pattern)

    def path(self, label: datetime) -> Location:
        """The file of a time label; there is no * in the pattern."""
        return join(self.folder, label.strftime(self.pattern))

    def names(self, labels: pd.DatetimeIndex) -> dict[str, dict[str, int]]:
        """Files that exist, by path below `folder`, and the numbers of their directives.

        Args:
            labels: of the files to ask for, where the folder cannot be listed.

        Raises:
            InputError: a * where the folder cannot be listed.
            InputError, RunError: as `pipeline.storage.reporting_access`.
        """
        shape = wild = ""
        groups = []
        for literal, letter in re.findall("([^%*]*)(?:(%.|[*])|$)", self.pattern):
            shape += re.escape(literal)
            wild += glob.escape(literal)
            if letter == "%%":
                shape, wild = shape + "%", wild + "%"
            elif letter == "*":
                shape, wild = shape + "[^/]*", wild + "*"
            elif letter:
                shape, wild = shape + rf"(\d{{{DIGITS[letter[1]]}}})", wild + "*"
                groups.append(letter[1])
        found = {}
        names: Iterable[str]
        if isinstance(self.folder, Path):
            names = glob.iglob(wild, root_dir=self.folder)
        elif can_list(self.folder) and not self.zarr:
            names = list_files(self.folder)
        elif "*" in self.pattern:
            kind = "Zarr stores" if self.zarr else "a web server's files"
            raise InputError(f"{self.where}: {kind} are not listed: expected no * in their names")
        elif self.zarr:  # listing it would list all chunks
            stores = dict.fromkeys(labels.strftime(self.pattern))
            wanted = [f"{store}/{name}" for store in stores for name in ZARR_ROOT_FILES]
            names = {name.rpartition("/")[0] for name in find_objects(self.folder, wanted)}
        else:
            names = find_objects(self.folder, dict.fromkeys(labels.strftime(self.pattern)))
        for name in sorted(names):
            if match := re.fullmatch(shape, name):
                found[name] = dict(zip(groups, map(int, match.groups()), strict=True))
        return found

    def labels(self, expected: pd.DatetimeIndex) -> dict[str, datetime]:
        """Files that exist and their labels, by path below `folder`.

        Raises:
            InputError: as `names`; a file whose label is not a date, or contradicts itself.
        """
        return {name: self._label(name, number) for name, number in self.names(expected).items()}

    def _label(self, name: str, number: dict[str, int]) -> datetime:
        clock = (number.get("H", 0), number.get("M", 0), number.get("S", 0))
        try:
            label = datetime(number["Y"], number.get("m", 1), number.get("d", 1), *clock)
        except ValueError as error:
            raise InputError(
                f"{join(self.folder, name)}: {error}: expected a date in its name"
            ) from error
        if "j" in number and "d" not in number:
            label += timedelta(days=number["j"] - 1)
        if "*" not in self.pattern and label.strftime(self.pattern) != name:
            where = join(self.folder, name)
            raise InputError(f"{where}: expected {self.path(label)} for {label}")
        return label


def in_words(step: timedelta) -> str:
    """`1 day`, `3 h`, `30 min`."""
    for length, unit in ((timedelta(days=1), "day"), (timedelta(hours=1), "h")):
        if step % length == timedelta(0):
            return f"{step // length} {unit}"
    return f"{step.total_seconds() / 60:g} min"


KNOWN = " ".join(f"%{letter}" for letter in DIGITS)


@dataclass(frozen=True)
class Named:
    """Files whose names follow from the time; not one of them is kept.

    Attributes:
        template: their path.
        first: label of the period's first interval.
        step: from one label to the next.
    """

    template: Template
    first: datetime
    step: timedelta

    def place(self, interval: int) -> Place:
        return self.template.path(self.first + interval * self.step), ONLY


@dataclass(frozen=True, eq=False)
class Listed:
    """Files whose names say too little: a list of them.

    Attributes:
        paths: the files.
        file, position: int32 (intervals,): which of `paths`, and which of its rasters.
    """

    paths: tuple[Location, ...]
    file: NDArray[np.int32]
    position: NDArray[np.int32]

    def place(self, interval: int) -> Place:
        return self.paths[self.file[interval]], int(self.position[interval])


@dataclass(frozen=True)
class Intervals:
    """The period cut into the source's own steps.

    Attributes:
        period: of the store.
        step: length of an interval, a whole fraction of the store's step.
        shift: start of an interval minus its label.
    """

    period: Period
    step: timedelta
    shift: timedelta

    @property
    def count(self) -> int:
        """Intervals in the period."""
        return (self.period.end - self.period.start) // self.step

    @property
    def times(self) -> pd.DatetimeIndex:
        """Their starts, naive UTC."""
        period = self.period
        return pd.date_range(period.start, period.end, freq=self.step, inclusive="left", unit="ns")

    def named(self, template: Template, key: str) -> tuple[Files, NDArray[np.bool_]]:
        """Files that name the interval of their one raster, and which intervals have one.

        Raises:
            InputError: as `_place`; no file, or names without a whole date.
        """
        if not template.dated:
            raise InputError(
                f"{key}: {template.pattern!r} holds no whole date: expected one made of {KNOWN}"
            )
        labels = template.labels(self.times - self.shift)
        paths = [join(template.folder, name) for name in labels]
        if not paths:
            raise InputError(
                f"{key}: no file matches {template.where}: expected one every {in_words(self.step)}"
            )
        at = self._place(
            [(path, ONLY) for path in paths],
            [label + self.shift for label in labels.values()],
            str(template.where),
        )
        if "*" in template.pattern:
            return self._listed(paths, at)
        files = Named(template, self.period.start - self.shift, self.step)
        return files, self._present(at)

    def dated_inside(
        self, paths: list[Location], read_times: Callable[[Location], Iterable[datetime]]
    ) -> tuple[Files, NDArray[np.bool_]]:
        """Files that hold the labels of their rasters, and which intervals have one.

        Raises:
            InputError: as `_place`, and as `read_times`.
        """
        places: list[Place] = []
        starts: list[datetime] = []
        for path in paths:
            labels = list(read_times(path))
            places += [(path, position) for position in range(len(labels))]
            starts += [label + self.shift for label in labels]
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        return self._listed(paths, self._place(places, starts, where))

    def _listed(
        self, paths: list[Location], at: dict[int, Place]
    ) -> tuple[Files, NDArray[np.bool_]]:
        needed = sorted({path for path, _ in at.values()}, key=str)
        number = {path: k for k, path in enumerate(needed)}
        file, position = (np.full(self.count, -1, np.int32) for _ in range(2))
        for interval, (path, where) in at.items():
            file[interval], position[interval] = number[path], where
        return Listed(tuple(needed), file, position), self._present(at)

    def _present(self, at: Iterable[int]) -> NDArray[np.bool_]:
        present = np.zeros(self.count, bool)
        present[list(at)] = True
        return present

    def _place(self, places: list[Place], starts: list[datetime], where: str) -> dict[int, Place]:
        """The place of each interval of the period that has a raster.

        Raises:
            InputError: no raster in the period; rasters that overlap or are off the intervals.
        """
        period, step = self.period, self.step
        ordered = sorted(zip(starts, places, strict=True), key=lambda pair: (pair[0], str(pair[1])))
        inside = [pair for pair in ordered if period.start - step < pair[0] < period.end]
        if not inside:
            held = (
                f"{len(ordered)} rasters, from {ordered[0][0]} to {ordered[-1][0] + step}"
                if ordered
                else "no raster"
            )
            raise InputError(f"{where}: {held}: expected some from {period.start} to {period.end}")
        at: dict[int, Place] = {}
        last: tuple[datetime, Place] | None = None
        for start, place in inside:
            if last and start - last[0] < step:
                raise InputError(
                    f"{place[0]}: starts at {start}, before {Path(last[1][0]).name} ends at "
                    f"{last[0] + step}: expected one raster every {in_words(step)}"
                )
            number, rest = divmod(start - period.start, step)
            if rest:
                raise InputError(
                    f"{place[0]}: starts at {start}: expected a start that is whole steps "
                    f"of {in_words(step)} from {period.start}"
                )
            at[number] = place
            last = start, place
        return at
