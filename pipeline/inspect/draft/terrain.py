"""Draft the flow directions or the DEM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.inspect.description import OPEN, Description
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.rasters.quantity import names_rain

ZERO = re.compile(r"([\d.]+)% zero")


def may_be_dem(description: Description) -> bool:
    """Whether a raster without a time may hold elevations: hardly any are exactly 0."""
    values = dict(description.facts).get("values", "")
    zero = ZERO.search(values)
    named = names_rain(description.path.stem)
    return (
        not named and "variable" not in description.keys and zero is not None and float(zero[1]) < 5
    )


def terrain_lines(directions: Sequence[Group], rasters: Sequence[Group]) -> Iterator[Line]:
    """Flow directions, or a raster that may be a DEM."""
    if directions:
        group = directions[0]
        facts, keys = group.description.facts, group.description.keys
        others = (
            f", or {', '.join(one.pattern for one in directions[1:])}" if directions[1:] else ""
        )
        fits = [
            text.removeprefix("terrain.codes: ") for label, text in facts if label == "D8 codes"
        ]
        yield Line(("terrain", "d8"), group.pattern, f"its values are directions{others}")
        yield Line(("terrain", "codes"), keys["codes"], "; or ".join(fits))
        for key, reason in (
            ("variable", "the only raster of directions"),
            ("nodata", "by the values"),
        ):
            if key in keys:
                yield Line(("terrain", key), keys[key], reason)
        yield from crs_lines(group)
    elif rasters:
        group = rasters[0]
        values = dict(group.description.facts).get("values", "")
        yield Line(("terrain", "dem"), group.pattern, f"{OPEN}: elevations? No date, {values}")
        yield from crs_lines(group)


def crs_lines(group: Group) -> Iterator[Line]:
    """The CRS, if the file has none."""
    facts = dict(group.description.facts)
    if facts.get("CRS", "").startswith("none"):
        why = f"{OPEN}: the file has none; {facts.get('grid', '')}"
        yield Line(("terrain", "crs"), "EPSG:4326", why)
