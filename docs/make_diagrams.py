"""Draw the diagrams of the documentation, which need no data.

    python docs/make_diagrams.py

Writes SVG files into docs/images. What the maps and curves in them show is made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

IMAGES = Path(__file__).resolve().parent / "images"
# Colours that are told apart with any colour vision, after Okabe and Ito
INK, GREY, PALE = "#1a1a1a", "#5f5f5f", "#f2f2f2"
RAIN, FLOW, LAND = "#3a86b7", "#d55e00", "#009e73"
DATA, LEARNED, FIXED = "#e8f1f8", "#fdebdf", "#e6f4ee"
RAINS = "YlGnBu"
Point = tuple[float, float]


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose one axes has inches as units, the origin at the lower left."""
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes, centre: Point, size: Point, title: str, text: str = "", color: str = PALE
) -> None:
    """A box with a bold title and lines of text."""
    corner = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=color, edgecolor=GREY))
    lines = text.count("\n") + 1 if text else 0
    axes.text(
        centre[0], centre[1] + 0.1 * lines, title, ha="center", va="center", fontsize=11,
        fontweight="bold", color=INK,
    )  # fmt: skip
    axes.text(
        centre[0], centre[1] - 0.12, text, ha="center", va="center", fontsize=9.5, color=INK,
    )  # fmt: skip


def arrow(axes: Axes, start: Point, end: Point, text: str = "", bend: float = 0.0) -> None:
    """An arrow, with words above its middle."""
    how: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(
        FancyArrowPatch(
            start, end, connectionstyle=f"arc3,rad={bend}", color=GREY, linewidth=1.3, **how
        )
    )
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.09
    axes.text(*middle, text, ha="center", va="bottom", fontsize=9, color=GREY)


def inset(figure: Figure, corner: Point, size: Point) -> Axes:
    """Small axes with a frame and without ticks at a place in inches."""
    width, height = figure.get_size_inches()
    place = (corner[0] / width, corner[1] / height, size[0] / width, size[1] / height)
    axes = figure.add_axes(place)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=GREY)
    return axes


def storm(cells: int) -> np.ndarray:
    """A made-up storm on so many cells a side, the mean over each."""
    fine = np.linspace(0, 1, 48)
    x, y = np.meshgrid(fine, fine)
    rain = np.exp(-((x - 0.65) ** 2 + (y - 0.6) ** 2) / 0.05)
    rain += 0.7 * np.exp(-((x - 0.3) ** 2 + (y - 0.25) ** 2) / 0.03)
    return rain.reshape(cells, 48 // cells, cells, 48 // cells).mean((1, 3))


def hydrograph(rain: np.ndarray, memory: float = 0.82) -> np.ndarray:
    """Made-up discharge that follows rain."""
    flow = np.zeros_like(rain)
    for step in range(1, len(rain)):
        flow[step] = memory * flow[step - 1] + (1 - memory) * rain[step - 1]
    return flow


OUTLINE = np.array(
    [
        (1, 0.2), (1.4, 0.9), (1.2, 2), (1.9, 2.8), (3, 3.5),
        (4.2, 3.2), (5, 2.6), (4.8, 1.6), (3.6, 1.1), (2.4, 0.3),
    ]
)  # fmt: skip
STORMS = np.random.default_rng(4).gamma(0.25, 4, 60) * (np.random.default_rng(9).random(60) < 0.5)


def journey() -> Figure:
    """The journey of the data, from raw files to a report."""
    figure, axes = canvas(10.4, 4.3)
    kinds = (
        (3.3, "rain, temperature", "GRIB, NetCDF, GeoTIFF ..."),
        (2.3, "gauge records", "any table of an agency"),
        (1.3, "watersheds", "polygons or gauge points"),
        (0.3, "terrain", "a DEM or flow directions"),
    )
    for y, title, text in kinds:
        axes.text(0.95, y + 0.5, title, fontsize=10.5, fontweight="bold", va="center", color=INK)
        axes.text(0.95, y + 0.26, text, fontsize=8.5, va="center", color=GREY)
        arrow(axes, (2.85, y + 0.38), (3.62, 2.3 + 0.35 * (y - 1.8)))
    rasters, record, outline, terrain = (inset(figure, (0.15, y), (0.7, 0.75)) for y, *_ in kinds)
    rasters.imshow(storm(12), cmap=RAINS, origin="lower", aspect="auto")
    record.plot(hydrograph(STORMS), color=INK, linewidth=1.2)
    outline.add_patch(Polygon(OUTLINE, facecolor="#f7ede2", edgecolor=INK))
    outline.set(xlim=(0.5, 5.5), ylim=(-0.2, 4))
    height = np.hypot(*np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-0.2, 1.6, 40)))
    terrain.imshow(height, cmap="YlOrBr_r", origin="lower", aspect="auto")
    terrain.contour(height, colors="white", linewidths=0.5)
    box(
        axes,
        (4.35, 2.3),
        (1.45, 2.3),
        "pipeline",
        "\n\nregrid exactly,\nclip, trace,\nalign in time",
        DATA,
    )
    arrow(axes, (5.08, 2.3), (5.5, 2.3))
    axes.text(6.15, 3.42, "store", ha="center", fontsize=11, fontweight="bold", color=INK)
    for back in (2, 1, 0):  # steps behind each other
        grid = inset(figure, (5.52 + 0.11 * back, 1.55 + 0.11 * back), (1.1, 1.5))
        grid.imshow(storm(6) * (1 - 0.3 * back), cmap=RAINS, origin="lower", vmin=0, vmax=0.9,
                    aspect="auto", extent=(0, 6, 0, 4))  # fmt: skip
        grid.set(xticks=range(7), yticks=np.linspace(0, 4, 7), xticklabels=[], yticklabels=[])
        grid.tick_params(length=0)
        grid.grid(color="white", linewidth=0.8)
    grid.add_patch(Polygon(OUTLINE, facecolor="none", edgecolor=INK, linewidth=1.4))
    axes.text(6.15, 1.3, "Zarr: rain and its valid\nfraction, coverage, flow\ndistance, discharge",
              ha="center", va="top", fontsize=8.5, color=GREY)  # fmt: skip
    arrow(axes, (6.9, 2.3), (7.3, 2.3))
    box(axes, (7.95, 2.3), (1.25, 2.3), "model", "\n\none head\na watershed,\nin parallel", LEARNED)
    arrow(axes, (8.6, 2.3), (8.98, 2.3))
    axes.text(9.65, 3.42, "report", ha="center", fontsize=11, fontweight="bold", color=INK)
    above, below = (
        inset(figure, (9.02, 2.72), (1.25, 0.55)),
        inset(figure, (9.02, 1.55), (1.25, 1.15)),
    )
    above.bar(range(60), STORMS, width=1, color=RAIN)
    above.invert_yaxis()
    observed = hydrograph(STORMS)
    below.plot(observed, color=INK, linewidth=1.6)
    below.plot(np.r_[observed[1:], 0] * 0.9 + 0.05, color=FLOW, linewidth=1.2)
    axes.text(9.65, 1.3, "discharge, scores\nand floors of\neach watershed",
              ha="center", va="top", fontsize=8.5, color=GREY)  # fmt: skip
    return figure


def network() -> Figure:
    """The network of a head."""
    figure, axes = canvas(9.6, 5.0)
    box(axes, (1.1, 4.3), (1.8, 0.8), "forcings", "of each cell and step", DATA)
    box(axes, (1.1, 2.9), (1.8, 0.8), "snow", "where there is some", FIXED)
    box(axes, (1.1, 1.5), (1.8, 0.9), "soil", "four stores a cell", FIXED)
    box(
        axes,
        (4.1, 1.5),
        (2.4, 1.25),
        "contribution block",
        "velocity, dispersion,\nefficiencies, states",
        LEARNED,
    )
    box(
        axes,
        (4.1, 3.9),
        (2.4, 1.0),
        "CNN",
        "4 x 4 cells, 8 maps,\npooled by flow distance",
        LEARNED,
    )
    box(axes, (6.9, 3.2), (1.7, 1.0), "LSTM", "64 units", LEARNED)
    box(axes, (8.6, 1.5), (1.6, 1.25), "readout", "fast share of the\nrouted rain, gated", LEARNED)
    arrow(axes, (1.1, 3.9), (1.1, 3.3))
    arrow(axes, (1.1, 2.5), (1.1, 1.95))
    arrow(axes, (2.0, 1.5), (2.9, 1.5), "rain, filling")
    arrow(axes, (2.0, 3.1), (2.9, 3.8))
    axes.text(2.3, 3.55, "maps", fontsize=9, color=GREY, ha="center")
    arrow(axes, (4.1, 2.13), (4.1, 3.4))
    axes.text(4.18, 2.72, "map of\ncontributions", fontsize=9, color=GREY, va="center")
    arrow(axes, (5.3, 3.9), (6.05, 3.4))
    axes.text(5.8, 3.75, "8 numbers", fontsize=9, color=GREY)
    arrow(axes, (5.3, 1.9), (6.3, 2.7))
    axes.text(5.45, 2.45, "routed\nrain", fontsize=9, color=GREY, ha="center")
    arrow(axes, (5.3, 1.5), (7.8, 1.5))
    axes.text(6.1, 1.58, "routed rain", fontsize=9, color=GREY, ha="center")
    arrow(axes, (7.5, 2.7), (8.3, 2.13), "")
    arrow(axes, (8.6, 0.88), (8.6, 0.45))
    axes.text(8.6, 0.25, "runoff [mm a step]", ha="center", va="center", fontsize=11,
              fontweight="bold", color=FLOW)  # fmt: skip
    axes.plot([1.1, 1.1, 6.9], [1.05, 0.6, 0.6], color=GREY, linewidth=1.3)
    arrow(axes, (6.9, 0.6), (6.9, 2.7))
    axes.text(4.1, 0.66, "basin means, wetness, season", fontsize=9, color=GREY, ha="center")
    for x, color, text in ((0.4, FIXED, "fixed equations"), (2.2, LEARNED, "learned")):
        axes.add_patch(Rectangle((x - 0.25, 0.11), 0.18, 0.18, facecolor=color, edgecolor=GREY))
        axes.text(x, 0.2, text, fontsize=9, va="center", color=INK)
    return figure


def days() -> Figure:
    """A day of PRISM, one of a gauge in Central Standard Time, and the step that both share."""
    figure, axes = canvas(9.6, 2.9)
    axes.set(xlim=(-34, 38.5), ylim=(0, 2.9))
    for hour in range(-24, 37, 6):
        day = {-24: "18 May", 0: "19 May", 24: "20 May"}.get(hour, "")
        axes.plot([hour, hour], [0.45, 2.75], color="#d0d0d0", linewidth=1.4 if day else 0.6)
        axes.text(hour, 0.3, f"{hour % 24:02d}:00", ha="center", fontsize=9, color=GREY)
        axes.text(hour, 0.08, day, ha="center", fontsize=9, color=INK, fontweight="bold")
    axes.text(-33.6, 0.3, "UTC", fontsize=9, color=GREY)
    bars = (
        (2.2, -12, RAIN, "PRISM's 19 May: it is stored here", 0.2),
        (2.2, 12, RAIN, "PRISM's 20 May: the model pairs", 0.45),
        (1.2, 6, FLOW, "the gauge's 19 May (Central Standard Time)", 0.4),
    )
    for y, start, color, text, strength in bars:
        axes.add_patch(Rectangle((start, y - 0.2), 24, 0.5, facecolor=color, alpha=strength))
        axes.text(start + 0.6, y + 0.05, text, fontsize=9.5, va="center", color=INK)
    how: dict[str, Any] = {"arrowstyle": "<|-|>", "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch((12, 0.72), (30, 0.72), color=GREY, **how))
    axes.text(21, 0.78, "o = 18 h", fontsize=9, ha="center", va="bottom", color=INK)
    axes.text(-33.6, 2.25, "rain", fontsize=10.5, fontweight="bold", va="center", color=INK)
    axes.text(-33.6, 1.25, "discharge", fontsize=10.5, fontweight="bold", va="center", color=INK)
    return figure


def blocks() -> Figure:
    """A store before, during and after an interruption."""
    figure, axes = canvas(9.6, 3.3)
    rows = (
        ("first run", "dddddwww", "a mark is set after the values"),
        ("killed", "dddddppp", "without a mark nothing counts"),
        ("same command", "dddddwww", "does only these again"),
        ("done", "dddddddd", "byte for byte as if undisturbed"),
    )
    colors = {"d": LAND, "w": RAIN, "p": "white"}
    for row, (name, states, note) in enumerate(rows):
        y = 2.9 - 0.75 * row
        axes.text(0.15, y, name, fontsize=11, fontweight="bold", va="center", color=INK)
        axes.text(7.0, y, note, fontsize=9.5, va="center", color=GREY)
        for number, state in enumerate(states):
            corner = 1.75 + 0.64 * number, y - 0.22
            line = "--" if state == "p" else "-"
            how: dict[str, Any] = {"facecolor": colors[state], "edgecolor": GREY, "linestyle": line}
            axes.add_patch(Rectangle(corner, 0.58, 0.44, alpha=0.75, **how))
    for x, state, text in (
        (1.75, "d", "marked"),
        (3.0, "w", "being written"),
        (4.7, "p", "no mark"),
    ):
        axes.add_patch(
            Rectangle((x, 0.06), 0.18, 0.18, facecolor=colors[state], edgecolor=GREY, alpha=0.75)
        )
        axes.text(x + 0.25, 0.15, text, fontsize=9, va="center", color=INK)
    return figure


def store() -> Figure:
    """What lies where in a store, and what `open_watershed` puts together."""
    figure, axes = canvas(9.6, 3.6)
    axes.text(0.3, 3.3, "/region", fontsize=11, fontweight="bold", color=INK)
    axes.text(0.3, 3.08, "one file a block, whole region", fontsize=9, color=GREY)
    for block in range(3, -1, -1):
        grid = inset(figure, (0.3 + 0.3 * block, 0.75 + 0.24 * block), (2.0, 1.45))
        grid.imshow(storm(12) * (0.4 + 0.2 * block), cmap=RAINS, origin="lower", vmin=0, vmax=0.9,
                    aspect="auto", extent=(0, 12, 0, 12))  # fmt: skip
        grid.add_patch(Rectangle((6, 4), 5, 5, facecolor="none", edgecolor=FLOW, linewidth=1.6))
    arrow(axes, (0.55, 0.4), (2.6, 0.4))
    axes.text(1.45, 0.18, "time", fontsize=9, color=GREY, ha="center")
    axes.text(4.0, 3.3, "/watersheds", fontsize=11, fontweight="bold", color=INK)
    axes.text(4.0, 3.08, "a row a site, and their cells", fontsize=9, color=GREY)
    for row, shade in enumerate((0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9)):
        for column in range(5):
            color = FLOW if shade < 0.8 else GREY
            corner = 4.0 + 0.36 * column, 2.7 - 0.23 * row
            how: dict[str, Any] = {"facecolor": color, "edgecolor": "white", "alpha": 0.35}
            axes.add_patch(Rectangle(corner, 0.34, 0.21, **how))
    axes.text(4.0, 0.6, "coverage, flow distance,\noutlet, area, window", fontsize=9, color=GREY,
              va="top")  # fmt: skip
    axes.text(6.5, 3.3, "/gauges", fontsize=11, fontweight="bold", color=INK)
    axes.text(6.5, 3.08, "whole records", fontsize=9, color=GREY)
    for number in range(4):
        record = inset(figure, (6.5, 2.35 - 0.5 * number), (1.2, 0.42))
        record.plot(np.roll(hydrograph(STORMS), 11 * number), linewidth=1.1,
                    color=FLOW if number == 1 else GREY)  # fmt: skip
    box(
        axes,
        (8.75, 1.75),
        (1.5, 1.5),
        "a watershed",
        "\n\nits window,\nits cells,\nits record",
        PALE,
    )
    arrow(axes, (7.72, 1.75), (7.98, 1.75))
    axes.text(8.75, 0.75, "open_watershed", ha="center", fontsize=9.5, color=FLOW)
    return figure


def split() -> Figure:
    """Water years that train, validate and test."""
    figure, axes = canvas(9.6, 2.0)
    random = np.random.default_rng(7)
    storms = random.gamma(0.3, 4, 360) * (random.random(360) < 0.4)
    flow = hydrograph(storms, 0.9)
    curve = inset(figure, (0.3, 0.55), (9.0, 0.95))
    parts = ((0, 4, LAND, "trains"), (4, 5, RAIN, "validates"), (5, 6, FLOW, "tests"))
    for start, end, color, text in parts:
        curve.axvspan(60 * start, 60 * end, color=color, alpha=0.25, linewidth=0)
        axes.text(0.3 + 1.5 * (start + end) / 2, 1.68, text, ha="center", fontsize=11, color=INK)
    curve.plot(flow, color=INK, linewidth=1.1)
    curve.set(xlim=(0, 360), ylim=(0, None))
    for year in range(6):
        axes.text(1.05 + 1.5 * year, 0.32, f"{2016 + year}", ha="center", fontsize=9, color=GREY)
    notes = ("learns from these", "picks the weights", "is scored, once")
    for (start, end, *_), note in zip(parts, notes, strict=True):
        axes.text(0.3 + 1.5 * (start + end) / 2, 0.1, note, ha="center", fontsize=9, color=INK)
    return figure


def save(figure: Figure, name: str) -> None:
    """Write an SVG of the same bytes each time."""
    path = IMAGES / name
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    plt.close(figure)
    print(f"docs/images/{name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Draw all."""
    matplotlib.use("Agg")
    plt.rcParams.update({"svg.hashsalt": "dom-st", "svg.fonttype": "path", "font.size": 10})
    for draw, name in (
        (journey, "journey"),
        (network, "network"),
        (days, "time"),
        (blocks, "blocks"),
        (store, "store"),
        (split, "split"),
    ):
        save(draw(), f"{name}.svg")


if __name__ == "__main__":
    main()
