"""Find the files of a raster series, and assign each raster to an interval of the period.

The period is divided into intervals of the source's own step. Each raster must cover one interval
exactly, and each interval has at most one raster.
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

# Digits of each directive of a time field: their width is fixed, so that a label has one spelling
# and a time gives one path.
DIGITS = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}
WHOLE_DATES = ({"Y", "m", "d"}, {"Y", "j"})

# Files of which a Zarr store has at least one at its root.
ZARR_ROOT_FILES = ("zarr.json", ".zmetadata", ".zgroup")

# A file and the raster's position in it; ONLY if the file must hold one raster.
Place: TypeAlias = tuple[Location, int]
ONLY = -1


class Files(Protocol):
    """The place of each interval's raster."""

    def place(self, interval: int) -> Place:
        """The place of the raster of an interval that has one."""


@dataclass(frozen=True)
class Template:
    """A path or URL with time fields, and * for any text.

    Attributes:
        folder: the deepest folder without a time field or *.
        pattern: relative path in it, with strftime directives.
        zarr: each path is a Zarr store, which is a folder.
    """

    folder: Location
    pattern: str
    zarr: bool = False

    @classmethod
    def of(cls, path: Location, key: str, zarr: bool = False) -> Template:
        """Split a path with any number of {time:...} fields; `key` names it in messages.

        Raises:
            InputError: a directive is not supported.
        """
        texts = TIME_FIELD.split(str(path))  # outside and inside of fields in turn
        for field in texts[1::2]:
            if not set(re.findall("%(.?)", field)) <= DIGITS.keys():
                raise InputError(f"{key}: time field {field!r}: expected one made of {KNOWN}")
        texts[::2] = [text.replace("%", "%%") for text in texts[::2]]
        pattern = "".join(texts)
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
        """Location with directives, for messages."""
        return join(self.folder, self.pattern)

    def path(self, label: datetime) -> Location:
        """The file of a time label, for a pattern without *."""
        return join(self.folder, label.strftime(self.pattern))

    def names(self, labels: pd.DatetimeIndex) -> dict[str, dict[str, int]]:
        """Existing files, by relative path, and the numbers of their directives.

        Args:
            labels: of the files to request, if the folder cannot be listed.

        Raises:
            InputError: a * in a pattern whose folder cannot be listed; a name holds two times.
            InputError, RunError: as `pipeline.storage.reporting_access`.
        """
        regex = wild = ""
        groups = []
        for literal, letter in re.findall("([^%*]*)(?:(%.|[*])|$)", self.pattern):
            regex += re.escape(literal)
            wild += glob.escape(literal)
            if letter == "%%":
                regex, wild = regex + "%", wild + "%"
            elif letter == "*":
                regex, wild = regex + "[^/]*", wild + "*"
            elif letter:
                regex, wild = regex + rf"(\d{{{DIGITS[letter[1]]}}})", wild + "*"
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
            if match := re.fullmatch(regex, name):
                held = {
                    (letter, int(digits))
                    for letter, digits in zip(groups, match.groups(), strict=True)
                }
                found[name] = dict(held)
                if len(held) > len(found[name]):
                    raise InputError(
                        f"{join(self.folder, name)}: two times in its name, by {self.pattern!r}: "
                        "expected the same time in all fields; * stands for any text"
                    )
        return found

    def labels(self, expected: pd.DatetimeIndex) -> dict[str, datetime]:
        """Labels of the existing files, by relative path.

        Raises:
            InputError: as `names`; a label is no date, or contradicts itself.
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


def format_duration(step: timedelta) -> str:
    """Format a duration as `1 day`, `3 h` or `30 min`."""
    for length, unit in ((timedelta(days=1), "day"), (timedelta(hours=1), "h")):
        if step % length == timedelta(0):
            return f"{step // length} {unit}"
    return f"{step.total_seconds() / 60:g} min"


KNOWN = " ".join(f"%{letter}" for letter in DIGITS)


@dataclass(frozen=True)
class Named:
    """Files whose names follow from the time, so that none is stored.

    Attributes:
        template: of their paths.
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
    """A list of files, whose names do not identify their intervals.

    Attributes:
        paths: the files.
        file, position: index in `paths`, and of the raster in the file, int32 (intervals,).
    """

    paths: tuple[Location, ...]
    file: NDArray[np.int32]
    position: NDArray[np.int32]

    def place(self, interval: int) -> Place:
        return self.paths[self.file[interval]], int(self.position[interval])


@dataclass(frozen=True)
class Intervals:
    """The period divided into the source's own steps.

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
        """Number of intervals in the period."""
        return (self.period.end - self.period.start) // self.step

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts of the intervals, naive UTC."""
        period = self.period
        return pd.date_range(period.start, period.end, freq=self.step, inclusive="left", unit="ns")

    def named(self, template: Template, key: str) -> tuple[Files, NDArray[np.bool_]]:
        """Find files by the labels in their names.

        Returns:
            The files, and whether each interval has a raster, bool (intervals,).

        Raises:
            InputError: as `_assign`; no file matches, or names lack a whole date.
        """
        if not template.dated:
            raise InputError(
                f"{key}: {template.pattern!r} holds no whole date: expected one made of {KNOWN}"
            )
        labels = template.labels(self.times - self.shift)
        paths = [join(template.folder, name) for name in labels]
        if not paths:
            raise InputError(
                f"{key}: no file matches {template.where}: expected one every "
                f"{format_duration(self.step)}"
            )
        at = self._assign(
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
        """Find rasters by the labels inside their files.

        Args:
            paths: of the files.
            read_times: reads the labels of a file's rasters.

        Returns:
            The files, and whether each interval has a raster, bool (intervals,).

        Raises:
            InputError: as `_assign`, and as `read_times`.
        """
        places: list[Place] = []
        starts: list[datetime] = []
        for path in paths:
            labels = list(read_times(path))
            places += [(path, position) for position in range(len(labels))]
            starts += [label + self.shift for label in labels]
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        return self._listed(paths, self._assign(places, starts, where))

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

    def _assign(self, places: list[Place], starts: list[datetime], where: str) -> dict[int, Place]:
        """Assign rasters to the intervals of the period.

        Returns:
            The place of the raster of each interval that has one.

        Raises:
            InputError: no raster in the period; rasters overlap, or do not start at an interval.
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
                    f"{last[0] + step}: expected one raster every {format_duration(step)}"
                )
            number, rest = divmod(start - period.start, step)
            if rest:
                raise InputError(
                    f"{place[0]}: starts at {start}: expected a whole number "
                    f"of steps of {format_duration(step)} from {period.start}"
                )
            at[number] = place
            last = start, place
        return at
