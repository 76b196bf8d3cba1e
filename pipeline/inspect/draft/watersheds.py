"""Draft the watershed polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.inspect.draft.records import sites_of


def watershed_lines(polygons: Sequence[Group], records: Sequence[Group]) -> Iterator[Line]:
    """The polygons, and the sites that have records."""
    if not polygons:
        yield Line(("watersheds", "file"), "basins.gpkg", f"{OPEN}: no polygons found")
        yield Line(("watersheds", "site_field"), "SITE_NO", OPEN)
        return
    group = max(polygons, key=lambda one: (len(one.paths) == 1, len(one.description.keys)))
    keys, facts = group.description.keys, dict(group.description.facts)
    others = ", ".join(one.pattern for one in polygons if one is not group)
    said = facts["features"] + (f", or {others}" if others else "")
    yield Line(("watersheds", "file"), group.pattern, said)
    yield Line(("watersheds", "site_field"), keys.get("site_field", "?"), facts["site_field"])
    for key in ("name_field", "area_field", "area_units"):
        if key in keys:
            yield Line(("watersheds", key), keys[key], facts.get(key, ""))
    features = int(facts["features"].partition(":")[0])
    sites = sites_of(records)
    if sites and len(sites) < features:
        yield Line(("watersheds", "sites"), sites, f"of {features}, those with a record")
