"""Optimiser, learning rate and weight averaging, shared by heads and by the trunk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.settings import Settings

# Logarithms of physical scales, which start far from where they end; by the end of their names.
PHYSICAL_PARAMETERS = ("log_velocity", "log_dispersion", "log_efficiency")


def make_optimiser(named: Mapping[str, Parameter], settings: Settings) -> AdamW:
    """Create the optimiser; physical parameters have a rate of their own and no weight decay."""
    physical = [p for name, p in named.items() if name.endswith(PHYSICAL_PARAMETERS)]
    others = [p for name, p in named.items() if not name.endswith(PHYSICAL_PARAMETERS)]
    return AdamW(
        [
            {"params": others, "factor": 1.0, "weight_decay": settings.weight_decay},
            {"params": physical, "factor": settings.physical_rate, "weight_decay": 0.0},
        ]
    )


def set_learning_rate(optimiser: AdamW, update: int, settings: Settings) -> None:
    """Set the learning rate of an update.

    A rate that is a function of the update needs no scheduler, whose own counter would have to be
    saved, restored and kept equal to the update's.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(update, settings) * group["factor"]


def learning_rate(update: int, settings: Settings) -> float:
    """Learning rate of an update: a linear rise, then a cosine down to `final_rate`.

    The refit repeats the same over its own updates, at its own rate.
    """
    updates, rate = settings.updates, settings.learning_rate
    if update >= updates:
        update, updates = update - updates, settings.refit_updates
        rate = rate * settings.refit_rate
    rise = max(1, round(settings.rise * updates))
    if update < rise:
        return rate * (update + 1) / rise
    done = (update - rise) / max(1, updates - rise)
    final = settings.final_rate
    return rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))


def update_average(
    average: Mapping[str, Tensor], weights: Iterable[Tensor], updates: int, settings: Settings
) -> None:
    """Move the exponential average towards the weights after `updates` updates, in place.

    The decay grows with the updates, so that the initial weights are soon forgotten.
    """
    decay = min(settings.averaging, updates / (settings.averaging_start + updates))
    get_ema_multi_avg_fn(decay)(list(average.values()), list(weights), updates)
