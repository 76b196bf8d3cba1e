"""Draft the watershed polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.catalog.gauge_source import USGS_FORMATS
from pipeline.gauges.site_numbers import site_number
from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.inspect.draft.records import holds_sites
from pipeline.inspect.draft.sites import Match


def watershed_lines(
    polygons: Sequence[Group], group: Group | None, match: Match, terrain_crs: str | None
) -> Iterator[Line]:
    """The polygons, or the outlets, and the sites that have records.

    Args:
        polygons: files of polygons or of outlets, the likeliest first.
        group: the records.
        match: sites of both.
        terrain_crs: EPSG code of the terrain, which outlets may share.
    """
    if not polygons:
        yield Line(("watersheds", "file"), "basins.gpkg", f"{OPEN}: no polygons found")
        yield Line(("watersheds", "site_field"), "SITE_NO", OPEN)
        return
    first = polygons[0]
    keys, facts = first.description.keys, dict(first.description.facts)
    features = int(facts["features"].partition(":")[0])
    others = f", or {', '.join(one.pattern for one in polygons[1:])}" if polygons[1:] else ""
    file = "outlets" if first.description.kind == "outlets" else "file"
    yield Line(("watersheds", file), first.pattern, f"{facts['features']}{others}")
    if "layer" in keys:
        yield Line(("watersheds", "layer"), keys["layer"], facts.get("layer", ""))
    if keys.get("crs") == OPEN and terrain_crs:
        reason = f"{OPEN}: that of the terrain; {facts['crs']}"
        yield Line(("watersheds", "crs"), terrain_crs, reason)
    elif "crs" in keys:
        yield Line(("watersheds", "crs"), keys["crs"], facts.get("crs", ""))
    if match.field is not None:
        reason = f"agrees with {match.where} of the records: {len(match.sites)} of {features}"
        chance = f"{OPEN}: short numbers, which may agree by chance; " if match.by_chance else ""
        yield Line(("watersheds", "site_field"), match.field, f"{chance}{reason}")
    else:
        none = "; none of its numbers is in the records" if group is not None else ""
        found = keys.get("site_field", OPEN)
        yield Line(("watersheds", "site_field"), found, f"{OPEN}: {facts['site_field']}{none}")
    for key in ("name_field", "area_field", "area_units"):
        if key in keys and keys[key] != match.field:
            yield Line(("watersheds", key), keys[key], facts.get(key, ""))
    yield from _sites(features, group, match)


def _sites(features: int, group: Group | None, match: Match) -> Iterator[Line]:
    """The sites, if some polygons have no record, or no file says whose the record is."""
    if group is None:
        return
    keys = group.description.keys
    usgs = keys.get("format") in USGS_FORMATS or keys.get("agency") == "usgs"
    sites = [site_number(site, usgs) for site in match.sites]
    alone = "{site}" not in match.files and not holds_sites(group)
    if sites and (alone or len(sites) < features):
        yield Line(("watersheds", "sites"), sites, f"of {features}, those with a record")
    elif alone:
        yield Line(("watersheds", "sites"), [OPEN], f"of {features}, the one whose the record is")
