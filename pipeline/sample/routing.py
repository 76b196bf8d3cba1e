"""Travel of runoff along the flow paths to the gauge: advection at a velocity, with dispersion.

A pulse that starts a distance d upstream arrives with the first passage time of an advection and
dispersion process, the inverse Gaussian distribution with mean d / v and variance 2 D d / v^3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import log_ndtr, ndtr
from scipy.stats import spearmanr

from pipeline.errors import RunError
from pipeline.sample.terrain import Basin
from pipeline.sample.world import DEM_PER_PIXEL, STEP_SECONDS, World
from pipeline.units import MM_PER_M

VELOCITIES = (0.15, 1.2)  # [m/s] range over the watersheds
DISPERSION_LENGTH = 3000.0  # [m] median of D / v
LENGTH_CLASS = 100.0  # [m] flow distances are rounded to this
MIN_LENGTH = 400.0  # [m] half a terrain pixel: runoff of the outlet's own pixel travels too
TRIES = 100_000


@dataclass(frozen=True)
class Travel:
    """True velocity [m/s] and dispersion [m2/s] of a watershed."""

    velocity: float
    dispersion: float


def draw_travel(basins: list[Basin], rng: np.random.Generator) -> list[Travel]:
    """Assign velocities, spread evenly over the logarithm of `VELOCITIES`, at random.

    An assignment is accepted if velocity does not correlate with size, and every flood wave from a
    nested watershed passes its own gauge before the one further down the river.

    Raises:
        RunError: no such assignment was found.
    """
    n = len(basins)
    low, high = VELOCITIES
    ladder = low * (high / low) ** ((np.arange(n) + rng.uniform(0.2, 0.8, n)) / n)
    area = [basin.area for basin in basins]
    for _ in range(TRIES):
        velocity = rng.permutation(ladder)
        if abs(spearmanr(velocity, area).statistic) > max(0.1, 1 / n):
            continue
        if all(_in_order(basins, velocity, index) for index in range(n)):
            length = DISPERSION_LENGTH * np.exp(0.3 * rng.standard_normal(n))
            return [Travel(float(v), float(v * x)) for v, x in zip(velocity, length, strict=True)]
    raise RunError(
        f"sample: no assignment of {n} velocities fits the nested watersheds in {TRIES} tries"
    )


def _in_order(basins: list[Basin], velocity: np.ndarray, index: int) -> bool:
    basin, parent = basins[index], basins[index].parent
    if parent is None:
        return True
    longest = float(np.nanmax(basin.distance))
    beyond = float(basins[parent].distance.flat[basin.pixel])
    return bool(longest / velocity[index] <= (longest + beyond) / velocity[parent])


def integrate_arrivals(time: np.ndarray, distance: np.ndarray, travel: Travel) -> np.ndarray:
    """Integrate the share of a pulse that has arrived from 0 to `time` [s], in seconds.

    The distribution F of the inverse Gaussian with mean m = d / v and shape l = d^2 / (2 D) has
    the closed integral  t F(t) - m (Phi(a) - exp(2 l / m) Phi(b)),  with
    a = sqrt(l / t) (t / m - 1) and b = -sqrt(l / t) (t / m + 1).
    """
    mean = distance / travel.velocity
    shape = distance**2 / (2 * travel.dispersion)
    later = np.maximum(time, 1e-9)
    root = np.sqrt(shape / later)
    a = ndtr(root * (later / mean - 1))
    b = np.exp(2 * shape / mean + log_ndtr(-root * (later / mean + 1)))
    return np.where(time > 0, later * (a + b) - mean * (a - b), 0.0)


def travel_kernel(distance: np.ndarray, travel: Travel) -> np.ndarray:
    """Return the shares of a step's runoff that arrive in that step and the following ones.

    Runoff is even within its step of `STEP_SECONDS`, and a share is the mean over the step in
    which it arrives, exactly. The remainder after the last step is added to it.

    Args:
        distance: float64 (n,), metres, above 0.

    Returns:
        float64 (n, steps), rows sum to 1.
    """
    longest = float(distance.max())
    mean = longest / travel.velocity
    spread = math.sqrt(2 * travel.dispersion * longest / travel.velocity**3)
    steps = math.ceil((mean + 8 * spread) / STEP_SECONDS) + 2
    edges = np.arange(-1, steps + 1) * STEP_SECONDS
    total = integrate_arrivals(edges[None, :], distance[:, None], travel) / STEP_SECONDS
    kernel = np.diff(total, n=2, axis=1)
    kernel = np.maximum(kernel, 0.0)
    kernel[:, -1] += 1.0 - kernel.sum(axis=1)
    return kernel


@dataclass(frozen=True)
class Route:
    """How runoff of rain pixels becomes discharge at one gauge.

    Attributes:
        pixels: indices (n,) among the simulated pixels.
        area: area [m2] of each of them inside the watershed, (n,).
        kernel: area times shares of arrival, float32 (n, steps) [m2].
    """

    pixels: np.ndarray
    area: np.ndarray
    kernel: np.ndarray

    def discharge(self, runoff: np.ndarray) -> np.ndarray:
        """Discharge [m3/s] of `runoff` (steps, pixels) [mm a step].

        Longer than the runoff by the steps that the last of it still travels.
        """
        lags = self.kernel.shape[1]
        arrivals = runoff[:, self.pixels] @ self.kernel  # (steps, lags)
        total = np.zeros(runoff.shape[0] + lags - 1)
        for lag in range(lags):
            total[lag : lag + runoff.shape[0]] += arrivals[:, lag]
        return total / (MM_PER_M * STEP_SECONDS)


def pixel_areas(world: World, basin: Basin) -> np.ndarray:
    """Area [m2] of each rain pixel inside the watershed, (rows, columns)."""
    rows, columns = world.shape
    inside = np.where(basin.mask, world.dem_area, 0.0)
    return inside.reshape(rows, DEM_PER_PIXEL, columns, DEM_PER_PIXEL).sum(axis=(1, 3))


def make_route(world: World, basin: Basin, travel: Travel, simulated: np.ndarray) -> Route:
    """The route from `simulated` pixels (flat indices, ascending) to the gauge of `basin`."""
    row, column = np.nonzero(basin.mask)
    length = np.maximum(basin.distance[basin.mask], MIN_LENGTH)
    lengths, length_class = np.unique(np.round(length / LENGTH_CLASS), return_inverse=True)
    pixel = row // DEM_PER_PIXEL * world.shape[1] + column // DEM_PER_PIXEL
    pixels, place = np.unique(pixel, return_inverse=True)
    shares = sparse.coo_array(
        (world.dem_area[basin.mask], (place, length_class)), shape=(pixels.size, lengths.size)
    ).tocsr()
    kernel = shares @ travel_kernel(lengths * LENGTH_CLASS, travel)
    return Route(
        pixels=np.asarray(np.searchsorted(simulated, pixels)),
        area=np.asarray(shares.sum(axis=1)),
        kernel=kernel.astype(np.float32),
    )
