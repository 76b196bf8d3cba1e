"""Codes for no value that nothing declares, and numbers that Python reads and people do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.gauges.codes import suspected_codes
from pipeline.gauges.read import read_gauges
from tests.pipeline.gauges.test_read import FT3, HEADER, SITE, flags, make_catalog, read_rows


def write_csv(folder: Path, *values: str) -> dict[str, object]:
    """A CSV of SITE, one value a day from 2012-07-01; the settings that read it."""
    lines = [f"{SITE},2012-07-{day:02d},{value}" for day, value in enumerate(values, 1)]
    (folder / "q.csv").write_text("\n".join(["site_no,datetime,discharge", *lines, ""]))
    return {"format": "csv", "files": "q.csv"}


@pytest.mark.parametrize(
    ("code", "count"),
    [("-99", 2), ("-99", 1), ("-999.0", 3), ("-9999", 1), ("-1", 2), ("-1.2345", 4), ("-99.9", 1),
     ("-777", 2), ("9999", 2), ("99999.0", 3)],
)  # fmt: skip
def test_a_constant_is_refused_until_the_catalog_names_it(
    tmp_path: Path, code: str, count: int
) -> None:
    settings = write_csv(tmp_path, "3", *[code] * count, "5.5", "-0.02")
    with pytest.raises(
        InputError,
        match=rf"q.csv: site {SITE}: discharge {float(code):g} \({count} times\), first "
        rf"{float(code):g} at line 3, looks like a code .* gauges.missing of .* gauges.real",
    ):
        read_gauges(make_catalog(tmp_path, **settings), [SITE])
    record = read_gauges(make_catalog(tmp_path, **settings, missing=[float(code)]), [SITE])[SITE]
    expected = [3 * FT3, *[np.nan] * count, 5.5 * FT3, -0.02 * FT3]
    np.testing.assert_allclose(record.discharge, expected)
    assert flags(record) == ["unqualified", *["unavailable"] * count, *["unqualified"] * 2]
    record = read_gauges(make_catalog(tmp_path, **settings, real=[float(code)]), [SITE])[SITE]
    assert record.discharge[1] == pytest.approx(float(code) * FT3)


def test_codes_in_an_rdb(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"discharge -99 \(2 times\), first -99 at line 4,"):
        read_rows(tmp_path, "2012-07-01 1 A", "2012-07-02 -99 A", "2012-07-03 -99 A")


def test_words_for_no_value(tmp_path: Path) -> None:
    settings = write_csv(tmp_path, "3", "NA", "Lücke", "-77.70")
    with pytest.raises(InputError, match=r"line 3: discharge 'NA' on .* gauges.missing in"):
        read_gauges(make_catalog(tmp_path, **settings), [SITE])
    catalog = make_catalog(tmp_path, **settings, missing=["na", "LÜCKE", "-77.7"])
    record = read_gauges(catalog, [SITE])[SITE]
    np.testing.assert_array_equal(record.discharge, [3 * FT3, np.nan, np.nan, np.nan])


@given(
    tide=st.floats(5, 5000),
    base=st.floats(0, 4000),
    phase=st.floats(0, 6),
    digits=st.integers(3, 4),
)
def test_tides_are_no_codes(tide: float, base: float, phase: float, digits: int) -> None:
    """A tidal record flows back through many values, of which some repeat."""
    hours = np.arange(2000)
    flow = base + tide * np.sin(hours * 2 * np.pi / 12.42 + phase)
    rounded = np.array([float(f"{one:.{digits}g}") for one in flow])
    negative = np.unique(rounded[rounded < 0])
    if base < 0.9 * tide:  # flows back for more than a moment
        assert negative.size > 3
        found = suspected_codes(rounded, [])
        # the smallest and rarest only: near zero the values lie far apart
        assert all(abs(value) < tide / 20 or value == negative[0] for value in found)
    for code in (-99999.0, -99999.9):
        holed = np.where(hours % 50 == 7, code, rounded)
        assert code in suspected_codes(holed, [])
        assert code not in suspected_codes(holed, [code])


def test_real_rivers_are_not_suspected(domst_data: Path, tmp_path: Path) -> None:
    for name, site in (("dc_full.txt", "05427930"), ("smc_full.txt", "05427910")):
        catalog = make_catalog(tmp_path, files=str(domst_data / "gauges" / name))
        values = read_gauges(catalog, [site])[site].discharge
        assert suspected_codes(values / FT3, []) == {}
        assert suspected_codes(np.append(values, [-99.0, -99.0]), []) == {-99.0: 2}


def test_a_foreign_record_whose_code_nothing_declares(domst_data: Path, tmp_path: Path) -> None:
    """1172 values of -1, without header or unit."""
    path = domst_data / "foreign" / "gauges" / "headerless_grendon_underwood.csv"
    settings = {
        "format": "csv", "files": str(path.with_name("headerless_{site}.csv")), "units": "m3/s",
        "delimiter": ";", "decimal": ",", "time_format": "%d.%m.%Y",
        "columns": {"site": None, "time": 1, "discharge": 2},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"discharge -1 \(1172 times\)"):
        read_gauges(make_catalog(tmp_path, **settings), ["grendon_underwood"])
    catalog = make_catalog(tmp_path, **settings, missing=[-1])
    record = read_gauges(catalog, ["grendon_underwood"])["grendon_underwood"]
    text = [line.split(";") for line in path.read_text().split()]
    values = np.array([float(q.replace(",", ".")) for _, q in text])
    values[values == -1] = np.nan
    np.testing.assert_array_equal(record.discharge, values)
    assert record.start.strftime("%d.%m.%Y").tolist() == [day for day, _ in text]
    assert len(text) == 13606


@pytest.mark.parametrize("text", ["12", "12.5"])
def test_a_record_cut_in_its_last_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.txt").write_text(f"{HEADER}USGS\t{SITE}\t2012-07-01\t{text}")
    with pytest.raises(InputError, match=rf"record.txt: line 3 .*{text}' ends without a newline"):
        read_gauges(make_catalog(tmp_path), [SITE])
    for cut in (f"{SITE},2012-07-01,{text}", f"{SITE},2012-0"):
        (tmp_path / "q.csv").write_text(f"site_no,datetime,discharge\n{cut}")
        with pytest.raises(InputError, match=rf"q.csv: line 2 '{cut}' ends without a newline"):
            read_gauges(make_catalog(tmp_path, format="csv", files="q.csv"), [SITE])
    (tmp_path / "q.csv").write_text(f"site_no,datetime,discharge,note\n{SITE},2012-07-01,{text},a")
    record = read_gauges(make_catalog(tmp_path, format="csv", files="q.csv"), [SITE])[SITE]
    assert record.discharge == pytest.approx([float(text) * FT3])


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    record = read_rows(tmp_path, "2012-07-01 -0.00 A", "2012-07-02 -0 A")
    assert not np.signbit(record.discharge).any()


def test_keys_that_contradict_each_other(tmp_path: Path) -> None:
    settings: list[tuple[dict[str, object], str]] = [
        ({"missing": [-99], "real": [-99]}, r"\[-99.0\]: expected in one of missing and real"),
        ({"format": "csv", "delimiter": ",", "decimal": ","}, "expected two marks"),
        ({"format": "csv", "encoding": "klingon"}, "expected an encoding such as"),
        ({"delimiter": ";"}, "delimiter is for csv, format is rdb"),
        ({"agency": "usgs"}, "agency is for csv, netcdf, format is rdb"),
        ({"format": "csv", "columns": {"time": 1}}, "expected names of all"),
        (
            {"format": "csv", "columns": {"site": None}},
            r"gauges.columns.site: null: expected \{site\} in gauges.files",
        ),
    ]
    for keys, message in settings:
        with pytest.raises(InputError, match=message):
            make_catalog(tmp_path, **keys)
