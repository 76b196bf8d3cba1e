"""Train NeuralHydrology's LSTM on one watershed of a store, with the inputs of a Dom-ST head.

A head's LSTM gets some series of the whole watershed and some that block and CNN learn from the
maps. NeuralHydrology has no maps: it gets the former, computed by the head itself (`DomST.encode`),
so that clip, pairing of rain and discharge, spin-up and years are the head's.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
import yaml
from numpy.typing import NDArray

from model.inputs.pack import make_pack
from model.inputs.watershed import HeadData, load_head
from model.network.domst import DomST
from model.settings import DAY, Settings
from pipeline.errors import RunError

# The inputs of each peer: those of our LSTM without any part, and with soil stores and wetness; and
# of the former rain and temperature alone, without season and square root.
TUTORIAL = "lumped LSTM, rain and temperature"
RAW = ("water_0", "basin_2")
PEERS: dict[str, dict[str, Any]] = {
    "lumped LSTM": {"variant": "lstm"},
    "lumped LSTM, stores, wetness": {"contribution": False, "cnn": False},
    TUTORIAL: {"variant": "lstm"},
}
SPINUP_DAYS = 364  # what the longest sequence needs before the day that it predicts
EPOCH = re.compile(r"(\S+ \S+): Epoch (\d+) average (?:loss|validation loss:.* NSE: (\S+))")

START: dict[
    str, Any
] = {  # NeuralHydrology's tutorial, but for smaller batches: the record is short
    "hidden_size": 64,
    "seq_length": 365,
    "output_dropout": 0.4,
    "learning_rate": {0: 5e-3, 20: 1e-3},
    "epochs": 30,
    "batch_size": 64,
}
FIXED: dict[str, Any] = {  # as in NeuralHydrology's tutorial on a single basin
    "model": "cudalstm",
    "head": "regression",
    "initial_forget_bias": 3,
    "loss": "MSE",  # of one basin, as good as NSE
    "optimizer": "Adam",
    "clip_gradient_norm": 1,
    "predict_last_n": 1,
    "dataset": "generic",
    "target_variables": ["discharge"],
    "clip_targets_to_zero": ["discharge"],
    "metrics": ["NSE"],
    "validate_every": 2,
    "validate_n_random_basins": 1,
    "save_weights_every": 2,
    "device": "cpu",
    "log_tensorboard": False,
    "verbose": 0,
}


@dataclass(frozen=True)
class Trained:
    """What one training gave.

    Attributes:
        simulated: discharge of the test year [m3 s-1].
        validation: NSE of the validation year, with the weights that were kept.
        command_s, loop_s: seconds of the command, and of its training loop.
    """

    simulated: NDArray[np.floating]
    validation: float
    command_s: float
    loop_s: float

    def save(self, file: Path) -> Trained:
        """Write it down, so that an interrupted benchmark goes on."""
        about = {**vars(self), "simulated": self.simulated.tolist()}
        file.write_text(json.dumps(about))
        return self

    @classmethod
    def load(cls, file: Path) -> Trained:
        """Read what `save` wrote."""
        about = json.loads(file.read_text())
        return cls(**{**about, "simulated": np.array(about["simulated"])})


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


def peer_series(head: HeadData, settings: Settings) -> xr.Dataset:
    """Return daily inputs of an LSTM without maps, and discharge [m3 s-1], by the steps' mid dates.

    A copy of the first year precedes the record, without discharge, so that the first days have a
    past.
    """
    pack = make_pack([head], settings, torch.device("cpu"))
    network = DomST(pack.watersheds, len(head.channels) - 1, settings)
    with torch.no_grad():
        inputs, _ = network.encode(*pack.forcings())
    dates = head.dates.normalize()
    past = dates[0] - pd.to_timedelta(np.arange(pack.spinup, 0, -1), "D")
    names = [f"{name}_{i}" for name, width in network.lstm_inputs.items() for i in range(width)]
    fields = {
        name: ("date", values) for name, values in zip(names, inputs[0].numpy().T, strict=True)
    }
    discharge = np.concatenate([np.full(pack.spinup, np.nan), head.discharge])
    return xr.Dataset({**fields, "discharge": ("date", discharge)}, {"date": past.append(dates)})


def write_dataset(folder: Path, store: str, site: str, peer: str, years: tuple[int, int]) -> None:
    """Write the data set in NeuralHydrology's format, and the settings that describe it.

    Args:
        folder: is made, and replaced if it is there.
        store, site: the watershed.
        peer: one of `PEERS`.
        years: water years of validation and test.
    """
    validation, test = years
    split = {"validation": str(validation), "test": str(test), "warmup": SPINUP_DAYS}
    settings = Settings.model_validate({**PEERS[peer], **split}).resolved(DAY)
    days = peer_series(load_head(store, site, settings), settings)
    if peer == TUTORIAL:
        days = days[[*RAW, "discharge"]]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "time_series").mkdir(parents=True)
    days.to_netcdf(folder / f"time_series/{site}.nc")
    (folder / "basin.txt").write_text(f"{site}\n")
    first = pd.Timestamp(days["date"].values[SPINUP_DAYS])
    about: dict[str, Any] = {
        "data_dir": str(folder),
        "dynamic_inputs": [name for name in days if name != "discharge"],
    }
    for period, start, end in (
        ("train", f"{first:%d/%m/%Y}", validation - 1),
        ("validation", f"01/10/{validation - 1}", validation),
        ("test", f"01/10/{test - 1}", test),
    ):
        about[f"{period}_basin_file"] = str(folder / "basin.txt")
        about[f"{period}_start_date"] = start
        about[f"{period}_end_date"] = f"30/09/{end}"
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about))


def train_peer(folder: Path, dataset: Path, recipe: dict[str, Any], seed: int) -> Trained:
    """Train NeuralHydrology's LSTM with its own command and simulate the test year.

    Args:
        folder: of the run; a finished one is read.
        dataset: a folder of `write_dataset`.
        recipe: settings beside `FIXED`.
        seed: of the run.
    """
    done = folder / "trained.json"
    if done.exists():
        return Trained.load(done)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    about = yaml.safe_load((dataset / "dataset.yaml").read_text())
    config, log = folder / "config.yml", folder / "output.txt"
    every = {**FIXED, **recipe, **about, "run_dir": str(folder), "seed": seed}
    every["experiment_name"] = "run"
    config.write_text(yaml.safe_dump(every))
    command = "neuralhydrology.nh_run"
    seconds = run_command(log, command, "train", "--config-file", str(config))
    (made,) = folder.glob("run_*")
    epoch, validation, training = read_log((made / "output.log").read_text())
    test = ("--period", "test", "--epoch", str(epoch))
    run_command(log, command, "evaluate", "--run-dir", str(made), *test)
    with (made / f"test/model_epoch{epoch:03d}/test_results.p").open("rb") as file:
        (found,) = pickle.load(file).values()  # noqa: S301, just written
    year = found["1D"]["xr"].isel(time_step=0)
    (series,) = (dataset / "time_series").glob("*.nc")
    with xr.open_dataset(series) as days:  # the same days as ours, then
        observed = days["discharge"].sel(date=year["date"])
        np.testing.assert_allclose(year["discharge_obs"].values, observed.values, rtol=1e-4)
    simulated = np.maximum(year["discharge_sim"].values, 0).astype(float)
    return Trained(simulated, validation, seconds, training).save(done)


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
