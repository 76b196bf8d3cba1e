"""The image encoder: maps of rain and contributions to a few features a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers import HeadLinear
from model.network.watersheds import Watersheds
from model.settings import Settings


class ImageEncoder(nn.Module):
    """Images of cells, C of (H, T, N), to features (H, T, F).

    A convolution of 4 x 4 cells and stride 4, on the patches that touch the watershed alone. The
    channels that do not change, flow distance and coverage, are convolved once and added to every
    step. Pooling keeps location: R learned maps, each a softmax over the watershed's patches, that
    start as bands of flow distance from the outlet to the divide.
    """

    patch: Tensor
    inside: Tensor
    static: Tensor

    def __init__(self, sheds: Watersheds, channels: int, settings: Settings) -> None:
        super().__init__()
        heads, width = len(sheds.share), settings.conv_channels
        patch, inside = sheds.patches()
        self.register_buffer("patch", patch.flatten(1), persistent=False)  # (H, P 16)
        self.register_buffer("inside", inside[:, None], persistent=False)  # (H, 1, P)
        relative = sheds.distance / sheds.distance.amax(-1, keepdim=True)
        static = torch.stack([relative * (sheds.share > 0), sheds.coverage], 1)
        self.register_buffer("static", static, persistent=False)
        self.kernel = nn.Parameter(torch.empty(heads, channels + len(static[0]), 16, width))
        self.bias = nn.Parameter(torch.zeros(heads, 1, width))
        for kernel in self.kernel.data:
            nn.init.kaiming_uniform_(kernel.flatten(0, 1).T, nonlinearity="relu")
        index = self.patch[:, None].expand(-1, 2, -1)
        weight, path = (
            torch.stack([sheds.share, sheds.share * sheds.distance], 1)
            .gather(-1, index)
            .view(heads, 2, -1, 16)
            .sum(-1)
            .unbind(1)
        )
        path = path / weight.clamp(min=1e-12)
        relative = path / path.amax(-1, keepdim=True).clamp(min=1.0)
        bands = (torch.arange(settings.pools, device=path.device) + 0.5) / settings.pools
        offset = (relative[:, None] - bands[:, None]) * settings.pools
        self.location = nn.Parameter(-offset.square())  # (H, R, P)
        self.mix = HeadLinear(heads, width * settings.pools, settings.image_features)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        heads, steps = images[0].shape[:2]
        patches = self.inside.shape[-1]
        place = self.bias[:, None]  # (H, 1, 1, F')
        for layer, kernel in zip(self.static.unbind(1), self.kernel[:, -2:].unbind(1), strict=True):
            place = place + (
                layer.gather(-1, self.patch).view(heads, 1, patches, 16) @ kernel[:, None]
            )
        index = self.patch[:, None].expand(-1, steps, -1)
        x = place.expand(-1, steps, -1, -1).flatten(1, 2)
        for layer, kernel in zip(images, self.kernel.unbind(1), strict=False):
            x = torch.baddbmm(x, layer.gather(-1, index).view(heads, -1, 16), kernel)
        x = F.silu(x).view(heads, steps, patches, -1)
        pool = self.location.masked_fill(~self.inside, -torch.inf).softmax(-1)  # (H, R, P)
        pooled = pool[:, None] @ x  # (H, T, R, F')
        return torch.tanh(self.mix(pooled.flatten(2)))
