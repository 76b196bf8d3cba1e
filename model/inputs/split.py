"""Split of a record into training, validation and test by water years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.errors import InputError


def water_years(dates: pd.DatetimeIndex) -> np.ndarray:
    """Water year of each date, (T,): 1 October to 30 September, named by the year it ends in."""
    return np.asarray(dates.year + (dates.month >= 10))


@dataclass(frozen=True)
class Split:
    """Steps for training, validation and test; all before the first validation year trains."""

    train: slice
    validation: np.ndarray  # (T,) bool
    test: np.ndarray  # (T,) bool

    @property
    def known(self) -> slice:
        """Steps up to the end of the validation years, from which a refit learns."""
        return slice(0, int(np.flatnonzero(self.validation)[-1]) + 1)

    @classmethod
    def by_water_year(
        cls, dates: pd.DatetimeIndex, validation: Sequence[int] = (), test: Sequence[int] = ()
    ) -> Split:
        """Split steps by the water year of their `dates` (midpoints of the steps).

        By default the test year is the last complete water year of the record and the validation
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
        """Water years of validation and of test, ascending."""
        years = water_years(dates)
        held_out = {"validation": self.validation, "test": self.test}
        return {name: tuple(np.unique(years[mask]).tolist()) for name, mask in held_out.items()}

    def describe(self, dates: pd.DatetimeIndex) -> str:
        """The split in words: dates of the training, water years of the others."""
        first, last = dates[self.train.start], dates[self.train.stop - 1]
        held_out = (
            f"{name} WY {', '.join(map(str, years))}" for name, years in self.years(dates).items()
        )
        return f"train {first:%Y-%m-%d} to {last:%Y-%m-%d}, {', '.join(held_out)}"
