"""Rain of storms that move over the region, and temperature with a season and weather.

Rain is a sum of moving storms of four kinds. Each is an elliptical Gaussian that grows, travels
and decays, modulated by a lognormal texture that drifts with it. Fields are therefore intermittent,
intensities are skewed, and the place of the rain in a watershed differs from day to day.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

import numba
import numpy as np
import pandas as pd
from scipy import ndimage

from pipeline.sample.terrain import resample, spectral_noise
from pipeline.sample.world import DAY_START, STEP_HOURS, STEPS_PER_DAY, World

KM_PER_DEGREE = 111.2
TEXTURE_SIDE = 512  # pixels, a power of two: the texture is periodic
REACH = 2.3  # a storm ends at this many standard deviations
PIXEL_KM = 4.0  # a round pixel's width, for the textures
DRIFT = 0.5  # the texture travels at this share of the storm's velocity: cells are born ahead
DRY_SHARE = 0.35  # of a storm's area lies in its gaps
TRACE = 0.2  # [mm in a quarter of a day] less than this is no rain
CEILING = 100.0  # [mm in a quarter of a day] the most that can fall
NODES = (3, 4)  # rows and columns of points that have weather of their own
BANDS = 4  # strips of rows painted side by side


@dataclass(frozen=True)
class Kind:
    """A kind of storm. Ranges are uniform; `depth` is the mean rain of each month [mm]."""

    depth: tuple[float, ...]
    along: tuple[float, float]  # standard deviation along the axis [km]
    across: tuple[float, float]  # and across it [km]
    speed: tuple[float, float]  # [km/h]
    life: tuple[float, float]  # [h]
    peak: float  # mean intensity at the centre at its height [mm/h]
    shape: float  # of the gamma distribution of the peak
    contrast: float  # standard deviation of the logarithm of the texture
    stride: float  # [km] between two positions that are added up
    hour: float | None  # UTC hour around which they culminate; None: any

    @property
    def volume(self) -> float:
        """Mean rain of one storm [mm km2]; a life's mean intensity is 2/pi of its height."""
        area = 2 * math.pi * np.mean(self.along) * np.mean(self.across)
        return float(self.peak * area * np.mean(self.life) * 2 / math.pi)


KINDS = (
    Kind(  # wide rain of a cyclone
        depth=(26, 26, 36, 38, 28, 14, 8, 10, 20, 28, 32, 30),
        along=(280, 480), across=(80, 150), speed=(25, 45), life=(20, 40),
        peak=1.4, shape=2.5, contrast=0.7, stride=20.0, hour=None,
    ),
    Kind(  # frontal band
        depth=(12, 15, 26, 34, 40, 36, 28, 28, 34, 32, 26, 17),
        along=(220, 450), across=(22, 60), speed=(30, 55), life=(16, 30),
        peak=4.0, shape=2.5, contrast=0.8, stride=9.0, hour=None,
    ),
    Kind(  # cluster of thunderstorms in the night
        depth=(0, 1, 6, 15, 34, 52, 48, 42, 26, 10, 3, 0.5),
        along=(35, 90), across=(20, 50), speed=(30, 60), life=(6, 12),
        peak=8.0, shape=2.5, contrast=0.8, stride=9.0, hour=5.0,
    ),
    Kind(  # single cell in the afternoon
        depth=(0, 0, 1, 3, 8, 13, 15, 12, 7, 2, 0.5, 0),
        along=(5, 10), across=(4, 8), speed=(10, 30), life=(1, 2.5),
        peak=18.0, shape=2.5, contrast=0.3, stride=4.0, hour=22.0,
    ),
)  # fmt: skip

# Columns of the storm table.
COLUMNS = (
    "start", "life", "x", "y", "u", "v", "along", "across", "cos", "sin", "peak", "kind",
    "stride", "texture_x", "texture_y",
)  # fmt: skip


def plane_km(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rain pixels [km] east (x,) and north (y,) of the region's centre."""
    lon, lat = world.pixel_centres
    east = (lon - lon.mean()) * KM_PER_DEGREE * math.cos(math.radians(lat.mean()))
    return east, (lat - lat.mean()) * KM_PER_DEGREE


def draw_storms(world: World, rng: np.random.Generator) -> np.ndarray:
    """Draw all storms of the simulated years: a table (storms, columns), sorted by start in hours.

    Storms come as a Poisson process whose rate follows the season, wet and dry spells of some
    weeks, and wet and dry years.
    """
    first, last = world.year_starts[0], world.year_starts[-1]
    days = (last - first).days
    month = pd.date_range(first - DAY_START, periods=days, freq="D").month.to_numpy() - 1
    spell = _autoregression(rng, days, memory_days=12.0)
    year = np.repeat(rng.standard_normal(world.years + 1), 366)[:days]
    rate = np.exp(0.4 * spell - 0.4**2 / 2 + 0.1 * year - 0.1**2 / 2) / 30.44
    east, north = plane_km(world)
    tables = []
    for number, kind in enumerate(KINDS):
        margin = 0.7 * kind.along[1]
        width, height = np.ptp(east) + 2 * margin, np.ptp(north) + 2 * margin
        mean = np.asarray(kind.depth)[month] * rate * (width * height / kind.volume)
        day = np.repeat(np.arange(days), rng.poisson(mean))
        tables.append(_draw(kind, number, day, width, height, rng))
    table = np.concatenate(tables)
    return table[np.argsort(table[:, 0], kind="stable")]


def _autoregression(rng: np.random.Generator, days: int, memory_days: float) -> np.ndarray:
    memory = math.exp(-1 / memory_days)
    series = rng.standard_normal(days)
    for day in range(1, days):
        series[day] = memory * series[day - 1] + math.sqrt(1 - memory**2) * series[day]
    return series


def _draw(
    kind: Kind,
    number: int,
    day: np.ndarray,
    width: float,
    height: float,
    rng: np.random.Generator,
) -> np.ndarray:
    n = day.size
    life = rng.uniform(*kind.life, n)
    hour = rng.uniform(0, 24, n) if kind.hour is None else rng.normal(kind.hour, 3.0, n) % 24
    hour = (hour - DAY_START.total_seconds() / 3600) % 24  # since the start of the day
    speed = rng.uniform(*kind.speed, n)
    heading = np.radians(rng.normal(-12, 22, n))  # towards east-south-east
    u, v = speed * np.cos(heading), speed * np.sin(heading)
    axis = heading + np.radians(rng.normal(68, 18, n))  # bands lie across their way, to the NE
    columns = {
        "start": day * 24 + hour - life / 2,
        "life": life,
        "x": rng.uniform(-width / 2, width / 2, n) - u * life / 2,
        "y": rng.uniform(-height / 2, height / 2, n) - v * life / 2,
        "u": u,
        "v": v,
        "along": rng.uniform(*kind.along, n),
        "across": rng.uniform(*kind.across, n),
        "cos": np.cos(axis),
        "sin": np.sin(axis),
        "peak": rng.gamma(kind.shape, kind.peak / kind.shape, n),
        "kind": np.full(n, float(number)),
        "stride": np.full(n, kind.stride),
        "texture_x": rng.uniform(0, TEXTURE_SIDE * PIXEL_KM, n),
        "texture_y": rng.uniform(0, TEXTURE_SIDE * PIXEL_KM, n),
    }
    return np.column_stack([columns[name] for name in COLUMNS])


def make_textures(rng: np.random.Generator) -> np.ndarray:
    """Make periodic lognormal fields of mean 1, float32 (kinds, side, side), one per kind."""
    fields = []
    for kind in KINDS:
        noise = spectral_noise((TEXTURE_SIDE, TEXTURE_SIDE), 2.8, rng)
        # Two positions of the texture are DRIFT * stride apart: finer detail would leave ribs.
        noise = ndimage.gaussian_filter(noise, 0.6 * DRIFT * kind.stride / PIXEL_KM, mode="wrap")
        field = np.exp(kind.contrast * noise / noise.std())
        field = np.maximum(field - np.quantile(field, DRY_SHARE), 0.0)
        fields.append(field / field.mean())
    return np.stack(fields).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _paint(
    rain: np.ndarray,  # float32 (steps, rows, columns) of a strip, added to
    east: np.ndarray,
    north: np.ndarray,
    storms: np.ndarray,
    textures: np.ndarray,
    first_hour: float,
    step_hours: float,
    reach: float,
    drift: float,
) -> None:
    mask = textures.shape[1] - 1
    pixel_x, pixel_y = east[1] - east[0], north[0] - north[1]
    for s in range(storms.shape[0]):
        start, life, x0, y0, u, v, along, across, cos, sin, peak, kind, stride, tx, ty = storms[s]
        texture = textures[int(kind)]
        # Squared distance in standard deviations is q2 dx^2 + 2 q1 dx dy + ... : the ellipse's
        # chord of a row lies around dx = -q1 / q2 dy.
        q2 = (cos / along) ** 2 + (sin / across) ** 2
        q1 = cos * sin * (1 / along**2 - 1 / across**2)
        moves = max(int(np.ceil(np.hypot(u, v) * life / stride)), 1)
        for move in range(moves):
            age = (move + 0.5) / moves
            step = int(np.floor((start + age * life - first_hour) / step_hours))
            if step < 0 or step >= rain.shape[0]:
                continue
            x, y = x0 + u * life * age, y0 + v * life * age
            texture_x, texture_y = tx + drift * u * life * age, ty + drift * v * life * age
            amount = peak * np.sin(np.pi * age) * life / moves
            high = reach * np.hypot(along * sin, across * cos)
            top = max(int(np.ceil((north[0] - y - high) / pixel_y)), 0)
            bottom = min(int(np.floor((north[0] - y + high) / pixel_y)) + 1, north.size)
            for i in range(top, bottom):
                dy = north[i] - y
                q0 = q2 * (reach * reach) - (dy / (along * across)) ** 2
                if q0 <= 0.0:
                    continue
                middle, half = x - q1 / q2 * dy, np.sqrt(q0) / q2
                left = max(int(np.ceil((middle - half - east[0]) / pixel_x)), 0)
                right = min(int(np.floor((middle + half - east[0]) / pixel_x)) + 1, east.size)
                row = int(np.floor((north[i] - texture_y) / pixel_y)) & mask
                for j in range(left, right):
                    dx = east[j] - x
                    a, b = (dx * cos + dy * sin) / along, (dy * cos - dx * sin) / across
                    column = int(np.floor((east[j] - texture_x) / pixel_x)) & mask
                    shape = np.exp(-0.5 * (a * a + b * b)) * texture[row, column]
                    rain[step, i, j] += amount * shape


def climate_factor(world: World, elevation: np.ndarray) -> np.ndarray:
    """Return a pixel's mean rain over the region's: larger in the south-east and high up."""
    lon, lat = world.pixel_centres
    height = resample(elevation, world.shape)
    return (
        1.06
        + 0.035 * (lon[None, :] + 93.5)
        - 0.025 * (lat[:, None] - 38.6)
        + 0.05 * (height - 200.0) / 100.0
    )


def paint_rain(
    world: World,
    storms: np.ndarray,
    textures: np.ndarray,
    factor: np.ndarray,
    start: datetime,
    end: datetime,
    pool: Executor,
) -> np.ndarray:
    """Paint rain [mm per quarter day] from `start` to `end`, float32 (steps, rows, columns)."""
    origin = world.year_starts[0]
    first_hour = (start - origin).total_seconds() / 3600
    steps = (end - start).days * STEPS_PER_DAY
    within = (storms[:, 0] < first_hour + steps * STEP_HOURS) & (
        storms[:, 0] + storms[:, 1] > first_hour
    )
    rain = np.zeros((steps, *world.shape), dtype=np.float32)
    east, north = plane_km(world)

    def strip(rows: slice) -> None:
        part = rain[:, rows]
        arguments = (textures, first_hour, STEP_HOURS, REACH, DRIFT)
        _paint(part, east, north[rows], storms[within], *arguments)
        part *= factor[rows].astype(np.float32)
        part /= np.sqrt(1.0 + (part / CEILING) ** 2)
        part[part < TRACE] = 0.0

    edges = np.linspace(0, north.size, BANDS + 1).astype(int)
    for _ in pool.map(strip, map(slice, edges[:-1], edges[1:])):
        pass
    return rain


def make_temperature(world: World, elevation: np.ndarray, rng: np.random.Generator) -> Temperature:
    """Draw the daily weather of all simulated years on the fixed pattern of the terrain."""
    days = (world.year_starts[-1] - world.year_starts[0]).days
    common = _autoregression(rng, days, memory_days=3.5)
    local = np.stack(
        [_autoregression(rng, days, memory_days=3.5) for _ in range(math.prod(NODES))], axis=1
    )
    anomaly = 0.92 * common[:, None] + 0.39 * local  # variance 1
    _, lat = world.pixel_centres
    pattern = -0.75 * (lat[:, None] - 38.6) - 6.0 * (resample(elevation, world.shape) - 200) / 1e3
    return Temperature(world, anomaly.reshape(days, *NODES), pattern)


@dataclass(frozen=True)
class Temperature:
    """Daily mean temperature: season, `weather` (days, *NODES) and `pattern` (rows, columns)."""

    world: World
    weather: np.ndarray
    pattern: np.ndarray

    def between(self, start: datetime, end: datetime) -> np.ndarray:
        """Daily mean temperature [degC] from `start` to `end`, float32 (days, rows, columns)."""
        first = (start - self.world.year_starts[0]).days
        dates = pd.date_range(start - DAY_START, end - DAY_START, freq="D", inclusive="left")
        season = np.cos(2 * np.pi * (dates.day_of_year.to_numpy() - 18) / 365.25)
        spread = 3.8 + 1.4 * season
        field = np.empty((dates.size, *self.world.shape), dtype=np.float32)
        rows, columns = (  # cubic interpolation between the nodes
            ndimage.zoom(np.eye(n), (size / n, 1), order=3, mode="nearest", grid_mode=True)
            for n, size in zip(NODES, self.world.shape, strict=True)
        )
        for day in range(dates.size):
            weather = rows @ self.weather[first + day] @ columns.T
            field[day] = 13.6 - 11.6 * season[day] + spread[day] * weather + self.pattern
        return field
