"""The largest floods of a record, observed beside simulated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import find_peaks

SEPARATION_DAYS = 7.0  # between two peaks that are floods of their own
MOST = 5


class Flood(NamedTuple):
    """One flood.

    Attributes:
        step: index of the observed peak.
        observed: its discharge [m3 s-1].
        simulated: the highest simulated one within the window [m3 s-1].
        peak_error: of `simulated` [%].
        lag: steps from the observed to the simulated peak, positive if late.
    """

    step: int
    observed: float
    simulated: float
    peak_error: float | None
    lag: int


def largest_floods(
    observed: np.ndarray, simulated: np.ndarray, step_seconds: float, window: int
) -> list[Flood]:
    """Find the largest floods, the largest first; its error is `metrics.peak_error`.

    Args:
        observed, simulated: (T,) [m3 s-1] on even steps, NaN where missing.
        step_seconds: length of a step.
        window: steps before and after an observed peak in which the simulated one is sought.
    """
    seen = np.isfinite(observed) & np.isfinite(simulated)
    known = np.pad(np.where(seen, observed, -np.inf), 1, constant_values=-np.inf)
    distance = max(1.0, SEPARATION_DAYS * 86_400 / step_seconds)
    peaks, tops = find_peaks(known, distance=distance, plateau_size=1)
    first = tops["left_edges"][np.argsort(-known[peaks], kind="stable")][:MOST] - 1
    floods = []
    for step in first.tolist():
        start = max(0, step - window)
        near = np.where(seen, simulated, -np.inf)[start : step + window + 1]
        highest, top = float(near.max()), float(observed[step])
        error = 100 * (highest - top) / top if top else None
        floods.append(Flood(step, top, highest, error, start + int(near.argmax()) - step))
    return floods
