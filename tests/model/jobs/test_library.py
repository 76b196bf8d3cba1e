"""Training and prediction as a library: chosen watersheds, resuming, and heads in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from distributed.comm.core import CommClosedError

from model import Run, Settings, evaluate, load_head, predict, train
from model.inputs.periods import water_years
from model.output.progress import Progress
from pipeline.errors import InputError, RunError
from pipeline.store.read import list_sites, open_watershed
from tests.end_to_end.training import steps_without_rain

QUICK = Settings(updates=4, evaluate_every=2)


class Recorder(Progress):
    """Keeps what a training reports."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def begin(self, sites: Sequence[str], updates: int) -> None:
        self.calls.append(("begin", *sites, updates))

    def pack(self, sites: Sequence[str], worker: str, device: str) -> None:
        self.calls.append(("pack", *sites, worker.partition("://")[0], device))

    def update(self, line: Mapping[str, Any]) -> None:
        self.calls.append(("update", line["site_no"], line["update"]))

    def head_done(self, score: dict[str, object]) -> None:
        self.calls.append(("done", score["site_no"]))

    def end(self) -> None:
        self.calls.append(("end",))


@pytest.fixture(scope="module")
def site(tiny_store: Path) -> str:
    return list_sites(tiny_store)[1]


@pytest.fixture(scope="module")
def finished(tiny_store: Path, site: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One head of the store, trained in this process without a client."""
    folder = tmp_path_factory.mktemp("library") / "run"
    return train(tiny_store, folder, sites=[site], settings=QUICK)


def test_chosen_watersheds_alone_are_trained(finished: Run, site: str) -> None:
    assert list(finished.scores.index) == [site]
    assert finished.scores.loc[site, "nse"] == finished.metrics["heads"][0]["nse"]
    assert [path.stem for path in finished.checkpoints.glob("*.safetensors")] == [site]
    assert list(finished.open_predictions()["site_no"].values) == [site]
    about = yaml.safe_load((finished.folder / "run.yaml").read_text())
    assert about["sites"] == [site]
    assert set(about["settings"]) == set(Settings.model_fields)


def test_a_finished_run_returns_at_once_and_another_choice_is_refused(
    finished: Run, tiny_store: Path, site: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    recorder = Recorder()
    again = train(tiny_store, finished.folder, sites=[site], settings=QUICK, progress=recorder)
    assert again.metrics == finished.metrics
    assert not recorder.calls
    assert before == {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    with pytest.raises(InputError, match=r"run.yaml: sites is \['\d+'\] and not .*another --run"):
        train(tiny_store, finished.folder, settings=QUICK)


@pytest.mark.parametrize("sites", [[], ["00000000"]])
def test_watersheds_that_the_store_lacks_are_refused(
    tiny_store: Path, tmp_path: Path, sites: list[str]
) -> None:
    with pytest.raises(InputError, match=r"lacks .*: expected some of 99"):
        train(tiny_store, tmp_path / "run", sites=sites)
    assert not (tmp_path / "run").exists()


def test_progress_is_reported(tiny_store: Path, site: str, tmp_path: Path) -> None:
    recorder = Recorder()
    train(tiny_store, tmp_path / "run", sites=[site], settings=QUICK, progress=recorder)
    assert recorder.calls == [
        ("begin", site, 4),
        ("pack", site, "inproc", "cpu"),
        ("update", site, 2),
        ("update", site, 4),
        ("done", site),
        ("end",),
    ]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [2, 4]


def test_a_loaded_head_simulates_what_its_run_predicted(
    finished: Run, tiny_store: Path, site: str
) -> None:
    series = load_head(finished.folder, site).simulate()
    kept = finished.open_predictions().sel(site_no=site)
    steps = series.sizes["time"]
    np.testing.assert_array_equal(
        series["simulated"].astype(np.float32), kept["simulated"][:steps].values
    )
    stored = open_watershed(tiny_store, site)["discharge"].values[:steps]
    np.testing.assert_array_equal(series["observed"], stored)
    test = series["period"] == "test"
    years = water_years(pd.DatetimeIndex(series["time"].values) + pd.Timedelta("12h"), 10)
    assert tuple(map(str, set(years[test.values]))) == finished.recorded().settings.test
    scores = evaluate(series["simulated"][test], series["observed"][test])
    for name in ("nse", "kge", "pbias", "peak_lag"):
        assert scores[name] == finished.metrics["heads"][0][name], name


def test_a_head_that_is_not_there_is_refused(finished: Run) -> None:
    with pytest.raises(InputError, match=r"00000000.*not found: expected the head of"):
        load_head(finished, "00000000")
    with pytest.raises(InputError, match=r"expected the run\.yaml of a training"):
        load_head(finished.folder / "nothing", "00000000")


def test_prediction_scores_the_years_asked_for(finished: Run, site: str, tmp_path: Path) -> None:
    predicted = predict(finished, out=tmp_path / "out")
    whole = finished.open_predictions()["simulated"]
    np.testing.assert_array_equal(predicted.open_predictions()["simulated"], whole)
    assert predicted.scores.loc[site, "nse"] == finished.scores.loc[site, "nse"]
    (validation,) = finished.recorded().settings.validation
    with pytest.raises(InputError, match=f"{validation}"):
        predict(finished, out=tmp_path / "out", test=[validation])


def test_a_trunk_or_prediction_that_loses_its_scheduler_is_one_line(
    finished: Run, tiny_store: Path, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise CommClosedError("scheduler gone")

    lost = r"lost the scheduler or its workers \(scheduler gone\)"
    with monkeypatch.context() as patch:
        patch.setattr("model.jobs.schedule.fit_trunk", lose)
        with pytest.raises(RunError, match=rf"run: {lost}: .*--resume --run"):
            train(tiny_store, tmp_path / "run", sites=[site], settings=Settings(trunk="shared"))
    with monkeypatch.context() as patch:
        patch.setattr("distributed.Client.gather", lose)
        with pytest.raises(RunError, match=rf"{finished.folder}: {lost}"):
            predict(finished, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_has_no_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no metrics\.json: expected a finished run"):
        _ = Run(tmp_path).scores


def test_warnings_of_heads_are_collected_also_by_the_call_that_resumes(
    finished: Run, tiny_store: Path, site: str, tmp_path: Path
) -> None:
    gaps = steps_without_rain(tiny_store, site)
    expected = [f"watershed {site}: precipitation is missing on {gaps} steps"]
    assert gaps > 0
    assert finished.metrics["warnings"] == expected
    assert "warnings" not in finished.metrics["heads"][0]
    assert expected[0] in (finished.folder / "log.txt").read_text()
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    (copy / "metrics.json").unlink()
    again = train(tiny_store, copy, sites=[site], settings=QUICK)
    assert again.metrics["warnings"] == expected
    assert predict(finished, out=tmp_path / "out").metrics["warnings"] == expected
