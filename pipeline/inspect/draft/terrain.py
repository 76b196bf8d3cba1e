"""Draft the flow directions or the DEM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.errors import InputError
from pipeline.inspect.description import OPEN, Description
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.lines import Line
from pipeline.rasters.quantity import names_rain
from pipeline.watersheds.flow_directions import TerrainRaster

LOWEST, HIGHEST = -500.0, 9000.0  # elevations [m] of land
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
        yield from _crs_lines(group)
    elif rasters := [one for one in rasters if _may_be_elevation(one)]:
        group = rasters[0]
        values = dict(group.description.facts).get("values", "")
        yield Line(("terrain", "dem"), group.pattern, f"{OPEN}: is it elevation in m? {values}")
        yield from _crs_lines(group)


def terrain_crs(rasters: Sequence[Group]) -> str | None:
    """The EPSG code that the first raster states, None without one."""
    facts = [dict(one.description.facts).get("CRS", "") for one in rasters[:1]]
    code = re.search(r"EPSG:\d+", facts[0]) if facts else None
    return code[0] if code else None


def _crs_lines(group: Group) -> Iterator[Line]:
    """The CRS, if the file has none."""
    variable = group.description.keys.get("variable")
    try:
        TerrainRaster.open(group.paths[0], variable=variable)
    except InputError as error:
        degrees, reason = "EPSG:4326", f"{OPEN}: the file has none; the numbers could be degrees"
        try:
            TerrainRaster.open(group.paths[0], stated=degrees, variable=variable)
        except InputError as other:
            degrees, reason = OPEN, f"{other or error}".replace(f"{group.paths[0]}: ", "")
        yield Line(("terrain", "crs"), degrees, reason)


def _may_be_elevation(group: Group) -> bool:
    """Whether a raster's values are within those of elevations [m]."""
    found = re.match(r"(\S+) to ([^\s,]+)", dict(group.description.facts).get("values", ""))
    return found is not None and float(found[1]) >= LOWEST and float(found[2]) <= HIGHEST
