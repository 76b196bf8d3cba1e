"""What a head is worth on its test years, and what the floors are worth on the same steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.evaluation import floors, metrics
from model.evaluation.bootstrap import interval, nse_samples
from model.inputs.watershed import HeadData


def score_head(head: HeadData, simulated: np.ndarray, history: bool) -> dict[str, Any]:
    """One entry of `metrics.json`.

    Args:
        simulated: (T,) discharge [m3 s-1] of the whole record.
        history: whether past discharge was an input; the ridge then has it too.

    Returns:
        Metrics of `metrics.evaluate` on the test steps, with the NSE of persistence (the discharge
        one step before), climatology (day of year) and ridge (lagged rain) beside them. `nse_low`
        and `nse_high` are the interval of `model.evaluation.bootstrap`, `n_test` is the number of
        steps scored.
    """
    split, observed = head.split, head.discharge
    times = head.dates.to_numpy().astype("datetime64[s]")
    train = np.arange(len(times)) < split.train.stop
    by_floor = {
        "persistence": floors.persistence(observed),
        "climatology": floors.climatology(observed, times, train),
        "ridge": floors.ridge(
            head.rain,
            observed,
            times,
            train,
            split.validation,
            discharge_lead=1 if history else None,
        ),
    }
    test = split.test
    window = metrics.default_peak_window(np.timedelta64(round(head.step_seconds), "s"))
    scores = metrics.evaluate(simulated[test], observed[test], peak_window=window)
    scores["n_test"] = scores.pop("n")
    samples = nse_samples(simulated[test], observed[test], head.step_seconds)
    scores["nse_low"], scores["nse_high"] = interval(samples)
    for name, series in by_floor.items():
        seen = test & np.isfinite(series)  # persistence has no value after a gap
        scores[f"{name}_nse"] = metrics.nse(series[seen], observed[seen])
    return scores
