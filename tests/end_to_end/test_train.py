"""From a store to a run directory, through the command line, as a user does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from model.evaluation.bootstrap import interval, nse_samples
from model.evaluation.metrics import nse
from model.settings import DAY, Settings
from pipeline.store.read import list_sites, open_watershed
from tests.end_to_end.training import QUICK, steps_without_rain, train, train_in_a_process


def test_the_command_prints_the_dashboard_and_the_median(tiny_run: Path) -> None:
    printed = (tiny_run.parent / "stdout.txt").read_text()
    assert "dashboard: http://127.0.0.1:" in printed
    assert "median" in printed
    assert "synthetic" in printed


def test_a_run_directory_holds_scores_weights_figures_and_a_report(
    tiny_run: Path, tiny_store: Path
) -> None:
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    sites = [head["site_no"] for head in metrics["heads"]]
    assert sites == list_sites(tiny_store)
    about = yaml.safe_load((tiny_run / "run.yaml").read_text())
    assert Settings.model_validate(about["settings"]).updates == 30
    assert about["versions"]["torch"]
    assert metrics["synthetic"] is True
    assert metrics["cluster"]["workers"] == 2
    assert metrics["seconds"]["busy_max"] >= metrics["seconds"]["busy_mean"] > 0
    for site in sites:
        assert (tiny_run / "checkpoints" / f"{site}.safetensors").is_file()
        assert (tiny_run / "hydrographs" / f"{site}.png").read_bytes()[1:4] == b"PNG"
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert {(line["site_no"], line["update"]) for line in lines} == {
        (site, update) for site in sites for update in (25, 30)
    }
    assert "synthetic data" in (tiny_run / "report.html").read_text()
    assert "done" in (tiny_run / "log.txt").read_text()
    for site in sites:  # of worker processes
        gaps = steps_without_rain(tiny_store, site)
        line = f"watershed {site}: precipitation is missing on {gaps} steps"
        assert metrics["warnings"].count(line) == (gaps > 0)


def test_metrics_follow_from_the_predictions(tiny_run: Path, tiny_store: Path) -> None:
    """NSE and its interval computed again from predictions.zarr and the store's discharge."""
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    predictions = xr.open_zarr(tiny_run / "predictions.zarr", consolidated=False)
    for head in metrics["heads"]:
        site = head["site_no"]
        shed = open_watershed(tiny_store, site)
        simulated = predictions["simulated"].sel(site_no=site).values.astype(np.float64)
        observed = shed["discharge"].values.astype(np.float64)
        test = (shed["time"] >= np.datetime64("2014-10-01")).values
        assert head["nse"] == pytest.approx(nse(simulated[test], observed[test]), abs=1e-4)
        within = interval(nse_samples(simulated[test], observed[test], 86_400.0))
        assert (head["nse_low"], head["nse_high"]) == pytest.approx(within, abs=1e-4)
        assert head["nse_low"] < head["nse"] < head["nse_high"]
        assert head["n_test"] == np.isfinite(observed[test]).sum()
        assert np.isfinite(simulated).all()
        assert (simulated >= 0).all()


def test_running_again_trains_nothing(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    files = sorted((run / "checkpoints").glob("*.safetensors"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    again = train(tiny_store, "--run", run, *QUICK)
    assert again.exit_code == 0, again.stderr
    printed = " ".join(again.stdout.split())
    for head in json.loads((run / "metrics.json").read_text())["heads"]:
        assert f"{head['nse']:.3f} {head['nse_low']:.2f}-{head['nse_high']:.2f}" in printed
    assert f"report: {run / 'report.html'} run: {run}" in printed
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before


def test_json_is_the_content_of_metrics_json_and_nothing_else(
    tiny_run: Path, tiny_store: Path
) -> None:
    done = train(tiny_store, "--run", tiny_run, *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("run") == str(tiny_run)
    assert said == json.loads((tiny_run / "metrics.json").read_text())
    settings = json.loads(train("--show-config", "--json", "--seed", 3).stdout)
    assert settings["seed"] == 3
    assert Settings(**settings) == Settings(seed=3).resolved(DAY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.zarr",), "nowhere.zarr"),
        (("STORE", "--test", "2050"), "water year 2050"),
        (("STORE", "--scheduler", "nonsense://here"), "nonsense://here"),
        (("STORE", "--cluster", "cuda"), "cuda"),
        (("STORE", "--scheduler-file", "no.json"), "no.json"),
        (("--resume",), "run.yaml"),
        (("--resume", "--seed", "3"), "seed"),
        (("STORE", "--resume"), "store"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tiny_store: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    run = tmp_path / "run"
    done = train(*(a.replace("STORE", str(tiny_store)) for a in arguments), "--run", run)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not run.exists()


def test_bad_input_is_one_line_of_the_whole_process(tmp_path: Path) -> None:
    done = train_in_a_process("nowhere.zarr", "--run", tmp_path / "run")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "nowhere.zarr" in line


def test_a_run_directory_of_other_settings_is_refused(tiny_run: Path, tiny_store: Path) -> None:
    done = train(tiny_store, "--run", tiny_run, *QUICK, "--seed", 7)
    assert done.exit_code == 2
    assert "seed is 0 and not 7" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_directory_that_cannot_be_written_is_one_line(
    tiny_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = train(tiny_store, "--run", tmp_path / "file" / "run", *QUICK)
    assert done.exit_code == 1, done.stderr
    ours = [line for line in done.stderr.splitlines() if "distributed" not in line]
    assert len(ours) == 1, done.stderr  # Dask may log that its workers are slow to end
    assert "file" in done.stderr
