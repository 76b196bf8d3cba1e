"""Score a simulation on its test steps, beside the floors on the same steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation import floors, metrics
from model.evaluation.bootstrap import interval, nse_samples

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def score_with_floors(
    simulated: Floats,
    observed: Floats,
    rain: Floats,
    times: npt.NDArray[np.datetime64],
    train: Mask,
    validation: Mask,
    test: Mask,
    *,
    sees_discharge: bool,
) -> dict[str, Any]:
    """Score a simulation and its floors on the test steps.

    Args:
        simulated, observed: (T,) discharge [m3 s-1], NaN where an observation is missing.
        rain: (T,) basin mean [mm per step].
        times: (T,) evenly spaced midpoints of the steps.
        train, validation, test: (T,) steps of each.
        sees_discharge: whether past discharge was an input; the ridge then has it too.

    Returns:
        The metrics of `metrics.evaluate`, with `n_test` for `n`; `nse_low` and `nse_high`, see
        `bootstrap`; and the NSE and peak error of persistence, climatology and ridge, NaN for a
        climatology of training steps too few to know all dates of the test.
    """
    times = times.astype("datetime64[s]")
    step = times[1] - times[0]
    by_floor = {
        "persistence": floors.persistence(observed),
        "climatology": floors.climatology(observed, times, train),
        "ridge": floors.ridge(
            rain,
            observed,
            times,
            train,
            validation,
            discharge_lead=1 if sees_discharge else None,
        ),
    }
    # A climatology that knows the dates of some test steps alone would be scored on easier ones.
    if not np.isfinite(by_floor["climatology"][test]).all():
        by_floor["climatology"] = np.full(observed.size, np.nan)
    window = metrics.default_peak_window(step)
    # Whole series, so that no peak is sought across the gap between two test periods.
    scored = np.where(test, observed, np.nan)
    scores = metrics.evaluate(simulated, scored, peak_window=window)
    scores["n_test"] = scores.pop("n")
    step_seconds = float(step / np.timedelta64(1, "s"))
    samples = nse_samples(simulated[test], observed[test], step_seconds)
    scores["nse_low"], scores["nse_high"] = interval(samples)
    for name, series in by_floor.items():
        seen = test & np.isfinite(series)  # persistence has no value after a gap
        scores[f"{name}_nse"] = metrics.nse(series[seen], observed[seen])
        scores[f"{name}_peak_error"] = metrics.peak_error(
            series, scored, window=window, drop_missing_simulation=True
        )
    return scores
