"""Stack the data of several heads into tensors on one device.

Soil stores, antecedent wetness and the spin-up are computed here, once, before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from model.inputs.features import antecedent_wetness, basin_mean, season_of
from model.inputs.soil import soil_stores
from model.inputs.watershed import HeadData
from model.network.contribution import lags_needed
from model.network.watersheds import Watersheds
from model.settings import Settings
from pipeline.errors import InputError
from pipeline.units import SECONDS_PER_DAY

SERIES = ("rain", "state", "water", "basin", "runoff")


@dataclass(frozen=True)
class Pack:
    """H heads as tensors on one device (letters as in `model.network.domst`).

    The record of T steps is preceded by `spinup` steps of its own first year, so that the first
    training steps have a past.

    Attributes:
        watersheds: static tensors.
        rain: (H, spinup + T, N) rain of the cells [mm per step].
        state: (H, spinup + T, S, N) other forcings, filling of each store, wetness; scaled.
        water: (H, spinup + T, R) basin means of rain and of each store's excess [mm per step].
        basin: (H, spinup + T, G) season, basin wetness, basin means of the states.
        runoff: (H, spinup + T) observed [mm per step], NaN where missing and in the spin-up.
        spinup: steps before the record.
    """

    watersheds: Watersheds
    rain: torch.Tensor
    state: torch.Tensor
    water: torch.Tensor
    basin: torch.Tensor
    runoff: torch.Tensor
    spinup: int

    def select(self, rows: Sequence[int]) -> Pack:
        """Select heads, without changing their padding."""
        index = torch.tensor(list(rows), device=self.runoff.device)
        series = {name: getattr(self, name)[index] for name in SERIES}
        return Pack(watersheds=self.watersheds.select(rows), **series, spinup=self.spinup)

    @property
    def past(self) -> torch.Tensor:
        """Runoff of the previous step [mm per step], (H, spinup + T), NaN where missing."""
        return delayed(self.runoff)

    def forcings(self, end: int | None = None) -> tuple[torch.Tensor, ...]:
        """Arguments of `DomST.encode` for the steps before `end`."""
        series = self.rain, self.state, self.water, self.basin
        return tuple(x[:, :end] for x in series)

    def inputs(self, end: int | None = None) -> tuple[torch.Tensor, ...]:
        """Arguments of `DomST` for the steps before `end`."""
        return (*self.forcings(end), self.past[:, :end])


def make_pack(heads: Sequence[HeadData], settings: Settings, device: torch.device) -> Pack:
    """Stack heads of one store; the spin-up is as long as the warm-up of a stretch.

    Raises:
        InputError: heads with different times or channels.
    """
    one, spinup = heads[0], settings.warmup
    for head in heads[1:]:
        if head.channels != one.channels or not head.times.equals(one.times):
            raise InputError(
                f"watersheds {one.site_no} and {head.site_no} differ in time or channels"
            )
    watersheds = make_watersheds(heads, settings, device)
    first_year = np.arange(-spinup, 0) % one.split.first_year(one.step_seconds)
    order = np.concatenate([first_year, np.arange(len(one.times))])
    runoff = np.stack([head.runoff for head in heads])[:, order]
    runoff[:, :spinup] = np.nan
    season = season_of(one.dates.day_of_year.to_numpy()[order])

    shape = len(heads), len(order)
    cells, forcings = watersheds.share.shape[1], len(one.channels) - 1
    states = forcings + settings.wetness_states
    rain = torch.zeros((*shape, cells), device=device)
    state = torch.zeros((*shape, states, cells), device=device)
    water, basin = [], []
    for head, own_rain, own_state in zip(heads, rain, state, strict=True):
        own = slice(head.share.size)
        own_rain[:, own].copy_(torch.from_numpy(head.forcing[order, 0]))
        with _on_host(own_state[..., own]) as filled:
            excess = _fill_states(filled, head, order, settings)
            wetness = _basin_wetness(head, order, settings)
            means = basin_mean(filled, head.share)
        water.append(np.concatenate([head.rain[:, None], excess], 1)[order])
        basin.append(np.concatenate([season, wetness, means], 1))
    return Pack(
        watersheds=watersheds,
        rain=rain,
        state=state,
        water=torch.as_tensor(np.stack(water), device=device),
        basin=torch.as_tensor(np.stack(basin), device=device),
        runoff=torch.as_tensor(runoff, device=device),
        spinup=spinup,
    )


def delayed(runoff: torch.Tensor) -> torch.Tensor:
    """Runoff of the previous step, (H, T), NaN at the first."""
    return torch.nn.functional.pad(runoff[:, :-1], (1, 0), value=torch.nan)


def make_watersheds(
    heads: Sequence[HeadData], settings: Settings, device: torch.device
) -> Watersheds:
    """Stack the static data of heads of one store."""
    step_seconds = heads[0].step_seconds
    cells = 1 + max(head.share.size for head in heads)
    rows, columns = (max(head.inside.shape[axis] for head in heads) for axis in (0, 1))
    empty = cells - 1

    def per_cell(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return pad_and_stack(arrays, (cells,), 0, device)

    def per_head(values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float32, device=device)

    places = [
        np.where(head.inside, np.cumsum(head.inside).reshape(head.inside.shape) - 1, empty)
        for head in heads
    ]
    return Watersheds(
        share=per_cell([head.share for head in heads]),
        coverage=per_cell([head.coverage for head in heads]),
        distance=per_cell([_distance(head, settings) for head in heads]),
        cell=pad_and_stack(places, (rows, columns), empty, device),
        rain_scale=per_head(head.rain_scale for head in heads),
        runoff_scale=per_head(head.runoff_scale for head in heads),
        rain_mean=per_head(float(head.rain[head.split.train_steps].mean()) for head in heads),
        runoff_mean=per_head(head.runoff_mean for head in heads),
        attributes=torch.tensor(np.stack([head.attributes for head in heads]), device=device),
        step_seconds=step_seconds,
        interval_end=[head.interval_end for head in heads],
        lags=[
            lags_needed(head.distance.max(), step_seconds, settings.slowest_velocity)
            for head in heads
        ],
    )


def pad_and_stack(
    arrays: Sequence[np.ndarray], shape: tuple[int, ...], fill: float, device: torch.device
) -> torch.Tensor:
    """Stack arrays of one type, their last axes padded with `fill` to `shape`."""
    leading = arrays[0].shape[: -len(shape)]
    out = np.full((len(arrays), *leading, *shape), fill, arrays[0].dtype)
    for target, array in zip(out, arrays, strict=True):
        target[(..., *map(slice, array.shape[-len(shape) :]))] = array
    return torch.as_tensor(out, device=device)


def _distance(head: HeadData, settings: Settings) -> np.ndarray:
    """Flow distances of a head's cells [m], (N,); all the mean one without `distance`."""
    if settings.distance:
        return head.distance
    return np.full_like(head.distance, head.distance @ head.share)


@contextmanager
def _on_host(target: torch.Tensor) -> Iterator[np.ndarray]:
    """Yield an array to fill: the tensor itself on a CPU, else one that is copied to the device, so
    that the host never holds more than one head of a pack."""
    if target.device.type == "cpu":
        yield target.numpy()
        return
    array = np.zeros(target.shape, np.float32)
    yield array
    target.copy_(torch.from_numpy(array))


def _fill_states(
    state: np.ndarray, head: HeadData, order: np.ndarray, settings: Settings
) -> np.ndarray:
    """Write a head's states (S, states, N) in place, as the arrays of a pack are large, and return
    the basin means of the stores' excess (T, K) [mm per step]."""
    spinup = len(order) - len(head.times)
    train = head.split.train_steps

    def fill(target: np.ndarray, series: np.ndarray) -> None:
        target[:spinup], target[spinup:] = series[order[:spinup]], series

    rain, others = head.forcing[:, 0], len(head.channels) - 1
    stores = slice(others, others + len(settings.capacities))
    fill(state[:, :others], head.forcing[:, 1:])
    state[:, stores.stop :] = _cell_wetness(head, order, settings)
    if not settings.capacities:
        return np.empty((len(rain), 0), np.float32)
    step_days = head.step_seconds / SECONDS_PER_DAY
    first_year = head.split.first_year(head.step_seconds)
    excess, filling = soil_stores(rain, head.demand, step_days, first_year, settings)
    mean, deviation = filling[train].mean((0, 2)), filling[train].std((0, 2))
    filling -= mean[:, None]
    filling /= np.maximum(deviation[:, None], 1e-6)
    fill(state[:, stores], filling)
    return basin_mean(excess, head.share)


def _cell_wetness(head: HeadData, order: np.ndarray, settings: Settings) -> np.ndarray:
    """Antecedent wetness of a head's cells on the steps `order`, (S, W, N), over its standard
    deviation in training."""
    train = head.split.train_steps
    wetness = antecedent_wetness(
        head.forcing[order, 0],
        head.forcing[train, 0].mean(0),
        settings.cell_memories,
        SECONDS_PER_DAY / head.step_seconds,
    )
    spinup = len(order) - len(head.times)
    deviation = wetness[spinup:][train].std((0, 2))
    wetness /= np.maximum(deviation, 1e-6)[:, None]
    return wetness


def _basin_wetness(head: HeadData, order: np.ndarray, settings: Settings) -> np.ndarray:
    """Antecedent wetness of a head's basin on the steps `order`, (S, W)."""
    rain = head.rain
    mean = np.asarray(rain[head.split.train].mean())
    steps_per_day = SECONDS_PER_DAY / head.step_seconds
    return antecedent_wetness(rain[order], mean, settings.basin_memories, steps_per_day)
