"""Periods and offsets of a catalog: what is taken and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.catalog.time import Period, TimeLabel


@pytest.mark.parametrize(
    ("end", "whole"),
    [
        ("2020-01-02T00:00:00", True),
        ("2020-01-01T00:00:00", False),  # nothing
        ("2020-01-02T01:00:00", False),
    ],
)
def test_a_period_is_a_whole_number_of_steps_and_at_least_one(end: str, whole: bool) -> None:
    about = {"step": "day", "start": "2020-01-01T00:00:00", "end": end}
    if whole:
        assert Period.model_validate(about).step_seconds == 86400
        return
    with pytest.raises(ValidationError, match="is not a whole number of days"):
        Period.model_validate(about)


@pytest.mark.parametrize("days", [-31, 31])
def test_an_offset_is_at_most_31_days(days: int) -> None:
    assert TimeLabel.model_validate({"offset": f"{24 * days}h"}).offset.days == days
    beyond = 24 * days + (1 if days > 0 else -1)
    with pytest.raises(ValidationError, match="offset"):
        TimeLabel.model_validate({"offset": f"{beyond}h"})


def test_swapped_dates_are_named() -> None:
    about = {"step": "day", "start": "2020-01-02T00:00:00", "end": "2020-01-01T00:00:00"}
    with pytest.raises(ValidationError, match="swapped"):
        Period.model_validate(about)
