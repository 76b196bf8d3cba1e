"""Tasks of a worker: load watersheds, train or apply their heads, score and draw.

A watershed's data is read by the worker that trains its head and stays there; paths and scores are
all that returns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from distributed import get_worker

from model.evaluation.metrics import nse
from model.evaluation.score import score_with_floors
from model.inputs.watershed import HeadData, load_head
from model.jobs.members import fit_heads, simulate
from model.jobs.threads import on_device, one_thread
from model.output.figures import hydrograph, label
from model.output.run_directory import Run
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted
from model.training.trunk import load_trunk
from pipeline.errors import InputError
from pipeline.live.board import live_topic
from pipeline.log import collect_warnings, get_logger

log = get_logger(__name__)


class PackResult(NamedTuple):
    """What a pack's task returns.

    Attributes:
        scores: one entry of metrics.json per head, with `busy`, the seconds that the task spent on
            it, `worker`, its address, and `warnings`, what was ignored or corrected of its data.
        failures: one line per head that was given up.
        too_large: site numbers of heads that need a smaller pack, as the GPU's memory was full.
    """

    scores: list[dict[str, Any]]
    failures: list[str]
    too_large: list[str]


def train_pack(
    store: str,
    rows: dict[str, int],
    settings: Settings,
    run: Run,
    topic: str,
    device: str,
    trunk: str | None = None,
) -> PackResult:
    """Train the heads of a pack; heads that an earlier call finished return their scores.

    A watershed that cannot be loaded, a head whose files are of another training, one that does not
    fit into the memory by itself, and one that cannot be scored fail alone.

    Args:
        store: path or URL of the store.
        rows: site numbers of the pack, each with its row in predictions.zarr.
        settings: of the run.
        run: the run directory, held by the client.
        topic: of the Dask events that report each validation.
        device: "cpu" or "cuda:0".
        trunk: path of the shared trunk that heads start from, if there is one.
    """
    worker = get_worker()
    target, cpu = torch.device(device), torch.device("cpu")

    def on_validation(line: dict[str, Any]) -> None:
        run.append_to_head(line)
        worker.log_event(topic, line)

    worker.log_event(live_topic(topic), {"event": "pack", "sites": [*rows], "device": device})
    with on_device(target):
        began, folders = time.monotonic(), run.networks(settings)
        done = []
        failures: list[str] = []
        too_large: list[str] = []
        loaded: dict[str, HeadData] = {}
        warned: dict[str, list[str]] = {}
        for site in rows:
            with failing_alone(site, failures):
                trained = is_trained(site, settings, folders)
                score = run.score(site)
                if trained and score:
                    done.append(score | {"busy": 0.0, "worker": worker.address})
                    continue
                with collect_warnings(this_thread=True) as lines:
                    loaded[site], warned[site] = load_head(store, site, settings), lines
        for heads in of_equal_length(loaded):
            start = load_trunk(Path(trunk)) if trunk else None
            scores, unfinished = [], set(heads)
            results = fit_heads(
                list(heads.values()), settings, target, folders, on_validation, start
            )
            try:
                for result in results:
                    site = result.site_no
                    unfinished.remove(site)
                    if isinstance(result, Diverged):
                        failures.append(str(result))
                        continue
                    with failing_alone(site, failures):
                        fitted, about = result.networks, (settings, warned[site])
                        score = finish_head(run, heads[site], fitted, rows[site], cpu, *about)
                        scores.append(score)
            except torch.OutOfMemoryError as error:
                if len(heads) > 1:
                    too_large += sorted(unfinished)
                else:
                    reason = str(error).partition("\n")[0]
                    failures.append(
                        f"watershed {''.join(heads)}: does not fit into the memory of {device} "
                        f"alone ({reason}): expected a device with more, or fewer cells"
                    )
            except InputError as error:  # files that another process has changed
                failures += [f"watershed {site}: {error}" for site in sorted(unfinished)]
            busy, began = (time.monotonic() - began) / len(heads), time.monotonic()
            done += [score | {"busy": busy, "worker": worker.address} for score in scores]
        return PackResult(done, failures, too_large)


def is_trained(site: str, settings: Settings, folders: Sequence[Path]) -> bool:
    """Whether all networks of a head are trained.

    Raises:
        InputError: what is there, trained or in training, was made with other settings.
    """
    trained = True
    for k, folder in enumerate(folders):
        if not checkpoint.find_head(folder, site, settings.member(k)):
            checkpoint.updates_done(folder, site, settings.member(k))
            trained = False
    return trained


def of_equal_length(heads: Mapping[str, HeadData]) -> list[dict[str, HeadData]]:
    """Heads by the length of their series, which pairing shortens by a step where it shifts."""
    found: dict[int, dict[str, HeadData]] = {}
    for site, head in heads.items():
        found.setdefault(len(head.times), {})[site] = head
    return list(found.values())


@contextmanager
def failing_alone(site: str, failures: list[str]) -> Iterator[None]:
    """Add an error to the failures, as a line with the site number."""
    try:
        yield
    except InputError as error:
        failures.append(str(error) if site in str(error) else f"watershed {site}: {error}")
    except Exception as error:
        log.exception("watershed %s", site)
        failures.append(f"watershed {site}: {error!r}")


def predict_head(
    store: str, site_no: str, row: int, settings: Settings, run: Run, trained: Sequence[Path]
) -> dict[str, Any] | str:
    """Simulate, score and draw with a head of another run; arguments as of `train_pack`.

    Args:
        trained: checkpoints of the head's networks.

    Returns:
        An entry of metrics.json, with `busy`, `worker` and `warnings` as of `train_pack`; or one
        line that says what is wrong with the head or the watershed.
    """
    began = time.monotonic()
    try:
        with one_thread():
            with collect_warnings(this_thread=True) as lines:
                head, cpu = load_head(store, site_no, settings), torch.device("cpu")
            fitted = [Fitted.read(path, 0.0) for path in trained]
            scores = finish_head(run, head, fitted, row, cpu, settings, lines)
        return scores | {"busy": time.monotonic() - began, "worker": get_worker().address}
    except InputError as error:  # Dask would print its traceback
        return str(error)


def finish_head(
    run: Run,
    head: HeadData,
    fitted: Sequence[Fitted],
    row: int,
    device: torch.device,
    settings: Settings,
    warned: list[str],
) -> dict[str, Any]:
    """Simulate a trained head's record, and write its prediction, scores and hydrograph.

    Of several networks the mean discharge is the prediction. The scores have `warned`, the warnings
    about the watershed's data.

    Raises:
        RunError: another run holds the directory.
    """
    run.require_held()
    by_network, physics = simulate(head, [one.checkpoint for one in fitted], device)
    simulated, test = by_network.mean(0), head.split.test
    run.write_prediction(row, simulated, head.discharge)
    scores = {
        "site_no": head.site_no,
        "name": head.name,
        **score_with_floors(
            simulated,
            head.discharge,
            head.rain,
            head.dates.to_numpy(),
            head.split.train,
            head.split.validation,
            head.split.test,
            sees_discharge=settings.history,
        ),
        **physics,
        "network_nse": [nse(one[test], head.discharge[test]) for one in by_network],
        "validation_nse": fmean(one.validation_nse for one in fitted),
        "kept_update": (len(fitted) - 1) * settings.all_updates + fitted[-1].kept_update,
        "updates": sum(one.updates for one in fitted),
        "cells": head.share.size,
        "snow": head.snow._asdict() if head.snow else None,
        "seconds": sum(one.seconds for one in fitted),
        "warnings": warned,
    }
    tested = np.flatnonzero(test)
    drawn = slice(tested[0], tested[-1] + 1)  # discharge between two test periods is left out
    hydrograph(
        run.hydrographs / f"{head.site_no}.png",
        times=head.times.to_numpy()[drawn],
        observed=np.where(test, head.discharge, np.nan)[drawn],
        simulated=np.where(test, simulated, np.nan)[drawn],
        rain=head.rain[drawn],
        title=label(head.name, head.site_no),
        scores=scores | {"n": scores["n_test"]},
        baselines={name: scores[f"{name}_nse"] for name in ("persistence", "climatology", "ridge")},
        note="synthetic sample world" if head.synthetic else None,
    )
    run.save_score(scores)
    return scores
