"""The plugin of Dask's scheduler that shows the page `/domst`."""

from __future__ import annotations

import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from pipeline.live.board import Board, lines_topic, live_topic, retried_topic

if TYPE_CHECKING:
    from distributed import Scheduler

NAME = "dom-st-live"
PAGE = "domst"


class LivePlugin(SchedulerPlugin):
    """Follows the runs of a scheduler; the first client that has one registers it.

    Attributes:
        board: the runs.
    """

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.board = Board()
        self.scheduler: Scheduler | None = None
        self.collector: Any = None

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page to the dashboard and the gauges to `/metrics`, if the scheduler has both."""
        self.scheduler = scheduler
        add_page(scheduler, self.board)
        if find_spec("prometheus_client"):
            from prometheus_client import REGISTRY

            from pipeline.live.metrics import LiveCollector

            self.collector = LiveCollector(self.board)
            REGISTRY.register(self.collector)

    async def close(self) -> None:
        """Take the gauges away: other schedulers of this process have their own."""
        if self.collector is not None:
            from prometheus_client import REGISTRY

            REGISTRY.unregister(self.collector)
            self.collector = None

    def log_event(self, topic: str, msg: Any) -> None:
        """Take an event."""
        run = self.board.log_event(topic, msg, time.time())
        if run is not None:
            self._drop_events(run)

    def transition(self, key: Any, start: str, finish: str, *_: Any, **about: Any) -> None:
        """A task goes from one state to another."""
        if isinstance(key, str):
            error = str(about.get("exception_text", ""))
            run = self.board.move_task(key, start, finish, error)
            if run is not None:
                assert self.scheduler is not None
                self.scheduler.log_event(retried_topic(run), {"key": key})

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """A client has gone, and its runs with it."""
        for run in self.board.lose_client(client, time.time()):
            self._drop_events(run)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """A worker has gone."""
        self.board.lose_worker(worker)

    def _drop_events(self, run: str) -> None:
        """Let the scheduler forget the events of a run."""
        assert self.scheduler is not None
        lines = lines_topic(run)
        for topic in (lines, live_topic(lines), retried_topic(run)):
            self.scheduler._broker.truncate(topic)


def add_page(scheduler: Scheduler, board: Board) -> None:
    """Add the page to the dashboard and to the menu of its pages."""
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard.core import BokehApplication
    except ImportError:  # no Bokeh: no dashboard
        return
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    from pipeline.live.page import open_page

    apps = scheduler.http_application.applications
    dashboards = [app for app in apps if isinstance(app, BokehTornado)]
    if not dashboards:
        return
    variables = template_variables(scheduler)  # one object for all pages of the scheduler
    if PAGE not in variables["pages"]:
        variables["pages"].append(PAGE)
    app = BokehApplication(
        {f"/{PAGE}": partial(open_page, board)},
        scheduler,
        prefix=dashboards[0].prefix,
        template_variables=variables,
    )
    scheduler.http_application.add_application(app)
    app.initialize(IOLoop.current())
    app.start()
