"""What an update learns from: stretches of the learnable steps, and the discharge it may see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.inputs.pack import Pack, delayed
from model.inputs.periods import Mask, consecutive


class Lesson:
    """The learnable steps of a record, in one or several periods.

    Discharge outside of them never enters the loss. That of held-out steps is no input either:
    with past discharge as an input, it is missing where it belongs to them.

    Args:
        pack: the heads.
        learnable: steps with loss, (T,) bool.
        held_out: steps whose discharge is not shown, (T,) bool.
        length: steps of a stretch, at most those of the longest learnable period.

    Attributes:
        end: number of the record's first steps up to the last learnable one.
        target: (H, spinup + T) observed runoff [mm per step], NaN where it is not learned from.
        past: (H, spinup + T) that of the previous step, NaN where held out or missing.
    """

    def __init__(self, pack: Pack, learnable: Mask, held_out: Mask, length: int) -> None:
        periods = consecutive(learnable)
        self.length, self.end = length, periods[-1][1]
        self.steps = torch.from_numpy(np.flatnonzero(learnable))  # (L,)
        sizes = [stop - first for first, stop in periods]
        bounds = np.repeat(np.array(periods), sizes, axis=0)  # of each step's period, (L, 2)
        self.first, self.stop = torch.from_numpy(bounds).unbind(1)
        self.target = _hide(pack, ~learnable)
        self.past = delayed(_hide(pack, held_out))

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draw the first steps of some stretches, (B,), counted in the record.

        The middle of a stretch is drawn evenly from the learnable steps; then the stretch is moved
        into the middle's period, so that steps at its ends are drawn as often as others. If the
        period is shorter than a stretch, both end together.
        """
        steps = len(self.steps)
        middles = steps + 1 - self.length % 2  # of an even stretch between steps, and at both ends
        middle = torch.randint(middles, (number,), generator=generator).clamp(max=steps - 1)
        start = torch.maximum(self.steps[middle] - self.length // 2, self.first[middle])
        return torch.minimum(start, self.stop[middle] - self.length).clamp(min=0)


def _hide(pack: Pack, hidden: Mask) -> Tensor:
    """Return the pack's runoff, NaN on the hidden steps of the record."""
    padded = np.concatenate([np.zeros(pack.spinup, bool), hidden])
    return pack.runoff.masked_fill(torch.from_numpy(padded).to(pack.runoff.device), torch.nan)
