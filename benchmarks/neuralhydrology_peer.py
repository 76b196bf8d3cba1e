"""Dom-ST and NeuralHydrology's LSTM on a real basin: the same steps, years and seeds.

    DOMST_DATA=... python -m benchmarks.neuralhydrology_peer [--seeds N] [--test-year Y] [--json F]

NeuralHydrology has no maps: it gets the basin means of rain and temperature, and the discharge,
that the store of catalogs/daddys_creek.yaml pairs with them. The methods take turns, each its own
command on one CPU thread: `nh-run train` and `python -m model.train`. Both keep the weights of the
best validation. Every run is trained again; runs and logs stay under the folder.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
import xarray as xr
import yaml
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.daddys_creek import CATALOG
from model.evaluation.bootstrap import interval, nse_samples
from model.evaluation.metrics import kge, nse
from model.inputs.split import Split
from model.inputs.watershed import survey_store
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import RunError, exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.store.read import open_watershed
from pipeline.units import SECONDS_PER_DAY

SITE = "03539600"
INPUTS = ["precipitation", "temperature"]
SPINUP_DAYS = 364  # what a sequence of 365 days needs before the day that it predicts
NH_RUN = "neuralhydrology.nh_run"  # the module of the command nh-run
EPOCH = re.compile(r"(\S+ \S+): Epoch (\d+) average (?:loss|validation loss:.* NSE: (\S+))")

# As in NeuralHydrology's tutorial on a single basin, but for the first block, which was chosen on
# validation years: batches of 256 make too few updates of so short a record.
RECIPE: dict[str, Any] = {
    "hidden_size": 64,
    "batch_size": 64,
    "learning_rate": {0: 5e-3, 20: 1e-3},
    "epochs": 30,
    #
    "model": "cudalstm",
    "head": "regression",
    "initial_forget_bias": 3,
    "output_dropout": 0.4,
    "loss": "MSE",  # of one basin, as good as NSE
    "optimizer": "Adam",
    "clip_gradient_norm": 1,
    "seq_length": 365,
    "predict_last_n": 1,
    "dataset": "generic",
    "dynamic_inputs": INPUTS,
    "target_variables": ["discharge"],
    "clip_targets_to_zero": ["discharge"],
    "metrics": ["NSE"],
    "validate_every": 5,
    "validate_n_random_basins": 1,
    "save_weights_every": 5,
    "device": "cpu",
    "log_tensorboard": False,
    "verbose": 0,
}

# Of a head of either method: discharge of the test year [m3 s-1], and by name the NSE of the
# validation year with the weights that were kept and the seconds of the command and of its loop.
Trained = tuple[NDArray[np.floating], dict[str, float]]


def run_command(log: Path, module: str, *arguments: str) -> float:
    """Run `python -m module` on one thread, append its output to `log`, and return the seconds."""
    command = [sys.executable, "-m", module, *arguments]
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with log.open("a") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RunError(f"{' '.join(command)}: exit {done.returncode}: {log} says why")
    return time.perf_counter() - started


def basin_means(store: Path) -> xr.Dataset:
    """Return daily basin means of the inputs and discharge [m3 s-1], (T,), by the steps' mid dates.

    As for a Dom-ST head, a copy of the first year precedes the record, without discharge, so that
    the first days have a past.
    """
    with open_watershed(str(store), SITE) as watershed:
        weights = watershed["coverage"] * watershed["cell_area"]
        means = watershed[INPUTS].weighted(weights).mean(("y", "x"))
        days = means.assign(discharge=watershed["discharge"]).load().reset_coords(drop=True)
    days = days.rename(time="date").assign_coords(date=survey_store(str(store)).dates)
    past = days.isel(date=slice(365 - SPINUP_DAYS, 365))
    past["date"] = past["date"] - np.timedelta64(365, "D")
    past["discharge"] = past["discharge"] * np.nan
    return xr.concat([past, days], "date").drop_attrs()


def write_dataset(folder: Path, days: xr.Dataset, years: tuple[int, int]) -> dict[str, str]:
    """Write the data set in NeuralHydrology's format and return the settings that describe it."""
    validation, test = years
    (folder / "time_series").mkdir(parents=True)
    days.to_netcdf(folder / f"time_series/{SITE}.nc")
    (folder / "basin.txt").write_text(f"{SITE}\n")
    first = pd.Timestamp(days["date"].values[SPINUP_DAYS])
    settings = {"data_dir": str(folder)}
    for period, start, end in (
        ("train", f"{first:%d/%m/%Y}", validation - 1),
        ("validation", f"01/10/{validation - 1}", validation),
        ("test", f"01/10/{test - 1}", test),
    ):
        settings[f"{period}_basin_file"] = str(folder / "basin.txt")
        settings[f"{period}_start_date"] = start
        settings[f"{period}_end_date"] = f"30/09/{end}"
    return settings


def train_peer(folder: Path, dataset: dict[str, str], seed: int, days: xr.Dataset) -> Trained:
    """Train and test NeuralHydrology's LSTM."""
    folder.mkdir()
    config, log = folder / "config.yml", folder / "output.txt"
    config.write_text(yaml.safe_dump({**RECIPE, **dataset, "run_dir": str(folder), "seed": seed}))
    seconds = run_command(log, NH_RUN, "train", "--config-file", str(config))
    (made,) = folder.glob("run_*")
    epoch, score, training = read_log((made / "output.log").read_text())
    test = ("--period", "test", "--epoch", str(epoch))
    run_command(log, NH_RUN, "evaluate", "--run-dir", str(made), *test)
    with (made / f"test/model_epoch{epoch:03d}/test_results.p").open("rb") as file:
        found = pickle.load(file)[SITE]["1D"]["xr"].isel(time_step=0)  # noqa: S301, just written
    observed = days["discharge"].sel(date=found["date"])  # the same steps as ours, then
    np.testing.assert_allclose(found["discharge_obs"].values, observed.values, rtol=1e-4)
    simulated = np.maximum(found["discharge_sim"].values, 0)
    return simulated, {"validation": score, "command_s": seconds, "loop_s": training}


def read_log(text: str) -> tuple[int, float, float]:
    """Read the epoch with the best validation NSE, that NSE and seconds from NeuralHydrology's log.

    The seconds are those of all epochs; the start of the first is not logged, and it is taken to be
    as long as the others.
    """
    lines = EPOCH.findall(text)
    epoch, score = max(((int(n), float(s)) for _, n, s in lines if s), key=lambda one: one[1])
    ends = pd.to_datetime([line[0] for line in lines], format="%Y-%m-%d %H:%M:%S,%f")
    epochs = int(lines[-1][1])
    return epoch, score, (ends[-1] - ends[0]).total_seconds() * epochs / (epochs - 1)


def train_ours(
    folder: Path, store: Path, split: dict[str, int], held: NDArray[np.bool_]
) -> Trained:
    """Train and test a Dom-ST head."""
    folder.mkdir()
    run = Run(folder / "run")
    options = {"run": run.folder, "cluster": "cpu", "workers": 1, **split}
    arguments = [str(one) for name, value in options.items() for one in (f"--{name}", value)]
    seconds = run_command(folder / "output.txt", "model.train", str(store), *arguments)
    metrics = run.finished()
    assert metrics is not None
    head = metrics["heads"][0]
    simulated = xr.open_zarr(run.predictions, consolidated=False)["simulated"].values[0, held]
    about = {"validation": head["validation_nse"], "command_s": seconds}
    return simulated, {**about, "loop_s": head["seconds"]}


def measure(folder: Path, seeds: int, years: tuple[int, int]) -> dict[str, Any]:
    """Train both methods with every seed and return their scores on the test year."""
    validation, test = years
    store, runs = folder / "daddys_creek.zarr", folder.resolve() / f"neuralhydrology_peer/{test}"
    with make_client() as client:
        run_pipeline(load_catalog(CATALOG), store, client)
    dates = survey_store(str(store)).dates
    split = Split.of(dates, Settings(validation=(str(validation),), test=(str(test),)))
    shutil.rmtree(runs, ignore_errors=True)
    days = basin_means(store)
    dataset = write_dataset(runs / "data", days, years)
    observed = days["discharge"].values[SPINUP_DAYS:][split.test].astype(float)
    peers, ours = [], []
    for seed in range(seeds):
        peers.append(train_peer(runs / f"peer-{seed}", dataset, seed, days))
        options = {"seed": seed, "validation": validation, "test": test}
        ours.append(train_ours(runs / f"ours-{seed}", store, options, split.test))
        print(f"seed {seed}: both trained", flush=True)
    methods = {"NeuralHydrology": scores(peers, observed), "Dom-ST": scores(ours, observed)}
    samples = [nse_samples(ensemble(method), observed, SECONDS_PER_DAY) for method in (ours, peers)]
    return {
        "split": split.describe(dates),
        "methods": methods,
        "ahead": interval(samples[0] - samples[1]),
        "runs": str(runs),
        "recipe": RECIPE,
    }


def ensemble(trained: list[Trained]) -> NDArray[np.floating]:
    """Return the mean discharge of a method's seeds."""
    mean: NDArray[np.floating] = np.mean([q for q, _ in trained], 0)
    return mean


def scores(trained: list[Trained], observed: NDArray[np.floating]) -> dict[str, Any]:
    """Score each head of a method, and their mean discharge."""
    heads = [
        {"nse": nse(q, observed), "kge": kge(q, observed).kge, **about} for q, about in trained
    ]
    return {"heads": heads, "ensemble": nse(ensemble(trained), observed)}


def show(report: dict[str, Any]) -> None:
    """Print a row per method: medians over the seeds."""
    title = f"Daddys Creek; {report['split']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("NSE", "range", "KGE", "ensemble", "valid.", "command", "loop"):
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
            f"{middle['validation']:.3f}",
            *(f"{middle[key]:.0f}" for key in ("command_s", "loop_s")),
        )
    Console().print(table)
    ours, theirs = (report["methods"][name]["ensemble"] for name in ("Dom-ST", "NeuralHydrology"))
    low, high = report["ahead"]
    ahead = f"{ours - theirs:+.3f}, in the middle 90 % {low:+.3f} to {high:+.3f}"
    print(f"Dom-ST's ensemble is ahead by {ahead},")
    print("when the test year's months are resampled (model/evaluation/bootstrap.py)")
    print("medians over the seeds; ensemble: NSE of the seeds' mean discharge; valid.: NSE of the")
    print("validation year; command: s of `nh-run train`, or `python -m model.train`, with test;")
    print(f"loop: s of training in it, with validation. Runs and logs: {report['runs']}")


def main(
    folder: Annotated[Path, typer.Option(help="for the store and the runs")] = Path("build/bench"),
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, 2 ...")] = 5,
    validation_year: Annotated[int, typer.Option(help="water year")] = 2020,
    test_year: Annotated[int, typer.Option(help="water year")] = 2021,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train NeuralHydrology and Dom-ST on Daddys Creek and report the test year."""
    with exit_codes():
        report = measure(folder, seeds, (validation_year, test_year))
        show(report)
        if json_file:
            json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
