"""What a report and the terminal's table say of scores that are undefined."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.console import Console

from model.output.progress import skill_table
from model.output.report import page

KEYS = ("kge", "pbias", "fhv", "peak_error", "peak_lag", "rmse", "velocity", "cells", "n_test")


def metrics(**scores: float) -> dict[str, Any]:
    head = dict.fromkeys(KEYS, 1.0) | {"site_no": "01", "name": "Creek", "snow": None}
    floors = {f"{name}_nse": 0.5 for name in ("persistence", "climatology", "ridge")}
    interval = {"nse": 0.7, "nse_low": math.nan, "nse_high": math.nan}
    return {
        "title": "Creeks",
        "variant": "multihead",
        "split": "train, validation, test",
        "history": False,
        "synthetic": False,
        "seconds": {"total": 1.0, "busy_max": 1.0, "busy_mean": 1.0},
        "cluster": {"workers": 1},
        "heads": [head | floors | interval | scores],
    }


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
    assert ("<tr class=loses>" in page(metrics(**scores))) == loses
    (style, _) = (row.style for row in skill_table(metrics(**scores)).rows)
    assert (style == "yellow") == loses


def test_an_undefined_score_is_a_dash_and_a_short_test_has_no_interval() -> None:
    undefined = metrics(climatology_nse=math.nan)
    said = printed(undefined)
    assert "no interval of NSE: it takes 180 days of discharge in the test part" in said
    assert "\u2013" in said
    assert "There is no interval of NSE" in page(undefined)
    known = metrics(nse_low=0.6, nse_high=0.8)
    for text in (printed(known), page(known)):
        assert "no interval" not in text
    for text in (said, page(undefined)):
        assert "nan" not in text
