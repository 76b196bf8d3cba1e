"""Records of the agency's services against a second, independent reading of the same files."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.gauges.record import GaugeRecord
from tests.pipeline.gauges.test_read import flags, make_catalog

FT3 = 0.3048**3  # m3
SITE = "01541000"
INSTANTS = {"values": "instantaneous"}


def instant(text: str) -> datetime:
    """Naive UTC of a text with an offset, by the standard library."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def series_of(path: Path, site: str, statistics: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(time, value, qualifiers) of a site's discharge in a JSON answer, straight from the file."""
    found = []
    for series in json.loads(path.read_text())["value"]["timeSeries"]:
        _, number, parameter, statistic = series["name"].split(":")
        if (number, parameter) == (site, "00060") and statistic in statistics:
            for value in (v for block in series["values"] for v in block["value"]):
                found.append((value["dateTime"], value["value"], " ".join(value["qualifiers"])))
    return found


def assert_holds(record: GaugeRecord, expected: list[tuple[datetime, str, str]]) -> None:
    """The record is the expected (time, value, qualifiers), in order of time, each time once."""
    by_time = {time: (value, qualifier) for time, value, qualifier in expected}
    assert record.start.to_pydatetime().tolist() == sorted(by_time)
    names = {
        "A": "approved", "P": "provisional", "P e": "provisional_estimated",
        "P Ice": "ice", "P Dis": "unavailable",
    }  # fmt: skip
    for time, discharge, flag in zip(record.start, record.discharge, flags(record), strict=True):
        value, qualifier = by_time[time.to_pydatetime()]
        assert flag == names[qualifier]
        held = flag not in ("ice", "unavailable")
        assert discharge == pytest.approx(float(value) * FT3 if held else np.nan, nan_ok=True)


# --- JSON of the older services ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "site", "count"),
    [
        ("nwis_json_startDST.json", "01541000", 284),
        ("nwis_json_endDST.json", "01541000", 292),
        ("nwis_json_mult_flags.json", "01542500", 438),
        ("nwis_json_diff_freq.json", "01541000", 96),
        ("nwis_json_diff_freq.json", "01570500", 48),
        ("nwis_json_tzfail.json", "02489500", 240),
        ("nwis_json_tzfail.json", "02492000", 240),
        ("waterservices/waterservices_iv.txt", "01491000", 5),
        ("waterservices/waterservices_iv.txt", "01645000", 5),
    ],
)
def test_real_json_of_instants(
    domst_data: Path, tmp_path: Path, name: str, site: str, count: int
) -> None:
    path = domst_data / "gauges" / name
    catalog = make_catalog(tmp_path, format="json", files=str(path), **INSTANTS)
    record = read_gauges(catalog, [site])[site]
    expected = [(instant(t), v, q) for t, v, q in series_of(path, site, ("00000", "00011"))]
    assert len(expected) == count
    assert record.interval == timedelta(0)
    assert_holds(record, expected)


@pytest.mark.parametrize(("name", "days"), [("startDST", 3), ("endDST", 3)])
def test_changes_of_the_clock_leave_no_gap_and_no_overlap(
    domst_data: Path, tmp_path: Path, name: str, days: int
) -> None:
    path = domst_data / "gauges" / f"nwis_json_{name}.json"
    catalog = make_catalog(tmp_path, format="json", files=str(path), **INSTANTS)
    start = read_gauges(catalog, [SITE])[SITE].start
    hour = {"startDST": -1, "endDST": 1}[name]
    # three local days are an hour short, or long, of 72 hours
    assert start[-1] - start[0] == timedelta(days=days, hours=hour, minutes=-15)
    assert set(np.diff(start)) == {np.timedelta64(15, "m")}


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("nwis_json_daily_dupe.json", "03107698"),
        ("waterservices/waterservices_dv.txt", "01491000"),
        ("waterservices/waterservices_dv.txt", "01645000"),
    ],
)
def test_real_json_of_days(domst_data: Path, tmp_path: Path, name: str, site: str) -> None:
    path = domst_data / "gauges" / name
    settings = {"format": "json", "files": str(path), "time": {"offset": "5h"}}
    record = read_gauges(make_catalog(tmp_path, **settings), [site])[site]
    five = timedelta(hours=5)
    days = series_of(path, site, ("00003",))
    assert_holds(record, [(datetime.fromisoformat(t) + five, v, q) for t, v, q in days])
    if "dupe" in name:
        assert len(days) == 8
        assert len(record.start) == 7  # one day is there twice


def test_recorded_answers_for_other_parameters_hold_no_discharge(
    domst_data: Path, tmp_path: Path
) -> None:
    for name, site in (("nwis_iv_mock", "03339000"), ("nwis_iv_empty_mock", "03339000")):
        path = domst_data / "gauges" / "waterservices" / f"{name}.json"
        catalog = make_catalog(tmp_path, format="json", files=str(path), **INSTANTS)
        if "empty" in name:
            with pytest.raises(InputError, match=r"holds nothing: expected a record of 03339000"):
                read_gauges(catalog, [site])
            continue
        record = read_gauges(catalog, [site])[site]  # no unit and no statistic is stated
        assert record.start[0] == pd.Timestamp("2018-01-24")
        assert record.discharge[0] == pytest.approx(FT3)
        assert flags(record)[0] == "approved"
    daily = make_catalog(
        tmp_path, format="json",
        files=str(domst_data / "gauges" / "nwis_json_endDST.json"),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"holds nothing: .* 01541000, daily means of discharge"):
        read_gauges(daily, [SITE])


def answer(*methods: tuple[str, list[tuple[str, str]]], unit: str = "ft3/s") -> dict[str, Any]:
    """A JSON answer of instants: per method its description and (time, value) pairs."""
    blocks = [
        {
            "method": [{"methodID": 100 + k, "methodDescription": description}],
            "value": [{"dateTime": t, "value": v, "qualifiers": ["P"]} for t, v in values],
        }
        for k, (description, values) in enumerate(methods)
    ]
    variable = {
        "variableCode": [{"value": "00060"}],
        "unit": {"unitCode": unit},
        "options": {"option": [{"name": "Statistic", "optionCode": "00000"}]},
    }
    source = {"siteCode": [{"value": SITE}]}
    series = {"sourceInfo": source, "variable": variable, "values": blocks}
    return {"value": {"timeSeries": [series]}}


def read_answer(folder: Path, content: Any, **gauges: object) -> GaugeRecord:
    """The record of SITE in a JSON file of `content`."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "answer.json").write_text(text)
    settings = {"format": "json", "files": "answer.json"} | INSTANTS | gauges
    return read_gauges(make_catalog(folder, **settings), [SITE])[SITE]


def test_several_methods_need_a_choice(tmp_path: Path) -> None:
    values = [("2018-06-01T00:00:00.000-04:00", "1")]
    other = [("2018-06-01T00:00:00.000-04:00", "2")]
    both = answer(("", values), ("WALNUT ST PIER", other))
    with pytest.raises(
        InputError, match=r"series 100, 101 WALNUT ST PIER: expected a choice of one in gauges.ser"
    ):
        read_answer(tmp_path, both)
    for choice, expected in (("100", 1), ("101", 2), ("101 WALNUT ST PIER", 2)):
        record = read_answer(tmp_path, both, series={SITE: choice})
        assert record.discharge == pytest.approx([expected * FT3])
    # one that holds no value is no candidate
    for nothing in ([], [("2018-06-01T00:00:00.000-04:00", "-999999")]):
        record = read_answer(tmp_path, answer(("", nothing), ("WALNUT ST PIER", other)))
        assert record.discharge == pytest.approx([2 * FT3])


def test_one_instant_in_two_offsets(tmp_path: Path) -> None:
    same = [("2018-06-01T00:00:00.000-04:00", "7"), ("2018-05-31T23:00:00.000-05:00", "7.0")]
    record = read_answer(tmp_path, answer(("", same)))
    assert record.start.tolist() == [pd.Timestamp("2018-06-01T04:00")]
    differ = [same[0], ("2018-06-01T04:00:00Z", "8")]
    with pytest.raises(
        InputError,
        match=r"2018-06-01T00:00:00.000-04:00 has the values 7 and 8 \(site 01541000, method 100, "
        r"value 1 and site 01541000, method 100, value 2\): expected one per instant",
    ):
        read_answer(tmp_path, answer(("", differ)))


@pytest.mark.parametrize("method", [[], [{"methodID": 1}]])
def test_an_answer_without_values_is_no_record(tmp_path: Path, method: list[Any]) -> None:
    nothing = answer(("", []))
    nothing["value"]["timeSeries"][0]["values"] = [{"value": [], "method": method}]
    with pytest.raises(InputError, match=r"answer.json: holds nothing: expected a record"):
        read_answer(tmp_path, nothing)


def test_broken_answers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"answer.json: not JSON .*: expected an answer"):
        read_answer(tmp_path, "<!DOCTYPE html><html>Service unavailable</html>")
    contents: list[Any] = [{}, [], {"value": {"timeSeries": [{}]}}, {"value": None}]
    for content in contents:
        with pytest.raises(
            InputError, match=r"answer.json: malformed .*: expected value.timeSeries"
        ):
            read_answer(tmp_path, content)
    with pytest.raises(InputError, match=r"states 'm3/s' \(m3/s\): expected ft3/s, the gauges"):
        read_answer(tmp_path, answer(("", []), unit="m3/s"))
    some = answer(("", [("2018-06-01T00:00:00-04:00", "1")]))
    with pytest.raises(InputError, match=r"states 'ft3/s' \(ft3/s\): expected m3/s, the gauges"):
        read_answer(tmp_path, some, units="m3/s")
    with pytest.raises(InputError, match=r"value 1: discharge 'x' on 2018-06-01T00:00:00-04:00"):
        read_answer(tmp_path, answer(("", [("2018-06-01T00:00:00-04:00", "x")])))
    for time in ("2018-06-01T00:00:00", "yesterday"):
        with pytest.raises(InputError, match=rf"value 1: time '{time}' has no offset from UTC"):
            read_answer(tmp_path, answer(("", [(time, "1")])))
    with pytest.raises(InputError, match=r"time '2018-06-31T00:00:00Z': expected an instant"):
        read_answer(tmp_path, answer(("", [("2018-06-31T00:00:00Z", "1")])))


# --- WaterML -----------------------------------------------------------------------------------

WATERML = """<ns1:timeSeriesResponse xmlns:ns1="http://www.cuahsi.org/waterML/1.1/">
<ns1:timeSeries><ns1:sourceInfo><ns1:siteCode>01541000</ns1:siteCode></ns1:sourceInfo>
<ns1:variable><ns1:variableCode>00060</ns1:variableCode>
<ns1:unit><ns1:unitCode>{unit}</ns1:unitCode></ns1:unit>
<ns1:options><ns1:option name="Statistic" optionCode="{statistic}"/></ns1:options></ns1:variable>
{blocks}</ns1:timeSeries></ns1:timeSeriesResponse>"""


def read_waterml(folder: Path, *blocks: str, **gauges: object) -> GaugeRecord:
    """The record of SITE in a WaterML file whose methods hold the given values."""
    text = "".join(
        f'<ns1:values>{b}<ns1:method methodID="{k}"/></ns1:values>' for k, b in enumerate(blocks)
    )
    statistic = "00003" if gauges.get("values") == "daily" else "00011"
    document = WATERML.format(unit="ft3/s", statistic=statistic, blocks=text)
    (folder / "answer.xml").write_text(document)
    settings = {"format": "waterml", "files": "answer.xml"} | INSTANTS | gauges
    return read_gauges(make_catalog(folder, **settings), [SITE])[SITE]


def value(time: str, text: str, qualifiers: str = "P") -> str:
    return f'<ns1:value qualifiers="{qualifiers}" dateTime="{time}">{text}</ns1:value>'


def test_real_waterml_across_the_end_of_daylight_saving(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "gauges" / "waterml_08068500_dst_end.xml"
    catalog = make_catalog(tmp_path, format="waterml", files=str(path), **INSTANTS)
    record = read_gauges(catalog, ["08068500"])["08068500"]
    block = path.read_text().split('name="USGS:08068500:00060:00011"')[1].split("</ns1:timeSe")[0]
    line = re.compile(r'qualifiers="(\w+)" dateTime="([^"]+)">([^<]*)<')
    expected = [(instant(t), v, q) for q, t, v in line.findall(block)]
    assert len(expected) > 1200
    assert_holds(record, expected)
    local = [t for _, t, _ in line.findall(block) if t.startswith("2011-11-06T01")]
    assert len(local) == 8  # 01:00 to 01:45 twice, in different offsets
    assert set(np.diff(record.start)) == {np.timedelta64(15, "m")}


def test_waterml_withheld_values_methods_and_days(tmp_path: Path) -> None:
    rows = (
        value("2018-06-01T00:00:00-04:00", "-999999", "P Ice"),
        value("2018-06-01T00:15:00-04:00", "-999999.0"),
        value("2018-06-01T00:30:00-04:00", "2.5", "A e"),
        value("2018-06-01T00:45:00-04:00", ""),
    )
    record = read_waterml(tmp_path, "".join(rows))
    assert flags(record) == ["ice", "unavailable", "approved_estimated", "missing"]
    assert record.discharge == pytest.approx([np.nan, np.nan, 2.5 * FT3, np.nan], nan_ok=True)
    with pytest.raises(InputError, match=r"series 0, 1: expected a choice of one"):
        read_waterml(tmp_path, rows[2], rows[2])
    days = value("2018-06-01T00:00:00.000", "3") + value("2018-06-02T00:00:00.000", "4")
    record = read_waterml(tmp_path, days, values="daily", time={"offset": "5h"})
    assert record.start.tolist() == [pd.Timestamp(f"2018-06-0{d}T05:00") for d in (1, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><body>Service unavailable</body></html>", "is 'html': expected a WaterML 1.1"),
        ("Service unavailable", "not XML .*: expected WaterML 1.1"),
        ("", "not XML .*: expected WaterML 1.1"),
        (
            WATERML.format(unit="m3/s", statistic="00011", blocks=""),
            r"states 'm3/s' \(m3/s\): expected ft3/s",
        ),
        (
            WATERML.format(
                unit="ft3/s",
                statistic="00011",
                blocks="<ns1:values><ns1:value>1</ns1:value></ns1:values>",
            ),
            "site 01541000, method without name, value 1: has no dateTime",
        ),
    ],
)
def test_broken_waterml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "answer.xml").write_text(text)
    catalog = make_catalog(tmp_path, format="waterml", files="answer.xml", **INSTANTS)
    with pytest.raises(InputError, match=message):
        read_gauges(catalog, [SITE])


# --- the Water Data API ------------------------------------------------------------------------


def feature(time: str, value: object, **properties: object) -> dict[str, Any]:
    """A feature of instantaneous discharge."""
    return {
        "type": "Feature",
        "properties": {
            "approval_status": "Provisional",
            "monitoring_location_id": f"USGS-{SITE}",
            "parameter_code": "00060",
            "qualifier": None,
            "statistic_id": "00011",
            "time": time,
            "time_series_id": "aa",
            "unit_of_measure": "ft^3/s",
            "value": value,
        }
        | properties,
    }


def read_features(folder: Path, *features: dict[str, Any], **gauges: object) -> GaugeRecord:
    """The record of SITE in a file of features."""
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / "answer.json").write_text(text)
    settings = {"format": "waterdata", "files": "answer.json"} | INSTANTS | gauges
    return read_gauges(make_catalog(folder, **settings), [SITE])[SITE]


def test_recorded_answers_of_the_water_data_api(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "gauges" / "waterservices" / "waterdata_ogc_fixtures.json"
    answers = json.loads(path.read_text())
    (tmp_path / "daily.json").write_text(json.dumps(answers["daily"]))
    settings = {"format": "waterdata", "files": "daily.json", "time": {"offset": "6h"}}
    record = read_gauges(make_catalog(tmp_path, **settings), ["05427718"])["05427718"]
    assert record.start.tolist() == [
        pd.Timestamp("2025-12-26T06:00"),
        pd.Timestamp("2026-03-19T06:00"),
    ]
    assert record.discharge == pytest.approx([20.2 * FT3, 27.1 * FT3])
    assert flags(record) == ["provisional", "provisional"]
    # the latest values of two parameters, of which one is discharge
    (tmp_path / "latest.json").write_text(json.dumps(answers["latest-continuous"]))
    instants = {"format": "waterdata", "files": "latest.json"} | INSTANTS
    record = read_gauges(make_catalog(tmp_path, **instants), ["06904500"])["06904500"]
    assert record.start.tolist() == [pd.Timestamp("2026-08-07T18:45")]
    assert record.discharge == pytest.approx([535 * FT3])
    # stage alone is no record, and neither is the whole set of answers
    (tmp_path / "stage.json").write_text(json.dumps(answers["continuous"]))
    with pytest.raises(InputError, match=r"stage.json: holds nothing: expected a record of 0690"):
        read_gauges(make_catalog(tmp_path, **instants | {"files": "stage.json"}), ["06904500"])
    with pytest.raises(
        InputError, match=r"malformed .KeyError.'features'..: expected features of the Wat"
    ):
        read_gauges(make_catalog(tmp_path, **instants | {"files": str(path)}), ["06904500"])


def test_a_page_of_the_water_data_api_is_no_record(tmp_path: Path) -> None:
    next_page = {"rel": "next", "href": "https://api.waterdata.usgs.gov/ogcapi/v0/?cursor=2"}
    answer = {"type": "FeatureCollection", "features": [], "links": [{"rel": "self"}, next_page]}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    settings = {"format": "waterdata", "files": "answer.json"} | INSTANTS
    with pytest.raises(InputError, match=r"answer.json: one page of several.*: expected the feat"):
        read_gauges(make_catalog(tmp_path, **settings), [SITE])


def test_qualifiers_of_the_water_data_api(tmp_path: Path) -> None:
    approved = {"approval_status": "Approved"}
    record = read_features(
        tmp_path,
        feature("2025-01-01T00:30:00+00:00", "3", qualifier=["ESTIMATED"]),
        feature("2025-01-01T00:00:00+00:00", "1", **approved),
        feature("2025-01-01T01:15:00+01:00", "2", qualifier="ESTIMATED", **approved),
        feature("2025-01-01T00:45:00+00:00", None, qualifier=["ICE"]),
        feature("2025-01-01T01:00:00+00:00", None, qualifier=["EQUIP"]),
        feature("2025-01-01T01:15:00+00:00", None),
        feature("2025-01-01T01:30:00+00:00", "-999999"),
        feature("2025-01-01T01:45:00+00:00", 0, qualifier=["ICE"], **approved),
        feature("2025-01-01T01:30:00+00:00", "1.7", parameter_code="00065", unit_of_measure="ft"),
        feature("2025-01-01", "9", statistic_id="00003"),
    )
    assert record.start.tolist() == pd.date_range("2025-01-01", periods=8, freq="15min").tolist()
    assert record.discharge[:3] == pytest.approx([FT3, 2 * FT3, 3 * FT3])
    assert np.isnan(record.discharge[3:7]).all()
    assert record.discharge[7] == 0
    assert flags(record) == [
        "approved", "approved_estimated", "provisional_estimated",
        "ice", "equipment", "missing", "unavailable", "approved_estimated",
    ]  # fmt: skip


def test_time_series_of_the_water_data_api_need_a_choice(tmp_path: Path) -> None:
    features = [
        feature("2025-01-01T00:00:00Z", "1"),
        feature("2025-01-01T00:00:00Z", "2", time_series_id="bb"),
    ]
    with pytest.raises(InputError, match=r"has the series aa, bb: expected a choice of one"):
        read_features(tmp_path, *features)
    record = read_features(tmp_path, *features, series={SITE: "bb"})
    assert record.discharge == pytest.approx([2 * FT3])
    with pytest.raises(InputError, match=r"states 'm\^3/s' \(m3/s\): expected ft3/s"):
        read_features(tmp_path, feature("2025-01-01T00:00:00Z", "1", unit_of_measure="m^3/s"))


# --- RDB of instants ---------------------------------------------------------------------------


def read_instants(folder: Path, *lines: str, columns: str = "69_00060\t69_00060_cd") -> GaugeRecord:
    """The record of SITE in an RDB of lines `datetime|tz_cd|value|flag`."""
    header = f"agency_cd\tsite_no\tdatetime\ttz_cd\t{columns}\n5s\t15s\t20d\t6s\t14n\t10s\n"
    rows = "".join("\t".join(["USGS", SITE, *line.split("|")]) + "\n" for line in lines)
    (folder / "record.txt").write_text(
        "# 69 00060 Discharge, cubic feet per second\n" + header + rows
    )
    return read_gauges(make_catalog(folder, **INSTANTS), [SITE])[SITE]


def test_rdb_time_zone_codes_at_both_changes(tmp_path: Path) -> None:
    record = read_instants(
        tmp_path,
        "2018-03-11 01:45|EST|1|A", "2018-03-11 03:00|EDT|2|A",
        "2018-11-04 01:30|EDT|3|P", "2018-11-04 01:30|EST|4|P:e", "2018-11-04 01:45|EST|Ice|P",
    )  # fmt: skip
    assert record.start.tolist() == [
        pd.Timestamp(t)
        for t in ("2018-03-11T06:45", "2018-03-11T07:00", "2018-11-04T05:30", "2018-11-04T06:30",
                  "2018-11-04T06:45")
    ]  # fmt: skip
    expected = [FT3, 2 * FT3, 3 * FT3, 4 * FT3, np.nan]
    assert record.discharge == pytest.approx(expected, nan_ok=True)
    assert flags(record)[2:] == ["provisional", "provisional_estimated", "ice"]


def test_rdb_zones_that_are_none_and_records_of_the_other_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 5: tz_cd 'XYZ': expected a code such as CST"):
        read_instants(tmp_path, "2018-03-11 01:45|EST|1|A", "2018-03-11 02:45|XYZ|1|A")
    with pytest.raises(InputError, match=r"69_00060_00003.*: expected .* tz_cd and"):
        read_instants(tmp_path, "2018-03-11|EST|1|A", columns="69_00060_00003\t69_00060_00003_cd")
    read_instants(tmp_path, "2018-03-11 01:45|EST|1|A")
    with pytest.raises(InputError, match=r"69_00060, .*: expected site_no, datetime and daily"):
        read_gauges(make_catalog(tmp_path), [SITE])
