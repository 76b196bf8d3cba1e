"""A training in a browser: map, table and curves of its heads, and the time of its workers."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bokeh.models import (
    AllIndices,
    CDSView,
    ColorBar,
    Column,
    ColumnDataSource,
    DataTable,
    Div,
    GroupFilter,
    HoverTool,
    LinearColorMapper,
    NumberFormatter,
    Row,
    StringFormatter,
    TableColumn,
    TapTool,
)
from bokeh.palettes import Category10_10, Viridis256
from bokeh.plotting import figure

from pipeline.live.board import Run
from pipeline.live.outlines import unpack_outline
from pipeline.live.training import HeadStatus, TrainingStatus
from pipeline.live.words import clock

if TYPE_CHECKING:
    from distributed import Scheduler

WAITING_COLOUR = "#cccccc"
HEADS_A_SECOND = 1000  # beyond so many heads a browser redraws the map less often
HATCH = {"training": "right_diagonal_line", "failed": "cross"}
DASH = "\u2013"  # for a number that is not known
MAX_TROUBLES = 20  # lines
MAX_CURVES = len(Category10_10)
LIVE_COLUMNS = ("state", "worker", "update", "loss", "nse", "left", "restarts")
COLUMNS = (  # field, title, format, width
    ("site", "site", None, 90),
    ("name", "name", None, 180),
    ("state", "state", None, 70),
    ("worker", "worker", None, 110),
    ("update", "update", "0", 60),
    ("loss", "loss", "0.000", 60),
    ("nse", "NSE", "0.000", 60),
    ("left", "time left", "00:00:00", 70),
    ("restarts", "restarts", "0", 60),
)


class TrainingView:
    """What the page shows of a training.

    Args:
        run: the training.
        scheduler: knows the names of the workers.
    """

    def __init__(self, run: Run, scheduler: Scheduler) -> None:
        assert isinstance(run.status, TrainingStatus)
        self.run, self.status, self.scheduler = run, run.status, scheduler
        self.heads = list(self.status.heads.values())
        self.seen, self.redrawn = -1, 0.0
        outlines = [unpack_outline(head.outline) for head in self.heads]
        self.source = ColumnDataSource(
            {
                "site": [head.site for head in self.heads],
                "name": [head.name for head in self.heads],
                "xs": [x for x, _ in outlines],
                "ys": [y for _, y in outlines],
                **self._columns(self.heads),
            },
            name="heads",
        )
        self.source.selected.on_change("indices", lambda attr, old, new: self._draw_curves())
        self.curves = ColumnDataSource(
            {name: [] for name in ("update", "loss", "nse", "site", "colour")}, name="curves"
        )
        self.workers = ColumnDataSource({"rank": [], "busy": [], "worker": []}, name="workers")
        self.summary, self.troubles = Div(name="summary"), Div(name="troubles")
        self.table = draw_table(self.source)
        self.root = Column(
            self.summary,
            Row(draw_map(self.source), self.table, sizing_mode="stretch_width"),
            Row(
                self._curve_figure("loss", "loss"),
                self._curve_figure("nse", "validation NSE"),
                self._worker_figure(),
                sizing_mode="stretch_width",
            ),
            self.troubles,
            sizing_mode="stretch_width",
        )

    def update(self, now: float) -> None:
        """Show what has happened since the last call."""
        due = now - self.redrawn > len(self.heads) / HEADS_A_SECOND or self.run.state != "running"
        if self.seen != self.status.events and due:
            changed = [i for i, head in enumerate(self.heads) if head.changed > self.seen]
            self.seen, self.redrawn = self.status.events, now
            columns = self._columns([self.heads[i] for i in changed])
            self.source.patch(
                {name: list(zip(changed, values, strict=True)) for name, values in columns.items()}
            )
            self.table.view.filter = AllIndices()  # Bokeh redraws a table for it, not for a patch
            self._draw_curves()
            self._say_troubles()
        if self.run.state == "running" or not self.summary.text:
            self._say_summary(now)
            self._draw_workers(now)
        elif self.run.state not in self.summary.text:
            self._say_summary(now)

    def _columns(self, heads: Sequence[HeadStatus]) -> dict[str, list[Any]]:
        """Values of the columns that change."""
        rows = [
            (
                head.state,
                self._place(head),
                head.update,
                head.loss,
                head.nse,
                self.status.time_left(head),
                head.restarts + max(0, head.attempts - 1),
            )
            for head in heads
        ]
        columns = zip(*rows, strict=True) if rows else ([] for _ in LIVE_COLUMNS)
        return dict(zip(LIVE_COLUMNS, map(list, columns), strict=True))

    def _place(self, head: HeadStatus) -> str:
        """The worker of a head, and its GPU."""
        device = "" if head.device in ("", "cpu") else f" {head.device}"
        return self._worker_name(head.worker) + device

    def _worker_name(self, address: str) -> str:
        known = self.scheduler.workers.get(address)
        name = address if known is None else str(known.name)
        return f"worker {name}" if name.isdigit() else name

    def _draw_curves(self) -> None:
        """Draw the curves of the chosen heads, or of some that are trained."""
        chosen = [self.heads[i] for i in self.source.selected.indices[:MAX_CURVES]]
        if not chosen:
            begun = [head for head in self.heads if head.curve.update]
            begun.sort(key=lambda head: -head.changed)
            chosen = sorted(begun[: MAX_CURVES // 2], key=lambda head: head.site)
        self.curves.data = {
            "update": [list(head.curve.update) for head in chosen],
            "loss": [list(head.curve.loss) for head in chosen],
            "nse": [list(head.curve.nse) for head in chosen],
            "site": [head.site for head in chosen],
            "colour": list(Category10_10[: len(chosen)]),
        }

    def _draw_workers(self, now: float) -> None:
        """Draw the busy time of each worker, the busiest first."""
        busy = sorted(self.status.workers_busy(now).items(), key=lambda one: -one[1])
        self.workers.data = {
            "rank": list(range(1, len(busy) + 1)),
            "busy": [seconds for _, seconds in busy],
            "worker": [self._worker_name(worker) for worker, _ in busy],
        }

    def _say_summary(self, now: float) -> None:
        status, run = self.status, self.run
        counts = f"{len(self.heads)} heads: " + ", ".join(
            f"{status.count(state)} {state}" for state in ("training", "waiting", "done", "failed")
        )
        busy = list(status.workers_busy(now).values())
        parts = [
            f"<b>{html.escape(status.title)}</b>",
            run.state,
            counts,
        ]
        if status.trunk:
            parts.append(f"trunk: update {status.trunk}")
        parts.append(f"running for {clock((run.ended or now) - run.began)}")
        left = status.run_time_left()
        if math.isfinite(left):
            parts.append(f"about {clock(left)} left")
        if busy and sum(busy):
            imbalance = max(busy) * len(busy) / sum(busy)
            parts.append(f"busiest worker / mean: {imbalance:.2f}")
        parts.append(html.escape(status.folder))
        self.summary.text = " · ".join(parts)

    def _say_troubles(self) -> None:
        """Name the heads that restarted or were given up."""
        lines = [html.escape(line) for line in self.status.failures]
        for head in self.heads:
            if head.restarts:
                lines.append(f"{head.site}: loss not finite, {head.restarts} restarts")
            if head.attempts > 1:
                lines.append(f"{head.site}: begun {head.attempts} times")
        more = len(lines) - MAX_TROUBLES
        if more > 0:
            lines = [*lines[:MAX_TROUBLES], f"and {more} more"]
        self.troubles.text = "<br>".join(lines)

    def _curve_figure(self, column: str, title: str) -> figure:
        plot = figure(
            height=260, title=f"{title} of the chosen heads", x_axis_label="update",
            sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset", name=column,
        )  # fmt: skip
        plot.multi_line(
            "update", column, color="colour", line_width=2, legend_field="site", source=self.curves
        )
        plot.legend.label_text_font_size, plot.legend.background_fill_alpha = "8pt", 0.6
        plot.legend.location = "top_right" if column == "loss" else "bottom_right"
        plot.toolbar.autohide = True
        plot.add_tools(HoverTool(tooltips=[("site", "@site")]))
        return plot

    def _worker_figure(self) -> figure:
        plot = figure(
            height=260, title="busy time of each worker", y_axis_label="s", tools="reset",
            sizing_mode="stretch_width", name="busy",
        )  # fmt: skip
        plot.vbar("rank", top="busy", width=0.8, color=Viridis256[100], source=self.workers)
        plot.y_range.start = 0
        plot.xaxis.visible = False
        plot.add_tools(HoverTool(tooltips=[("worker", "@worker"), ("busy", "@busy{0} s")]))
        return plot


def draw_map(source: ColumnDataSource) -> figure:
    """Draw the watersheds coloured by validation NSE, hatched while they are trained."""
    count = max(1, len(source.data["site"]))
    colours = LinearColorMapper(Viridis256, low=0, high=1, nan_color=WAITING_COLOUR)
    plot = figure(
        height=420, width=480, match_aspect=True, x_axis_label="longitude", y_axis_label="latitude",
        title="validation NSE (grey: none, hatched: training, crossed: given up)",
        tools="pan,wheel_zoom,reset", name="map",
    )  # fmt: skip
    areas = plot.patches(
        "xs", "ys", source=source, line_color="#444444", line_width=min(0.5, 200 / count),
        fill_color={"field": "nse", "transform": colours},
        nonselection_fill_alpha=0.6, selection_line_width=2, selection_line_color="black",
    )  # fmt: skip
    for state, pattern in HATCH.items():
        view = CDSView(filter=GroupFilter(column_name="state", group=state))
        plot.patches(
            "xs", "ys", source=source, view=view, fill_alpha=0, line_alpha=0,
            hatch_pattern=pattern, hatch_color="black", hatch_alpha=0.5,
        )  # fmt: skip
    plot.add_layout(ColorBar(color_mapper=colours, width=8), "right")
    plot.add_tools(
        TapTool(renderers=[areas]),
        HoverTool(
            renderers=[areas],
            tooltips=[("", "@site @name"), ("NSE", "@nse{0.000}"), ("update", "@update")],
        ),
    )
    return plot


def draw_table(source: ColumnDataSource) -> DataTable:
    """Draw the table of heads; a click on a title sorts it."""
    columns = []
    for field, title, form, width in COLUMNS:
        formatter = (
            NumberFormatter(format=form, nan_format=DASH, text_align="right")
            if form
            else StringFormatter()
        )
        columns.append(TableColumn(field=field, title=title, formatter=formatter, width=width))
    return DataTable(
        source=source,
        columns=columns,
        index_position=None,
        reorderable=False,
        height=420,
        sizing_mode="stretch_width",
        name="table",
    )
