"""Group the files of a folder that differ in a time or a site number alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from pipeline.errors import InputError
from pipeline.inspect.description import Description
from pipeline.inspect.inspect_file import inspect_file
from pipeline.inspect.time_template import RASTERS, time_template
from pipeline.rasters.files import ZARR_ROOT_FILES

PARTS = {
    ".dbf",
    ".shx",
    ".prj",
    ".cpg",
    ".sbn",
    ".sbx",
    ".md",
    ".yaml",
    ".yml",
    ".png",
    ".xml",
    ".jsonl",
}
# A site number in a name: four digits or more, and a few capitals, as in 03539600 or V3524010.
SITE_NUMBER = re.compile(
    r"(?<![A-Za-z0-9])(?=(?:[A-Z]*\d){4})\d*[A-Z]{0,3}\d+[A-Z]?(?![A-Za-z0-9])"
)


MOST_OPENED = 200  # files, to find their times
LEAST_ALIKE = 3  # groups that differ in numbers alone are one series
Grouped: TypeAlias = dict[str, list[tuple[Path, datetime | None]]]


@dataclass(frozen=True)
class Group:
    """Files that differ in a time or a site number alone.

    Attributes:
        pattern: relative path with {time:...} or {site}.
        paths: in the order of names.
        times: in their names, or in the first and last file; empty without.
        description: of the first.
        labels_inside: why labels are read in the files, though their names hold dates; empty if
            they are not.
    """

    pattern: str
    paths: list[Path]
    times: list[datetime]
    description: Description
    labels_inside: str = ""


def groups_of(folder: Path) -> Iterator[Group]:
    """Groups of a folder's files, each with the description of the first."""
    grouped: Grouped = {}
    for path in _files(folder):
        relative = path.relative_to(folder)
        pattern, time = time_template(relative.as_posix()) or (_site_template(relative), None)
        grouped.setdefault(pattern, []).append((path, time))
    for pattern, members in _merged(grouped).items():
        paths = [path for path, _ in members]
        times = [time for _, time in members if time is not None]
        description = _describe(paths)
        name = pattern
        if len(paths) == 1 and (description.labels or not times or description.kind != "raster"):
            name = paths[0].relative_to(folder).as_posix()
        inside, times = _labels(description, paths, times, "{time" in name)
        yield Group(name, paths, times, description, inside)


def _merged(grouped: Grouped) -> Grouped:
    """Join groups of rasters whose names differ in further numbers, which become *."""
    alike: dict[str, list[str]] = {}
    for pattern in grouped:
        if "{time" in pattern and pattern.lower().endswith(RASTERS):
            loose = re.sub(r"(\{time[^}]*\})|\d+", lambda found: found[1] or "*", pattern)
            alike.setdefault(loose, []).append(pattern)
    merged = dict(grouped)
    for loose, patterns in alike.items():
        if len(patterns) >= LEAST_ALIKE:
            members = [member for pattern in patterns for member in merged.pop(pattern)]
            merged[loose] = sorted(members, key=lambda member: member[0])
    return merged


def _labels(
    description: Description, paths: list[Path], times: list[datetime], named: bool
) -> tuple[str, list[datetime]]:
    """Why labels inside the files count, and not those in their names; and the times that count.

    Args:
        description: of the first file.
        paths: of all files.
        times: in their names.
        named: the pattern of their names holds a time.
    """
    labels = description.labels
    if not labels:
        return "", times
    last = description if len(paths) == 1 else inspect_file(paths[-1])
    if len(labels) == 1 < len(paths) and len(set(times)) < len(times):
        between = _spread(labels[0], paths, last.labels)
        return f"{labels[0]} in {paths[0].name}, and names do not tell all of it", between
    if len(labels) == 1 and len(paths) == len(times) and last.labels:
        shift = labels[0] - times[0]
        if shift == timedelta(0) == last.labels[0] - times[-1] or not named:
            return "", times if named else labels
        return (
            f"{labels[0]} in {paths[0].name}",
            [time + shift for time in times],
        )
    said = f"{len(labels)} in {paths[0].name}" if named else ""
    return said, sorted({*labels, *last.labels})


def _spread(first: datetime, paths: list[Path], last: list[datetime]) -> list[datetime]:
    """Times of files with one time each, without opening all if they are evenly spaced."""
    second = inspect_file(paths[1]).labels
    step = second[0] - first if len(second) == len(last) == 1 else timedelta(0)
    if step > timedelta(0) and first + (len(paths) - 1) * step == last[0]:
        return [first + k * step for k in range(len(paths))]
    opened = [label for path in paths[:MOST_OPENED] for label in inspect_file(path).labels]
    return sorted({*opened, *last})


def _site_template(path: Path) -> str:
    """A relative path with the site number in its name as {site}."""
    return (path.parent / SITE_NUMBER.sub("{site}", path.name, count=1)).as_posix()


def _describe(paths: list[Path]) -> Description:
    """The description of the first file.

    Of several, the first that does not look like flow directions, as a little rain may.
    """
    tried = [paths[0]] if len(paths) == 1 else [paths[0], paths[len(paths) // 2], paths[-1]]
    for path in tried:
        try:
            description = inspect_file(path)
        except InputError as error:
            description = Description(path, "unknown")
            description.refuse(error)
        if description.kind != "directions":
            break
    return description


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder and the folders in it, in order; a Zarr store is one."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in PARTS:
            continue
        store = any((path / name).exists() for name in ZARR_ROOT_FILES)
        if path.is_file() or store or not path.exists():  # a link to nothing is named as such
            yield path
        elif path.is_dir() and not folder.resolve().is_relative_to(path.resolve()):
            yield from _files(path)
