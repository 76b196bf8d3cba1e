"""The static tensors of a pack's watersheds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PATCH = 4  # cells: side of the patches that the convolution sees, and its stride


@dataclass(frozen=True)
class Watersheds:
    """What does not change in time, for a pack of H heads.

    Only cells inside a watershed are kept: N is one more than the most that a head has, and cells
    beyond a head's own are empty. Windows are padded to one size.

    share (H, N): each cell's share of the watershed's area, sums to 1; 0 if empty.
    coverage (H, N): share of the cell inside the watershed.
    distance (H, N): flow distance [m].
    cell (H, Y, X): which cell lies at a place of the window; N - 1, an empty one, where none does.
    rain_scale, runoff_scale (H,): standard deviations over the training years [mm per step].
    rain_mean, runoff_mean (H,): means over the training years [mm per step].
    attributes (H, A): what tells one watershed from another.
    step_seconds: length of a step.
    interval_end: of each head's discharge, after the start of the step's rain [s].
    lags: steps that each head's contribution block looks back.
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

    def keep(self, rows: Sequence[int]) -> Watersheds:
        """Some of the heads, padded as all of them were."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = value[torch.tensor(list(rows), device=value.device)]
            elif isinstance(value, list):
                changed[field.name] = [value[row] for row in rows]
        return replace(self, **changed)

    def patches(self) -> tuple[Tensor, Tensor]:
        """The patches of 4 x 4 cells that touch the watershed, row by row.

        Returns:
            (H, P, 16) which cell lies at each of their places, N - 1 where none does, and (H, P)
            whether a patch is the head's own or padding.
        """
        empty = self.share.shape[1] - 1
        rows, columns = (-size % PATCH for size in self.cell.shape[1:])
        cell = F.pad(self.cell, (0, columns, 0, rows), value=empty)
        tiles = cell.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH)).transpose(2, 3)
        tiles = tiles.flatten(3).flatten(1, 2)
        touched = (tiles < empty).any(-1)  # (H, tiles)
        own = touched.sum(-1)
        order = (~touched).to(torch.int8).argsort(dim=-1, stable=True)[:, : int(own.max())]
        tiles = tiles.gather(1, order[..., None].expand(-1, -1, PATCH * PATCH))
        inside = torch.arange(tiles.shape[1], device=own.device) < own[:, None]
        return torch.where(inside[..., None], tiles, empty), inside
