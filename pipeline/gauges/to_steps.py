"""A record on the steps of the store: days are paired with a step, instants averaged over it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from pipeline.catalog.time import STEP, Period
from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS, WITHHELD, worst_flag
from pipeline.gauges.record import INSTANT, GaugeRecord

MIN_VALID = 0.8  # least share of a step's time that its readings must cover
# Readings farther apart leave a gap. As the agency's metadata say of a series of unit values in the
# Water Data API, data_gap_interval PT1H12M; it may differ from series to series.
MAX_GAP = timedelta(minutes=72)


def on_steps(
    record: GaugeRecord,
    period: Period,
    min_valid: float = MIN_VALID,
    max_gap: timedelta = MAX_GAP,
) -> tuple[np.ndarray, np.ndarray]:
    """The record on the store's steps: discharge [m3 s-1] float32 (T,) and flag uint8 (T,).

    A gauge interval belongs to the latest step that ends no later than the interval does, so no
    rain of a step falls after the discharge that it is paired with. Steps that get no interval
    are NaN with flag "missing"; in an hourly store a daily mean sits in one hour of its day.

    Instants are averaged over each step, see `step_means`; `min_valid` and `max_gap` are for them.

    Raises:
        InputError: the record and the period do not overlap.
    """
    step = pd.Timedelta(STEP[period.step])
    end = record.start + record.interval
    begin = pd.Timestamp(period.start)
    steps = len(period.times)
    if record.interval == INSTANT:
        overlap = bool(end[-1] > begin and end[0] < begin + steps * step)
    else:
        assert record.interval >= step, "two intervals would fall on one step"
        index = np.asarray((end - begin) // step) - 1
        inside = (index >= 0) & (index < steps)
        overlap = bool(inside.any())
    if not overlap:
        raise InputError(
            f"{record.source}: site {record.site_no}: record {record.start[0]} to {end[-1]}: "
            f"expected an overlap with the period {period.start} to {period.end} (UTC)"
        )
    if record.interval == INSTANT:
        seconds = np.asarray((record.start - begin) / pd.Timedelta(seconds=1))
        return step_means(
            seconds, record.discharge, record.flag, steps, period.step_seconds,
            min_valid, max_gap.total_seconds(),
        )  # fmt: skip
    discharge = np.full(steps, np.nan, dtype=np.float32)
    flag = np.full(steps, FLAGS["missing"], dtype=np.uint8)
    discharge[index[inside]] = record.discharge[inside]
    flag[index[inside]] = record.flag[inside]
    return discharge, flag


def shift_seconds(record: GaugeRecord, period: Period) -> float:
    """By how much the record's intervals end after the steps that they are paired with [s].

    0 of instants, which are averaged over the steps themselves. The median, as daylight saving may
    move some of the days by an hour; from 0 to less than a step.
    """
    if record.interval == INSTANT:
        return 0.0
    step = pd.Timedelta(STEP[period.step])
    over = (record.start + record.interval - pd.Timestamp(period.start)) % step
    return float(np.median(over / pd.Timedelta(seconds=1)))


def step_means(
    time: np.ndarray,
    discharge: np.ndarray,
    flag: np.ndarray,
    steps: int,
    step: float,
    min_valid: float,
    max_gap: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Time-weighted means over steps, of readings at any spacing: float32 (steps,), uint8 (steps,).

    Between two readings no more than `max_gap` apart discharge is linear (the trapezoidal rule);
    everything else is not covered, and so is what adjoins a withheld reading. A step's value is
    the mean over its covered part, if that is at least `min_valid` of it. Its flag is the worst of
    the readings on which it rests: the least approval, estimated if one is. A step without a value
    has the reason that withholds the most of it, or "missing".

    Args:
        time: of the readings, ascending [s] from the start of the first step, (n,).
        discharge, flag: of the readings, (n,); NaN where withheld.
        steps, step: number of steps, and their length [s].
        min_valid: share, 0..1.
        max_gap: [s].
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
    seconds = np.stack(  # that each code has of each step
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
