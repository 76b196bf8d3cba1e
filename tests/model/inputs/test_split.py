"""Water years of training, validation and test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from model.inputs.split import Split
from pipeline.errors import InputError


def days(first: str, last: str) -> pd.DatetimeIndex:
    """Midpoints of the days from `first` to `last`."""
    return pd.date_range(first, last, freq="D") + pd.Timedelta(hours=12)


def test_water_years_split_the_record_in_order() -> None:
    dates = days("2016-01-01", "2021-12-31")
    split = Split.by_water_year(dates)
    assert dates[split.train][-1].date() == pd.Timestamp("2019-09-30").date()
    assert dates[split.validation][[0, -1]].strftime("%F").tolist() == ["2019-10-01", "2020-09-30"]
    assert dates[split.test][[0, -1]].strftime("%F").tolist() == ["2020-10-01", "2021-09-30"]
    parts = np.zeros(len(dates), int)
    parts[split.train] += 1
    assert (parts + split.validation + split.test <= 1).all()
    assert split.train.stop == int(np.argmax(split.validation))
    assert "train 2016-01-01 to 2019-09-30, validation WY 2020, test WY 2021" in split.describe(
        dates
    )


@pytest.mark.parametrize(("last", "year"), [("2018-09-29", 2018), ("2018-09-28", 2017)])
def test_a_water_year_is_complete_if_at_most_its_last_step_is_missing(last: str, year: int) -> None:
    dates = days("2010-10-01", last)
    assert Split.by_water_year(dates).years(dates)["test"] == (year,)


@pytest.mark.parametrize(("first", "missing"), [("2010-10-02", False), ("2010-10-03", True)])
def test_a_water_year_is_complete_if_at_most_its_first_step_is_missing(
    first: str, missing: bool
) -> None:
    dates = days(first, "2013-09-30")
    with pytest.raises(
        InputError, match=r"complete water years are \[" + ("2012" if missing else "2011")
    ):
        Split.by_water_year(dates, test=[2030])


def test_chosen_years_are_held_out() -> None:
    dates = days("2010-10-01", "2018-09-30")
    split = Split.by_water_year(dates, validation=[2014, 2015], test=[2017, 2018])
    assert set(dates[split.validation].year) == {2013, 2014, 2015}
    assert split.test.sum() == 730
    assert dates[split.train][-1] < pd.Timestamp("2013-10-01")


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        ([], [2030], "water year 2030"),
        ([2017], [2016], "in this order"),
        ([2011], [], "nothing to train on"),
    ],
)
def test_impossible_years_are_refused(validation: list[int], test: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split.by_water_year(days("2010-10-01", "2018-09-30"), validation, test)
