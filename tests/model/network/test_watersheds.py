"""Patches of the map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from model.inputs.pack import make_pack
from model.inputs.watershed import HeadData
from model.settings import Settings

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
PATCH = Settings().patch


def test_patches_show_each_cell_where_it_lies(make_head: Make) -> None:
    """Put back on the map they are the rain there, and nothing elsewhere."""
    heads = [make_head("01", 6, 5), make_head("02", 3, 9)]
    pack = make_pack(heads, Settings(warmup=60), CPU)
    patch, inside = pack.watersheds.patches(PATCH)
    for row, head in enumerate(heads):
        expected = np.pad(np.zeros(head.inside.shape), ((0, -head.inside.shape[0] % PATCH), (0, 3)))
        expected[: head.inside.shape[0], : head.inside.shape[1]][head.inside] = head.forcing[40, 0]
        tiles = [
            expected[y : y + PATCH, x : x + PATCH].ravel()
            for y in range(0, expected.shape[0], PATCH)
            for x in range(0, head.inside.shape[1], PATCH)
        ]
        touched = [tile for tile in tiles if (tile > 0).any()]
        found = pack.rain[row, 100][patch[row]].numpy()
        np.testing.assert_array_equal(found[: len(touched)], touched)
        assert (found[len(touched) :] == 0).all()
        assert inside[row].sum() == len(touched)
