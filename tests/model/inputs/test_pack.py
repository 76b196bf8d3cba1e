"""Heads as tensors: spin-up, padding, and heads that do not go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.inputs.pack import SERIES, make_pack
from model.inputs.soil import soil_stores
from model.inputs.watershed import HeadData
from model.settings import Settings
from pipeline.errors import InputError

Make = Callable[..., HeadData]
CPU = torch.device("cpu")


def test_spinup_is_the_end_of_the_first_year(make_head: Make) -> None:
    head = make_head("01")
    pack = make_pack([head], Settings(warmup=100), CPU)
    rain = pack.rain[0, :, :-1].numpy()
    np.testing.assert_array_equal(rain[:100], head.forcing[265:365, 0])
    np.testing.assert_array_equal(rain[100:], head.forcing[:, 0])
    np.testing.assert_array_equal(pack.water[0, 100:, 0], head.rain)
    np.testing.assert_array_equal(pack.water[0, :100], pack.water[0, 365:465])
    assert (pack.rain[0, ..., -1] == 0).all(), "the last cell is empty"
    assert pack.runoff[0, :100].isnan().all()
    # the season runs on from the spin-up into the record
    assert (pack.basin[0, :, :2].diff(dim=0).norm(dim=1) < 0.04).all()


@pytest.mark.parametrize("step_hours", [24, 6])
def test_soil_stores_percolate_by_the_length_of_a_step(make_head: Make, step_hours: int) -> None:
    head = dataclasses.replace(make_head("01"), step_seconds=3600.0 * step_hours)
    settings = Settings(warmup=100)
    pack = make_pack([head], settings, CPU)
    first_year = min(365 * 24 // step_hours, head.split.train_stop)
    rain = head.forcing[:, 0]
    excess, _ = soil_stores(rain, head.demand, step_hours / 24, first_year, settings)
    expected = (excess.astype(np.float64) * head.share).sum(-1)
    np.testing.assert_allclose(pack.water[0, pack.spinup :, 1:], expected, rtol=1e-4, atol=1e-5)


def test_packs_refuse_heads_of_different_times(make_head: Make) -> None:
    with pytest.raises(InputError, match="differ in time"):
        make_pack([make_head("01"), make_head("02", years=5)], Settings(), CPU)


def test_empty_cells_hold_nothing(make_head: Make) -> None:
    pack = make_pack([make_head("01"), make_head("02", 2, 2)], Settings(warmup=60), CPU)
    empty = pack.watersheds.share == 0
    assert empty.any(1).all(), "places outside a watershed show an empty cell"
    for head, none in enumerate(empty):
        assert (pack.rain[head, ..., none] == 0).all()
        assert (pack.state[head, :, :, none] == 0).all()


def test_a_device_gets_the_heads_one_by_one(make_head: Make) -> None:
    """PyTorch's device without values stands for a GPU: same shapes, no tensor left on the host."""
    heads, settings = [make_head("01"), make_head("02", 2, 2)], Settings(warmup=60)
    there, here = (make_pack(heads, settings, torch.device(name)) for name in ("meta", "cpu"))
    for name in SERIES:
        assert getattr(there, name).device.type == "meta"
        assert getattr(there, name).shape == getattr(here, name).shape
