"""A pipeline run in a browser: its stages, its speed and its last errors."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np
from bokeh.models import (
    AllIndices,
    ColorBar,
    Column,
    ColumnDataSource,
    DataTable,
    Div,
    LinearColorMapper,
    NumberFormatter,
    Row,
    StringFormatter,
    TableColumn,
)
from bokeh.palettes import YlGnBu9
from bokeh.plotting import figure

from pipeline.live.board import Run
from pipeline.live.rain import RainPicture
from pipeline.live.stages import PipelineStatus
from pipeline.live.words import clock

PARTS = {"done": "#1b7837", "running": "#9ecae1", "failed": "#b2182b", "waiting": "#dddddd"}
RAIN = ("values", "x", "y", "width", "height")  # of the picture, its corner and size in degrees
RAIN_COLOURS = YlGnBu9[::-1]
LEAST_RAIN = 0.1  # [mm per step] at the upper end of the colours


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
        self.table = DataTable(
            source=self.source, columns=columns, index_position=None, reorderable=False,
            height=260, width=560,
        )  # fmt: skip
        self.summary, self.errors = Div(name="summary"), Div(name="errors")
        self.drawn: RainPicture | None = None
        self.rain = ColumnDataSource({name: [] for name in RAIN}, name="rain")
        self.colours = LinearColorMapper(RAIN_COLOURS, low=0, high=1, nan_color="#cccccc")
        self.map = draw_map(self.status, self.rain, self.colours)
        self.root = Column(
            self.summary,
            Row(self.plot, self.table, sizing_mode="stretch_width"),
            self.map,
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
            self.table.view.filter = AllIndices()  # Bokeh redraws a table for it alone
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
        if self.status.rain is not self.drawn:
            self._draw_rain()
        if self.run.state == "running" or self.run.state not in self.summary.text:
            self._say_summary(now)

    def _draw_rain(self) -> None:
        """Draw the rain of the block just done."""
        picture = self.drawn = self.status.rain
        assert picture is not None
        west, _, _, north = self.status.bounds
        height, width = (size * picture.cells * self.status.cell for size in picture.values.shape)
        values = picture.values[::-1].astype(np.float32)  # Bokeh draws the first row at the bottom
        self.colours.high = max(float(np.nanmax(values, initial=0.0)), LEAST_RAIN)
        self.rain.data = dict(
            zip(RAIN, ([values], [west], [north - height], [width], [height]), strict=True)
        )
        self.map.title.text = f"rain of the block from {picture.block}"
        self.map.visible = True

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


def draw_map(
    status: PipelineStatus, source: ColumnDataSource, colours: LinearColorMapper
) -> figure:
    """Draw the region for pictures of its rain; it is seen from the first picture on."""
    west, south, east, north = status.bounds
    wide = max(0.3, min(2.5, (east - west) / (north - south)))
    plot = figure(
        height=340, width=int(120 + 280 * wide), x_range=(west, east), y_range=(south, north),
        title="rain", x_axis_label="longitude", y_axis_label="latitude", tools="", visible=False,
        toolbar_location=None, name="rain_map",
    )  # fmt: skip
    plot.image("values", x="x", y="y", dw="width", dh="height", color_mapper=colours, source=source)
    plot.add_layout(ColorBar(color_mapper=colours, width=8, title="mm per step"), "right")
    plot.grid.visible = False
    return plot
