"""The catalog's description of discharge records, beyond what their files state."""

from __future__ import annotations

import codecs
import re
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.catalog.time import Duration, Strict, TimeLabel
from pipeline.units import DISCHARGE_M3_S, require_unit

Column = str | Annotated[int, Field(ge=1)]
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]*)?"
CSV_KEYS = (  # that describe a table
    "agency",
    "columns",
    "comment",
    "decimal",
    "delimiter",
    "encoding",
    "missing_flags",
    "skip",
    "time_format",
    "time_zone",
)


class Columns(Strict):
    """Columns of a discharge CSV: names in its header, or numbers from 1 if it has no header.

    `site` is None for a file of one site. Several columns of `time` are joined by blanks.
    """

    site: Column | None = Field(
        default="site_no", description="column of the site number; null for files of one site"
    )
    time: Column | Annotated[list[Column], Field(min_length=1)] = Field(
        default="datetime", description="column, or columns, of the day or instant"
    )
    discharge: Column = Field(default="discharge", description="column of the discharge")
    flag: Column | None = Field(default=None, description="column of the qualifiers")

    @model_validator(mode="after")
    def _names_or_numbers(self) -> Self:
        used = self.used
        if len({type(column) for column in used}) > 1:
            raise ValueError(
                f"{', '.join(map(repr, used))}: expected names of all (site, time, discharge, "
                "flag), or numbers of all for a file without a header; site: null if it has none"
            )
        return self

    @property
    def times(self) -> list[Column]:
        """Columns of the time."""
        return self.time if isinstance(self.time, list) else [self.time]

    @property
    def used(self) -> list[Column]:
        """All columns that are read: of the time, the discharge, the site and the flag."""
        others = (self.site, self.flag)
        return [*self.times, self.discharge, *(one for one in others if one is not None)]


class Gauges(Strict):
    """Discharge records: daily means, or instantaneous values, which are averaged over steps."""

    format: Literal["rdb", "csv", "json", "waterml", "waterdata"] = Field(
        description="format of the files, see docs/gauges.md"
    )
    files: str = Field(description="path; {site} is replaced by the site number")
    units: Annotated[str, AfterValidator(partial(require_unit, known=DISCHARGE_M3_S))] = Field(
        description="ft3/s or m3/s, in any spelling"
    )
    values: Literal["daily", "instantaneous"] = Field(
        default="daily", description="daily means, or readings that are averaged over steps"
    )
    missing: list[float | str] = Field(
        default=[], description="numbers and words that mean missing, besides the agency's"
    )
    missing_flags: list[Annotated[str, Field(pattern=r"^[^\s:,;]+$")]] = Field(
        default=[], description="csv only: qualifiers of values that mean missing"
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
        default=None, description="csv only: site numbers have eight digits at least"
    )
    columns: Columns | None = Field(
        default=None, description="csv only: names of its columns, or their numbers"
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
    time_format: str | None = Field(
        default=None, min_length=1, description="csv only: strptime format of the day or instant"
    )
    time_zone: str | None = Field(
        default=None, description="csv with instantaneous values only: an IANA name"
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
        for key in CSV_KEYS:
            if self.format != "csv" and key in self.model_fields_set:
                raise ValueError(f"{key} describes a csv, format is {self.format}: expected none")
        if self.format == "csv" and self.series is not None:
            raise ValueError("series selects a series of the agency, format is csv: expected none")
        daily = self.values == "daily"
        for key in ("min_valid", "max_gap", "time_zone") if daily else ("time",):
            if key in self.model_fields_set:
                other = "instantaneous" if daily else "daily"
                raise ValueError(
                    f"{key} is for {other} values, values is {self.values}: expected none"
                )
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
