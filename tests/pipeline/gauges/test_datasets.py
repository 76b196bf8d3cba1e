"""Discharge from NetCDF, HYDAT, tables with a column a site and steps by number."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.gauges.record import GaugeRecord
from tests.pipeline.gauges.test_read import FT3, flags, make_catalog

DAYS = pd.date_range("2012-07-01", periods=4)
FLOWS = np.array([[1.5, 2.25, np.nan, 0.1], [10.0, 20.0, 30.0, 40.0]])  # (sites, days)
NAMES = {"site": "gauge", "time": "time", "discharge": "q"}


def dataset(**attributes: Any) -> xr.Dataset:
    data = xr.Dataset(
        {"q": (("gauge", "time"), FLOWS, {"units": "m3 s-1", **attributes})},
        {"gauge": ["007", "ab_1"], "time": DAYS},
    )
    data.encoding["unlimited_dims"] = set()
    return data


def read(
    folder: Path, data: xr.Dataset, sites: Sequence[str] = ("007", "ab_1"), **keys: Any
) -> list[GaugeRecord]:
    data.to_netcdf(folder / "q.nc", engine="netcdf4")
    settings = {"format": "netcdf", "files": "q.nc", "units": "m3/s", "columns": NAMES} | keys
    return [*read_gauges(make_catalog(folder, **settings), sites).values()]


def test_a_variable_over_sites_and_times(tmp_path: Path) -> None:
    """In either order, with any dtype of numbers and sites, packed or not."""
    data = dataset()
    layouts = [data, data.transpose("time", "gauge"), data.astype({"q": np.float32})]
    layouts.append(data.assign_coords(gauge=np.array([b"007", b"ab_1"])))
    for one in layouts:
        for record, expected in zip(read(tmp_path, one), FLOWS, strict=True):
            np.testing.assert_allclose(record.discharge, expected, rtol=1e-7)
            assert record.start.tolist() == DAYS.tolist()
    packed = dataset()
    packed["q"].encoding = {"dtype": "int16", "scale_factor": 0.05, "_FillValue": -9}
    np.testing.assert_allclose(read(tmp_path, packed)[0].discharge, FLOWS[0], atol=0.026)
    (record,) = read(tmp_path, dataset(), ["ab_1"])
    assert record.discharge.tolist() == FLOWS[1].tolist()


def test_a_file_of_one_site(tmp_path: Path) -> None:
    for one in (dataset().isel(gauge=0, drop=True), dataset().isel(gauge=[0], drop=True)):
        one.to_netcdf(tmp_path / "q_007.nc")
        settings = {"format": "netcdf", "files": "q_{site}.nc", "units": "m3/s"}
        catalog = make_catalog(tmp_path, **settings, columns=NAMES | {"site": None})
        np.testing.assert_array_equal(read_gauges(catalog, ["007"])["007"].discharge, FLOWS[0])
    dataset().to_netcdf(tmp_path / "q_007.nc")
    with pytest.raises(InputError, match=r"q of 2 sites: expected one, as gauges.columns.site"):
        read_gauges(catalog, ["007"])


def test_days_have_one_hour(tmp_path: Path) -> None:
    noon = dataset().assign_coords(time=DAYS + pd.Timedelta("12h"))
    assert read(tmp_path, noon)[0].start.tolist() == DAYS.tolist()
    hours = dataset().assign_coords(time=pd.date_range("2012-07-01", periods=4, freq="6h"))
    with pytest.raises(InputError, match="time at 00:00:00, 06:00:00, 12:00:00, 18:00:00"):
        read(tmp_path, hours)
    instants: dict[str, Any] = {"values": "instantaneous"}
    with pytest.raises(InputError, match=r"has no offset from UTC: expected one, or gauges.time_z"):
        read(tmp_path, hours, **instants)
    (record, _) = read(tmp_path, hours, **instants, time_zone="Etc/GMT+6")
    assert record.start[1] == pd.Timestamp("2012-07-01T12:00")
    no_leap = dataset().assign_coords(time=("time", [58.0, 59, 60, 61]))
    no_leap["time"].attrs = {"units": "days since 2012-01-01", "calendar": "360_day"}
    with pytest.raises(InputError, match="'2012-02-30': expected a day"):
        read(tmp_path, no_leap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "ft3 s-1"}, r"q states 'ft3 s-1': expected m3/s, the gauges.units of"),
        ({"units": "mm/d"}, r"q states 'mm/d': expected m3/s"),
        ({"units": "", "unit": "mm/d"}, r"q states 'mm/d': expected m3/s"),
        ({"units": "degC"}, r"q states 'degC'"),
        ({"standard_name": "precipitation_flux"}, r"says 'precip': expected discharge"),
        ({"scale_factor": 0.0}, r"q: scale_factor 0.0: expected a number that is not zero"),
        ({"add_offset": np.nan}, r"q: add_offset nan"),
    ],
)
def test_attributes_that_contradict_the_catalog(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    units = change.pop("units", "m3 s-1")
    data = dataset(**change)
    data["q"].attrs["units"] = units
    if not units:
        del data["q"].attrs["units"]
    with pytest.raises(InputError, match=message):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "codes",
    [
        np.array([1, 9, 1, 1], np.int16),
        np.array([1.0, 9.0, np.nan, 1.0]),  # as whole numbers with a fill value are decoded
        np.array([b"A", b"9", b"A", b"A"]),
        np.array(["A", "9", "", "A"], object),
    ],
    ids=["integers", "floats", "bytes", "texts"],
)
def test_flags_of_any_type_mark_missing_values(tmp_path: Path, codes: np.ndarray) -> None:
    data = dataset()
    data["code"] = (("gauge", "time"), np.stack([codes, codes]))
    record = read(tmp_path, data, columns=NAMES | {"flag": "code"}, missing_flags=["9"])[1]
    np.testing.assert_array_equal(record.discharge, [10.0, np.nan, 30.0, 40.0])


def test_undeclared_codes_are_refused(tmp_path: Path) -> None:
    data = dataset(units="weird")  # which is the catalog's business
    data["q"][0, 1:3] = -1.2345
    with pytest.raises(InputError, match=r"-1.2345 \(2 times\).* at q, time 1, looks like a code"):
        read(tmp_path, data)
    record, _ = read(tmp_path, data, missing=[-1.2345])
    assert flags(record) == ["unqualified", "unavailable", "unavailable", "unqualified"]
    data["q"][0, 1:3] = 9.96921e36
    with pytest.raises(InputError, match=r"discharge '9.96921e\+36' on 2012-07-02"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"discharge": "flow"},
            r"variables .*: expected 'flow', as gauges.columns",
        ),
        ({"discharge": 1, "site": 2, "time": 3}, r"expected one variable each of NetCDF, by name"),
        ({"time": "gauge"}, r"expected times along one dimension"),
        ({"discharge": "cube"}, r"cube \(gauge, time, level\): expected one over time"),
        ({"site": "time"}, r"time of 4: expected one for each of 2 sites"),
        ({"flag": "one"}, r"one \(time\): expected the shape of q \(gauge, time\)"),
        ({"time": "day"}, r"day \(time\) .*: expected times along one dimension"),
    ],
)
def test_variables_of_another_shape(tmp_path: Path, columns: Any, message: str) -> None:
    data = dataset().assign(cube=(("gauge", "time", "level"), np.ones((2, 4, 3))))
    if "flow" in columns.values():
        del data["cube"]
    data["one"] = ("time", ["A"] * 4)
    # an attribute of missing values makes objects of texts
    data["day"] = ("time", [str(day.date()) for day in DAYS], {"missing_value": "none"})
    with pytest.raises(InputError, match=message):
        read(tmp_path, data, columns=NAMES | columns)


def test_a_site_that_a_dataset_lacks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gauge 007, ab_1: expected a record of 9"):
        read(tmp_path, dataset(), ["9"])
    (tmp_path / "q.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    catalog = make_catalog(tmp_path, format="netcdf", files="q.nc", units="m3/s", columns=NAMES)
    with pytest.raises(InputError, match=r"q.nc: not readable \(.*\): expected NetCDF"):
        read_gauges(catalog, ["007"])


# ------------------------------------------------------------------ depths


def test_depths_are_multiplied_by_the_area(tmp_path: Path) -> None:
    """1 mm a day on 86.4 km2 is 1 m3 s-1."""
    (tmp_path / "q.csv").write_text("site_no,datetime,discharge\nA,2012-07-01,2.5\n")
    for units, depth in (("mm/day", 1.0), ("mm/h", 24.0)):
        catalog = make_catalog(tmp_path, format="csv", files="q.csv", units=units)
        record = read_gauges(catalog, ["A"], {"A": 2 * 86.4e6})["A"]
        assert record.discharge == pytest.approx([2 * 2.5 * depth], rel=1e-15)


# ------------------------------------------------------------------ tables


def test_a_column_a_site(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(
        "year,month,day,Q_00398,Q_B1\n2012,07,01,1,\n2012,07,02,2,5\n2012,07,03,3,Ice\n"
    )
    columns = {"site": None, "time": ["year", "month", "day"], "discharge": "Q_{site}"}
    settings: dict[str, Any] = {"format": "csv", "files": "q.csv", "time_format": "%Y %m %d"}
    catalog = make_catalog(tmp_path, **settings, units="m3/s", columns=columns)
    one, two = read_gauges(catalog, ["00398", "B1"]).values()
    assert one.discharge.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(two.discharge, [np.nan, 5, np.nan])
    assert flags(two) == ["missing", "unqualified", "ice"]
    assert one.start.tolist() == two.start.tolist() == DAYS[:3].tolist()
    with pytest.raises(InputError, match=r"columns Q_00398, Q_B1: expected 'Q_\{site\}'.*for C"):
        read_gauges(catalog, ["C"])
    bare = make_catalog(
        tmp_path, **settings, units="m3/s", columns=columns | {"discharge": "{site}"}
    )
    assert read_gauges(bare, ["Q_B1"])["Q_B1"].discharge[1] == 5
    with pytest.raises(InputError, match=r"names a column of each site: expected site: null"):
        make_catalog(tmp_path, **settings, units="m3/s", columns=columns | {"site": "year"})
    (tmp_path / "q.csv").write_text("day,Q_A,Q_B\n2012-07-01,1,2\n2012-07-02,3,x\n")
    plain = {"site": None, "time": "day", "discharge": "Q_{site}"}
    with pytest.raises(InputError, match=r"line 3: discharge 'x' on 2012-07-02"):
        read_gauges(
            make_catalog(tmp_path, format="csv", files="q.csv", units="m3/s", columns=plain),
            ["A", "B"],
        )


def test_steps_instead_of_times(tmp_path: Path) -> None:
    (tmp_path / "q_A.tss").write_text("timeseries scalar\n2\ntimestep\n1\n 1\t4\n 2\t5\n 4\t6\n")
    settings: dict[str, Any] = {
        "format": "csv", "files": "q_{site}.tss", "delimiter": "blanks", "skip": 4,
        "columns": {"site": None, "time": 1, "discharge": 2}, "start": "2012-07-01",
    }  # fmt: skip
    record = read_gauges(make_catalog(tmp_path, **settings), ["A"])["A"]
    assert record.start.tolist() == DAYS[[0, 1, 3]].tolist()
    assert record.discharge == pytest.approx(np.array([4, 5, 6]) * FT3)
    counted = settings | {"columns": {"site": None, "time": None, "discharge": 2}}
    record = read_gauges(make_catalog(tmp_path, **counted), ["A"])["A"]
    assert record.start.tolist() == DAYS[:3].tolist()
    instants = settings | {
        "values": "instantaneous", "start": "2012-07-01T00:00+10:00", "step": "30min",
    }  # fmt: skip
    record = read_gauges(make_catalog(tmp_path, **instants), ["A"])["A"]
    first = pd.Timestamp("2012-06-30T14:00")
    assert [str(one - first) for one in record.start] == [
        "0 days 00:00:00", "0 days 00:30:00", "0 days 01:30:00",
    ]  # fmt: skip
    (tmp_path / "q_A.tss").write_text("a\nb\nc\nd\n0 4\n1 5\n")
    with pytest.raises(InputError, match=r"line 5: step '0': expected a whole number"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    (tmp_path / "q_A.tss").write_text("a\nb\nc\nd\n1 4\n9999999 5\n")
    with pytest.raises(InputError, match=r"step 9999999 of 1 day.*expected a year below 10000"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    (tmp_path / "q_A.tss").write_text("a\nb\nc\nd\n1 4\n2.5 5\n")
    with pytest.raises(InputError, match=r"line 6: step '2.5': expected a whole number"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    for keys, message in (
        ({"time_format": "%Y"}, "expected no time_format"),
        ({"step": "12h"}, "of daily values: expected a day, and 1d"),
        ({"start": "2012-07-01T06:00"}, "of daily values: expected a day, and 1d"),
        ({"values": "instantaneous"}, "start: expected step"),
        ({"start": None, "step": "1d"}, "step: expected start"),
        ({"start": None, "columns": {"time": None}}, "columns.time: null: expected start"),
    ):
        with pytest.raises(InputError, match=message):
            make_catalog(tmp_path, **settings | keys)


def test_the_first_line_may_hold_the_time_of_the_first_value(tmp_path: Path) -> None:
    """Each file has its own; time zones and leap days as datetime has them."""
    (tmp_path / "A.csv").write_text("201202282300\n1.5\n-99\n2.5\n")
    (tmp_path / "B.csv").write_text("201202290030\n7\n")
    settings: dict[str, Any] = {
        "format": "csv", "files": "{site}.csv", "units": "m3/s", "values": "instantaneous",
        "columns": {"site": None, "time": None, "discharge": 1}, "missing": [-99],
        "start": {"first_line": "%Y%m%d%H%M"}, "step": "1h",
    }  # fmt: skip
    found = read_gauges(make_catalog(tmp_path, **settings), ["A", "B"])
    assert found["A"].start.tolist() == pd.date_range("2012-02-28T23", periods=3, freq="h").tolist()
    np.testing.assert_array_equal(found["A"].discharge, [1.5, np.nan, 2.5])
    assert found["B"].start.tolist() == [pd.Timestamp("2012-02-29T00:30")]
    (tmp_path / "A.csv").write_text("2012-02-28 23:00 +0200\n1.5\n")
    zoned = settings | {"start": {"first_line": "%Y-%m-%d %H:%M %z"}}
    assert read_gauges(make_catalog(tmp_path, **zoned), ["A"])["A"].start.tolist() == [
        pd.Timestamp("2012-02-28T21")
    ]
    with pytest.raises(InputError, match=r"A.csv: line 1 '2012-02-28 23:00 \+0200': expected the"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    (tmp_path / "A.csv").write_text("201202282300\n")
    with pytest.raises(InputError, match=r"A.csv: not readable \(it is empty\)"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    for keys, message in (
        ({"skip": 1}, "the first line is the start"),
        ({"time_zone": "Europe/Paris"}, "in UTC: expected no time_format, no time_zone"),
        ({"step": None}, "start: expected step"),
    ):
        with pytest.raises(InputError, match=message):
            make_catalog(tmp_path, **settings | keys)


def test_a_last_line_without_its_newline_may_be_whole(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("site_no,datetime,discharge\nA,2012-07-01,2.5")
    settings: dict[str, Any] = {"format": "csv", "files": "q.csv", "units": "m3/s"}
    with pytest.raises(InputError, match=r"may be cut, or gauges.whole: true in"):
        read_gauges(make_catalog(tmp_path, **settings), ["A"])
    record = read_gauges(make_catalog(tmp_path, **settings, whole=True), ["A"])["A"]
    assert record.discharge.tolist() == [2.5]


# ------------------------------------------------------------------ HYDAT


def hydat(path: Path, months: list[dict[str, Any]]) -> Path:
    columns = [f"FLOW{day}" for day in range(1, 32)] + [f"FLOW_SYMBOL{day}" for day in range(1, 32)]
    table = pd.DataFrame(
        months, columns=["STATION_NUMBER", "YEAR", "MONTH", *columns], dtype=object
    )
    with sqlite3.connect(path) as base:
        table.to_sql("DLY_FLOWS", base, index=False)
    return path


def test_hydat(tmp_path: Path) -> None:
    months = [
        {"STATION_NUMBER": "05AA008", "YEAR": 2011, "MONTH": 2, "FLOW1": 1.5, "FLOW28": 2.0,
         "FLOW_SYMBOL1": "B", "FLOW_SYMBOL28": "A"},
        {"STATION_NUMBER": "05AA008", "YEAR": 2011, "MONTH": 3, "FLOW1": 0.0, "FLOW_SYMBOL1": "D"},
        {"STATION_NUMBER": "05AA009", "YEAR": 2011, "MONTH": 2, "FLOW1": 9.0},
    ]  # fmt: skip
    hydat(tmp_path / "hydat.sqlite3", months)
    settings: dict[str, Any] = {"format": "hydat", "files": "hydat.sqlite3", "units": "m3/s"}
    record = read_gauges(make_catalog(tmp_path, **settings), ["05AA008"])["05AA008"]
    assert len(record.start) == 28 + 31
    with_value = np.flatnonzero(np.isfinite(record.discharge))
    assert with_value.tolist() == [0, 27, 28]
    assert record.discharge[with_value].tolist() == [1.5, 2.0, 0.0]
    assert np.array(flags(record))[with_value].tolist() == [
        "estimated",
        "unqualified",
        "unqualified",
    ]
    with pytest.raises(InputError, match=r"holds 05AA008, 05AA009: expected a record of 05AA010"):
        read_gauges(make_catalog(tmp_path, **settings), ["05AA010"])
    with pytest.raises(InputError, match=r"holds daily means in m3/s: expected no daily values in"):
        read_gauges(make_catalog(tmp_path, **settings | {"units": "cfs"}), ["05AA008"])
    months[0]["FLOW29"] = 1.0  # 29 February 2011
    hydat(tmp_path / "wrong.sqlite3", months)
    catalog = make_catalog(tmp_path, **settings | {"files": "wrong.sqlite3"})
    with pytest.raises(InputError, match=r"05AA008 2011-02: flows after the last day"):
        read_gauges(catalog, ["05AA008"])
    (tmp_path / "wrong.sqlite3").write_bytes(b"no database, but some bytes of text" * 40)
    with pytest.raises(InputError, match=r"not readable \(.*\): expected HYDAT"):
        read_gauges(catalog, ["05AA008"])
