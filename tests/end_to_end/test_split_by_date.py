"""Heads trained on dates: an hourly record of four months, and test before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import xarray as xr
import yaml
from typer.testing import CliRunner

from model import Run, Settings, load_head, predict, train
from model.evaluation.metrics import nse
from model.predict import main as predict_command
from pipeline.catalog.models import load_catalog
from pipeline.run.execute import run as run_pipeline
from pipeline.store.read import list_sites
from tests.end_to_end.training import train as train_command
from tests.pipeline.handmade import write_polygons

HOURS = pd.date_range("2014-09-15", "2015-01-15", freq="h", inclusive="left")
SITE = "01000001"
EVENTS = (
    *("--train", "2014-09-15/2014-10-20", "--train", "2014-12-01/2014-12-20"),
    *("--validation", "2014-12-21/..", "--test", "2014-11-01/2014-11-15"),
)
QUICK = ("--cluster", "cpu", "--workers", "1", "--updates", "4")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one small watershed with rain and discharge of four months of hours."""
    folder = tmp_path_factory.mktemp("autumn")
    rng = np.random.default_rng(5)
    lat, lon = 44.98 - np.arange(6) / 24, 4.02 + np.arange(6) / 24
    wet = rng.random(HOURS.size // 24).repeat(24) < 0.3
    rain = rng.gamma(0.4, 3.0, (HOURS.size, 6, 6)) * wet[:, None, None]
    flow = np.zeros(HOURS.size)
    for hour in range(1, HOURS.size):
        flow[hour] = 0.97 * flow[hour - 1] + rain[hour].mean()
    flow[1130:1140] = np.nan  # on the first of November
    xr.Dataset(
        {"rain": (("time", "lat", "lon"), rain.astype(np.float32), {"units": "mm"})},
        {
            "time": HOURS,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    ).to_netcdf(folder / "rain.nc")
    table = pd.DataFrame(
        {"site_no": SITE, "datetime": HOURS.strftime("%FT%TZ"), "discharge": 1 + flow}
    ).dropna()
    table.to_csv(folder / "discharge.csv", index=False)
    write_polygons(folder / "basins.geojson", {SITE: (4.02, 44.79, 4.21, 44.97)})
    catalog = {
        "title": "Autumn",
        "synthetic": True,
        "period": {"step": "hour", "start": "2014-09-15T00:00", "end": "2015-01-15T00:00"},
        "forcings": {
            "precipitation": {
                "driver": "netcdf",
                "files": "rain.nc",
                "variable": "rain",
                "units": "mm",
                "time": {"label": "start"},
            }
        },
        "gauges": {
            "format": "csv",
            "files": "discharge.csv",
            "units": "m3/s",
            "values": "instantaneous",
        },
        "watersheds": {"file": "basins.geojson", "site_field": "site"},
    }
    (folder / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    run_pipeline(load_catalog(folder / "catalog.yaml"), folder / "store.zarr")
    return folder / "store.zarr"


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("events") / "run"
    done = train_command(store, "--run", folder, *QUICK, *EVENTS)
    assert done.exit_code == 0, done.stderr
    assert "no interval of NSE" in done.stdout
    return Run(folder)


def test_events_of_a_short_record_train_and_score(run: Run) -> None:
    parts = "train 2014-09-15 to 2014-10-20 and 2014-12-01 to 2014-12-20, validation 2014-12-21 to "
    parts += "2015-01-14, test 2014-11-01 to 2014-11-15, spin-up 97 days"
    assert run.metrics["split"] == parts
    (head,) = run.metrics["heads"]
    event = run.open_predictions().sel(site_no=SITE, time=slice("2014-11-01", "2014-11-15"))
    observed, simulated = (event[n].values.astype(float) for n in ("observed", "simulated"))
    assert (event.sizes["time"], head["n_test"]) == (15 * 24, np.isfinite(observed).sum())
    assert head["n_test"] == 15 * 24 - 11, "11 hours touch the 10 missing readings"
    assert head["nse"] == pytest.approx(nse(simulated, observed), abs=1e-4)
    assert np.isnan([head["nse_low"], head["nse_high"]]).all()
    assert np.isnan(head["climatology_nse"]), "no training within 15 days of 10 November"
    assert np.isfinite([head["ridge_nse"], head["persistence_nse"]]).all()
    page = (run.folder / "report.html").read_text()
    assert parts in page
    assert "There is no interval of NSE" in page
    assert ">nan<" not in page


def test_a_run_goes_on_only_with_the_same_parts(run: Run, store: Path) -> None:
    again = train_command(store, "--run", run.folder, *QUICK, *EVENTS)
    assert again.exit_code == 0, again.stderr
    done = train_command(store, "--run", run.folder, *QUICK, *EVENTS[:-1], "2014-11-02/2014-11-15")
    assert done.exit_code == 2
    assert "test is ['2014-11-01/2014-11-15'] and not ['2014-11-02/2014-11-15']" in done.stderr


def test_prediction_scores_what_no_head_has_learned_from(run: Run) -> None:
    scored = predict(run)
    assert "test 2014-10-21 to 2014-11-30, spin-up" in scored.metrics["split"]
    assert scored.metrics["heads"][0]["n_test"] == 41 * 24 - 11
    app = typer.Typer()
    app.command()(predict_command)
    refused = CliRunner().invoke(app, [str(run.folder), "--test", "2014-12-20/2014-12-24"])
    assert refused.exit_code == 2
    assert "train 2014-12-01/2014-12-20 and test 2014-12-20/2014-12-24 share" in refused.stderr


@pytest.mark.parametrize("history", [False, True])
def test_test_periods_before_training(tiny_store: Path, tmp_path: Path, history: bool) -> None:
    """The steps of the parts are those that pandas selects."""
    site = list_sites(tiny_store)[0]
    settings = Settings(
        updates=2,
        evaluate_every=2,
        history=history,
        train=("2014-04-01/..",),
        validation=("2013-10/2014-03",),
        test=("2012-12-01/2013-02-28", "2013-05-01/2013-08-15"),
    )
    done = train(tiny_store, tmp_path / "run", sites=[site], settings=settings)
    series = load_head(done, site).simulate()
    period = pd.Series(series["period"].values, series["time"].values + pd.Timedelta("12h"))
    expected = pd.Series("", period.index)
    expected.loc["2014-04-01":] = "train"
    expected.loc["2013-10":"2014-03"] = "validation"
    for first, last in (("2012-12-01", "2013-02-28"), ("2013-05-01", "2013-08-15")):
        expected.loc[first:last] = "test"
    pd.testing.assert_series_equal(period, expected, check_names=False, check_dtype=False)
    test = (expected == "test").values
    (head,) = done.metrics["heads"]
    observed = series["observed"].values
    assert head["n_test"] == np.isfinite(observed[test]).sum()
    assert head["nse"] == pytest.approx(nse(series["simulated"].values[test], observed[test]))
    assert (done.hydrographs / f"{site}.png").exists()
