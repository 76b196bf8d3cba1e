"""The soil's part in runoff: how wet the ground is, and how much of the rain it sheds.

A cell is a bank of soil stores of fixed capacities side by side. Each takes up rain, the less the
fuller it is, evaporates, the more the fuller it is, and percolates: the production store of GR4J
(Perrin et al. 2003, J. Hydrol. 279, 275-289), whose equations integrate the exchange over a step
exactly and so hold for hours as for days. What a store does not hold is its excess. A basin's own
distribution of capacities is a mixture of the bank, and that mixture is what a head learns.

No water is made: rain + level before = excess + evaporation + level after.

    T steps   K stores   N cells
"""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np

from pipeline.catalog.models import PRECIPITATION
from pipeline.evaporation import potential_evaporation, solar_evaporation

CAPACITIES = (40.0, 120.0, 360.0, 1080.0)  # mm, from rock and roofs to deep loam
PERCOLATION = (4 / 9) ** 4  # per day, of a full store in GR4J

EVAPORATION = "potential_evaporation"  # mm per step: a forcing of this name is taken as it is
TEMPERATURE = "temperature"  # degC


def evaporation_demand(
    fields: Mapping[str, np.ndarray],
    latitude: np.ndarray,
    day_of_year: np.ndarray,
    step_days: float,
    evaporated: float,
) -> np.ndarray:
    """Potential evaporation [mm per step], (T, N) float32.

    A store's own, or after Oudin from its temperature. Without either it follows the sun, and its
    mean is the one at which the usual rain evaporates what does not run off, after Turc and Pike
    (Pike 1964, J. Hydrol. 2): ET / P = 1 / sqrt(1 + (P / PET)^2).

    Args:
        fields: forcings, (T, N) each, rain among them [mm per step].
        latitude: of the cells [degrees], (N,).
        day_of_year: of the steps, (T,).
        step_days: length of a step [days].
        evaporated: share of the rain of the training years that did not run off.
    """
    if EVAPORATION in fields:
        return np.maximum(fields[EVAPORATION], 0).astype(np.float32)
    if TEMPERATURE in fields:
        demand = potential_evaporation(fields[TEMPERATURE], latitude, day_of_year) * step_days
    else:
        share = min(max(evaporated, 0.1), 0.95)
        mean = fields[PRECIPITATION].mean() * share / np.sqrt(1 - share**2)
        sun = solar_evaporation(latitude, day_of_year)
        demand = sun * (mean / sun.mean())
    return demand.astype(np.float32)


def soil_stores(
    rain: np.ndarray, demand: np.ndarray, step_days: float, first_year: int
) -> tuple[np.ndarray, np.ndarray]:
    """Excess [mm per step] and filling before each step, 0..1, of each store: (T, K, N) float32.

    Args:
        rain: (T, N) [mm per step].
        demand: potential evaporation, (T, N) [mm per step].
        step_days: length of a step [days].
        first_year: steps of the record that run before it once, so that its start has a past.
    """
    capacity = np.array(CAPACITIES)
    level = np.repeat(0.5 * capacity[:, None], rain.shape[1], 1)
    shape = (len(rain), capacity.size, rain.shape[1])
    excess, filling = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for steps in (slice(0, first_year), slice(None)):
        _fill(rain[steps], demand[steps], capacity, step_days, level, excess[steps], filling[steps])
    return excess, filling


@numba.njit(cache=True, nogil=True)
def _fill(
    rain: np.ndarray,
    demand: np.ndarray,
    capacity: np.ndarray,  # (K,) [mm]
    step_days: float,
    level: np.ndarray,  # (K, N) [mm], moved on
    excess: np.ndarray,  # (T, K, N), written
    filling: np.ndarray,  # (T, K, N), written
) -> None:
    for t in range(rain.shape[0]):
        for k in range(capacity.size):
            for i in range(rain.shape[1]):
                full, held = capacity[k], level[k, i]
                share = held / full
                filling[t, k, i] = share
                surplus = rain[t, i] - demand[t, i]
                pull = np.tanh(abs(surplus) / full)
                shed = 0.0
                if surplus > 0:
                    taken = full * (1 - share * share) * pull / (1 + share * pull)
                    held += taken
                    shed = surplus - taken
                else:
                    held -= held * (2 - share) * pull / (1 + (1 - share) * pull)
                left = held * (1 + step_days * PERCOLATION * (held / full) ** 4) ** -0.25
                level[k, i] = left
                excess[t, k, i] = shed + held - left
