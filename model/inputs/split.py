"""Split of a record into training, validation and test: by water years or by dates."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from model.inputs.periods import (
    YEARS,
    Mask,
    Period,
    consecutive,
    parse_period,
    spell_steps,
    water_years,
)
from model.settings import Settings
from pipeline.errors import InputError
from pipeline.units import SECONDS_PER_DAY

Parts = Mapping[str, tuple[str, ...]]  # periods of train, validation and test, as written
Steps = slice | Mask

PARTS = ("train", "validation", "test")
YEAR_DAYS = 365  # of the spin-up
MIN_STEPS = 10  # of a part: fewer hold no event
TRAIN_SHARE, KNOWN_SHARE = 0.6, 0.8  # of a short record: training; training and validation
MAX_PRINTED = 3  # periods of a part
OCTOBER = 10


@dataclass(frozen=True)
class Split:
    """Which steps train, validate and test; the parts do not overlap.

    Attributes:
        train, validation, test: (T,) bool.
        parts: their periods as written, but with dates for the record's start and end: the record
            may grow.
        first_month: of a water year.
    """

    train: Mask
    validation: Mask
    test: Mask
    parts: Parts
    first_month: int

    @classmethod
    def of(cls, dates: pd.DatetimeIndex, settings: Settings) -> Split:
        """Split a record as settings say; see `choose_parts` for what they leave out.

        Args:
            dates: (T,) midpoints of the steps, which decide where a step belongs.
            settings: periods of the parts, first month of a water year.

        Raises:
            InputError: a period that is none or lies outside the record, parts that overlap or
                hold too few steps, parts that cannot be chosen.
        """
        month = settings.water_year_starts_in
        parts = choose_parts(dates, settings)
        periods = _parse(parts, dates, month)
        for one, other in combinations(PARTS, 2):
            _require_apart(one, periods[one], other, periods[other], dates)
        masks = {name: _select(found, dates) for name, found in periods.items()}
        for name, mask in masks.items():
            if mask.sum() < MIN_STEPS:
                raise InputError(
                    f"{name} {', '.join(parts[name])}: {mask.sum()} steps: expected at least "
                    f"{MIN_STEPS}; {_span(dates)}"
                )
        closed = {name: _close(found, dates) for name, found in periods.items()}
        return cls(**masks, parts=closed, first_month=month)

    @property
    def known(self) -> Mask:
        """Steps of training and validation, from which a refit learns, (T,) bool."""
        return self.train | self.validation

    @property
    def train_steps(self) -> Steps:
        """Training steps as an index: a slice, which copies nothing, if they are consecutive."""
        runs = consecutive(self.train)
        return slice(*runs[0]) if len(runs) == 1 else self.train

    @property
    def train_stop(self) -> int:
        """End of the last training step: what comes after it does not reach training."""
        return last_stop(self.train)

    def first_year(self, step_seconds: float) -> int:
        """Number of first steps that also run before the record, so that it has a past.

        A year, or less if the record or training ends before.
        """
        return min(round(YEAR_DAYS * SECONDS_PER_DAY / step_seconds), self.train_stop)

    def select(self, steps: slice) -> Split:
        """Split of some of the steps."""
        masks = self.train[steps], self.validation[steps], self.test[steps]
        return Split(*masks, self.parts, self.first_month)

    def describe(self, dates: pd.DatetimeIndex) -> str:
        """The split in words, with the spin-up if it is shorter than a year."""
        step_seconds = (dates[1] - dates[0]).total_seconds()
        days = self.first_year(step_seconds) * step_seconds / SECONDS_PER_DAY
        spinup = "" if days >= YEAR_DAYS else f", spin-up {days:.0f} days"
        return ", ".join(f"{name} {self.describe_part(name, dates)}" for name in PARTS) + spinup

    def describe_part(self, name: str, dates: pd.DatetimeIndex) -> str:
        """A part in words: water years as they were written, else first and last date."""
        texts = self.parts[name]
        if all(YEARS.fullmatch(text) for text in texts):
            month = calendar.month_name[self.first_month]
            begin = "" if self.first_month == OCTOBER else f" (from {month})"
            return f"WY {', '.join(texts)}{begin}"
        runs = consecutive(getattr(self, name))
        first, last = dates[runs[0][0]], dates[runs[-1][1] - 1]
        if len(runs) > MAX_PRINTED:
            return f"{len(runs)} periods from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        return " and ".join(f"{dates[a]:%Y-%m-%d} to {dates[b - 1]:%Y-%m-%d}" for a, b in runs)


def last_stop(chosen: Mask) -> int:
    """Number of steps up to the last chosen one."""
    return int(np.flatnonzero(chosen)[-1]) + 1


def choose_parts(dates: pd.DatetimeIndex, settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the periods of all parts: those of the settings, and defaults for what is left out.

    - Without any, the last complete water year tests and the one before validates. A record too
      short for that is divided in this order: 60 % train, 20 % validate, 20 % test.
    - Without test, the last complete water year tests; without validation, the water year before
      the first test year validates. The part that is given has to be in water years.
    - Without train, all before validation trains that does not test.

    Raises:
        InputError: parts that cannot be chosen so.
    """
    month = settings.water_year_starts_in
    given: dict[str, tuple[str, ...]] = {name: getattr(settings, name) for name in PARTS}
    _parse(given, dates, month)
    lacking = [name for name in PARTS if not given[name]]
    if not lacking:
        return given
    if given["train"]:
        raise InputError(f"train is given without {' and '.join(lacking)}: expected all three")
    complete = _complete_years(dates, month)
    if len(lacking) == len(PARTS):
        train_stop = int((water_years(dates, month) < complete[-2]).sum()) if complete[1:] else 0
        if train_stop < MIN_STEPS:
            return _divide(dates)
        given["validation"], given["test"] = (str(complete[-2]),), (str(complete[-1]),)
    for name, other in (("test", "validation"), ("validation", "test")):
        if given[name]:
            continue
        if not all(YEARS.fullmatch(text) for text in given[other]):
            raise InputError(f"{other} is given as dates without {name}: expected both")
        last = complete[-1:]
        if name == "validation":
            first = min(int(text[:4]) for text in given["test"])
            last = [year for year in complete if year == first - 1]
        if not last:
            raise InputError(
                f"no complete water year for {name}: expected dates for all parts; {_span(dates)}"
            )
        given[name] = (str(last[0]),)
    periods = _parse(given, dates, month)
    held_out = [_select(periods[name], dates) for name in ("validation", "test")]
    train = (np.arange(len(dates)) < np.argmax(held_out[0])) & ~held_out[1]
    if not train.any():
        raise InputError(
            f"nothing to train on before validation {', '.join(given['validation'])}: expected "
            f"earlier steps, or train; {_span(dates)}"
        )
    return given | {"train": spell_steps(dates, train)}


def unlearned(dates: pd.DatetimeIndex, settings: Settings) -> tuple[str, ...]:
    """Return the periods of a record that a training with these settings has not seen.

    Args:
        dates: (T,) midpoints of the steps.
        settings: of a run, with all parts.
    """
    seen = {"train": settings.train, "validation": settings.validation}
    periods = _parse(seen, dates, settings.water_year_starts_in)
    learned = _select(periods["train"] + periods["validation"], dates)
    return spell_steps(dates, ~learned)


def _divide(dates: pd.DatetimeIndex) -> dict[str, tuple[str, ...]]:
    """Divide a short record in order, where days begin."""
    steps = np.arange(len(dates))
    first, second = (
        int(np.argmax(dates >= dates[round(share * (len(dates) - 1))].floor("D")))
        for share in (TRAIN_SHARE, KNOWN_SHARE)
    )
    masks = steps < first, (first <= steps) & (steps < second), steps >= second
    parts = {name: spell_steps(dates, mask) for name, mask in zip(PARTS, masks, strict=True)}
    if min(mask.sum() for mask in masks) < MIN_STEPS:
        raise InputError(
            f"{len(dates)} steps: expected at least {MIN_STEPS} each to train, validate and test; "
            f"{_span(dates)}"
        )
    return parts


def _complete_years(dates: pd.DatetimeIndex, month: int) -> list[int]:
    """Return the water years of which at most the first and the last step are missing."""
    step = dates[1] - dates[0]
    begin, end = dates[0] - step / 2, dates[-1] + step / 2
    years = [parse_period(str(year), month) for year in np.unique(water_years(dates, month))]
    return [
        int(year.text)
        for year in years
        if year.start is not None and begin <= year.start + step
        if year.end is not None and end >= year.end - step
    ]


def _select(periods: Sequence[Period], dates: pd.DatetimeIndex) -> Mask:
    """Whether each date lies in one of the periods, (T,)."""
    return np.asarray(np.any([period.select(dates) for period in periods], axis=0))


def _close(periods: Sequence[Period], dates: pd.DatetimeIndex) -> tuple[str, ...]:
    """Write periods as they were written, but with dates where they are open."""
    texts: list[str] = []
    for period in periods:
        is_open = period.start is None or period.end is None
        texts += spell_steps(dates, period.select(dates)) if is_open else (period.text,)
    return tuple(texts)


def _parse(parts: Parts, dates: pd.DatetimeIndex, month: int) -> dict[str, list[Period]]:
    """Parse the periods of parts; raises InputError where the record does not hold one."""
    return {
        name: [_parse_one(name, text, dates, month) for text in texts]
        for name, texts in parts.items()
    }


def _parse_one(name: str, text: str, dates: pd.DatetimeIndex, month: int) -> Period:
    try:
        period = parse_period(text, month)
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    # Water years may be cut by the record's ends; dates may not, but for the hour a day begins.
    half = (dates[1] - dates[0]) / 2
    beyond = not period.in_years and (
        (period.start is not None and period.start < (dates[0] - half).floor("D"))
        or (period.end is not None and period.end > (dates[-1] + half).ceil("D"))
    )
    if beyond or not period.select(dates).any():
        where = "water year " if period.in_years else ""
        raise InputError(
            f"{name} {where}{text}: outside the record: expected a period of it; {_span(dates)}"
        )
    return period


def _require_apart(
    one: str,
    periods: list[Period],
    other: str,
    others: list[Period],
    dates: pd.DatetimeIndex,
) -> None:
    """Raise InputError where a period of one part and one of another share steps."""
    for first in periods:
        for second in others:
            shared = np.flatnonzero(first.select(dates) & second.select(dates))
            if shared.size:
                raise InputError(
                    f"{one} {first.text} and {other} {second.text} share "
                    f"{dates[shared[0]]:%Y-%m-%d} to {dates[shared[-1]]:%Y-%m-%d}: expected parts "
                    "that do not overlap (a day at the end of a period is part of it)"
                )


def _span(dates: pd.DatetimeIndex) -> str:
    return f"the record is {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}"
