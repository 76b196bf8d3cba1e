"""Conversion between a single head's tensors and those of its pack, padded to the largest head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.inputs.watershed import HeadData


@torch.no_grad()
def stack_padded(target: Tensor, heads: Sequence[Tensor]) -> None:
    """Fill a pack's tensor (H, ...) with those of its heads, (1, ...) each, padded with zeros."""
    target.zero_()
    for row, (value,) in zip(target, heads, strict=True):
        row[tuple(slice(n) for n in value.shape)].copy_(value)


def without_padding(name: str, value: Tensor, head: HeadData, patch: int) -> Tensor:
    """Cut a head's parameter (1, ...) to the head's own size.

    Args:
        name: of the parameter; those of cells and of patches are padded.
        value: the head's row of the pack's tensor.
        head: the head's data.
        patch: side of a patch [cells].
    """
    rows, columns = head.inside.shape
    if name.endswith("log_efficiency"):
        return value[..., : head.share.size + 1]
    if name.endswith("location"):
        padded = np.pad(head.inside, ((0, -rows % patch), (0, -columns % patch)))
        touched = padded.reshape(-(-rows // patch), patch, -1, patch).any((1, 3))
        return value[..., : int(touched.sum())]
    return value
