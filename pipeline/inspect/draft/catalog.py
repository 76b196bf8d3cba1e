"""Draft a catalog from what the files in a folder are found to hold.

Each guess has its reason as a comment, and what no file tells is said to be open.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError
from pipeline.inspect.description import OPEN, Description
from pipeline.inspect.draft.groups import Group, groups_of
from pipeline.inspect.draft.lines import Line, as_yaml
from pipeline.inspect.draft.rasters import forcing_lines, period_lines
from pipeline.inspect.draft.records import gauge_lines, record_of
from pipeline.inspect.draft.sites import match_sites
from pipeline.inspect.draft.terrain import may_be_dem, terrain_crs, terrain_lines
from pipeline.inspect.draft.watersheds import watershed_lines

KINDS = ("raster", "directions", "record", "polygons", "outlets", "unknown")


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
    groups = list(groups_of(folder))
    found = {kind: [one for one in groups if one.description.kind == kind] for kind in KINDS}
    rasters = [one for one in found["raster"] if "driver" in one.description.keys]
    still = [one for one in rasters if not one.times and may_be_dem(one.description)]
    series = sorted((one for one in rasters if one not in still), key=lambda one: -len(one.times))
    lines = [Line(("title",), folder.resolve().name, "the folder's name")]
    root = os.path.relpath(folder.resolve(), out.resolve().parent)
    lines.append(Line(("root",), root))
    lines += [*period_lines(series), *forcing_lines(series)]
    records, polygons = found["record"], found["polygons"] or found["outlets"]
    record = record_of(records)
    matches = [(match_sites(record, one), one) for one in polygons]
    matches.sort(key=lambda one: (-len(one[0].sites), *_rank(one[1])))
    polygons = [one for _, one in matches]
    match = matches[0][0] if matches else match_sites(record, None)
    lines += gauge_lines(record, records, match)
    lines += watershed_lines(polygons, record, match, terrain_crs(found["directions"] or still))
    lines += terrain_lines(found["directions"], still)
    head = [f"# Drafted by domst init. Check every line; what is {OPEN}, no file tells."]
    head += [
        f"# not used: {one.pattern}{_why(one.description)}"
        for one in groups
        if one.description.kind == "unknown"
    ]
    head += [
        f"# {one.pattern}: {label}: {text}"
        for one in groups
        for label, text in one.description.facts
        if label in ("refused", "looks missing") and one.description.kind != "unknown"
    ]
    return "\n".join([*head, *as_yaml(lines)]) + "\n"


def _why(description: Description) -> str:
    """Why a file is not used, if that is known."""
    reason = dict(description.facts).get("refused")
    return f": {reason}" if reason else ""


def _rank(polygons: Group) -> tuple[bool, int]:
    """The likeliest polygons first: one file, with the most fields that are known."""
    return len(polygons.paths) > 1, -len(polygons.description.keys)
