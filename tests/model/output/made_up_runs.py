"""Made-up run directories that can be compared; also a page of many heads, from a shell:

python -m tests.model.output.made_up_runs HEADS STEPS RUNS FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from model.evaluation.metrics import evaluate
from model.inputs.split import Split
from model.output.report.blocks import pack
from model.output.report.compare_page import DROPPED_BITS, page
from model.output.report.comparison import COMPARED, Candidate, Comparison, Site
from model.output.run_directory import Run
from model.settings import Settings
from tests.model.output.made_up_report import (
    ABOUT,
    HOUR_MS,
    made_up_metrics,
    made_up_outlines,
)

START = pd.Timestamp("2014-10-01")
DAYS = 600


def made_up_times(start: pd.Timestamp = START, days: int = DAYS) -> pd.DatetimeIndex:
    """Starts of daily steps."""
    return pd.date_range(start, periods=days, freq="D", unit="ns")


def made_up_river(times: pd.DatetimeIndex, seed: int = 0) -> np.ndarray:
    """Discharge [m3 s-1] with floods, and some missing observations."""
    rng = np.random.default_rng(seed)
    days = (times - START).days.to_numpy()
    rain = np.random.default_rng(99 + seed).gamma(0.2, 10, 4 * DAYS)
    flow = np.convolve(rain, 0.8 ** np.arange(40))[days + DAYS] + 1
    flow[np.isin(days, rng.integers(0, DAYS, 9))] = np.nan
    return flow


def write_run(
    folder: Path,
    simulated: dict[str, np.ndarray],
    observed: dict[str, np.ndarray],
    times: pd.DatetimeIndex,
    *,
    store: str = "somewhere.zarr",
    **chosen: Any,
) -> Path:
    """Write the directory of a finished run with some discharge, (T,) [m3 s-1] by site."""
    given: dict[str, Any] = {
        "train": "../2015-03-31",
        "validation": "2015-04",
        "test": "2015-05/..",
    }
    settings = Settings(**given, **chosen).resolved(times[1] - times[0])
    split = Split.of(times + (times[1] - times[0]) / 2, settings)
    settings = settings.model_copy(update=dict(split.parts))
    run, sites = Run(folder), list(simulated)
    run.begin(settings, store, "0123", sites)
    run.prepare_predictions(sites, times, "Creeks")
    metrics = made_up_metrics(*(f"Creek {site}" for site in sites))
    for row, (site, head) in enumerate(zip(sites, metrics["heads"], strict=True)):
        run.write_prediction(row, simulated[site], observed[site])
        seen = np.where(split.test, observed[site], np.nan)
        head |= {"site_no": site, **evaluate(simulated[site], seen)}
    run.finish(metrics | {"variant": settings.title, "split": split.describe(times)})
    return folder


def made_up_comparison(heads: int, runs: int) -> Comparison:
    """A comparison of made-up scores, enough for its page."""
    rng = np.random.default_rng(heads)
    times = made_up_times()
    metrics = made_up_metrics(*(f"Creek {i} near a Town" for i in range(heads)))
    discharge: Any = SimpleNamespace(times=times, step=times[1] - times[0])
    about = {"settings": {}, **ABOUT}
    candidates = [
        Candidate(f"run {i}", Path(f"run{i}"), about, Settings(seed=i), metrics, discharge)
        for i in range(runs)
    ]
    sites = []
    for head in metrics["heads"]:
        nse = np.sort(rng.uniform(0.5, 0.95, runs)).tolist()
        best = int(rng.integers(runs))
        nse[best], nse[-1] = nse[-1], nse[best]
        scores = {m: rng.normal(0, 1, runs).tolist() for m in COMPARED} | {"nse": nse}
        margin = max(nse) - sorted(nse)[-2]
        intervals = [(one - nse[0] - 0.1, one - nse[0] + 0.1) for one in nse[1:]]
        floors = {floor: head[f"{floor}_nse"] for floor in ("persistence", "climatology", "ridge")}
        sites.append(
            Site(
                head["site_no"], head["name"], scores, intervals, best, margin, margin > 0.1, floors
            )
        )
    steps = np.arange(len(times)) >= 200
    return Comparison(candidates, steps, sites, False, True, False)


def made_up_panel(steps: int, runs: int, seed: int = 0) -> str:
    """The block of a panel with `steps` hours of a made-up river and its simulations."""
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.3, 4, steps) * (rng.random(steps) < 0.1)
    shape = np.exp(-np.arange(300) / 40)

    def flow(factor: float) -> np.ndarray:
        return np.convolve(rain, factor * shape)[:steps] + 1 + 0.02 * rng.normal(0, 1, steps)

    start = 1_451_606_400_000
    flood = {"time": start + 50 * HOUR_MS, "observed": 3.0, "simulated": [2.0] * runs}
    fields = {"step": HOUR_MS, "segments": [[start, steps]], "floods": [flood]}
    flows = {f"run{i}": flow(0.9 + 0.05 * i) for i in range(runs)}
    return pack(fields, {"observed": flow(1), "rain": rain, **flows}, DROPPED_BITS)


def made_up_comparison_page(heads: int, steps: int, runs: int) -> str:
    """The page of a made-up comparison with rivers of `steps` hours."""
    blocks = [made_up_panel(steps, runs, seed) for seed in range(heads)]
    return page(made_up_comparison(heads, runs), blocks, made_up_outlines(heads))


if __name__ == "__main__":
    Path(sys.argv[4]).write_text(made_up_comparison_page(*map(int, sys.argv[1:4])))
