"""A real basin: Daddys Creek, trained with several seeds, with and without parts of the model.

    DOMST_DATA=... python -m benchmarks.daddys_creek [--seeds N] [--test-year Y] [--json FILE]

Makes the store of catalogs/daddys_creek.yaml and trains a head with each seed: Dom-ST as it is,
without the contribution block, without the CNN, and with past discharge (`--history`). Train,
validation and test years are those of the command line; by default train 2016-01-01 to 2019-09-30,
validation water year 2020, test water year 2021. The ensemble is the mean discharge of the seeds.
Finished runs are not trained again.
"""

from __future__ import annotations

import json
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

from model.evaluation.bootstrap import interval, nse_samples
from model.evaluation.metrics import kge, nse
from model.inputs.split import Split
from model.inputs.watershed import survey_store
from model.jobs.train import train
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.units import SECONDS_PER_DAY

CATALOG = Path(__file__).resolve().parents[1] / "catalogs/daddys_creek.yaml"
HISTORY = "past discharge"
VARIANTS: dict[str, dict[str, Any]] = {
    "Dom-ST": {},
    "refit": {"refit": True},
    "no contribution": {"contribution": False},
    "no CNN": {"cnn": False},
    HISTORY: {"history": True},
}
FLOORS = ("ridge", "climatology", "persistence")
SCORES = ("nse", "kge", "pbias", "fhv", "seconds")


def ensemble(runs: list[Run], held: NDArray[np.bool_]) -> dict[str, float]:
    """Score the seeds' mean discharge on the steps `held`: NSE, its interval and KGE."""
    opened = [xr.open_zarr(run.predictions, consolidated=False) for run in runs]
    simulated = np.mean([one["simulated"].values[0, held] for one in opened], 0)
    observed = opened[0]["observed"].values[0, held]
    low, high = interval(nse_samples(simulated, observed, SECONDS_PER_DAY))
    score = nse(simulated, observed)
    return {"nse": score, "low": low, "high": high, "kge": kge(simulated, observed).kge}


def measure(folder: Path, seeds: int, validation: int, test: int) -> dict[str, Any]:
    """Train every variant with every seed and return their scores on the test year."""
    store = folder / "daddys_creek.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(CATALOG), store, client)
    years: dict[str, Any] = {"validation": (str(validation),), "test": (str(test),)}
    held = Split.of(survey_store(str(store)).dates, Settings(**years)).test
    report: dict[str, Any] = {"variants": {}}
    with make_client(processes=True) as client:
        for name, switches in VARIANTS.items():
            runs, heads = [], []
            for seed in range(seeds):
                settings = Settings(seed=seed, **years, **switches)
                runs.append(Run(folder / f"daddys_creek/{test}/{name.replace(' ', '_')}-{seed}"))
                train(store, runs[-1].folder, settings=settings, client=client)
                metrics = runs[-1].metrics
                heads.append(metrics["heads"][0])
                print(f"{name}, seed {seed}: NSE {heads[-1]['nse']:.3f}", flush=True)
            report["variants"][name] = {"heads": heads, "ensemble": ensemble(runs, held)}
    report["split"] = metrics["split"]
    first, seen = (report["variants"][name]["heads"][0] for name in ("Dom-ST", HISTORY))
    report["floors"] = {floor: first[f"{floor}_nse"] for floor in FLOORS}
    report["floors"]["ridge, past discharge"] = seen["ridge_nse"]
    return report


def show(report: dict[str, Any]) -> None:
    """Print a row per variant: medians over the seeds."""
    title = f"Daddys Creek; {report['split']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("NSE", "range", "KGE", "PBIAS", "FHV", "ensemble", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in report["variants"].items():
        heads = found["heads"]
        scores = [head["nse"] for head in heads]
        middle = {key: median(head[key] for head in heads) for key in SCORES}
        table.add_row(
            name,
            f"{middle['nse']:.3f}",
            f"{min(scores):.3f}-{max(scores):.3f}",
            f"{middle['kge']:.3f}",
            f"{middle['pbias']:+.1f}",
            f"{middle['fhv']:+.1f}",
            f"{found['ensemble']['nse']:.3f}",
            f"{middle['seconds']:.0f}",
        )
    for floor, score in report["floors"].items():
        table.add_row(floor, f"{score:.3f}")
    Console().print(table)
    print("medians over the seeds; PBIAS and FHV in percent; ensemble: NSE of the seeds' mean")
    print("discharge; s: seconds to train. The middle 90 % of the ensembles' NSE in draws of the")
    print("test year's months (model/evaluation/bootstrap.py):")
    for name, found in report["variants"].items():
        print(f"    {name}: {found['ensemble']['low']:.2f} to {found['ensemble']['high']:.2f}")


def main(
    folder: Annotated[Path, typer.Option(help="for the store and the runs")] = Path("build/bench"),
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, 2 ...")] = 5,
    validation_year: Annotated[int, typer.Option(help="water year")] = 2020,
    test_year: Annotated[int, typer.Option(help="water year")] = 2021,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train Daddys Creek with several seeds and report the test year."""
    with exit_codes():
        report = measure(folder, seeds, validation_year, test_year)
        show(report)
        if json_file:
            json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
