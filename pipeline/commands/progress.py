"""Progress of the pipeline's commands: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.live.stages import PipelineStatus
from pipeline.live.words import clock

if TYPE_CHECKING:
    from rich.console import RenderableType

FIRST_SECONDS, LAST_SECONDS = 5.0, 60.0  # between two lines where the output is no terminal
GROWTH = 0.1  # of that time, as a share of the time that the run has taken
REFRESHES = 4  # a second
BAR_WIDTH = 30
Show = Callable[[PipelineStatus], None]


def show_nothing(*_: object) -> None:
    """Show nothing."""


@contextmanager
def show_stages(*, quiet: bool = False) -> Iterator[Show]:
    """Show a run's stages: a table on a terminal, from time to time a line elsewhere.

    Args:
        quiet: show nothing.

    Yields:
        What is to be called with the run's status whenever that has changed.
    """
    if quiet:
        yield show_nothing
    elif sys.stdout.isatty():
        with _live_table() as show:
            yield show
    else:
        yield PlainLines()


@contextmanager
def _live_table() -> Iterator[Show]:
    """Show the stages as a table, from the first call on: a question may come before."""
    from rich.live import Live

    statuses: list[PipelineStatus] = []
    live = Live(
        get_renderable=lambda: stage_table(statuses[-1]) if statuses else "",
        refresh_per_second=REFRESHES,
    )

    def show(status: PipelineStatus) -> None:
        statuses[:] = [status]
        if not live.is_started and status.stages:
            live.start()

    try:
        yield show
    finally:
        live.stop()


class PlainLines:
    """Prints a line after 5 seconds and then less and less often, once a minute at last."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def __call__(self, status: PipelineStatus) -> None:
        """Print a line, if it is time."""
        now = time.monotonic()
        pause = min(max(FIRST_SECONDS, GROWTH * (now - self.began)), LAST_SECONDS)
        if now - self.last >= pause:
            self.last = now
            stages = [
                f"{name} {len(stage.done)} of {len(stage.seen)}"
                for name, stage in status.stages.items()
            ]
            print(f"{', '.join(stages)}; {describe_speed(status)}", flush=True)


def describe_speed(status: PipelineStatus) -> str:
    """Rasters done of all, their rate, and the time left."""
    parts = [f"{status.rasters_done} of {status.rasters} rasters"]
    rasters, size = status.per_second()
    if math.isfinite(rasters):
        parts.append(f"{rasters:.1f} rasters/s, {size / 1e6:.1f} MB/s")
    if math.isfinite(left := status.time_left()) and left > 0:
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)


def stage_table(status: PipelineStatus) -> RenderableType:
    """The stages with their tasks that are done, failed and done again, and the speed below."""
    from rich import box
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("", max_width=BAR_WIDTH, ratio=1)
    for name in ("done", "of", "failed", "retried"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stage in status.stages.items():
        done, seen = len(stage.done), len(stage.seen)
        bar = ProgressBar(total=max(seen, 1), completed=done)
        failed = Text(str(len(stage.failed)), style="bold red" if stage.failed else "")
        retried = Text(str(stage.retried), style="yellow" if stage.retried else "")
        table.add_row(name, bar, str(done), str(seen), failed, retried)
    return Group(table, Text(describe_speed(status)))


@contextmanager
def show_count(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of how many are done: a bar on a terminal, lines elsewhere."""
    if sys.stdout.isatty():
        from rich.progress import Progress, TimeRemainingColumn

        with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= FIRST_SECONDS:
            last = time.monotonic()
            print(f"{done} of {total} {what}", flush=True)

    yield show
