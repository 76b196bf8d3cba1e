"""Draft the discharge records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.catalog.gauge_source import SITE, USGS_FORMATS
from pipeline.fetch.manifest import MANIFEST, USGS_DAILY, Manifest
from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.inspect.draft.sites import Match

UNIT_CHOICE = "m3/s, ft3/s, l/s, ML/day, mm/day or mm/h"
IN_NAMES = ("the names of the files", "the file's name")
DONE = ("format", "files", "units", "columns")
USUAL = {"delimiter": ",", "values": "daily"}  # if the catalog does not state them


def record_of(records: Sequence[Group]) -> Group | None:
    """The records to use: of several groups the one with the most files."""
    return max(records, key=lambda one: len(one.paths)) if records else None


def gauge_lines(group: Group | None, records: Sequence[Group], match: Match) -> Iterator[Line]:
    """Lines of the records."""
    if group is None:
        yield Line(("gauges", "format"), "csv", f"{OPEN}: no record found")
        yield Line(("gauges", "files"), "gauges/{site}.csv", OPEN)
        yield Line(("gauges", "units"), "m3/s", f"{OPEN}: {UNIT_CHOICE}")
        return
    keys, facts = group.description.keys, dict(group.description.facts)
    yield Line(("gauges", "format"), keys.get("format", "csv"), facts["format"])
    others = [one.pattern for one in records if one is not group]
    reason = "the record" if match.where is None else f"sites are in {match.where}"
    reason += f"; or {', '.join(others)}" if others else ""
    yield Line(("gauges", "files"), match.files, reason)
    yield Line(("gauges", "units"), *_units(group))
    reasons = {
        "values": "by the times",
        "time_zone": "whose clock the times are: an IANA name, such as UTC or Etc/GMT-10",
        "time_format": facts.get("time", ""),
        "missing": _about_missing(facts),
        "missing_flags": f"values with these flags are no data, or none: {facts.get('flags', '')}",
        "start": facts.get("times", ""),
        "step": "the time from one value to the next, such as 1h",
        "agency": "a column names the USGS",
        "whole": f"{OPEN}: the last line is {facts.get('last line', '')}",
    }
    for key, value in keys.items():
        if key not in DONE and value != USUAL.get(key):
            yield Line(("gauges", key), value, reasons.get(key, "as the text is"))
    if keys.get("values", "daily") == "daily":
        midnight = f"{OPEN}: offset: how far midnight at the gauge is from 00:00 UTC"
        yield Line(("gauges", "time"), {"label": "start"}, midnight)
    if "columns" in keys:
        yield Line(("gauges", "columns"), _columns(keys, match), "by names and values")


def _units(group: Group) -> tuple[str, str]:
    """The unit of the discharge, and how it is known."""
    keys, path = group.description.keys, group.paths[0]
    stated = dict(group.description.facts).get("units", "")
    units = str(keys.get("units", OPEN))
    if units.startswith("mm/"):
        return units, f"{stated}; a depth over the area_field of the watersheds, or the polygons"
    if units != OPEN:
        return units, stated
    if USGS_DAILY in (Manifest(path.parent).source(path) or ""):
        return "ft3/s", f"fetched from the USGS, as {MANIFEST} says"
    return OPEN, f"the file states none: {UNIT_CHOICE}"


def _about_missing(facts: dict[str, str]) -> str:
    said = [text for label in ("looks missing", "no number") if (text := facts.get(label))]
    stated = facts.get("stated missing")
    return "; ".join(
        [f"{stated}: so the lines above"] * bool(stated) + [f"{OPEN}: {t}" for t in said]
    )


def _columns(keys: dict[str, Any], match: Match) -> dict[str, Any]:
    """The columns; without that of the sites where each site has a file."""
    columns: dict[str, Any] = keys["columns"]
    if SITE in match.files and match.where in IN_NAMES:
        return columns | {"site": None}
    return columns


def holds_sites(group: Group) -> bool:
    """Whether the records say whose they are, in a column or by the agency's format."""
    keys = group.description.keys
    columns = keys.get("columns", {})
    wide = SITE in str(columns.get("discharge"))
    return keys.get("format") in (*USGS_FORMATS, "hydat") or bool(columns.get("site")) or wide
