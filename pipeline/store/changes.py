"""Find out what a changed catalog changes in a store, and refuse what it cannot."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
import zarr
from pydantic import ValidationError

from pipeline.catalog.models import Catalog
from pipeline.catalog.time import Period
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.storage import Location
from pipeline.store.root import GRID, TABLES, attributes_of, read_marks
from pipeline.store.sites import read_sites
from pipeline.store.spec import StoreSpec

LOG = get_logger(__name__)
ADVICE = "give another --store, or remove this one"
# Keys of a forcing that change no value.
WITHOUT_EFFECT = ("max_invalid", "max_negative", "max_missing_steps", "product")
# Parts of a catalog that change nothing in a store.
SILENT = ("root", "fetch", "versions", "checks")
FIXED = ("period.start", "period.step", "block_steps")
TABLE_PARTS = {
    "gauges": "the records of all gauges are read again",
    "watersheds": "all watersheds are placed again",
    "terrain": "the flow distances of all watersheds are traced again",
}


@dataclass(frozen=True)
class Changes:
    """What is different from the catalog and the files that a store was written from.

    Attributes:
        lines: what a run will do about it, a line each; empty if nothing has to be confirmed.
        steps_before: number of steps before an extension of the period; None without one.
    """

    lines: list[str] = field(default_factory=list)
    steps_before: int | None = None


def find_changes(
    path: Location, root: zarr.Group, spec: StoreSpec, expected: Mapping[str, Any]
) -> Changes:
    """Find what differs between a store and its specification; rasters are not compared.

    Nothing has to be confirmed that changes no finished values: a period that ends later, other
    limits, another place of the files, or what belongs to tables or forcings not yet written.

    Args:
        path, root: of the store.
        spec: of the store as it is to be.
        expected: the root's attributes as they would be written now.

    Raises:
        InputError: the period, the blocks or the grid differ, which all values depend on.
    """
    found = attributes_of(root)
    stored, current = _stored_catalog(found), spec.catalog.model_dump(mode="json")
    steps_before = _steps_before(path, stored, spec, current)
    lines = []
    for key, old, new in _differences(stored, current):
        if key == "period.end" or key.split(".")[0] in (*SILENT, "forcings", "bounds"):
            continue
        if key in FIXED:
            if key == "block_steps" and new in (None, spec.block_steps):
                continue
            raise _refusal(path, key, old, new)
        effect = TABLE_PARTS.get(key.split(".")[0])
        if not effect:
            lines.append(f"{key}: {old!r} becomes {new!r}")
        elif TABLES in found:
            lines.append(f"{key}: {old!r} becomes {new!r}: {effect}")
    if found[GRID] != expected[GRID]:
        raise InputError(
            f"{path}: holds the region {found[GRID]} (west, north, columns, rows, in cells): "
            f"expected {expected[GRID]}, where the catalog's bounds or watersheds reach; {ADVICE}"
        )
    marks = read_marks(root)
    begun = {name for name, stamps in marks.items() if stamps.any()}
    lines += _forcing_lines(stored["forcings"], current["forcings"], begun)
    if TABLES in found:
        lines += _table_lines(root, spec, found, expected, steps_before is not None)
    lines += _version_lines(path, found["provenance"], expected["provenance"], root)
    return Changes(lines, steps_before)


def _stored_catalog(found: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog that a store was written from, with all defaults; as written if it is not valid
    any more."""
    text: dict[str, Any] = yaml.safe_load(found["provenance"]["catalog"]["text"])
    try:
        return Catalog.model_validate(text).model_dump(mode="json")
    except ValidationError:
        return text


def _refusal(path: Location, key: str, old: object, new: object) -> InputError:
    return InputError(
        f"{path}: written from another catalog: {key} is {old!r} there: expected {new!r}; {ADVICE}"
    )


def _steps_before(
    path: Location, stored: Mapping[str, Any], spec: StoreSpec, current: Mapping[str, Any]
) -> int | None:
    """Number of steps before an extension of the period; None without one."""
    before, now = Period.model_validate(stored["period"]), spec.catalog.period
    if now.end < before.end:
        raise _refusal(path, "period.end", stored["period"]["end"], current["period"]["end"])
    return len(before.times) if now.end > before.end else None


def _forcing_lines(
    stored: Mapping[str, Any], current: Mapping[str, Any], begun: Container[str]
) -> Iterator[str]:
    """Say which forcings are added, dropped or, if some of their blocks are done, changed."""
    for name in sorted(stored.keys() | current.keys()):
        if name not in stored:
            yield f"forcings.{name} is new: all its blocks are done"
        elif name not in current:
            yield f"forcings.{name} is no longer there: its values are removed"
        elif name in begun:
            for key, old, new in _differences(stored[name], current[name]):
                if key not in WITHOUT_EFFECT:
                    yield (
                        f"forcings.{name}.{key}: {old!r} becomes {new!r}: all its blocks are done "
                        "again"
                    )


def _table_lines(
    root: zarr.Group,
    spec: StoreSpec,
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    extended: bool,
) -> Iterator[str]:
    """Say which watersheds, records and terrain have changed."""
    changed = [
        part
        for part in TABLE_PARTS
        if found["provenance"][part]["sha256"] != expected["provenance"][part]["sha256"]
    ]
    delineated = spec.watersheds[0].outlet is not None  # on the terrain
    if "watersheds" in changed or delineated:
        table = read_sites(root)
        before = dict(zip(table.site_no, table.numbers["drainage_area"].tolist(), strict=True))
        now = {one.site_no: one.area for one in spec.watersheds}
        both = before.keys() & now.keys()
        for sites, what in (
            (now.keys() - before.keys(), "added"),
            (before.keys() - now.keys(), "dropped"),
            ({site for site in both if before[site] != now[site]}, "of another polygon"),
        ):
            if sites:
                few = ", ".join(sorted(sites)[:8]) + (", ..." if len(sites) > 8 else "")
                yield f"{len(sites)} watersheds {what}: {few}"
    for part in changed:
        if not (part == "gauges" and extended):  # records grow with the period
            yield f"files of {part} have changed: {TABLE_PARTS[part]}"


def _version_lines(
    path: Location, found: Mapping[str, Any], expected: Mapping[str, Any], root: zarr.Group
) -> Iterator[str]:
    """Say which packages had another version; one that changes only its last number is logged."""
    if all(stamps.all() for stamps in read_marks(root).values()) and TABLES in root.attrs:
        return
    for package, new in expected["versions"].items():
        old = found["versions"].get(package)
        if old == new:
            continue
        text = f"the store was begun with {package} {old}, and this is {new}"
        if old is not None and old.split(".")[:2] == new.split(".")[:2]:
            LOG.warning("%s: %s", path, text)
        else:
            yield f"{text}: what is left to do may differ by rounding"


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two nested mappings differ: dotted key, and both values (None if absent)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in sorted(old.keys() | new.keys()):
            below = f"{key}.{part}" if key else str(part)
            yield from _differences(old.get(part), new.get(part), below)
    elif old != new:
        yield key, old, new
