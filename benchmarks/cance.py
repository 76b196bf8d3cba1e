"""A real flood: scores of the Cance's heads beside the floors', and what its time labels mean.

    python -m benchmarks.cance RUN... [--store FILE]

`make real` makes the store of catalogs/cance.yaml and the runs. For each head the NSE and the error
of the highest flood stand beside those of the ridge regression, which sees the same rain, and of
persistence, which sees the discharge of the hour before and is a forecast.

With `--store`, the hourly rise of the logarithm of discharge, read at full hours, is regressed on
the rain of the hours before, of the same label and after. Discharge cannot answer rain that has not
fallen yet: if it rises with the rain of the same label, that label is the end of the rain's hour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from model.output.run_directory import Run
from pipeline.catalog.models import load_catalog
from pipeline.errors import exit_codes
from pipeline.export.basin_means import basin_means
from pipeline.gauges.read import read_gauges

CATALOG = Path(__file__).resolve().parents[1] / "catalogs/cance.yaml"
HOUR = pd.Timedelta(hours=1)
LAGS = range(-3, 9)  # hours from rain to rise that are fitted
SHOWN = range(-2, 4)
METHODS = {"": "Dom-ST", "ridge_": "ridge", "persistence_": "persistence"}


def show_scores(run: Run) -> Table:
    """A row per head: NSE and error of the highest flood of Dom-ST and of the floors."""
    metrics = run.metrics
    table = Table(title=f"{metrics['title']}; {metrics['split']}", box=SIMPLE_HEAD)
    table.add_column("site")
    for score in ("NSE", "peak %"):
        for name in METHODS.values():
            table.add_column(f"{name}\n{score}", justify="right")
    for head in metrics["heads"]:
        table.add_row(
            head["site_no"],
            *(f"{head[f'{prefix}nse']:.3f}" for prefix in METHODS),
            *(f"{head[f'{prefix}peak_error']:+.0f}" for prefix in METHODS),
        )
    return table


def answer_to_rain(rain: np.ndarray, discharge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the discharge's logarithm for each mm of rain so many hours before, and t values.

    Args:
        rain: (T,) mm an hour, NaN where missing.
        discharge: (T,) m3 s-1, NaN where missing.

    Returns:
        Coefficients [1/mm] and their t values, (len(LAGS),), of a linear regression that also has
        the discharge's level and a constant.
    """
    level = np.log(discharge)
    rise = np.diff(level, prepend=np.nan)
    # the rain `lag` steps before, without wrapping around the record's ends
    columns = [np.roll(rain, lag) for lag in LAGS]
    design = np.stack([*columns, level, np.ones(rain.size)], 1)
    known = np.isfinite(design).all(1) & np.isfinite(rise)
    known[: max(LAGS)] = known[rain.size + min(LAGS) :] = False
    design, rise = design[known], rise[known]
    fit, *_ = np.linalg.lstsq(design, rise, rcond=None)
    variance = (rise - design @ fit).var(ddof=design.shape[1])
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    return fit[: len(LAGS)], (fit / error)[: len(LAGS)]


def show_answers(store: Path) -> Table:
    """A row per head: the answer of the discharge at the end of a step to rain around it."""
    table = Table(title="rise of ln(discharge) per 100 mm of rain (t value)", box=SIMPLE_HEAD)
    table.add_column("site")
    for lag in SHOWN:
        heading = "same label" if lag == 0 else f"{abs(lag)} h {'before' if lag > 0 else 'after'}"
        table.add_column(heading, justify="right")
    means = basin_means(store)
    ends = means.time.to_index() + HOUR
    records = read_gauges(load_catalog(CATALOG), means.site_no.values.tolist())
    for one in (means.isel(site=k) for k in range(means.sizes["site"])):
        record = records[str(one.site_no.item())]
        discharge = pd.Series(record.discharge, record.start).reindex(ends).to_numpy()
        rise, t_value = answer_to_rain(one.precipitation.values, discharge)
        at = [LAGS.index(lag) for lag in SHOWN]
        cells = (f"{100 * rise[k]:+.1f} ({t_value[k]:+.0f})" for k in at)
        table.add_row(record.site_no, *cells)
    return table


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    store: Annotated[Path | None, typer.Option(help="Store, to look at time labels.")] = None,
) -> None:
    """Print the scores of runs, and what the store says about time labels."""
    console = Console()
    with exit_codes():
        for run in runs:
            console.print(show_scores(Run(run)))
        if store is not None:
            console.print(show_answers(store))


if __name__ == "__main__":
    typer.run(main)
