"""Convert rows of text to each site's clean series in m3 s-1 with flags."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.codes import suspected_codes
from pipeline.gauges.flags import LARGEST, NUMBER, REFUSED, parse_qualifiers, parse_values
from pipeline.gauges.formats.common import listed
from pipeline.gauges.rows import Rows
from pipeline.gauges.site_numbers import Spellings, site_number
from pipeline.gauges.times import Days, Instants, Positions, Times
from pipeline.units import discharge_factor

DAY = timedelta(days=1)
INSTANT = timedelta(0)


@dataclass(frozen=True)
class GaugeRecord:
    """One site's record, sorted in time, without duplicates.

    Attributes:
        site_no: site number, with its leading zeros.
        start: starts of the intervals, or the instants, naive UTC, ascending.
        interval: length of the intervals; 0 for instants.
        discharge: mean over each interval, or at each instant [m3 s-1], float64 (n,), NaN where
            missing.
        flag: codes of `FLAGS`, uint8 (n,).
        source: the file that it was read from.
    """

    site_no: str
    start: pd.DatetimeIndex
    interval: timedelta
    discharge: np.ndarray
    flag: np.ndarray
    source: Path

    def __post_init__(self) -> None:
        assert self.discharge.shape == self.flag.shape == self.start.shape
        assert self.start.is_monotonic_increasing
        assert self.start.is_unique


class RecordFile:
    """Records of one or more sites in a file, of which each text is parsed once.

    Args:
        catalog: describes the file.
        path: of the file, for messages.
        rows: of the file.
    """

    def __init__(self, catalog: Catalog, path: Path, rows: Rows) -> None:
        self._catalog, self._path, self._rows = catalog, path, rows
        numbers: dict[str, int] = {}
        sites = [
            numbers.setdefault(site_number(text, catalog.usgs), len(numbers))
            for text in rows.site_no.distinct.to_pylist()
        ]
        site = np.array(sites, np.min_scalar_type(len(numbers)))[rows.site_no.codes]
        order = np.argsort(site, kind="stable")
        ends = np.cumsum(np.bincount(site, minlength=len(numbers)))
        pieces = np.split(order, ends[:-1])
        # by site number the positions of its rows, in the file's order
        self.sites = {number: pieces[k] for number, k in numbers.items() if pieces[k].size}
        self._spellings = Spellings(catalog, path, self.sites)

    def holds(self, site: str) -> bool:
        """Whether the file has rows of a site.

        Raises:
            InputError: it spells the site's number in another way.
        """
        return self._spellings.of(site) is not None

    def record(self, site: str, area: float | None = None) -> GaugeRecord:
        """A site's record: sorted, duplicates resolved.

        Args:
            site: number.
            area: drainage area [m2], if the units are a depth.

        Raises:
            InputError: several series and none selected, an invalid time or value, two values for
                one day or instant, or a number that looks like a code for no value.
        """
        gauges = self._catalog.gauges
        at = self._of_selected_series(site)
        start = self._times.of(at)
        discharge, flag = self._values(at)
        self._refuse_codes(site, at, discharge)
        if not (start[1:] > start[:-1]).all():
            kept = self._first_of_each_time(site, at, start, discharge)
            start, discharge, flag = start[kept], discharge[kept], flag[kept]
        return GaugeRecord(
            site_no=site,
            start=pd.DatetimeIndex(start),
            interval=DAY if gauges.values == "daily" else INSTANT,
            discharge=discharge * discharge_factor(gauges.units, area),
            flag=flag,
            source=self._path,
        )

    @cached_property
    def _times(self) -> Days | Instants:
        kind = Days if self._catalog.gauges.values == "daily" else Instants
        return kind(self._catalog, self._rows, self._path)

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        gauges = self._catalog.gauges
        return parse_values(self._rows.value.distinct, gauges.missing, gauges.decimal)

    @cached_property
    def _qualifiers(self) -> NDArray[np.uint8]:
        parse = partial(parse_qualifiers, missing=self._catalog.gauges.missing_flags)
        return np.array(self._rows.qualifiers.each(parse), np.uint8).reshape(-1, 2)

    def _of_selected_series(self, site: str) -> Positions:
        """Rows of the series that the catalog selects, or of the only one that holds values."""
        spelled = self._spellings.of(site)
        assert spelled is not None
        at, series = self.sites[spelled], self._rows.series
        names: dict[str, list[int]] = {}
        for code in np.unique(series.codes[at]).tolist():
            names.setdefault(series.distinct[code].as_py(), []).append(code)
        choices = self._catalog.gauges.series or {}
        choice = next(
            (name for key, name in choices.items() if site_number(key, True) == site), None
        )
        if choice is not None:
            found = [name for name in names if choice in (name, name.partition(" ")[0])]
            if len(found) != 1:
                raise InputError(
                    f"{self._path}: site {site}: discharge has the series {listed(names)}: "
                    f"expected one of them, not {choice!r}, in gauges.series of "
                    f"{self._catalog.path}"
                )
        elif len(names) > 1:
            _, kinds = self._numbers
            holds_value = kinds[self._rows.value.codes[at]] >= NUMBER
            filled = set(series.codes[at[holds_value]].tolist())
            found = [name for name, codes in names.items() if filled & set(codes)] or [*names]
            if len(found) != 1:
                raise InputError(
                    f"{self._path}: site {site}: discharge has the series {listed(found)}: "
                    f"expected a choice of one in gauges.series of {self._catalog.path}"
                )
        else:
            return at
        return at[np.isin(series.codes[at], names[found[0]])]

    def _values(self, at: Positions) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Discharge in the file's units, NaN if withheld, and flags of the rows at positions."""
        rows = self._rows
        number, kind = (parsed[rows.value.codes[at]] for parsed in self._numbers)
        refused = kind == REFUSED
        if refused.any():
            row = at[refused.argmax()]
            marked = " with a decimal comma" if self._catalog.gauges.decimal == "," else ""
            raise InputError(
                f"{self._path}: {rows.place(row)}: discharge {rows.value[row]!r} on "
                f"{rows.time[row]}: expected a number up to {LARGEST:g}{marked}, a blank, Ice, Eqp "
                f"or one of gauges.missing in {self._catalog.path}"
            )
        withheld, status = self._qualifiers[rows.qualifiers.codes[at]].T
        flag = np.where(kind == NUMBER, status, kind)
        flag = np.where(withheld == NUMBER, flag, withheld)
        return np.where(withheld == NUMBER, number, np.nan), flag

    def _refuse_codes(self, site: str, at: Positions, discharge: NDArray[np.float64]) -> None:
        """Refuse a record with numbers that look like codes for no value."""
        suspected = suspected_codes(discharge, self._catalog.gauges.real)
        if not suspected:
            return
        code = min(suspected)
        row = at[(discharge == code).argmax()]
        numbers = ", ".join(f"{value:g} ({count} times)" for value, count in suspected.items())
        raise InputError(
            f"{self._path}: site {site}: discharge {numbers}, first {code:g} at "
            f"{self._rows.place(row)}, looks like a code for no value: expected it in "
            f"gauges.missing of {self._catalog.path}, or in gauges.real if it is discharge"
        )

    def _first_of_each_time(
        self, site: str, at: Positions, start: Times, discharge: NDArray[np.float64]
    ) -> Positions:
        """Positions in `at`, ascending in time, of one row per time: a number if one has it."""
        order = np.lexsort((np.isnan(discharge), start))
        start, discharge = start[order], discharge[order]
        again = start[1:] == start[:-1]
        differs = again & (discharge[1:] != discharge[:-1]) & ~np.isnan(discharge[1:])
        if differs.any():
            i = int(differs.argmax())
            first, second = at[order[i]], at[order[i + 1]]
            raise InputError(
                f"{self._path}: site {site}: {self._rows.time[first]} has the values "
                f"{discharge[i]:g} and {discharge[i + 1]:g} ({self._rows.place(first)} and "
                f"{self._rows.place(second)}): expected one "
                f"{'per day' if self._catalog.gauges.values == 'daily' else 'per instant'}"
            )
        return order[np.append(True, ~again)]
