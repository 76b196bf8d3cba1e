"""What is known of a pipeline run: plain values, fed by its events and its tasks' transitions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.live.rain import RainPicture

MAX_ERRORS = 20  # messages kept


@dataclass
class Stage:
    """Tasks of a stage, by key.

    Attributes:
        seen: submitted so far.
        begun: that a worker has begun, once or more.
        running, done, failed: what they are now.
        retried: how often a task began again, as its worker or its result was lost.
    """

    seen: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    retried: int = 0

    @property
    def waiting(self) -> int:
        """Number of tasks that are neither running nor ended."""
        return len(self.seen) - len(self.running) - len(self.done) - len(self.failed)

    def move(self, key: str, start: str, finish: str) -> bool:
        """A task goes from one state of Dask's scheduler to another; whether it begins again."""
        again = finish == "processing" and key in self.begun
        if finish == "processing":
            self.retried += again
            self.begun.add(key)
        if finish in ("waiting", "processing"):
            self.seen.add(key)
            self.done.discard(key)
            self.failed.discard(key)
        if finish == "processing":
            self.running.add(key)
        elif start == "processing":
            self.running.discard(key)
            if finish == "memory":
                self.done.add(key)
            elif finish == "erred":
                self.failed.add(key)
        return again


@dataclass
class PipelineStatus:
    """A pipeline run.

    Attributes:
        title: of the catalog.
        folder: path or URL of the store.
        began: when it began [s].
        rasters, raw_bytes: of all blocks that this run does.
        bounds: west, south, east and north of the region [degrees].
        cell: width of a cell [degrees].
        rasters_done, bytes_done: of blocks that are done.
        last: when the last block was done [s].
        stages: by name, in the order in which they were submitted.
        errors: the last messages of tasks that failed.
        rain: of a block just done.
    """

    title: str
    folder: str
    began: float
    rasters: int
    raw_bytes: int
    bounds: Sequence[float]
    cell: float
    rasters_done: int = 0
    bytes_done: int = 0
    last: float = math.nan
    stages: dict[str, Stage] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    rain: RainPicture | None = None

    @classmethod
    def begin(cls, event: Mapping[str, Any], now: float) -> PipelineStatus:
        """Begin a run."""
        names = ("rasters", "raw_bytes", "bounds", "cell")
        return cls(event["title"], event["folder"], now, *(event[name] for name in names))

    def apply(self, event: Mapping[str, Any], now: float) -> None:
        """Take an event of the run: a block is done, or the picture of its rain."""
        if event["event"] == "rain":
            self.rain = RainPicture.unpack(event)
            return
        self.rasters_done += event["rasters"]
        self.bytes_done += event["raw_bytes"]
        self.last = now

    def move(self, key: str, start: str, finish: str, error: str) -> bool:
        """A task goes from one state of Dask's scheduler to another; whether it begins again.

        Args:
            key: STAGE-NAME-RUN.
            start, finish: the states.
            error: of a task that failed.
        """
        stage = key.partition("-")[0]
        again = self.stages.setdefault(stage, Stage()).move(key, start, finish)
        if finish == "erred" and start == "processing":
            self.errors = [*self.errors, f"{key.rpartition('-')[0]}: {error}"][-MAX_ERRORS:]
        return again

    def note_retry(self, key: str) -> None:
        """A task begins again, as a client hears that does not see what begins."""
        self.stages[key.partition("-")[0]].retried += 1

    def per_second(self) -> tuple[float, float]:
        """Rasters and bytes a second until the last block that is done, NaN before the first."""
        seconds = self.last - self.began
        if not seconds > 0:
            return math.nan, math.nan
        return self.rasters_done / seconds, self.bytes_done / seconds

    def time_left(self) -> float:
        """Seconds that the blocks still take, at the speed so far."""
        speed = self.per_second()[0]
        return (self.rasters - self.rasters_done) / speed if speed else math.nan

    def lose_worker(self, worker: str) -> None:
        """A worker has gone: the scheduler says what becomes of its tasks."""
