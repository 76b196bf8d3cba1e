"""Draft a catalog from what the files in a folder are found to hold.

Each guess has its reason as a comment, and what no file tells is said to be open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml

from pipeline.errors import InputError
from pipeline.gauges.site_numbers import site_number
from pipeline.inspect.bands import gdal_path
from pipeline.inspect.description import Description, time_template
from pipeline.inspect.inspect_file import inspect_file
from pipeline.rasters.files import ZARR_ROOT_FILES, format_duration

PARTS = {".dbf", ".shx", ".prj", ".cpg", ".sbn", ".sbx", ".md", ".yaml", ".yml", ".png", ".xml"}
SITE_DIGITS = re.compile(r"(?<!\d)\d{5,15}(?!\d)")
SAMPLED = 24  # rasters of a series, to tell rain from temperature
RAIN = ("forcings", "precipitation")
OPEN = "OPEN"  # begins a comment about what no file tells
RAIN_TEXT = re.compile(r"precip|rain|\bppt\b|\btp\b", re.IGNORECASE)
WARMTH_TEXT = re.compile(r"temp|\bt2m\b|\btas\b|\btmean\b", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """A line of a catalog: a key below others, its value (None for a mapping) and a comment."""

    keys: tuple[str, ...]
    value: Any
    reason: str = ""


@dataclass(frozen=True)
class Group:
    """Files that differ in a time or a site number alone.

    Attributes:
        pattern: relative path with {time:...} or {site}.
        paths: in the order of names.
        times: in their names, or in the first and last file; empty without.
        description: of the first.
    """

    pattern: str
    paths: list[Path]
    times: list[datetime]
    description: Description


def draft_catalog(folder: Path, out: Path) -> str:
    """Draft the catalog of a folder as YAML.

    Args:
        folder: with rasters, records, polygons and terrain, in folders of any names.
        out: where the catalog will be, from which `root` is counted.

    Raises:
        InputError: there is no such folder, or nothing in it is known.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder: expected one with raw data")
    groups = list(_groups(folder))
    found = {kind: [one for one in groups if one.description.kind == kind] for kind in KINDS}
    placed = [one for one in found["raster"] if "grid" in dict(one.description.facts)]
    series = sorted((one for one in placed if one.times), key=lambda one: -len(one.times))
    still = [one for one in placed if not one.times and "variable" not in one.description.keys]
    lines = [Line(("title",), folder.resolve().name, "the folder's name")]
    root = os.path.relpath(folder.resolve(), out.resolve().parent)
    lines.append(Line(("root",), root))
    lines += [*_period(series), *_forcings(series)]
    records = found["record"]
    lines += _gauges(records)
    lines += _watersheds(found["polygons"], records)
    lines += _terrain(found["directions"], still)
    head = [f"# Drafted by domst init. Check every line; what is {OPEN}, no file tells."]
    head += [f"# not used: {one.pattern}" for one in found["unknown"]]
    head += [
        f"# {one.pattern}: {label}: {text}"
        for one in groups
        for label, text in one.description.facts
        if label in ("refused", "looks missing") and one.description.kind != "unknown"
    ]
    return "\n".join([*head, *_yaml(lines)]) + "\n"


KINDS = ("raster", "directions", "record", "polygons", "unknown")


def _groups(folder: Path) -> Iterator[Group]:
    """Groups of a folder's files, each with the description of the first."""
    grouped: dict[str, list[tuple[Path, datetime | None]]] = {}
    for path in _files(folder):
        above = path.relative_to(folder).parent
        dated = time_template(path.name)
        name = dated[0] if dated else SITE_DIGITS.sub("{site}", path.name, count=1)
        time = dated[1] if dated else None
        grouped.setdefault((above / name).as_posix(), []).append((path, time))
    for pattern, members in grouped.items():
        paths = [path for path, _ in members]
        times = [time for _, time in members if time is not None]
        try:
            description = inspect_file(paths[0])
        except InputError as error:
            description = Description(paths[0], "unknown")
            description.refuse(error)
        if len(description.labels) > 1:
            last = description if len(paths) == 1 else inspect_file(paths[-1])
            times = sorted({*description.labels, *last.labels})
        if len(paths) == 1 and (description.labels or not times or description.kind != "raster"):
            yield Group(paths[0].relative_to(folder).as_posix(), paths, times, description)
        else:
            yield Group(pattern, paths, times, description)


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder and the folders in it, in order; a Zarr store is one."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in PARTS:
            continue
        if path.is_file() or any((path / name).exists() for name in ZARR_ROOT_FILES):
            yield path
        else:
            yield from _files(path)


def _period(series: Sequence[Group]) -> Iterator[Line]:
    """The store's time axis, from the times in the names of the longest series."""
    if not series:
        yield Line(("period", "step"), "day", f"{OPEN}: no series of rasters with dates in names")
        yield Line(("period", "start"), "2000-01-01", OPEN)
        yield Line(("period", "end"), "2000-01-02", OPEN)
        return
    longest = max(series, key=lambda one: len(one.times))
    times = sorted(longest.times)
    gaps = np.diff(np.array(times, "M8[s]"))
    step = timedelta(seconds=int(np.median(gaps).astype(int))) if gaps.size else timedelta(days=1)
    daily = step >= timedelta(days=1)
    length = timedelta(days=1) if daily else timedelta(hours=1)
    gap = ", with gaps" if gaps.size and gaps.max() > gaps.min() else ""
    said = f"{len(times)} times of {longest.pattern}{gap}"
    apart = f"rasters are {format_duration(step)} apart"
    yield Line(("period", "step"), "day" if daily else "hour", apart)
    yield Line(("period", "start"), f"{times[0].isoformat()}Z", f"first of {said}")
    yield Line(("period", "end"), f"{(times[-1] + length).isoformat()}Z", "a step after the last")


def _forcings(series: Sequence[Group]) -> Iterator[Line]:
    """Rain and temperature among the bands and variables of the series."""
    found = [(group, *one) for group in series for one in _parts(group)]
    if not found:
        yield Line((*RAIN, "driver"), "geotiff", f"{OPEN}: no series of rasters with times found")
        yield Line((*RAIN, "files"), "rain/{time:%Y%m%d}.tif", OPEN)
        yield Line((*RAIN, "units"), "mm", OPEN)
    if found and all(name != "precipitation" for _, _, name, _ in found):
        group, part, _, reason = found[0]
        found[0] = (group, part, "precipitation", f"{OPEN}: is it rain? {reason}")
    named: set[str] = set()
    for group, part, name, reason in found:
        if name in named:
            continue
        named.add(name)
        at, keys = ("forcings", name), group.description.keys
        yield Line((*at, "driver"), keys["driver"], group.description.facts[0][1])
        yield Line((*at, "files"), group.pattern, f"{len(group.paths)} files")
        yield Line((*at, part[0]), part[1], reason)
        units, plain = keys.get("units"), "mm" if name == "precipitation" else "degC"
        others = "0.1 mm, inch, kg m-2" if plain == "mm" else "K, degF"
        why = "the file says so" if units else f"{OPEN}: guessed by the values, or {others}"
        yield Line((*at, "units"), units or plain, why)
        yield Line((*at, "time"), *_label(group.description))


def _label(description: Description) -> tuple[dict[str, str], str]:
    """What part of its interval a label names, and why."""
    label = description.keys.get("label")
    if label is None:
        day = "offset: how far the day begins from 00:00 UTC"
        return {"label": "start"}, f"{OPEN}: or label: end; {day}"
    if label == "middle":
        half = description.keys["interval"].total_seconds() / 7200
        return {"label": "start", "offset": f"-{half:g}h"}, "the middle of the file's bounds"
    return {"label": label}, "by the file's bounds"


Part = tuple[tuple[str, Any], str, str]  # key and value that name it; the forcing; the reason


def _parts(group: Group) -> list[Part]:
    """The bands, or the described variable, that may be forcings."""
    keys = group.description.keys
    if keys["driver"] in ("geotiff", "gdal"):
        return [(("band", band), name, reason) for band, name, reason in _bands(group)]
    if "variable" not in keys:
        return [(("select", {}), "precipitation", f"{OPEN}: which messages of the file")]
    warm = bool(WARMTH_TEXT.search(keys["variable"]))
    name = "temperature" if warm else "precipitation"
    return [(("variable", keys["variable"]), name, "the variable's name")]


def _bands(group: Group) -> Iterator[tuple[int, str, str]]:
    """Bands of rain and of temperature: by their descriptions, or else by their values."""
    at = np.unique(np.linspace(0, len(group.paths) - 1, SAMPLED).astype(int))
    planes: dict[int, list[np.ndarray]] = {}
    texts: Sequence[str | None] = ()
    for path in (group.paths[k] for k in at):
        with rasterio.open(gdal_path(path)) as file:
            texts = file.descriptions
            for band in range(1, file.count + 1):
                planes.setdefault(band, []).append(file.read(band, masked=True).compressed())
    found = []
    for band, parts in planes.items():
        values, text = np.concatenate(parts), texts[band - 1] or ""
        dry = float((values == 0).mean()) if values.size else 0.0
        said = f"{values.min():.4g} to {values.max():.4g}, {dry:.0%} zeros" if values.size else ""
        if RAIN_TEXT.search(text) or WARMTH_TEXT.search(text):
            name = "precipitation" if RAIN_TEXT.search(text) else "temperature"
            found.append((band, name, f"described as {text!r}"))
        elif values.size and values.min() >= 0 and dry > 0.05:
            found.append((band, "precipitation", f"never below zero: {said}"))
        elif values.size and values.min() > -90 and values.max() < 60:
            found.append((band, "temperature", f"below zero or never zero: {said}"))
    yield from sorted(found, key=lambda one: one[1])


def _gauges(records: Sequence[Group]) -> Iterator[Line]:
    """The records: of several groups the one with the most files."""
    if not records:
        yield Line(("gauges", "format"), "csv", f"{OPEN}: no record found")
        yield Line(("gauges", "files"), "gauges/{site}.csv", OPEN)
        yield Line(("gauges", "units"), "m3/s", OPEN)
        return
    group = max(records, key=lambda one: len(one.paths))
    keys, facts = group.description.keys, dict(group.description.facts)
    yield Line(("gauges", "format"), keys.get("format", "csv"), facts["format"])
    others = [one.pattern for one in records if one is not group]
    yield Line(
        ("gauges", "files"), group.pattern, f"or {', '.join(others)}" if others else "the record"
    )
    stated = keys.get("format") != "csv" or "states" in facts["units"]
    why = "stated" if stated else f"{OPEN}: the file states none; ft3/s, or none of these"
    yield Line(("gauges", "units"), keys.get("units", "m3/s"), why)
    reasons = {
        "values": "by the times",
        "time_zone": f"{OPEN}: an IANA name",
        "time_format": facts.get("time", ""),
        "missing": f"{OPEN}: {facts.get('looks missing', '')}",
    }
    for key, value in keys.items():
        if key not in ("format", "files", "units", "columns") and value != "daily":
            yield Line(("gauges", key), value, reasons.get(key, "as the text is"))
    if keys.get("values", "daily") == "daily":
        midnight = f"{OPEN}: offset: how far midnight at the gauge is from 00:00 UTC"
        yield Line(("gauges", "time"), {"label": "start"}, midnight)
    if "columns" in keys:
        yield Line(("gauges", "columns"), keys["columns"], "by names and values")


def _watersheds(polygons: Sequence[Group], records: Sequence[Group]) -> Iterator[Line]:
    """The polygons, and the sites that have records."""
    if not polygons:
        yield Line(("watersheds", "file"), "basins.gpkg", f"{OPEN}: no polygons found")
        yield Line(("watersheds", "site_field"), "SITE_NO", OPEN)
        return
    group = polygons[0]
    keys, facts = group.description.keys, dict(group.description.facts)
    others = f", or {', '.join(one.pattern for one in polygons[1:])}" if polygons[1:] else ""
    yield Line(("watersheds", "file"), group.pattern, f"{facts['features']}{others}")
    yield Line(("watersheds", "site_field"), keys.get("site_field", "?"), facts["site_field"])
    for key in ("name_field", "area_field", "area_units"):
        if key in keys:
            yield Line(("watersheds", key), keys[key], facts.get(key, ""))
    features = int(facts["features"].partition(":")[0])
    sites = _sites(records)
    if sites and len(sites) < features:
        yield Line(("watersheds", "sites"), sites, f"of {features}, those with a record")


def _sites(records: Sequence[Group]) -> list[str]:
    """Site numbers of the records, by their files' names or columns; empty if they are many."""
    if not records:
        return []
    group = max(records, key=lambda one: len(one.paths))
    if "{site}" in group.pattern:
        numbers = [SITE_DIGITS.search(path.name) for path in group.paths]
        return [number[0] for number in numbers if number]
    said = dict(group.description.facts).get("sites", "")
    agency = group.description.keys.get("format") != "csv"
    whole = said and "more" not in said and ":" not in said
    return [site_number(site, agency) for site in said.split(", ")] if whole else []


def _terrain(directions: Sequence[Group], rasters: Sequence[Group]) -> Iterator[Line]:
    """Flow directions, or a raster that may be a DEM."""
    if directions:
        facts = dict(directions[0].description.facts)
        codes = facts["D8 codes"].partition(" (")[0]
        yield Line(("terrain", "d8"), directions[0].pattern, "its values are directions")
        yield Line(("terrain", "codes"), codes, facts["D8 codes"])
    elif rasters:
        facts = dict(rasters[0].description.facts)
        yield Line(
            ("terrain", "dem"), rasters[0].pattern, f"no date in its name, {facts['values']}"
        )


def _yaml(lines: Sequence[Line]) -> Iterator[str]:
    """Lines of YAML with comments; keys of equal parents stand together."""
    above: tuple[str, ...] = ()
    for line in lines:
        *parents, key = line.keys
        for depth, parent in enumerate(parents):
            if above[: depth + 1] != tuple(parents[: depth + 1]):
                yield f"{'  ' * depth}{parent}:"
        above = tuple(parents)
        comment = f" # {line.reason}" if line.reason else ""
        yield f"{'  ' * len(parents)}{key}: {_scalar(line.value)}{comment}"


def _scalar(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()
