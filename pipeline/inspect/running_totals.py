"""Tell running totals from amounts: they fall at their restarts alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inspect.description import OPEN, Description
from pipeline.rasters.files import format_duration

DAY = timedelta(days=1)
LEAST = 4  # steps between two restarts
ROUNDING = 1e-6  # share of the greatest number by which totals may fall


def propose_totals(
    description: Description, values: NDArray[Any], labels: Sequence[datetime]
) -> None:
    """Propose how often totals restart, if values look like totals.

    Args:
        description: to which it is added.
        values: (times, ...).
        labels: of the times, ascending.
    """
    steps = np.diff(values.reshape(len(values), -1), axis=0)
    noise = ROUNDING * float(np.nanmax(np.abs(values), initial=0.0))
    falls = np.flatnonzero((steps < -noise).any(axis=1))
    rises = (steps > noise).any(axis=1)
    if rises.mean() < 0.5:
        return
    if not falls.size:
        text = "never falls: running totals?"
        description.add("as rain", f"{text} (totals: never)")
        description.propose("totals", "never", f"{OPEN}: {text} Amounts have no such key")
        return
    gaps = np.diff(falls)
    step = labels[1] - labels[0]
    stretch = int(gaps[0]) * step if gaps.size else DAY
    regular = bool((gaps == gaps[0]).all()) if gaps.size else falls[0] >= LEAST
    begin = labels[falls[0] + 1] - step  # of the first interval of a stretch, if labels are ends
    since = begin - datetime(begin.year, begin.month, begin.day)
    if stretch < LEAST * step or not regular or DAY % stretch or since % stretch:
        return
    text = f"falls only every {format_duration(stretch)}: running totals?"
    every = format_duration(stretch).replace(" day", "d").replace(" ", "")
    description.add("as rain", f"{text} (totals: {every}, label: end)")
    description.propose("totals", every, f"{OPEN}: {text} Amounts have no such key")
    description.keys.setdefault("label", "end")
