"""What a person sees on the terminal while heads train and when they are done."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from model.evaluation.metrics import median_known

SHORT = {"persistence": "pers.", "climatology": "clim.", "ridge": "ridge"}
FLOORS = tuple(SHORT)


class Progress:
    """A bar of updates on a terminal, one line a finished head elsewhere."""

    def __init__(self, console: Console, sites: Collection[str], updates: int) -> None:
        self.console = console
        self.sites, self.updates = sites, updates
        self.done: dict[str, int] = {}
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("updates, {task.fields[finished]} heads done"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=len(sites) * updates, finished=0)
        self.finished = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def trunk(self, update: int, updates: int) -> None:
        """The trunk has done `update` of its gradient steps; heads come after it."""
        done = update >= updates
        self.bar.update(
            self.task, description="training" if done else f"trunk, update {update} of {updates}"
        )
        if done and not self.console.is_terminal:
            self.console.print(f"trunk done: {updates} updates", highlight=False)

    def update(self, site_no: str, update: int) -> None:
        """A head has done `update` gradient steps."""
        self.done[site_no] = max(update, self.done.get(site_no, 0))
        self.bar.update(self.task, completed=sum(self.done.values()))

    def head_done(self, score: dict[str, Any]) -> None:
        """A head is trained and scored."""
        self.finished += 1
        self.update(score["site_no"], self.updates)
        self.bar.update(self.task, finished=self.finished)
        if not self.console.is_terminal:
            self.console.print(
                f"head {score['site_no']} done ({self.finished} of {len(self.sites)}): "
                f"test NSE {score['nse']:.3f} in {score['seconds']:.0f} s",
                highlight=False,
            )


def skill_table(metrics: dict[str, Any]) -> Table:
    """The scores of a run on its test years: a row a head, the medians last.

    Behind NSE stands its interval (`model.evaluation.bootstrap`); PBIAS and FHV are in percent, the
    lag of peaks in steps, the floors are NSE. Rows in yellow lose to climatology or ridge.
    """
    heads: Sequence[dict[str, Any]] = metrics["heads"]
    data = "synthetic, " if metrics["synthetic"] else ""
    title = f"{metrics['title']} ({data}{metrics['variant']}; {metrics['split']})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("site", no_wrap=True)
    for name in ("NSE", "90 %", "KGE", "PBIAS", "FHV", "lag", *SHORT.values()):
        table.add_column(name, justify="right", no_wrap=True)
    keys = ("nse", "kge", "pbias", "fhv", "peak_timing", *(f"{name}_nse" for name in FLOORS))
    digits = (3, 3, 1, 1, 1, 3, 3, 3)
    for head in heads:
        nse, *others = (f"{head[key]:.{n}f}" for key, n in zip(keys, digits, strict=True))
        low, high = (head.get(key, math.nan) for key in ("nse_low", "nse_high"))
        within = "" if math.isnan(low) else f"{low:.2f}-{high:.2f}"  # older runs have none either
        loses = head["nse"] < max(head[f"{name}_nse"] for name in FLOORS[1:])
        style = "yellow" if loses else None
        table.add_row(head["site_no"], nse, within, *others, style=style)
    nse, *others = [
        f"{median_known([h[k] for h in heads]):.{n}f}" for k, n in zip(keys, digits, strict=True)
    ]
    table.add_section()
    table.add_row("median", nse, "", *others, style="bold")
    return table
