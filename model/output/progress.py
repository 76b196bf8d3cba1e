"""Progress of a training and the table of its scores, for a terminal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from model.evaluation.metrics import median_known
from model.output.heads_table import heads_table, number
from pipeline.live.training import TrainingStatus

SHORT = {"persistence": "pers.", "climatology": "clim.", "ridge": "ridge"}
FLOORS = tuple(SHORT)
REFRESHES = 4  # a second
MAX_HEADS = 40  # of a table of scores
LOWEST = 10  # heads, by NSE, that it shows of a run with more
NO_INTERVAL = "no interval of NSE: it takes 180 days of discharge in the test part"


def loses(head: Mapping[str, Any]) -> bool:
    """Whether a head scores below climatology or ridge, as far as these have a score."""
    return any(head["nse"] < head[f"{name}_nse"] for name in ("climatology", "ridge"))


def lacks_interval(heads: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no head's NSE has an interval, as the test part is too short."""
    return all(math.isnan(head["nse_low"]) for head in heads)


class Progress:
    """What a training reports while it runs; this one shows nothing.

    Calls come from two threads, that of the training and that of Dask's client.
    """

    def begin(self, sites: Sequence[str], updates: int) -> None:
        """Heads are trained by `updates` gradient steps each."""

    def trunk(self, line: Mapping[str, Any], updates: int) -> None:
        """The shared trunk was validated, a line of metrics.jsonl; it does `updates` in all."""

    def pack(self, sites: Sequence[str], worker: str, device: str) -> None:
        """A worker begins to train heads together."""

    def update(self, line: Mapping[str, Any]) -> None:
        """A head was validated; `line` is that of metrics.jsonl."""

    def head_done(self, score: dict[str, Any]) -> None:
        """A head is trained and scored; `score` is its entry of metrics.json."""

    def failed(self, sites: Sequence[str], lines: Sequence[str]) -> None:
        """Heads are given up; `lines` say why."""

    def end(self) -> None:
        """No head is trained any more."""


class Several(Progress):
    """Passes on to several others what a training reports."""

    def __init__(self, *others: Progress) -> None:
        self.others = others

    def begin(self, sites: Sequence[str], updates: int) -> None:
        for one in self.others:
            one.begin(sites, updates)

    def trunk(self, line: Mapping[str, Any], updates: int) -> None:
        for one in self.others:
            one.trunk(line, updates)

    def pack(self, sites: Sequence[str], worker: str, device: str) -> None:
        for one in self.others:
            one.pack(sites, worker, device)

    def update(self, line: Mapping[str, Any]) -> None:
        for one in self.others:
            one.update(line)

    def head_done(self, score: dict[str, Any]) -> None:
        for one in self.others:
            one.head_done(score)

    def failed(self, sites: Sequence[str], lines: Sequence[str]) -> None:
        for one in self.others:
            one.failed(sites, lines)

    def end(self) -> None:
        for one in self.others:
            one.end()


class ConsoleProgress(Progress):
    """A table of the heads on a terminal; elsewhere one line per finished head."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: TrainingStatus | None = None
        self.finished = self.trunk_updates = 0
        self.lock = threading.Lock()  # the table is drawn by a third thread
        self.live = Live(
            get_renderable=self._table,
            console=console,
            refresh_per_second=REFRESHES,
            transient=True,
        )

    def begin(self, sites: Sequence[str], updates: int) -> None:
        self.status = TrainingStatus.of_sites(sites, updates)
        self.began = time.monotonic()
        if self.console.is_terminal:
            self.live.start()

    def trunk(self, line: Mapping[str, Any], updates: int) -> None:
        self._tell(lambda status: status.validate(line))
        self.trunk_updates = updates
        if line["update"] >= updates:
            self._print(f"trunk done: {updates} updates")

    def pack(self, sites: Sequence[str], worker: str, device: str) -> None:
        assert self.status is not None
        heads = self.status.heads  # a head may be done before its beginning is heard of
        left = [site for site in sites if heads[site].state != "done"]
        if left:
            self._apply({"event": "pack", "sites": left, "worker": worker, "device": device})

    def update(self, line: Mapping[str, Any]) -> None:
        self._tell(lambda status: status.validate(line))

    def head_done(self, score: dict[str, Any]) -> None:
        self._apply(done_event(score))
        self.finished += 1
        assert self.status is not None
        self._print(
            f"head {score['site_no']} done ({self.finished} of {len(self.status.heads)}): "
            f"test NSE {score['nse']:.3f} in {score['seconds']:.0f} s"
        )

    def failed(self, sites: Sequence[str], lines: Sequence[str]) -> None:
        self._apply({"event": "failed", "sites": sites, "lines": lines})

    def end(self) -> None:
        self.live.stop()

    def _apply(self, event: Mapping[str, Any]) -> None:
        self._tell(lambda status: status.apply(event, time.monotonic()))

    def _tell(self, change: Callable[[TrainingStatus], None]) -> None:
        """Change the status while the table is not drawn."""
        with self.lock:
            if self.status is not None:
                change(self.status)

    def _print(self, line: str) -> None:
        """Print a line, where there is no table."""
        if not self.console.is_terminal:
            self.console.print(line, highlight=False, markup=False)

    def _table(self) -> RenderableType:
        with self.lock:
            if self.status is None:
                return ""
            seconds, size = time.monotonic() - self.began, self.console.size
            return heads_table(self.status, self.trunk_updates, seconds, size.width, size.height)


def done_event(score: Mapping[str, Any]) -> dict[str, Any]:
    """What the live page and the terminal are told of a head that is done."""
    return {
        "event": "done",
        "sites": [score["site_no"]],
        "update": score["updates"],
        "nse": score["validation_nse"],
        "busy": score["busy"],
        "worker": score["worker"],
    }


def skill_table(metrics: dict[str, Any]) -> Table:
    """Return the scores of a run as a table: one row per head, the medians last.

    The column after NSE is its 90 % interval (`model.evaluation.bootstrap`). PBIAS and the peak
    error are in percent, the peak lag in steps; the floors' scores are NSE. Yellow heads lose to
    climatology or ridge. Of more than 40 heads the ten with the lowest NSE are shown.
    """
    heads: Sequence[dict[str, Any]] = metrics["heads"]
    data = "synthetic, " if metrics["synthetic"] else ""
    title = f"{metrics['title']} ({data}{metrics['variant']}; {metrics['split']})"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    if lacks_interval(heads):
        table.caption, table.caption_justify = NO_INTERVAL, "left"
    table.add_column("site", no_wrap=True)
    for name in ("NSE", "90 %", "KGE", "PBIAS", "peak %", "peak lag", *SHORT.values()):
        table.add_column(name, justify="right", no_wrap=True)
    keys = ("nse", "kge", "pbias", "peak_error", "peak_lag", *(f"{name}_nse" for name in FLOORS))
    digits = (3, 3, 1, 1, 1, 3, 3, 3)
    shown = heads
    if len(heads) > MAX_HEADS:
        known = [head for head in heads if not math.isnan(head["nse"])]
        shown = sorted(known, key=lambda head: head["nse"])[:LOWEST]
    for head in shown:
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
    if more := len(heads) - len(shown):
        table.add_row(Text(f"and {more} others", style="dim"))
    table.add_section()
    table.add_row("median", nse, "", *others, style="bold")
    networks = [head["network_nse"] for head in heads if len(head.get("network_nse", ())) > 1]
    if networks:
        alone = median_known([median_known(scores) for scores in networks])
        table.add_row("one seed", number("{:.3f}", alone))
    return table
