"""The command `python -m model.train`, also `domst train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from model.config import read_settings, show_settings
from model.settings import DAY, TRUNKS, Settings, Trunk, Variant
from pipeline.commands.options import (
    WAIT,
    AsJson,
    LogJson,
    Scheduler,
    SchedulerFile,
    TakeOver,
    Tls,
    Wait,
    Workers,
)
from pipeline.commands.start import run_alone
from pipeline.errors import InputError, exit_codes
from pipeline.json_text import print_json
from pipeline.log import json_lines

if TYPE_CHECKING:
    from model.output.run_directory import Run

SAMPLE = Path("build/sample")
RUNS = Path("build/runs")
Tracking = Literal["tensorboard", "mlflow"]
UPDATES = {trunk: Settings(trunk=trunk).resolved(DAY).updates for trunk in TRUNKS}
# Options that may accompany --resume; the run's run.yaml says everything else.
WITH_CLUSTER = {"cluster", "workers", "scheduler", "scheduler_file", "wait", "tls"}
WITH_RESUME = {"resume", "run", "take_over", "track", "as_json", "log_json"} | WITH_CLUSTER
EXAMPLE = "domst train build/my.zarr --run build/runs/my --test 2021 --workers 4"


def main(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="Store to train on; the embedded sample if left out."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run directory; build/runs/<name of the store> if left out."
        ),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SITE", help="Site number of a watershed to train; repeatable; all if left out."
        ),
    ] = None,
    cluster: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Local workers: per core or per GPU.")
    ] = "auto",
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    wait: Wait = WAIT,
    tls: Tls = None,
    train: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERIOD",
            help="Water year (2019), water years (2016-2018) or dates (2014-09-15/2014-10-31) to "
            "learn from; repeatable.",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="PERIOD", help="The same, to pick the weights; repeatable."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="PERIOD", help="The same, to score; repeatable."),
    ] = None,
    water_year_starts_in: Annotated[
        int | None,
        typer.Option(min=1, max=12, help="First month of a water year; 10 if left out."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; 0 if left out.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Networks of a head, one per seed; their mean discharge counts; 1 if left out.",
        ),
    ] = None,
    updates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Gradient steps of a head; {UPDATES['own']}, or {UPDATES['shared']} on a shared "
            "trunk, if left out; several times as many for steps shorter than a day.",
        ),
    ] = None,
    variant: Annotated[
        Variant | None,
        typer.Option(
            help="Approach, multihead if left out; the others are baselines, the single heads slow."
        ),
    ] = None,
    contribution: Annotated[
        bool | None, typer.Option(help="Use the pixel-contribution block; yes if left out.")
    ] = None,
    cnn: Annotated[
        bool | None, typer.Option(help="Use the image encoder; yes if left out.")
    ] = None,
    soil: Annotated[bool | None, typer.Option(help="Use the soil stores; yes if left out.")] = None,
    wetness: Annotated[
        bool | None, typer.Option(help="Use antecedent wetness; yes if left out.")
    ] = None,
    history: Annotated[
        bool | None,
        typer.Option("--history", help="Use the discharge of the step before as an input."),
    ] = None,
    trunk: Annotated[
        Trunk | None,
        typer.Option(help="Start heads from a trunk trained on all watersheds; own if left out."),
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option("--refit", help="After validation, train on the validation part too."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of settings; options and --set override it."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SETTING=VALUE", help="Any setting, its value in YAML; repeatable."
        ),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config",
            help="Print the settings, for the store's step or else a day, as --config reads them.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run as its run.yaml says.")
    ] = False,
    track: Annotated[
        Tracking | None,
        typer.Option(help="Send curves and scores there too; needs the package of that name."),
    ] = None,
    take_over: TakeOver = False,
    as_json: AsJson = False,
    log_json: LogJson = False,
) -> None:
    """Train one Dom-ST head per watershed of a store, in parallel on Dask workers."""
    console = Console(stderr=as_json)  # stdout is for the result alone
    with json_lines(log_json), exit_codes():
        from model.inputs.watershed import survey_store
        from model.jobs.train import local_client, prepare, run_training
        from model.output.progress import ConsoleProgress, Progress, Several, skill_table
        from model.output.run_directory import Run
        from pipeline.run.cluster import dashboard_address, wait_seconds

        sites = site or None
        if resume:
            folder = require_resumable(context)
            about = Run(folder).recorded()
            settings, where, sites = about.settings, about.store, about.sites
        else:
            options = {
                "variant": variant,
                "trunk": trunk,
                "refit": refit,
                "contribution": contribution,
                "cnn": cnn,
                "soil": soil,
                "wetness": wetness,
                "history": history,
                "seed": seed,
                "seeds": seeds,
                "updates": updates,
                "train": train,
                "validation": validation,
                "test": test,
                "water_year_starts_in": water_year_starts_in,
            }
            given = {name: value for name, value in options.items() if value is not None}
            settings = read_settings(config, assignments or (), given)
            if show_config:
                step = DAY if store is None else survey_store(store).step
                settings = settings.resolved(step)
                if as_json:
                    print_json(settings.model_dump(mode="json"))
                else:
                    print(show_settings(settings))
                return
            where = store or str(make_sample_store(console))
            folder = run or RUNS / (SAMPLE.name if store is None else Path(where).stem)
        training = prepare(where, folder, sites=sites, settings=settings)
        metrics = training.run.finished()
        trackers: list[Progress] = []
        if track is not None and metrics is None:
            from model.output.track import make_tracker

            trackers.append(make_tracker(track, training.run, training.settings))
        if metrics is None:
            with (
                interrupts_name_resume(training.run),
                local_client(
                    len(training.sites),
                    training.settings,
                    scheduler=scheduler,
                    scheduler_file=scheduler_file,
                    cluster=cluster,
                    workers=workers,
                    wait=wait_seconds(wait),
                    tls=tls,
                ) as client,
            ):
                console.print(f"dashboard: {dashboard_address(client)}", soft_wrap=True)
                shown = Progress() if log_json else ConsoleProgress(console)
                told = Several(shown, *trackers)
                metrics = run_training(training, client, told, take_over=take_over)
        if as_json:
            print_json({"run": folder, **metrics})
            return
        console.print(skill_table(metrics))
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True, markup=False)
        console.print(f"run: {folder}", soft_wrap=True, markup=False)


@contextmanager
def interrupts_name_resume(run: Run) -> Iterator[None]:
    """Have an interrupt name the command that resumes the run, once the run has begun."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not run.begun:
            raise
        raise type(interrupt)(run.resume_hint) from None


def require_resumable(context: typer.Context) -> Path:
    """Return the run directory of `--resume`.

    Raises:
        InputError: there is none, or an option is given that its run.yaml says.
    """
    for name in context.params.keys() - WITH_RESUME:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"--resume: {name} is given: expected --run and the cluster's options alone, "
                "as run.yaml says the rest"
            )
    folder: Path | None = context.params["run"]
    if folder is None:
        raise InputError("--resume: expected --run, the directory of the run to go on with")
    return folder


def make_sample_store(console: Console) -> Path:
    """Make the embedded sample and its store, where they are missing, and return the store."""
    from pipeline.catalog.models import load_catalog
    from pipeline.run.cluster import make_client
    from pipeline.run.execute import run as run_pipeline
    from pipeline.sample.make import make_sample

    console.print(f"embedded sample, a synthetic world: {SAMPLE}")
    catalog = load_catalog(make_sample(SAMPLE))
    store = SAMPLE / "store.zarr"
    with make_client() as client:
        done = run_pipeline(catalog, store, client)
    console.print(f"store: {store}, {done.files} rasters read in {done.seconds:.1f} s")
    return store


if __name__ == "__main__":
    run_alone(main, EXAMPLE)
