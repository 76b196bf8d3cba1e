"""The catalog's description of discharge records, beyond what their files state."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from datetime import time as clock
from functools import partial
from types import MappingProxyType
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.catalog.time import Duration, Instant, Strict, TimeLabel
from pipeline.units import DISCHARGE_M3_S, RUNOFF_M_S, require_unit

Column = str | Annotated[int, Field(ge=1)]
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]*)?"
SITE = "{site}"
USGS_FORMATS = ("rdb", "json", "waterml", "waterdata")
UNITS = (*DISCHARGE_M3_S, *RUNOFF_M_S)
DATASET_KEYS = ("agency", "columns", "missing_flags", "time_zone")
TEXT_KEYS = (
    "comment",
    "decimal",
    "delimiter",
    "encoding",
    "skip",
    "start",
    "step",
    "time_format",
    "whole",
)
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(  # by key, the formats that it describes
    dict.fromkeys(DATASET_KEYS, ("csv", "netcdf"))
    | dict.fromkeys(TEXT_KEYS, ("csv",))
    | {"series": USGS_FORMATS}
)


class Columns(Strict):
    """Columns of a table: names in its header, or numbers from 1 if it has no header.

    Of NetCDF they are names of variables. `site` is None for a file of one site, and where each
    site has its own column of discharge. Several columns of `time` are joined by blanks.
    """

    site: Column | None = Field(
        default="site_no",
        description="column of the site number; null for files of one site, or a column a site",
    )
    time: Column | Annotated[list[Column], Field(min_length=1)] | None = Field(
        default="datetime",
        description="column, or columns, of the day or instant, or of the number of the step; "
        "null if rows are counted",
    )
    discharge: Column = Field(
        default="discharge",
        description="column of the discharge; {site} is replaced by the site number",
    )
    flag: Column | None = Field(default=None, description="column of the qualifiers")

    @model_validator(mode="after")
    def _names_or_numbers(self) -> Self:
        used = self.used
        if len({type(column) for column in used}) > 1:
            raise ValueError(
                f"{', '.join(map(repr, used))}: expected names of all (site, time, discharge, "
                "flag), or numbers of all for a file without a header; site: null if it has none"
            )
        if self.wide and (self.site is not None or self.flag is not None):
            raise ValueError(
                f"discharge: {self.discharge!r} names a column of each site: expected site: null, "
                "and no flag"
            )
        return self

    @property
    def times(self) -> list[Column]:
        """Columns of the time."""
        if self.time is None:
            return []
        return self.time if isinstance(self.time, list) else [self.time]

    @property
    def used(self) -> list[Column]:
        """All columns that are read: of the time, the discharge, the site and the flag."""
        others = (self.site, self.flag)
        return [*self.times, self.discharge, *(one for one in others if one is not None)]

    @property
    def others(self) -> list[Column]:
        """Columns of the time, the site and the flag."""
        return [one for one in self.used if one != self.discharge]

    @property
    def wide(self) -> bool:
        """Whether each site has its own column of discharge."""
        return isinstance(self.discharge, str) and SITE in self.discharge


class FirstLine(Strict):
    """The first line of a file, which holds the day or instant of its first value alone."""

    first_line: str = Field(min_length=1, description="its strptime format; UTC without %z")


class Gauges(Strict):
    """Discharge records: daily means, or instantaneous values, which are averaged over steps."""

    format: Literal["rdb", "csv", "json", "waterml", "waterdata", "netcdf", "hydat"] = Field(
        description="format of the files, see docs/gauges.md"
    )
    files: str = Field(description="path; {site} is replaced by the site number")
    units: Annotated[str, AfterValidator(partial(require_unit, known=UNITS))] = Field(
        description="m3/s, ft3/s, l/s, ML/day, or a depth over the drainage area, mm/day or mm/h; "
        "in any spelling"
    )
    values: Literal["daily", "instantaneous"] = Field(
        default="daily", description="daily means, or readings that are averaged over steps"
    )
    missing: list[float | str] = Field(
        default=[], description="numbers and words that mean missing, besides the agency's"
    )
    missing_flags: list[Annotated[str, Field(pattern=r"^[^\s:,;]+$")]] = Field(
        default=[], description="csv, netcdf: qualifiers of values that mean missing"
    )
    real: list[float] = Field(
        default=[], description="numbers that are discharge, though they look like missing"
    )
    series: dict[str, str] | None = Field(
        default=None, description="by site number, the series of discharge to read"
    )
    time: TimeLabel = Field(default=TimeLabel(), description="daily only: how a date names its day")
    min_valid: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="instantaneous only: minimum share of a step with values",
    )
    max_gap: Duration | None = Field(
        default=None, gt=timedelta(0), description="instantaneous only: longest gap to interpolate"
    )
    agency: Literal["usgs"] | None = Field(
        default=None, description="csv, netcdf: site numbers have eight digits at least"
    )
    columns: Columns | None = Field(
        default=None,
        description="csv, netcdf: names of columns, their numbers, or names of variables",
    )
    delimiter: Literal[",", ";", "|", "tab", "blanks"] = Field(
        default=",", description="csv only: between columns"
    )
    decimal: Literal[".", ","] = Field(default=".", description="csv only: mark of decimals")
    skip: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] = Field(
        default=0, description="csv only: lines before the header, or how the last of them begins"
    )
    comment: str | None = Field(
        default=None, min_length=1, description="csv only: how lines begin that are left out"
    )
    encoding: str = Field(default="utf-8", description="csv only: of the text")
    whole: bool = Field(
        default=False, description="csv only: its last line is whole, though no newline ends it"
    )
    time_format: str | None = Field(
        default=None, min_length=1, description="csv only: strptime format of the day or instant"
    )
    start: FirstLine | Instant | None = Field(
        default=None, description="csv only: day or instant of step 1, where the time is a number"
    )
    step: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description="csv with start only: from one number to the next; default for days 1d",
    )
    time_zone: str | None = Field(
        default=None,
        description="csv, netcdf, of instantaneous values without an offset: an IANA name",
    )

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (
                ValueError,
                OSError,
                KeyError,
            ) as error:  # invalid name, a folder, an unknown zone
                raise ValueError("expected an IANA time zone such as America/Chicago") from error
        return value

    @field_validator("missing")
    @classmethod
    def _quoted_numbers(cls, value: list[float | str]) -> list[float | str]:
        return [float(one) if re.fullmatch(NUMBER, str(one)) else one for one in value]

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, value: str) -> str:
        try:
            "é".encode(codecs.lookup(value).name)
        except (LookupError, ValueError) as error:
            raise ValueError("expected an encoding such as utf-8 or latin-1") from error
        return value

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        for key, formats in KEYS.items():
            if self.format not in formats and key in self.model_fields_set:
                raise ValueError(
                    f"{key} is for {', '.join(formats)}, format is {self.format}: expected none"
                )
        daily = self.values == "daily"
        for key in ("min_valid", "max_gap", "time_zone") if daily else ("time",):
            if key in self.model_fields_set:
                other = "instantaneous" if daily else "daily"
                raise ValueError(
                    f"{key} is for {other} values, values is {self.values}: expected none"
                )
        return self

    @model_validator(mode="after")
    def _times_by_number(self) -> Self:
        columns = self.columns or Columns()
        if self.start is None and (columns.time is None or self.step is not None):
            what = "step" if self.step is not None else "columns.time: null"
            raise ValueError(f"{what}: expected start, the day or instant of the first row")
        if self.start is None:
            return self
        if self.values == "instantaneous" and self.step is None:
            raise ValueError("start: expected step, from one row to the next, for instants")
        days = isinstance(self.start, FirstLine) or self.start == datetime.combine(
            self.start, clock()
        )
        if self.values == "daily" and not (days and self.step in (None, timedelta(days=1))):
            raise ValueError(
                f"start, step: {self.start}, {self.step}, of daily values: expected a day, and 1d"
            )
        if self.time_format is not None or self.time_zone is not None or len(columns.times) > 1:
            raise ValueError(
                "start: times are numbers of steps, in UTC: expected no time_format, no time_zone, "
                "one time"
            )
        if isinstance(self.start, FirstLine) and self.skip:
            raise ValueError(f"skip: {self.skip}: expected none, the first line is the start")
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if both := sorted(set(self.real) & set(self.missing)):
            raise ValueError(f"{both}: expected in one of missing and real")
        if self.missing_flags and (self.columns is None or self.columns.flag is None):
            raise ValueError("missing_flags are qualifiers: expected columns.flag, their column")
        if self.decimal == self.delimiter:
            raise ValueError(f"decimal and delimiter are {self.decimal!r}: expected two marks")
        return self
