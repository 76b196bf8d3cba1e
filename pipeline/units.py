"""Conversions, each a named constant with its algebra beside it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

M_PER_FT = 0.3048  # international foot, exact
M3_PER_FT3 = M_PER_FT**3  # (0.3048 m)^3
M_PER_MILE = 1609.344  # 5280 ft, exact
M2_PER_MI2 = M_PER_MILE**2
M2_PER_KM2 = 1e6
MM_PER_M = 1000.0

DISCHARGE_M3_S = {"m3/s": 1.0, "ft3/s": M3_PER_FT3}  # multiply by this to get m3 s-1
AREA_M2 = {"m2": 1.0, "km2": M2_PER_KM2, "mi2": M2_PER_MI2}  # multiply by this to get m2

Depth = TypeVar("Depth", float, np.ndarray)


def runoff_depth(discharge: Depth, area: float, step_seconds: float) -> Depth:
    """Runoff [mm per step] of a discharge [m3 s-1] from `area` [m2] in steps of `step_seconds`."""
    return discharge * (step_seconds / area * MM_PER_M)


def discharge_of(runoff: Depth, area: float, step_seconds: float) -> Depth:
    """Discharge [m3 s-1] of a runoff depth [mm per step]: the inverse of `runoff_depth`."""
    return runoff * (area / (step_seconds * MM_PER_M))
