"""Made-up watersheds straight from numpy, for measurements that need no raw data.

Rain of storms falls on cells. The soil of each cell turns a larger share of it into runoff the
fuller it is; this runoff runs down the hillslope, then to the outlet as a kinematic wave, and water
that seeps through the soil follows later from the ground. The physics is that of `pipeline.sample`,
none of which the model shares; a head sees the rain with errors. Steps may have any length.

    T steps   N cells
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.signal import lfilter

from model.inputs.features import attributes_of
from model.inputs.split import Split
from model.inputs.watershed import HeadData
from model.settings import Settings
from pipeline.evaporation import potential_evaporation
from pipeline.sample import rivers
from pipeline.sample.evaporation import hamon_evaporation
from pipeline.sample.stores import held_after
from pipeline.units import M2_PER_KM2, MM_PER_M, SECONDS_PER_DAY

CELL_AREA = 6e7  # m2, about that of 5 arc-minutes at 45 degrees
CELL_SIDE = 8e3  # m
LATITUDE = 42.0  # degrees north, of the southern edge

BETWEEN_STORMS = 60.0  # h, on average
STORM_HOURS = (2.0, 3.0)  # shape and scale of a gamma distribution, as those below
STORM_RATE = (0.8, 1.5)  # mm per hour
WARMTH = (11.0, 13.0, 4.0)  # degC: mean, swing of the year and of the day
SOIL_DEPTH = (150.0, 450.0)  # mm: ranges of what a watershed's cells, or watersheds, have
SHEDDING = (1.0, 3.0)  # power of the filling at which rain runs off
SEEPING = 2.0  # mm per day, of a full soil
GROUND_DAYS = (15.0, 60.0)  # in which groundwater of `STORE_DEPTH` leaves
SLOPE_DAYS = (0.1, 0.4)  # and surface runoff
STORE_DEPTH = 20.0  # mm
ROUGHNESS = (0.025, 0.075)  # s m^-1/3, Manning's n
BED_SLOPE = 4e-4
REACH = 4e3  # m
SUBSTEP = 7200.0  # s, at most, of the routing
RAIN_ERRORS = (0.15, 0.2)  # of a day's logarithm: common to the cells, and of each
NOISE = 0.03  # of the gauge, as a share of the runoff

COLDER = (3.0, 9.0)  # degrees, than WARMTH, where there is snow
MELT = (2.0, 6.0)  # mm per degree and day, of a watershed in spring and autumn
MELT_SWING = 0.25  # of it, more at the summer solstice and less at the other
MELT_SPREAD = 0.15  # of its logarithm among the cells
ALTITUDE_SPREAD = 1.2  # degrees among the cells
HALF_SNOW = 1.0  # degC, at which half of what falls is snow
SNOW_SLOPE = 1.6  # per degree, there
HOLDS = 0.1  # of its ice, water that snow holds back
REFREEZES = 0.5  # mm per degree and day, of it


def make_head(
    number: int,
    rows: int,
    columns: int,
    years: int,
    step_hours: int = 24,
    filled: float = 0.7,
    snowy: bool = False,
) -> HeadData:
    """Make a watershed, its weather and its runoff.

    Args:
        number: of the watershed: its site number and seed.
        rows, columns: of its window, of which the share `filled` lies inside.
        years: water years, the last two of them for validation and test.
        step_hours: length of a step; the weather is the same for any.
        snowy: whether it is colder and has snow.
    """
    rng = np.random.default_rng(number)
    step = pd.Timedelta(hours=step_hours)
    step_days = step / pd.Timedelta(days=1)
    times = pd.date_range("2001-10-01", f"{2001 + years}-10-01", freq=step, inclusive="left")
    dates = times + step / 2
    y, x = np.mgrid[:rows, :columns]
    away = np.hypot(y, x)  # from the outlet, in a corner
    inside = away <= np.quantile(away, filled)
    cells = int(inside.sum())
    distance = (CELL_SIDE * (away[inside] + 0.5)).astype(np.float32)
    hourly = draw_storms(rng, len(times) * step_hours, cells)
    rain = hourly.reshape(len(times), step_hours, cells).sum(1)
    measured = rain * draw_rain_errors(rng, dates, cells)
    warm = draw_temperature(rng, dates, step_hours)
    day = dates.day_of_year.to_numpy()
    water = rain
    if snowy:
        warm = warm - rng.uniform(*COLDER)
        water = melt_snow(rng, rain, warm, day, step_days)
    demand = potential_evaporation(warm[:, None], np.array([LATITUDE]), day) * step_days
    lost = hamon_evaporation(
        warm[:, None], rain.mean(1)[:, None] / step_days, np.array([LATITUDE]), day
    )
    runoff = simulate_runoff(rng, water, lost[:, 0] * np.float32(step_days), distance, step_days)
    split = Split.of(dates, Settings())
    depth, observed = measured[split.train].mean(1), runoff[split.train]
    usual, swing = float(warm[split.train].mean()), float(warm[split.train].std())
    relative = np.repeat(((warm - usual) / swing)[:, None], cells, 1)
    area = CELL_AREA * cells
    return HeadData(
        site_no=f"{number:08d}",
        name=f"Made-up Creek {number}",
        synthetic=True,
        area=area,
        step_seconds=step.total_seconds(),
        interval_end=step.total_seconds(),
        times=times,
        dates=dates,
        inside=inside,
        channels=("precipitation", "temperature"),
        forcing=np.stack([measured, relative], 1).astype(np.float32),
        demand=np.repeat(demand, cells, 1).astype(np.float32),
        attributes=attributes_of(
            settings=Settings(),
            area=area,
            distance=float(distance.mean()),
            slope=None,
            rain=float(depth.mean()) / step_days,
            dryness=float(demand[split.train].mean()) / float(depth.mean()),
        ),
        coverage=np.ones(cells, np.float32),
        share=np.full(cells, 1 / cells, np.float32),
        distance=distance,
        discharge=runoff.astype(np.float64) * area / 1e3 / step.total_seconds(),
        runoff=runoff,
        split=split,
        snow=None,
        rain_scale=float(depth.std()),
        runoff_scale=float(observed.std()),
        runoff_mean=float(observed.mean()),
        standard={"temperature": (usual, swing)},
    )


def simulate_runoff(
    rng: np.random.Generator,
    rain: np.ndarray,
    demand: np.ndarray,
    distance: np.ndarray,
    step_days: float,
) -> np.ndarray:
    """Simulate runoff at the gauge [mm per step], (T,) float32, with random parameters.

    Args:
        rain: (T, N), and demand: potential evaporation, (T,) [mm per step].
        distance: of the cells from the outlet [m], (N,).
        step_days: length of a step [days].
    """
    quick, seeped = simulate_soil(
        rain,
        demand,
        rng.uniform(*SOIL_DEPTH, len(distance)),
        rng.uniform(*SHEDDING),
        SEEPING * step_days,
    )
    ground = drain(seeped[:, None], rng.uniform(*GROUND_DAYS) / step_days)
    slope = drain(quick, rng.uniform(*SLOPE_DAYS) / step_days)
    arrived = route(slope + ground, distance, rng.uniform(*ROUGHNESS), step_days * SECONDS_PER_DAY)
    noisy = arrived * np.exp(rng.normal(0, NOISE, len(rain)))
    return np.asarray(noisy, np.float32)


def draw_storms(rng: np.random.Generator, hours: int, cells: int) -> np.ndarray:
    """Draw rain of every hour and cell [mm], (hours, N) float32: storms one after the other, each
    with its own pattern in space and its own course in time."""
    rain = np.zeros((hours, cells), np.float32)
    hour = 0
    while (hour := hour + round(rng.exponential(BETWEEN_STORMS))) < hours:
        lasting = 1 + int(rng.gamma(*STORM_HOURS))
        course = rng.gamma(1.5, 1 / 1.5, lasting)[: hours - hour]
        pattern = rng.gamma(2, 1 / 2, cells)
        rain[hour : hour + len(course)] += rng.gamma(*STORM_RATE) * course[:, None] * pattern
    return rain


def draw_rain_errors(rng: np.random.Generator, dates: pd.DatetimeIndex, cells: int) -> np.ndarray:
    """Draw what rain is measured to be over what it is, (T, N): the same in all steps of a day."""
    common, own = RAIN_ERRORS
    day = np.asarray((dates - dates[0].normalize()) // pd.Timedelta(days=1))
    noise = common * rng.standard_normal((day[-1] + 1, 1))
    noise = noise + own * rng.standard_normal((day[-1] + 1, cells))
    return np.asarray(np.exp(noise - (common**2 + own**2) / 2)[day], np.float32)


def draw_temperature(
    rng: np.random.Generator, dates: pd.DatetimeIndex, step_hours: int
) -> np.ndarray:
    """Draw the air temperature of every step [degC], (T,): annual and daily cycle, weather."""
    mean, year, day = WARMTH
    since = np.asarray((dates - dates[0]) / pd.Timedelta(days=1))
    warm = mean - year * np.cos(2 * np.pi * (since + dates[0].day_of_year - 20) / 365.25)
    if step_hours < 24:
        warm = warm - day * np.cos(2 * np.pi * (since + 0.5 / 24))
    memory = np.exp(-step_hours / 24 / 4)  # of four days
    weather = rng.normal(0, 4 * np.sqrt(1 - memory**2), len(dates))
    return np.asarray(warm + lfilter([1], [1, -memory], weather))


def melt_snow(
    rng: np.random.Generator,
    rain: np.ndarray,
    warm: np.ndarray,
    day_of_year: np.ndarray,
    step_days: float,
) -> np.ndarray:
    """Simulate the water that reaches the ground, (T, N) [mm per step], where it snows.

    Unlike `model/inputs/snow.py`, the snow model depends on altitude and season, and its snow
    holds water that may freeze again.

    Args:
        rain: what falls, (T, N) [mm per step].
        warm: temperature, (T,) [degC].
    """
    cells = rain.shape[1]
    local = warm[:, None] + rng.normal(0, ALTITUDE_SPREAD, cells)
    factor = rng.uniform(*MELT) * np.exp(rng.normal(0, MELT_SPREAD, cells)) * step_days
    season = 1 + MELT_SWING * np.sin(2 * np.pi * (day_of_year - 81) / 365.25)
    frozen = rain / (1 + np.exp(SNOW_SLOPE * (local - HALF_SNOW)))
    water = np.empty(rain.shape, np.float32)
    ice, liquid = np.zeros(cells), np.zeros(cells)
    for t, warmth in enumerate(local):
        ice = ice + frozen[t]
        melt = np.minimum(ice, factor * season[t] * warmth.clip(0))
        liquid = liquid + rain[t] - frozen[t] + melt
        again = np.minimum(liquid, REFREEZES * step_days * (-warmth).clip(0))
        ice, liquid = ice - melt + again, liquid - again
        left = (liquid - HOLDS * ice).clip(0)
        water[t], liquid = left, liquid - left
    return water


@numba.njit(cache=True)
def simulate_soil(
    rain: np.ndarray,
    demand: np.ndarray,
    depth: np.ndarray,
    power: float,
    seeping: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate quick runoff of each cell, (T, N) float32, and mean seepage, (T,) [mm per step].

    Args:
        rain: (T, N), and demand: potential evaporation, (T,) [mm per step].
        depth: of each cell's soil [mm], (N,).
        power: of the filling, the share of the rain that runs off.
        seeping: from a full soil [mm per step].
    """
    steps, cells = rain.shape
    quick, seeped = np.empty(rain.shape, np.float32), np.zeros(steps)
    held = 0.6 * depth
    for t in range(steps):
        for i in range(cells):
            full = depth[i]
            off = rain[t, i] * (held[i] / full) ** power
            held[i] += rain[t, i] - off
            off += max(held[i] - full, 0.0)
            held[i] = min(held[i], full)
            held[i] -= min(held[i], demand[t] * min(1.0, 1.4 * held[i] / full))
            lost = min(held[i], seeping * (held[i] / full) ** 3)
            held[i] -= lost
            quick[t, i] = off
            seeped[t] += lost / cells
    return quick, seeped


@numba.njit(cache=True)
def drain(inflow: np.ndarray, residence: float) -> np.ndarray:
    """Outflow of stores that drain with the power 3/2 of what they hold, (T, N) [mm per step].

    Args:
        inflow: (T, N) [mm per step].
        residence: of water in a store that holds `STORE_DEPTH` [steps].
    """
    out, held = np.empty(inflow.shape), np.zeros(inflow.shape[1])
    rate = 1 / (residence * np.sqrt(STORE_DEPTH))
    for t in range(inflow.shape[0]):
        for i in range(inflow.shape[1]):
            water = held[i] + inflow[t, i]
            held[i] = held_after(water, rate, held[i])
            out[t, i] = water - held[i]
    return out


def route(
    runoff: np.ndarray, distance: np.ndarray, roughness: float, step_seconds: float
) -> np.ndarray:
    """Route runoff of the cells to the outlet, (T,) [mm per step], through one river.

    A cell's runoff, (T, N) [mm per step], enters at its `distance` from the outlet [m], (N,), a
    river that grows with the area that it drains; see `pipeline.sample.rivers`.
    """
    cells, reaches = distance.size, int(distance.max() // REACH) + 1
    enters = reaches - 1 - (distance // REACH).astype(int)
    shares = sparse.csr_array(
        (np.full(cells, CELL_AREA), (enters, np.arange(cells))), shape=(reaches, cells)
    )
    area = np.cumsum(shares.sum(axis=1)) / M2_PER_KM2
    channels = rivers.Channels(
        downstream=np.append(np.arange(1, reaches), -1),
        length=np.full(reaches, REACH),
        conveyance=rivers.bed_conveyance(
            area, np.full(reaches, BED_SLOPE), np.full(reaches, roughness)
        ),
        shares=shares,
        gauge=np.array([reaches - 1]),
        above=np.ones((1, reaches), bool),
        bounds=np.array([0, reaches]),
    )
    substeps = int(np.ceil(step_seconds / SUBSTEP))
    with ThreadPoolExecutor(1) as pool:
        discharge, _ = rivers.route(
            runoff, channels, np.zeros(reaches), pool, step_seconds, substeps
        )
    return discharge[:, 0] * step_seconds * MM_PER_M / (CELL_AREA * cells)
