"""Names of the measures, and what a report says of heads beside their floors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from model.evaluation.metrics import median_known
from model.output.heads_table import number
from model.output.progress import FLOORS

NAMED_HEADS = 3  # of those that lose to a floor; the others are counted


class Measure(NamedTuple):
    """A score of a head as people read it.

    Attributes:
        name: with its unit.
        form: of a number.
        meaning: one sentence.
        main: whether a phone shows it in the table.
    """

    name: str
    form: str
    meaning: str
    main: bool = False


MEASURES = {
    "nse": Measure(
        "NSE",
        "{:.3f}",
        "Nash-Sutcliffe efficiency: 1 is perfect, 0 is as good as the mean of the observations.",
        main=True,
    ),
    "nse_low": Measure(
        "NSE, 5 %",
        "{:.3f}",
        "Lower end of the interval of NSE when months of the test part are drawn with replacement.",
    ),
    "nse_high": Measure("NSE, 95 %", "{:.3f}", "Upper end of the same interval."),
    "persistence_nse": Measure(
        "persistence NSE",
        "{:.3f}",
        "NSE of the floor that repeats the observed discharge of the step before.",
    ),
    "climatology_nse": Measure(
        "climatology NSE",
        "{:.3f}",
        "NSE of the floor that is the mean discharge of the season in the training part.",
    ),
    "ridge_nse": Measure(
        "ridge NSE",
        "{:.3f}",
        "NSE of the floor that is a regression on lagged rain, wetness and season.",
        main=True,
    ),
    "kge": Measure(
        "KGE",
        "{:.3f}",
        "Kling-Gupta efficiency: 1 is perfect; its parts are r, \u03b1 and \u03b2.",
        main=True,
    ),
    "kge_r": Measure("KGE r", "{:.3f}", "Correlation of simulated and observed discharge."),
    "kge_alpha": Measure("KGE \u03b1", "{:.3f}", "Ratio of their standard deviations."),
    "kge_beta": Measure("KGE β", "{:.3f}", "Ratio of their means."),
    "pbias": Measure("PBIAS, %", "{:+.1f}", "Percent bias: positive is too much water."),
    "fhv": Measure("FHV, %", "{:+.1f}", "Bias of the highest 2 % of flows."),
    "peak_error": Measure(
        "peak error, %", "{:+.0f}", "Error of the highest observed discharge.", main=True
    ),
    "peak_lag": Measure(
        "peak lag, steps", "{:.1f}", "Mean distance in time between observed and simulated peaks."
    ),
    "rmse": Measure("RMSE, m³ s⁻¹", "{:.3g}", "Root of the mean squared error."),
    "n_test": Measure("test steps", "{:.0f}", "Steps of the test part with an observation."),
    "cells": Measure("cells", "{:.0f}", "Cells of the grid that touch the watershed."),
    "velocity": Measure("velocity, m s⁻¹", "{:.2f}", "Learned speed of water along the flow path."),
    "dispersion": Measure("dispersion, m² s⁻¹", "{:.0f}", "Learned spread of travel times."),
}


def measures_of(heads: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """Return the measures that all heads have, in their order."""
    return {key: one for key, one in MEASURES.items() if all(key in head for head in heads)}


def medians(heads: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the median of each measure over the heads where it is defined, as text."""
    return {
        key: number(measure.form, median_known([head[key] for head in heads]))
        for key, measure in measures_of(heads).items()
    }


def verdict(heads: Sequence[Mapping[str, Any]], history: bool) -> str:
    """Say in one sentence which heads lose to which floor.

    Args:
        heads: of metrics.json, NaN for an undefined score.
        history: whether the heads know the discharge of the step before.
    """
    parts = []
    for floor in reversed(FLOORS):
        scored = [head for head in heads if not math.isnan(head[f"{floor}_nse"])]
        losers = [head["name"] for head in scored if head["nse"] < head[f"{floor}_nse"]]
        if not scored:
            parts.append(f"{floor} has no score")
        elif not losers:
            parts.append(f"none loses to {floor}")
        else:
            parts.append(f"{len(losers)} {'loses' if len(losers) == 1 else 'lose'} to {floor}")
            if len(losers) < len(heads):
                named = ", ".join(losers[:NAMED_HEADS])
                more = len(losers) - NAMED_HEADS
                parts[-1] += f" ({named}{f' and {more} more' if more > 0 else ''})"
    text = f"Of {len(heads)} {'head' if len(heads) == 1 else 'heads'}, by NSE, {', '.join(parts)}"
    return text + (
        "." if history else ", which unlike the heads knows the discharge of the step before."
    )
