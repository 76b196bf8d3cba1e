"""Small made-up watersheds, built without a store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from model.inputs.split import Split
from model.inputs.watershed import HeadData
from model.settings import Settings


def build_head(
    site_no: str = "01", rows: int = 6, columns: int = 5, years: int = 4, forcings: int = 2
) -> HeadData:
    """Make a watershed with random rain and runoff from a linear reservoir."""
    rng = np.random.default_rng(int(site_no))
    times = pd.date_range("2010-10-01", periods=365 * years + 1, freq="D", unit="ns")
    coverage = rng.uniform(0, 1, (rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.7)
    coverage[0, 0], coverage[-1, -1] = 0.5, 1.0
    inside = coverage > 0
    coverage = coverage[inside]
    share = coverage / coverage.sum()
    rain = rng.gamma(0.3, 12, (len(times), coverage.size))
    depth = rain @ share
    runoff, stored = np.zeros(len(times)), 5.0
    for t, fall in enumerate(depth):
        stored += fall
        runoff[t] = 0.15 * stored
        stored -= runoff[t] + min(stored - runoff[t], 1.5)
    runoff[40:50] = np.nan
    split = Split.of(times, Settings())
    others = [f"forcing {i}" for i in range(forcings - 2)]
    area = 6e7 * coverage.sum()
    warm = np.sin(np.arange(len(times)) / 365 * 2 * np.pi)[:, None] * np.ones(coverage.size)
    return HeadData(
        site_no=site_no,
        name=f"Creek {site_no}",
        synthetic=True,
        area=area,
        step_seconds=86400.0,
        interval_end=86400.0,
        times=times,
        dates=times,
        inside=inside,
        channels=("precipitation", "temperature", *others),
        forcing=np.stack([rain, *[warm] * (forcings - 1)], 1).astype(np.float32),
        demand=np.full(rain.shape, 1.5, np.float32),
        attributes=np.zeros(5, np.float32),
        coverage=coverage.astype(np.float32),
        share=share.astype(np.float32),
        distance=rng.uniform(2e3, 9e4, coverage.size).astype(np.float32),
        discharge=runoff * area / 86400e3,
        runoff=runoff.astype(np.float32),
        split=split,
        snow=None,
        rain_scale=float(depth.std()),
        runoff_scale=float(np.nanstd(runoff)),
        runoff_mean=float(np.nanmean(runoff)),
        standard=dict.fromkeys(("temperature", *others), (0.0, 1.0)),
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Use one thread, as on a worker; more only slow such small networks down."""
    torch.set_num_threads(1)


@pytest.fixture
def make_head() -> Callable[..., HeadData]:
    return build_head
