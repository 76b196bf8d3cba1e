"""Draft a catalog from what the files in a folder are found to hold.

Each guess has its reason as a comment, and what no file tells is said to be open.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError
from pipeline.inspect.draft.groups import groups_of
from pipeline.inspect.draft.lines import OPEN, Line, as_yaml
from pipeline.inspect.draft.rasters import forcing_lines, period_lines
from pipeline.inspect.draft.records import gauge_lines
from pipeline.inspect.draft.terrain import terrain_lines
from pipeline.inspect.draft.watersheds import watershed_lines

KINDS = ("raster", "directions", "record", "polygons", "unknown")


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
    placed = [one for one in found["raster"] if "grid" in dict(one.description.facts)]
    series = sorted((one for one in placed if one.times), key=lambda one: -len(one.times))
    still = [one for one in placed if not one.times and "variable" not in one.description.keys]
    lines = [Line(("title",), folder.resolve().name, "the folder's name")]
    root = os.path.relpath(folder.resolve(), out.resolve().parent)
    lines.append(Line(("root",), root))
    lines += [*period_lines(series), *forcing_lines(series)]
    records = found["record"]
    lines += gauge_lines(records)
    lines += watershed_lines(found["polygons"], records)
    lines += terrain_lines(found["directions"], still)
    head = [f"# Drafted by domst init. Check every line; what is {OPEN}, no file tells."]
    head += [f"# not used: {one.pattern}" for one in found["unknown"]]
    head += [
        f"# {one.pattern}: {label}: {text}"
        for one in groups
        for label, text in one.description.facts
        if label in ("refused", "looks missing") and one.description.kind != "unknown"
    ]
    return "\n".join([*head, *as_yaml(lines)]) + "\n"
