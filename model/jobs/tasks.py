"""Tasks of a worker: load watersheds, train or apply their heads, score and draw.

A watershed's data is read by the worker that trains its head and stays there; paths and scores are
all that returns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from distributed import get_worker

from model.evaluation.score import score_with_floors
from model.inputs.watershed import HeadData, load_head
from model.jobs.threads import on_device, one_thread
from model.network.domst import DomST
from model.output.figures import hydrograph, label
from model.output.run_directory import Run
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted, fit_pack
from model.training.trunk import load_trunk
from pipeline.errors import InputError
from pipeline.live.board import live_topic
from pipeline.log import collect_warnings, get_logger
from pipeline.units import discharge_of

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

    A watershed that cannot be loaded, and a head that cannot be scored, fail alone.

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
        done, left = [], []
        for site in rows:
            score = run.score(site)
            if score and checkpoint.find_head(run.checkpoints, site, settings):
                done.append(score | {"busy": 0.0, "worker": worker.address})
            else:
                left.append(site)
        by_update: dict[int, list[str]] = {}
        for site in left:
            by_update.setdefault(checkpoint.updates_done(run.checkpoints, site), []).append(site)
        failures: list[str] = []
        too_large: list[str] = []
        for sites in by_update.values():
            began = time.monotonic()
            loaded: dict[str, HeadData] = {}
            warned: dict[str, list[str]] = {}
            for site in sites:
                with failing_alone(site, failures), collect_warnings(this_thread=True) as lines:
                    loaded[site], warned[site] = load_head(store, site, settings), lines
            for heads in of_equal_length(loaded):
                start = load_trunk(Path(trunk)) if trunk else None
                scores, unfinished = [], set(heads)
                results = fit_pack(
                    list(heads.values()), settings, target, run.checkpoints, on_validation, start
                )
                try:
                    for result in results:
                        site = result.site_no
                        unfinished.remove(site)
                        if isinstance(result, Diverged):
                            failures.append(str(result))
                            continue
                        with failing_alone(site, failures):
                            score = finish_head(
                                run, heads[site], result, rows[site], cpu, settings, warned[site]
                            )
                            scores.append(score)
                except torch.OutOfMemoryError:
                    if len(heads) == 1:
                        raise
                    too_large += sorted(unfinished)
                busy, began = (time.monotonic() - began) / len(heads), time.monotonic()
                done += [score | {"busy": busy, "worker": worker.address} for score in scores]
        return PackResult(done, failures, too_large)


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
    store: str, site_no: str, row: int, settings: Settings, run: Run, trained: str
) -> dict[str, Any] | str:
    """Simulate, score and draw with a head of another run; arguments as of `train_pack`.

    Args:
        trained: the head's checkpoint.

    Returns:
        An entry of metrics.json, with `busy`, `worker` and `warnings` as of `train_pack`; or one
        line that says what is wrong with the head or the watershed.
    """
    began = time.monotonic()
    try:
        with one_thread():
            with collect_warnings(this_thread=True) as lines:
                head, cpu = load_head(store, site_no, settings), torch.device("cpu")
            fitted = Fitted.read(Path(trained), 0.0)
            scores = finish_head(run, head, fitted, row, cpu, settings, lines)
        return scores | {"busy": time.monotonic() - began, "worker": get_worker().address}
    except InputError as error:  # Dask would print its traceback
        return str(error)


def learned_physics(network: DomST) -> dict[str, float]:
    """Return what a single head's contribution block learned: velocity [m s-1], dispersion
    [m2 s-1], and the share of rain that arrives after the last lag."""
    block = network.contribution
    if block is None or not block.travels:
        return {}
    with torch.no_grad():
        return {
            "velocity": float(block.log_velocity.exp()),
            "dispersion": float(block.log_dispersion.exp()),
            "truncated": float(block.truncated()),
        }


def finish_head(
    run: Run,
    head: HeadData,
    fitted: Fitted,
    row: int,
    device: torch.device,
    settings: Settings,
    warned: list[str],
) -> dict[str, Any]:
    """Simulate a trained head's record, and write its prediction, scores and hydrograph.

    Args:
        warned: what was ignored or corrected of its data, which stays with its scores.

    Raises:
        RunError: another run holds the directory.
    """
    run.require_held()
    network, pack = checkpoint.load_head(fitted.checkpoint, head, device)
    with torch.no_grad():
        runoff = network(*pack.inputs())[0, pack.spinup :].cpu().numpy()
    simulated = discharge_of(runoff, head.area, head.step_seconds)
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
        **learned_physics(network),
        "validation_nse": fitted.validation_nse,
        "kept_update": fitted.kept_update,
        "updates": fitted.updates,
        "cells": head.share.size,
        "snow": head.snow._asdict() if head.snow else None,
        "seconds": fitted.seconds,
        "warnings": warned,
    }
    test = np.flatnonzero(head.split.test)
    drawn = slice(test[0], test[-1] + 1)  # discharge between two test periods is left out
    hydrograph(
        run.hydrographs / f"{head.site_no}.png",
        times=head.times.to_numpy()[drawn],
        observed=np.where(head.split.test, head.discharge, np.nan)[drawn],
        simulated=np.where(head.split.test, simulated, np.nan)[drawn],
        rain=head.rain[drawn],
        title=label(head.name, head.site_no),
        scores=scores | {"n": scores["n_test"]},
        baselines={name: scores[f"{name}_nse"] for name in ("persistence", "climatology", "ridge")},
        note="synthetic sample world" if head.synthetic else None,
    )
    run.save_score(scores)
    return scores
