"""Static tensors of the watersheds of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Watersheds:
    """What does not change in time, for a pack of H heads.

    Only cells inside a watershed are stored. N is one more than the largest head's number of
    cells: a head's own cells come first, the others are empty (share 0). Windows are padded to one
    size.

    Attributes:
        share: (H, N) each cell's share of the watershed's area; sums to 1, 0 if empty.
        coverage: (H, N) share of the cell that lies inside the watershed.
        distance: (H, N) flow distance to the outlet [m].
        cell: (H, Y, X) index of the cell at a place of the window; N - 1, an empty one, if none.
        rain_scale, runoff_scale: (H,) standard deviations over the training years [mm per step].
        rain_mean, runoff_mean: (H,) means over the training years [mm per step].
        attributes: (H, A) static attributes, scaled.
        step_seconds: length of a step.
        interval_end: end of each head's discharge interval after the start of the rain's step [s].
        lags: number of lags of each head's contribution kernel.
    """

    share: Tensor
    coverage: Tensor
    distance: Tensor
    cell: Tensor
    rain_scale: Tensor
    runoff_scale: Tensor
    rain_mean: Tensor
    runoff_mean: Tensor
    attributes: Tensor
    step_seconds: float
    interval_end: list[float]
    lags: list[int]

    def select(self, rows: Sequence[int]) -> Watersheds:
        """Select heads, without changing their padding."""
        selected: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                selected[field.name] = value[torch.tensor(list(rows), device=value.device)]
            elif isinstance(value, list):
                selected[field.name] = [value[row] for row in rows]
        return replace(self, **selected)

    def patches(self, size: int) -> tuple[Tensor, Tensor]:
        """Find the patches of `size` x `size` cells that touch a watershed, row by row.

        Returns:
            (H, P, size * size) index of the cell at each place of a patch, N - 1 if none, and
            (H, P) whether a patch is the head's own rather than padding.
        """
        empty = self.share.shape[1] - 1
        rows, columns = (-side % size for side in self.cell.shape[1:])
        cell = F.pad(self.cell, (0, columns, 0, rows), value=empty)
        tiles = cell.unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)
        tiles = tiles.flatten(3).flatten(1, 2)  # (H, tiles of the window, size * size)
        touched = (tiles < empty).any(-1)
        own = touched.sum(-1)
        order = (~touched).to(torch.int8).argsort(dim=-1, stable=True)[:, : int(own.max())]
        tiles = tiles.gather(1, order[..., None].expand(-1, -1, size * size))
        inside = torch.arange(tiles.shape[1], device=own.device) < own[:, None]
        return torch.where(inside[..., None], tiles, empty), inside
