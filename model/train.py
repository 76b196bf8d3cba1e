"""`python -m model.train`: one Dom-ST head a watershed, packs placed over Dask workers.

The command line is thin; `train` is the program.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from distributed import Client, Future, KilledWorker, as_completed
from rich.console import Console

from model.evaluation.metrics import median_known
from model.inputs.split import Split
from model.inputs.watershed import Survey, survey_store
from model.jobs.placement import CostModel, pack_heads
from model.jobs.tasks import train_pack
from model.jobs.trunk import fit_trunk, trunk_branch, trunk_branches
from model.output.progress import Progress, skill_table
from model.output.report import write_report
from model.output.run_directory import Run
from model.settings import REFIT, SUBDAILY, TRUNKS, VARIANTS, Settings, Trunk, Variant
from pipeline.errors import InputError, RunError, exit_codes
from pipeline.run.cluster import Kind, dashboard_address, make_client
from pipeline.storage import located

log = logging.getLogger("model.train")
PACKS_A_GPU = 4  # more packs than devices, so that the scheduler evens out the rest
SAMPLE = Path("build/sample")
RUNS = Path("build/runs")
DAY = pd.Timedelta(days=1)
UPDATES = {trunk: Settings(**changes).updates for trunk, changes in TRUNKS.items()}

Workers = Annotated[int | None, typer.Option(min=1, help="Local CPU workers.")]
Scheduler = Annotated[
    str | None,
    typer.Option(envvar="DASK_SCHEDULER_ADDRESS", help="Address of a running Dask scheduler."),
]
SchedulerFile = Annotated[
    Path | None, typer.Option(help="File that a running Dask scheduler wrote.")
]


def train(
    store: str, run: Run, settings: Settings, client: Client, console: Console
) -> dict[str, Any]:
    """Train every watershed of a store on the client's workers and write the run directory.

    Heads that an earlier call finished are kept, unfinished ones go on where they stopped.

    Returns:
        What metrics.json holds.

    Raises:
        InputError: the store or the run directory does not fit.
        RunError: heads failed; the others are finished and stay.
    """
    began = time.monotonic()
    survey = survey_store(store)
    split, settings = split_years(survey, settings)
    run.begin(settings, store, survey.digest)
    run.prepare_predictions(list(survey.pixels), survey.times, survey.title)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    gpus = sum("GPU" in worker["resources"] for worker in workers)
    costs = update_costs(survey, split.train.stop + settings.warmup)
    together = 0 if settings.windows else gpus  # the baselines train head by head
    packs = place(costs, together)
    with run.logged(), Progress(console, costs, settings.all_updates) as progress:
        log.info("%d heads in %d packs on %d workers", len(costs), len(packs), len(workers))
        work = Work(store, run, settings, client, progress, gpus > 0)
        trunk = work.trunk(trunk_branches(costs, settings)) if settings.trunk == "shared" else None
        scores, failures = work.heads(packs, {site: i for i, site in enumerate(costs)}, trunk)
    metrics = summary(survey, settings, scores, gpus, len(workers), time.monotonic() - began)
    metrics["split"] = split.describe(survey.dates)
    if failures:
        raise RunError(
            f"{len(scores)} of {len(survey.pixels)} heads are done; {'; '.join(failures)}"
        )
    write_report(run, metrics)
    run.finish(metrics)  # last: what has it is finished
    return metrics


def split_years(survey: Survey, settings: Settings) -> tuple[Split, Settings]:
    """The split of a store, and the settings with its water years, as run.yaml keeps them: the
    record may grow.

    Raises:
        InputError: as `Split.by_water_year`.
    """
    split = Split.by_water_year(survey.dates, settings.validation_years, settings.test_years)
    years = {f"{name}_years": found for name, found in split.years(survey.dates).items()}
    return split, settings.model_copy(update=years)


def paced(settings: Settings, survey: Survey, updates: int | None) -> Settings:
    """The settings that the store's steps need, with the updates that were asked for."""
    if survey.step < DAY:
        settings = settings.for_short_steps()
    return settings.model_copy(update={"updates": updates}) if updates else settings


def update_costs(survey: Survey, steps: int) -> dict[str, float]:
    """Seconds of an update of each watershed on `steps` steps, by site number."""
    model = CostModel()
    return {site: model.update_seconds(steps, pixels) for site, pixels in survey.pixels.items()}


def place(costs: Mapping[str, float], gpus: int) -> list[list[str]]:
    """Packs of site numbers, the costliest first: of one head on CPUs, of many on GPUs."""
    return pack_heads(costs, PACKS_A_GPU * gpus if gpus else len(costs))


class Work:
    """What a run has its workers do."""

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
        self.token = uuid.uuid4().hex[:8]  # one scheduler may serve several runs
        self.device = "cuda:0" if on_gpu else "cpu"
        self.resources = {"GPU": 1} if on_gpu else None

    def submit(self, task: Callable[..., Any], *arguments: Any, key: str, **how: Any) -> Future:
        """A task for a worker, `key` in its name."""
        key = f"{key}-{self.token}"
        return self.client.submit(task, *arguments, key=key, resources=self.resources, **how)

    def trunk(self, groups: list[list[str]]) -> str:
        """Have branches of watersheds teach a trunk; returns its path.

        Raises:
            InputError: a watershed cannot teach.
            RunError: the loss is not finite, or workers died of it.
        """

        def branch(sites: Sequence[str]) -> Future:
            arguments = self.store, sites, self.settings, self.device
            return self.submit(trunk_branch, *arguments, key=f"trunk-branch-{sites[0]}")

        def heard(line: dict[str, Any]) -> None:
            self.run.append(line)
            self.progress.trunk(line["update"], self.settings.trunk_updates)
            log.info("trunk, update %(update)d: mean validation NSE %(validation_nse).3f", line)

        folder = self.run.checkpoints.resolve()
        try:
            return str(
                fit_trunk(self.client, groups, branch, self.settings, folder, heard, self.resources)
            )
        except KilledWorker as error:
            raise RunError(f"trunk: {error}") from error

    def heads(
        self, packs: list[list[str]], rows: Mapping[str, int], trunk: str | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Have packs of heads trained.

        Args:
            packs: site numbers, in the order in which they are handed out.
            rows: of each site number in predictions.zarr.
            trunk: the file that heads start from, if they share one.

        Returns:
            Scores sorted by site, and a line a pack or head that failed.
        """
        topic = f"dom-st-{self.token}"
        folder = str(self.run.folder.resolve())
        scores: list[dict[str, Any]] = []
        failures: list[str] = []

        def heard(event: tuple[float, dict[str, Any]]) -> None:
            line = event[1]
            self.run.append(line)
            self.progress.update(line["site_no"], line["update"])

        self.client.subscribe_topic(topic, heard)
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


def summary(
    survey: Survey,
    settings: Settings,
    scores: list[dict[str, Any]],
    gpus: int,
    workers: int,
    seconds: float,
) -> dict[str, Any]:
    """What metrics.json holds; takes `busy` and `worker` out of the scores."""
    busy: dict[str, float] = defaultdict(float)
    for score in scores:
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
            "busy_mean": sum(busy.values()) / workers,
        },
        "heads": scores,
        "median_nse": median_known([score["nse"] for score in scores]) if scores else None,
    }


def make_sample_store(console: Console) -> Path:
    """The embedded sample and its store, made first if they are missing."""
    from pipeline.catalog.models import load_catalog
    from pipeline.run.execute import run as run_pipeline
    from pipeline.sample.make import make_sample

    console.print(f"embedded sample, a synthetic world: {SAMPLE}")
    catalog = load_catalog(make_sample(SAMPLE))
    store = SAMPLE / "store.zarr"
    with make_client() as client:
        done = run_pipeline(catalog, store, client)
    console.print(f"store: {store}, {done.files} rasters read in {done.seconds:.1f} s")
    return store


def required_alone(context: typer.Context) -> None:
    """Make sure that nothing is asked of a resumed run that its run.yaml says.

    Raises:
        InputError: an option that it says is given too.
    """
    free = {"resume", "run", "cluster", "workers", "scheduler", "scheduler_file"}
    for name in context.params.keys() - free:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"--resume: {name} is given: expected --run and the cluster's options alone, "
                "as run.yaml says the rest"
            )
    if context.params["run"] is None:
        raise InputError("--resume: expected --run, the directory of the run to go on with")


def main(
    context: typer.Context,
    store: Annotated[
        str | None, typer.Argument(help="Store to train on; the embedded sample if left out.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory; build/runs/<name of the store's folder>.")
    ] = None,
    cluster: Annotated[Kind, typer.Option(help="Local workers: one a core or a GPU.")] = "auto",
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    validation_year: Annotated[
        list[int] | None, typer.Option(help="Water year to pick the weights on; repeatable.")
    ] = None,
    test_year: Annotated[
        list[int] | None, typer.Option(help="Water year to score on; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    updates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Gradient steps of a head; {UPDATES['own']}, or {UPDATES['shared']} on a shared "
            f"trunk, and {SUBDAILY} times as many where steps are shorter than a day.",
        ),
    ] = None,
    variant: Annotated[
        Variant,
        typer.Option(help="Approach; the single heads are slow baselines, see docs."),
    ] = "multihead",
    contribution: Annotated[bool, typer.Option(help="The pixel-contribution block.")] = True,
    cnn: Annotated[bool, typer.Option(help="The image encoder.")] = True,
    history: Annotated[
        bool, typer.Option("--history", help="Forecast one step ahead: past discharge is an input.")
    ] = False,
    trunk: Annotated[
        Trunk, typer.Option(help="Start heads from a trunk that all watersheds teach.")
    ] = "own",
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Once validated, go on on the validation years too."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --run as its run.yaml says."),
    ] = False,
) -> None:
    """Train one Dom-ST head a watershed of a store, in parallel on Dask workers."""
    console = Console()
    with exit_codes():
        if resume:
            required_alone(context)
            assert run is not None
            folder = run
            settings, where = Run(folder).recorded()
        else:
            chosen: dict[str, Any] = {
                "contribution": contribution,
                "cnn": cnn,
                "history": history,
                "seed": seed,
                "validation_years": tuple(validation_year or ()),
                "test_years": tuple(test_year or ()),
                "variant": variant,
            }
            again = REFIT if refit else {}
            settings = Settings(**(chosen | VARIANTS[variant] | TRUNKS[trunk] | again))
            place = located(store) if store else make_sample_store(console)
            where = str(place.resolve() if isinstance(place, Path) else place)
            folder = run or RUNS / (Path(where).parent.name if store is None else Path(where).stem)
        survey = survey_store(where)  # what is wrong with the input is told before workers start
        if not resume:
            settings = paced(settings, survey, updates)
        _, settings = split_years(survey, settings)
        target = Run(folder)
        target.require_same(settings, survey.digest)
        metrics = target.finished()
        if metrics is None:
            with make_client(
                scheduler,
                scheduler_file,
                cluster=cluster,
                processes=len(survey.pixels) > 1,  # which take seconds to start
                workers=workers or (1 if settings.windows else None),  # baselines are sequential
                at_most=len(survey.pixels),
            ) as client:
                console.print(f"dashboard: {dashboard_address(client)}", soft_wrap=True)
                metrics = train(where, target, settings, client, console)
        console.print(skill_table(metrics))
        console.print(f"run: {folder}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
