"""Hand the heads of a run to Dask workers and collect their scores."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from distributed import Client, Future

from model.jobs.dispatch import Dispatcher, Heads
from model.jobs.fleet import Fleet
from model.jobs.tasks import train_pack
from model.jobs.trunk import fit_trunk, make_branch
from model.output.progress import Progress, done_event
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import RunError
from pipeline.live.announce import Announcer
from pipeline.live.board import SUFFIX
from pipeline.log import get_logger
from pipeline.run.cluster import LOST
from pipeline.run.cuda import DEVICE, GPU

log = get_logger(__name__)
POLL_SECONDS = 0.05  # until the first GPU has answered
SHOWN_SITES = 10  # of a message


class Jobs:
    """The tasks of one run on the workers of one client.

    Args:
        store: path or URL of the store, as workers see it.
        run: the run directory.
        settings: of the run, resolved.
        client: its workers train.
        progress: is told about each validation and each finished head.
        warned: what has been warned of so far; others add to it.

    Attributes:
        fleet: the workers.
        live: tells the page on the dashboard.
    """

    def __init__(
        self,
        store: str,
        run: Run,
        settings: Settings,
        client: Client,
        progress: Progress,
        warned: Sequence[str] = (),
    ) -> None:
        self.warned = warned
        self.store, self.run, self.settings = store, run, settings
        self.client, self.progress = client, progress
        self.run_id = uuid.uuid4().hex[:8]  # one scheduler may serve several runs
        self.live = Announcer(client, self.run_id)
        self.fleet = Fleet(client)
        self.fleet.refresh()
        while self.fleet.waits and not self.fleet.gpus:
            time.sleep(POLL_SECONDS)
            self.fleet.refresh()

    def submit(
        self, task: Callable[..., Any], *arguments: Any, key: str, on_gpu: bool, **options: Any
    ) -> Future:
        """Submit a task, which takes a GPU or none, under a key that names it on the dashboard."""
        key = f"{key}-{self.run_id}"
        resources = {GPU: 1} if on_gpu else None
        return self.client.submit(task, *arguments, key=key, resources=resources, **options)

    def train_trunk(self, groups: list[list[str]]) -> str:
        """Train the shared trunk and return its path.

        Args:
            groups: the site numbers of each branch.

        Raises:
            InputError: the run holds a trunk made with other settings.
            RunError: the loss is not finite, no watershed can be loaded, or workers died.
        """
        on_gpu = bool(self.fleet.gpus)

        def submit_branch(sites: Sequence[str]) -> Future:
            arguments = self.store, sites, self.settings, DEVICE if on_gpu else "cpu"
            return self.submit(make_branch, *arguments, key=f"branch-{sites[0]}", on_gpu=on_gpu)

        def on_validation(line: dict[str, Any]) -> None:
            self.run.append(line)
            self.live.send_line(line)
            self.progress.trunk(line, self.settings.trunk_updates)
            log.info("trunk, update %(update)d: mean validation NSE %(validation_nse).3f", line)

        folder = self.run.checkpoints
        try:
            path = fit_trunk(
                self.client,
                groups,
                submit_branch,
                self.settings,
                folder,
                on_validation,
                {GPU: 1} if on_gpu else None,
            )
        except LOST as error:
            raise lost_workers(self.run, error) from error
        return str(path)

    def train_heads(
        self, heads: Heads, rows: Mapping[str, int], trunk: str | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Train all heads: packs on GPUs while there are some, else one by one on CPUs.

        A worker gets its next pack when it is free, so workers that join later are used, and heads
        that have not begun move to GPUs as soon as there is one.

        Args:
            heads: of the run.
            rows: row of each site in predictions.zarr.
            trunk: path of the shared trunk, if there is one.

        Returns:
            Scores sorted by site, and one line per head or pack that failed.

        Raises:
            RunError: the scheduler has gone.
        """
        topic = self.live.lines
        scores: list[dict[str, Any]] = []
        failures: list[str] = []

        def on_event(event: tuple[float, dict[str, Any]]) -> None:
            line = event[1]
            with suppress(OSError):  # the line stands in the head's file; workers say what is wrong
                self.run.append(line)
            self.progress.update(line)

        def on_live(event: Mapping[str, Any]) -> None:
            if event["event"] == "pack":
                self.progress.pack(event["sites"], event["worker"], event["device"])

        def submit_pack(pack: list[str], on_gpu: bool) -> Future:
            return self.submit(
                train_pack,
                self.store,
                {site: rows[site] for site in pack},
                self.settings,
                self.run,
                topic,
                DEVICE if on_gpu else "cpu",
                trunk,
                key=f"train-{pack[0]}{f'+{len(pack) - 1}' if len(pack) > 1 else ''}",
                on_gpu=on_gpu,
            )

        def fail(line: str) -> None:
            failures.append(line)
            log.error("%s", line)

        def give_up(sites: Sequence[str], lines: Sequence[str]) -> None:
            self.progress.failed(sites, lines)
            self.live.send("failed", sites=list(sites), lines=list(lines))

        self.client.subscribe_topic(topic, on_event)
        self.live.subscribe(SUFFIX, on_live)
        dispatcher = Dispatcher(self.fleet, heads, submit_pack)
        try:
            for pack, future in dispatcher.run():
                self.run.require_held()
                if future.status == "error":
                    fail(f"{names(pack)}: {future.exception()}")
                    give_up(pack, failures[-1:])
                    continue
                done, given_up, too_large = future.result()
                for line in given_up:
                    fail(line)
                if given_up:
                    ended = {*too_large, *(score["site_no"] for score in done)}
                    give_up([site for site in pack if site not in ended], given_up)
                for score in done:
                    scores.append(score)
                    self.progress.head_done(score)
                    self.live.send(**done_event(score))
                    log.info("head %(site_no)s done: test NSE %(nse).3f", score)
                    log_unheard(score["warnings"], self.warned)
                if too_large:
                    log.warning("%s: too large for the GPU's memory: smaller packs", names(pack))
                    dispatcher.halve(too_large)
        except (*LOST, OSError) as error:
            if isinstance(error, LOST) or self.client.status != "running":
                raise lost_workers(self.run, error) from error
            raise
        finally:
            if self.client.status == "running":
                self.client.unsubscribe_topic(topic)
                self.client.cancel(list(dispatcher.training))
        return sorted(scores, key=lambda score: score["site_no"]), failures


def lost_workers(run: Run, error: Exception) -> RunError:
    """The error of a run whose scheduler or workers are gone."""
    reason = getattr(error, "reason", None) or error
    return RunError(
        f"{run.folder}: lost the scheduler or its workers ({reason}): expected them to stay; "
        f"{run.resume_hint}"
    )


def log_unheard(lines: Sequence[str], heard: Sequence[str]) -> None:
    """Log what a worker warned of, unless this process has logged it, as workers in it do."""
    for line in lines:
        if line not in heard:
            log.warning("%s", line)


def names(pack: Sequence[str]) -> str:
    """Some site numbers of a pack."""
    more = len(pack) - SHOWN_SITES
    return ", ".join(pack[:SHOWN_SITES]) + f" and {more} more" * (more > 0)
