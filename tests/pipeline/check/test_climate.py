"""Rain beyond every climate fails; the greatest that was ever measured does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.check.checks import check_store
from pipeline.check.climate import beyond_records
from pipeline.check.contents import Check
from pipeline.units import M2_PER_KM2
from tests.pipeline.stores import stored_array

GAUGE = 1.0 * M2_PER_KM2

# Greatest rain [mm] of so many days on so many km2: gauges on Reunion and at Cherrapunji, and
# storms over areas.
MEASURED = [
    (1, 1825, 1),  # Foc-Foc, Reunion, 1966
    (3, 3929, 1),  # Commerson, Reunion, 2007
    (10, 5678, 1),  # Commerson, 1980
    (30, 9300, 1),  # Cherrapunji, July 1861
    (365, 26461, 1),  # Cherrapunji, 1860 to 1861
    (1, 767, 2590),  # Thrall, Texas, 1921, on 1000 square miles
]


def steady(days: int, total: float, steps_per_day: int = 1) -> np.ndarray:
    """A total [mm] over some days, in the middle of dry ones."""
    rain = np.zeros((days + 40) * steps_per_day)
    rain[20 * steps_per_day : (20 + days) * steps_per_day] = total / (days * steps_per_day)
    return rain


@pytest.mark.parametrize(("days", "total", "km2"), MEASURED)
@pytest.mark.parametrize("steps_per_day", [1, 24])
def test_records_are_possible_and_ten_times_as_much_is_not(days, total, km2, steps_per_day):
    area = km2 * M2_PER_KM2
    assert beyond_records(steady(days, total, steps_per_day), steps_per_day, area) == ""
    found = beyond_records(steady(days, 10 * total, steps_per_day), steps_per_day, area)
    assert "mm of rain in" in found
    assert "the world's records" in found


def test_what_falls_on_a_gauge_does_not_fall_on_a_country():
    rain = steady(1, 1000)
    assert beyond_records(rain, 1, GAUGE) == ""
    assert "1000 mm of rain in 1 day on 1e+05 km2" in beyond_records(rain, 1, 1e5 * M2_PER_KM2)


def test_gaps_are_no_rain():
    rain = steady(1, 1000)
    rain[:19] = np.nan
    assert beyond_records(rain, 1, GAUGE) == ""


def check_of(store: Path, factor: float, offset: float = 0.0) -> Check:
    rain = stored_array(store, "region/precipitation")
    rain[...] = np.asarray(rain[...]) * np.float32(factor) + np.float32(offset)
    return next(check for check in check_store(store) if check.name == "climate")


@pytest.fixture
def years(tiny_store: Path, tmp_path: Path) -> Path:
    """Three synthetic years of 600 to 800 mm, to be changed."""
    return shutil.copytree(tiny_store, tmp_path / "store.zarr")


@pytest.mark.parametrize(
    ("factor", "offset", "status", "said"),
    [
        (1, 0, "PASS", "mm a year"),
        (3, 0, "PASS", "mm a year"),
        (10, 0, "WARN", "mm if the rain were in tenths of mm: expected at most 5000"),
        (22, 0, "FAIL", "expected at most 13000"),
        (30, 0, "FAIL", "the world's records"),
        (100, 0, "FAIL", "mm if the rain were in hundredths of mm"),
        (0, 0, "WARN", "no rain in 1095 days"),
        (1, 1, "WARN", "rain in every step"),
    ],
)
def test_the_rain_of_years(years: Path, factor: float, offset: float, status: str, said: str):
    check = check_of(years, factor, offset)
    assert check.status == status, check
    assert said in check.detail
