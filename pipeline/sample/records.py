"""Published records of the gauges: daily discharge with errors, gaps, ice and flags, as RDB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.sample.world import DAY_START, GENERATOR_VERSION, World
from pipeline.units import M3_PER_FT3

PROVISIONAL_DAYS = 183  # the last half year is not approved yet
ICED_SHARE = 0.25  # of the gauges, the northernmost
ICE_DAYS = 0.015  # share of days, the coldest, on which those are frozen
DAYS_PER_GAP = 600.0
MISSING_CODE = "-999999"

HEADER = """\
# ---------------------------------- WARNING ----------------------------------------
# SYNTHETIC DATA: the discharge of a made-up river, written by `python -m pipeline sample`
# (generator version {version}, seed {seed}). No such gauge exists and nothing was measured.
#
# File-format description:  http://waterdata.usgs.gov/nwis/?tab_delimited_format_info
#
# Data for the following 1 site(s) are contained in this file
#    USGS {site} {name}
# -----------------------------------------------------------------------------------
#
# Data provided for site {site}
#    DD parameter statistic   Description
#    01   00060     00003     Discharge, cubic feet per second (Mean)
#
# Data-value qualification codes included in this output:
#     A  Approved for publication -- Processing and review completed.
#     P  Provisional data subject to revision.
#     e  Value has been estimated.
#     Ice  Flow at station affected by ice.
#
agency_cd\tsite_no\tdatetime\t01_00060_00003\t01_00060_00003_cd
5s\t15s\t20d\t14n\t10s
"""


@dataclass(frozen=True)
class Record:
    """A gauge's published record: dates, values as text, codes; absent days are left out."""

    dates: list[str]
    values: list[str]
    codes: list[str]


def observe(
    world: World,
    discharge: np.ndarray,
    temperature: np.ndarray,
    number: int,
    iced: bool,
    rng: np.random.Generator,
) -> Record:
    """Return the record of a gauge that measures true daily means `discharge` (days,) [m3/s].

    Errors are multiplicative: a rating that drifts by 3 % and 1.5 % from day to day; 8 % where
    the value is estimated. `temperature` (days,) [degC] decides when an `iced` gauge freezes.
    The gaps of the gauge `number` are absent days, blanks and missing codes by turns.
    """
    days = discharge.size
    drift = rng.standard_normal(days)
    memory = math.exp(-1 / 40.0)
    for day in range(1, days):
        drift[day] = memory * drift[day - 1] + math.sqrt(1 - memory**2) * drift[day]
    estimated, gap = np.zeros(days, dtype=bool), np.zeros(days, dtype=np.int8)
    starts = np.flatnonzero(rng.random(days) < 1 / DAYS_PER_GAP).tolist()
    for count, start in enumerate(starts, start=number):
        stop = start + 1 + int(rng.geometric(1 / 7))
        gap[start:stop] = 1 + count % 3  # 1 absent, 2 blank, 3 missing code
        estimated[stop : stop + 4] = True
    frozen = np.zeros(days, dtype=bool)
    if iced:
        mean = pd.Series(temperature).rolling(5, center=True, min_periods=1).mean().to_numpy()
        frozen = mean <= np.quantile(mean, ICE_DAYS)
        near = np.convolve(frozen, np.ones(5), mode="same") > 0
        estimated |= near & ~frozen
    spread = np.where(estimated, 0.08, 0.015)
    observed = discharge * np.exp(0.03 * drift + spread * rng.standard_normal(days)) / M3_PER_FT3
    dates = pd.date_range(world.start - DAY_START, periods=days, freq="D")
    approved = ["A"] * (days - PROVISIONAL_DAYS) + ["P"] * PROVISIONAL_DAYS
    record = Record([], [], [])
    for day in np.flatnonzero(gap != 1).tolist():
        value, code = round_as_published(observed[day]), approved[day]
        if gap[day]:
            value, code = ("", "") if gap[day] == 2 else (MISSING_CODE, code)
        elif frozen[day]:
            value = "Ice"
        elif estimated[day]:
            code += ":e"
        record.dates.append(f"{dates[day]:%Y-%m-%d}")
        record.values.append(value)
        record.codes.append(code)
    return record


def round_as_published(discharge: float) -> str:
    """Round a discharge [ft3/s] as the service does: three figures, hundredths at the finest."""
    digits = 2 if discharge < 1 else 2 - math.floor(math.log10(discharge))
    return f"{round(discharge, digits):.{min(max(digits, 0), 2)}f}"


def write_rdb(path: Path, world: World, site: str, name: str, record: Record) -> None:
    """Write a record in the layout of the USGS daily values service."""
    header = HEADER.format(version=GENERATOR_VERSION, seed=world.seed, site=site, name=name)
    lines = (
        f"USGS\t{site}\t{date}\t{value}\t{code}\n"
        for date, value, code in zip(record.dates, record.values, record.codes, strict=True)
    )
    path.write_text(header + "".join(lines), encoding="ascii", newline="\n")


def iced_gauges(latitudes: list[float]) -> list[bool]:
    """Tell which gauges freeze in cold spells: the northernmost share."""
    order = np.argsort(latitudes)[::-1]
    frozen = set(order[: math.ceil(ICED_SHARE * len(latitudes))].tolist())
    return [index in frozen for index in range(len(latitudes))]
