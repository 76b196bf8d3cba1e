"""Loss of a head: the error of runoff, and that of its square root."""

from __future__ import annotations

import torch
from torch import Tensor

from model.settings import Settings


def runoff_loss(simulated: Tensor, observed: Tensor, scale: Tensor, settings: Settings) -> Tensor:
    """Compute the loss of each head, (H,): 1 - NSE, plus the like of square roots.

    Square roots give weight to recessions and low flows, which squared errors of runoff hardly see.
    Missing observations (NaN) do not count.

    Args:
        simulated: (H, R, B, L) runoff by each of R readouts [mm per step]; all count alike.
        observed: (H, B, L) [mm per step].
        scale: (H,) standard deviation of the observed runoff in training [mm per step].
        settings: weight of the square roots, and the offset under them.
    """
    offset = settings.sqrt_offset
    valid = observed.isfinite()[:, None]
    count = valid.sum((1, 2, 3)).clamp(min=1) * simulated.shape[1]
    target = torch.where(valid, observed[:, None], 0.0)
    errors = torch.where(valid, simulated - target, 0.0)
    target_root = (target.clamp(min=0) + offset).sqrt()
    root_errors = torch.where(valid, (simulated + offset).sqrt() - target_root, 0.0)
    error = errors.square().sum((1, 2, 3)) / scale.square()
    # the root of a depth with deviation s has a deviation of about sqrt(s) / 2, variance s / 4
    root_error = root_errors.square().sum((1, 2, 3)) / (0.25 * scale)
    return (error + settings.sqrt_loss * root_error) / count
