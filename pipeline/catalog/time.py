"""What catalogs are made of: strict models, instants and durations, the period and time labels."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

STEP = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
UNIT_SECONDS = {"min": 60, "h": 3600, "d": 86400}  # of durations

YEARS = (1700, 2200)  # which nanoseconds since 1970 can count


def _utc(value: datetime) -> datetime:
    """Times without an offset are UTC; inside the product every time is naive UTC."""
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise ValueError(f"expected a year from {YEARS[0]} to {YEARS[1]}")
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _duration(value: Any) -> Any:
    """Durations as people write them, `30min`, `-6h` or `1d`, besides ISO 8601."""
    if isinstance(value, str):
        number = re.fullmatch(r"([+-]?\d{1,6}(?:\.\d+)?)(min|h|d)", value.strip())
        if number:
            return timedelta(seconds=float(number[1]) * UNIT_SECONDS[number[2]])
    return value


Instant = Annotated[datetime, AfterValidator(_utc)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Strict(BaseModel):
    """No unknown keys, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Period(Strict):
    """The store's time axis: whole steps from `start` to `end`, both instants in UTC."""

    step: Literal["hour", "day"]
    start: Instant = Field(description="start of the first step")
    end: Instant = Field(description="end of the last step")

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        span = self.end - self.start
        if span <= timedelta(0) or span % STEP[self.step]:
            raise ValueError(f"{self.start} to {self.end} is not a whole number of {self.step}s")
        return self

    @property
    def step_seconds(self) -> float:
        """Length of a step [s]."""
        return STEP[self.step].total_seconds()

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts of the steps, naive UTC."""
        return pd.date_range(
            self.start, self.end, freq=STEP[self.step], inclusive="left", unit="ns"
        )


class TimeLabel(Strict):
    """How a source names its time intervals.

    The instant that a label means is the label (read as UTC) plus `offset`; it is the start or
    the end of the interval. PRISM's day D ends at 12:00 UTC of D: `label: end, offset: 12h`.
    A USGS day D in Central Standard Time starts at 06:00 UTC: `label: start, offset: 6h`.
    """

    label: Literal["start", "end"] = "start"
    offset: Duration = Field(
        default=timedelta(0),
        ge=timedelta(days=-31),
        le=timedelta(days=31),
        description="hours as '12h' or ISO 8601",
    )

    def start_of(self, label: pd.DatetimeIndex, step: timedelta) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the intervals of length `step` that `label` names."""
        shift = self.offset - (step if self.label == "end" else timedelta(0))
        return label + pd.Timedelta(shift)
