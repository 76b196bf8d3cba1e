"""What is known of a training that runs: plain values, fed by its events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.live.curve import Curve

MAX_FAILURES = 20  # messages kept
HeadState = Literal["waiting", "training", "done", "failed"]


@dataclass
class HeadStatus:
    """A head of a training.

    Attributes:
        site, name: of the gauge.
        outline: parts of the watershed's outline, float32 longitudes and latitudes by turns, a
            pair of NaN between parts.
        state: what is done with it.
        worker: address of the worker that trains it.
        device: on which it is trained, "cpu" or "cuda:0".
        update, loss, nse: of the last validation.
        curve: of all validations.
        restarts: how often its loss was not finite, so that it went on at a lower rate.
        attempts: how often a worker began to train it.
        seconds: of the worker at the last validation.
        pace: seconds of an update, NaN before the second validation.
        pack: name of the pack that it is in while it is trained.
        changed: number of the event that changed it last.
    """

    site: str
    name: str
    outline: bytes
    state: HeadState = "waiting"
    worker: str = ""
    device: str = ""
    update: int = 0
    loss: float = math.nan
    nse: float = math.nan
    curve: Curve = field(default_factory=Curve)
    restarts: int = 0
    attempts: int = 0
    seconds: float = math.nan
    pace: float = math.nan
    pack: str = ""
    changed: int = 0

    def validate(self, line: Mapping[str, Any]) -> None:
        """Take the values of a validation, a line of metrics.jsonl."""
        update, seconds = int(line["update"]), float(line.get("seconds", math.nan))
        if update > self.update and seconds > self.seconds:
            self.pace = (seconds - self.seconds) / (update - self.update)
        self.update, self.seconds = update, seconds
        self.loss, self.nse = number(line["loss"]), number(line["validation_nse"])
        self.restarts += not math.isfinite(self.loss)
        self.curve.add(update, self.loss, self.nse)


@dataclass
class Pack:
    """Heads that a worker trains together.

    Attributes:
        worker: its address.
        began: when it began [s].
        sites: heads that are neither done nor given up.
    """

    worker: str
    began: float
    sites: set[str]


@dataclass
class TrainingStatus:
    """A training that runs or has run.

    Attributes:
        title: of the store.
        folder: the run directory.
        updates: gradient steps of a head.
        heads: by site number, the largest watershed first.
        trunk: updates of the shared trunk done so far, 0 without one.
        busy: seconds that each worker spent on heads that are done, by its address.
        packs: in training, by their first site.
        failures: the last messages about heads that were given up.
        events: number of events.
    """

    title: str
    folder: str
    updates: int
    heads: dict[str, HeadStatus]
    trunk: int = 0
    busy: dict[str, float] = field(default_factory=dict)
    packs: dict[str, Pack] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    events: int = 0

    @classmethod
    def begin(cls, event: Mapping[str, Any]) -> TrainingStatus:
        """Begin a training; its heads and the curves of an interrupted one are in the event."""
        columns = zip(event["sites"], event["names"], event["outlines"], strict=True)
        heads = {site: HeadStatus(site, name, outline) for site, name, outline in columns}
        for site, content in event["curves"].items():
            head, curve = heads[site], Curve.unpack(content)
            head.curve, head.update = curve, int(curve.update[-1])
            head.loss, head.nse = curve.loss[-1], curve.nse[-1]
        return cls(event["title"], event["folder"], event["updates"], heads)

    @classmethod
    def of_sites(cls, sites: Sequence[str], updates: int) -> TrainingStatus:
        """Begin a training of which the site numbers alone are known."""
        return cls("", "", updates, {site: HeadStatus(site, "", b"") for site in sites})

    def count(self, state: HeadState) -> int:
        """Number of heads in a state."""
        return sum(head.state == state for head in self.heads.values())

    def validate(self, line: Mapping[str, Any]) -> None:
        """A head was validated, or the trunk."""
        head = self.heads.get(line["site_no"])
        if head is None:
            self.trunk = int(line["update"])
            return
        head.validate(line)
        self._changed(head)

    def apply(self, event: Mapping[str, Any], now: float) -> None:
        """Take an event of the run: a pack that begins, heads that are done or given up."""
        kind, sites = event["event"], event["sites"]
        for site in sites:
            head = self.heads[site]
            self._leave_pack(head)
            if kind == "pack":
                head.state, head.worker, head.device = "training", event["worker"], event["device"]
                head.attempts += 1
                head.pack = sites[0]
                head.seconds = head.pace = math.nan
            elif kind == "done":
                head.state, head.nse, head.worker = "done", number(event["nse"]), event["worker"]
                head.update = max(head.update, int(event["update"]))
                self.busy[head.worker] = self.busy.get(head.worker, 0.0) + event["busy"]
            else:
                head.state = "failed"
            self._changed(head)
        if kind == "pack":
            self.packs[sites[0]] = Pack(event["worker"], now, set(sites))
        elif kind == "failed":
            self.failures = [*self.failures, *event["lines"]][-MAX_FAILURES:]

    def lose_worker(self, worker: str) -> None:
        """A worker has gone: its heads wait for another one."""
        for pack in [pack for pack in self.packs.values() if pack.worker == worker]:
            for head in [self.heads[site] for site in pack.sites]:
                self._leave_pack(head)
                head.state = "waiting"
                self._changed(head)

    def time_left(self, head: HeadStatus) -> float:
        """Seconds that a head still takes at most, NaN if it is not known."""
        if head.state != "training":
            return math.nan
        return (self.updates - head.update) * head.pace

    def run_time_left(self) -> float:
        """Seconds that the run still takes, about; NaN before the second validation of a head.

        Heads that wait count like those in training, which are larger.
        """
        lefts, paces = [], []
        for pack in self.packs.values():
            heads = [self.heads[site] for site in pack.sites]
            left = max(self.time_left(head) for head in heads)
            if math.isfinite(left):
                lefts.append(left)
                paces.append(max(head.pace for head in heads) / len(heads))
        if not lefts:
            return math.nan
        waiting = self.count("waiting") * self.updates * sum(paces) / len(paces)
        return max(max(lefts), (sum(lefts) + waiting) / len(lefts))

    def workers_busy(self, now: float) -> dict[str, float]:
        """Seconds that each worker spent on heads so far, by its address."""
        busy = dict(self.busy)
        for pack in self.packs.values():
            busy[pack.worker] = busy.get(pack.worker, 0.0) + now - pack.began
        return busy

    def _leave_pack(self, head: HeadStatus) -> None:
        """Take a head off its pack."""
        if pack := self.packs.get(head.pack):
            pack.sites.discard(head.site)
            if not pack.sites:
                del self.packs[head.pack]
        head.pack = ""

    def _changed(self, head: HeadStatus) -> None:
        self.events += 1
        head.changed = self.events


def number(value: float | None) -> float:
    """A number of an event; null stands for NaN."""
    return math.nan if value is None else float(value)
