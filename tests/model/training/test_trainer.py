"""Updates of a pack: draws, and stretches encoded alone or gathered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.settings import Settings
from model.training.trainer import Trainer

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(hidden=16, warmup=60, stretch=120, batch=4, updates=30, evaluate_every=10)


def test_a_draw_depends_on_seed_gauge_and_update_alone(make_head: Make) -> None:
    heads = [make_head("01"), make_head("02"), make_head("03")]
    pack, alone = Trainer(heads, QUICK, CPU), Trainer(heads[1:2], QUICK, CPU)
    starts, masks = pack.draw(7)
    for _ in range(2):  # drawn before or not
        own = alone.draw(7)
        assert torch.equal(own[0][0], starts[1])
        assert torch.equal(own[1][0], masks[1])
    other = Trainer(heads[1:2], QUICK.model_copy(update={"seed": 1}), CPU)
    for different in (starts[:1], pack.draw(8)[0][1:2], other.draw(7)[0]):
        assert not torch.equal(different, starts[1:2])


@pytest.mark.parametrize("stretch", [1, 120])
def test_windows_cut_out_give_the_steps_of_windows_of_one_encoding(
    make_head: Make, stretch: int
) -> None:
    """Windows cut out and windows gathered from one encoding take the same steps."""
    once = QUICK.model_copy(update={"stretch": stretch, "averaging": 0.0})
    windowed = once.model_copy(update={"windows": True})
    trainers = [Trainer([make_head("01")], settings, CPU) for settings in (once, windowed)]
    for _ in range(3):
        losses = [trainer.step() for trainer in trainers]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-5)
    weights = [dict(trainer.network.named_parameters()) for trainer in trainers]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=2e-2, atol=1e-3)


def test_a_cpu_encodes_stretches_in_pieces(
    make_head: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as have no more cells times steps than it is fast with, and at least one."""
    pieces: list[int] = []
    encode = DomST.encode

    def watched(network: DomST, rain: torch.Tensor, *others: torch.Tensor) -> Any:
        pieces.append(rain.shape[1] * rain.shape[2])
        return encode(network, rain, *others)

    monkeypatch.setattr(DomST, "encode", watched)
    trainer = Trainer([make_head("01", 9, 4)], QUICK, CPU)
    cells = trainer.pack.rain.shape[2]
    each = (trainer.network.reach + 90) * cells
    steps = torch.arange(100, 500, 100)[None, :, None] + torch.arange(90)
    for most, expected in ((2 * each, [2, 2]), (3 * each - 1, [2, 2]), (1, [1] * 4)):
        pieces.clear()
        monkeypatch.setattr("model.training.trainer.MAX_CPU_CHUNK", most)
        trainer.encode(steps)
        assert pieces == [each * number for number in expected]


@pytest.mark.parametrize("together", [2**20, 1])
def test_stretches_encoded_alone_give_the_gradients_of_the_encoded_record(
    make_head: Make, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """At both ends of the record and across each other, in a pack of unequal heads."""
    monkeypatch.setattr("model.training.trainer.MAX_CPU_CHUNK", together)
    heads = [make_head("01", 9, 4), make_head("02", 3, 7)]
    trainer = Trainer(heads, QUICK, CPU)
    network, pack = trainer.network, trainer.pack
    assert len(set(pack.watersheds.lags)) == 2
    end = QUICK.warmup + heads[0].split.train_stop
    starts = torch.tensor([[0, 20, 300, end - 90], [end - 90, 400, 2, 390]])
    steps = starts[..., None] + torch.arange(90)
    head = torch.arange(2)[:, None, None]
    alone = trainer.encode(steps)
    whole = [x[head, steps] for x in network.encode(*pack.forcings(end))]
    gradients = []
    for encoded in (alone, whole):
        trainer.optimiser.zero_grad()
        torch.stack([x.square().mean() for x in encoded]).sum().backward()
        named = network.named_parameters()
        gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
    assert len(gradients[0]) > 8
    torch.testing.assert_close(list(alone), whole)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("warmup", [60, 600])
def test_no_more_steps_are_encoded_than_needed(
    make_head: Make, monkeypatch: pytest.MonkeyPatch, warmup: int
) -> None:
    trainer = Trainer([make_head("01")], QUICK.model_copy(update={"warmup": warmup}), CPU)
    encode, seen = trainer.network.encode, []

    def counted(rain: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(rain.shape[1])
        return encode(rain, *rest)

    monkeypatch.setattr(trainer.network, "encode", counted)
    trainer.step()
    alone = QUICK.batch * (trainer.network.reach + warmup + QUICK.stretch)
    record = warmup + trainer.heads[0].split.train_stop
    assert (alone < record) == (warmup == 60)
    assert seen == [min(alone, record)]


def test_stretches_reach_both_ends_of_the_record_and_masks_keep_the_mean(make_head: Make) -> None:
    """Starts are even over the record, but for half a stretch more at each of its ends."""
    trainer = Trainer(
        [make_head("01")], QUICK.model_copy(update={"batch": 20, "updates": 200}), CPU
    )
    draws = [trainer.draw(update) for update in range(200)]
    starts = torch.cat([start.flatten() for start, _ in draws]) - trainer.pack.spinup
    last = trainer.heads[0].split.train_stop - QUICK.stretch
    assert (int(starts.min()), int(starts.max())) == (0, last)
    each_end = (QUICK.stretch // 2 + 1) / (last + 1 + 2 * (QUICK.stretch // 2))
    for end in (0, last):
        assert (starts == end).float().mean().item() == pytest.approx(each_end, abs=0.02)
    masks = torch.cat([mask.flatten() for _, mask in draws])
    assert masks.unique().tolist() == pytest.approx([0.0, 1 / (1 - QUICK.dropout)])
    assert masks.mean().item() == pytest.approx(1.0, abs=0.02)


def test_gradients_are_clipped_head_by_head(make_head: Make) -> None:
    """A gradient above the limit is scaled to it; one below stays."""
    trainer = Trainer([make_head("01"), make_head("02")], QUICK, CPU)
    trainer.gradients(*trainer.draw(0))
    parameters = [p for p in trainer.network.parameters() if p.grad is not None]

    def norms() -> torch.Tensor:
        flat = [p.grad.view(2, -1) for p in parameters if p.grad is not None]
        return torch.cat(flat, 1).norm(dim=1)

    factors = torch.tensor([3.0, 0.5]) / norms()
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad *= factors.view(-1, *[1] * (parameter.dim() - 1))
    trainer._clip_gradients()
    torch.testing.assert_close(norms(), torch.tensor([QUICK.clip, 0.5]))
