"""Rivers: channels along the terrain's D8 network, in which water flows as a kinematic wave.

A channel begins where `CHANNEL_AREA` drains to a terrain pixel, and each of its pixels is a reach.
The discharge of a reach is Q = k A^(3/2) of the cross-section A of its water: Manning's law in a
bed that is wider the higher the water stands, with k such that the bankfull river has the width,
depth and discharge that go with its drainage area (Leopold and Maddock 1953). Waves run at
dQ/dA = 3/2 Q/A, faster the more water there is. The kinematic wave equation is solved implicitly,
upstream reaches first: stable at any step, and no water is made or lost.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numba
import numpy as np
import pyflwdir
from scipy import sparse

from pipeline.sample.stores import held_after
from pipeline.sample.terrain import Basin, innermost, path_lengths
from pipeline.sample.world import DEM_PER_PIXEL, STEP_SECONDS, World
from pipeline.units import M2_PER_KM2, MM_PER_M

CHANNEL_AREA = 20.0  # [km2]
ROUGHNESS = (0.025, 0.075)  # [s m^-1/3] Manning's n, range over the watersheds
SINUOSITY = 1.5  # metres along the meanders over metres along the D8 path
SLOPES = (2e-4, 5e-3)  # [m/m] of the terrain along the D8 path, at least and at most
SLOPE_REACHES = 8  # reaches over which the slope is taken
BANKFULL_DISCHARGE = (1.5, 0.7)  # factor and power of the drainage area [km2], m3/s
BANKFULL_WIDTH = (2.7, 0.4)  # and m
SUBSTEPS = 3  # of a step
GROUPS = 4  # of rivers that are routed side by side


@dataclass(frozen=True)
class Channels:
    """Reaches, those upstream first, one river after the other.

    Attributes:
        downstream: reach below each, -1 at a river's last gauge, int64 (reaches,).
        length: along the meanders [m], (reaches,).
        conveyance: discharge [m3/s] of 1 m2 of cross-section, k, (reaches,).
        shares: area [m2] of each pixel that drains to each reach, sparse (reaches, pixels).
        gauge: reach of each gauge, (gauges,).
        above: reaches of each gauge's watershed, bool (gauges, reaches).
        bounds: first reach of each group of rivers, and the end of the last.
    """

    downstream: np.ndarray
    length: np.ndarray
    conveyance: np.ndarray
    shares: sparse.csr_array
    gauge: np.ndarray
    above: np.ndarray
    bounds: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Area [m2] of each pixel inside each gauge's watershed, (gauges, pixels)."""
        return self.above.astype(np.float64) @ self.shares

    def storage(self, section: np.ndarray) -> np.ndarray:
        """Water [m3] in the channels of each gauge's watershed, (gauges,)."""
        return np.asarray(self.above @ (section * self.length))


def draw_roughness(basins: list[Basin], rng: np.random.Generator) -> np.ndarray:
    """Assign Manning's n, spread evenly over the logarithm of `ROUGHNESS`, at random."""
    low, high = ROUGHNESS
    n = len(basins)
    return rng.permutation(low * (high / low) ** ((np.arange(n) + rng.uniform(0.2, 0.8, n)) / n))


def dig_channels(
    world: World,
    elevation: np.ndarray,
    basins: list[Basin],
    roughness: np.ndarray,
    pixels: np.ndarray,
) -> Channels:
    """Lay the channels of all watersheds through the terrain.

    Args:
        elevation: of the terrain [m], (rows, columns).
        roughness: Manning's n of the reaches whose innermost watershed is each, (basins,).
        pixels: flat indices of the rain pixels in any watershed, ascending.
    """
    flow = pyflwdir.from_dem(elevation)
    downstream, upstream_first = flow.idxs_ds.astype(np.int64), flow.idxs_seq[::-1]
    river = np.full(flow.size, -1)
    for index, basin in enumerate(basins):
        if basin.parent is None:
            river[basin.mask.ravel()] = index
    area = flow.accuflux(world.dem_area).ravel() / M2_PER_KM2
    channel = (river >= 0) & (area >= CHANNEL_AREA)
    place = upstream_first[channel[upstream_first]]  # terrain pixel of each reach
    place = place[np.argsort(river[place], kind="stable")]
    reach = np.full(flow.size, -1)
    reach[place] = np.arange(place.size)
    enters = reach.copy()
    _trace_entries(enters, downstream, flow.idxs_seq, river)
    path, below = path_lengths(flow, world), place
    for _ in range(SLOPE_REACHES):
        below = downstream[below]
    slope = (elevation.flat[place] - elevation.flat[below]) / (path[place] - path[below])
    inside = np.flatnonzero(river >= 0)
    row, column = np.divmod(inside, world.dem_shape[1])
    pixel = row // DEM_PER_PIXEL * world.shape[1] + column // DEM_PER_PIXEL
    shares = sparse.coo_array(
        (world.dem_area.flat[inside], (enters[inside], np.searchsorted(pixels, pixel))),
        shape=(place.size, pixels.size),
    )
    starts = np.flatnonzero(np.diff(river[place], prepend=-1))
    even = np.linspace(0, starts[-1], GROUPS, endpoint=False)
    return Channels(
        downstream=np.where(river[downstream[place]] == river[place], reach[downstream[place]], -1),
        length=SINUOSITY * (path[place] - path[downstream[place]]),
        conveyance=bed_conveyance(
            area[place],
            np.clip(slope, *SLOPES) / SINUOSITY,
            roughness[innermost(world, basins).flat[place]],
        ),
        shares=shares.tocsr(),
        gauge=reach[[basin.pixel for basin in basins]],
        above=np.stack([basin.mask.flat[place] for basin in basins]),
        bounds=np.append(np.unique(starts[np.searchsorted(starts, even)]), place.size),
    )


def bed_conveyance(area: np.ndarray, slope: np.ndarray, roughness: np.ndarray) -> np.ndarray:
    """Discharge [m3/s] of 1 m2 of cross-section in channels that drain `area` [km2]."""
    discharge, width = (
        factor * area**power for factor, power in (BANKFULL_DISCHARGE, BANKFULL_WIDTH)
    )
    depth = (discharge * roughness / (width * np.sqrt(slope))) ** 0.6  # Manning, wide channel
    return discharge / (width * depth) ** 1.5


@numba.njit(cache=True)
def _trace_entries(
    enters: np.ndarray, downstream: np.ndarray, order: np.ndarray, river: np.ndarray
) -> None:
    """Give each pixel inside a river's watershed the first reach on its way, outlets first."""
    for i in order:
        if river[i] >= 0 and enters[i] < 0:
            enters[i] = enters[downstream[i]]


@numba.njit(cache=True, nogil=True)
def _route(
    outflow: np.ndarray,  # float64 (steps, pixels) [mm a step]
    first: int,
    last: int,
    step_seconds: float,
    substeps: int,
    downstream: np.ndarray,
    length: np.ndarray,
    conveyance: np.ndarray,
    row: np.ndarray,  # of `shares`, compressed by rows
    pixel: np.ndarray,
    share: np.ndarray,
    observed: np.ndarray,  # number of each reach's gauge, -1 without
    section: np.ndarray,  # [m2] updated
    discharge: np.ndarray,  # (steps, gauges) [m3/s], added to
    filled: np.ndarray,  # (reaches,), sum of `section` over the steps, added to
) -> None:
    inflow = np.zeros(section.size)
    seconds = step_seconds / substeps
    for step in range(outflow.shape[0]):
        for i in range(first, last):
            lateral = 0.0
            for k in range(row[i], row[i + 1]):
                lateral += share[k] * outflow[step, pixel[k]]
            inflow[i] = lateral / (MM_PER_M * step_seconds)
        own = inflow[first:last].copy()
        for _ in range(substeps):
            for i in range(first, last):
                per_length = seconds / length[i]
                water = section[i] + per_length * inflow[i]
                left = held_after(water, per_length * conveyance[i], section[i])
                out = (water - left) / per_length
                section[i] = left
                filled[i] += left / substeps
                inflow[i] = own[i - first]
                if downstream[i] >= 0:
                    inflow[downstream[i]] += out
                if observed[i] >= 0:
                    discharge[step, observed[i]] += out / substeps


def route(
    outflow: np.ndarray,
    channels: Channels,
    section: np.ndarray,
    pool: Executor,
    step_seconds: float = STEP_SECONDS,
    substeps: int = SUBSTEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Route what the pixels give to the channels down to the gauges.

    Args:
        outflow: float64 (steps, pixels) [mm a step].
        section: cross-section of the water in each reach, float64 (reaches,) [m2]; updated.

    Returns:
        discharge of the gauges, mean of each step, float64 (steps, gauges) [m3/s], and the mean
        cross-section of the reaches, float64 (reaches,) [m2].
    """
    discharge = np.zeros((outflow.shape[0], channels.gauge.size))
    filled = np.zeros(section.size)
    observed = np.full(section.size, -1)
    observed[channels.gauge] = np.arange(channels.gauge.size)

    def group(bounds: tuple[int, int]) -> None:
        _route(
            outflow,
            *bounds,
            step_seconds,
            substeps,
            channels.downstream,
            channels.length,
            channels.conveyance,
            channels.shares.indptr,
            channels.shares.indices,
            channels.shares.data,
            observed,
            section,
            discharge,
            filled,
        )

    for _ in pool.map(group, zip(channels.bounds[:-1], channels.bounds[1:], strict=True)):
        pass
    return discharge, filled / outflow.shape[0]
