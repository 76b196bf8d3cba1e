"""Building blocks that several parts of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.settings import Precision

BF16_DEVICES = ("cuda",)  # all other devices compute in fp32 whatever the setting


class HeadLinear(nn.Module):
    """H linear layers side by side: (H, ..., inputs) to (H, ..., outputs)."""

    def __init__(self, heads: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))
        for weight in self.weight.data:
            nn.init.xavier_uniform_(weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return y.view(*x.shape[:-1], -1)


def matmul_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the autocast context for matrix products in `precision` on `device`."""
    reduced = precision == "bf16" and device.type in BF16_DEVICES
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced)
