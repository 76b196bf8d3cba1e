"""Image encoder: maps of rain and contributions to a few features per step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers import HeadLinear
from model.network.watersheds import Watersheds
from model.settings import Settings


class ImageEncoder(nn.Module):
    """Convolution and learned pooling: C images (H, T, N) to features (H, T, E).

    One convolution of k x k cells with stride k, computed only for the P patches that touch the
    watershed. The static channels, flow distance and coverage, are convolved once and added to
    every step. Pooling keeps location: R learned maps, each a softmax over the patches, initialised
    as bands of flow distance from the outlet to the divide.

        W convolution channels   R location maps   P patches   K = k * k cells of a patch
    """

    patch: Tensor
    inside: Tensor
    static: Tensor

    def __init__(self, watersheds: Watersheds, channels: int, settings: Settings) -> None:
        super().__init__()
        share, distance = watersheds.share, watersheds.distance
        heads, width, cells = len(share), settings.conv_channels, settings.patch**2
        patch, inside = watersheds.patches(settings.patch)
        self.register_buffer("patch", patch.flatten(1), persistent=False)  # (H, P K)
        self.register_buffer("inside", inside[:, None], persistent=False)  # (H, 1, P)
        relative = distance / distance.amax(-1, keepdim=True)
        static = torch.stack([relative * (share > 0), watersheds.coverage], 1)
        self.register_buffer("static", static, persistent=False)  # (H, 2, N)
        self.kernel = nn.Parameter(torch.empty(heads, channels + len(static[0]), cells, width))
        self.bias = nn.Parameter(torch.zeros(heads, 1, width))
        for kernel in self.kernel.data:
            nn.init.kaiming_uniform_(kernel.flatten(0, 1).T, nonlinearity="relu")
        index = self.patch[:, None].expand(-1, 2, -1)
        weight, path = (
            torch.stack([share, share * distance], 1)
            .gather(-1, index)
            .view(heads, 2, -1, cells)
            .sum(-1)
            .unbind(1)
        )
        path = path / weight.clamp(min=1e-12)  # (H, P) mean flow distance of a patch
        relative = path / path.amax(-1, keepdim=True).clamp(min=1.0)
        bands = (torch.arange(settings.pools, device=path.device) + 0.5) / settings.pools
        offset = (relative[:, None] - bands[:, None]) * settings.pools
        self.location = nn.Parameter(-offset.square())  # (H, R, P)
        self.mix = HeadLinear(heads, width * settings.pools, settings.image_features)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        heads, steps = images[0].shape[:2]
        patches, cells = self.inside.shape[-1], self.kernel.shape[2]
        static = self.bias[:, None]  # (H, 1, 1, W), then (H, 1, P, W)
        for layer, kernel in zip(self.static.unbind(1), self.kernel[:, -2:].unbind(1), strict=True):
            static = static + (
                layer.gather(-1, self.patch).view(heads, 1, patches, cells) @ kernel[:, None]
            )
        index = self.patch[:, None].expand(-1, steps, -1)
        x = static.expand(-1, steps, -1, -1).flatten(1, 2)  # (H, T P, W)
        for layer, kernel in zip(images, self.kernel.unbind(1), strict=False):
            x = torch.baddbmm(x, layer.gather(-1, index).view(heads, -1, cells), kernel)
        x = F.silu(x).view(heads, steps, patches, -1)  # (H, T, P, W)
        pool = self.location.masked_fill(~self.inside, -torch.inf).softmax(-1)  # (H, R, P)
        pooled = pool[:, None] @ x  # (H, T, R, W)
        return torch.tanh(self.mix(pooled.flatten(2)))
