"""The report: one page that holds every score, escapes its texts and needs no network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from rich.console import Console

from model.output.progress import skill_table
from model.output.report.measures import verdict
from model.output.report.write import page
from pipeline.json_text import as_json
from tests.model.output.made_up_report import (
    ABOUT,
    OUTLINE,
    made_up_block,
    made_up_metrics,
    made_up_outlines,
)
from tests.model.output.pages import CHROMIUM, MB, draw, require_offline, words

HOURS_OF_A_YEAR = 8784


def one_head(**scores: Any) -> dict[str, Any]:
    """Metrics of one head that wins by 0.2."""
    metrics = made_up_metrics("Creek")
    floors = {f"{name}_nse": 0.5 for name in ("persistence", "climatology", "ridge")}
    metrics["heads"][0] |= {"nse": 0.7, **floors, **scores}
    return metrics


def page_of(metrics: dict[str, Any]) -> str:
    heads = len(metrics["heads"])
    return page(metrics, ABOUT, [made_up_block(100)] * heads, [OUTLINE] * heads)


def printed(of: dict[str, Any]) -> str:
    console = Console(width=200)
    with console.capture() as said:
        console.print(skill_table(of))
    return said.get()


@pytest.mark.parametrize(
    ("scores", "loses"),
    [
        ({}, False),
        ({"ridge_nse": 0.8}, True),
        ({"climatology_nse": math.nan, "ridge_nse": 0.8}, True),
        ({"climatology_nse": math.nan}, False),
        ({"persistence_nse": 0.9}, False),
        ({"nse": math.nan}, False),
    ],
)
def test_a_head_that_loses_to_ridge_or_climatology_is_shaded(
    scores: dict[str, float], loses: bool
) -> None:
    assert ('class="loses"' in page_of(one_head(**scores))) == loses
    (style, _) = (row.style for row in skill_table(one_head(**scores)).rows)
    assert (style == "yellow") == loses


def test_an_undefined_score_is_a_dash_and_a_short_test_has_no_interval() -> None:
    undefined = one_head(climatology_nse=math.nan)
    said, text = printed(undefined), words(page_of(undefined))
    assert "no interval of NSE: it takes 180 days of discharge in the test part" in said
    assert "There is no interval of NSE" in text
    known = one_head(nse_low=0.6, nse_high=0.8)
    for other in (printed(known), words(page_of(known))):
        assert "no interval" not in other
    for one in (said, text):
        assert "nan" not in one.lower()
        assert "\u2013" in one


def test_the_verdict_names_the_losers_of_each_floor() -> None:
    heads = made_up_metrics(*"ABCDEFGH")["heads"]
    for i, head in enumerate(heads):
        head |= {"nse": 0.5, "ridge_nse": 0.6 if i == 2 else 0.4}
        head |= {"climatology_nse": math.nan if i else 0.1, "persistence_nse": 0.9 if i else 0.2}
    expected = (
        "Of 8 heads, by NSE, 1 loses to ridge (C), none loses to climatology, "
        "7 lose to persistence (B, C, D and 4 more)"
    )
    assert verdict(heads, history=True) == expected + "."
    assert verdict(heads, history=False).startswith(expected + ", which unlike the heads knows")
    alone = [heads[1]]
    assert verdict(alone, history=True) == (
        "Of 1 head, by NSE, none loses to ridge, climatology has no score, 1 loses to persistence."
    )


def test_the_page_holds_all_numbers() -> None:
    metrics = made_up_metrics("A", "B", "C")
    metrics["heads"][1] |= {"nse": math.nan, "snow": {"melt_factor": 2.5}}
    tree = lxml.html.fromstring(page_of(metrics))
    data = json.loads(tree.get_element_by_id("run").text)
    assert data["heads"] == json.loads(as_json(metrics["heads"]))
    shown = [[cell.text_content() for cell in row] for row in tree.xpath("//tbody/tr")]
    assert [row[0] for row in shown] == [f"{name} (0000000{i + 1})" for i, name in enumerate("ABC")]
    assert [row[1] for row in shown][::2] == [f"{metrics['heads'][i]['nse']:.3f}" for i in (0, 2)]
    assert all(len(row) == 1 + len(data["measures"]) for row in shown)
    assert "synthetic data" in words(page_of(metrics))
    assert "synthetic data" not in words(page_of(metrics | {"synthetic": False}))


def test_texts_are_escaped() -> None:
    nasty = 'Basin [/old]<script>alert("1")</script><!-- & {{ title }}'
    metrics = made_up_metrics(nasty, "B") | {"title": nasty}
    tree, plain = (
        lxml.html.fromstring(page_of(one)) for one in (metrics, made_up_metrics("A", "B"))
    )
    assert tree.findtext(".//h1") == tree.findtext(".//title") == nasty
    assert len(tree.xpath("//script")) == len(plain.xpath("//script"))
    data = json.loads(tree.get_element_by_id("run").text)
    assert data["heads"][0]["name"] == nasty
    assert not [node for node in tree.iter() if node.tag is lxml.etree.Comment]


def test_the_page_needs_no_network_and_every_label_its_element() -> None:
    require_offline(page_of(made_up_metrics("A")))


@pytest.mark.parametrize(("heads", "limit"), [(23, 5 * MB), (500, 30 * MB)])
def test_the_page_is_small(heads: int, limit: int) -> None:
    block = made_up_block(HOURS_OF_A_YEAR)
    metrics = made_up_metrics(*(f"Creek {i} near a Town" for i in range(heads)))
    assert len(page(metrics, ABOUT, [block] * heads, made_up_outlines(heads)).encode()) < limit


ACTIONS = """
  const rows = "tbody tr[data-head]:not([hidden]) a";
  const names = () => [...document.querySelectorAll(rows)].map(a => a.text[0]).join("");
  found.figures = document.querySelectorAll("figure").length;
  for (const key of ["nse", "nse"]) {
    document.querySelector(`[data-measure=${key}]`).click();
    found[document.querySelector(`th:has([data-measure=${key}])`).ariaSort] = names();
  }
  const search = document.getElementById("search");
  search.value = "b";
  search.dispatchEvent(new Event("input"));
  found.search = names() + document.querySelectorAll("details.head:not([hidden])").length;
  source.selected.indices = [0, 2];
  await wait();
  found.tapped = location.hash === `#head-${source.data.head[2]}`;
  choose(2);
  await wait();
  for (const button of document.querySelectorAll("details[open] button")) button.click();
  await wait();
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_sorts_searches_and_links(tmp_path: Path) -> None:
    metrics = made_up_metrics("A", "B", "C")
    for head, nse in zip(metrics["heads"], (0.1, math.nan, 0.3), strict=True):
        head |= {"nse": nse}
    blocks = [made_up_block(500), made_up_block(500), made_up_block(500, bare=True)]
    text = page(metrics, ABOUT, blocks, made_up_outlines(3))
    found, tree = draw(text, ACTIONS, tmp_path, address="#head-1")
    assert found == {
        "figures": len(TITLES),
        "descending": "CAB",
        "ascending": "ACB",  # undefined last
        "search": "B1",
        "tapped": True,
    }
    titles = [caption.text.strip() for caption in tree.xpath("//figcaption")]
    assert titles[: len(TITLES)] == TITLES
    drawn = tree.xpath("//figure/div[@role='img']")
    assert len(drawn) == len(titles)
    assert all(len(one) and len(one.get("aria-label")) > 30 for one in drawn)
    assert 1 < len(tree.xpath("//details[@id='head-1']//tbody/tr")) <= 5
    bare = [one.text.strip() for one in tree.xpath("//details[@id='head-2']//figcaption")]
    assert bare == ["Hydrograph of the test part", "Parts of KGE"]


TITLES = [
    "Watersheds by NSE",
    "Distribution of NSE over the heads",
    "Hydrograph of the test part",
    "Flow-duration curve",
    "Observed against simulated",
    "Parts of KGE",
    "Learned travel time",
    "Contribution of the cells",
    "Learning",
]
