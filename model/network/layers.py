"""Building blocks that the parts of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.settings import Precision

BF16_DEVICES = ("cuda",)  # the others compute in fp32 whatever the setting


class HeadLinear(nn.Module):
    """H linear maps: (H, ..., in) to (H, ..., out)."""

    def __init__(self, heads: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))
        for weight in self.weight.data:
            nn.init.xavier_uniform_(weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return y.view(*x.shape[:-1], -1)


def products(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which a device takes matrix products and convolutions in `precision`."""
    reduced = precision == "bf16" and device.type in BF16_DEVICES
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced)
