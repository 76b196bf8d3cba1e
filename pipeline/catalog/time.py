"""Instants, durations, the period and time labels of a catalog."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

STEP = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
UNIT_SECONDS = {"min": 60, "h": 3600, "d": 86400}  # of durations

YEARS = (1700, 2200)  # within the range of datetime64[ns]


def _utc(value: datetime) -> datetime:
    """Convert an instant to naive UTC; without an offset it is UTC already."""
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise ValueError(f"expected a year from {YEARS[0]} to {YEARS[1]}")
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _duration(value: Any) -> Any:
    """Parse a duration such as `30min`, `-6h` or `1d`; pydantic parses ISO 8601."""
    if isinstance(value, str):
        number = re.fullmatch(r"([+-]?\d{1,6}(?:\.\d+)?)(min|h|d)", value.strip())
        if number:
            return timedelta(seconds=float(number[1]) * UNIT_SECONDS[number[2]])
    return value


# In a schema both are texts: format "date-time" would refuse a date, "duration" 12h.
Instant = Annotated[
    datetime,
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "examples": ["2012-10-01", "2012-10-01T06:00:00Z"]}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "examples": ["30min", "-6h", "1d"]}),
]


NEVER = timedelta(days=10**6)  # longer than any record


def _restart(value: Any) -> Any:
    """Parse how often totals restart: a duration, or never."""
    return NEVER if value == "never" else _duration(value)


Restart = Annotated[
    timedelta,
    BeforeValidator(_restart),
    WithJsonSchema({"type": "string", "examples": ["1d", "6h", "never"]}),
]


class Strict(BaseModel):
    """An immutable model without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Period(Strict):
    """The store's time axis: whole steps from `start` to `end`, in UTC."""

    step: Literal["hour", "day"] = Field(description="length of a step")
    start: Instant = Field(description="start of the first step")
    end: Instant = Field(description="end of the last step")

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        span = self.end - self.start
        if span < timedelta(0):
            raise ValueError(
                f"starts at {self.start}, after its end {self.end}: expected a start before the "
                "end; are the two swapped?"
            )
        if span == timedelta(0) or span % STEP[self.step]:
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
    """How a source labels its time intervals.

    The label, read as UTC, plus `offset` is the start or the end of the interval. PRISM's day D
    ends at 12:00 UTC of D: `label: end, offset: 12h`. A USGS day D in Central Standard Time starts
    at 06:00 UTC: `label: start, offset: 6h`.
    """

    label: Literal["start", "end"] = Field(
        default="start", description="end of the interval that a label names"
    )
    offset: Duration = Field(
        default=timedelta(0),
        ge=timedelta(days=-31),
        le=timedelta(days=31),
        description="from the label to that end, such as 12h or -6h",
    )

    def start_of(self, label: pd.DatetimeIndex, step: timedelta) -> pd.DatetimeIndex:
        """Starts (naive UTC) of the intervals of length `step` with these labels."""
        shift = self.offset - (step if self.label == "end" else timedelta(0))
        return label + pd.Timedelta(shift)
