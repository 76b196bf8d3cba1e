"""The page `/domst` in a browser: one run, chosen from those of the scheduler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from bokeh.document import Document
from bokeh.models import Column, Div, Select

from pipeline.live.board import Board, Run
from pipeline.live.stages_view import StagesView
from pipeline.live.training import TrainingStatus
from pipeline.live.training_view import TrainingView

if TYPE_CHECKING:
    from distributed import Scheduler

REFRESH_MILLISECONDS = 1000
QUIET = "No run of Dom-ST is on this scheduler."


class View(Protocol):
    """What a page shows of one run."""

    root: Column

    def update(self, now: float) -> None:
        """Show what has happened since the last call."""


class Page:
    """The content of the page, for one visitor.

    Args:
        board: the runs of the scheduler.
        scheduler: knows the names of the workers.
    """

    def __init__(self, board: Board, scheduler: Scheduler) -> None:
        self.board, self.scheduler = board, scheduler
        self.shown: Run | None = None
        self.view: View | None = None
        self.choice = Select(title="Run", name="run", options=[], width=640, visible=False)
        self.choice.on_change("value", lambda attr, old, new: self.update())
        self.note = Div(text=QUIET, name="note")
        self.root = Column(self.choice, self.note, sizing_mode="stretch_width", margin=10)

    def update(self) -> None:
        """Show what has happened since the last call."""
        now, runs = time.time(), self.board.runs
        options = [(name, label(run)) for name, run in reversed(runs.items())]
        if options != self.choice.options:
            before = self.choice.options[0][0] if self.choice.options else ""
            self.choice.options, self.choice.visible = options, bool(options)
            if self.choice.value not in runs or self.choice.value == before:  # follow the newest
                self.choice.value = options[0][0] if options else ""
        run = runs.get(self.choice.value)
        if run is not self.shown:
            self.shown, self.view = run, None
            if run is not None:
                self.view = (
                    TrainingView(run, self.scheduler)
                    if isinstance(run.status, TrainingStatus)
                    else StagesView(run)
                )
            self.note.visible = run is None
            self.root.children = [self.choice, self.note, *([self.view.root] if self.view else [])]
        if self.view:
            self.view.update(now)


def label(run: Run) -> str:
    """A run in the list of runs."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began))
    kind = "training" if isinstance(run.status, TrainingStatus) else "pipeline"
    return f"{run.status.title}, {kind}, {began}, {run.state}"


def open_page(board: Board, scheduler: Scheduler, variables: dict[str, Any], doc: Document) -> None:
    """Fill a document of the dashboard, as its own pages are filled."""
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env

    page = Page(board, scheduler)
    page.update()
    doc.title = "Dask: Dom-ST"
    doc.add_root(page.root)
    doc.add_periodic_callback(page.update, REFRESH_MILLISECONDS)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(variables)
    doc.theme = BOKEH_THEME
