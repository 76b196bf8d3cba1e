"""Draft the period and the forcings from series of rasters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from pipeline.errors import InputError
from pipeline.inspect.bands import gdal_path
from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.inspect.draft.products import recognise_product
from pipeline.inspect.draft.span import DAY, span_of
from pipeline.rasters.files import format_duration

SAMPLED = 24  # rasters of a series, to tell rain from temperature
MAX_LISTED = 6  # bands
RAIN = ("forcings", "precipitation")
RAIN_TEXT = re.compile(r"precip|rain|\bppt\b|\btp\b", re.IGNORECASE)
WARMTH_TEXT = re.compile(r"temp|\bt2m\b|\btas\b|\btmean\b", re.IGNORECASE)


def period_lines(series: Sequence[Group]) -> Iterator[Line]:
    """The store's time axis, from the times of the longest series."""
    if not any(one.times for one in series):
        yield Line(("period", "step"), "day", f"{OPEN}: no series of rasters with times")
        yield Line(("period", "start"), "2000-01-01", OPEN)
        yield Line(("period", "end"), "2000-01-02", OPEN)
        return
    longest = max(series, key=lambda one: len(one.times))
    span = span_of(longest)
    assert span is not None
    start, end = span.period
    gap = f", {span.missing} missing" if span.missing else ""
    yield Line(("period", "step"), "day" if span.store_step == DAY else "hour", span.why_step)
    said = f"{len(span.starts)} rasters of {longest.pattern}{gap}"
    yield Line(("period", "start"), f"{start.isoformat()}Z", f"of {said}")
    yield Line(("period", "end"), f"{end.isoformat()}Z", "the end of the last whole step")


def forcing_lines(series: Sequence[Group]) -> Iterator[Line]:
    """Rain and temperature among the bands and variables of the series."""
    found = [(group, *one) for group in series for one in _parts(group)]
    if not found:
        yield Line((*RAIN, "driver"), "geotiff", f"{OPEN}: no series of rasters with times found")
        yield Line((*RAIN, "files"), "rain/{time:%Y%m%d}.tif", OPEN)
        yield Line((*RAIN, "units"), "mm", OPEN)
    if found and all(name != "precipitation" for _, _, name, _ in found):
        group, part, _, reason = found[0]
        found[0] = (group, part, "precipitation", f"{OPEN}: is it rain? {reason}")
    span = span_of(max(series, key=lambda one: len(one.times))) if series else None
    step = DAY if span is None else span.store_step
    named: set[str] = set()
    for group, part, name, reason in found:
        if name in named:
            continue
        named.add(name)
        others = {one.pattern for one, _, other, _ in found if other == name} - {group.pattern}
        shown = ", ".join(sorted(others)[:MAX_LISTED])
        also = f"{OPEN}: or {shown}" if others else ""
        yield from _source_lines(group, part, name, reason, step, also)


def _source_lines(
    group: Group,
    part: tuple[str, Any],
    name: str,
    reason: str,
    store_step: timedelta,
    also: str,
) -> Iterator[Line]:
    """The description of one forcing; `also` says which other files may be it."""
    at, keys, span = ("forcings", name), group.description.keys, span_of(group)
    reasons = group.description.reasons
    if part[0] == "product":
        yield Line((*at, "product"), part[1], reason)
        yield Line((*at, "files"), group.pattern, f"{len(group.paths)} files")
        return
    yield Line((*at, "driver"), keys["driver"], group.description.facts[0][1])
    yield Line((*at, "files"), group.pattern, also or f"{len(group.paths)} files")
    if "inside" in keys:
        yield Line((*at, "inside"), keys["inside"], reasons["inside"])
    yield Line((*at, part[0]), part[1], reason)
    if "group" in keys:
        yield Line((*at, "group"), keys["group"], "where the variable is")
    if "select" in keys and part[0] != "select":
        yield Line((*at, "select"), keys["select"], reasons["select"])
    if "crs" in keys:
        yield Line((*at, "crs"), keys["crs"], reasons["crs"])
    units, plain = keys.get("units"), "mm" if name == "precipitation" else "degC"
    others = "inch, kg m-2, mm/h; scale: 0.1 for tenths" if plain == "mm" else "K, degF"
    guessed = f"{OPEN}: guessed by the values, or {others}"
    if plain == "mm" and "doubt" in keys:  # it has to be decided
        plain, guessed = "unknown", f"{OPEN}: {keys['doubt']}"
    yield Line((*at, "units"), units or plain, reasons["units"] if units else guessed)
    for key in ("scale", "missing", "totals"):
        if key in keys:
            yield Line((*at, key), keys[key], reasons[key])
    if span is None:
        yield Line((*at, "time"), {"label": "start"}, f"{OPEN}: no time was found")
        return
    if span.step != store_step:
        yield Line((*at, "step"), _duration(span.step), span.why_step)
    yield Line((*at, "time"), span.label, span.why_label)
    if group.labels_inside:
        yield Line((*at, "times"), "file", group.labels_inside)
    if span.missing:
        said = f"{OPEN}: {span.missing} are missing between the first and the last"
        yield Line((*at, "max_missing_steps"), span.missing, said)


def _duration(step: timedelta) -> str:
    """A duration as catalogs have it."""
    return format_duration(step).replace(" day", "d").replace(" ", "")


Part = tuple[tuple[str, Any], str, str]  # key and value that name it; the forcing; the reason


def _parts(group: Group) -> list[Part]:
    """The product's forcing, the bands, or the described variable, that may be forcings."""
    known = recognise_product(group)
    if known is not None:
        return [(("product", known.product), known.forcing, f"as {group.paths[0].name} is named")]
    keys = group.description.keys
    if keys["driver"] in ("geotiff", "gdal"):
        return [(("band", band), name, reason) for band, name, reason in _bands(group)]
    if "variable" not in keys:
        reason = group.description.reasons.get("select", f"{OPEN}: which messages of the file")
        return [(("select", keys.get("select", {})), "precipitation", reason)]
    warm = bool(WARMTH_TEXT.search(keys["variable"]))
    name = "temperature" if warm else "precipitation"
    reason = group.description.reasons.get("variable", "the variable's name")
    return [(("variable", keys["variable"]), name, reason)]


def _bands(group: Group) -> Iterator[tuple[int, str, str]]:
    """Bands of rain and of temperature: by their descriptions, or else by their values."""
    at = np.unique(np.linspace(0, len(group.paths) - 1, SAMPLED).astype(int))
    planes: dict[int, list[np.ndarray]] = {}
    texts: Sequence[str | None] = ()
    for path in (group.paths[k] for k in at):
        try:
            with rasterio.open(gdal_path(path)) as file:
                texts = file.descriptions
                for band in range(1, file.count + 1):
                    planes.setdefault(band, []).append(file.read(band, masked=True).compressed())
        except RasterioError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise InputError(f"{path}: not readable ({reason}): expected a raster") from error
    found = []
    for band, parts in planes.items():
        values, text = np.concatenate(parts), texts[band - 1] or ""
        values = values[~np.isin(values, group.description.keys.get("missing", []))]
        dry = float((values == 0).mean()) if values.size else 0.0
        said = f"{values.min():.4g} to {values.max():.4g}, {dry:.0%} zeros" if values.size else ""
        if RAIN_TEXT.search(text) or WARMTH_TEXT.search(text):
            name = "precipitation" if RAIN_TEXT.search(text) else "temperature"
            found.append((band, name, f"described as {text!r}"))
        elif values.size and values.min() >= 0 and dry > 0.05:
            found.append((band, "precipitation", f"never below zero: {said}"))
        elif values.size and values.min() > -90 and values.max() < 60:
            found.append((band, "temperature", f"below zero or never zero: {said}"))
    for band, name, reason in sorted(found, key=lambda one: one[1]):
        alike = [one for one, other, _ in found if other == name]
        if len(alike) == 1 or "described" in reason:
            yield band, name, reason
        else:  # a band that is none has to be decided
            shown = ", ".join(map(str, alike[:MAX_LISTED]))
            more = ", ..." if alike[MAX_LISTED:] else ""
            yield 0, name, f"{OPEN}: one of {shown}{more}, or a file for each? {reason}"
