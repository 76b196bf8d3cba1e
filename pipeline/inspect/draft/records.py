"""Draft the discharge records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.fetch.manifest import MANIFEST, USGS_DAILY, Manifest
from pipeline.gauges.site_numbers import site_number
from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import SITE_NUMBER, Group
from pipeline.inspect.draft.lines import Line


def gauge_lines(records: Sequence[Group]) -> Iterator[Line]:
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
    yield Line(("gauges", "units"), *_units(group))
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


def _units(group: Group) -> tuple[str, str]:
    """The unit of the discharge, and how it is known."""
    keys, path = group.description.keys, group.paths[0]
    if keys.get("format") != "csv" or "states" in dict(group.description.facts)["units"]:
        return keys.get("units", "m3/s"), "stated"
    if USGS_DAILY in (Manifest(path.parent).source(path) or ""):
        return "ft3/s", f"fetched from the USGS, as {MANIFEST} says"
    return keys.get("units", "m3/s"), f"{OPEN}: the file states none; ft3/s, or none of these"


def sites_of(records: Sequence[Group]) -> list[str]:
    """Site numbers of the records, by their files' names or columns; empty if they are many."""
    if not records:
        return []
    group = max(records, key=lambda one: len(one.paths))
    if "{site}" in group.pattern:
        numbers = [SITE_NUMBER.search(path.name) for path in group.paths]
        return [number[0] for number in numbers if number]
    said = dict(group.description.facts).get("sites", "")
    agency = group.description.keys.get("format") != "csv"
    whole = said and "more" not in said and ":" not in said
    return [site_number(site, agency) for site in said.split(", ")] if whole else []
