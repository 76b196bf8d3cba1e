"""The report of a run: skill of every head beside the floors, and all hydrographs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.evaluation.metrics import median_known
from model.output.figures import label
from model.output.journal import write_bytes, write_text
from model.output.progress import FLOORS, NO_INTERVAL, lacks_interval, loses, number
from model.output.run_directory import Run

FLOOR_COLOURS = {"persistence": "#999999", "climatology": "#56b4e9", "ridge": "#009e73"}
HEAD_COLOUR = "#d55e00"
LOWEST_NSE = -0.5  # end of the chart's axis; lower scores are drawn on its edge
COLUMNS = {
    "cells": ("cells", "{:.0f}"),
    "nse": ("NSE", "{:.3f}"),
    "nse_low": ("NSE, 5 %", "{:.3f}"),
    "nse_high": ("NSE, 95 %", "{:.3f}"),
    "persistence_nse": ("persistence NSE", "{:.3f}"),
    "climatology_nse": ("climatology NSE", "{:.3f}"),
    "ridge_nse": ("ridge NSE", "{:.3f}"),
    "kge": ("KGE", "{:.3f}"),
    "pbias": ("PBIAS %", "{:+.1f}"),
    "fhv": ("FHV %", "{:+.1f}"),
    "peak_error": ("peak error, %", "{:+.0f}"),
    "peak_lag": ("peak lag, steps", "{:.1f}"),
    "rmse": ("RMSE m³ s⁻¹", "{:.3g}"),
    "velocity": ("velocity m s⁻¹", "{:.2f}"),
    "n_test": ("test steps", "{:.0f}"),
}
DRAWN = """The lines, and the columns 5 % and 95 %, are the interval of NSE when months of the test
part are drawn with replacement."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1100px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.note { background: #f0e442; padding: .2rem .6rem; display: inline-block; font-weight: 600; }
.facts { color: #5f5f5f; margin: .2rem 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e5e5e5;
         white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.loses td { background: #fdf1e7; } tr.median td { font-weight: 700; }
img { max-width: 100%; height: auto; }
"""


def write_report(run: Run, metrics: dict[str, Any]) -> None:
    """Write report.html and skill.png of a finished run.

    Args:
        metrics: the content of metrics.json.
    """
    draw_skill(run, metrics["heads"])
    write_text(run.folder / "report.html", page(metrics))


def draw_skill(run: Run, heads: Sequence[dict[str, Any]]) -> None:
    """Draw the test NSE of every head and of its floors, the best head at the top."""
    order = sorted(heads, key=lambda head: float(np.nan_to_num(head["nse"], nan=-np.inf)))
    figure = Figure(figsize=(9, 1.4 + 0.24 * len(order)), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(order))
    for name in FLOORS:
        values = np.maximum([head[f"{name}_nse"] for head in order], LOWEST_NSE)
        axes.scatter(values, rows, s=22, c=FLOOR_COLOURS[name], label=name, marker="|", lw=2)
    low, high = (
        np.maximum([head[key] for head in order], LOWEST_NSE) for key in ("nse_low", "nse_high")
    )
    axes.hlines(rows, low, high, colors=HEAD_COLOUR, lw=1.2, alpha=0.5)
    axes.scatter(
        np.maximum([head["nse"] for head in order], LOWEST_NSE),
        rows,
        s=34,
        c=HEAD_COLOUR,
        label="Dom-ST",
    )
    names = [label(head["name"], head["site_no"]) for head in order]
    axes.set_yticks(rows, names, fontsize=8, parse_math=False)
    axes.set_xlim(LOWEST_NSE - 0.02, 1)
    axes.set_xlabel(
        f"NSE on the test part (1: perfect, 0: as the mean; left edge: {LOWEST_NSE} or less)"
    )
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format="png")
    write_bytes(run.folder / "skill.png", content.getvalue())


def page(metrics: dict[str, Any]) -> str:
    """Return the report as HTML; pictures are linked by relative paths."""
    heads = metrics["heads"]
    seconds = metrics["seconds"]
    use = "Heads and ridge use" if metrics["history"] else "Heads and ridge do not use"
    snow = sum(head["snow"] is not None for head in heads)
    note = '<p class="note">synthetic data</p>' if metrics["synthetic"] else ""
    within = f"There is {NO_INTERVAL}." if lacks_interval(heads) else DRAWN
    gallery = "\n".join(
        f'<p><img src="hydrographs/{escape(head["site_no"])}.png" loading="lazy" '
        f'alt="hydrograph of {escape(head["name"])}"></p>'
        for head in heads
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"> <meta name="viewport" content="width=device-width,
initial-scale=1"> <title>{escape(metrics["title"])}</title><style>{STYLE}</style></head><body>
<h1>{escape(metrics["title"])}</h1> <p class="facts">Dom-ST, {escape(metrics["variant"])},
{count(len(heads), "head")}; {escape(metrics["split"])}; {seconds["total"]:.0f} s on
{count(metrics["cluster"]["workers"], "worker")} (busiest {seconds["busy_max"]:.0f} s, mean
{seconds["busy_mean"]:.0f} s)</p>{note} <h2>Skill</h2> <p><img src="skill.png" alt="NSE of every
head and of the floors"></p> <p>NSE is the Nash-Sutcliffe efficiency, KGE the Kling-Gupta
efficiency, PBIAS the percent bias, FHV the bias of the highest 2 % of flows. The floors:
persistence repeats the discharge of the step before, climatology is the mean discharge of the
season, ridge a regression on lagged rain, wetness and season. {use} past discharge. {within}
Snow is simulated in {snow} of {count(len(heads), "watershed")}. Shaded rows score below climatology
or ridge. A dash stands for a score that is undefined, as that of climatology is where training
knows no such time of the year.</p> <div class="wide">{table(heads)}</div> <h2>Hydrographs of the
test part</h2> {gallery} </body></html>
"""


def count(number: int, thing: str) -> str:
    """Return a number with its noun: `1 head`, `2 heads`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def table(heads: Sequence[dict[str, Any]]) -> str:
    """Return the scores as an HTML table, medians last."""
    keys = [key for key in COLUMNS if all(key in head for head in heads)]
    names = "".join(f"<th>{escape(COLUMNS[key][0])}</th>" for key in keys)
    rows = []
    for head in heads:
        cells = "".join(f"<td>{number(COLUMNS[key][1], head[key])}</td>" for key in keys)
        name = escape(label(head["name"], head["site_no"]))
        rows.append(f"<tr{' class=loses' if loses(head) else ''}><td>{name}</td>{cells}</tr>")
    median = {key: median_known([head[key] for head in heads]) for key in keys}
    cells = "".join(f"<td>{number(COLUMNS[key][1], median[key])}</td>" for key in keys)
    rows.append(f"<tr class=median><td>median</td>{cells}</tr>")
    return f"<table><tr><th>watershed</th>{names}</tr>{''.join(rows)}</table>"
