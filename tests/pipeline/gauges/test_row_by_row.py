"""Columns of text against one row after the other, in clean files and in broken ones."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.gauges import rows
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.read import read_gauges
from tests.pipeline.gauges.test_read import FT3, HEADER, SITE, make_catalog

OTHER = "02177000"
NUMBERS = ["1", "12.5", "0.00", "-3.1", "17", "3.14159", "1e3", "+7", ".5", "5.", "-0",
           "0.1000000000000000055511151231257827", "1000000000"]  # fmt: skip
WORDS = {"": "missing", "Ice": "ice", "eqp": "equipment", "***": "unavailable",
         "-999999": "unavailable", "-999999.00": "unavailable"}  # fmt: skip
BROKEN = ["x12", "nan", "-inf", "Infinity", "1e999", "1e300", "1000000001",
          "123456789012345678901234", "1 2", "1_0", "0x10", "\uff11\uff12", "1,5",
          "1.234.5", "e5", "--1", "."]  # fmt: skip
QUALIFIERS = {"A": "approved", "P": "provisional", "A:e": "approved_estimated", "e": "estimated",
              "P Dis": "provisional", "": "unqualified"}  # fmt: skip
BROKEN_DAYS = ["2012-13-01", "07/01/2012", "2012-07-01T06:00", "", "9999-01-01"]


@dataclass(frozen=True)
class Line:
    site: str
    day: str
    value: str
    qualifier: str

    @property
    def fields(self) -> list[str]:
        return [self.site, self.day, self.value, self.qualifier]


def lines_of(values: list[str], days: list[str]) -> st.SearchStrategy[list[Line]]:
    line = st.builds(
        Line,
        site=st.sampled_from([SITE, SITE, OTHER]),
        day=st.sampled_from(days),
        value=st.sampled_from(values),
        qualifier=st.sampled_from([*QUALIFIERS]),
    )
    return st.lists(line, min_size=1, max_size=30)


JULY = [f"2012-07-{day:02d}" for day in range(1, 32)]
CLEAN = lines_of([*NUMBERS, *WORDS], JULY)
DIRTY = lines_of([*NUMBERS, *WORDS, *BROKEN], JULY + BROKEN_DAYS)


def expect(lines: list[Line], first: int) -> dict[str, tuple[float, str]] | str:
    """By day the value and flag of SITE, or how the message about the first fault begins.

    `first` is the number of the first line.
    """
    mine = [(number, line) for number, line in enumerate(lines, first) if line.site == SITE]
    if not mine:
        return "holds"
    for number, line in mine:
        try:
            assert datetime.strptime(line.day, "%Y-%m-%d").year < 2201
        except (ValueError, AssertionError):
            return f"line {number}: date '{line.day}'"
    by_day: dict[str, list[tuple[float, str, int]]] = {}
    for number, line in mine:
        value, flag = math.nan, WORDS.get(line.value, "")
        if not flag:
            flag = QUALIFIERS[line.qualifier]
            if line.value not in BROKEN:
                value = float(line.value) or 0.0  # -0 is 0
            if not math.isfinite(value):
                return f"line {number}: discharge '{line.value}' on {line.day}"
        by_day.setdefault(line.day, []).append((value, flag, number))
    found = {}
    for day, held in sorted(by_day.items()):
        values = [one for one in held if not math.isnan(one[0])]
        for (one, _, at), (other, _, also) in pairwise(values):
            if one != other:
                return (
                    f"site {SITE}: {day} has the values {one:g} and {other:g} "
                    f"(line {at} and line {also})"
                )
        found[day] = (values or held)[0][:2]
    return found


def check(folder: Path, lines: list[Line], first: int, **gauges: object) -> None:
    """Read a file in `folder`, and compare with `expect`."""
    expected = expect(lines, first)
    catalog = make_catalog(folder, real=[-3.1], **gauges)
    if isinstance(expected, str):
        with pytest.raises(InputError) as error:
            read_gauges(catalog, [SITE])
        assert str(error.value).partition(": ")[2].startswith(expected)
        return
    record = read_gauges(catalog, [SITE])[SITE]
    days = sorted(expected)
    assert record.start.strftime("%Y-%m-%d").tolist() == days
    values = [expected[day][0] * FT3 for day in days]
    np.testing.assert_array_equal(record.discharge, values)  # bit for bit
    assert record.flag.tolist() == [FLAGS[expected[day][1]] for day in days]


def write_csv(path: Path, lines: list[Line], quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=quoting)
        writer.writerow(["site_no", "datetime", "discharge", "code"])
        writer.writerows(line.fields for line in lines)


CSV = {"format": "csv", "files": "q.csv", "columns": {"flag": "code"}}


@given(lines=CLEAN | DIRTY, batch=st.sampled_from([2**16, 7]))
def test_csv(tmp_path_factory: pytest.TempPathFactory, lines: list[Line], batch: int) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BATCH", batch)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
            write_csv(folder / "q.csv", lines, quoting)
            check(folder, lines, 2, **CSV)


@given(lines=CLEAN | DIRTY, ends=st.sampled_from(["\n", "\r\n", "\x85"]))
def test_rdb(tmp_path_factory: pytest.TempPathFactory, lines: list[Line], ends: str) -> None:
    folder = tmp_path_factory.mktemp("rdb")
    rows = ["\t".join(["USGS", *line.fields]) for line in lines]
    text = (HEADER + "\n".join(rows) + "\n").replace("\n", ends)
    (folder / "record.txt").write_bytes(text.encode())
    check(folder, lines, 3)


ODD = [[], [], [""], ["  "], ["# x"], ["5s\t15s"], HEADER.split("\n")]


@given(data=st.data(), lines=CLEAN | DIRTY)
def test_rdb_with_odd_lines_among_the_values(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, lines: list[Line]
) -> None:
    """Each odd line stands before some line, whose number in a message counts it."""
    folder = tmp_path_factory.mktemp("rdb")
    text, numbers = HEADER.rstrip("\n").split("\n"), []
    for line in lines:
        text += data.draw(st.sampled_from(ODD))
        row = "\t".join([data.draw(st.sampled_from(["USGS", "usgs", " USGS", "1"])), *line.fields])
        numbers.append(len(text) + 1)
        text.append(row.rstrip("\t") if data.draw(st.booleans()) else row)
    (folder / "record.txt").write_text("\n".join(text) + "\n")
    mine = [number for number, line in zip(numbers, lines, strict=True) if line.site == SITE]
    expected = expect(lines, 0)
    if isinstance(expected, str) and expected.startswith("line "):
        at, _, rest = expected[5:].partition(":")
        catalog = make_catalog(folder)
        with pytest.raises(InputError) as error:
            read_gauges(catalog, [SITE])
        assert f": line {numbers[int(at)]}:{rest}" in str(error.value)
        assert numbers[int(at)] in mine
    elif isinstance(expected, dict):
        check(folder, lines, 0)


@given(lines=CLEAN)
def test_features_of_the_water_data_api(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Line]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    features = [
        {
            "properties": {
                "approval_status": line.qualifier,
                "monitoring_location_id": f"USGS-{line.site}",
                "parameter_code": "00060",
                "qualifier": None,
                "statistic_id": "00003",
                "time": line.day,
                "time_series_id": "aa",
                "unit_of_measure": "ft^3/s",
                "value": line.value,
            }
        }
        for line in lines
    ]
    (folder / "q.json").write_text(json.dumps({"features": features}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BATCH", 7)
        if not isinstance(expect(lines, 1), str):
            check(folder, lines, 1, format="waterdata", files="q.json")


def test_a_short_line_and_a_long_line_of_a_csv(tmp_path: Path) -> None:
    text = f"site_no,datetime,discharge,code\n{SITE},2012-07-01,1,A\n\n{SITE},2012-07-02\n"
    (tmp_path / "q.csv").write_text(text)
    record = read_gauges(make_catalog(tmp_path, **CSV), [SITE])[SITE]
    np.testing.assert_array_equal(record.discharge, [FT3, np.nan])
    (tmp_path / "q.csv").write_text(f"{text}{SITE},2012-07-03,1,A,surplus\n")
    with pytest.raises(InputError, match=r"line 5 holds 5 fields: expected at most 4"):
        read_gauges(make_catalog(tmp_path, **CSV), [SITE])


def test_a_series_keeps_its_name_in_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 3)
    header = HEADER.splitlines()[0] + "\t2_00060_00003\n"
    lines = [f"USGS\t{SITE}\t{day}\t{k}\tA\t{k + 0.5}" for k, day in enumerate(JULY)]
    (tmp_path / "record.txt").write_text(header + "\n".join(lines) + "\n")
    record = read_gauges(make_catalog(tmp_path, series={SITE: "2"}), [SITE])[SITE]
    np.testing.assert_array_equal(record.discharge, (np.arange(31) + 0.5) * FT3)
