"""When the rasters of a series begin and end, by their labels and by what these name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.groups import Group
from pipeline.inspect.draft.products import recognise_product
from pipeline.rasters.files import format_duration

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """Intervals of a series of rasters.

    Attributes:
        starts: of the intervals, as labels and bounds tell, ascending.
        step: length of an interval.
        why_step: what tells it.
        label: time label of the catalog, and `why_label`.
    """

    starts: list[datetime]
    step: timedelta
    why_step: str
    label: dict[str, str]
    why_label: str

    @property
    def store_step(self) -> timedelta:
        """Step of a store for them: hours if they divide one, else days."""
        return HOUR if HOUR % self.step == timedelta(0) else DAY

    @property
    def missing(self) -> int:
        """Rasters that are missing between the first and the last."""
        expected = (self.starts[-1] - self.starts[0]) // self.step + 1
        return max(0, int(expected) - len(self.starts))

    @property
    def period(self) -> tuple[datetime, datetime]:
        """Whole steps of a store that lie in the rasters' time, or one step around all of it."""
        first, last = self.starts[0], self.starts[-1] + self.step
        unit = self.store_step
        if unit == DAY and DAY % self.step == timedelta(0) and self.step < DAY:
            origin = datetime(first.year, first.month, first.day)
        else:
            whole = self.step >= unit  # steps of the store may begin at any minute
            origin = first if whole else first.replace(minute=0, second=0)
        begin = origin if origin == first else origin + unit
        count = (last - begin) // unit
        return (begin, begin + count * unit) if count > 0 else (origin, origin + unit)


def span_of(group: Group) -> Span | None:
    """The intervals of a group's rasters; None without times."""
    if not group.times:
        return None
    keys = group.description.keys
    times = sorted(set(group.times))
    if known := recognise_product(group):
        starts = known.time.start_of(pd.DatetimeIndex(times), known.step).to_pydatetime().tolist()
        return Span(starts, known.step, f"as {known.product} is", {}, "")
    gaps = np.diff(np.array(times, "M8[s]")).astype(np.int64)
    interval: timedelta | None = keys.get("interval")
    if gaps.size:
        step = timedelta(seconds=int(np.median(gaps)))
        why = f"rasters are {format_duration(step)} apart"
    elif interval is not None:
        step, why = interval, "the file's bounds"
    else:
        step = DAY if times[0].hour % 12 == times[0].minute == 0 else HOUR
        why = f"{OPEN}: one time alone does not tell"
    label, why_label = _label(keys, times, step)
    shift = timedelta(seconds=-step.total_seconds() * _share(label))
    return Span([time + shift for time in times], step, why, label, why_label)


def _share(label: dict[str, str]) -> float:
    """Share of an interval that lies before its label."""
    if "offset" in label:
        return 0.5
    return 1.0 if label["label"] == "end" else 0.0


def _label(
    keys: dict[str, Any], times: list[datetime], step: timedelta
) -> tuple[dict[str, str], str]:
    """What part of its interval a label names, and why."""
    label, half = keys.get("label"), step / 2
    middle = {"label": "start", "offset": f"-{half.total_seconds() / 3600:g}h"}
    if label == "middle":
        return middle, "the middle of the file's bounds"
    if label is not None:
        return {"label": label}, "by the file's bounds"
    ends = "or label: end; offset: how far the day begins from 00:00 UTC"
    since = {(time - datetime(1970, 1, 1)) % step for time in times}
    if step <= DAY and since == {half}:
        return middle, f"{OPEN}: labels in the middle of steps, {ends}"
    return {"label": "start"}, f"{OPEN}: {ends}"
