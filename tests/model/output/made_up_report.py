"""A made-up run of any number of heads, as a page is written from it; also from a shell:

python -m tests.model.output.made_up_report HEADS STEPS FILE
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from model.output.report.blocks import pack
from model.output.report.floods import largest_floods
from model.output.report.write import page

HOUR_MS = 3_600_000
ABOUT: dict[str, Any] = {
    "settings": {"updates": 300, "variant": "multihead"},
    "store": "somewhere.zarr",
    "provenance": "0123abcd",
    "versions": {"dom-st": "0.1.0"},
    "revision": None,
}
OUTLINE = "POLYGON ((0 0, 0 1, 1 1, 1 0, 0 0))"


def made_up_metrics(*names: str, seed: int = 0) -> dict[str, Any]:
    """The content of a metrics.json with made-up scores."""
    rng = np.random.default_rng(seed)
    keys = ("nse", "persistence_nse", "climatology_nse", "ridge_nse", "kge", "kge_r", "kge_alpha")
    others = ("kge_beta", "velocity", "rmse", "peak_lag")
    heads = [
        {"site_no": f"{i + 1:08}", "name": name}
        | {key: float(1 - rng.gamma(2, 0.25)) for key in keys}
        | {key: float(rng.gamma(4, 0.25)) for key in others}
        | {key: float(rng.normal(0, 20)) for key in ("pbias", "fhv", "peak_error")}
        | {"nse_low": math.nan, "nse_high": math.nan, "n_test": 700, "cells": 9, "snow": None}
        | {"dispersion": 2000.0, "truncated": 0.01, "validation_nse": 0.5}
        | {"kept_update": 200, "updates": 300, "seconds": 1.0}
        for i, name in enumerate(names)
    ]
    return {
        "title": "Creeks",
        "variant": "multihead",
        "split": "train 2014, validation 2015, test 2016",
        "history": False,
        "synthetic": True,
        "seconds": {"total": 1.0, "fit": 1.0, "busy_max": 1.0, "busy_mean": 1.0},
        "cluster": {"workers": 1, "gpus": 0},
        "heads": heads,
        "median_nse": float(np.median([head["nse"] for head in heads])),
    }


def made_up_block(steps: int, seed: int = 0, *, bare: bool = False) -> str:
    """The block of a panel with `steps` hours of a made-up river.

    A bare one has no observation, no rain and nothing learned.
    """
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.3, 4, steps) * (rng.random(steps) < 0.1)
    shape = np.exp(-np.arange(300) / 40)
    observed = np.convolve(rain, shape)[:steps] + 1 + 0.02 * rng.normal(0, 1, steps)
    simulated = np.convolve(rain, 0.9 * shape)[:steps] + 1.2 + 0.02 * rng.normal(0, 1, steps)
    start, lags, cells = 1_451_606_400_000, np.arange(60), np.arange(30)
    floods = largest_floods(observed, simulated, 3600.0, 12)
    fields = {
        "step": HOUR_MS,
        "segments": [[start, steps // 2], [start + steps * HOUR_MS, steps - steps // 2]],
        "floods": [
            {
                "time": start + f.step * HOUR_MS,
                "observed": f.observed,
                "simulated": [f.simulated],
                "peak_error": [f.peak_error],
                "lag": [f.lag],
            }
            for f in floods
        ],
        "kept_update": 200,
        "outlet": [0.1, 40.1],
        "cell_size": [1 / 12, 1 / 12],
    }
    arrays = {
        "observed": observed,
        "simulated": simulated,
        "rain": rain,
        "longitude": cells % 5 / 12,
        "latitude": 40 + cells // 5 / 12,
        "kernel": np.exp(-lags / 9) / 9,
        "delivered": rng.gamma(9, 1 / 9, 30),
        "update": np.arange(100.0, 400, 100),
        "loss": np.array([0.1, 0.05, 0.04]),
        "validation_nse": np.array([0.2, 0.5, 0.4]),
    }
    if bare:
        dry = {"observed": np.full(steps, np.nan), "rain": np.zeros(steps)}
        return pack(
            fields | {"floods": []},
            {"simulated": simulated, **dry} | {k: arrays[k] for k in ("longitude", "latitude")},
        )
    return pack(fields, arrays)


def made_up_outlines(heads: int) -> list[str]:
    """Outlines with 400 corners each, on a map of columns and rows."""
    columns, angle = math.ceil(math.sqrt(heads)), np.linspace(0, 2 * np.pi, 400, endpoint=False)
    found = []
    for i in range(heads):
        radius = 0.4 + 0.06 * np.sin(7 * angle + i) + 0.02 * np.sin(41 * angle)
        x, y = i % columns + radius * np.cos(angle), 35 + i // columns + radius * np.sin(angle)
        found.append(shapely.to_wkt(shapely.Polygon(np.column_stack([x, y]))))
    return found


def made_up_page(heads: int, steps: int) -> str:
    """The page of a made-up run with rivers of `steps` hours."""
    metrics = made_up_metrics(*(f"Creek {i} near a Town" for i in range(heads)))
    blocks = [made_up_block(steps, seed) for seed in range(heads)]
    return page(metrics, ABOUT, blocks, made_up_outlines(heads))


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(made_up_page(int(sys.argv[1]), int(sys.argv[2])))
