"""Tasks of a worker: load watersheds, train or apply their heads, score and draw.

A watershed's data is read by the worker that trains its head and stays there; paths and scores are
all that returns.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distributed import get_worker

from model.evaluation.score import score_with_floors
from model.inputs.watershed import HeadData, load_head
from model.jobs.threads import one_thread
from model.network.domst import DomST
from model.output.figures import hydrograph, label
from model.output.run_directory import Run, write_text
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted, OnProgress, fit_pack
from model.training.trunk import load_trunk
from pipeline.errors import InputError
from pipeline.units import discharge_of


def train_pack(
    store: str,
    rows: dict[str, int],
    settings: Settings,
    folder: str,
    topic: str,
    device: str,
    trunk: str | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Train the heads of a pack; heads that an earlier call finished return their scores.

    Args:
        store: path or URL of the store.
        rows: site numbers of the pack, each with its row in predictions.zarr.
        settings: of the run.
        folder: the run directory.
        topic: of the Dask events that report each validation.
        device: "cpu" or "cuda:0".
        trunk: path of the shared trunk that heads start from, if there is one.

    Returns:
        One entry of metrics.json per head, with `busy`, the seconds that this call spent on it, and
        `worker`, its address; and one line per head that was given up.
    """
    run = Run(Path(folder))
    worker = get_worker()
    with one_thread():
        done = [
            json.loads(run.score_path(site).read_text()) | {"busy": 0.0, "worker": worker.address}
            for site in rows
            if run.score_path(site).exists()
        ]
        left = [site for site in rows if not run.score_path(site).exists()]
        by_update: dict[int, list[str]] = {}
        for site in left:
            by_update.setdefault(checkpoint.updates_done(run.checkpoints, site), []).append(site)
        failures: list[str] = []
        for sites in by_update.values():
            began = time.monotonic()
            heads = {site: load_head(store, site, settings) for site in sites}
            on_validation: OnProgress = lambda line: worker.log_event(topic, line)  # noqa: E731
            target = torch.device(device)
            start = load_trunk(Path(trunk)) if trunk else None
            scores = []
            for result in fit_pack(
                list(heads.values()), settings, target, run.checkpoints, on_validation, start
            ):
                if isinstance(result, Diverged):
                    failures.append(str(result))
                else:
                    site = result.site_no
                    scores.append(
                        finish_head(run, heads[site], result, rows[site], target, settings.history)
                    )
            busy = (time.monotonic() - began) / len(sites)
            done += [score | {"busy": busy, "worker": worker.address} for score in scores]
        return done, failures


def predict_head(
    store: str, site_no: str, row: int, settings: Settings, folder: str, trained: str
) -> dict[str, Any] | str:
    """Simulate, score and draw with a head of another run; arguments as of `train_pack`.

    Args:
        trained: the head's checkpoint.

    Returns:
        An entry of metrics.json, with `busy` and `worker` as of `train_pack`; or one line that says
        what is wrong with the head or the watershed.
    """
    began = time.monotonic()
    try:
        with one_thread():
            head, cpu = load_head(store, site_no, settings), torch.device("cpu")
            fitted = Fitted.read(Path(trained), 0.0)
            scores = finish_head(Run(Path(folder)), head, fitted, row, cpu, settings.history)
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
    run: Run, head: HeadData, fitted: Fitted, row: int, device: torch.device, history: bool
) -> dict[str, Any]:
    """Simulate a trained head's record, and write its prediction, scores and hydrograph."""
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
            sees_discharge=history,
        ),
        **learned_physics(network),
        "validation_nse": fitted.validation_nse,
        "kept_update": fitted.kept_update,
        "updates": fitted.updates,
        "cells": head.share.size,
        "snow": head.snow._asdict() if head.snow else None,
        "seconds": fitted.seconds,
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
    write_text(run.score_path(head.site_no), json.dumps(scores))
    return scores
