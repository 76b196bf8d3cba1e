"""Benchmarks run: on a machine without a GPU, and with parts of the model replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import botocore.session
import numpy as np
import pandas as pd
import pytest
import shapely
import torch
import xarray as xr

from benchmarks import ablation, encoder
from benchmarks.ablation import shuffle_distances
from benchmarks.counted_s3 import counted_s3
from benchmarks.head_access import SOME, WAYS
from benchmarks.made_up_watersheds import make_rings
from benchmarks.pipeline_speed import measure, show
from benchmarks.synthetic import (
    RAIN_ERRORS,
    drain,
    draw_rain_errors,
    make_head,
    melt_snow,
    route,
    simulate_soil,
)
from benchmarks.synthetic_store import write_store
from benchmarks.trunk import shorten_record
from model.inputs.watershed import load_head, survey_store
from model.jobs.train import train
from model.settings import SWITCHES, Settings
from model.training.trainer import Trainer
from pipeline import open_watershed
from pipeline.sample.world import full_world

CHECKOUT = Path(__file__).resolve().parent.parent
# packages that the benchmark of a GPU does without
ABSENT = ("dask", "distributed", "geopandas", "rasterio", "rioxarray", "shapely", "zarr")
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
import typer
from benchmarks.gpu import main
typer.run(main)
"""


def gpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m benchmarks.gpu` without those packages."""
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=280,
        check=False,
    )


def test_gpu_benchmark_runs_on_a_cpu() -> None:
    done = gpu("--device", "cpu", "--quick")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["packs"]["2"]["eager"] > 0
    assert report["sequential"]["singlehead+p"] > 0
    assert report["times_faster_than"].keys() == {"same_heads", "singlehead+p"}
    assert report["utilisation"]["busy"] > 0
    for precision in ("fp32", "bf16"):  # on a CPU both are fp32, and the other device is it too
        assert report["precision"][precision]["difference"] == 0
        here, there = report["precision"][precision]["test_nse_on_cpu_and_device"]
        assert here == there


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_benchmark_without_a_gpu_is_one_line() -> None:
    done = gpu()
    assert done.returncode == 2
    assert "finds no GPU" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_made_up_soils_keep_the_water_balance() -> None:
    rng = np.random.default_rng(0)
    rain = rng.gamma(0.2, 30, (3000, 5)).astype(np.float32)
    depth = rng.uniform(150, 450, 5)
    quick, seeped = simulate_soil(rain, np.zeros(3000, np.float32), depth, 2.0, 2.0)
    held = 0.6 * depth.mean() + (rain - quick).mean(1).cumsum(dtype=np.float64) - seeped.cumsum()
    assert (held > 0).all()
    assert (held < depth.mean() + 0.1).all()
    assert quick.min() >= 0


@pytest.mark.parametrize("hours", [1, 24])
def test_made_up_rivers_lose_no_water_and_carry_floods_faster(hours: int) -> None:
    distance, delay = np.array([20e3, 60e3]), {}
    for depth in (0.5, 50.0):
        runoff = np.zeros((24_000 // hours, 2))
        runoff[0] = depth
        arrived = route(runoff, distance, 0.04, hours * 3600.0)
        assert arrived.sum() == pytest.approx(depth, rel=0.01)  # the last of it takes long
        delay[depth] = hours * (np.arange(len(arrived)) @ arrived) / arrived.sum()
    assert delay[50.0] < 0.5 * delay[0.5]
    assert 40e3 / 3600 / delay[50.0] > 0.2  # m/s


def test_made_up_stores_lose_no_water_and_slow_down() -> None:
    inflow = np.zeros((4000, 2))
    inflow[0] = 30.0, 3.0
    out = drain(inflow, 10.0)
    rate = out[1:60] / (inflow[0] - out.cumsum(0)[1:60])
    assert (np.diff(rate, axis=0) < 0).all()
    assert (rate[:, 0] > rate[:, 1]).all()
    np.testing.assert_allclose(out.sum(0), inflow[0], rtol=2e-3)


def test_made_up_heads_see_the_rain_with_errors() -> None:
    errors = draw_rain_errors(
        np.random.default_rng(0), pd.date_range("2001-10-01T12:00", periods=4000, freq="h"), 300
    )
    assert errors.mean() == pytest.approx(1.0, abs=0.03)
    assert np.ptp(errors[:12], axis=0).max() == 0
    spread = np.log(errors[::24]).mean(1).std(), np.log(errors).std(1).mean()
    assert spread == pytest.approx(RAIN_ERRORS, rel=0.15)


def test_a_made_up_store_is_read_and_trained_as_any_other(tmp_path: Path) -> None:
    """What the heads hold comes back, outlines hold their cells, and a run ends in its report."""
    heads = [make_head(1, 4, 5, 3), make_head(2, 6, 4, 3)]
    store = tmp_path / "made-up.zarr"
    write_store(heads, store)
    for head in heads:
        found = open_watershed(store, head.site_no).load()
        loaded = load_head(str(store), head.site_no, Settings(snow=False))
        np.testing.assert_allclose(loaded.forcing, head.forcing, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(loaded.discharge, head.discharge, rtol=1e-6)
        np.testing.assert_allclose(loaded.distance, head.distance, rtol=1e-6)
        centres = np.stack(np.meshgrid(found["x"], found["y"]), -1)
        outline = shapely.from_wkt(found["polygon"].item())
        np.testing.assert_array_equal(
            shapely.contains_xy(outline, centres[..., 0], centres[..., 1]), head.inside
        )
    run = train(store, tmp_path / "run", settings=Settings(hidden=4, updates=2))
    assert {head["site_no"] for head in run.metrics["heads"]} == {"00000001", "00000002"}
    assert (run.folder / "report.html").stat().st_size > 10_000


def test_a_made_up_watershed_has_the_same_rain_at_any_step() -> None:
    daily, hourly = (make_head(1, 4, 5, 3, step_hours=hours) for hours in (24, 1))
    of_days = hourly.forcing[:, 0].reshape(len(daily.times), 24, -1).sum(1)
    np.testing.assert_allclose(of_days, daily.forcing[:, 0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("hours", [24, 1])
def test_made_up_snow_conserves_water_and_melts_in_spring(hours: int) -> None:
    steps = pd.date_range("2001-10-01", "2005-10-01", freq=pd.Timedelta(hours=hours))
    season = steps.day_of_year.to_numpy()
    rng = np.random.default_rng(0)
    rain = rng.gamma(0.2, 30 * hours / 24, (len(steps), 5)).astype(np.float32)
    warm = 4 - 14 * np.cos(2 * np.pi * (season - 20) / 365.25) + rng.normal(0, 4, len(steps))
    water = melt_snow(rng, rain, warm, season, hours / 24)
    assert water.min() >= 0
    lies = (rain - water.astype(np.float64)).cumsum(0)
    assert lies.min() > -1e-2
    assert lies[(steps.month == 8) & (warm > 5)].max() < 1e-2
    monthly = pd.Series(water.mean(1) / rain.mean()).groupby(steps.month).mean()
    assert monthly[1] < 0.2
    assert monthly[4] > 1.5


@pytest.mark.parametrize("name", encoder.ENCODERS)
def test_every_encoder_of_the_benchmark_takes_its_place_in_the_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, settings = encoder.ENCODERS[name]
    made: list[object] = []

    class Recorded(Trainer):
        def step(self) -> torch.Tensor:
            made.extend(type(part) for part in self.network.modules())
            return super().step()

    monkeypatch.setattr(encoder, "Trainer", Recorded)
    short = settings.model_copy(update={"updates": 2, "evaluate_every": 2, "stretch": 60})
    found = encoder.train_head(make_head(1, 4, 5, 3), kind, short)
    assert (kind in made) == settings.cnn
    assert found["ms"] > 0
    assert np.isfinite(found["nse"])


def test_made_up_watersheds_have_the_sizes_asked_for_and_lie_in_the_region() -> None:
    world = full_world()
    cells = np.resize([gauge.cells for gauge in world.gauges], 100)
    polygons = shapely.polygons(make_rings(world.grid, cells))
    assert shapely.is_valid(polygons).all()
    np.testing.assert_allclose(shapely.area(polygons) * 144, cells)
    assert shapely.contains(shapely.box(*world.grid.bounds), polygons).all()
    assert len({polygon.wkt for polygon in polygons}) == 100
    overlaps = shapely.STRtree(polygons).query(polygons, predicate="overlaps")
    assert len(overlaps.T) > 100


def test_speed_is_compared_with_bare_reading(tmp_path: Path, tiny_sample: Path) -> None:
    found = measure(tiny_sample / "catalog.yaml", tmp_path, repeats=1)
    show(found)
    assert found["rasters"] == 1095
    bare = found["bare_reading_rasters_per_second"]
    assert found["command_over_bare"] == pytest.approx(found["rasters_per_second"] / bare)
    tasks = found["tasks_rasters_per_second"]
    assert found["tasks_over_bare"] == pytest.approx(tasks / bare)
    assert tasks > found["rasters_per_second"] > 0


def scale(*arguments: str, report: Path) -> str:
    """Run `python -m benchmarks.pipeline_scale`, which writes a report; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pipeline_scale", *arguments, "--json", str(report)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scale_by_watersheds(tmp_path: Path, tiny_sample: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("--counts", "3", "--counts", "2", "--repeats", "1", "--tiny")
    printed = scale("watersheds", *arguments, "--sample", str(tiny_sample), report=report)
    assert all(way in printed for way in WAYS)
    found = json.loads(report.read_text())
    assert found["rasters"] == 1095
    few, more = found["cases"]
    assert (few["watersheds"], more["watersheds"]) == (2, 3)
    assert few["ratio"] == 1
    assert more["ratio"] == more["seconds"] / few["seconds"]
    for row in (few, more):
        assert row["peak_bytes"] >= row["client_bytes"] > 2**26
        assert row["stored_bytes"] > row["stored_files"] > 10
        assert row["rasters_per_second"] == 1095 / row["seconds"]
        access = row["access"]
        opened = [access[way]["opened"] for way in ("open one", "load one", f"load {SOME}")]
        assert 0 < opened[0] < opened[1] < opened[2]
    assert more["stored_bytes"] > few["stored_bytes"]


def test_scale_by_requests(tmp_path: Path, tiny_sample: Path) -> None:
    report = tmp_path / "report.json"
    scale("requests", "--counts", "2", "--sample", str(tiny_sample), report=report)
    (case,) = json.loads(report.read_text()).values()
    assert case.keys() == {"run", *WAYS}
    run, reading = case["run"], case["load one"]
    assert run["PUT"] > 10
    assert run["received bytes"] > 100_000
    assert reading["PUT"] == reading["received bytes"] == 0
    assert reading["sent bytes"] > case["open one"]["sent bytes"] > 0
    dear, cheap = (run["PUT"] + run["LIST"] + run["POST"]), (run["GET"] + run["HEAD"])
    assert run["dollars"] == pytest.approx((5 * dear + 0.4 * cheap) / 1e6)


def test_requests_to_s3_are_counted_as_they_are_billed() -> None:
    with counted_s3() as server:
        server.make_bucket("bucket")
        client = botocore.session.Session().create_client(
            "s3",
            "us-east-1",
            endpoint_url=server.address,
            aws_access_key_id="made-up",
            aws_secret_access_key="made-up",
        )
        for name, body in (("a/b", b"12345678"), ("c", b"123"), ("d", b"")):
            client.put_object(Bucket="bucket", Key=name, Body=body)
        for asked in ({}, {"Range": "bytes=2-3"}):
            client.get_object(Bucket="bucket", Key="a/b", **asked)["Body"].read()
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket="bucket", Key="absent")
        client.head_object(Bucket="bucket", Key="a/b")
        client.list_objects_v2(Bucket="bucket")
        client.list_objects_v2(Bucket="bucket", Prefix="a/")
        client.delete_object(Bucket="bucket", Key="c")
        client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "d"}]})
        part = client.create_multipart_upload(Bucket="bucket", Key="e")["UploadId"]
        client.abort_multipart_upload(Bucket="bucket", Key="e", UploadId=part)
        assert server.counts() == {
            "PUT": 4,
            "received bytes": 11,
            "GET": 3,
            "sent bytes": 10,
            "HEAD": 1,
            "LIST": 2,
            "DELETE": 3,
            "POST": 1,
        }
        client.close()


def test_shuffled_distances_are_each_watersheds_own(tmp_path: Path, tiny_store: Path) -> None:
    """A copy of the store has them in another order, and everything else as it was."""
    shuffled = shuffle_distances(tiny_store, tmp_path)
    for site in survey_store(str(tiny_store)).pixels:
        before, after = (open_watershed(store, site).load() for store in (tiny_store, shuffled))
        xr.testing.assert_identical(
            before.drop_vars("flow_distance"), after.drop_vars("flow_distance")
        )
        old, new = (np.ravel(one["flow_distance"]) for one in (before, after))
        assert not np.array_equal(old, new, equal_nan=True)
        np.testing.assert_array_equal(np.sort(old), np.sort(new))


def test_a_shortened_record_begins_late(tmp_path: Path, tiny_store: Path) -> None:
    """With the validation year, where no training year is asked for; rain is as it was."""
    short = shorten_record(tiny_store, tmp_path / "short.zarr", 0)
    for site in survey_store(str(tiny_store)).pixels:
        before, after = (open_watershed(store, site).load() for store in (tiny_store, short))
        held = before["discharge"].notnull() & (before["time"] >= np.datetime64("2013-10-01"))
        assert before["discharge"].notnull()[:100].any()
        np.testing.assert_array_equal(after["discharge"].notnull(), held)
        xr.testing.assert_identical(before["precipitation"], after["precipitation"])


def test_the_table_of_parts_is_that_of_its_scores(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {row: [{"01": 0.8, "02": 0.6}, {"01": 0.9, "02": 0.5}] for row in ablation.ROWS}
    scores[ablation.PLAIN] = [{"01": 0.4, "02": 0.6}]
    scores[ablation.NO_SNOW] = []
    scores |= {floor: [{"01": 0.31, "02": 0.22}] for floor in ablation.FLOORS}
    ablation.show({"basin": scores})
    shown = capsys.readouterr().out
    assert "0.700 (0.550)" in shown  # medians 0.7 and 0.7, worst 0.6 and 0.5
    assert "as Dom-ST" in shown
    assert shown.count("0.265 (0.220)") == 2, "the floors"
    assert "+40.0% over a plain LSTM; +0.0% by the block" in shown  # (0.85 + 0.55) / (0.4 + 0.6)


def test_every_part_of_the_model_has_a_row() -> None:
    left_out = {name for row in ablation.ROWS.values() for name, on in row.items() if on is False}
    assert left_out == set(SWITCHES)
