"""Instants to the store's steps, against dense numerical integration and by hand; local time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog.time import Period
from pipeline.errors import InputError
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.read import read_gauges
from pipeline.gauges.record import GaugeRecord
from pipeline.gauges.to_steps import on_steps, shift_seconds
from pipeline.store.read import open_gauges
from tests.pipeline.gauges.test_read import SITE, make_catalog
from tests.pipeline.handmade import BOXES, World

START = datetime(2012, 7, 1)
HOUR = 3600.0
APPROVED, PROVISIONAL = FLAGS["approved"], FLAGS["provisional"]


def record_of(
    minutes: list[float] | np.ndarray, discharge: object, flag: object = APPROVED
) -> GaugeRecord:
    """Instants at minutes from START."""
    time = pd.DatetimeIndex(START + pd.to_timedelta(np.asarray(minutes, float), unit="min"))
    values = np.broadcast_to(np.asarray(discharge, float), time.shape).copy()
    codes = np.broadcast_to(np.asarray(flag, np.uint8), time.shape).copy()
    return GaugeRecord(SITE, time.as_unit("ns"), timedelta(0), values, codes, Path("record"))


def period_of(step: str, steps: int) -> Period:
    width = timedelta(hours=1) if step == "hour" else timedelta(days=1)
    return Period.model_validate({"step": step, "start": START, "end": START + steps * width})


# --- the mean ----------------------------------------------------------------------------------


def test_a_line_has_its_value_in_the_middle_of_each_step() -> None:
    minutes = np.cumsum([-7, 5, 5, 15, 15, 15, 5, 30, 60, 60, 15, 5])  # no two hours alike
    discharge, flag = on_steps(record_of(minutes, 10 + minutes / 60), period_of("hour", 3))
    np.testing.assert_allclose(discharge, [10.5, 11.5, 12.5], rtol=1e-6)
    assert set(flag) == {APPROVED}


def test_a_flash_between_two_steps_is_shared_by_time() -> None:
    # readings only at :45, :50, :55 and :10; a triangle of 10 m3/s with its foot at :45 and :10
    record = record_of([0, 45, 60, 70, 120], [0, 0, 10, 0, 0])
    discharge, _ = on_steps(record, period_of("hour", 2))
    np.testing.assert_allclose(discharge, [10 * 15 / 2 / 60, 10 * 10 / 2 / 60], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_spacing_against_dense_integration(data: st.DataObject) -> None:
    spacing = data.draw(st.lists(st.sampled_from([1, 5, 15, 60, 72, 73, 200]), min_size=2,
                                 max_size=60))  # fmt: skip
    minutes = data.draw(st.integers(-120, 300)) + np.cumsum(spacing)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.gamma(1, 10, minutes.size)
    values[rng.random(minutes.size) < 0.1] = np.nan
    codes = np.where(np.isnan(values), FLAGS["ice"], APPROVED)
    min_valid = data.draw(st.sampled_from([0.05, 0.5, 0.8, 1.0]))
    steps = 6
    record = record_of(minutes, values, codes)
    if minutes[-1] <= 0 or minutes[0] >= 60 * steps:
        with pytest.raises(InputError, match="expected an overlap with the period"):
            on_steps(record, period_of("hour", steps), min_valid)
        return
    discharge, flag = on_steps(record, period_of("hour", steps), min_valid)
    # every second's value, by interpolation between its own two readings
    seconds = (np.arange(steps * 3600) + 0.5) / 60
    after = np.searchsorted(minutes, seconds)
    held = (after > 0) & (after < minutes.size)
    dense = np.full(seconds.size, np.nan)
    for i in np.flatnonzero(held):
        left, right = after[i] - 1, after[i]
        if minutes[right] - minutes[left] <= 72:
            share = (seconds[i] - minutes[left]) / (minutes[right] - minutes[left])
            dense[i] = values[left] + share * (values[right] - values[left])
    for step, part in enumerate(dense.reshape(steps, 3600)):
        share = np.isfinite(part).mean()
        assert np.isfinite(discharge[step]) == (share >= min_valid)
        if share >= min_valid:
            assert discharge[step] == pytest.approx(np.nanmean(part), rel=1e-5, abs=1e-6)
            assert flag[step] == APPROVED
        else:
            assert flag[step] in (FLAGS["missing"], FLAGS["ice"])


def test_days_of_real_readings(domst_data: Path, tmp_path: Path) -> None:
    """The day's mean of 15-minute values, against numpy's own trapezoid."""
    path = domst_data / "gauges" / "nwis_json_endDST.json"
    catalog = make_catalog(
        tmp_path, format="json", files=str(path), values="instantaneous"
    )  # fmt: skip
    record = read_gauges(catalog, ["01541000"])["01541000"]
    begin = datetime(2018, 11, 4, 4)  # midnight, daylight saving time; the day has 25 hours
    period = Period.model_validate({"step": "day", "start": begin, "end": begin + timedelta(1)})
    discharge, flag = on_steps(record, period)
    held = (record.start >= begin) & (record.start <= begin + timedelta(1))
    seconds = (record.start[held] - begin).total_seconds()
    expected = np.trapezoid(record.discharge[held], seconds) / 86400
    assert held.sum() == 97
    assert discharge == pytest.approx([expected], rel=1e-6)
    assert flag.tolist() == [PROVISIONAL]


# --- how much must be there --------------------------------------------------------------------


@pytest.mark.parametrize(("last", "enough"), [(48, True), (47, False)])
def test_the_least_share_of_a_step(last: int, enough: bool) -> None:
    discharge, flag = on_steps(record_of(np.arange(0, last + 1), 5.0), period_of("hour", 1))
    assert bool(np.isfinite(discharge[0])) is enough
    assert flag[0] == (APPROVED if enough else FLAGS["missing"])


def test_gaps_are_bridged_up_to_their_limit() -> None:
    period = period_of("hour", 4)
    record = record_of([0, 60, 132, 240], 5.0)  # 60, 72 and 108 minutes
    discharge, _ = on_steps(record, period)
    assert np.isfinite(discharge).tolist() == [True, True, False, False]
    discharge, _ = on_steps(record, period, max_gap=timedelta(minutes=108))
    assert np.isfinite(discharge).all()
    discharge, _ = on_steps(record, period, max_gap=timedelta(minutes=59))
    assert np.isnan(discharge).all()


def test_a_withheld_reading_is_not_bridged() -> None:
    minutes = np.arange(0, 181, 15)
    values, codes = np.full(minutes.size, 5.0), np.full(minutes.size, APPROVED)
    values[6], codes[6] = np.nan, FLAGS["ice"]  # 01:30
    discharge, flag = on_steps(record_of(minutes, values, codes), period_of("hour", 3))
    assert np.isnan(discharge).tolist() == [False, True, False]
    assert flag.tolist() == [APPROVED, FLAGS["ice"], APPROVED]
    discharge, flag = on_steps(record_of(minutes, values, codes), period_of("hour", 3), 0.5)
    assert discharge.tolist() == [5.0, 5.0, 5.0]


# --- flags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "worst"),
    [
        (["approved", "approved"], "approved"),
        (["approved", "provisional"], "provisional"),
        (["approved_estimated", "provisional"], "provisional_estimated"),
        (["approved", "approved_estimated"], "approved_estimated"),
        (["provisional", "unqualified"], "unqualified"),
        (["unqualified", "approved_estimated"], "estimated"),
        (["estimated", "approved"], "estimated"),
    ],
)
def test_the_flag_is_the_worst(flags: list[str], worst: str) -> None:
    for order in (flags, flags[::-1]):
        codes = [FLAGS[order[0]]] * 3 + [FLAGS[order[1]]] * 2
        record = record_of([0, 15, 30, 45, 60], 5.0, codes)
        _, flag = on_steps(record, period_of("hour", 1))
        assert flag.tolist() == [FLAGS[worst]]


def test_the_reason_is_the_one_that_lasts_longest() -> None:
    for reasons, expected in (
        (["ice", "ice", "ice", "equipment"], "ice"),
        (["ice", "equipment", "equipment", "equipment"], "equipment"),
        (["missing", "unavailable", "missing", "missing"], "unavailable"),
        (["missing", "missing", "missing", "missing"], "missing"),
    ):
        codes = [APPROVED, *(FLAGS[r] for r in reasons), APPROVED]
        values = [5.0, *(np.nan for _ in reasons), 5.0]
        record = record_of([0, 12, 24, 36, 48, 60], values, codes)
        discharge, flag = on_steps(record, period_of("hour", 1))
        assert np.isnan(discharge).all()
        assert flag.tolist() == [FLAGS[expected]]


# --- local time --------------------------------------------------------------------------------


def read_local(folder: Path, *times: str, zone: str | None = "America/New_York", **keys: object):
    """The instants of a CSV of local times."""
    lines = [f"{SITE},{time},{k}" for k, time in enumerate(times, start=1)]
    (folder / "q.csv").write_text("\n".join(["site_no,datetime,discharge", *lines]) + "\n")
    gauges = {"format": "csv", "files": "q.csv", "values": "instantaneous", **keys}
    if zone:
        gauges["time_zone"] = zone
    return read_gauges(make_catalog(folder, **gauges), [SITE])[SITE]


def quarter_hours(first: datetime, count: int, zone: str) -> tuple[list[str], list[datetime]]:
    """What a clock showed every 15 minutes, and the instants, naive UTC."""
    utc = [first + timedelta(minutes=15 * k) for k in range(count)]
    local = [t.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)) for t in utc]
    return [f"{t:%Y-%m-%d %H:%M}" for t in local], utc


@pytest.mark.parametrize("zone", ["America/New_York", "America/Chicago", "UTC", "Etc/GMT+6"])
@pytest.mark.parametrize("first", [datetime(2018, 11, 4, 2), datetime(2018, 3, 11, 3)])
def test_local_times_across_both_changes(tmp_path: Path, first: datetime, zone: str) -> None:
    local, utc = quarter_hours(first, 40, zone)
    record = read_local(tmp_path, *local, zone=zone)
    assert record.start.to_pydatetime().tolist() == utc


def test_the_repeated_hour_in_hourly_readings(tmp_path: Path) -> None:
    record = read_local(tmp_path, "2018-11-04 00:00", "2018-11-04 01:00", "2018-11-04 01:00")
    assert record.start.hour.tolist() == [4, 5, 6]


def test_times_that_the_clock_did_not_show_or_showed_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3: time '2018-03-11 02:15' was skipped when"):
        read_local(tmp_path, "2018-03-11 01:45", "2018-03-11 02:15")
    with pytest.raises(InputError, match=r"line 2: time '2018-11-04 01:15' occurred twice when"):
        read_local(tmp_path, "2018-11-04 01:15", "2018-11-04 01:45", "2018-11-04 02:00")
    with pytest.raises(InputError, match=r"line 2: time '2018-07-04 01:15' has no offset from"):
        read_local(tmp_path, "2018-07-04 01:15", zone=None)
    record = read_local(tmp_path, "2018-11-04 01:15-04:00", "2018-11-04 01:15-05:00", zone=None)
    assert record.start.hour.tolist() == [5, 6]


def test_formats_of_local_times(tmp_path: Path) -> None:
    record = read_local(tmp_path, "7/4/2018 1:15 PM", time_format="%m/%d/%Y %I:%M %p")
    assert record.start.tolist() == [pd.Timestamp("2018-07-04T17:15")]
    record = read_local(tmp_path, "04.07.2018 13:15 +0200", time_format="%d.%m.%Y %H:%M %z")
    assert record.start.tolist() == [pd.Timestamp("2018-07-04T11:15")]
    with pytest.raises(InputError, match=r"line 2: time '2018-07-04': expected an instant as %d"):
        read_local(tmp_path, "2018-07-04", time_format="%d.%m.%Y %H:%M")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"time_zone": "America/Nowhere", "values": "instantaneous"}, "expected an IANA time zone"),
        ({"series": {SITE: "1"}}, "series is for rdb, json, waterml, waterdata, format is csv"),
        ({"time_zone": "UTC"}, "time_zone is for instantaneous values, values is daily"),
        ({"min_valid": 0.5}, "min_valid is for instantaneous values, values is daily"),
        ({"max_gap": "2h"}, "max_gap is for instantaneous values, values is daily"),
        (
            {"time": {"offset": "6h"}, "values": "instantaneous"},
            "time is for daily values, values is instantaneous",
        ),
        (
            {"format": "json", "time_zone": "UTC", "values": "instantaneous"},
            "time_zone is for csv, netcdf",
        ),
        ({"values": "instantaneous", "min_valid": 0}, "gauges.min_valid: 0: .* greater than 0"),
        ({"values": "instantaneous", "max_gap": "0h"}, "gauges.max_gap: .* greater than 0 days"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(
    tmp_path: Path, keys: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_catalog(tmp_path, **{"format": "csv"} | keys)


# --- into the store ----------------------------------------------------------------------------


def test_instants_reach_the_store_by_the_catalogs_rule(world: World) -> None:
    """Half-hourly readings, of which one day lacks a quarter."""
    lines = ["site_no,datetime,discharge,code"]
    times = pd.date_range("2020-01-01", "2020-01-13", freq="30min")
    for site in BOXES:
        for number, time in enumerate(times):
            if not pd.Timestamp("2020-01-03T06:00") < time < pd.Timestamp("2020-01-03T12:00"):
                lines.append(f"{site},{time:%Y-%m-%dT%H:%MZ},{10 + number / 48},A")
    (world.folder / "discharge.csv").write_text("\n".join(lines) + "\n")
    gauges = {
        "format": "csv", "files": "discharge.csv", "units": "m3/s", "values": "instantaneous",
        "columns": {"flag": "code"},
    }  # fmt: skip
    for keys, third in (({}, np.nan), ({"min_valid": 0.7}, None), ({"max_gap": "6h"}, 12.5)):
        world.edit(gauges=gauges | keys)
        shutil.rmtree(world.store, ignore_errors=True)
        result = world.run()
        assert result.exit_code == 0, result.output
        stored = open_gauges(world.store)
        discharge = stored.discharge.values
        expected = 10.5 + np.arange(12)
        if third is None:  # the mean over the other 18 hours: 12.125 and 12.75 by hours of each
            third = (6 * 12.125 + 12 * 12.75) / 18
        expected[2] = third
        np.testing.assert_allclose(discharge, np.tile(expected, (2, 1)), rtol=1e-5)
        missing = np.isnan(expected)
        np.testing.assert_array_equal(stored.flag.values == FLAGS["missing"], [missing, missing])


def test_by_how_much_a_day_ends_after_its_step() -> None:
    """A day of Central Standard Time ends 18 hours after a step that ends at 12 UTC."""
    period = Period(step="day", start=datetime(2020, 1, 1, 12), end=datetime(2020, 1, 11, 12))
    start = pd.date_range("2020-01-02 06:00", periods=5, freq="D", unit="ns")
    record = GaugeRecord(
        "01", start, timedelta(days=1), np.ones(5), np.ones(5, np.uint8), Path("made")
    )
    assert shift_seconds(record, period) == 18 * 3600
    level = replace(record, start=start + pd.Timedelta(hours=6))
    assert shift_seconds(level, period) == 0
    moved = replace(record, start=start - pd.to_timedelta([0, 0, 0, 1, 1], "h"))
    assert shift_seconds(moved, period) == 18 * 3600, "two days of daylight saving"
    instants = replace(record, interval=timedelta(0))
    assert shift_seconds(instants, period) == 0
