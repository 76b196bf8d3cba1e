"""Branches of a trunk: gradients, what watersheds share, and how heads start from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training.trainer import Trainer
from model.training.trunk import (
    PER_WATERSHED,
    SHARED,
    Branch,
    average_branches,
    owner,
    weights_of,
)

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(
    trunk="shared", trunk_updates=20, trunk_branches=2, trunk_round=4, updates=20,
    evaluate_every=10, hidden=16, warmup=60, stretch=120, batch=2,
)  # fmt: skip


@pytest.fixture
def heads(make_head: Make) -> list[HeadData]:
    return [make_head("01", 6, 5), make_head("02", 3, 9), make_head("03", 9, 4)]


def test_a_branch_takes_the_gradient_of_the_watershed_that_it_drew(heads: list[HeadData]) -> None:
    """Against a network of its own with the branch's weights in it."""
    drawn = set()
    for update in range(6):
        branch = Branch(heads[:2], QUICK, CPU)
        branch.update = update
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None)
            before = {name: p.detach().clone() for name, p in branch.named.items()}
            branch.step()
        touched = {owner(name) for name, p in branch.named.items() if p.grad is not None}
        (site,) = touched - {SHARED}
        drawn.add(site)
        own = Trainer([heads[int(site) - 1]], branch.settings, CPU)
        own.network.load_state_dict(weights_of(site, before))
        own.losses(*own.draw(update)).sum().backward()
        for name, parameter in own.network.named_parameters():
            of = site if name.endswith(PER_WATERSHED) else SHARED
            torch.testing.assert_close(branch.named[f"{of}/{name}"].grad, parameter.grad)
    assert drawn == {"01", "02"}, "each has its turn"


def test_averaging_branches_changes_only_what_they_share(heads: list[HeadData]) -> None:
    branches = [Branch(heads[:1], QUICK, CPU), Branch(heads[1:], QUICK, CPU)]
    for branch in branches:
        branch.step()
    one, two = (branch.state() for branch in branches)
    both = average_branches([one, two])
    assert both.keys() == one.keys() | two.keys()
    for name, value in both.items():
        if owner(name) == SHARED:
            np.testing.assert_allclose(value, (one[name] + two[name]) / 2, rtol=1e-6)
        else:
            np.testing.assert_array_equal(value, (one | two)[name])
    branches[0].load_state({name: both[name] for name in one}, 1)
    assert all(np.array_equal(value, both[name]) for name, value in branches[0].state().items())


def test_a_head_starts_as_the_trunk_left_it(heads: list[HeadData]) -> None:
    """In a pack of unequal heads too: it simulates what the branch's own network does."""
    branch = Branch(heads, QUICK, CPU)
    for _ in range(5):
        branch.step()
    pack = Trainer(heads, QUICK, CPU)
    pack.start([weights_of(head.site_no, branch.average) for head in heads])
    together = pack.simulate(dict(pack.network.named_parameters()))
    for row, (head, trainer) in enumerate(zip(heads, branch.trainers, strict=True)):
        alone = trainer.simulate(weights_of(head.site_no, branch.average))[0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-3, atol=1e-4)
    assert pack.kept_update.tolist() == [0, 0, 0]
    assert torch.isfinite(pack.kept_nse).all(), "the trunk's own weights may be kept"


def test_branches_draw_their_watersheds_apart(
    heads: list[HeadData], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each branch has an order of its own, which depends on the seed."""
    drawn: list[str] = []

    def losses(trainer: Trainer, *_: torch.Tensor) -> torch.Tensor:
        drawn.append(trainer.heads[0].site_no)
        return next(trainer.network.parameters()).sum()[None]

    monkeypatch.setattr(Trainer, "losses", losses)

    def order(some: list[HeadData], seed: int) -> list[int]:
        drawn.clear()
        branch = Branch(some, QUICK.model_copy(update={"seed": seed}), CPU)
        for _ in range(16):
            branch.step()
        return [[head.site_no for head in some].index(site) for site in drawn]

    first = order(heads[:2], 0)
    assert first == order(heads[:2], 0)
    assert first != order(heads[1:], 0)
    assert first != order(heads[:2], 1)
