"""Tables as agencies write them: foreign records with their verified figures, and layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.gauges.record import GaugeRecord
from tests.pipeline.gauges.test_read import FT3, SITE, flags, make_catalog

ONE_SITE: dict[str, Any] = {"site": None}
# file, site, keys of the catalog, and what is verified: days, first and last day, least and largest
FOREIGN: list[tuple[str, str, dict[str, Any], tuple[int, str, str, float, float]]] = [
    (
        "grdc_{site}.day",
        "9104020",
        {
            "columns": ONE_SITE | {"time": "YYYY-MM-DD", "discharge": "Original"},
            "delimiter": ";", "comment": "#", "encoding": "latin-1", "missing": [-999],
        },
        (792, "1887-11-01", "1889-12-31", 53.0, 2630.0),
    ),
    (
        "hzb_{site}_Q-Tagesmittel.csv",
        "207373",
        {
            "columns": ONE_SITE | {"time": 1, "discharge": 2}, "delimiter": ";", "decimal": ",",
            "skip": "Werte:", "encoding": "latin-1", "time_format": "%d.%m.%Y %H:%M:%S",
            "missing": ["Lücke"],
        },
        (6211, "1996-01-01", "2013-01-01", np.nan, 10185.0),
    ),
    (
        "hzb_{site}.dat",
        "kloesterle",
        {
            "columns": ONE_SITE | {"time": [1, 2], "discharge": 3}, "delimiter": "blanks",
            "skip": "Werte:", "encoding": "latin-1", "time_format": "%d.%m.%Y %H:%M:%S",
        },
        (3287, "1961-01-01", "1969-12-31", np.nan, 48.8),
    ),
    (
        "nve_hydag_{site}.txt",
        "2200022",
        {
            "columns": ONE_SITE | {"time": 1, "discharge": 2}, "delimiter": "blanks",
            "comment": "#", "time_format": "%Y%m%d/1200", "missing": [-9999],
        },
        (15705, "1973-01-01", "2015-12-31", np.nan, 156.6),
    ),
    (
        "zrxp_{site}.dat",
        "oberammergau",
        {
            "columns": ONE_SITE | {"time": 1, "discharge": 2}, "delimiter": "blanks",
            "comment": "#", "time_format": "%Y%m%d1200", "missing": [-777],
        },
        (3348, "1920-11-01", "1929-12-31", 0.80, 45.0),
    ),
    (
        "camels_us_{site}_streamflow_qc.txt",
        "03015500",
        {
            "columns": {"site": 1, "time": [2, 3, 4], "discharge": 5, "flag": 6},
            "delimiter": "blanks", "time_format": "%Y %m %d",
        },
        (1096, "2000-01-01", "2002-12-31", 42.0, 6380.0),
    ),
    (
        "eccc_{site}_Daily_Flow_ts.csv",
        "04JD005",
        {
            "columns": {"site": "ID", "time": "Date", "discharge": "Flow", "flag": "SYM"},
            "time_format": "%Y/%m/%d",
        },
        (17898, "1968-01-01", "2016-12-31", 0.873, 382.0),
    ),
    (
        "hydroportail_{site}.csv",
        "J2023010",
        {
            "columns": ONE_SITE | {"time": "Date (TU)", "discharge": "Valeur (en m³/s)"},
            "time_format": "%Y-%m-%dT00:00:00.000Z",
        },
        (15510, "1981-11-27", "2024-05-14", 0.059, 48.1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "site", "keys", "verified"), FOREIGN, ids=lambda one: str(one)[:9]
)
def test_foreign_records(
    domst_data: Path,
    tmp_path: Path,
    name: str,
    site: str,
    keys: dict[str, Any],
    verified: tuple[int, str, str, float, float],
) -> None:
    files = str(domst_data / "foreign" / "gauges" / name)
    catalog = make_catalog(tmp_path, format="csv", files=files, units="m3/s", **keys)
    record = read_gauges(catalog, [site])[site]
    days, first, last, least, largest = verified
    assert len(record.start) == days
    assert [f"{record.start[k]:%Y-%m-%d}" for k in (0, -1)] == [first, last]
    found = (np.nanmin(record.discharge), np.nanmax(record.discharge))
    for value, expected in zip(found, (least, largest), strict=True):
        assert np.isnan(expected) or value == pytest.approx(expected, rel=1e-3)
    assert (np.nan_to_num(record.discharge) >= 0).all()


def test_foreign_instants_with_the_time_before_the_day(domst_data: Path, tmp_path: Path) -> None:
    files = str(domst_data / "foreign" / "gauges" / "delwp_{site}_MeanWaterFlow_head.csv")
    settings: dict[str, Any] = {
        "format": "csv", "files": files, "units": "m3/s", "values": "instantaneous", "skip": 2,
        "columns": {"site": None, "time": "Date", "discharge": "Mean"},
        "time_format": "%H:%M:%S %d/%m/%Y", "time_zone": "Australia/Brisbane",
    }  # fmt: skip
    record = read_gauges(make_catalog(tmp_path, **settings), ["404204"])["404204"]
    assert len(record.start) == 6000
    assert record.start[0] == pd.Timestamp("2020-12-31T14:00")
    assert set(np.diff(record.start)) == {np.timedelta64(1, "h")}
    assert record.discharge.max() == 529.99


def test_a_quality_code_that_withholds_zeros(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "foreign" / "gauges" / "wmis_406265_streamflow_15min.csv"
    settings: dict[str, Any] = {
        "format": "csv", "files": str(path.with_name("wmis_{site}_streamflow_15min.csv")),
        "units": "m3/s", "values": "instantaneous", "time_format": "%Y/%m/%d %H:%M:%S",
        "time_zone": "Etc/GMT-10",
        "columns": {"site": None, "time": "Date Time", "discharge": "VALUE", "flag": "QUALITY"},
        "missing_flags": ["170", "151"],
    }  # fmt: skip
    record = read_gauges(make_catalog(tmp_path, **settings), ["406265"])["406265"]
    table = pd.read_csv(path)
    none = table["QUALITY"].isin([170, 151])
    assert none.sum() > 3000
    np.testing.assert_array_equal(record.discharge, table["VALUE"].where(~none))
    assert set(np.array(flags(record))[none]) == {"unavailable"}
    del settings["columns"]["flag"]
    with pytest.raises(InputError, match=r"missing_flags are qualifiers: expected columns.flag"):
        make_catalog(tmp_path, **settings)


@pytest.mark.parametrize("time", ["2012", "2012-07", "201207", "2012-0701", "12-07-01"])
def test_an_instant_names_a_whole_day(tmp_path: Path, time: str) -> None:
    with pytest.raises(InputError, match=rf"line 2: time '{time}': expected an instant"):
        read(
            tmp_path, f"site_no,datetime,discharge\n{SITE},{time},1\n",
            values="instantaneous", time_zone="UTC",
        )  # fmt: skip


def read(folder: Path, text: str, **keys: Any) -> GaugeRecord:
    """The record of SITE in a table."""
    (folder / "q.csv").write_text(text)
    return read_gauges(make_catalog(folder, format="csv", files="q.csv", **keys), [SITE])[SITE]


def test_hour_24_is_the_next_midnight(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"values": "instantaneous", "time_zone": "UTC"}
    expected = pd.to_datetime(["2020-12-31 23:00", "2021-01-01 00:00", "2021-01-01 01:00"])
    for time_format, late, others in (
        (None, "2020-12-31T24:00", "%Y-%m-%dT%H:%M"),
        ("%d.%m.%Y %H:%M", "31.12.2020 24:00", "%d.%m.%Y %H:%M"),
        ("%Y%m%d%H%M", "202012312400", "%Y%m%d%H%M"),
        ("%Y%m%d%H", "2020123124", "%Y%m%d%H"),
    ):
        times = [expected[0].strftime(others), late, expected[2].strftime(others)]
        lines = "".join(f"{SITE},{time},{k}\n" for k, time in enumerate(times))
        extra = {"time_format": time_format} if time_format else {}
        record = read(tmp_path, f"site_no,datetime,discharge\n{lines}", **keys, **extra)
        assert record.start.tolist() == expected.tolist()
        assert record.discharge == pytest.approx([0, FT3, 2 * FT3])
    for wrong in ("2020-12-31T24:30", "2020-12-31T25:00", "2020-12-32T24:00"):
        with pytest.raises(InputError, match=rf"line 2: time '{wrong}': expected an instant"):
            read(tmp_path, f"site_no,datetime,discharge\n{SITE},{wrong},1\n", **keys)


def test_days_without_marks_have_eight_digits(tmp_path: Path) -> None:
    """2020123 is 2020-12-03 or 2020-01-23."""
    head = "site_no,datetime,discharge\n"
    record = read(tmp_path, f"{head}{SITE},20201203,1\n", time_format="%Y%m%d")
    assert record.start.tolist() == [pd.Timestamp("2020-12-03")]
    with pytest.raises(InputError, match=r"line 2: date '2020123': expected a day as %Y%m%d"):
        read(tmp_path, f"{head}{SITE},2020123,1\n", time_format="%Y%m%d")


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("site_no;datetime;discharge\nS;2012-07-01;1\n", {}, r"lacks 'datetime'.*delimiter is ','"),
        ("site_no,datetime,discharge,discharge\nS,2012-07-01,1,2\n", {}, "has twice 'discharge'"),
        (
            "site_no;datetime;discharge\nS;2012-07-01;1.5\n",
            {"delimiter": ";", "decimal": ","},
            r"line 2: discharge '1.5' .* up to 1e\+09 with a decimal comma",
        ),
        (
            "site_no;datetime;discharge\nS;2012-07-01;1,5\n",
            {"delimiter": ";"},
            r"line 2: discharge '1,5' .* expected a number",
        ),
        (
            "site_no;datetime;discharge\nS;2012-07-01;1.234,5\n",
            {"delimiter": ";", "decimal": ","},
            r"line 2: discharge '1.234,5'",
        ),
        (
            '\nsite_no,datetime,discharge\n\nS,2012-07-01,"1,234"\n',
            {},
            r"line 4: discharge '1,234' on 2012-07-01: expected a number",
        ),
        ("a\nb\n", {"skip": 9}, r"holds 3 lines: expected more after gauges.skip 9"),
        ("a\nb\n", {"skip": "DATA"}, r"expected more after gauges.skip 'DATA'"),
        (
            "# Unit: m³/s\nsite_no,datetime,discharge\nS,2012-07-01,1\n",
            {"comment": "#"},
            r"states 'm³/s' \(m3/s\): expected ft3/s",
        ),
        ('site_no,datetime,discharge\nS,2012-07-01,"1\n', {}, r"line 2: unexpected end of data"),
    ],
)
def test_layouts_that_are_refused(
    tmp_path: Path, text: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text.replace("S,", f"{SITE},").replace("S;", f"{SITE};"), **keys)


def test_line_numbers_count_what_is_left_out(tmp_path: Path) -> None:
    text = f"about\n# a\n\nsite_no datetime  discharge\n# b\n{SITE} 2012-07-01  1\n\n{SITE} x 2\n"
    with pytest.raises(InputError, match=r"q.csv: line 8: date 'x'"):
        read(tmp_path, text, skip=1, comment="#", delimiter="blanks")
