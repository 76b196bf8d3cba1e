"""The deck's table on the sample world: sequential single heads, multihead, heads on workers.

    python -m benchmarks.training [--sample DIR] [--heads N] [--workers W] [--json FILE]

Time is the time to the same validation NSE: for each head, the best one that all approaches reach.

All heads are trained with Dom-ST's settings (each step encoded once, loss on whole stretches, the
watershed's own window) on one worker and on W. The baseline's single heads would take days, so N
heads of different sizes stand for all. Their learning curve is measured with each step encoded
once, which gives the same updates (`tests/model/training/test_trainer.py`), the cost of an update
with windows cut out and encoded one by one is measured separately, and the seconds are the product:
scaled, and marked with ~. One head of the usual form, on its own cells, is trained to its end, and
with `--region` on the region's map too, so that the scaling can be checked. The first table goes
from the baseline to Dom-ST one change at a time: what any user gets, and what depends on how much
larger the region is than its watersheds.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from model.inputs.watershed import HeadData, load_head
from model.jobs.train import train
from model.settings import VARIANTS, Settings
from model.training.trainer import Trainer
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.sample.make import make_sample

TIMED = 2  # updates whose cost is measured
CPU = torch.device("cpu")
Curve = list[tuple[int, float]]  # updates, validation NSE

# from the baseline to Dom-ST: each change, and the settings after it
STEPS: dict[str, dict[str, Any]] = {
    "baseline, on the region's map": VARIANTS["singlehead+p"],
    "on the watershed's own cells": {**VARIANTS["singlehead+p"], "region": False},
    "each step encoded once": {**VARIANTS["singlehead+p"], "region": False, "windows": False},
    "loss on whole stretches": {},
}
FEWER_CELLS = "on the watershed's own cells"  # depends on the region


def learn(head: HeadData, settings: Settings) -> Curve:
    """Train a head with each step encoded once and return its learning curve."""
    trainer = Trainer([head], settings.model_copy(update={"windows": False}), CPU)
    curve = []
    while trainer.update < settings.updates:
        trainer.step()
        if trainer.update % settings.evaluate_every == 0:
            curve.append((trainer.update, trainer.validate()[0]))
    return curve


def cost(head: HeadData, settings: Settings) -> float:
    """Measure the seconds per update of a head."""
    trainer = Trainer([head], settings, CPU)
    trainer.step()
    started = time.perf_counter()
    for _ in range(TIMED):
        trainer.step()
    return (time.perf_counter() - started) / TIMED


def seconds_to(head: HeadData, settings: Settings, target: float) -> float:
    """Measure the seconds of a head's updates, windows cut out, to a validation NSE or the end."""
    trainer, seconds = Trainer([head], settings, CPU), 0.0
    while trainer.update < settings.updates:
        started = time.perf_counter()
        trainer.step()
        seconds += time.perf_counter() - started
        if trainer.update % settings.evaluate_every == 0 and trainer.validate()[0] >= target:
            break
    return seconds


def updates_to(curve: Curve, target: float) -> int:
    """Return the updates after which a curve first reaches a validation NSE."""
    return next(update for update, score in curve if score >= target)


def train_all(store: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Train all heads on `workers` processes and return the run's metrics."""
    with make_client(processes=True, workers=workers) as client:
        return train(store, folder, client=client).metrics


def curves_of(folder: Path) -> dict[str, Curve]:
    """Read the learning curves of a run, by site."""
    curves: dict[str, Curve] = defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        curves[event["site_no"]].append((event["update"], event["validation_nse"]))
    return {site: sorted(curve) for site, curve in curves.items()}


def compare(store: Path, site: str, ours: Curve, to_the_end: list[str]) -> dict[str, Any]:
    """Measure the seconds of each approach to the same validation NSE of one head.

    Args:
        store: of the sample.
        site: of the head.
        ours: its learning curve in Dom-ST.
        to_the_end: names of `STEPS` whose training is run, and not scaled from updates alone.
    """
    window, region = (
        load_head(str(store), site, Settings(region=region)) for region in (False, True)
    )
    forms = {name: Settings(**changes) for name, changes in STEPS.items()}
    without = Settings(**VARIANTS["singlehead"])
    baseline, own, *_ = forms.values()
    curves = {
        "singlehead+p": learn(region, baseline),
        "singlehead": learn(region, without),
        "own cells": learn(window, own),
        "ours": ours,
    }
    best = {name: max(score for _, score in curve) for name, curve in curves.items()}
    target = min(best.values())
    updates = {name: updates_to(curve, target) for name, curve in curves.items()}
    names = ("singlehead+p", "own cells", "own cells", "ours")
    seconds = {
        step: cost(region if settings.region else window, settings) * updates[name]
        for (step, settings), name in zip(forms.items(), names, strict=True)
    }
    return {
        "site_no": site,
        "cells": window.share.size,
        "target": target,
        "best": best,
        "updates": updates,
        "seconds": seconds,
        "singlehead_seconds": cost(region, without) * updates["singlehead"],
        "to_the_end": {
            step: seconds_to(region if forms[step].region else window, forms[step], target)
            for step in to_the_end
        },
    }


def measure(sample: Path, heads: int, workers: int, region: bool) -> dict[str, Any]:
    """Measure all that the tables show; `region`: run one head on the region's map to its end."""
    torch.set_num_threads(1)
    store = sample / "store.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(make_sample(sample)), store, client)
    with TemporaryDirectory() as temporary:
        one = train_all(store, Path(temporary, "one"), 1)
        many = train_all(store, Path(temporary, "many"), workers)
        curves = curves_of(Path(temporary, "many"))
    by_size = sorted(many["heads"], key=lambda head: head["cells"])
    places = np.linspace(0, len(by_size) - 1, heads + 2)[1:-1].round().astype(int)
    compared: list[dict[str, Any]] = []
    for place in places.tolist():
        site = by_size[place]["site_no"]
        ended = [FEWER_CELLS, *(list(STEPS)[:1] if region else [])] if not compared else []
        compared.append(compare(store, site, curves[site], ended))
        print(f"{site}: {compared[-1]['seconds']}", flush=True)
    return {"workers": workers, "one": one, "many": many, "compared": compared}


def show(report: dict[str, Any]) -> None:
    """Print the speedup of each change, then the deck's table, which multiplies them."""
    compared, many = report["compared"], report["many"]
    ours = sum(c["seconds"]["loss on whole stretches"] for c in compared)
    parallel = report["one"]["seconds"]["total"] / many["seconds"]["total"]
    show_factors(report, parallel)
    hours = report["one"]["seconds"]["total"] / 3600
    table = Table(title=f"{len(many['heads'])} heads; time to the same validation NSE")
    for heading in ("approach", "T_seq, h", "T_IDP, h", "speedup", "valid. NSE"):
        table.add_column(heading, justify="right")
    baseline = sum(c["seconds"]["baseline, on the region's map"] for c in compared)
    rows = {
        "singlehead": (sum(c["singlehead_seconds"] for c in compared), None, "singlehead"),
        "singlehead+p": (baseline, None, "singlehead+p"),
        "multihead": (ours, ours / parallel, "ours"),
    }
    for name, (alone, together, curve) in rows.items():
        score = np.median([c["best"][curve] for c in compared])
        table.add_row(
            name,
            f"{'' if name == 'multihead' else '~'}{hours * alone / ours:.3f}",
            f"{hours * together / ours:.3f}" if together else "",
            f"~{baseline / (together or alone):.1f}",
            f"{score:.3f}",
        )
    Console().print(table)
    heads = many["heads"]
    better = [
        f"{sum(head['nse'] > head[f'{floor}_nse'] for head in heads)} better than {floor}"
        for floor in ("persistence", "ridge")
    ]
    print(f"T_seq: one worker; T_IDP: {report['workers']}; speedup over singlehead+p, of T_IDP")
    print(f"where there is one. multihead: median test NSE of {len(heads)} heads ", end="")
    print(f"{many['median_nse']:.3f}, {', '.join(better)}. ~: scaled from {TIMED} updates")
    print(
        f"baselines from {len(compared)} heads of {len(many['heads'])}: "
        + ", ".join(f"{c['site_no']} ({c['cells']} cells)" for c in compared)
    )


def show_factors(report: dict[str, Any], parallel: float) -> None:
    """Print how many times faster each change makes the training, and what was run to its end."""
    compared = report["compared"]
    totals = [sum(c["seconds"][step] for c in compared) for step in STEPS]
    pairs = zip(list(STEPS)[1:], totals, totals[1:], strict=False)
    factors = {step: before / after for step, before, after in pairs}
    fewer = factors.pop(FEWER_CELLS)
    factors[f"{report['workers']} workers"] = parallel
    table = Table(title="what makes the training faster")
    for heading in ("change", "times faster"):
        table.add_column(heading, justify="right")
    for step, factor in factors.items():
        table.add_row(step, f"{factor:.2f}")
    table.add_row("what any user gets", f"{np.prod(list(factors.values())):.1f}", style="bold")
    table.add_row(f"{FEWER_CELLS}, not the region's", f"{fewer:.1f}")
    Console().print(table)
    for one in compared:
        for step, seconds in one["to_the_end"].items():
            print(
                f"{one['site_no']}, usual form, {step}, run to its end: {seconds:.0f} s of", end=""
            )
            print(f" updates; scaled from {TIMED} of them: {one['seconds'][step]:.0f} s")


def main(
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    heads: Annotated[
        int, typer.Option(min=1, help="heads that stand for all in the baselines")
    ] = 2,
    workers: Annotated[int, typer.Option(min=2, help="processes")] = 2,
    region: Annotated[
        bool, typer.Option("--region", help="run one head to its end on the region's map too")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure the deck's four approaches on the sample world."""
    report = measure(sample, heads, workers, region)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
