"""Hydrographs: rain, observed and simulated discharge of one head.

Drawn without pyplot, which has global state: several threads may draw at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from model.output.journal import write_bytes

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]

# Okabe and Ito's palette, safe for all colour vision and in grey print.
OBSERVED, SIMULATED, RAIN = "#1a1a1a", "#d55e00", "#56b4e9"
QUIET, BAND, NOTE = "#5f5f5f", "#f0f0f0", "#f0e442"
SIZE_INCHES = (11.0, 4.8)
DOTS_PER_INCH = 160
HEADROOM = 1.06  # top of an axis, relative to its largest value
EVENT_DAYS = (6.0, 12.0)  # shown before and after the peak of the largest event, daily steps
SHORT_STEP_EVENT_DAYS = (2.0, 5.0)  # the same for steps shorter than a day

LEFT, RIGHT = 0.075, 0.985  # edges of the panels, as shares of the figure's width
MAX_DAYS_WITH_DAY_TICKS = 60  # longer periods have ticks at months
MONTH_STRIDES = (1, 2, 3, 6, 12, 24, 60, 120, 240, 1200)  # months between two ticks
END_MARGIN = 0.04  # share at the end of a panel without a tick, which its neighbour would touch
MINUS, DASH = "\u2212", "\u2013"  # typographic minus; a dash for a score that is undefined

# The scores of `metrics.evaluate` that are printed, in this order.
SCORE_TEXT = {
    "nse": "NSE {:.2f}",
    "kge": "KGE {:.2f}",
    "pbias": "PBIAS {:+.1f} %",
    "fhv": "FHV {:+.1f} %",
    "peak_lag": "peak lag {:.1f} steps",
    "rmse": "RMSE {:.3g} m³ s⁻¹",
    "n": "n = {:.0f}",
}


def label(name: str, site_no: str) -> str:
    """Return a gauge's name with its number, unless the name holds the number."""
    return name if site_no in name else f"{name} ({site_no})"


def hydrograph(
    path: str | os.PathLike[str],
    *,
    times: Times,
    observed: npt.ArrayLike,
    simulated: npt.ArrayLike,
    rain: npt.ArrayLike,
    title: str,
    scores: Mapping[str, float],
    baselines: Mapping[str, float] | None = None,
    note: str | None = None,
) -> Path:
    """Write the hydrograph of one head as a PNG of 1760 x 768 pixels, whole or not at all.

    Args:
        path: of the PNG.
        times: (T,) datetime64, starts of evenly spaced steps, T >= 2.
        observed, simulated: (T,) [m3 s-1], NaN where missing: a gap in the line.
        rain: (T,) basin mean [mm per step].
        title: above the plot.
        scores: of `metrics.evaluate`; those in SCORE_TEXT are printed, NaN as a dash.
        baselines: NSE of the floors by name, printed below the scores.
        note: printed on a yellow ground above the plot, such as "synthetic sample world".

    Returns:
        The path.

    Raises:
        ValueError: lengths that differ, uneven times, or no value of discharge at all.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    figure = hydrograph_figure(
        times=times,
        observed=observed,
        simulated=simulated,
        rain=rain,
        title=title,
        scores=scores,
        baselines=baselines,
        note=note,
    )
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    write_bytes(path, content.getvalue())
    return path


def hydrograph_figure(
    *,
    times: Times,
    observed: npt.ArrayLike,
    simulated: npt.ArrayLike,
    rain: npt.ArrayLike,
    title: str,
    scores: Mapping[str, float],
    baselines: Mapping[str, float] | None = None,
    note: str | None = None,
) -> Figure:
    """Draw the figure that `hydrograph` writes; the same arguments and errors.

    The whole period is on the left, the largest event on the right; rain hangs from the top.
    """
    starts = np.asarray(times)
    obs, sim, depth = (np.asarray(values, np.float64) for values in (observed, simulated, rain))
    edges = _edges(starts)
    if not starts.shape == obs.shape == sim.shape == depth.shape:
        raise ValueError(
            f"expected series of one length, got times {starts.shape}, observed {obs.shape},"
            f" simulated {sim.shape} and rain {depth.shape}"
        )
    flows = np.concatenate([obs, sim])
    flows = flows[np.isfinite(flows)]
    if not flows.size:
        raise ValueError(f"{title}: no finite discharge in {starts[0]} to {starts[-1]}")

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(2.6, 1), height_ratios=(1, 3.2))
    grid.update(left=LEFT, right=RIGHT, bottom=0.075, top=0.775, wspace=0.06, hspace=0.06)
    centres = (edges[:-1] + edges[1:]) / 2
    before, after = EVENT_DAYS if edges[1] - edges[0] >= 1 else SHORT_STEP_EVENT_DAYS
    which, ranked = ("observed", obs) if np.isfinite(obs).any() else ("simulated", sim)
    peak = centres[int(np.nanargmax(ranked))]
    event = (max(edges[0], peak - before), min(edges[-1], peak + after))

    wettest = float(np.nanmax(np.append(depth, 0.0))) or 1.0
    for column, period in enumerate(((edges[0], edges[-1]), event)):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        # An edge keeps the bars of single hours visible when a year is 1,000 pixels wide.
        above.stairs(depth, edges, fill=True, facecolor=RAIN, edgecolor=RAIN, linewidth=0.6)
        above.set_ylim(wettest * HEADROOM, 0.0)
        width = 1.1 if column == 0 else 1.6
        below.plot(centres, obs, color=OBSERVED, linewidth=width, label="observed")
        below.plot(centres, sim, color=SIMULATED, linewidth=width, label="simulated")
        below.set_ylim(min(0.0, flows.min() * HEADROOM), max(flows.max(), 1e-9) * HEADROOM)
        for axes in (above, below):
            axes.set_xlim(*period)
            _style_axes(axes, ticks=3 if axes is above else 5, labelled=column == 0)
        above.spines["bottom"].set_visible(False)
        above.set_xticks([])
        below.spines["top"].set_visible(False)
        below.set_xticks(*_date_ticks(*period, most=(9, 5)[column], year=column == 0))
        if column == 0:
            above.set_ylabel(f"rain\n(mm per {_step_name(edges)})", fontsize=9)
            below.set_ylabel("discharge\n(m³ s⁻¹)", fontsize=9)
            for axes in (above, below):
                axes.axvspan(*event, color=BAND, linewidth=0, zorder=0)
            lines = below.get_lines()
        else:
            above.set_title(f"largest {which} event (shaded on the left)", fontsize=9, color=QUIET)
    figure.align_ylabels()
    figure.legend(
        handles=lines, loc="center right", bbox_to_anchor=(RIGHT, 0.887), ncols=2,
        frameon=False, fontsize=9.5, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    _head(figure, title, scores, baselines or {}, note)
    return figure


def _head(
    figure: Figure,
    title: str,
    scores: Mapping[str, float],
    baselines: Mapping[str, float],
    note: str | None,
) -> None:
    """Write title, scores and floors above the panels, and the note at the right."""
    room = RIGHT - LEFT
    if note:
        ground = {"boxstyle": "square,pad=0.4", "facecolor": NOTE, "edgecolor": "none"}
        label = figure.text(RIGHT - 0.005, 0.945, note, fontsize=10, fontweight="bold", bbox=ground)
        label.set(ha="right", va="center")
        room -= _width(figure, label) + 0.02
    heading = figure.text(
        LEFT, 0.945, title, fontsize=12, fontweight="bold", va="center", parse_math=False
    )
    heading.set_fontsize(12 * min(1.0, room / _width(figure, heading)))

    printed = [
        text.format(scores[name]) if np.isfinite(scores[name]) else f"{text.split(' {')[0]} {DASH}"
        for name, text in SCORE_TEXT.items()
        if name in scores
    ]
    line = "   ".join(printed).replace("-", MINUS)
    figure.text(LEFT, 0.887, line, fontsize=9.5, color=SIMULATED, va="center")
    if baselines:
        floors = "   ".join(
            f"{name} {f'{value:.2f}'.replace('-', MINUS) if np.isfinite(value) else DASH}"
            for name, value in baselines.items()
        )
        figure.text(
            LEFT, 0.838, f"NSE of the floors:   {floors}", fontsize=9, color=QUIET, va="center"
        )


def _width(figure: Figure, text: Text) -> float:
    """Return a text's width as a share of the figure's."""
    return float(text.get_window_extent().width / figure.bbox.width)


def _style_axes(axes: Axes, ticks: int, labelled: bool) -> None:
    """Draw a thin grey frame without a right side, and few ticks."""
    axes.spines["right"].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(QUIET)
        spine.set_linewidth(0.7)
    axes.tick_params(labelsize=8.5, color=QUIET, width=0.7, labelleft=labelled)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=ticks, min_n_ticks=2))


def _date_ticks(first: float, last: float, most: int, year: bool) -> tuple[Array, list[str]]:
    """Return about `most` evenly spaced dates in a period [days since 1970], and their labels.

    Short periods have ticks at whole days, labelled with the year if `year`; longer ones at whole
    months, always with the year.
    """
    if last - first <= MAX_DAYS_WITH_DAY_TICKS:
        days = np.arange(np.ceil(first), last, max(1, np.ceil((last - first) / most)))
        form = "%d %b %Y" if year else "%d %b"
    else:
        begin, end = (np.datetime64(int(day), "D").astype("datetime64[M]") for day in (first, last))
        months = np.arange(begin, end + 1)
        stride = next(s for s in MONTH_STRIDES if months.size / s <= most)
        months = months[months.astype(np.int64) % stride == 0]
        days = months.astype("datetime64[D]").astype(np.float64)
        days, form = days[days >= first], "%b %Y"
    days = days[days <= last - END_MARGIN * (last - first)]
    return days, [f"{np.datetime64(int(day), 'D').item():{form}}" for day in days]


def _edges(times: Times) -> Array:
    """Return the ends of all steps, (T + 1,) [days since 1970]."""
    if times.dtype.kind != "M" or times.ndim != 1 or times.size < 2:
        raise ValueError(f"times: expected (T >= 2,) datetime64, got {times.shape} {times.dtype}")
    gaps = np.unique(np.diff(times))
    if gaps.size != 1 or not gaps[0] > np.timedelta64(0):
        raise ValueError(f"times: expected even steps, got {[str(gap) for gap in gaps[:3]]}")
    ends = np.append(times, times[-1] + gaps[0])
    return np.asarray((ends - np.datetime64(0, "s")) / np.timedelta64(1, "D"), np.float64)


def _step_name(edges: Array) -> str:
    hours = round((edges[1] - edges[0]) * 24, 6)
    return {1.0: "hour", 24.0: "day"}.get(hours, "step")
