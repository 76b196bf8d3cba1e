"""Between one head's tensors and those of its pack, which are padded to the largest head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.inputs.watershed import HeadData
from model.network.watersheds import PATCH


@torch.no_grad()
def stack(target: Tensor, heads: Sequence[Tensor]) -> None:
    """Fill a pack's tensor from those of its heads, (1, ...) each, padding with zeros."""
    target.zero_()
    for row, (value,) in zip(target, heads, strict=True):
        row[tuple(slice(n) for n in value.shape)].copy_(value)


def own_size(name: str, value: Tensor, head: HeadData) -> Tensor:
    """One head's parameter without the padding of its pack."""
    rows, columns = head.inside.shape
    if name.endswith("log_efficiency"):
        return value[..., : head.share.size + 1]
    if name.endswith("location"):
        padded = np.pad(head.inside, ((0, -rows % PATCH), (0, -columns % PATCH)))
        tiles = padded.reshape(-(-rows // PATCH), PATCH, -1, PATCH).any((1, 3))
        return value[..., : int(tiles.sum())]
    return value
