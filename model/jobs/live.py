"""What the live page on the dashboard is told of a training when it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.inputs.watershed import Survey
from model.output.journal import read_validations
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.live.announce import short_place
from pipeline.live.curve import Curve
from pipeline.live.outlines import simplify_outlines
from pipeline.storage import parse_location

READ_TOGETHER = 64  # polygons; simplified ones are small


def announcement(store: str, survey: Survey, run: Run, settings: Settings) -> dict[str, Any]:
    """Describe a training: its heads, the largest watershed first, and what was trained before."""
    from pipeline.store.root import array_of, open_root, read_array
    from pipeline.store.sites import read_sites
    from pipeline.store.tables import WATERSHEDS

    root = open_root(parse_location(store))
    table, cells = read_sites(root), survey.cells
    rows = {site: row for row, site in enumerate(table.site_no)}
    sites = sorted(survey.pixels, key=lambda site: (-cells[site], site))
    polygons = array_of(root, f"{WATERSHEDS}/polygon")
    outlines: list[bytes] = []
    for first in range(0, len(rows), READ_TOGETHER):
        part = read_array(polygons, slice(first, first + READ_TOGETHER))
        outlines += simplify_outlines([str(one) for one in part], table.region.bounds)
    curves = read_curves(run.folder / "metrics.jsonl")
    return {
        "kind": "training",
        "title": survey.title,
        "folder": short_place(run.folder),
        "updates": settings.head_updates,
        "sites": sites,
        "names": [table.text["name"][rows[site]] for site in sites],
        "outlines": [outlines[rows[site]] for site in sites],
        "curves": {site: curves[site].pack() for site in sites if site in curves},
    }


def read_curves(path: Path) -> dict[str, Curve]:
    """Read the curves of heads from metrics.jsonl, by site number; none if there is no file."""
    curves: dict[str, Curve] = {}
    for site, validations in read_validations(path).items():
        curves[site] = Curve()
        for one in validations:
            curves[site].add(one.update, one.loss, one.nse)
    return curves
