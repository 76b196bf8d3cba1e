"""Draft the period and the forcings from series of rasters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import rasterio

from pipeline.inspect.bands import gdal_path
from pipeline.inspect.description import Description
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import OPEN, Line
from pipeline.inspect.draft.products import recognise_product
from pipeline.rasters.files import format_duration

SAMPLED = 24  # rasters of a series, to tell rain from temperature
RAIN = ("forcings", "precipitation")
RAIN_TEXT = re.compile(r"precip|rain|\bppt\b|\btp\b", re.IGNORECASE)
WARMTH_TEXT = re.compile(r"temp|\bt2m\b|\btas\b|\btmean\b", re.IGNORECASE)


def period_lines(series: Sequence[Group]) -> Iterator[Line]:
    """The store's time axis, from the times in the names of the longest series."""
    if not series:
        yield Line(("period", "step"), "day", f"{OPEN}: no series of rasters with dates in names")
        yield Line(("period", "start"), "2000-01-01", OPEN)
        yield Line(("period", "end"), "2000-01-02", OPEN)
        return
    longest = max(series, key=lambda one: len(one.times))
    known = recognise_product(longest)
    times = sorted(longest.times)
    gaps = np.diff(np.array(times, "M8[s]"))
    step = timedelta(seconds=int(np.median(gaps).astype(int))) if gaps.size else timedelta(days=1)
    if known is not None:
        step = known.step
    daily = step >= timedelta(days=1)
    length = timedelta(days=1) if daily else timedelta(hours=1)
    start, why = times[0], ""
    if known is not None:
        start = known.time.start_of(pd.DatetimeIndex(times[:1]), step)[0].to_pydatetime()
        why = f", as {known.product} names them"
    gap = ", with gaps" if gaps.size and gaps.max() > gaps.min() else ""
    said = f"{len(times)} times of {longest.pattern}{gap}"
    apart = f"rasters are {format_duration(step)} apart"
    yield Line(("period", "step"), "day" if daily else "hour", apart)
    steps = -(-(times[-1] - times[0] + min(step, length)) // length)
    end = start + steps * length
    yield Line(("period", "start"), f"{start.isoformat()}Z", f"first of {said}{why}")
    yield Line(("period", "end"), f"{end.isoformat()}Z", "a step after the last")


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
    named: set[str] = set()
    for group, part, name, reason in found:
        if name in named:
            continue
        named.add(name)
        at, keys = ("forcings", name), group.description.keys
        if part[0] == "product":
            yield Line((*at, "product"), part[1], reason)
            yield Line((*at, "files"), group.pattern, f"{len(group.paths)} files")
            continue
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
    """The product's forcing, the bands, or the described variable, that may be forcings."""
    known = recognise_product(group)
    if known is not None:
        return [(("product", known.product), known.forcing, f"as {group.paths[0].name} is named")]
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
