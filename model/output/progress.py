"""Progress of a training and the table of its scores, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from model.evaluation.metrics import median_known

SHORT = {"persistence": "pers.", "climatology": "clim.", "ridge": "ridge"}
FLOORS = tuple(SHORT)
DASH = "\u2013"  # for a score that is undefined
NO_INTERVAL = "no interval of NSE: it takes 180 days of discharge in the test part"


def loses(head: Mapping[str, Any]) -> bool:
    """Whether a head scores below climatology or ridge, as far as these have a score."""
    return any(head["nse"] < head[f"{name}_nse"] for name in ("climatology", "ridge"))


def lacks_interval(heads: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no head's NSE has an interval, as the test part is too short."""
    return all(math.isnan(head["nse_low"]) for head in heads)


def number(form: str, value: float) -> str:
    """Return a number as text, a dash where it is undefined."""
    return DASH if math.isnan(value) else form.format(value)


class Progress:
    """What a training reports while it runs; this one shows nothing."""

    def begin(self, heads: int, updates: int) -> None:
        """`heads` heads are trained by `updates` gradient steps each."""

    def trunk(self, update: int, updates: int) -> None:
        """The shared trunk has done `update` of its `updates` gradient steps."""

    def update(self, site_no: str, update: int) -> None:
        """A head has done `update` gradient steps."""

    def head_done(self, score: dict[str, Any]) -> None:
        """A head is trained and scored; `score` is its entry of metrics.json."""

    def end(self) -> None:
        """No head is trained any more."""


class ConsoleProgress(Progress):
    """A progress bar on a terminal; elsewhere one line per finished head."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("updates, {task.fields[finished]} heads done"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=None, finished=0)
        self.heads = self.updates = self.finished = 0
        self.done: dict[str, int] = {}

    def begin(self, heads: int, updates: int) -> None:
        self.heads, self.updates = heads, updates
        self.bar.update(self.task, total=heads * updates)
        self.bar.start()

    def trunk(self, update: int, updates: int) -> None:
        done = update >= updates
        self.bar.update(
            self.task, description="training" if done else f"trunk, update {update} of {updates}"
        )
        if done and not self.console.is_terminal:
            self.console.print(f"trunk done: {updates} updates", highlight=False)

    def update(self, site_no: str, update: int) -> None:
        self.done[site_no] = max(update, self.done.get(site_no, 0))
        self.bar.update(self.task, completed=sum(self.done.values()))

    def head_done(self, score: dict[str, Any]) -> None:
        self.finished += 1
        self.update(score["site_no"], self.updates)
        self.bar.update(self.task, finished=self.finished)
        if not self.console.is_terminal:
            self.console.print(
                f"head {score['site_no']} done ({self.finished} of {self.heads}): "
                f"test NSE {score['nse']:.3f} in {score['seconds']:.0f} s",
                highlight=False,
                markup=False,
            )

    def end(self) -> None:
        self.bar.stop()


def skill_table(metrics: dict[str, Any]) -> Table:
    """Return the scores of a run as a table: one row per head, the medians last.

    The column after NSE is its 90 % interval (`model.evaluation.bootstrap`). PBIAS and the peak
    error are in percent, the peak lag in steps; the floors' scores are NSE. Yellow heads lose to
    climatology or ridge.
    """
    heads: Sequence[dict[str, Any]] = metrics["heads"]
    data = "synthetic, " if metrics["synthetic"] else ""
    title = f"{metrics['title']} ({data}{metrics['variant']}; {metrics['split']})"
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    if lacks_interval(heads):
        table.caption, table.caption_justify = NO_INTERVAL, "left"
    table.add_column("site", no_wrap=True)
    for name in ("NSE", "90 %", "KGE", "PBIAS", "peak %", "peak lag", *SHORT.values()):
        table.add_column(name, justify="right", no_wrap=True)
    keys = ("nse", "kge", "pbias", "peak_error", "peak_lag", *(f"{name}_nse" for name in FLOORS))
    digits = (3, 3, 1, 1, 1, 3, 3, 3)
    for head in heads:
        nse, *others = (
            number(f"{{:.{n}f}}", head[key]) for key, n in zip(keys, digits, strict=True)
        )
        low, high = head["nse_low"], head["nse_high"]
        within = "" if math.isnan(low) else f"{low:.2f}-{high:.2f}"
        style = "yellow" if loses(head) else None
        table.add_row(Text(head["site_no"]), nse, within, *others, style=style)
    nse, *others = [
        number(f"{{:.{n}f}}", median_known([head[key] for head in heads]))
        for key, n in zip(keys, digits, strict=True)
    ]
    table.add_section()
    table.add_row("median", nse, "", *others, style="bold")
    networks = [head["network_nse"] for head in heads if len(head.get("network_nse", ())) > 1]
    if networks:
        alone = median_known([median_known(scores) for scores in networks])
        table.add_row("one seed", number("{:.3f}", alone))
    return table
