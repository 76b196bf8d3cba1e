"""Soil, groundwater and hillslopes: a pixel's way from rain to what its channels receive.

A soil store of variable infiltration capacity (Zhao 1992; Wood et al. 1992) turns rain on its
saturated share into surface runoff, evaporates, and percolates to the groundwater. Surface runoff
fills a store on the hillslope, which drains with the power 3/2 of what it holds; groundwater drains
with its square, as an unconfined aquifer does (Boussinesq 1904; Brutsaert and Nieber 1977).
Depths are millimetres. Water is conserved: rain = evaporation + outflow + change of the stores.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass, fields

import numba
import numpy as np

from pipeline.sample.stores import held_after
from pipeline.sample.terrain import Basin, innermost, resample, spectral_noise
from pipeline.sample.world import DEM_PER_PIXEL, STEP_HOURS, STEPS_PER_DAY, World

QUARTERS = (0.05, 0.35, 0.50, 0.10)  # share of a day's evaporation from local midnight on
STRIPS = 4  # strips of pixels simulated side by side
GROUND_DEPTH = 40.0  # [mm] of groundwater whose mean residence is `residence`
SLOPE_DEPTH = 10.0  # [mm] on the hillslope whose mean residence is `lingering`


@dataclass(frozen=True)
class Soil:
    """Parameters of the pixels, each float64 (pixels,)."""

    capacity: np.ndarray  # of the soil store [mm]
    shape: np.ndarray  # exponent of the distribution of infiltration capacities
    percolation: np.ndarray  # from a full soil [mm/day]
    residence: np.ndarray  # of the groundwater at `GROUND_DEPTH` [days]
    lingering: np.ndarray  # of surface runoff on the hillslope at `SLOPE_DEPTH` [days]


@dataclass
class Stores:
    """Water in the stores, each float64 (pixels,) [mm]; a simulation updates it."""

    soil: np.ndarray
    ground: np.ndarray
    slope: np.ndarray

    @classmethod
    def before(cls, soil: Soil) -> Stores:
        """Return partly filled stores, which a year of warm-up brings into balance."""
        half = np.full(soil.capacity.shape, GROUND_DEPTH / 2)
        return cls(0.5 * soil.capacity, half, np.zeros_like(half))

    @property
    def total(self) -> np.ndarray:
        """Water in all stores, (pixels,) [mm]."""
        return self.soil + self.ground + self.slope


# Median, spread (of the logarithm) among watersheds, spread within them.
PARAMETERS = {
    "capacity": (190.0, 0.25, 0.10),
    "shape": (0.35, 0.35, 0.12),
    "percolation": (7.0, 0.35, 0.15),
    "residence": (32.0, 0.35, 0.10),
    "lingering": (0.35, 0.35, 0.15),
}
assert list(PARAMETERS) == [field.name for field in fields(Soil)]


def draw_soil(
    world: World, basins: list[Basin], pixels: np.ndarray, rng: np.random.Generator
) -> Soil:
    """Draw the soil of `pixels` (flat indices of rain pixels).

    Each innermost watershed has its own soil, with mild variation in space; so a nested watershed
    has the same soil in its own record as in that of the river that it feeds.
    """
    half = DEM_PER_PIXEL // 2
    owner = innermost(world, basins)[half::DEM_PER_PIXEL, half::DEM_PER_PIXEL].ravel()[pixels]
    values = {}
    for name, (median, among, within) in PARAMETERS.items():
        offset = among * np.clip(rng.standard_normal(len(basins) + 1), -1.6, 1.6)
        local = resample(spectral_noise((64, 64), 3.0, rng), world.shape).ravel()[pixels]
        values[name] = median * np.exp(offset[owner] + within * local)
    return Soil(**values)


@numba.njit(cache=True, nogil=True)
def _bucket(
    rain: np.ndarray,  # float32 (steps, pixels) [mm]
    demand: np.ndarray,  # float32 (days, pixels) [mm/day]
    quarters: np.ndarray,
    capacity: np.ndarray,
    shape: np.ndarray,
    percolation: np.ndarray,  # [mm/step]
    ground_rate: np.ndarray,  # groundwater that leaves over its square [1/mm a step]
    slope_rate: np.ndarray,  # surface runoff that leaves over its power 3/2 [mm^-1/2 a step]
    soil: np.ndarray,  # updated
    ground: np.ndarray,  # updated
    slope: np.ndarray,  # updated
    outflow: np.ndarray,  # float64 (steps, pixels) [mm], written
    evaporated: np.ndarray,  # float64 (pixels,) [mm], added to
) -> None:
    per_day = quarters.size
    for step in range(rain.shape[0]):
        day, quarter = step // per_day, quarters[step % per_day]
        for i in range(rain.shape[1]):
            water, full, fall = soil[i], capacity[i], float(rain[step, i])
            quick = 0.0
            if fall > 0.0:
                largest = full * (1.0 + shape[i])
                level = largest * (1.0 - max(1.0 - water / full, 0.0) ** (1.0 / (1.0 + shape[i])))
                quick = fall - (full - water)
                if level + fall < largest:
                    quick += full * (1.0 - (level + fall) / largest) ** (1.0 + shape[i])
                quick = min(max(quick, 0.0), fall)
                water += fall - quick
            wetness = water / full
            loss = min(demand[day, i] * quarter * min(wetness / 0.6, 1.0), water)
            water -= loss
            evaporated[i] += loss
            seep = min(percolation[i] * wetness**4, water)
            soil[i] = water - seep
            wet = ground[i] + seep
            # The positive root of x + rate x^2 = wet.
            ground[i] = 2.0 * wet / (1.0 + math.sqrt(1.0 + 4.0 * ground_rate[i] * wet))
            flood = slope[i] + quick
            slope[i] = held_after(flood, slope_rate[i], slope[i])
            outflow[step, i] = (wet - ground[i]) + (flood - slope[i])


def simulate(
    rain: np.ndarray, demand: np.ndarray, soil: Soil, stores: Stores, pool: Executor
) -> tuple[np.ndarray, np.ndarray]:
    """Run soil, groundwater and hillslopes over some days and update `stores`.

    Args:
        rain: float32 (steps, pixels) [mm a step], four steps a day.
        demand: potential evaporation, float32 (days, pixels) [mm/day].

    Returns:
        outflow to the channels, float64 (steps, pixels) [mm a step], and evaporation, float64
        (pixels,) [mm].
    """
    outflow, evaporated = np.empty(rain.shape), np.zeros(rain.shape[1])
    step_days = STEP_HOURS / 24.0
    ground_rate = step_days / (soil.residence * GROUND_DEPTH)
    slope_rate = step_days / (soil.lingering * math.sqrt(SLOPE_DEPTH))

    def strip(part: slice) -> None:
        _bucket(
            rain[:, part],
            demand[:, part],
            np.asarray(QUARTERS),
            soil.capacity[part],
            soil.shape[part],
            soil.percolation[part] / STEPS_PER_DAY,
            ground_rate[part],
            slope_rate[part],
            stores.soil[part],
            stores.ground[part],
            stores.slope[part],
            outflow[:, part],
            evaporated[part],
        )

    edges = np.linspace(0, rain.shape[1], STRIPS + 1).astype(int)
    for _ in pool.map(strip, map(slice, edges[:-1], edges[1:])):
        pass
    return outflow, evaporated
