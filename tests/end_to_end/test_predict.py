"""Trained heads on a record that has grown: what they say is what they said, and goes on."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pytest
import typer
import xarray as xr
import yaml
from typer.testing import CliRunner

from model.jobs.train import train
from model.output.report.blocks import unpack
from model.output.run_directory import Run
from model.predict import main
from model.settings import Settings
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.store.read import list_sites, open_gauges
from tests.pipeline.stores import stored_array

QUICK = Settings(updates=20, evaluate_every=10, seed=3)


def predict(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [*map(str, arguments)])


def predictions(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder / "predictions.zarr", consolidated=False).load()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_sample: Path) -> tuple[Path, Path, Path]:
    """A store that ends 100 days early, heads trained on it, and the store after it has grown."""
    folder = tmp_path_factory.mktemp("grown")
    path, sample = folder / "catalog.yaml", tiny_sample / "catalog.yaml"
    whole = {**yaml.safe_load(sample.read_text()), "root": str(tiny_sample)}
    period = load_catalog(sample).period
    end = (period.end - timedelta(days=100)).isoformat()
    path.write_text(yaml.safe_dump({**whole, "period": {**whole["period"], "end": f"{end}Z"}}))
    store, run = folder / "store.zarr", Run(folder / "run")
    first = period.start.year + 1  # water year
    years = {"validation": (str(first + 1),), "test": (str(first + 2),)}
    with make_client(workers=1) as client:
        run_pipeline(load_catalog(path), store, client)
        shutil.copytree(store, folder / "early.zarr")
        train(store, run.folder, settings=QUICK.model_copy(update=years), client=client)
        path.write_text(yaml.safe_dump(whole))
        run_pipeline(load_catalog(path), store, client)
    return folder / "early.zarr", run.folder, store


def test_a_grown_record_goes_on_where_it_was(world: tuple[Path, Path, Path]) -> None:
    """Against the heads that the whole record trains, whose training years are the same."""
    _, run, store = world
    done = predict(run, "--json", "--log-json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("run") == str(run / "predicted")
    assert said == json.loads((run / "predicted" / "metrics.json").read_text())
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    ended = {line["fields"]["site_no"] for line in logged if line["message"].startswith("head ")}
    assert ended == {head["site_no"] for head in said["heads"]}
    before, after = predictions(run), predictions(run / "predicted")
    assert after.sizes["time"] == before.sizes["time"] + 100
    then = after["simulated"].sel(time=before["time"][:-1])  # the last has no discharge yet
    np.testing.assert_allclose(then, before["simulated"][:, :-1], rtol=1e-6)
    settings = Run(run).recorded().settings
    with make_client(workers=1) as client:
        again = train(store, run.parent / "again", settings=settings, client=client)
    whole = predictions(again.folder)
    xr.testing.assert_equal(whole, after)
    found = Run(run / "predicted").finished()
    assert found is not None
    for one, other in zip(found["heads"], again.metrics["heads"], strict=True):
        assert one["nse"] == other["nse"]
        assert one["ridge_nse"] == other["ridge_nse"]
    page = (run / "predicted" / "report.html").read_text()
    _, panel = unpack(lxml.html.fromstring(page).get_element_by_id("block-0").text)
    assert "kernel" in panel
    assert "update" not in panel


def test_predictions_are_replaced_and_nothing_else_is(world: tuple[Path, Path, Path]) -> None:
    early, run, _ = world
    out = run.parent / "out"
    for store in (early, early):
        assert predict(run, "--store", store, "--out", out).exit_code == 0
    np.testing.assert_array_equal(predictions(out)["simulated"], predictions(run)["simulated"])
    kept = sorted(path.name for path in run.parent.iterdir())
    done = predict(run, "--out", early)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "not a prediction" in done.stderr
    assert sorted(path.name for path in run.parent.iterdir()) == kept


def test_bad_input_is_one_line(
    world: tuple[Path, Path, Path], tiny_store: Path, tmp_path: Path
) -> None:
    _, run, store = world
    settings = Run(run).recorded().settings
    (learned,) = settings.validation
    other = tmp_path / "other.zarr"
    shutil.copytree(store, other)
    site = list_sites(store)[0]
    stored_array(other, "gauges/discharge")[0] = 2 * open_gauges(store).discharge.values[0]
    for arguments, message in (
        ((tmp_path / "nowhere",), "run.yaml"),
        ((run, "--store", tmp_path / "no.zarr"), "no.zarr"),
        ((run, "--test", learned), f"validation {learned} and test {learned}"),
        ((run, "--test", 2050), "2050"),
        ((run, "--store", other), site),
    ):
        done = predict(*arguments, "--out", tmp_path / "out")
        ours = [line for line in done.stderr.splitlines() if not line.startswith("watershed")]
        assert (done.exit_code, len(ours)) == (2, 1), done.stderr
        assert message in done.stderr
        assert not (tmp_path / "out").exists()


def test_years_without_discharge_are_predicted_all_the_same(
    world: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """As the coming ones: there is nothing to score."""
    _, run, store = world
    coming = tmp_path / "coming.zarr"
    shutil.copytree(store, coming)
    stored_array(coming, "gauges/discharge")[:, -365:] = np.nan
    done = predict(run, "--store", coming, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "Warning" not in done.stderr
    text = (tmp_path / "out/metrics.json").read_text()
    assert "NaN" not in text  # which is no JSON
    assert {head["nse"] for head in json.loads(text)["heads"]} == {None}
    metrics = Run(tmp_path / "out").finished()
    assert metrics is not None
    assert all(np.isnan(head["nse"]) for head in metrics["heads"])
    found = predictions(tmp_path / "out").isel(time=slice(-365, -1))
    assert found["simulated"].notnull().all()
    assert found["observed"].isnull().all()
