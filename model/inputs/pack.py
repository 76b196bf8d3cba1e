"""Heads as tensors: what `dataset` read of watersheds, stacked for one device.

Soil stores, antecedent wetness and the spin-up are computed here, once, before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from model.inputs.features import antecedent_wetness, season_of
from model.inputs.soil import soil_stores
from model.inputs.watershed import HeadData
from model.network.contribution import lags_needed
from model.network.domst import BASIN_MEMORY_DAYS, CELL_MEMORY_DAYS, CELL_STATES, WATERS
from model.network.watersheds import Watersheds
from pipeline.errors import InputError
from pipeline.units import SECONDS_PER_DAY


@dataclass(frozen=True)
class Pack:
    """H heads as tensors on one device (legend of `network`).

    Steps S = spin-up + T: the record is preceded by `spinup` steps of its own first year, so that
    the first training steps have a past.
    """

    sheds: Watersheds
    water: torch.Tensor  # (H, S, R, N)
    state: torch.Tensor  # (H, S, states, N)
    basin: torch.Tensor  # (H, S, G)
    runoff: torch.Tensor  # (H, S), NaN where missing and in the spin-up
    spinup: int

    def keep(self, rows: Sequence[int]) -> Pack:
        """Some of the heads, padded as all of them were."""
        index = torch.tensor(list(rows), device=self.runoff.device)
        series = {
            name: getattr(self, name)[index] for name in ("water", "state", "basin", "runoff")
        }
        return Pack(sheds=self.sheds.keep(rows), **series, spinup=self.spinup)

    @property
    def past(self) -> torch.Tensor:
        """Runoff of the step before, (H, S), NaN where missing."""
        return torch.nn.functional.pad(self.runoff[:, :-1], (1, 0), value=torch.nan)

    def forcings(self, end: int | None = None) -> tuple[torch.Tensor, ...]:
        """What `DomST.encode` takes, of the steps before `end`."""
        return self.water[:, :end], self.state[:, :end], self.basin[:, :end]

    def inputs(self, end: int | None = None) -> tuple[torch.Tensor, ...]:
        """What `DomST` takes, of the steps before `end`."""
        return (*self.forcings(end), self.past[:, :end])


def stacked(
    arrays: Sequence[np.ndarray], shape: tuple[int, ...], fill: float, device: torch.device
) -> torch.Tensor:
    """Arrays of one type padded at their last axes to `shape`."""
    ahead = arrays[0].shape[: -len(shape)]
    out = np.full((len(arrays), *ahead, *shape), fill, arrays[0].dtype)
    for target, array in zip(out, arrays, strict=True):
        target[(..., *map(slice, array.shape[-len(shape) :]))] = array
    return torch.as_tensor(out, device=device)


def make_sheds(heads: Sequence[HeadData], device: torch.device) -> Watersheds:
    """What does not change in time of heads of one store."""
    one = heads[0]
    cells = 1 + max(head.share.size for head in heads)
    rows, columns = (max(head.inside.shape[axis] for head in heads) for axis in (0, 1))

    def of_cells(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return stacked(arrays, (cells,), 0, device)

    def of_heads(values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float32, device=device)

    empty = cells - 1
    places = [
        np.where(head.inside, np.cumsum(head.inside).reshape(head.inside.shape) - 1, empty)
        for head in heads
    ]
    return Watersheds(
        share=of_cells([head.share for head in heads]),
        coverage=of_cells([head.coverage for head in heads]),
        distance=of_cells([head.distance for head in heads]),
        cell=stacked(places, (rows, columns), empty, device),
        rain_scale=of_heads(head.rain_scale for head in heads),
        runoff_scale=of_heads(head.runoff_scale for head in heads),
        rain_mean=of_heads(float(head.rain[head.split.train].mean()) for head in heads),
        runoff_mean=of_heads(head.runoff_mean for head in heads),
        step_seconds=one.step_seconds,
        attributes=torch.tensor(np.stack([head.attributes for head in heads]), device=device),
        interval_end=[head.interval_end for head in heads],
        lags=[lags_needed(head.distance.max(), one.step_seconds) for head in heads],
    )


def make_pack(heads: Sequence[HeadData], spinup: int, device: torch.device) -> Pack:
    """Stack heads of one store.

    Raises:
        InputError: heads with different times or channels.
    """
    one = heads[0]
    for head in heads[1:]:
        if head.channels != one.channels or not head.times.equals(one.times):
            raise InputError(
                f"watersheds {one.site_no} and {head.site_no} differ in time or channels"
            )
    sheds = make_sheds(heads, device)
    year = round(pd.Timedelta(days=365).total_seconds() / one.step_seconds)
    order = np.concatenate(
        [np.arange(-spinup, 0) % min(year, len(one.times)), np.arange(len(one.times))]
    )
    runoff = np.stack([head.runoff for head in heads])[:, order]
    runoff[:, :spinup] = np.nan
    season = season_of(one.dates.day_of_year.to_numpy()[order])

    def fill(target: np.ndarray, series: np.ndarray) -> None:
        """A series (T, ...) behind its spin-up, in place: the long ones are a GB together."""
        target[:spinup], target[spinup:] = series[order[:spinup]], series

    steps, cells = len(order), sheds.share.shape[1]
    water = np.zeros((len(heads), steps, WATERS, cells), np.float32)
    state = np.zeros((len(heads), steps, len(one.channels) - 1 + CELL_STATES, cells), np.float32)
    basins = []
    for head, waters, states in zip(heads, water, state, strict=True):
        own = states[..., : head.share.size]
        others = len(head.channels) - 1
        fill(own[:, :others], head.forcing[:, 1:])
        cells_wet, basin_wet = _wetness(head, order)
        own[:, -len(CELL_MEMORY_DAYS) :] = cells_wet
        del cells_wet
        rain = head.forcing[:, 0]
        days = head.step_seconds / SECONDS_PER_DAY
        excess, filling = soil_stores(rain, head.demand, days, min(year, len(rain)))
        usual = filling[head.split.train]
        mean, spread = usual.mean((0, 2))[:, None], usual.std((0, 2))[:, None]
        filling -= mean
        filling /= np.maximum(spread, 1e-6)
        fill(waters[:, 0, : head.share.size], rain)
        fill(waters[:, 1:, : head.share.size], excess)
        fill(own[:, others : -len(CELL_MEMORY_DAYS)], filling)
        basins.append(np.concatenate([season, basin_wet, own @ head.share], 1))
    return Pack(
        sheds=sheds,
        water=torch.as_tensor(water, device=device),
        state=torch.as_tensor(state, device=device),
        basin=torch.as_tensor(np.stack(basins), device=device),
        runoff=torch.as_tensor(runoff, device=device),
        spinup=spinup,
    )


def _wetness(head: HeadData, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Antecedent wetness of a head's cells (S, W, N), scaled by its standard deviation over
    training steps and cells, and of its basin (S, W'), of the steps `order`."""
    train, steps_per_day = head.split.train, SECONDS_PER_DAY / head.step_seconds
    rain, depth = head.forcing[order, 0], head.rain[order]
    usual = head.forcing[train, 0].mean(0)
    cells = antecedent_wetness(rain, usual, CELL_MEMORY_DAYS, steps_per_day)
    spinup = len(order) - len(head.times)
    spread = cells[spinup : spinup + train.stop].std((0, 2))
    cells /= np.maximum(spread, 1e-6)[:, None]
    mean = np.asarray(head.rain[train].mean())
    return cells, antecedent_wetness(depth, mean, BASIN_MEMORY_DAYS, steps_per_day)
