"""Draw the watersheds of a plan: polygons, cells, rivers, and how outlets were moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.errors import RunError
from pipeline.run.plan import Plan
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.polygons import Watershed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CELLS = 300  # on a side, of which the edges are drawn
MAX_PIXELS = 2**22  # of the terrain, of which rivers are drawn
MAX_DETAILS = 6  # outlets that are drawn by themselves
SNAPS = 2.0  # what is drawn around an outlet, in distances by which it was moved, at least
LEAST_DETAIL = 2000.0  # the same [m], at least
RIVERS, BROOKS = 1 / 200, 1 / 2000  # shares of the largest upstream area that are drawn
METRES_PER_DEGREE = 111_320.0  # of latitude, about
BLUE, GREY, RED = "#2b6cb0", "#c8ccd2", "#c0392b"


class Rivers(NamedTuple):
    """Pixels with a large upstream area, from each to the next, and their widths.

    Attributes:
        lines: longitudes and latitudes of both ends, (n, 2, 2).
        area: upstream area [m2], (n,).
    """

    lines: NDArray[np.float64]
    area: NDArray[np.float64]


def write_map(plan: Plan, path: Path) -> None:
    """Draw a plan's watersheds into a PNG file.

    Raises:
        RunError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    moved = [one for one in plan.watersheds if one.outlet is not None][:MAX_DETAILS]
    figure = Figure(figsize=(12 if moved else 8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    rivers = _rivers(plan)
    layout: Any = [["map", "map"] * 2 + [f"{k}", f"{k + 1}"] for k in range(0, len(moved), 2)]
    if len(moved) % 2:
        layout[-1][-1] = "."
    axes = figure.subplot_mosaic(layout or [["map"]])
    _draw_region(axes["map"], plan, rivers)
    for k, watershed in enumerate(moved):
        _draw_outlet(axes[f"{k}"], watershed, rivers)
    if moved:
        axes["0"].legend(loc="upper right", fontsize=7)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise RunError(f"{path}: not written ({error}): expected permission to write") from error


def _rivers(plan: Plan) -> Rivers | None:
    """Rivers around the watersheds; None without terrain, or if there is too much of it."""
    if plan.catalog.terrain is None:
        return None
    from pipeline.watersheds.flow_directions import open_terrain

    terrain = open_terrain(plan.catalog)
    region = shapely.box(*shapely.total_bounds([one.polygon for one in plan.watersheds]))
    window = terrain.window_around(region, 2 * LEAST_DETAIL, 1, 0.0)
    if window is None or np.prod([part.stop - part.start for part in window]) > MAX_PIXELS:
        return None
    field = terrain.flow_field(window)
    area = field.upstream_area.ravel()
    largest = max(one.area for one in plan.watersheds)
    pixels = np.flatnonzero(area >= BROOKS * largest)
    below = field.flow.idxs_ds[pixels]
    lon, lat = field.lon.ravel(), field.lat.ravel()
    ends = [np.column_stack([lon[k], lat[k]]) for k in (pixels, below)]
    return Rivers(np.stack(ends, axis=1), area[pixels])


def _draw_region(axes: Axes, plan: Plan, rivers: Rivers | None) -> None:
    """Draw cells, rivers, polygons and outlets of all watersheds."""
    grid = plan.grid
    west, south, east, north = grid.bounds
    if max(grid.nx, grid.ny) <= MAX_CELLS:
        axes.vlines(grid.x_edges, south, north, color=GREY, linewidth=0.4)
        axes.hlines(grid.y_edges, west, east, color=GREY, linewidth=0.4)
    largest = max(one.area for one in plan.watersheds)
    for one in sorted(plan.watersheds, key=lambda one: -one.area):
        for part in shapely.get_parts(one.polygon):
            axes.fill(*part.exterior.xy, facecolor=BLUE, alpha=0.12, edgecolor="none")
            axes.plot(*part.exterior.xy, color="black", linewidth=0.9)
        point = shapely.point_on_surface(one.polygon)
        at = (point.x, point.y) if one.outlet is None else one.outlet.pixel
        axes.annotate(
            one.site_no, at, (4, 4), textcoords="offset points", fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1},
        )  # fmt: skip
        if one.outlet is not None:
            axes.plot(*one.outlet.pixel, "o", color=RED, markersize=4)
    if rivers is not None:
        _draw_rivers(axes, rivers, RIVERS * largest, largest)
    margin = 0.02 * max(east - west, north - south)
    _frame(axes, (west - margin, south - margin, east + margin, north + margin))
    axes.set_title(plan.catalog.title, fontsize=10)


def _draw_outlet(axes: Axes, watershed: Watershed, rivers: Rivers | None) -> None:
    """Draw a gauge, the outlet to which it was moved, and the rivers there."""
    outlet = watershed.outlet
    assert outlet is not None
    if rivers is not None:
        _draw_rivers(axes, rivers, 0.0, watershed.area)
    for part in shapely.get_parts(watershed.polygon):
        axes.fill(*part.exterior.xy, facecolor=BLUE, alpha=0.12, edgecolor="none")
        axes.plot(*part.exterior.xy, color="black", linewidth=0.9)
    axes.plot(*np.transpose([outlet.gauge, outlet.pixel]), color=RED, linewidth=1)
    axes.plot(*outlet.gauge, "x", color="black", markersize=8, label="gauge")
    axes.plot(*outlet.pixel, "o", color=RED, markersize=6, label="outlet")
    radius = max(SNAPS * outlet.moved, LEAST_DETAIL) / METRES_PER_DEGREE
    lon, lat = outlet.pixel
    wide = radius / np.cos(np.radians(lat))
    _frame(axes, (lon - wide, lat - radius, lon + wide, lat + radius))
    known = watershed.reported_area
    against = "not known" if known is None else f"{known / M2_PER_KM2:.4g}"
    axes.set_title(
        f"{watershed.site_no}: {watershed.area / M2_PER_KM2:.4g} km2 ({against})\n"
        f"moved {outlet.moved:.0f} m",
        fontsize=8,
    )
    axes.tick_params(labelsize=6)


def _draw_rivers(axes: Axes, rivers: Rivers, least: float, largest: float) -> None:
    """Draw the rivers that drain at least `least` m2, wider if they drain more."""
    from matplotlib.collections import LineCollection

    some = rivers.area >= least
    width = 0.4 + 2.2 * np.sqrt(np.minimum(rivers.area[some] / largest, 1))
    lines: Any = rivers.lines[some]
    axes.add_collection(LineCollection(lines, colors=BLUE, linewidths=width, capstyle="round"))


def _frame(axes: Axes, bounds: tuple[float, float, float, float]) -> None:
    """Show a part of the map, at the scale of its middle."""
    west, south, east, north = bounds
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(1 / np.cos(np.radians((south + north) / 2)))
