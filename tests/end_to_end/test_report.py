"""The report of a real run, the command that writes it anew, and the one that compares runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lxml.html
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from model import Run
from model.command_line import app
from model.evaluation.metrics import nse
from model.output.report.blocks import unpack
from pipeline import basin_means


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def compare(*arguments: object) -> Result:
    arguments = ("compare", *arguments)
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "120"})


def test_panels_hold_the_test_part_of_predictions_and_rain(
    tiny_run: Path, tiny_store: Path
) -> None:
    run = Run(tiny_run)
    tree = lxml.html.fromstring((tiny_run / "report.html").read_text())
    rain = basin_means(tiny_store)["precipitation"].sel(time=slice("2014-10-01", None))
    test = run.open_predictions().sel(time=rain["time"].values)
    for index, head in enumerate(run.metrics["heads"]):
        site = head["site_no"]
        fields, arrays = unpack(tree.get_element_by_id(f"block-{index}").text)
        start, steps = fields["segments"][0]
        assert (pd.Timestamp(start, unit="ms"), steps) == (rain.indexes["time"][0], len(rain.time))
        for name in ("observed", "simulated"):
            expected = test[name].sel(site_no=site).values
            np.testing.assert_allclose(arrays[name], expected, rtol=2e-4)
        np.testing.assert_allclose(arrays["rain"], rain.sel(site_no=site), rtol=2e-4, atol=1e-6)
        seen = np.isfinite(arrays["observed"])
        computed = nse(arrays["simulated"][seen], arrays["observed"][seen])
        assert computed == pytest.approx(head["nse"], abs=1e-3)
        assert fields["floods"][0]["peak_error"] == [pytest.approx(head["peak_error"], abs=0.1)]
        assert arrays["update"].tolist() == [25, 30]
        kept = arrays["validation_nse"][arrays["update"] == head["kept_update"]]
        assert kept == pytest.approx(head["validation_nse"], rel=2e-4)
        assert arrays["kernel"].sum() == pytest.approx(1 - head["truncated"], abs=1e-3)
        assert len(arrays["delivered"]) == len(arrays["longitude"]) == head["cells"]


def test_the_command_writes_the_same_page_anew(
    tiny_run: Path, tiny_store: Path, tmp_path: Path
) -> None:
    run, store = tmp_path / "run", tmp_path / "moved.zarr"
    shutil.copytree(tiny_run, run)
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    done = report(run)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["report:", str(run / "report.html")]
    assert (run / "report.html").read_text() == before
    shutil.copytree(tiny_store, store)
    text = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(text.replace(str(tiny_store), "gone.zarr"))
    refused = report(run)
    assert refused.exit_code == 2
    assert "gone.zarr" in refused.stderr
    assert (run / "report.html").read_text() == before
    assert report(run, "--store", store).exit_code == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "metrics.json").unlink(), "expected a finished run"),
        (
            lambda run: (run / "run.yaml").write_text(
                (run / "run.yaml").read_text().replace("  hidden: ", "  hiden: ")
            ),
            "hiden",
        ),
    ],
)
def test_a_run_that_is_unfinished_or_of_another_version_is_refused(
    tiny_run: Path, tmp_path: Path, damage, said: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    damage(run)
    refused = report(run)
    assert refused.exit_code == 2
    (line,) = refused.stderr.strip().splitlines()
    assert said in line


def test_the_command_compares_a_run_with_its_halved_simulation(
    tiny_run: Path, tiny_store: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(tiny_run, half)
    run = Run(half)
    flows = run.open_predictions().load()
    for row, site in enumerate(flows["site_no"].values):
        one = flows.sel(site_no=site)
        run.write_prediction(row, one["simulated"].values / 2, one["observed"].values)
    out = tmp_path / "pages.html"
    done = compare(tiny_run, half, "--out", out)
    assert done.exit_code == 0, done.output
    assert "half is ahead of run on" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == f"page: {out}"

    told = json.loads(compare(tiny_run, half, "--json").stdout)
    assert (tiny_run.parent / "compare.html").read_text() == out.read_text()
    (tiny_run.parent / "compare.html").unlink()  # the folder is shared by tests
    assert told["page"] == str(tiny_run.parent / "compare.html")
    assert told["runs"] == ["run", "half"]
    rain = basin_means(tiny_store)["precipitation"].sel(time=slice("2014-10-01", None))
    tree = lxml.html.fromstring(out.read_text())
    for index, (head, line) in enumerate(zip(run.metrics["heads"], told["heads"], strict=True)):
        fields, arrays = unpack(tree.get_element_by_id(f"block-{index}").text)
        one = flows.sel(site_no=head["site_no"], time=rain["time"].values)
        seen = np.isfinite(one["observed"].values)
        simulated, observed = (one[n].values[seen].astype(float) for n in ("simulated", "observed"))
        assert line["nse"] == pytest.approx([head["nse"], nse(simulated / 2, observed)], abs=1e-5)
        assert line["nse_difference"] == pytest.approx([line["nse"][1] - line["nse"][0]])
        assert line["best"] == ("half" if line["nse"][1] > line["nse"][0] else "run")
        np.testing.assert_allclose(arrays["run1"], one["simulated"] / 2, rtol=3e-3)
        np.testing.assert_allclose(arrays["observed"], one["observed"], rtol=3e-3)
        site = rain.sel(site_no=head["site_no"])
        np.testing.assert_allclose(arrays["rain"], site, rtol=3e-3, atol=1e-6)
        peak = fields["floods"][0]
        assert peak["observed"] == pytest.approx(observed.max())
        assert peak["simulated"][1] == pytest.approx(peak["simulated"][0] / 2)

    refused = compare(tiny_run, half, "--store", tmp_path / "gone.zarr", "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "gone.zarr" in refused.stderr
    assert not (tmp_path / "no").exists()
    assert compare(tiny_run).exit_code == 2
