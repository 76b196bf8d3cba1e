"""What a head's contribution block learned, from its checkpoint and the store's distances."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from model.network.contribution import integrated_passage, lags_needed
from model.network.tensor_file import read
from model.settings import Settings


class Learned(NamedTuple):
    """Travel time and contributions.

    Attributes:
        kernel: (K,) share of the watershed's rain that arrives after each number of steps, if it
            falls evenly and all runs off.
        delivered: (N,) what a cell delivers of an even rain, relative to its share of the area;
            the mean over the area is 1.
    """

    kernel: np.ndarray
    delivered: np.ndarray


def read_learned(
    checkpoint: Path,
    settings: Settings,
    share: np.ndarray,
    distance: np.ndarray,
    step_seconds: float,
    interval_end: float,
) -> Learned | None:
    """Read what a head learned; None for a head without travel times on its own window.

    Args:
        checkpoint: of the head.
        settings: of the run.
        share, distance: (N,) share of the area and flow distance [m] of the watershed's cells.
        step_seconds: length of a step.
        interval_end: end of the discharge's interval after the start of the rain's step [s].

    Raises:
        InputError: the checkpoint is damaged, or of another version.
    """
    if not (settings.contribution and settings.travel_time) or settings.region:
        return None
    weights, _ = read(checkpoint)
    lags = lags_needed(float(distance.max()), step_seconds, settings.slowest_velocity)
    if not settings.distance:
        distance = np.full_like(distance, distance @ share)
    ends = torch.arange(lags, dtype=torch.float64) * step_seconds + interval_end
    arrived = integrated_passage(
        ends,
        torch.as_tensor(distance, dtype=torch.float64).clamp(min=settings.shortest_path)[:, None],
        weights["contribution.log_velocity"].double().exp(),
        weights["contribution.log_dispersion"].double().exp(),
    )
    kernel = F.pad(arrived / step_seconds, (2, 0)).diff(n=2).clamp(min=0).numpy()
    efficiency = weights["contribution.log_efficiency"][0, : share.size].double().exp().numpy()
    delivered = kernel.sum(1) * efficiency
    return Learned(share @ kernel, delivered / (share @ delivered))
