"""Training, validation and test: periods as users write them, defaults, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from model.inputs.periods import parse_period, spell_steps
from model.inputs.split import PARTS, Split, last_stop, unlearned
from model.settings import Settings
from pipeline.errors import InputError

CANCE = pd.date_range("2014-09-15", "2015-01-15", freq="h", inclusive="left")


def days(first: str, last: str, begin: str = "00:00") -> pd.DatetimeIndex:
    """Midpoints of the days from `first` to `last`."""
    starts = pd.date_range(first, last, freq="D") + pd.Timedelta(f"{begin}:00")
    return starts + pd.Timedelta(hours=12)


def hours(starts: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return starts + pd.Timedelta(minutes=30)


def split(dates: pd.DatetimeIndex, **parts: object) -> Split:
    return Split.of(dates, Settings.model_validate(parts))


def by_pandas(dates: pd.DatetimeIndex, *slices: tuple[str | None, str | None]) -> np.ndarray:
    """Steps that pandas selects by label, whose ends are included as days and months."""
    steps = pd.Series(np.arange(len(dates)), dates)
    found = np.zeros(len(dates), bool)
    for first, last in slices:
        found[steps.loc[first:last].to_numpy()] = True
    return found


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2014-09-15/2014-10-31", "2014-09-15", "2014-10-31"),
        ("2014-09-15/2014-11", "2014-09-15", "2014-11"),
        ("2014-11", "2014-11", "2014-11"),
        ("2014-11-03", "2014-11-03", "2014-11-03"),
        ("../2014-10-31", None, "2014-10-31"),
        ("2014-12-31/..", "2014-12-31", None),
        ("2014-11-03T06:00/2014-11-05T18:00", "2014-11-03T06", "2014-11-05T17"),
        ("2014-11-03T06:00Z/2014-11-05", "2014-11-03T06", "2014-11-05"),
    ],
)
@pytest.mark.parametrize("dates", [hours(CANCE), days("2014-09-01", "2015-02-01", "18:00")])
def test_dates_are_those_that_pandas_selects(
    dates: pd.DatetimeIndex, text: str, first: str | None, last: str | None
) -> None:
    expected = by_pandas(dates, (first, last))
    assert 0 < expected.sum() < len(dates)
    np.testing.assert_array_equal(parse_period(text, 10).select(dates), expected)


@pytest.mark.parametrize("month", [1, 4, 7, 10, 12])
def test_water_years_are_the_years_that_pandas_ends_before_their_first_month(month: int) -> None:
    dates = days("2010-01-01", "2018-12-31")
    last_month = (dates[0] + pd.DateOffset(months=month - 2)).strftime("%b").upper()
    years = dates.to_period(f"Y-{last_month}").year
    for text, chosen in (("2013", [2013]), ("2015-2017", [2015, 2016, 2017])):
        np.testing.assert_array_equal(parse_period(text, month).select(dates), years.isin(chosen))


@pytest.mark.parametrize("dates", [hours(CANCE), days("2010-10-01", "2014-09-29", "12:00")])
def test_steps_are_written_as_the_periods_that_select_them(dates: pd.DatetimeIndex) -> None:
    rng = np.random.default_rng(1)
    for share in (0.02, 0.5, 1.0):
        chosen = rng.random(len(dates) // 24 + 1).repeat(24)[: len(dates)] < share
        chosen[0] = chosen[-1] = chosen[37] = True
        texts = spell_steps(dates, chosen)
        found = np.any([parse_period(text, 10).select(dates) for text in texts], axis=0)
        np.testing.assert_array_equal(found, chosen)


def test_without_parts_the_last_water_years_test_and_validate() -> None:
    dates = days("2016-01-01", "2021-12-31")
    found = split(dates)
    np.testing.assert_array_equal(found.train, by_pandas(dates, (None, "2019-09-30")))
    np.testing.assert_array_equal(found.validation, by_pandas(dates, ("2019-10-01", "2020-09-30")))
    np.testing.assert_array_equal(found.test, by_pandas(dates, ("2020-10-01", "2021-09-30")))
    text = "train 2016-01-01 to 2019-09-30, validation WY 2020, test WY 2021"
    assert found.describe(dates) == text
    assert found.parts["train"] == ("2016-01-01/2019-09-30",)
    later = days("2016-01-01", "2023-12-31")
    resolved = split(later, **found.parts)
    assert resolved.describe(later) == text, "a record that has grown keeps its parts"


def test_southern_water_years_begin_in_july() -> None:
    dates = days("2010-07-01", "2016-08-31")
    found = split(dates, water_year_starts_in=7)
    np.testing.assert_array_equal(found.validation, by_pandas(dates, ("2014-07-01", "2015-06-30")))
    np.testing.assert_array_equal(found.test, by_pandas(dates, ("2015-07-01", "2016-06-30")))
    assert "test WY 2016 (from July)" in found.describe(dates)


@pytest.mark.parametrize(("last", "year"), [("2018-09-29", "2018"), ("2018-09-28", "2017")])
def test_a_water_year_is_complete_if_at_most_its_last_step_is_missing(last: str, year: str) -> None:
    assert split(days("2010-10-01", last)).parts["test"] == (year,)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("2010-10-02", "nothing to train on before validation 2011"),
        ("2010-10-03", "no complete water year for validation"),
    ],
)
def test_a_water_year_is_complete_if_at_most_its_first_step_is_missing(
    first: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        split(days(first, "2013-09-30"), test=2012)


@pytest.mark.parametrize(
    "dates", [hours(CANCE), days("2014-01-01", "2015-12-31"), days("2014-10-01", "2016-09-30")]
)
def test_a_record_of_less_than_two_water_years_and_something_is_divided(
    dates: pd.DatetimeIndex,
) -> None:
    found = split(dates)
    parts = [found.train, found.validation, found.test]
    np.testing.assert_array_equal(np.sum(parts, 0), 1)
    assert [part.mean() for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    order = np.concatenate([np.flatnonzero(part) for part in parts])
    np.testing.assert_array_equal(order, np.arange(len(dates)))
    assert all(dates[part][0].date() != dates[part][0 - 1].date() for part in parts)
    assert all("T" not in text for texts in found.parts.values() for text in texts)


def test_events_of_a_short_record() -> None:
    dates = hours(CANCE)
    found = split(
        dates,
        train=("2014-11-20/..", "2014-09-15/2014-09-30"),
        validation="2014-11-10/2014-11-19",
        test=["2014-10-05/2014-10-20", "2014-11-01/2014-11-09"],
    )
    train = by_pandas(dates, ("2014-11-20", None), (None, "2014-09-30"))
    test = by_pandas(dates, ("2014-10-05", "2014-10-20"), ("2014-11-01", "2014-11-09"))
    np.testing.assert_array_equal(found.train, train)
    np.testing.assert_array_equal(found.validation, by_pandas(dates, ("2014-11-10", "2014-11-19")))
    np.testing.assert_array_equal(found.test, test)
    assert found.parts["train"] == ("2014-11-20/2015-01-14", "2014-09-15/2014-09-30")
    assert found.parts["test"] == ("2014-10-05/2014-10-20", "2014-11-01/2014-11-09")
    assert found.describe(dates) == (
        "train 2014-09-15 to 2014-09-30 and 2014-11-20 to 2015-01-14, validation 2014-11-10 to "
        "2014-11-19, test 2014-10-05 to 2014-10-20 and 2014-11-01 to 2014-11-09, spin-up 122 days"
    )
    assert found.train_stop == len(dates)
    assert found.train_steps is found.train
    assert found.first_year(3600.0) == len(dates)
    fewer = found.select(slice(0, 700))
    np.testing.assert_array_equal(fewer.test, test[:700])


def test_test_before_training_and_what_no_head_has_seen() -> None:
    dates = days("1980-01-01", "2010-12-31")
    parts = {"train": "1999-10-01/2007-09-30", "validation": "2008", "test": "1990-1999"}
    found = split(dates, **parts)
    np.testing.assert_array_equal(found.train, by_pandas(dates, ("1999-10-01", "2007-09-30")))
    np.testing.assert_array_equal(found.test, by_pandas(dates, ("1989-10-01", "1999-09-30")))
    assert found.train_steps == slice(*np.flatnonzero(np.diff(found.train.astype(int))) + 1)
    unseen = ("1980-01-01/1999-09-30", "2008-10-01/2010-12-31")
    assert unlearned(dates, Settings.model_validate(parts)) == unseen
    default = split(dates, validation=2008, test="1990-1999")
    np.testing.assert_array_equal(
        default.train, by_pandas(dates, (None, "1989-09-30"), ("1999-10-01", "2007-09-30"))
    )


def test_training_ends_before_validation_and_the_gap_belongs_to_no_part() -> None:
    dates = days("2010-10-01", "2018-09-30")
    found = split(dates, validation=("2014", "2015"), test=("2017", "2018"))
    assert found.test.sum() == 730
    assert dates[found.train][-1] == pd.Timestamp("2013-09-30T12:00")
    assert last_stop(found.known) == last_stop(found.validation)
    assert sum(getattr(found, name) for name in PARTS).tolist().count(0) == 366


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"test": 2030}, "^test water year 2030: outside the record"),
        ({"validation": 2017, "test": 2030}, "^test water year 2030: outside the record"),
        ({"validation": 2018}, "^validation 2018 and test 2018 share 2017-10-01 to 2018-09-30"),
        ({"validation": 2011}, "^nothing to train on before validation 2011"),
        ({"validation": "2018-09", "test": "2011-01/2019-01"}, "2011-01/2019-01: outside"),
        ({"train": "2011-2014"}, "^train is given without validation and test"),
        ({"test": "2018-01/2018-03"}, "^test is given as dates without validation"),
        ({"validation": "2018-01/2018-03"}, "^validation is given as dates without test"),
        ({"validation": 2016, "test": "2018-01-01/2018-01-09"}, "9 steps: expected at least 10"),
        (
            {"train": "../2014-11-01", "validation": "2014-11-01/2015-03-01", "test": 2017},
            "^train ../2014-11-01 and validation 2014-11-01/2015-03-01 share 2014-11-01 to 2014-11",
        ),
        *[
            ({"test": text, "validation": 2016}, rf"^test {text}: .*\(2014-09-15/2014-10-31\)$")
            for text in ("2018-02-30", "11.09.2018", "2018-01/2018", "2018-01-01T00:00", "..", "")
        ],
        ({"test": "2018-2017", "validation": 2016}, "ends before it begins"),
        ({"test": "2018-03/2018-01", "validation": 2016}, "ends before it begins"),
        ({"test": "9999", "validation": 2016}, "test water year 9999: outside"),
        ({"test": "0000", "validation": 2016}, "test 0000"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        split(days("2010-10-01", "2018-09-30"), **parts)
    assert "\n" not in str(refused.value)


def test_a_record_of_few_steps_is_refused() -> None:
    with pytest.raises(InputError, match="30 steps: expected at least 10 each"):
        split(days("2014-09-01", "2014-09-30"))


def test_dates_may_begin_and_end_where_the_days_of_the_record_do() -> None:
    """A day from 18:00 to 18:00 belongs to the date that holds its middle."""
    dates = days("2014-01-01", "2014-12-31", "18:00")
    found = split(
        dates, train="2014-01-01/2014-06", validation="2014-07/2014-09", test="2014-10/2014-12"
    )
    np.testing.assert_array_equal(found.train, by_pandas(dates, (None, "2014-06")))
    assert found.test[-2:].tolist() == [True, False], "the last day's middle is in January"


def test_the_first_year_is_a_year_or_ends_with_training() -> None:
    dates = days("2010-10-01", "2018-09-30")
    found = split(dates)
    assert found.first_year(86400.0) == 365
    assert found.first_year(3600.0) == found.train_stop == found.train.sum()
    short = dataclasses.replace(found, train=by_pandas(dates, (None, "2011-01-31")))
    assert short.first_year(86400.0) == 123
