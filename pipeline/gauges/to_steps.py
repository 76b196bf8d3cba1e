"""Put a record on the store's steps: assign days to steps, average instants over them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.time import STEP, Period
from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS, WITHHELD, worst_flag
from pipeline.gauges.record import INSTANT, GaugeRecord

MIN_VALID = 0.8  # minimum share of a step's time that readings cover
# Readings farther apart leave a gap. The Water Data API's metadata of a series of unit values state
# data_gap_interval PT1H12M; it may differ between series.
MAX_GAP = timedelta(minutes=72)


def on_steps(
    record: GaugeRecord,
    period: Period,
    min_valid: float = MIN_VALID,
    max_gap: timedelta = MAX_GAP,
) -> tuple[np.ndarray, np.ndarray]:
    """Put a record on the store's steps.

    A gauge interval is assigned to the latest step that ends no later than the interval, so no rain
    of a step falls after the discharge that it is paired with. Other steps are NaN with the flag
    "missing"; in an hourly store a daily mean is in one hour of its day. Instants are averaged over
    each step.

    Args:
        record: of one site.
        period: the store's steps, T of them.
        min_valid, max_gap: as `step_means`, for instants.

    Returns:
        Discharge [m3 s-1], float32 (T,), and flag, uint8 (T,).

    Raises:
        InputError: the record and the period do not overlap.
    """
    end = _ends(record, period)
    steps, step = len(period.times), STEP[period.step]
    if record.interval == INSTANT:
        overlap = bool(end[-1] > 0 and end[0] < steps * _nanoseconds(step))
    else:
        assert record.interval >= step, "two intervals would fall on one step"
        index = end // _nanoseconds(step) - 1
        inside = (index >= 0) & (index < steps)
        overlap = bool(inside.any())
    if not overlap:
        raise InputError(
            f"{record.source}: site {record.site_no}: record {record.start[0]} to "
            f"{record.start[-1] + record.interval}: "
            f"expected an overlap with the period {period.start} to {period.end} (UTC)"
        )
    if record.interval == INSTANT:
        return step_means(
            end / 1e9, record.discharge, record.flag, steps, period.step_seconds,
            min_valid, max_gap.total_seconds(),
        )  # fmt: skip
    discharge = np.full(steps, np.nan, dtype=np.float32)
    flag = np.full(steps, FLAGS["missing"], dtype=np.uint8)
    discharge[index[inside]] = record.discharge[inside]
    flag[index[inside]] = record.flag[inside]
    return discharge, flag


def shift_seconds(record: GaugeRecord, period: Period) -> float:
    """Time from the end of a step to the end of the interval assigned to it [s].

    From 0 to less than a step; 0 for instants. The median over the record, as daylight saving may
    shift some days by an hour.
    """
    if record.interval == INSTANT:
        return 0.0
    over = _ends(record, period) % _nanoseconds(STEP[period.step])
    return float(np.median(over / 1e9))


def _ends(record: GaugeRecord, period: Period) -> NDArray[np.int64]:
    """Ends of the record's intervals, int64 (n,) [ns] from the start of the period.

    pandas takes several times as long to divide times.
    """
    start: NDArray[np.int64] = record.start.as_unit("ns").asi8
    return start + (_nanoseconds(record.interval) - pd.Timestamp(period.start).as_unit("ns").value)


def _nanoseconds(span: timedelta) -> int:
    return pd.Timedelta(span).as_unit("ns").value


def step_means(
    time: np.ndarray,
    discharge: np.ndarray,
    flag: np.ndarray,
    steps: int,
    step: float,
    min_valid: float,
    max_gap: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Average readings at any spacing over steps, weighted by time.

    Discharge is linear between two readings at most `max_gap` apart (the trapezoidal rule). Longer
    gaps, and the time beside a withheld reading, are not covered. A step's value is the mean over
    its covered part, if that is at least `min_valid` of the step. Its flag is the worst of the
    readings used: the lowest approval, estimated if one is. The flag of a step without a value is
    the reason that withholds most of it, or "missing".

    Args:
        time: of the readings, ascending [s] from the start of the first step, (n,).
        discharge, flag: of the readings, (n,); NaN if withheld.
        steps, step: number of steps, and their length [s].
        min_valid: share, 0..1.
        max_gap: [s].

    Returns:
        Mean discharge, float32 (steps,), and flag, uint8 (steps,).
    """
    gap, left, right = np.diff(time), discharge[:-1], discharge[1:]
    valid = np.isfinite(left) & np.isfinite(right) & (gap <= max_gap)
    withheld = np.where(np.isin(flag[:-1], WITHHELD), flag[:-1], flag[1:])
    withheld = np.where(np.isin(withheld, WITHHELD) & (gap <= max_gap), withheld, 0)
    code = np.where(valid, worst_flag(flag[:-1], flag[1:]), withheld)
    # pieces: the time between readings, cut where steps begin
    inside = (time > 0) & (time < steps * step)
    cuts = np.union1d(time[inside], np.arange(steps + 1) * step)
    start, width = cuts[:-1], np.diff(cuts)
    middle = start + width / 2
    index = np.minimum((middle // step).astype(int), steps - 1)
    pair = np.searchsorted(time, middle) - 1  # the reading before
    known = (pair >= 0) & (pair < gap.size)
    index, pair = index[known], pair[known]
    middle, width = middle[known], width[known]
    good = valid[pair]
    slope = np.where(valid, right - left, 0.0) / gap
    volume = np.where(good, left[pair] + slope[pair] * (middle - time[pair]), 0.0) * width
    total = np.bincount(index, volume, steps)
    seconds = np.stack(  # of each step that each code covers
        [np.bincount(index, width * (code[pair] == c), steps) for c in range(len(FLAGS))]
    )
    values = np.setdiff1d(np.arange(len(FLAGS)), (FLAGS["missing"], *WITHHELD))
    covered = seconds[values].sum(axis=0)
    enough = covered >= min_valid * step * (1 - 1e-9)
    mean = np.where(enough, total / np.where(enough, covered, 1.0), np.nan)
    worst = np.full(steps, FLAGS["approved"], dtype=np.uint8)
    for c in values:
        worst = np.where(seconds[c] > 0, worst_flag(worst, np.full(steps, c)), worst)
    reasons = seconds[list(WITHHELD)]
    reason = np.where(reasons.any(axis=0), np.array(WITHHELD)[reasons.argmax(axis=0)], 0)
    return mean.astype(np.float32), np.where(enough, worst, reason).astype(np.uint8)
