"""The page of a comparison of runs, and its summary for a terminal and for machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from model.evaluation.metrics import median_known
from model.output.figures import label
from model.output.heads_table import number
from model.output.journal import write_text
from model.output.progress import FLOORS
from model.output.report.blocks import pack
from model.output.report.comparison import (
    COMPARED,
    NO_INTERVAL,
    Comparison,
    Site,
    excludes_zero,
    read_site,
    span,
)
from model.output.report.discharge import segments
from model.output.report.measures import MEASURES
from model.output.report.panels import describe_floods, read_rain, simplified
from model.output.report.render import render
from pipeline.store.read import open_watershed

DROPPED_BITS = 15  # of a mantissa; the rounding is at most 0.2 %, as there are several runs
# After Okabe and Ito, without the colours of rain and observations; dashes tell them apart in grey.
STYLES = (
    ("#0072b2", "dashed"),
    ("#d55e00", "solid"),
    ("#009e73", "dotdash"),
    ("#cc79a7", "dotted"),
    ("#e69f00", "dashdot"),
)
PERFECT = {"nse": 1.0, "kge": 1.0}  # of the other measures it is 0


def write_comparison(
    comparison: Comparison, path: Path, store: str | None = None, *, common: bool = False
) -> None:
    """Write the page of a comparison, whole or not at all.

    Args:
        comparison: of runs.
        path: of the page.
        store: path or URL, for rain and outlines; that of the first run if left out.
        common: as of `compare_runs`.

    Raises:
        InputError: the store is not there, or lacks one of the watersheds.
    """
    where = store or comparison.candidates[0].about["store"]
    read = [panel(comparison, site.site_no, where, common) for site in comparison.sites]
    write_text(path, page(comparison, [block for block, _ in read], [line for _, line in read]))


def panel(comparison: Comparison, site: str, store: str, common: bool) -> tuple[str, str]:
    """Return the block of a head's panel, and the watershed's outline as WKT."""
    steps, record = comparison.steps, comparison.candidates[0].discharge
    observed, simulated = read_site(comparison.candidates, site, steps, common)
    with open_watershed(store, site) as watershed:
        inside = watershed["coverage"].values > 0
        area = (watershed["coverage"] * watershed["cell_area"]).values[inside]
        rain = read_rain(watershed, inside, area / area.sum(), comparison.times)
        outline = str(watershed["polygon"].values)
    fields = {
        "step": 1000 * record.step.total_seconds(),
        "segments": segments(comparison.times, record.step),
        "floods": describe_floods(record, observed, simulated),
    }
    runs = {f"run{i}": one[steps] for i, one in enumerate(simulated)}
    arrays = {"observed": observed[steps], "rain": rain, **runs}
    return pack(fields, arrays, DROPPED_BITS), outline


def page(comparison: Comparison, blocks: Sequence[str], outlines: Sequence[str]) -> str:
    """Return the comparison as HTML.

    Args:
        comparison: of runs.
        blocks: of each head's panel, see `blocks.pack`.
        outlines: of each watershed, WKT in degrees.
    """
    runs = [
        {"name": name, "stroke": STYLES[i % len(STYLES)][0], "dash": STYLES[i % len(STYLES)][1]}
        for i, name in enumerate(comparison.names)
    ]
    first = comparison.candidates[0]
    data = {
        "heads": [
            {
                "site_no": site.site_no,
                "name": site.name,
                "values": {
                    m: [*map(short, site.scores[m] + site.differences(m))] for m in COMPARED
                },
                "cells": cells_of_site(site),
                "best": site.best,
                "margin": site.margin,
                "clear": site.clear,
                "floors": site.floors,
            }
            for site in comparison.sites
        ],
        "medians": {m: median_cells(comparison, m) for m in COMPARED},
        "measures": {m: MEASURES[m].name for m in COMPARED},
        "runs": runs,
        "floors": {
            floor: floor_name(comparison, floor) for floor in FLOORS if comparison.own_floors
        },
        "outlines": simplified(list(outlines)),
    }
    return render(
        "compare.html",
        ("compare.js",),
        data,
        blocks,
        title=f"{first.metrics['title']}: {', '.join(comparison.names)}",
        synthetic=any(one.metrics["synthetic"] for one in comparison.candidates),
        comparison=comparison,
        span=span(comparison.times),
        runs=runs,
        rows=[
            {
                "name": label(site.name, site.site_no),
                "cells": cells_of_site(site)["nse"],
                "facts": ", ".join(
                    f"{name} {number('{:.3f}', nse)}"
                    for name, nse in zip(comparison.names, site.scores["nse"], strict=True)
                ),
            }
            for site in comparison.sites
        ],
        medians=median_cells(comparison, "nse"),
        floors={
            floor_name(comparison, floor): number(
                "{:.3f}", median_known([site.floors[floor] for site in comparison.sites])
            )
            for floor in FLOORS
            if comparison.own_floors
        },
        measures={m: MEASURES[m] for m in COMPARED},
        settings={
            name: [as_text(value) for value in values]
            for name, values in comparison.differing_settings().items()
        },
        no_interval=NO_INTERVAL if comparison.lacks_interval() else None,
    )


def floor_name(comparison: Comparison, floor: str) -> str:
    """Name of a floor, with its run where the runs have others."""
    return f"{floor} of {comparison.names[0]}" if comparison.floors_differ else floor


class Cell(NamedTuple):
    """A cell of the table: a score or a difference, its interval, and whether it counts.

    The best score counts, and a difference whose interval excludes 0.
    """

    text: str
    within: str
    strong: bool


def short(value: float) -> float:
    """Round a number to 6 digits, which a page sorts by."""
    return float(f"{value:.6g}")


def cells_of_site(site: Site) -> dict[str, list[Cell]]:
    """Texts of a watershed's row of the table, by measure: of each run, and of each difference."""
    return {
        measure: cells(
            measure,
            site.scores[measure],
            site.differences(measure),
            site.intervals if measure == "nse" else [],
        )
        for measure in COMPARED
    }


def median_cells(comparison: Comparison, measure: str) -> list[Cell]:
    """The same for the medians."""
    return cells(measure, comparison.medians(measure), comparison.median_differences(measure), [])


def cells(
    measure: str,
    scores: Sequence[float],
    differences: Sequence[float],
    intervals: Sequence[tuple[float, float]],
) -> list[Cell]:
    """Cells of scores and of their differences to the first."""
    form = MEASURES[measure].form
    signed = form if "+" in form else form.replace("{:", "{:+")
    errors = [abs(score - PERFECT.get(measure, 0.0)) for score in scores]
    known = [error for error in errors if not math.isnan(error)]
    best = min(known) if len(set(known)) > 1 else math.nan
    found = [
        Cell(number(form, score), "", error == best)
        for score, error in zip(scores, errors, strict=True)
    ]
    limits = [*intervals] or [(math.nan, math.nan)] * len(differences)
    for difference, (low, high) in zip(differences, limits, strict=True):
        within = "" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"
        found.append(Cell(number(signed, difference), within, excludes_zero((low, high))))
    return found


def as_text(value: Any) -> str:
    """Return a setting's value as YAML, on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()


def comparison_table(comparison: Comparison) -> Table:
    """Return NSE of all runs, and differences, as a table for a terminal; the medians last."""
    first, *others = comparison.names
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    if comparison.lacks_interval():
        table.caption, table.caption_justify = NO_INTERVAL, "left"
    table.add_column("NSE", no_wrap=True)
    headings = [*comparison.names, *(f"{name} minus {first}" for name in others)]
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    rows = [(site.site_no, cells_of_site(site)["nse"]) for site in comparison.sites]
    for name, texts in [*rows, ("median", median_cells(comparison, "nse"))]:
        if name == "median":
            table.add_section()
        cells_of_row = []
        for one in texts:
            within = f" ({one.within.replace(' to ', ', ')})" if one.within else ""
            cells_of_row.append(Text(one.text + within, style="bold" if one.strong else ""))
        table.add_row(Text(name), *cells_of_row)
    return table


def as_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for machines, with NaN where a score is undefined."""
    return {
        "runs": comparison.names,
        "folders": [str(one.folder) for one in comparison.candidates],
        "sentence": comparison.sentence(),
        "first_step": comparison.times[0].isoformat(),
        "last_step": comparison.times[-1].isoformat(),
        "steps": len(comparison.times),
        "partial": comparison.partial,
        "medians": {m: comparison.medians(m) for m in COMPARED},
        "median_differences": {m: comparison.median_differences(m) for m in COMPARED},
        "settings": comparison.differing_settings(),
        "heads": [
            {
                "site_no": site.site_no,
                "name": site.name,
                **site.scores,
                "nse_difference": site.differences("nse"),
                "nse_difference_low": [low for low, _ in site.intervals],
                "nse_difference_high": [high for _, high in site.intervals],
                "best": None if site.best is None else comparison.names[site.best],
                "margin": site.margin,
                "clear": site.clear,
            }
            for site in comparison.sites
        ],
    }
