"""Dom-ST and NeuralHydrology's LSTM on a real basin: the same inputs, pairing, years and seeds.

    DOMST_DATA=... python -m benchmarks.neuralhydrology_peer [--seeds N] [--year Y] [--json F]

One peer gets what Dom-ST gets: rain, temperature and the season, as basin means and paired with
discharge as for a head. Another also gets what Dom-ST computes from them by hand: excess and
filling of the soil stores, and antecedent wetness. The last gets rain and temperature alone, with
the settings that the search began with. The methods take turns, each its own command on
one CPU thread: `nh-run train` and `python -m model.train`. Each picks its weights in its own way on
the water year before the test year. Finished runs in the folder are kept.
`benchmarks.neuralhydrology_search` prints the search that chose the peers' settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.daddys_creek import CATALOG
from benchmarks.neuralhydrology_runs import (
    PEERS,
    START,
    TUTORIAL,
    Trained,
    run_command,
    train_peer,
    write_dataset,
)
from model.evaluation.bootstrap import interval, nse_samples
from model.evaluation.metrics import kge, nse
from model.inputs.watershed import HeadData, load_head
from model.output.run_directory import Run
from model.settings import DAY, Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.units import SECONDS_PER_DAY

SITE = "03539600"
DOMST = "Dom-ST"

SEARCHED: dict[str, Any] = {  # of `benchmarks.neuralhydrology_search`
    "seq_length": 365,
    "output_dropout": 0.2,
    "learning_rate": {0: 1e-2, 40: 2e-3},
    "epochs": 60,
    "batch_size": 128,
}
RECIPES: dict[str, dict[str, Any]] = {
    "lumped LSTM": SEARCHED | {"hidden_size": 64},
    "lumped LSTM, stores, wetness": SEARCHED | {"hidden_size": 128},
    TUTORIAL: START,
}


def make_store(folder: Path) -> str:
    """Run the pipeline on the catalog of Daddys Creek and return the store."""
    store = folder / "daddys_creek.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(CATALOG), store, client)
    return str(store)


def train_ours(folder: Path, store: str, years: tuple[int, int], seed: int) -> Trained:
    """Train and test a Dom-ST head; a finished run is read."""
    done = folder / "trained.json"
    run = Run(folder / "run")
    if done.exists():
        run.recorded()  # refuses one of another version
        return Trained.load(done)
    folder.mkdir(parents=True, exist_ok=True)
    validation, test = years
    options = {"run": run.folder, "cluster": "cpu", "workers": 1, "seed": seed}
    options |= {"validation": validation, "test": test}
    arguments = [str(one) for name, value in options.items() for one in (f"--{name}", value)]
    seconds = run_command(folder / "output.txt", "model.train", store, *arguments)
    metrics = run.finished()
    assert metrics is not None
    head = metrics["heads"][0]
    with xr.open_zarr(run.predictions, consolidated=False) as predictions:
        simulated = predictions["simulated"].values[0]
    held = paired_head(store, years).split.test
    about = {"validation": head["validation_nse"], "command_s": seconds}
    return Trained(
        simulated[: held.size][held].astype(float), **about, loop_s=head["seconds"]
    ).save(done)


def paired_head(store: str, years: tuple[int, int]) -> HeadData:
    """Load the watershed as a Dom-ST head sees it, with these years of validation and test."""
    validation, test = years
    settings = Settings(validation=(str(validation),), test=(str(test),))
    return load_head(store, SITE, settings.resolved(DAY))


def measure(
    folder: Path, store: str, peers: Sequence[str], seeds: int, test: int
) -> dict[str, Any]:
    """Train every method with every seed and return their scores on the test year."""
    years = (test - 1, test)
    head = paired_head(store, years)
    observed = head.discharge[head.split.test]
    trained: dict[str, list[Trained]] = {name: [] for name in (DOMST, *peers)}
    for name in peers:
        write_dataset(folder / f"data/{name}-{years[0]}", store, SITE, name, years)
    for seed in range(seeds):
        trained[DOMST].append(train_ours(folder / f"ours/{test}-{seed}", store, years, seed))
        for name in peers:
            run, data = folder / f"peers/{name}/{test}-{seed}", folder / f"data/{name}-{years[0]}"
            trained[name].append(train_peer(run, data, RECIPES[name], seed))
        print(f"test year {test}, seed {seed}: all trained", flush=True)
    samples = {
        name: nse_samples(ensemble(method), observed, SECONDS_PER_DAY)
        for name, method in trained.items()
    }
    return {
        "split": head.split.describe(head.dates),
        "methods": {name: scores(method, observed) for name, method in trained.items()},
        "ahead": {name: interval(samples[DOMST] - samples[name]) for name in peers},
    }


def ensemble(trained: list[Trained]) -> NDArray[np.floating]:
    """Return the mean discharge of a method's seeds."""
    mean: NDArray[np.floating] = np.mean([one.simulated for one in trained], 0)
    return mean


def scores(trained: list[Trained], observed: NDArray[np.floating]) -> dict[str, Any]:
    """Score each head of a method, and their mean discharge."""
    heads = [
        {
            "nse": nse(one.simulated, observed),
            "kge": kge(one.simulated, observed).kge,
            "validation": one.validation,
            "command_s": one.command_s,
            "loop_s": one.loop_s,
        }
        for one in trained
    ]
    mean = ensemble(trained)
    return {
        "heads": heads,
        "ensemble": nse(mean, observed),
        "ensemble_kge": kge(mean, observed).kge,
    }


def show(report: dict[str, Any]) -> None:
    """Print a row per method: medians over the seeds."""
    table = Table(
        title=f"Daddys Creek; {report['split']}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in ("NSE", "range", "KGE", "ensemble", "its KGE", "valid.", "command", "loop"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in report["methods"].items():
        heads = found["heads"]
        every = [head["nse"] for head in heads]
        middle = {key: median(head[key] for head in heads) for key in heads[0]}
        table.add_row(
            name,
            f"{middle['nse']:.3f}",
            f"{min(every):.3f}-{max(every):.3f}",
            f"{middle['kge']:.3f}",
            f"{found['ensemble']:.3f}",
            f"{found['ensemble_kge']:.3f}",
            f"{middle['validation']:.3f}",
            *(f"{middle[key]:.0f}" for key in ("command_s", "loop_s")),
        )
    Console(width=120).print(table)
    for name, (low, high) in report["ahead"].items():
        ours, theirs = (report["methods"][one]["ensemble"] for one in (DOMST, name))
        ahead = f"{ours - theirs:+.3f}, in the middle 90 % {low:+.3f} to {high:+.3f}"
        print(f"Dom-ST's ensemble beside that of the {name}: {ahead}")


def main(
    folder: Annotated[Path, typer.Option(help="for the store and the runs")] = Path("build/bench"),
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, 2 ...")] = 5,
    peer: Annotated[list[str] | None, typer.Option(help="repeatable; all if not given")] = None,
    year: Annotated[list[int] | None, typer.Option(help="test water years; repeatable")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train NeuralHydrology and Dom-ST on Daddys Creek and report the test years."""
    with exit_codes():
        store, folder = make_store(folder), folder.resolve() / "neuralhydrology"
        reports = {}
        for test in year or [2019, 2020, 2021]:
            reports[test] = measure(folder, store, peer or list(PEERS), seeds, test)
            show(reports[test])
        print("medians over the seeds; ensemble: NSE of the seeds' mean discharge; valid.: NSE of")
        print("the validation year; command: s of `nh-run train`, or `python -m model.train`, with")
        print(f"test; loop: s of training in it, with validation. Runs and logs: {folder}")
        print("intervals: the test year's months are resampled (model/evaluation/bootstrap.py)")
        if json_file:
            json_file.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
