"""Train one head per watershed of a store."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Client

from model.evaluation.metrics import median_known
from model.inputs.split import Split, last_stop
from model.inputs.watershed import Survey, survey_store
from model.jobs.dispatch import Heads
from model.jobs.live import announcement
from model.jobs.placement import CostModel
from model.jobs.schedule import Jobs
from model.jobs.trunk import trunk_branches
from model.output.progress import Progress
from model.output.report.write import write_report
from model.output.run_directory import Run
from model.settings import Settings
from model.training.memory import Record
from pipeline.errors import InputError, RunError
from pipeline.log import get_logger
from pipeline.run.cluster import make_client, wait_for_worker
from pipeline.storage import parse_location

log = get_logger(__name__)


@dataclass(frozen=True)
class Training:
    """A training whose inputs have been checked; `run_training` does it.

    Attributes:
        store: path or URL of the store, as workers see it.
        run: the run directory.
        survey: what is known of the store and the chosen watersheds.
        split: of the store's steps.
        settings: resolved for the store's step, with the periods of `split`.
    """

    store: str
    run: Run
    survey: Survey
    split: Split
    settings: Settings

    @property
    def sites(self) -> list[str]:
        """Site numbers of the heads, sorted."""
        return list(self.survey.pixels)


def train(
    store: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    sites: Sequence[str] | None = None,
    settings: Settings | None = None,
    client: Client | None = None,
    progress: Progress | None = None,
    take_over: bool = False,
    wait: float | None = None,
) -> Run:
    """Train one head per watershed of a store, in parallel, and write a run directory.

    Heads that an earlier call finished are kept; unfinished ones go on from their last checkpoint.
    A finished run returns at once.

    Args:
        store: path or URL of a store written by `domst run`.
        run: folder of the run; made if missing.
        sites: site numbers of the watersheds to train; all of the store if left out.
        settings: of the network and the training; the defaults if left out.
        client: a Dask client whose workers train. If left out, workers are started on this machine
            for the call: one per GPU, or processes on its cores. A script then needs
            `if __name__ == "__main__":` around the call, as all that start processes do.
        progress: is told about each validation and each finished head.
        take_over: take the run directory from another training that seems to be alive.
        wait: seconds to wait for the client's first worker, which an adaptive scheduler starts on
            demand; by default 10.

    Returns:
        The run: its metrics, scores and predictions.

    Raises:
        InputError: the store, a site, the split or what is in the run directory does not fit.
        RunError: some heads failed, and the others are finished and stay; the workers are gone,
            or there is none in time; or another training holds the run directory.

    >>> from model import Settings, train
    >>> quick = Settings(updates=5, evaluate_every=5)
    >>> done = train(store, folder, sites=[site_no], settings=quick)
    >>> list(done.scores.index) == [site_no]
    True
    >>> done.open_predictions()["simulated"].dims
    ('site_no', 'time')
    """
    training = prepare(store, run, sites=sites, settings=settings)
    if training.run.finished() is None:
        with workers_for(training, client) as workers:
            wait_for_worker(workers, wait)
            run_training(training, workers, progress, take_over=take_over)
    return training.run


def prepare(
    store: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    sites: Sequence[str] | None = None,
    settings: Settings | None = None,
) -> Training:
    """Check a training before any worker starts; arguments as of `train`.

    Raises:
        InputError: the store, a site, the split or what is in the run directory does not fit.
    """
    where = absolute(store)
    survey = select(survey_store(where), sites, where)
    settings = (settings or Settings()).resolved(survey.step)
    split, settings = split_record(survey, settings)
    target = Run(Path(run))
    target.require_same(settings, survey.digest, list(survey.pixels))
    return Training(where, target, survey, split, settings)


def run_training(
    training: Training,
    client: Client,
    progress: Progress | None = None,
    *,
    take_over: bool = False,
) -> dict[str, Any]:
    """Train on the client's workers and write the run directory, which is held meanwhile.

    Returns:
        The content of metrics.json.

    Raises:
        RunError: as `train`.
    """
    with training.run.held(take_over) as run:
        return _train(training, run, client, progress or Progress())


def _train(training: Training, run: Run, client: Client, progress: Progress) -> dict[str, Any]:
    """Train as `run_training`, in a run directory that is held."""
    began = time.monotonic()
    survey, settings = training.survey, training.settings
    run.begin(settings, training.store, survey.digest, training.sites)
    run.prepare_predictions(training.sites, survey.times, survey.title)
    split = training.split
    costs = update_costs(survey, split.train_stop + settings.warmup)
    learnable = last_stop(split.known) if settings.refit else split.train_stop
    record = Record(len(survey.times), learnable, survey.step.total_seconds(), survey.forcings)
    progress.begin(list(costs), settings.head_updates)
    try:
        with run.logged() as warned, ExitStack() as live:
            jobs = Jobs(training.store, run, settings, client, progress, warned)
            about = announcement(training.store, survey, run, settings)
            live.enter_context(jobs.live.running(**about))
            workers, gpus = jobs.fleet.workers, len(jobs.fleet.gpus)
            sizes = {"heads": len(costs), "workers": workers, "gpus": gpus}
            log.info("%(heads)d heads on %(workers)d workers, %(gpus)d with a GPU", sizes)
            shared = settings.trunk == "shared"
            trunk = jobs.train_trunk(trunk_branches(costs, settings)) if shared else None
            rows = {site: row for row, site in enumerate(costs)}
            heads = Heads(costs, survey, record, settings)
            scores, failures = jobs.train_heads(heads, rows, trunk)
            if unscored := [score["site_no"] for score in scores if not score["n_test"]]:
                log.warning("no discharge in the test part of %s: no scores", ", ".join(unscored))
    finally:
        progress.end()
    metrics = summarise(survey, settings, scores, gpus, workers, time.monotonic() - began)
    metrics["warnings"] = warned
    metrics["split"] = training.split.describe(survey.dates)
    run.collect_lines()
    if failures:
        raise RunError(f"{len(scores)} of {len(costs)} heads are done; {'; '.join(failures)}")
    write_report(run, metrics)
    run.finish(metrics)  # last: metrics.json marks the run as finished
    return metrics


def workers_for(training: Training, client: Client | None) -> AbstractContextManager[Client]:
    """Return the given client, or one with workers of its own on this machine."""
    if client is not None:
        return nullcontext(client)
    return local_client(len(training.sites), training.settings)


def local_client(heads: int, settings: Settings, **options: Any) -> AbstractContextManager[Client]:
    """Start workers for some heads; `options` as of `pipeline.run.cluster.make_client`."""
    # The baselines of the deck are sequential. Processes take seconds to start: none for one head.
    workers = options.pop("workers", None) or (1 if settings.windows else None)
    options = {"cluster": "auto"} | options
    return make_client(processes=heads > 1, workers=workers, at_most=heads, **options)


def absolute(store: str | os.PathLike[str]) -> str:
    """A store as workers see it, whose working directory may be another one."""
    place = parse_location(store)
    return str(place.resolve() if isinstance(place, Path) else place)


def select(survey: Survey, sites: Sequence[str] | None, store: str) -> Survey:
    """Restrict a survey to some sites.

    Raises:
        InputError: a site that the store lacks, or no site.
    """
    if sites is None:
        return survey
    known = list(survey.pixels)
    lacking = [site for site in sites if site not in known]
    if lacking or not sites:
        raise InputError(
            f"{store}: lacks {', '.join(lacking) or 'every site'}: expected some of "
            f"{', '.join(known[:10])}{' ...' if len(known) > 10 else ''}"
        )
    return replace(survey, pixels={site: survey.pixels[site] for site in sorted(set(sites))})


def split_record(survey: Survey, settings: Settings) -> tuple[Split, Settings]:
    """Split a store's steps, and write the periods into the settings: the record may grow.

    Raises:
        InputError: as `Split.of`.
    """
    split = Split.of(survey.dates, settings)
    return split, settings.model_copy(update=dict(split.parts))


def update_costs(survey: Survey, steps: int) -> dict[str, float]:
    """Estimate the seconds of an update on `steps` steps, by site number."""
    model = CostModel()
    return {site: model.update_seconds(steps, pixels) for site, pixels in survey.pixels.items()}


def summarise(
    survey: Survey,
    settings: Settings,
    scores: list[dict[str, Any]],
    gpus: int,
    workers: int,
    seconds: float,
) -> dict[str, Any]:
    """Return the content of metrics.json, with what the scores say of their tasks taken out."""
    busy: dict[str, float] = defaultdict(float)
    warned: list[str] = []
    for score in scores:
        warned += score.pop("warnings")
        busy[score.pop("worker")] += score.pop("busy")
    return {
        "variant": settings.title,
        "history": settings.history,
        "title": survey.title,
        "synthetic": survey.synthetic,
        "cluster": {"workers": workers, "gpus": gpus},
        "seconds": {
            "total": seconds,
            "fit": sum(score["seconds"] for score in scores),
            "busy_max": max(busy.values(), default=0.0),
            "busy_mean": sum(busy.values()) / max(workers, 1),
        },
        "warnings": warned,
        "heads": scores,
        "median_nse": median_known([score["nse"] for score in scores]) if scores else None,
    }
