"""The image encoder against a convolution of the whole map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from model.inputs.pack import make_pack
from model.inputs.watershed import HeadData
from model.network.encoder import ImageEncoder
from model.settings import Settings

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
SETTINGS = Settings(warmup=10, conv_channels=3, pools=2, image_features=5)


def test_features_are_those_of_a_convolution_of_the_map(make_head: Make) -> None:
    """In a pack of unequal heads; pooled over the patches that touch the watershed."""
    heads = [make_head("01", 6, 5), make_head("02", 3, 9)]
    watersheds = make_pack(heads, SETTINGS, CPU).watersheds
    encoder = ImageEncoder(watersheds, 2, SETTINGS)
    torch.nn.init.normal_(encoder.bias)
    torch.nn.init.normal_(encoder.location)
    own = watersheds.share > 0
    images = [torch.randn(2, 7, own.shape[1]) * own[:, None] for _ in range(2)]
    found = encoder(images)
    for row, head in enumerate(heads):
        relative = head.distance / head.distance.max()
        cells = [image[row, :, : head.share.size] for image in images]
        cells += [torch.as_tensor(x).expand(7, -1) for x in (relative, head.coverage)]
        rows, columns = head.inside.shape
        maps = torch.zeros(7, 4, rows, columns)
        maps[:, :, torch.as_tensor(head.inside)] = torch.stack(cells, 1)
        maps = F.pad(maps, (0, -columns % 4, 0, -rows % 4))
        kernel = encoder.kernel[row].unflatten(1, (4, 4)).permute(3, 0, 1, 2)
        x = F.silu(F.conv2d(maps, kernel, encoder.bias[row, 0], stride=4)).flatten(2)
        inside = F.pad(torch.as_tensor(head.inside).float(), (0, -columns % 4, 0, -rows % 4))
        touched = F.max_pool2d(inside[None], 4).flatten() > 0
        pool = encoder.location[row, :, : int(touched.sum())].softmax(-1)
        pooled = torch.einsum("twp,rp->trw", x[..., touched], pool).flatten(1)
        expected = torch.tanh(pooled @ encoder.mix.weight[row] + encoder.mix.bias[row])
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_location_maps_start_as_bands_from_the_outlet_to_the_divide(make_head: Make) -> None:
    head = make_head("01", 24, 20)
    watersheds = make_pack([head], SETTINGS, CPU).watersheds
    encoder = ImageEncoder(watersheds, 1, Settings(pools=3))
    share, distance = (
        x[0][encoder.patch[0].view(-1, 16)] for x in (watersheds.share, watersheds.distance)
    )
    path = (share * distance).sum(-1) / share.sum(-1)
    pool = encoder.location[0].softmax(-1)
    mean = pool @ path / path.max()
    assert (mean.diff() > 0.05).all(), "from near to far"
    nearest = (path / path.max()).sub(1 / 6).abs().argmin()
    assert pool[0].argmax() == nearest, "the first band is centred on a sixth of the way"
