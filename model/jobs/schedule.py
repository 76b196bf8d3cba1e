"""Hand the heads of a run to Dask workers and collect their scores."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from model.jobs.placement import pack_heads
from model.jobs.tasks import train_pack
from model.jobs.trunk import fit_trunk, make_branch
from model.output.progress import Progress
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import RunError

log = logging.getLogger(__name__)
PACKS_PER_GPU = 4  # more packs than devices, so that the scheduler evens out what is left


def make_packs(costs: Mapping[str, float], gpus: int) -> list[list[str]]:
    """Group site numbers into packs, the costliest first: one head per pack on CPUs, many on GPUs.

    Args:
        costs: seconds of an update of each head, by site number.
        gpus: number of GPUs, 0 on CPUs.
    """
    return pack_heads(costs, PACKS_PER_GPU * gpus if gpus else len(costs))


class Jobs:
    """The tasks of one run on the workers of one client.

    Args:
        store: path or URL of the store, as workers see it.
        run: the run directory.
        settings: of the run, resolved.
        client: its workers train.
        progress: is told about each validation and each finished head.
        on_gpu: whether each task takes a GPU.
    """

    def __init__(
        self,
        store: str,
        run: Run,
        settings: Settings,
        client: Client,
        progress: Progress,
        on_gpu: bool,
    ) -> None:
        self.store, self.run, self.settings = store, run, settings
        self.client, self.progress = client, progress
        self.run_id = uuid.uuid4().hex[:8]  # one scheduler may serve several runs
        self.device = "cuda:0" if on_gpu else "cpu"
        self.resources = {"GPU": 1} if on_gpu else None

    def submit(self, task: Callable[..., Any], *arguments: Any, key: str, **options: Any) -> Future:
        """Submit a task under a key that names it on the dashboard."""
        key = f"{key}-{self.run_id}"
        return self.client.submit(task, *arguments, key=key, resources=self.resources, **options)

    def train_trunk(self, groups: list[list[str]]) -> str:
        """Train the shared trunk and return its path.

        Args:
            groups: the site numbers of each branch.

        Raises:
            InputError: a watershed cannot be loaded.
            RunError: the loss is not finite, or workers died.
        """

        def submit_branch(sites: Sequence[str]) -> Future:
            arguments = self.store, sites, self.settings, self.device
            return self.submit(make_branch, *arguments, key=f"trunk-branch-{sites[0]}")

        def on_validation(line: dict[str, Any]) -> None:
            self.run.append(line)
            self.progress.trunk(line["update"], self.settings.trunk_updates)
            log.info("trunk, update %(update)d: mean validation NSE %(validation_nse).3f", line)

        folder = self.run.checkpoints.resolve()
        try:
            path = fit_trunk(
                self.client,
                groups,
                submit_branch,
                self.settings,
                folder,
                on_validation,
                self.resources,
            )
        except KilledWorker as error:
            raise RunError(f"trunk: {error}") from error
        return str(path)

    def train_heads(
        self, packs: list[list[str]], rows: Mapping[str, int], trunk: str | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Train packs of heads.

        Args:
            packs: site numbers, in order of priority.
            rows: row of each site in predictions.zarr.
            trunk: path of the shared trunk, if there is one.

        Returns:
            Scores sorted by site, and one line per pack or head that failed.
        """
        topic = f"dom-st-{self.run_id}"
        folder = str(self.run.folder.resolve())
        scores: list[dict[str, Any]] = []
        failures: list[str] = []

        def on_event(event: tuple[float, dict[str, Any]]) -> None:
            line = event[1]
            self.run.append(line)
            self.progress.update(line["site_no"], line["update"])

        self.client.subscribe_topic(topic, on_event)
        futures = {
            self.submit(
                train_pack,
                self.store,
                {site: rows[site] for site in pack},
                self.settings,
                folder,
                topic,
                self.device,
                trunk,
                key=f"train-{pack[0]}{f'+{len(pack) - 1}' if len(pack) > 1 else ''}",
                priority=-place,
            ): pack
            for place, pack in enumerate(packs)
        }
        for future in as_completed(futures):
            if future.status == "finished":
                done, given_up = future.result()
                failures += given_up
                for line in given_up:
                    log.error("%s", line)
                for score in done:
                    scores.append(score)
                    self.progress.head_done(score)
                    log.info("head %s done: test NSE %.3f", score["site_no"], score["nse"])
            else:
                failures.append(f"{', '.join(futures[future])}: {future.exception()}")
                log.error("%s", failures[-1])
        self.client.unsubscribe_topic(topic)
        return sorted(scores, key=lambda score: score["site_no"]), failures
