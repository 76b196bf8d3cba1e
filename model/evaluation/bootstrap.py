"""How far a score rests on the floods that happened to fall into the test years.

A few days of flood make up most of both sums in an NSE, so that a year tells it within a tenth or
so, and a difference between two models on one year may be one storm. The block bootstrap says by
how much: months are drawn with replacement until they are as many as there were, and scored again.

What it cannot know is a flood larger than all that were seen. On a made-up river the interval from
the 5th to the 95th percentile of one year's samples held the NSE of 400 years in 80 % of the years,
not in 90 % (tested).

Source: Clark et al. (2021), Water Resour. Res. 57, e2020WR029001, doi:10.1029/2020WR029001, with
blocks of a month in place of their water years, as test periods of one or two years are common.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.evaluation.metrics import Array, paired
from pipeline.units import SECONDS_PER_DAY

BLOCK_DAYS = 30.0  # floods and the errors of their recessions are over in a month
LEAST_BLOCKS = 6  # fewer say nothing about each other
SAMPLES = 1000
INTERVAL = (5.0, 95.0)  # percentiles


def nse_samples(simulated: npt.ArrayLike, observed: npt.ArrayLike, step_seconds: float) -> Array:
    """NSE of bootstrap samples of the record, (S,).

    The draws depend on the number of observations alone: samples of two simulations of the same
    observations belong together, and their differences are those of a paired comparison. NaN for a
    sample of constant observations, and all of them for less than 180 days. Raises ValueError as
    `metrics.paired` does.

    Args:
        simulated, observed: (T,) [m3 s-1].
        step_seconds: length of a step.
    """
    sim, obs = paired(simulated, observed)
    block = max(1, round(BLOCK_DAYS * SECONDS_PER_DAY / step_seconds))
    if obs.size < LEAST_BLOCKS * block:
        return np.full(SAMPLES, np.nan)
    drawn = round(obs.size / block)
    first = np.random.default_rng(0).integers(obs.size, size=(SAMPLES, drawn))

    def summed(values: Array) -> Array:  # over the blocks of each sample, (S,); ends meet
        ends = np.concatenate([[0.0], values, values[: block - 1]]).cumsum()
        sums: Array = (ends[block:] - ends[:-block])[first].sum(-1)
        return sums

    centred = obs - obs.mean()  # the spread of a sample does not mind, its rounding does
    spread = summed(centred**2) - summed(centred) ** 2 / (drawn * block)
    spread[spread <= 1e-9 * np.square(centred).sum()] = np.nan
    samples: Array = 1 - summed((sim - obs) ** 2) / spread
    return samples


def interval(samples: Array) -> tuple[float, float]:
    """5th and 95th percentile; NaN if more than half of the samples are."""
    known = samples[np.isfinite(samples)]
    if 2 * known.size < samples.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)
