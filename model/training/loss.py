"""The loss of a head: errors of runoff, and of its square root."""

from __future__ import annotations

import torch
from torch import Tensor

from model.network.domst import DRY


def runoff_loss(simulated: Tensor, observed: Tensor, scale: Tensor, sqrt_weight: float) -> Tensor:
    """Loss of each head, (H,): squared error over variance (1 - NSE), plus that of square roots.

    The roots weigh recessions and low flows, which squared errors of runoff hardly see. Missing
    observations (NaN) do not count.

    Args:
        simulated: (H, R, B, L) [mm per step], by each readout; they count alike.
        observed: (H, B, L) [mm per step].
        scale: (H,) standard deviation of the observed runoff in training.
        sqrt_weight: weight of the second term.
    """
    valid = observed.isfinite()[:, None]
    count = valid.sum((1, 2, 3)).clamp(min=1) * simulated.shape[1]
    target = torch.where(valid, observed[:, None], 0.0)
    errors = torch.where(valid, simulated - target, 0.0)
    roots = torch.where(valid, (simulated + DRY).sqrt() - (target.clamp(min=0) + DRY).sqrt(), 0.0)
    # the root of a depth with deviation s deviates by about sqrt(s) / 2
    error = errors.square().sum((1, 2, 3)) / scale.square()
    root_error = roots.square().sum((1, 2, 3)) / (0.25 * scale)
    return (error + sqrt_weight * root_error) / count
