"""Draft the flow directions or the DEM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line


def terrain_lines(directions: Sequence[Group], rasters: Sequence[Group]) -> Iterator[Line]:
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
