"""Intervals that messages of GRIB edition 1 state, written octet by octet after WMO FM 92."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.rasters.series import RasterSeries
from tests.pipeline.rasters.test_drivers import RAIN, TIMES, degrees, regridded, series_of
from tests.pipeline.rasters.test_series import refused

SIXTEENTHS = np.rint(16 * np.nan_to_num(RAIN)).astype(int)  # of kg m-2, in 16 bits
NCEP, ECMWF = (7, 2, 61), (98, 128, 228)  # centre, table and parameter of total precipitation


def section(*parts: tuple[int, int]) -> bytes:
    """A section that begins with its length: whole numbers, each with its octets."""
    content = b"".join(_octets(*part) for part in parts)
    return (len(content) + 3).to_bytes(3, "big") + content


def _octets(number: int, octets: int) -> bytes:
    sign = 1 << (8 * octets - 1) if number < 0 else 0
    return (abs(number) | sign).to_bytes(octets, "big")


def message(
    field: np.ndarray, end: datetime, interval: tuple[int, int, int], origin: tuple[int, int, int]
) -> bytes:
    """A field on the grid of `degrees`; the interval is begin and end in hours, and its kind."""
    begin, stop, kind = interval
    reference = end - timedelta(hours=stop or begin)
    centre, table, parameter = origin
    product = section(
        (table, 1), (centre, 1), (1, 1), (255, 1), (128, 1), (parameter, 1), (1, 1), (0, 2),
        (reference.year - 2000, 1), (reference.month, 1), (reference.day, 1), (reference.hour, 1),
        (0, 1), (1, 1), (begin, 1), (stop, 1), (kind, 1), (0, 2), (0, 1), (21, 1), (0, 1), (0, 2),
    )  # fmt: skip
    rows, columns = field.shape
    lat, lon = degrees().lat.values * 1000, degrees().lon.values * 1000
    grid = section(
        (0, 1), (255, 1), (0, 1), (columns, 2), (rows, 2), (round(lat[0]), 3), (round(lon[0]), 3),
        (128, 1), (round(lat[-1]), 3), (round(lon[-1]), 3), (50, 2), (50, 2), (0, 1), (0, 4),
    )  # fmt: skip
    values = ((int(one), 2) for one in field.ravel())
    data = section((0, 1), (-4, 2), (0, 4), (16, 1), *values)
    whole = product + grid + data + b"7777"
    return b"GRIB" + (8 + len(whole)).to_bytes(3, "big") + b"\x01" + whole


def opened(
    folder: Path, interval: tuple[int, int, int], origin: tuple[int, int, int], **keys: Any
) -> RasterSeries:
    """The hours of RAIN, each of which ends at its label."""
    content = [
        message(field, pd.Timestamp(label).to_pydatetime() + timedelta(hours=1), interval, origin)
        for field, label in zip(SIXTEENTHS, TIMES, strict=True)
    ]
    (folder / "r.grb").write_bytes(b"".join(content))
    keys = {"units": "kg m-2", "time": {"label": "end"}} | keys
    return series_of(folder, driver="grib", variable=None, files="r.grb", **keys)


@pytest.mark.parametrize("interval", [(0, 1, 4), (5, 6, 4), (0, 0, 0)])
def test_sums_of_a_step_are_read(tmp_path: Path, interval: tuple[int, int, int]) -> None:
    data = degrees()
    data["rain"] = data.rain.copy(data=SIXTEENTHS / 16)
    plain = regridded(series_of(tmp_path, data))
    found = regridded(opened(tmp_path, interval, NCEP))
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("interval", [(0, 6, 4), (0, 6, 3), (6, 12, 5)])
def test_sums_of_several_steps_are_refused(tmp_path: Path, interval: tuple[int, int, int]) -> None:
    refused(lambda: opened(tmp_path, interval, NCEP), "r.grb", "rasters that last 6", "totals")


def test_sums_of_a_forecast_that_state_an_instant_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, (6, 0, 0), ECMWF, units="m")
    (record,) = [one for one in caplog.records if "states no interval" in one.message]
    assert "message 1 of TP, 6" in record.message
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, (6, 0, 0), NCEP)
        opened(tmp_path, (5, 6, 4), ECMWF, units="m")
        opened(tmp_path, (6, 0, 0), ECMWF, units="m", totals="1d")
    assert "states no interval" not in caplog.text
