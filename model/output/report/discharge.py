"""Observed and simulated discharge of a run's test part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from model.inputs.split import Split
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import InputError


def describe_run(run: Run) -> tuple[dict[str, Any], Settings]:
    """Return the content of a run's run.yaml, and its settings.

    Raises:
        InputError: there is none, or it is of another version.
    """
    path = run.folder / "run.yaml"
    about = run.about()
    if about is None:
        raise InputError(f"{path}: not found: expected that of a training or a prediction")
    try:
        return about, Settings(**about["settings"])
    except ValidationError as error:
        reason = " ".join(str(error).splitlines()[1:3])
        raise InputError(f"{path}: {reason}: expected a run of this version") from error


class Discharge:
    """Observed and simulated discharge of a run.

    Args:
        run: a run directory with predictions.
        settings: of the run.

    Attributes:
        times: (T,) starts of the run's steps.
        step: their length.
        test: (T,) whether a step belongs to the test part.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        self.predictions = run.open_predictions()
        self.times = pd.DatetimeIndex(self.predictions["time"].values)
        self.step = self.times[1] - self.times[0]
        self.test = Split.of(self.times + self.step / 2, settings).test

    def read(self, site: str) -> tuple[np.ndarray, np.ndarray]:
        """Return observed and simulated discharge [m3 s-1], (T,) each, NaN outside the test part.

        Args:
            site: number of the watershed.
        """
        flows = self.predictions.sel(site_no=site)
        observed, simulated = (
            np.where(self.test, flows[name].values.astype(np.float64), np.nan)
            for name in ("observed", "simulated")
        )
        return observed, simulated


def milliseconds(time: pd.Timestamp) -> int:
    """Return a time as a browser counts it [ms since 1970]."""
    return int(time.value // 10**6)


def segments(times: pd.DatetimeIndex, step: pd.Timedelta) -> list[list[int]]:
    """Return start [ms since 1970] and number of steps of each unbroken part of some steps."""
    gaps = np.flatnonzero(np.diff(times) > step) + 1
    parts = np.split(np.arange(len(times)), gaps)
    return [[milliseconds(times[part[0]]), part.size] for part in parts]
