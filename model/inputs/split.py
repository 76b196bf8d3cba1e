"""Which steps train, validate and test: whole water years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.errors import InputError


def water_years(dates: pd.DatetimeIndex) -> np.ndarray:
    """The water year of each date, (T,): from 1 October to 30 September, named by its end."""
    return np.asarray(dates.year + (dates.month >= 10))


@dataclass(frozen=True)
class Split:
    """Water years held out. Training is everything before the first of them."""

    train: slice
    validation: np.ndarray  # (T,) bool
    test: np.ndarray  # (T,) bool

    @property
    def known(self) -> slice:
        """Training and validation: all before the first test year that a refit may learn from."""
        return slice(0, int(np.flatnonzero(self.validation)[-1]) + 1)

    @classmethod
    def by_water_year(
        cls, dates: pd.DatetimeIndex, validation: Sequence[int] = (), test: Sequence[int] = ()
    ) -> Split:
        """Split steps by the water year of their `dates` (midpoints of the steps).

        Left out, the test year is the last complete water year of the record and the validation
        year the one before the first test year.

        Raises:
            InputError: a year outside the record, validation not before test, nothing to train on.
        """
        years = water_years(dates)
        step = dates[1] - dates[0]
        first_day, last_day = dates[0] - step / 2, dates[-1] + step / 2
        complete = [
            int(year)
            for year in np.unique(years)
            if first_day <= pd.Timestamp(year - 1, 10, 1) + step
            and last_day >= pd.Timestamp(year, 10, 1) - step
        ]
        span = f"the record's complete water years are {complete}"
        test = sorted(test) or complete[-1:]
        validation = sorted(validation) or [y for y in complete if test and y == test[0] - 1]
        for year in (*validation, *test):
            if year not in years:
                raise InputError(f"water year {year}: {span}")
        if not test or not validation or validation[-1] >= test[0]:
            raise InputError(
                f"validation {validation}, test {test}: expected years in this order; {span}"
            )
        end = int(np.argmax(years >= validation[0]))
        if end < 2:
            raise InputError(f"nothing to train on before water year {validation[0]}: {span}")
        return cls(slice(0, end), np.isin(years, validation), np.isin(years, test))

    def years(self, dates: pd.DatetimeIndex) -> dict[str, tuple[int, ...]]:
        """The water years that are held out, ascending, by what for."""
        years = water_years(dates)
        held = {"validation": self.validation, "test": self.test}
        return {name: tuple(np.unique(years[mask]).tolist()) for name, mask in held.items()}

    def describe(self, dates: pd.DatetimeIndex) -> str:
        """The split in words: dates of the training steps, water years of the others."""
        first, last = dates[self.train.start], dates[self.train.stop - 1]
        held = (
            f"{name} WY {', '.join(map(str, years))}" for name, years in self.years(dates).items()
        )
        return f"train {first:%Y-%m-%d} to {last:%Y-%m-%d}, {', '.join(held)}"
