"""The runs that a scheduler knows, each by its events.

A run sends its events on two topics of Dask: `dom-st-RUN-live` says what begins and ends, and
`dom-st-RUN` has the validations of a training. Tasks of a pipeline run have keys STAGE-NAME-RUN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.live.stages import PipelineStatus
from pipeline.live.training import TrainingStatus

PREFIX, SUFFIX, RETRIED = "dom-st-", "-live", "-retried"
MAX_ENDED = 8  # runs kept after their end
RunState = Literal["running", "finished", "stopped"]


def lines_topic(run: str) -> str:
    """Topic of the validations of a training."""
    return PREFIX + run


def retried_topic(run: str) -> str:
    """Topic of the tasks of a pipeline run that begin again, for its client alone."""
    return lines_topic(run) + RETRIED


def live_topic(lines: str) -> str:
    """Topic of what begins and ends in the run of a topic of validations."""
    return lines + SUFFIX


@dataclass
class Run:
    """A run.

    Attributes:
        run: its identifier, unique on the scheduler.
        client: identifier of its Dask client.
        began, ended: times [s]; None while it runs.
        state: of the run; a run is stopped by an error, or with its client.
        status: what it does.
    """

    run: str
    client: str
    began: float
    status: TrainingStatus | PipelineStatus
    ended: float | None = None
    state: RunState = "running"

    def end(self, state: RunState, now: float) -> None:
        """End the run, if it has not ended."""
        if self.state == "running":
            self.state, self.ended = state, now


@dataclass
class Board:
    """The runs of a scheduler, by identifier, in the order of their beginnings."""

    runs: dict[str, Run] = field(default_factory=dict)

    def log_event(self, topic: str, event: Mapping[str, Any], now: float) -> str | None:
        """Take an event of Dask.

        Returns:
            The identifier of a run whose events nobody needs any more.
        """
        if not topic.startswith(PREFIX):
            return None
        run = topic.removeprefix(PREFIX).removesuffix(SUFFIX)
        if topic.endswith(SUFFIX) and event["event"] == "begin":
            self._forget_old()
            status = (
                TrainingStatus.begin(event)
                if event["kind"] == "training"
                else PipelineStatus.begin(event, now)
            )
            self.runs[run] = Run(run, event["client"], now, status)
        elif run not in self.runs:
            return None
        elif not topic.endswith(SUFFIX):
            status = self.runs[run].status
            assert isinstance(status, TrainingStatus)
            status.validate(event)
        elif event["event"] == "end":
            self.runs[run].end(event["state"], now)
            return run
        else:
            self.runs[run].status.apply(event, now)
            return run if event["event"] == "rain" else None  # pictures would fill the memory
        return None

    def move_task(self, key: str, start: str, finish: str, error: str) -> str | None:
        """A task goes from one state of Dask's scheduler to another; its key ends with its run.

        Returns:
            The identifier of the run, if it is one of the pipeline and the task begins again.
        """
        run = self.runs.get(key.rpartition("-")[2])
        if run and run.state == "running" and isinstance(run.status, PipelineStatus):
            return run.run if run.status.move(key, start, finish, error) else None
        return None

    def lose_client(self, client: str, now: float) -> list[str]:
        """A client has gone; returns the identifiers of its runs."""
        lost = [one for one in self.runs.values() if one.client == client]
        for one in lost:
            one.end("stopped", now)
        return [one.run for one in lost]

    def lose_worker(self, worker: str) -> None:
        """A worker has gone."""
        for one in self.runs.values():
            if one.state == "running":
                one.status.lose_worker(worker)

    def _forget_old(self) -> None:
        """Forget the oldest runs that have ended."""
        ended = [name for name, one in self.runs.items() if one.state != "running"]
        for name in ended[:-MAX_ENDED]:
            del self.runs[name]
