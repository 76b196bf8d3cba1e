"""`python -m model.predict`: heads of a run on a record that has grown since, or on other years.

Nothing is learned. What comes out is a run directory as training leaves it: discharge of the whole
record, scores, floors and hydrographs of the years that the heads have not seen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from distributed import Client
from rich.console import Console

from model.inputs.split import Split, water_years
from model.inputs.watershed import Survey, survey_store
from model.jobs.tasks import predict_head
from model.output.progress import skill_table
from model.output.report import write_report
from model.output.run_directory import Run
from model.settings import Settings
from model.train import Scheduler, SchedulerFile, Workers, split_years, summary
from model.training import checkpoint
from pipeline.errors import InputError, exit_codes
from pipeline.run.cluster import make_client
from pipeline.storage import located


@dataclass(frozen=True)
class Choice:
    """Heads, and the record that they simulate.

    trained: the run of the heads.  heads: their checkpoints, by site number.
    store: path or URL.  survey, split: of it.
    settings: the run's, with the test years that are scored.
    """

    trained: Run
    heads: dict[str, Path]
    store: str
    survey: Survey
    split: Split
    settings: Settings


def choose(trained: Run, store: str | None, years: Sequence[int]) -> Choice:
    """What is to be predicted.

    Args:
        store: path or URL; the one that the run trained on if left out.
        years: water years to score; all after the validation years if left out.

    Raises:
        InputError: a run that is not finished, a store without one of its watersheds, a year that
            the heads learned from or the record lacks.
    """
    settings, where = trained.recorded()
    metrics = trained.finished()
    if metrics is None:
        raise InputError(f"{trained.folder}: not finished: expected model.train --resume to end it")
    if store is not None:
        place = located(store)
        where = str(place.resolve() if isinstance(place, Path) else place)
    survey = survey_store(where)
    sites = [head["site_no"] for head in metrics["heads"]]
    lacking = [site for site in sites if site not in survey.pixels]
    if lacking:
        raise InputError(f"{where}: lacks {', '.join(lacking)}: expected what {trained.folder} has")
    last = settings.validation_years[-1]
    known = np.unique(water_years(survey.dates)).tolist()
    later = tuple(years) or tuple(year for year in known if year > last)
    split, settings = split_years(survey, settings.model_copy(update={"test_years": later}))
    heads = {site: checkpoint.head_path(trained.checkpoints, site) for site in sites}
    return Choice(trained, heads, where, survey, split, settings)


def predict(choice: Choice, folder: Path, client: Client) -> dict[str, Any]:
    """Have the workers simulate, and write `folder` whole or not at all.

    Returns:
        What metrics.json holds.

    Raises:
        InputError: a head that was trained on another record; `folder` holds something else than
            an older prediction, which is replaced.
    """
    if folder.exists() and not Run(folder).predicts:
        raise InputError(f"{folder}: not a prediction: expected one to replace, or another --out")
    began, survey, settings = time.monotonic(), choice.survey, choice.settings
    run = Run(folder.with_name(f".{folder.name}.{os.getpid()}"))
    try:
        run.begin(settings, choice.store, survey.digest, choice.trained.folder)
        run.prepare_predictions(list(choice.heads), survey.times, survey.title)
        place = str(run.folder.resolve())
        futures = [
            client.submit(
                predict_head, choice.store, site, row, settings, place, str(path), pure=False
            )
            for row, (site, path) in enumerate(choice.heads.items())
        ]
        scores = []
        for found in client.gather(futures):
            if isinstance(found, str):
                raise InputError(found)
            scores.append(found)
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        metrics = summary(survey, settings, scores, 0, workers, time.monotonic() - began)
        metrics["split"] = choice.split.describe(survey.dates)
        write_report(run, metrics)
        run.finish(metrics)
        if folder.exists():
            shutil.rmtree(folder)
        run.folder.rename(folder)
    finally:
        shutil.rmtree(run.folder, ignore_errors=True)
    return metrics


def main(
    run: Annotated[Path, typer.Argument(help="Run directory of heads that are trained.")],
    store: Annotated[
        str | None, typer.Option(help="Store; the one that the run trained on if left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where predictions go; RUN/predicted, replaced.")
    ] = None,
    test_year: Annotated[
        list[int] | None,
        typer.Option(help="Water year to score; repeatable; all that no head learned from."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
) -> None:
    """Simulate discharge with trained heads, on a record that has grown or on other years."""
    console = Console()
    with exit_codes():
        folder = out or run / "predicted"
        choice = choose(Run(run.resolve()), store, test_year or ())
        with make_client(
            scheduler,
            scheduler_file,
            processes=len(choice.heads) > 1,
            workers=workers,
            at_most=len(choice.heads),
        ) as client:
            metrics = predict(choice, folder, client)
        console.print(skill_table(metrics))
        console.print(f"predictions: {folder / 'predictions.zarr'}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
