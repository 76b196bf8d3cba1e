"""Simulate with the heads of a finished run, on a record that has grown or on other periods.

Nothing is trained. The result is a run directory like that of a training: discharge of the whole
record, scores, floors and hydrographs of what the heads have not seen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from model.inputs.split import Split, unlearned
from model.inputs.watershed import Survey, survey_store
from model.jobs.schedule import log_unheard
from model.jobs.tasks import predict_head
from model.jobs.train import absolute, local_client, split_record, summarise
from model.output.report.write import write_report
from model.output.run_directory import Run
from model.settings import Settings
from model.training import checkpoint
from pipeline.errors import InputError, RunError
from pipeline.log import collect_warnings, get_logger
from pipeline.run.cluster import LOST, wait_for_worker
from pipeline.store.fence import require_lease
from pipeline.store.lease import hold_lease

log = get_logger(__name__)
AGAIN = "nothing has changed, and the same command predicts again"


@dataclass(frozen=True)
class Prediction:
    """A prediction whose inputs have been checked; `run_prediction` does it.

    Attributes:
        trained: the run of the heads.
        heads: checkpoints of their networks, by site number.
        store: path or URL of the record.
        survey, split: of the store.
        settings: the run's, with the test periods that are scored.
    """

    trained: Run
    heads: dict[str, list[Path]]
    store: str
    survey: Survey
    split: Split
    settings: Settings


def predict(
    run: str | os.PathLike[str] | Run,
    *,
    store: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    test: Sequence[int | str] = (),
    client: Client | None = None,
    take_over: bool = False,
    wait: float | None = None,
) -> Run:
    """Simulate discharge with the heads of a finished run and write the result as a run directory.

    Args:
        run: directory of a finished run.
        store: the record to simulate; the store that the run trained on if left out.
        out: folder of the result, `<run>/predicted` if left out; an older prediction is replaced.
        test: water years or dates to score, as `Settings.test`; all that no head has learned
            from if left out.
        client, wait: as of `model.train`.
        take_over: take `out` from another prediction that seems to be alive.

    Returns:
        The prediction: its metrics, scores and discharge.

    Raises:
        InputError: a run that is not finished, a store without one of its watersheds or with other
            training steps, a period that the heads learned from, or an `out` that holds something
            else than a prediction.

    >>> predicted = predict(run, out=folder)
    >>> predicted.open_predictions()["simulated"].dims
    ('site_no', 'time')
    """
    trained = run if isinstance(run, Run) else Run(Path(run))
    prediction = prepare(trained, store, test)
    folder = trained.folder / "predicted" if out is None else Path(out)
    own = local_client(len(prediction.heads), prediction.settings, cluster="cpu")
    with nullcontext(client) if client is not None else own as workers:
        wait_for_worker(workers, wait)
        run_prediction(prediction, folder, workers, take_over=take_over)
    return Run(folder)


def prepare(
    trained: Run, store: str | os.PathLike[str] | None, test: Sequence[int | str]
) -> Prediction:
    """Check a prediction before any worker starts; arguments and errors as of `predict`."""
    about = trained.recorded()
    metrics = trained.finished()
    if metrics is None:
        raise InputError(
            f"{trained.folder}: not finished: expected a finished run; "
            f"`domst train --resume --run {trained.folder}` finishes it"
        )
    where = about.store if store is None else absolute(store)
    survey = survey_store(where)
    sites = [head["site_no"] for head in metrics["heads"]]
    lacking = [site for site in sites if site not in survey.pixels]
    if lacking:
        raise InputError(f"{where}: lacks {', '.join(lacking)}: expected what {trained.folder} has")
    periods = tuple(map(str, test)) or unlearned(survey.dates, about.settings)
    settings = about.settings.model_copy(update={"test": periods})
    split, settings = split_record(survey, settings)
    folders = trained.networks(settings)
    heads = {site: [checkpoint.head_path(one, site) for one in folders] for site in sites}
    return Prediction(trained, heads, where, survey, split, settings)


def run_prediction(
    prediction: Prediction, folder: Path, client: Client, *, take_over: bool = False
) -> dict[str, Any]:
    """Simulate on the client's workers, and write `folder` whole or not at all.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: a head that was trained on another record; `folder` holds something else than
            an older prediction, which is replaced.
        RunError: workers are gone, or another prediction of `folder` is under way.
    """
    if folder.exists() and not Run(folder).predicts:
        raise InputError(f"{folder}: not a prediction: expected one to replace, or another --out")
    with replacing(folder, take_over) as new, collect_warnings() as warned:
        return _predict(prediction, Run(new), client, warned)


def _predict(
    prediction: Prediction, run: Run, client: Client, warned: Sequence[str]
) -> dict[str, Any]:
    """Predict as `run_prediction`, into a new folder; `warned` is what has been warned of."""
    began, survey, settings = time.monotonic(), prediction.survey, prediction.settings
    sites = list(prediction.heads)
    run.begin(settings, prediction.store, survey.digest, sites, heads=prediction.trained.folder)
    run.prepare_predictions(sites, survey.times, survey.title)
    futures = [
        client.submit(predict_head, prediction.store, site, row, settings, run, paths, pure=False)
        for row, (site, paths) in enumerate(prediction.heads.items())
    ]
    scores: list[dict[str, Any]] = []
    try:
        for found in client.gather(futures):
            if isinstance(found, str):
                raise InputError(found)
            scores.append(found)
            log.info("head %(site_no)s done: test NSE %(nse).3f", found)
    except LOST as error:
        reason = f"{prediction.trained.folder}: lost the scheduler or its workers ({error})"
        raise RunError(f"{reason}: {AGAIN}") from error
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    metrics = summarise(survey, settings, scores, 0, workers, time.monotonic() - began)
    metrics["split"] = prediction.split.describe(survey.dates)
    log_unheard(metrics["warnings"], warned)
    write_report(run, metrics)
    run.finish(metrics)
    return metrics


@contextmanager
def replacing(folder: Path, take_over: bool = False) -> Iterator[Path]:
    """Replace a folder by one that is made meanwhile; if that fails, the folder stays as it was.

    Both lie in the folder `.<name>.new` beside it until the one has taken the place of the other. A
    lease keeps other predictions out of it; one that was killed is cleared away by the next.

    Yields:
        A path that does not exist, where the new folder is to be made.
    """
    folder = folder.resolve()
    beside = folder.with_name(f".{folder.name}.new")
    old = beside / "old"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        with hold_lease(beside, take_over) as lease:
            if old.exists() and not folder.exists():  # killed between the two renames
                old.rename(folder)
            for left_behind in beside.iterdir():
                shutil.rmtree(left_behind, ignore_errors=True)  # but the lease, which is a file
            new = beside / lease.run
            try:
                yield new
                require_lease(beside, lease.run)
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
            finally:
                if old.exists() and not folder.exists():
                    old.rename(folder)
                shutil.rmtree(new, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
    finally:
        with suppress(OSError):  # held by another prediction
            beside.rmdir()
