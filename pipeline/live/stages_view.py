"""A pipeline run in a browser: its stages, its speed and its last errors."""

from __future__ import annotations

import html
import math
from typing import Any

from bokeh.models import (
    Column,
    ColumnDataSource,
    DataTable,
    Div,
    NumberFormatter,
    Row,
    StringFormatter,
    TableColumn,
)
from bokeh.plotting import figure

from pipeline.live.board import Run
from pipeline.live.stages import PipelineStatus
from pipeline.live.words import clock

PARTS = {"done": "#1b7837", "running": "#9ecae1", "failed": "#b2182b", "waiting": "#dddddd"}


class StagesView:
    """What the page shows of a pipeline run.

    Args:
        run: the pipeline run.
    """

    def __init__(self, run: Run) -> None:
        assert isinstance(run.status, PipelineStatus)
        self.run, self.status = run, run.status
        self.shown: dict[str, list[Any]] = {}
        names = ("stage", "tasks", *PARTS, "retried")
        self.source = ColumnDataSource({name: [] for name in names}, name="stages")
        self.plot = figure(
            height=260, y_range=[], title="tasks of each stage", x_axis_label="share",
            x_range=(0, 1), tools="", sizing_mode="stretch_width", name="stage_bars",
        )  # fmt: skip
        self.bars = ColumnDataSource({name: [] for name in ("stage", *PARTS)}, name="shares")
        self.plot.hbar_stack(
            [*PARTS], y="stage", height=0.7, color=[*PARTS.values()], source=self.bars,
            legend_label=[*PARTS],
        )  # fmt: skip
        self.plot.add_layout(self.plot.legend[0], "right")
        columns = []
        for name in names:
            form = StringFormatter() if name == "stage" else NumberFormatter(text_align="right")
            columns.append(TableColumn(field=name, title=name, formatter=form, width=70))
        table = DataTable(
            source=self.source, columns=columns, index_position=None, reorderable=False,
            height=260, width=560,
        )  # fmt: skip
        self.summary, self.errors = Div(name="summary"), Div(name="errors")
        self.root = Column(
            self.summary,
            Row(self.plot, table, sizing_mode="stretch_width"),
            self.errors,
            sizing_mode="stretch_width",
        )

    def update(self, now: float) -> None:
        """Show what has happened since the last call."""
        columns: dict[str, list[Any]] = {
            "stage": list(self.status.stages),
            "tasks": [len(one.seen) for one in self.status.stages.values()],
            "done": [len(one.done) for one in self.status.stages.values()],
            "running": [len(one.running) for one in self.status.stages.values()],
            "failed": [len(one.failed) for one in self.status.stages.values()],
            "waiting": [one.waiting for one in self.status.stages.values()],
            "retried": [one.retried for one in self.status.stages.values()],
        }
        if columns != self.shown:
            self.shown = columns
            if self.plot.y_range.factors != columns["stage"][::-1]:
                self.plot.y_range.factors = columns["stage"][::-1]
            self.source.data = columns
            self.bars.data = {
                "stage": columns["stage"],
                **{
                    name: [
                        part / max(1, tasks)
                        for part, tasks in zip(columns[name], columns["tasks"], strict=True)
                    ]
                    for name in PARTS
                },
            }
            self.errors.text = "<br>".join(html.escape(line) for line in self.status.errors)
        if self.run.state == "running" or self.run.state not in self.summary.text:
            self._say_summary(now)

    def _say_summary(self, now: float) -> None:
        status, run = self.status, self.run
        rasters, size = status.per_second()
        parts = [
            f"<b>{html.escape(status.title)}</b>",
            run.state,
            f"{status.rasters_done} of {status.rasters} rasters",
            f"running for {clock((run.ended or now) - run.began)}",
        ]
        if math.isfinite(rasters):
            parts.append(f"{rasters:.1f} rasters/s, {size / 1e6:.1f} MB/s of raw files")
            if run.state == "running":
                parts.append(f"about {clock(status.time_left())} left")
        parts.append(html.escape(status.folder))
        self.summary.text = " \N{MIDDLE DOT} ".join(parts)
