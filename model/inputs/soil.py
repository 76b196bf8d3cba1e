"""Soil moisture accounting: how wet the ground is, and how much of the rain it cannot hold.

A cell has a bank of soil stores of fixed capacities side by side. Each is the production store of
GR4J (Perrin et al. 2003, J. Hydrol. 279, 275-289): it takes up less rain the fuller it is,
evaporates more the fuller it is, and percolates. The equations integrate the exchange over a step
exactly, so they hold for hours as for days. Rain that a store does not take up, and what percolates
from it, is its excess. A basin has a distribution of capacities of its own; what each store of the
bank tells about it is for the head to learn.

Water is conserved: rain + level before = excess + evaporation + level after.

    T steps   K stores   N cells
"""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np

from model.settings import Settings
from pipeline.catalog.models import PRECIPITATION
from pipeline.evaporation import potential_evaporation, solar_evaporation

PERCOLATION = (4 / 9) ** 4  # per day, of a full store: Perrin et al. (2003), eq. 6

EVAPORATION = "potential_evaporation"  # mm per step: a forcing of this name is taken as it is
TEMPERATURE = "temperature"  # degC


def evaporation_demand(
    fields: Mapping[str, np.ndarray],
    latitude: np.ndarray,
    day_of_year: np.ndarray,
    step_days: float,
    evaporated: float,
    train: np.ndarray,
    settings: Settings,
) -> np.ndarray:
    """Potential evaporation [mm per step], (T, N) float32.

    Taken from the store, or after Oudin from its temperature. Without either it follows the sun,
    scaled so that the mean rain of the training years evaporates what does not run off, after Turc
    and Pike (Pike 1964, J. Hydrol. 2): ET / P = 1 / sqrt(1 + (P / PET)^2).

    Args:
        fields: forcings by name, (T, N) each, precipitation among them [mm per step].
        latitude: of the cells [degrees], (N,).
        day_of_year: of the steps, (T,).
        step_days: length of a step [days].
        evaporated: share of the rain of the training years that did not run off.
        train: whether a step is one of the training, (T,) bool.
        settings: limits of `evaporated`.
    """
    if EVAPORATION in fields:
        return np.maximum(fields[EVAPORATION], 0).astype(np.float32)
    if TEMPERATURE in fields:
        demand = potential_evaporation(fields[TEMPERATURE], latitude, day_of_year) * step_days
    else:
        low, high = settings.evaporated_range
        share = min(max(evaporated, low), high)
        mean = fields[PRECIPITATION][train].mean() * share / np.sqrt(1 - share**2)
        sun = solar_evaporation(latitude, day_of_year)
        demand = sun * (mean / sun[train].mean())
    return demand.astype(np.float32)


def soil_stores(
    rain: np.ndarray, demand: np.ndarray, step_days: float, spinup: int, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Run the soil stores: excess [mm per step] and filling before each step, 0..1.

    Args:
        rain: (T, N) [mm per step].
        demand: potential evaporation, (T, N) [mm per step].
        step_days: length of a step [days].
        spinup: number of first steps that also run before the record, so that it has a past.
        settings: capacities and initial filling.

    Returns:
        (T, K, N) float32 each.
    """
    capacity = np.array(settings.soil_capacities)
    level = np.repeat(settings.soil_start * capacity[:, None], rain.shape[1], 1)
    shape = (len(rain), capacity.size, rain.shape[1])
    excess, filling = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for steps in (slice(0, spinup), slice(None)):
        _fill(rain[steps], demand[steps], capacity, step_days, level, excess[steps], filling[steps])
    return excess, filling


@numba.njit(cache=True, nogil=True)
def _fill(
    rain: np.ndarray,
    demand: np.ndarray,
    capacity: np.ndarray,  # (K,) [mm]
    step_days: float,
    level: np.ndarray,  # (K, N) [mm], updated
    excess: np.ndarray,  # (T, K, N), written
    filling: np.ndarray,  # (T, K, N), written
) -> None:
    for t in range(rain.shape[0]):
        for k in range(capacity.size):
            for i in range(rain.shape[1]):
                full, held = capacity[k], level[k, i]
                share = held / full
                filling[t, k, i] = share
                net_rain = rain[t, i] - demand[t, i]
                pull = np.tanh(abs(net_rain) / full)
                rejected = 0.0
                if net_rain > 0:
                    taken = full * (1 - share * share) * pull / (1 + share * pull)
                    held += taken
                    rejected = net_rain - taken
                else:
                    held -= held * (2 - share) * pull / (1 + (1 - share) * pull)
                left = held * (1 + step_days * PERCOLATION * (held / full) ** 4) ** -0.25
                level[k, i] = left
                excess[t, k, i] = rejected + held - left
