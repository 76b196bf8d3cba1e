"""The heads of a training as a table for a terminal: those in training, and counts of the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.evaluation.metrics import median_known
from pipeline.live.words import clock

if TYPE_CHECKING:
    from pipeline.live.training import HeadStatus, TrainingStatus

DASH = "\u2013"  # for a number that is not known
OTHER_LINES = 6  # of the screen: headings, the number of heads that are not shown, the last line
MAX_ROWS = 24
WITH_LOSS, WITH_WORKER = 70, 50  # columns of the screen from which these are shown


def number(form: str, value: float) -> str:
    """Return a number as text, a dash where it is undefined."""
    return DASH if math.isnan(value) else form.format(value)


def heads_table(
    status: TrainingStatus, trunk_updates: int, seconds: float, width: int, height: int
) -> RenderableType:
    """Show a training: counts, time, and the heads that are trained now, as many as fit.

    Args:
        status: of the training.
        trunk_updates: of the shared trunk, 0 without one.
        seconds: that it has run.
        width, height: of the screen, in characters.
    """
    texts = [count_heads(status), describe_time(status, seconds)]
    if 0 < status.trunk < trunk_updates:
        texts.append(f"shared trunk: update {status.trunk} of {trunk_updates}")
    parts: list[RenderableType] = [Text(text) for text in texts]
    heads = [head for head in status.heads.values() if head.state == "training"]
    if heads:
        above = sum(1 + (len(text) > width) + len(text) // width for text in texts)
        rows = max(1, min(MAX_ROWS, height - above - OTHER_LINES))
        parts.append(_rows(status, heads[:rows], width))
        if len(heads) > rows:
            parts.append(Text(f"and {len(heads) - rows} more in training"))
    return Group(*parts)


def count_heads(status: TrainingStatus) -> str:
    """Number of heads by what is done with them."""
    counts = [f"{status.count('done')} done", f"{status.count('training')} in training"]
    counts.append(f"{status.count('waiting')} waiting")
    if failed := status.count("failed"):
        counts.append(f"{failed} given up")
    return f"{len(status.heads)} heads, {status.updates} updates each: {', '.join(counts)}"


def describe_time(status: TrainingStatus, seconds: float) -> str:
    """Time gone and left, and the median validation NSE of what is done."""
    parts = [f"{clock(seconds)} gone"]
    if math.isfinite(left := status.run_time_left()):
        parts.append(f"about {clock(left)} left")
    done = [head.nse for head in status.heads.values() if head.state == "done"]
    if done:
        parts.append(f"median validation NSE {number('{:.3f}', median_known(done))}")
    return ", ".join(parts)


def _rows(status: TrainingStatus, heads: list[HeadStatus], width: int) -> Table:
    """A row for each of some heads."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("site", no_wrap=True, overflow="ellipsis")
    if width >= WITH_WORKER:
        table.add_column("worker", no_wrap=True, overflow="ellipsis")
    table.add_column("update", justify="right", no_wrap=True)
    if width >= WITH_LOSS:
        table.add_column("loss", justify="right", no_wrap=True)
    table.add_column("NSE", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for head in heads:
        left = status.time_left(head)
        cells = [Text(head.site)]
        if width >= WITH_WORKER:
            cells.append(Text(place_of(head)))
        cells.append(Text(f"{head.update}/{status.updates}"))
        if width >= WITH_LOSS:
            cells.append(Text(number("{:.4g}", head.loss)))
        cells.append(Text(number("{:.3f}", head.nse)))
        cells.append(Text(DASH if math.isnan(left) else clock(left)))
        begun_again = head.restarts or head.attempts > 1
        table.add_row(*cells, style="yellow" if begun_again else None)
    return table


def place_of(head: HeadStatus) -> str:
    """The worker that trains a head, and its GPU."""
    protocol, _, address = head.worker.partition("://")
    worker = "this process" if protocol == "inproc" else address
    return worker if head.device in ("", "cpu") else f"{worker} {head.device}"
