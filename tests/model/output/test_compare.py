"""Comparison of runs: scores, intervals and counts against other computations, and the page."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pandas as pd
import pytest
import yaml

from model.evaluation.metrics import nse
from model.output.report.blocks import unpack
from model.output.report.compare_page import as_record, page
from model.output.report.comparison import Comparison, compare_runs, names_of
from model.output.run_directory import Run
from pipeline.errors import InputError
from tests.model.output.made_up_report import OUTLINE, made_up_outlines
from tests.model.output.made_up_runs import (
    START,
    made_up_comparison,
    made_up_panel,
    made_up_river,
    made_up_times,
    write_run,
)
from tests.model.output.pages import CHROMIUM, MB, draw, require_offline, words

SITES = ("01", "02", "03")
HOURS_OF_A_YEAR = 8784
NOISE = {"a": {"01": 0.1, "02": 0.5, "03": 1.0}, "b": {"01": 0.5, "02": 0.1, "03": 1.01}}
Write = Callable[..., Path]


def write_named(
    folder: Path,
    name: str,
    times: pd.DatetimeIndex | None = None,
    sites: tuple[str, ...] = SITES,
    scale: float = 1.0,
    **chosen: Any,
) -> Path:
    """Write a run of daily rivers, with more or less noise by site."""
    times = made_up_times() if times is None else times
    observed = {site: scale * made_up_river(times, int(site)) for site in sites}
    simulated = {}
    for site, flow in observed.items():
        rng = np.random.default_rng([ord(name[0]), int(site)])
        noise = NOISE.get(name, NOISE["a"])[site] * np.nanstd(flow)
        simulated[site] = np.nan_to_num(flow, nan=1.0) + noise * rng.normal(0, 1, flow.size)
    return write_run(folder / name, simulated, observed, times, **chosen)


@pytest.fixture
def write(tmp_path: Path, pair: tuple[Path, Path]) -> Write:
    """Function that writes a run; "a" with nothing else is a copy."""

    def write_one(name: str, *others: Any, **chosen: Any) -> Path:
        if name == "a" and not others and not chosen:
            return shutil.copytree(pair[0], tmp_path / name)
        return write_named(tmp_path, name, *others, **chosen)

    return write_one


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return write_named(folder, "a"), write_named(folder, "b", seed=3)


@pytest.fixture(scope="module")
def compared(pair: tuple[Path, Path]) -> Comparison:
    return compare_runs(pair)


def test_scores_are_those_of_the_runs(compared: Comparison) -> None:
    for candidate in compared.candidates:
        row = compared.names.index(candidate.name)
        for site in compared.sites:
            head = candidate.heads[site.site_no]
            for measure, values in site.scores.items():
                assert values[row] == pytest.approx(head[measure], rel=1e-4, abs=1e-4)
    assert not compared.partial
    assert compared.own_floors


def test_the_interval_is_that_of_series_drawn_month_by_month(compared: Comparison) -> None:
    """Drawn as whole series, the same months of both runs."""
    a, b = (Run(one.folder).open_predictions() for one in compared.candidates)
    site = compared.sites[0]
    observed, first, second = (
        one.sel(site_no=site.site_no, time=compared.times).values.astype(float)
        for one in (a["observed"], a["simulated"], b["simulated"])
    )
    n = np.isfinite(observed).sum()
    starts = np.random.default_rng(7).integers(n, size=(3000, round(n / 30), 1))
    drawn = np.flatnonzero(np.isfinite(observed))[(starts + np.arange(30)) % n].reshape(3000, -1)
    spread = observed[drawn].var(1) * drawn.shape[1]
    losses = [((one - observed)[drawn] ** 2).sum(1) / spread for one in (first, second)]
    low, high = np.percentile(losses[0] - losses[1], (5, 95))
    ((found_low, found_high),) = site.intervals
    assert found_low == pytest.approx(low, abs=0.1 * (high - low))
    assert found_high == pytest.approx(high, abs=0.1 * (high - low))
    assert low < site.differences("nse")[0] < high


def test_the_sentence_counts_who_is_ahead_and_where_it_is_beyond_doubt(
    compared: Comparison,
) -> None:
    one, two, three = compared.sites
    assert [site.best for site in (one, two)] == [0, 1]
    assert [site.clear for site in (one, two, three)] == [True, True, False]
    ahead = sum(site.best == 1 for site in compared.sites)
    assert compared.sentence() == (
        f"By NSE, b is ahead of a on {ahead} of 3 watersheds and behind on {3 - ahead}; the 90 % "
        f"interval of the difference excludes 0 on 1 of the {ahead} and on 1 of the {3 - ahead}."
    )
    for site in compared.sites:
        ordered = sorted(site.scores["nse"])
        assert site.margin == pytest.approx(ordered[1] - ordered[0])


def test_equal_runs_are_equal(write: Write, tmp_path: Path) -> None:
    """And a third one is named among the best."""
    first = write("a")
    (tmp_path / "other").mkdir()
    again = first.rename(tmp_path / "other" / "a")
    same = compare_runs([write("a"), again])
    assert same.names == [f"{tmp_path.name}/a", "other/a"]
    for site in same.sites:
        assert (site.best, site.clear, site.intervals) == (None, False, [(0.0, 0.0)])
        assert math.isnan(site.margin)
    assert "ahead of" in same.sentence()
    assert same.sentence().endswith(" on 0 of 3 watersheds and behind on 0; the 90 % interval of "
                                    "the difference excludes 0 on none.")  # fmt: skip
    assert same.differing_settings() == {}
    three = compare_runs([tmp_path / "a", again, write("b")])
    counts = [sum(site.best == i for site in three.sites) for i in range(3)]
    assert counts[:2] == [0, 0]
    assert three.sentence().endswith(f"b on {counts[2]}.")


def test_a_short_test_part_has_no_interval(write: Write) -> None:
    times = made_up_times(days=260)  # from October, so that the test is 47 days
    short = compare_runs([write("a", times), write("b", times)])
    assert short.lacks_interval()
    assert not any(site.clear for site in short.sites)
    assert "There is no interval of the difference" in words(page_of(short))


def test_settings_that_differ_are_listed(write: Write) -> None:
    compared = compare_runs([write("a"), write("b", seed=3, soil=False)])
    assert compared.differing_settings() == {"seed": [0, 3], "soil": [True, False]}
    tree = lxml.html.fromstring(page_of(compared))
    rows = [[cell.text for cell in row] for row in tree.xpath("//table[@class='settings']//tr")]
    assert rows == [["setting", "a", "b"], ["soil", "true", "false"], ["seed", "0", "3"]]


LATER = made_up_times(days=560)
HOURLY = pd.date_range(START, periods=24 * 300, freq="h", unit="ns")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"sites": ("01", "02")}, "b: lacks 03: expected the watersheds of a; `--common`"),
        ({"sites": (*SITES, "04")}, "b: has 04 besides: expected the watersheds of a"),
        (
            {"times": LATER},
            "b: test part 2015-05-01 00:00:00 to 2016-04-12 00:00:00, 348 steps: expected that of "
            "a, 2015-05-01 00:00:00 to 2016-05-22 00:00:00, 388 steps; `--common`",
        ),
        ({"times": HOURLY}, "b: steps of 1:00:00: expected those of a, 1 day, 0:00:00"),
        (
            {"times": made_up_times(START + pd.Timedelta("6h"))},
            "b: test part 2015-05-01 06:00:00 to",
        ),
        ({"scale": 1.01}, "b: watershed 01: observed discharge at 2015-05-01 00:00:00 is "),
    ],
)
def test_runs_that_do_not_fit_are_refused_in_one_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(NOISE, "b", NOISE["b"] | {"04": 0.1})
    write("a")
    write("b", **other)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        compare_runs([Path("a"), Path("b")])
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    if "scale" in other or other.get("times") is HOURLY:
        with pytest.raises(InputError):
            compare_runs([Path("a"), Path("b")], common=True)


def damage_unfinished(run: Path) -> None:
    (run / "metrics.json").unlink()


def damage_version(run: Path) -> None:
    about = yaml.safe_load((run / "run.yaml").read_text())
    about["settings"]["hiden"] = 3
    (run / "run.yaml").write_text(yaml.safe_dump(about))


def damage_prediction(run: Path) -> None:
    Run(run).write_prediction(0, np.full(600, np.nan), made_up_river(made_up_times(), 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_unfinished, "expected a finished run"),
        (damage_version, "hiden"),
        (damage_prediction, "watershed 01: no simulation at 2015-05-01"),
    ],
)
def test_a_run_that_cannot_be_scored_is_named(
    write: Write, damage: Callable[[Path], None], said: str
) -> None:
    good, bad = write("a"), write("b")
    damage(bad)
    with pytest.raises(InputError, match=said) as refused:
        compare_runs([good, bad])
    assert str(bad) in str(refused.value)


def test_one_run_or_one_twice_is_refused(write: Write) -> None:
    run = write("a")
    with pytest.raises(InputError, match="1 run: expected two or more"):
        compare_runs([run])
    with pytest.raises(InputError, match="a: given twice: expected runs that differ"):
        compare_runs([run, write("b"), run.parent / "b" / ".." / "a"])


def test_what_is_common_is_compared_if_it_is_said(write: Write) -> None:
    """One run lacks a watershed, days at its end, and an observation."""
    longer, shorter = write("a"), write("b", LATER, ("02", "03"))
    run = Run(shorter)
    flows = run.open_predictions().sel(site_no="02").load()
    lost = int(np.flatnonzero(np.isfinite(flows["observed"].values[300:]))[0]) + 300
    observed = flows["observed"].values.copy()
    observed[lost] = np.nan
    run.write_prediction(0, flows["simulated"].values, observed)
    found = compare_runs([longer, shorter], common=True)
    assert [site.site_no for site in found.sites] == ["02", "03"]
    assert found.partial
    assert not found.own_floors
    assert found.times.equals(LATER[LATER >= "2015-05-01"])
    for row, folder in enumerate((longer, shorter)):
        part = Run(folder).open_predictions().sel(site_no="02", time=found.times)
        expected = nse(part["simulated"].values, observed[-len(found.times) :])
        assert found.sites[0].scores["nse"][row] == pytest.approx(expected, rel=1e-6)
    text = words(page_of(found))
    assert "what one of them lacks is left out" in text
    assert "Floors have no scores" in text
    assert (
        "ridge"
        not in json.loads(lxml.html.fromstring(page_of(found)).get_element_by_id("run").text)[
            "floors"
        ]
    )
    with pytest.raises(InputError, match=r"at 2015-.* is nan m3/s: expected .*`--common`"):
        compare_runs([write("c", LATER, ("02", "03")), shorter])


def test_folders_are_named_by_what_tells_them_apart() -> None:
    paths = [Path("/x/one/predicted"), Path("/x/two/predicted"), Path("/x/two/other")]
    assert names_of(paths[1:]) == ["predicted", "other"]
    assert names_of(paths) == ["one/predicted", "two/predicted", "two/other"]


def page_of(comparison: Comparison) -> str:
    heads, runs = len(comparison.sites), len(comparison.names)
    return page(comparison, [made_up_panel(200, runs)] * heads, [OUTLINE] * heads)


def test_the_page_holds_all_numbers(compared: Comparison) -> None:
    text = page_of(compared)
    require_offline(text)
    tree = lxml.html.fromstring(text)
    data = json.loads(tree.get_element_by_id("run").text)
    record = as_record(compared)
    assert compared.sentence() in words(text)
    rows = tree.xpath("//tr[@data-head]")
    for site, head, row, line in zip(
        compared.sites, data["heads"], rows, record["heads"], strict=True
    ):
        first, second = site.scores["nse"]
        ((low, high),) = site.intervals
        shown = [" ".join(cell.text_content().split()) for cell in row]
        assert shown == [
            f"Creek {site.site_no}",
            f"{first:.3f}",
            f"{second:.3f}",
            f"{second - first:+.3f} {low:+.2f} to {high:+.2f}",
        ]
        for measure, scores in site.scores.items():
            expected = [*scores, scores[1] - scores[0]]
            assert head["values"][measure] == pytest.approx(expected, rel=1e-5)
            assert len(head["cells"][measure]) == 3
            assert line[measure] == scores
        strong = [cell[2] for cell in head["cells"]["nse"]]
        assert strong == [first > second, second > first, site.clear]
        bias = [abs(value) for value in site.scores["pbias"]]
        assert head["cells"]["pbias"][int(np.argmin(bias))][2]
    medians = [cell.text_content().strip() for cell in tree.xpath("//tfoot//td")]
    assert medians[0] == f"{np.median([site.scores['nse'][0] for site in compared.sites]):.3f}"


def test_floors_that_differ_have_the_name_of_their_run(write: Write) -> None:
    first, second = write("a"), write("b")
    metrics = Run(second).metrics
    metrics["heads"][0]["ridge_nse"] += 0.1
    (second / "metrics.json").write_text(json.dumps(metrics).replace("NaN", "null"))
    assert "ridge of a, median NSE" in words(page_of(compare_runs([first, second])))
    assert "ridge of" not in words(page_of(compare_runs([first, write("c")])))


def test_texts_are_escaped(write: Write) -> None:
    nasty = '[/old]<script>alert("1")<'  # a folder's name holds no slash
    compared = compare_runs([write("a"), write("b" + nasty.replace("/", ""))])
    tree = lxml.html.fromstring(page_of(compared))
    assert tree.findtext(".//h1") == f"Creeks: a, b{nasty.replace('/', '')}"
    plain = lxml.html.fromstring(page_of(compare_runs([compared.candidates[0].folder, write("c")])))
    assert len(tree.xpath("//script")) == len(plain.xpath("//script"))


@pytest.mark.parametrize(
    ("heads", "runs", "limit"), [(23, 2, 5 * MB), (500, 2, 30 * MB), (500, 3, 30 * MB)]
)
def test_the_page_is_small(heads: int, runs: int, limit: int) -> None:
    block = made_up_panel(HOURS_OF_A_YEAR, runs)
    text = page(made_up_comparison(heads, runs), [block] * heads, made_up_outlines(heads))
    assert len(text.encode()) < limit


def test_a_block_is_rounded_to_two_parts_in_a_thousand() -> None:
    _, arrays = unpack(made_up_panel(500, 2))
    assert list(arrays) == ["observed", "rain", "run0", "run1"]
    bits = arrays["observed"].view("<u4")
    assert not (bits & 0x7FFF).any()


ACTIONS = """
  const rows = [...document.querySelectorAll("tbody tr[data-head]")];
  const names = () => [...document.querySelectorAll("tr[data-head]:not([hidden])")].map(row => row.dataset.head).join("");
  const click = key => document.querySelector(`[data-measure="${key}"]`).click();
  found.wide = document.documentElement.scrollWidth > innerWidth;
  found.colours = source.data.head.map((head, i) => [head, source.data.colour[i], source.data.hatch[i]]).sort();
  click("2");
  found.nse = names();
  const select = document.getElementById("measure");
  select.value = "rmse";
  select.dispatchEvent(new Event("change"));
  click("0");
  click("0");
  found.rmse = names();
  found.cells = rows.map(row => row.cells[1].textContent);
  found.heading = document.querySelector("thead .measure").textContent;
  choose(1, true);
  await wait();
  for (const button of document.querySelectorAll("details[open] button")) button.click();
  await wait();
  found.opened = location.hash;
  found.wideOpened = document.documentElement.scrollWidth > innerWidth;
"""  # noqa: E501 lines of JavaScript


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_draws_sorts_and_chooses_a_measure(
    compared: Comparison, tmp_path: Path, width: int
) -> None:
    text = page(compared, [made_up_panel(500, 2)] * 3, made_up_outlines(3))
    found, tree = draw(text, ACTIONS, tmp_path, width)
    rmse = [site.scores["rmse"] for site in compared.sites]
    difference = [site.differences("nse")[0] for site in compared.sites]
    assert found.pop("colours") == [
        [i, found_colour(site.best, site.margin), "blank" if site.clear else "right_diagonal_line"]
        for i, site in enumerate(compared.sites)
    ]
    assert found == {
        "wide": False,
        "wideOpened": False,
        "nse": "".join(str(i) for i in np.argsort(difference)[::-1]),
        "rmse": "".join(str(i) for i in np.argsort([one[0] for one in rmse])),
        "cells": [f"{one[0]:.3g}" for one in rmse],
        "heading": "RMSE, m³ s⁻¹",
        "opened": "#head-1",
    }
    titles = [caption.text.strip() for caption in tree.xpath("//figcaption")]
    assert titles == [
        "Watersheds by the run with the highest NSE",
        "Distribution of NSE over the heads",
        "Hydrograph of the test part",
        "Flow-duration curve",
        "Observed against a",
        "Observed against b",
    ]
    drawn = tree.xpath("//figure/div[@role='img']")
    assert all(len(one) and len(one.get("aria-label")) > 30 for one in drawn)


def found_colour(best: int | None, margin: float) -> str:
    """Blue and orange of the two runs, paler where the margin is small."""
    assert best is not None
    strength = 0.35 if margin < 0.02 else 0.65 if margin < 0.1 else 1.0
    colour = ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00))[best]
    parts = [255 + strength * (part - 255) for part in colour]
    return "#" + "".join(f"{math.floor(part + 0.5):02x}" for part in parts)
