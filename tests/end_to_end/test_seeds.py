"""Several networks of a head, one per seed: the same as single runs, and their mean discharge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.jobs.heads import load_head
from model.jobs.predict import predict
from model.jobs.train import train
from model.output.journal import read_lines
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.run.cluster import make_client
from pipeline.store.read import list_sites

QUICK = Settings(updates=20, evaluate_every=10, seed=4, hidden=8)


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: Path
) -> tuple[Path, str, Run, list[Run]]:
    """A store, a site, a run with two seeds, and two runs with one each."""
    folder, site = tmp_path_factory.mktemp("seeds"), list_sites(tiny_store)[0]
    with make_client(workers=1) as client:

        def run(name: str, settings: Settings) -> Run:
            return train(tiny_store, folder / name, sites=[site], settings=settings, client=client)

        both = run("both", QUICK.model_copy(update={"seeds": 2}))
        alone = [run(f"{k}", QUICK.model_copy(update={"seed": 4 + k})) for k in range(2)]
    return tiny_store, site, both, alone


def simulated(run: Run) -> np.ndarray:
    with run.open_predictions() as predictions:
        return np.asarray(predictions["simulated"].values[0])


def test_the_prediction_is_the_mean_of_single_runs(runs: tuple[Path, str, Run, list[Run]]) -> None:
    _, _, both, alone = runs
    singles = [simulated(run) for run in alone]
    assert not np.allclose(singles[0], singles[1], rtol=1e-2)
    np.testing.assert_allclose(simulated(both), np.mean(singles, 0), rtol=1e-5)
    (head,) = both.metrics["heads"]
    expected = [run.metrics["heads"][0]["nse"] for run in alone]
    assert head["network_nse"] == pytest.approx(expected, abs=1e-6)
    assert head["validation_nse"] == pytest.approx(
        np.mean([run.metrics["heads"][0]["validation_nse"] for run in alone])
    )
    assert both.metrics["variant"].endswith("the mean of 2 seeds")


def test_validations_count_the_updates_of_all_networks(
    runs: tuple[Path, str, Run, list[Run]],
) -> None:
    both = runs[2]
    lines = read_lines(both.folder / "metrics.jsonl")
    assert [line["update"] for line in lines] == [10, 20, 30, 40]
    assert both.metrics["heads"][0]["updates"] == 40


def test_loaded_and_predicted_heads_are_the_mean_too(
    runs: tuple[Path, str, Run, list[Run]], tmp_path: Path
) -> None:
    _, site, both, _ = runs
    head = load_head(both, site)
    assert len(head.networks) == 2
    expected = simulated(both)
    found = head.simulate()["simulated"].values
    np.testing.assert_allclose(found, expected[: found.size], rtol=1e-5)
    with make_client(workers=1) as client:
        predicted = predict(both, out=tmp_path / "predicted", client=client)
    np.testing.assert_allclose(simulated(predicted)[: found.size], found, rtol=1e-5)


def test_what_is_trained_is_kept(runs: tuple[Path, str, Run, list[Run]]) -> None:
    """Without its scores the head is scored again, and no network is trained again."""
    store, site, both, _ = runs
    expected, files = simulated(both), sorted(both.checkpoints.rglob("*.safetensors"))
    assert len(files) == 2
    times = [file.stat().st_mtime_ns for file in files]
    for name in (f"checkpoints/{site}.json", "metrics.json"):
        (both.folder / name).unlink()
    with make_client(workers=1) as client:
        settings = QUICK.model_copy(update={"seeds": 2})
        again = train(store, both.folder, sites=[site], settings=settings, client=client)
    assert [file.stat().st_mtime_ns for file in files] == times
    np.testing.assert_array_equal(simulated(again), expected)
