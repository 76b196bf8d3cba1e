"""What a worker does with a pack: load its watersheds, train, predict, score and draw.

The watersheds' data is read where their heads train and goes nowhere else; what returns to the
scheduler is paths and floats.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from distributed import get_worker

from model.evaluation.score import score_head
from model.inputs.watershed import HeadData, load_head
from model.jobs.threads import one_thread
from model.network.domst import DomST
from model.output.figures import hydrograph, label
from model.output.run_directory import Run, write_text
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted, Report, fit_pack
from model.training.trunk import load_trunk
from pipeline.errors import InputError
from pipeline.units import discharge_of


def load(store: str, site_no: str, settings: Settings) -> HeadData:
    """A watershed as the settings of a run want it; errors as of `load_head`."""
    years = settings.validation_years, settings.test_years
    return load_head(store, site_no, *years, region=settings.region)


def train_pack(
    store: str,
    rows: dict[str, int],
    settings: Settings,
    folder: str,
    topic: str,
    device: str,
    trunk: str | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Train the heads of a pack; a head that is already done only hands in its scores.

    Args:
        store: path or URL of the store.
        rows: site numbers of the pack, each with its row in predictions.zarr.
        settings: of the run.
        folder: the run directory.
        topic: where progress is told, as Dask events.
        device: "cpu" or "cuda:0".
        trunk: the file that heads start from, if they share one.

    Returns:
        One entry of metrics.json a head, with `busy`, the seconds this call spent on it, and
        `worker`, where; and a line for each head that was given up.
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
            heads = {site: load(store, site, settings) for site in sites}
            report: Report = lambda line: worker.log_event(topic, line)  # noqa: E731
            target = torch.device(device)
            scores = []
            start = load_trunk(Path(trunk)) if trunk else None
            for end in fit_pack(
                list(heads.values()), settings, target, run.checkpoints, report, start
            ):
                if isinstance(end, Diverged):
                    failures.append(str(end))
                else:
                    scores.append(
                        finish_head(
                            run,
                            heads[end.site_no],
                            end,
                            rows[end.site_no],
                            target,
                            settings.history,
                        )
                    )
            busy = (time.monotonic() - began) / len(sites)
            done += [score | {"busy": busy, "worker": worker.address} for score in scores]
        return done, failures


def predict_head(
    store: str, site_no: str, row: int, settings: Settings, folder: str, trained: str
) -> dict[str, Any] | str:
    """Simulate, score and draw with a head that another run trained; arguments as of `train_pack`.

    Args:
        trained: the head's checkpoint.

    Returns:
        An entry of metrics.json, with `busy` and `worker` as of `train_pack`; or what is wrong
        with the head or the watershed, in a line.
    """
    began = time.monotonic()
    try:
        with one_thread():
            head, cpu = load(store, site_no, settings), torch.device("cpu")
            fitted = Fitted.read(Path(trained), 0.0)
            scores = finish_head(Run(Path(folder)), head, fitted, row, cpu, settings.history)
        return scores | {"busy": time.monotonic() - began, "worker": get_worker().address}
    except InputError as error:  # which Dask would print with its traceback
        return str(error)


def simulate(head: HeadData, path: Path, device: torch.device) -> tuple[Any, dict[str, float]]:
    """Discharge [m3 s-1] (T,) of a trained head over its record, and what its block learned."""
    network, pack = checkpoint.load_head(path, head, device)
    with torch.no_grad():
        runoff = network(*pack.inputs())[0, pack.spinup :].cpu().numpy()
    return discharge_of(runoff, head.area, head.step_seconds), learned(network)


def learned(network: DomST) -> dict[str, float]:
    """Velocity [m s-1], dispersion [m2 s-1] and truncated share of a single head's block."""
    block = network.contribution
    if block is None:
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
    """Predict, score, draw and record a trained head."""
    simulated, physics = simulate(head, fitted.checkpoint, device)
    run.write_prediction(row, simulated, head.discharge)
    scores = {
        "site_no": head.site_no,
        "name": head.name,
        **score_head(head, simulated, history),
        **physics,
        "validation_nse": fitted.validation_nse,
        "kept_update": fitted.kept_update,
        "updates": fitted.updates,
        "cells": head.share.size,
        "snow": head.snow._asdict() if head.snow else None,
        "seconds": fitted.seconds,
    }
    test = head.split.test
    hydrograph(
        run.hydrographs / f"{head.site_no}.png",
        times=head.times.to_numpy()[test],
        observed=head.discharge[test],
        simulated=simulated[test],
        rain=head.rain[test],
        title=label(head.name, head.site_no),
        scores=scores | {"n": scores["n_test"]},
        baselines={name: scores[f"{name}_nse"] for name in ("persistence", "climatology", "ridge")},
        note="synthetic sample world" if head.synthetic else None,
    )
    write_text(run.score_path(head.site_no), json.dumps(scores))
    return scores
