"""On a GPU: recorded updates equal eager ones, and its results those of a CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training.trainer import Trainer

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: PyTorch finds no CUDA device"
)
Make = Callable[..., HeadData]
CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
EXACT = Settings(hidden=16, warmup=60, stretch=120, batch=4, updates=30, precision="fp32")


@pytest.fixture(params=[1, 5], ids=["one", "pack"])
def heads(request: pytest.FixtureRequest, make_head: Make) -> list[HeadData]:
    return [make_head(f"{i + 1:02d}", 4 + i, 6) for i in range(request.param)]


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    named = trainer.network.named_parameters()
    return {name: p.grad.cpu().clone() for name, p in named if p.grad is not None}


def test_a_gpu_computes_what_a_cpu_does(heads: list[HeadData]) -> None:
    eager = EXACT.model_copy(update={"capture": False})
    here, there = Trainer(heads, EXACT, CPU), Trainer(heads, eager, GPU)
    losses = [trainer.gradients(*trainer.draw(0)) for trainer in (here, there)]
    torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(there), gradients(here), rtol=1e-3, atol=1e-5)


def test_recorded_updates_are_the_eager_ones(heads: list[HeadData]) -> None:
    """Also after the pack shrinks, which records a new graph."""
    eager = EXACT.model_copy(update={"capture": False})
    trainers = [Trainer(heads, settings, GPU) for settings in (EXACT, eager)]
    for update in range(12):
        if update == 6 and len(heads) > 1:
            trainers = [trainer.select([1, 2, 3, 4]) for trainer in trainers]
        losses = [trainer.step() for trainer in trainers]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-5)
        assert (trainers[0].captured is not None, trainers[1].captured) == (True, None)
    weights = [dict(trainer.network.named_parameters()) for trainer in trainers]
    torch.testing.assert_close(*weights, rtol=2e-2, atol=1e-3)


def test_bf16_learns_what_fp32_learns(heads: list[HeadData]) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        trainer = Trainer(heads, EXACT.model_copy(update={"precision": precision}), GPU)
        for _ in range(30):
            trainer.step()
        scores.append(trainer.validate())
    torch.testing.assert_close(*map(torch.tensor, scores), rtol=0, atol=0.05)
