"""Discharge records against independent parsing of the same files, and against broken ones."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.catalog.time import Period
from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.read import read_gauges
from pipeline.gauges.record import GaugeRecord
from pipeline.gauges.site_numbers import site_number
from pipeline.gauges.to_steps import on_steps

FT3 = 0.3048**3  # m3
SITE = "05427930"
HEADER = "agency_cd\tsite_no\tdatetime\t01_00060_00003\t01_00060_00003_cd\n5s\t15s\t20d\t14n\t10s\n"


def make_catalog(folder: Path, **gauges: object) -> Catalog:
    """A catalog in `folder` whose gauges are as given."""
    settings: dict[str, object] = {"format": "rdb", "files": "record.txt", "units": "ft3/s"}
    catalog = {
        "title": "test",
        "root": str(folder),
        "period": {"step": "day", "start": "2012-07-01", "end": "2012-08-01"},
        "forcings": {
            "precipitation": {"driver": "geotiff", "files": "p_{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": settings | gauges,
        "watersheds": {"file": "basins.gpkg", "site_field": "site"},
    }
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog))
    return load_catalog(path)


def read_rows(folder: Path, *rows: str, header: str = HEADER) -> GaugeRecord:
    """The record of SITE in an RDB of lines `day value flag`, joined by blanks."""
    lines = ["\t".join(["USGS", SITE, *row.split(" ")]) for row in rows]
    (folder / "record.txt").write_text(header + "\n".join(lines) + "\n")
    return read_gauges(make_catalog(folder), [SITE])[SITE]


def flags(record: GaugeRecord) -> list[str]:
    """Meanings of the record's flags."""
    meaning = {code: name for name, code in FLAGS.items()}
    return [meaning[int(code)] for code in record.flag]


# --- the real files, parsed a second way ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("dc_full.txt", "05427930"),
        ("smc_full.txt", "05427910"),
        ("rdb_example.txt", "02177000"),
    ],
)
def test_real_rdb_files_line_by_line(
    domst_data: Path, tmp_path: Path, name: str, site: str
) -> None:
    path = domst_data / "gauges" / name
    record = read_gauges(make_catalog(tmp_path, files=str(path)), [site])[site]
    line = re.compile(rf"USGS\t{site}\t(\d{{4}}-\d\d-\d\d)\t([^\t]*)\t([^\t\n]*)")
    expected = sorted(line.findall(path.read_text()))
    assert len(expected) == len(record.start) > 30
    assert [f"{t:%Y-%m-%d}" for t in record.start] == [day for day, _, _ in expected]
    for value, flag, (_, text, qualifier) in zip(
        record.discharge, flags(record), expected, strict=True
    ):
        if text == "":
            assert np.isnan(value)
            assert flag == "missing"
            continue
        assert value == pytest.approx(float(text) * FT3, rel=1e-12)
        names = {"A": "approved", "A:e": "approved_estimated"}
        names |= {"P": "provisional", "P:e": "provisional_estimated"}
        assert flag == names[qualifier]
    assert record.source == path.resolve()


def test_blanks_of_the_real_files_are_not_zero(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "gauges" / "dc_full.txt"
    record = read_gauges(make_catalog(tmp_path, files=str(path)), [SITE])[SITE]
    days = record.start[np.isnan(record.discharge)].strftime("%Y-%m-%d").tolist()
    assert days == ["2023-06-28", "2023-06-29", "2023-06-30"]
    assert (record.discharge[~np.isnan(record.discharge)] > 0).all()


def test_daddys_creek_against_the_csv_module(domst_data: Path) -> None:
    catalog = load_catalog(Path(__file__).parents[3] / "catalogs" / "daddys_creek.yaml")
    record = read_gauges(catalog, ["03539600"])["03539600"]
    with (domst_data / "daddys_creek" / "discharge_03539600.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    expected = [(datetime.strptime(day, "%m/%d/%Y"), float(q)) for _, _, day, q in rows]
    six = timedelta(hours=6)  # midnight in Central Standard Time
    assert record.start.to_pydatetime().tolist() == [day + six for day, _ in expected]
    assert record.discharge == pytest.approx([q * FT3 for _, q in expected], rel=1e-12)
    assert set(flags(record)) == {"unqualified"}

    # PRISM's day D and the gauge's local day D share a step: 2016-01-01 comes first
    discharge, flag = on_steps(record, catalog.period)
    assert discharge.shape == flag.shape == (2192,)
    by_day = {day: q for day, q in expected if day >= datetime(2016, 1, 1)}
    assert discharge == pytest.approx([q * FT3 for q in by_day.values()], rel=1e-6)


# --- what stands where a value would ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "flag"),
    [
        ("12.5 A", 12.5, "approved"),
        ("12.5 A:e", 12.5, "approved_estimated"),
        ("12.5 P", 12.5, "provisional"),
        ("12.5 P:e", 12.5, "provisional_estimated"),
        ("12.5 e", 12.5, "estimated"),
        ("12.5 A:[91]", 12.5, "approved"),
        ("12.5 ", 12.5, "unqualified"),
        ("12.5", 12.5, "unqualified"),  # an editor dropped the tabs at the end of the line
        ("0.00 A", 0.0, "approved"),
        ("-3.1 P", -3.1, "provisional"),  # tides push the river back
        (" A", np.nan, "missing"),
        ("", np.nan, "missing"),
        ("Ice P", np.nan, "ice"),
        ("Eqp P", np.nan, "equipment"),
        ("-999999 P:Ice", np.nan, "ice"),
        ("-999999 P:Eqp", np.nan, "equipment"),
        ("-999999 P", np.nan, "unavailable"),
        ("-999999.00 A", np.nan, "unavailable"),
        ("12.5 P:Ice", np.nan, "ice"),
        ("Ssn P", np.nan, "unavailable"),
        ("*** P", np.nan, "unavailable"),
    ],
)
def test_values_and_flags(tmp_path: Path, text: str, value: float, flag: str) -> None:
    record = read_rows(tmp_path, f"2012-07-01 {text}", "2012-07-02 1 A")
    assert record.discharge[0] == pytest.approx(value * FT3, nan_ok=True)
    assert flags(record) == [flag, "approved"]


@pytest.mark.parametrize("value", ["x12", "1,250", "nan", "inf"])
def test_other_values_are_refused_with_their_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=rf"record.txt: line 4: discharge '{value}' on 2012-07-02"):
        read_rows(tmp_path, "2012-07-01 1 A", f"2012-07-02 {value} A")


def test_flags_are_cf_values() -> None:
    codes = list(FLAGS.values())
    assert len(set(codes)) == len(codes)
    assert FLAGS["missing"] == 0
    assert all(re.fullmatch(r"\w+", name) for name in FLAGS)
    assert all(0 <= code < 256 for code in codes)


# --- days --------------------------------------------------------------------------------------


@given(order=st.permutations(range(6)))
def test_order_of_lines_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("rdb")
    lines = [f"2012-07-0{day + 1} {day * 10} A" for day in range(6)]
    record = read_rows(folder, *(lines[i] for i in order))
    assert record.discharge == pytest.approx(np.arange(6) * 10 * FT3)
    assert record.start.tolist() == pd.date_range("2012-07-01", periods=6).tolist()


def test_equal_duplicates_collapse_and_a_number_beats_a_blank(tmp_path: Path) -> None:
    record = read_rows(
        tmp_path,
        "2012-07-01 5.0 A",
        "2012-07-01 5.00 A",
        "2012-07-02 -999999 P:Dis",
        "2012-07-02 7 P",
        "2012-07-02 Ice P",
    )
    assert record.discharge == pytest.approx([5 * FT3, 7 * FT3])
    assert flags(record) == ["approved", "provisional"]


def test_a_day_with_two_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"05427930: 2012-07-01 has the values 5 and 6 \(line 3 and line 5\)"
    ):
        read_rows(tmp_path, "2012-07-01 5 A", "2012-07-02 5 A", "2012-07-01 6 A")


@pytest.mark.parametrize("date", ["2012-13-01", "07/01/2012", "2012-07-01T06:00", ""])
def test_bad_dates_are_refused_with_their_line(tmp_path: Path, date: str) -> None:
    with pytest.raises(InputError, match=rf"line 3: date '{date}': expected a day as %Y-%m-%d"):
        read_rows(tmp_path, f"{date} 5 A")


# --- RDB ---------------------------------------------------------------------------------------


def test_blocks_of_several_sites_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "record.txt").write_text(
        "# Data provided for site 02177000\n"
        "agency_cd\tsite_no\tdatetime\t9_00010_00003\t9_00010_00003_cd\t"
        "1_00060_00003\t1_00060_00003_cd\n"
        "5s\t15s\t20d\t14n\t10s\t14n\t10s\n"
        "USGS\t02177000\t2012-07-01\t15\tA\t100\tA\n"
        "#\n" + HEADER + f"USGS\t{SITE}\t2012-07-01\t7\tP\n"
    )
    records = read_gauges(make_catalog(tmp_path), [SITE, "2177000"])
    assert list(records) == [SITE, "02177000"]
    assert records[SITE].discharge == pytest.approx([7 * FT3])
    assert records["02177000"].discharge == pytest.approx([100 * FT3])


def test_blocks_of_sites_without_discharge_are_passed_over(tmp_path: Path) -> None:
    stage = (
        "agency_cd\tsite_no\tdatetime\t3_00065_00003\t3_00065_00003_cd\n5s\t15s\t20d\t14n\t10s\n"
    )
    line = "USGS\t02177000\t2012-07-01\t1.5\tA\n"
    (tmp_path / "record.txt").write_text(
        stage + line + HEADER + f"USGS\t{SITE}\t2012-07-01\t7\tP\n" + stage + line
    )
    record = read_gauges(make_catalog(tmp_path), [SITE])[SITE]
    assert record.discharge == pytest.approx([7 * FT3])
    with pytest.raises(InputError, match=r"holds 05427930: expected a record of 02177000"):
        read_gauges(make_catalog(tmp_path), ["02177000"])


def test_one_file_a_site(tmp_path: Path) -> None:
    for site, value in ((SITE, 3), ("02177000", 4)):
        text = HEADER + f"USGS\t{site}\t2012-07-01\t{value}\tA\n"
        (tmp_path / f"q_{site}.txt").write_text(text)
    records = read_gauges(make_catalog(tmp_path, files="q_{site}.txt"), [SITE, "02177000"])
    assert [r.discharge[0] for r in records.values()] == pytest.approx([3 * FT3, 4 * FT3])
    with pytest.raises(InputError, match=r"q_01234567.txt: not readable"):
        read_gauges(make_catalog(tmp_path, files="q_{site}.txt"), ["01234567"])


def test_several_discharge_columns_need_a_choice(tmp_path: Path) -> None:
    header = "agency_cd\tsite_no\tdatetime\t1_00060_00003\t1_00060_00003_cd\t2_00060_00003\n"
    with pytest.raises(
        InputError,
        match=r"site 05427930: discharge has the series 1, 2: expected a choice of one in gauges",
    ):
        read_rows(tmp_path, "2012-07-01 1 A 2", header=header)
    for series, value in (("1", 1), ("2", 2)):
        catalog = make_catalog(tmp_path, series={"5427930": series})
        assert read_gauges(catalog, [SITE])[SITE].discharge == pytest.approx([value * FT3])
    with pytest.raises(InputError, match=r"series 1, 2: expected one of them, not '3', in gauges"):
        read_gauges(make_catalog(tmp_path, series={SITE: "3"}), [SITE])


def test_a_column_without_a_number_is_no_candidate(tmp_path: Path) -> None:
    header = "agency_cd\tsite_no\tdatetime\t1_00060_00003\t1_00060_00003_cd\t2_00060_00003\n"
    record = read_rows(tmp_path, "2012-07-01 -999999 P:Dis 2", "2012-07-02   3", header=header)
    assert record.discharge == pytest.approx([2 * FT3, 3 * FT3])


def test_other_statistics_are_not_daily_means(tmp_path: Path) -> None:
    header = "agency_cd\tsite_no\tdatetime\t1_00060_00001\t1_00060_00001_cd\n"
    with pytest.raises(InputError, match=r"1_00060_00001.*: expected .* NN_00060_00003"):
        read_rows(tmp_path, "2012-07-01 1 A", header=header)


def test_an_html_page_is_not_a_record(tmp_path: Path) -> None:
    (tmp_path / "record.txt").write_text("<!DOCTYPE html>\n<html>Service unavailable</html>\n")
    with pytest.raises(InputError, match=r"line 1 .*DOCTYPE.* expected a header that starts with"):
        read_gauges(make_catalog(tmp_path), [SITE])


def test_a_line_with_too_many_fields(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3 holds 6 .*: expected at most 5"):
        read_rows(tmp_path, "2012-07-01 1 A surplus")


def test_a_site_that_the_file_lacks(tmp_path: Path) -> None:
    read_rows(tmp_path, "2012-07-01 1 A")
    with pytest.raises(
        InputError, match=r"record.txt: holds 05427930: expected a record of 01234567"
    ):
        read_gauges(make_catalog(tmp_path), [SITE, "01234567"])


# --- units -------------------------------------------------------------------------------------


def test_rdb_units_that_contradict_the_catalog(tmp_path: Path) -> None:
    read_rows(tmp_path, "2012-07-01 1 A")
    with pytest.raises(InputError, match=r"01_00060_00003: parameter 00060 is in ft3/s"):
        read_gauges(make_catalog(tmp_path, units="m3/s"), [SITE])
    comment = "#  01  00060  00003  Discharge, cubic meters per second (Mean)\n"
    with pytest.raises(
        InputError, match=r"states 'cubic meters per second' \(m3/s\): expected ft3/s"
    ):
        read_rows(tmp_path, "2012-07-01 1 A", header=comment + HEADER)


def test_csv_units(tmp_path: Path) -> None:
    columns = {"discharge": "Flow (cms)"}
    (tmp_path / "q.csv").write_text(f"site_no,datetime,Flow (cms)\n{SITE},2012-07-01,2.5\n")
    settings = {"format": "csv", "files": "q.csv", "columns": columns}
    record = read_gauges(make_catalog(tmp_path, **settings, units="m3/s"), [SITE])[SITE]
    assert record.discharge == pytest.approx([2.5])
    with pytest.raises(InputError, match=r"q.csv: states 'cms' \(m3/s\): expected ft3/s"):
        read_gauges(make_catalog(tmp_path, **settings, units="ft3/s"), [SITE])


# --- CSV ---------------------------------------------------------------------------------------


def test_csv_flags_and_lost_zeros(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(
        "station,day,Q,code\n5427930,7/2/2012,,\n5427930.0,7/1/2012,10,A:e\n5427930,7/3/2012,Ice,P\n"
    )
    columns = {"site": "station", "time": "day", "discharge": "Q", "flag": "code"}
    catalog = make_catalog(
        tmp_path, format="csv", files="q.csv", columns=columns, time_format="%m/%d/%Y"
    )
    record = read_gauges(catalog, [SITE])[SITE]
    assert record.discharge == pytest.approx([10 * FT3, np.nan, np.nan], nan_ok=True)
    assert flags(record) == ["approved_estimated", "missing", "ice"]


def test_csv_columns_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("site_no,datetime,flow\n")
    with pytest.raises(
        InputError,
        match=r"columns site_no, datetime, flow: lacks 'discharge': expected discharge once, as",
    ):
        read_gauges(make_catalog(tmp_path, format="csv", files="q.csv"), [SITE])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_csv_that_is_not_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "q.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"q.csv: not readable"):
        read_gauges(make_catalog(tmp_path, format="csv", files="q.csv"), [SITE])


@pytest.mark.parametrize(
    ("text", "site", "plain"),
    [
        ("3539600", "03539600", "3539600"),
        (3539600, "03539600", "3539600"),
        (3539600.0, "03539600", "3539600"),
        (" 03539600 ", "03539600", "03539600"),
        ("431208089314601", "431208089314601", "431208089314601"),
        ("S-17", "S-17", "S-17"),
        ("00398", "00000398", "00398"),
        ("398", "00000398", "398"),
        ("\uff13", "\uff13", "\uff13"),  # a digit elsewhere
    ],
)
def test_site_number(text: object, site: str, plain: str) -> None:
    assert site_number(text, usgs=True) == site
    assert site_number(text, usgs=False) == plain


# --- pairing with the store's steps ------------------------------------------------------------


def record_of(days: int, start: datetime) -> GaugeRecord:
    """A record 0, 1, 2, ... of `days` daily values."""
    return GaugeRecord(
        site_no=SITE,
        start=pd.date_range(start, periods=days, unit="ns"),
        interval=timedelta(days=1),
        discharge=np.arange(days, dtype=np.float64),
        flag=np.full(days, FLAGS["approved"], dtype=np.uint8),
        source=Path("record.txt"),
    )


@given(
    step=st.sampled_from(["hour", "day"]),
    shift=st.integers(-60, 60),
    days=st.integers(1, 6),
    steps=st.integers(1, 80),
)
def test_pairing_by_exhaustive_search(step: str, shift: int, days: int, steps: int) -> None:
    start = datetime(2012, 7, 1)
    width = timedelta(hours=1) if step == "hour" else timedelta(days=1)
    period = Period.model_validate({"step": step, "start": start, "end": start + steps * width})
    record = record_of(days, start + timedelta(hours=shift))
    expected = np.full(steps, np.nan)
    for day in range(days):
        end = start + timedelta(hours=shift) + timedelta(days=day + 1)
        # steps past the period's end take part, so that its last step is not given what is theirs
        ended = [k for k in range(steps + 24 * 40) if start + (k + 1) * width <= end]
        if ended and ended[-1] < steps:
            expected[ended[-1]] = day
    if np.isnan(expected).all():
        with pytest.raises(InputError, match="expected an overlap with the period"):
            on_steps(record, period)
        return
    discharge, flag = on_steps(record, period)
    assert discharge.dtype == np.float32
    assert flag.dtype == np.uint8
    np.testing.assert_array_equal(discharge, expected)
    np.testing.assert_array_equal(flag == FLAGS["approved"], ~np.isnan(expected))


def test_no_overlap_names_both_spans() -> None:
    period = Period.model_validate({"step": "day", "start": "2015-01-01", "end": "2016-01-01"})
    with pytest.raises(InputError) as caught:
        on_steps(record_of(3, datetime(2012, 7, 1)), period)
    assert "2012-07-01 00:00:00 to 2012-07-04 00:00:00" in str(caught.value)
    assert "2015-01-01 00:00:00 to 2016-01-01 00:00:00" in str(caught.value)
    assert "\n" not in str(caught.value)
