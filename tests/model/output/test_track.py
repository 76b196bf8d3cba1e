"""Curves and scores of a training as TensorBoard and MLflow read them back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from model.output import track
from model.output.run_directory import Run
from model.output.track import make_tracker
from model.settings import Settings
from pipeline.errors import InputError

LINES = [
    {"site_no": "01", "update": 25, "loss": 0.5, "validation_nse": 0.25},
    {"site_no": "01", "update": 50, "loss": 0.25, "validation_nse": None},
    {"site_no": "02", "update": 25, "loss": math.nan, "validation_nse": -0.5},
]
CURVES = {
    "loss/01": [(25, 0.5), (50, 0.25)],
    "validation_nse/01": [(25, 0.25)],
    "validation_nse/02": [(25, -0.5)],
    "nse/01": [(50, 0.75)],
}


def tell(run: Run, tracking: str, lines: list[dict[str, Any]], *done: dict[str, Any]) -> None:
    """Have a tracker hear of a training of two heads."""
    tracker = make_tracker(tracking, run, Settings(updates=50))
    tracker.begin(["01", "02"], 50)
    tracker.pack(["01", "02"], "tcp://127.0.0.1:1", "cpu")
    for line in lines:
        tracker.update(line)
    for score in done:
        tracker.head_done({**score, "updates": 50})
    tracker.end()


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(tmp_path / "run")
    tell(run, "tensorboard", LINES, {"site_no": "01", "nse": 0.75})
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    found = {
        name: [(one.step, one.value) for one in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    assert found == CURVES


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow")  # of its store of files
def test_mlflow_has_one_run_also_of_a_training_that_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "floods")
    run = Run(tmp_path / "a run")
    tell(run, "mlflow", LINES[:1])
    client = MlflowClient()
    experiment = client.get_experiment_by_name("floods")
    assert experiment is not None
    (seen,) = client.search_runs([experiment.experiment_id])
    assert seen.info.status == "FAILED"
    assert seen.data.params["updates"] == "50"
    assert set(Settings.model_fields) == set(seen.data.params)
    scores = [{"site_no": "01", "nse": 0.75}, {"site_no": "02", "nse": math.nan}]
    tell(run, "mlflow", LINES[1:], *scores)
    (seen,) = client.search_runs([experiment.experiment_id])
    assert (seen.info.status, seen.info.run_name) == ("FINISHED", "a run")
    found = {
        name: sorted(
            (one.step, one.value) for one in client.get_metric_history(seen.info.run_id, name)
        )
        for name in seen.data.metrics
    }
    assert found == CURVES


@pytest.mark.parametrize("tracking", ["tensorboard", "mlflow"])
def test_a_missing_package_is_one_line(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"--track {tracking}: .*dom-st\[{tracking}\]"):
        make_tracker(tracking, Run(tmp_path), Settings())
