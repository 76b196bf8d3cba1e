"""Describe texts whose first line is a time, and whose other lines are values at equal steps."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from pipeline.inspect.description import (
    OPEN,
    Description,
    add_suspects,
    describe_values,
    suspected_codes,
)
from pipeline.inspect.tables import draw_hydrograph, try_keys
from pipeline.inspect.text_table import number
from pipeline.inspect.time_template import parse_time

FORMATS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # by digits
LEAST = 10  # values


def describe_values_only(description: Description, text: str) -> bool:
    """Add what a text holds as a record without times.

    Returns:
        Whether it is one.
    """
    first, *rest = text.splitlines() or [""]
    form = FORMATS.get(len(first.strip()), "")
    start = parse_time(first.strip(), form) if form else None
    values = [number(line.strip()) for line in rest]
    known = np.array([one for one in values if one is not None])
    if start is None or known.size < max(LEAST, len(rest) - 1):
        return False
    description.add("format", f"text of {known.size} values below a time, {first.strip()!r}")
    description.add("times", f"from {start}, at equal steps that no line states")
    description.add("discharge", describe_values(known))
    description.add("units", "none stated: m3/s, ft3/s, ML/day, mm/day ...")
    description.keys |= {
        "format": "csv",
        "units": OPEN,
        "start": {"first_line": form},
        "columns": {"site": None, "time": None, "discharge": 1},
    }
    if form != "%Y%m%d":
        description.keys |= {"values": "instantaneous", "step": OPEN}
    if codes := suspected_codes(known):
        description.keys["missing"] = sorted(codes)
    add_suspects(description, known, "gauges.missing")
    if not text.endswith("\n"):
        description.keys["whole"] = True
        description.add("last line", f"{rest[-1][-40:]!r} ends without a newline: is it whole?")
    step = timedelta(hours=1) if form != "%Y%m%d" else timedelta(days=1)
    description.draw = draw_hydrograph(pd.date_range(start, periods=known.size, freq=step), known)
    try_keys(description)
    return True
