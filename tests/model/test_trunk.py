"""A trunk shared by several watersheds: what is shared, what is not, and that it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.dataset import HeadData, attributes_of
from model.fit import Fitted, Trainer, fit_pack
from model.settings import Settings
from model.trunk import MOST, OWN, TrunkTrainer, fit_trunk, load_trunk, trunk_path, trunk_sites
from pipeline.errors import InputError

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(
    trunk="shared", trunk_updates=20, trunk_batch=2, updates=20, evaluate_every=10, hidden=16,
    warmup=60, stretch=120, batch=2,
)  # fmt: skip


def silent(line: dict[str, Any]) -> None:
    """Nobody listens."""


@pytest.fixture
def heads(make_head: Make) -> list[HeadData]:
    return [make_head("01", 6, 5), make_head("02", 3, 9), make_head("03", 9, 4)]


def test_the_gradient_of_what_is_shared_is_the_mean_over_watersheds(heads: list[HeadData]) -> None:
    """Against networks of their own with the trunk's weights in them."""
    trunk = TrunkTrainer(heads[:2], QUICK, CPU)
    drawn = [trainer.draw(0) for trainer in trunk.trainers]
    alone = []
    for head, trainer, draw in zip(heads, trunk.trainers, drawn, strict=False):
        own = Trainer([head], trunk.settings, CPU)
        own.network.load_state_dict(trainer.network.state_dict())
        own.losses(*draw).sum().backward()
        alone.append({n: p.grad for n, p in own.network.named_parameters()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None)
        trunk.step()
    first = dict(trunk.trainers[0].network.named_parameters())
    for name, parameter in first.items():
        one, two = (gradients[name] for gradients in alone)
        if one is None or two is None:
            assert one is two, "neither has a gradient"
            continue
        expected = one / 2 if name.endswith(OWN) else (one + two) / 2
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_watersheds_differ_in_their_own_parts_alone(heads: list[HeadData], tmp_path: Path) -> None:
    start = load_trunk(fit_trunk(heads, QUICK, CPU, tmp_path, silent))
    one, two, stranger = (start(site) for site in ("01", "02", "09"))
    assert one.keys() == two.keys()
    for name in one:
        if name.endswith(OWN):
            assert name not in stranger
        else:
            assert torch.equal(one[name], two[name])
            assert torch.equal(one[name], stranger[name])
    assert not torch.equal(one["contribution.log_velocity"], two["contribution.log_velocity"])


def test_a_head_starts_as_the_trunk_left_it(heads: list[HeadData], tmp_path: Path) -> None:
    """In a pack of unequal heads too: it simulates what the trunk's own network does."""
    trunk = TrunkTrainer(heads, QUICK, CPU)
    for _ in range(5):
        trunk.step()
    pack = Trainer(heads, QUICK, CPU)
    pack.start([trunk.weights(head.site_no) for head in heads])
    together = pack.simulate(dict(pack.network.named_parameters()))
    for row, (head, trainer) in enumerate(zip(heads, trunk.trainers, strict=True)):
        alone = trainer.simulate(trunk.weights(head.site_no))[0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-3, atol=1e-4)
    assert pack.kept_update.tolist() == [0, 0, 0]
    assert torch.isfinite(pack.kept_nse).all(), "the trunk's own weights may be the ones to keep"


def test_a_trunk_that_was_stopped_goes_on_as_if_it_was_not(
    heads: list[HeadData], tmp_path: Path
) -> None:
    whole = fit_trunk(heads, QUICK, CPU, tmp_path / "whole", silent)

    def stop(line: dict[str, Any]) -> None:
        if line["update"] == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_trunk(heads, QUICK, CPU, tmp_path / "cut", stop)
    assert not trunk_path(tmp_path / "cut").exists()
    lines: list[dict[str, Any]] = []
    cut = fit_trunk(heads, QUICK, CPU, tmp_path / "cut", lines.append)
    assert [line["update"] for line in lines] == [20], "from update 10 on"
    assert cut.read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [cut.name]
    other = QUICK.model_copy(update={"trunk_rate": 0.1})
    with pytest.raises(InputError, match="other settings"):
        fit_trunk(heads, other, CPU, tmp_path / "cut", silent)


def test_heads_are_trained_from_it(heads: list[HeadData], tmp_path: Path) -> None:
    start = load_trunk(fit_trunk(heads, QUICK, CPU, tmp_path, silent))
    (end,) = fit_pack(heads[:1], QUICK, CPU, tmp_path, silent, start)
    assert isinstance(end, Fitted)
    assert end.checkpoint.exists()


def test_attributes_are_near_zero_for_usual_watersheds() -> None:
    usual = attributes_of(area=1e9, distance=5e4, slope=3e-3, rain=3.0, dryness=1.0)
    np.testing.assert_allclose(usual, 0, atol=1e-6)
    unknown = attributes_of(area=1e10, distance=5e4, slope=None, rain=3.0, dryness=1.0)
    np.testing.assert_allclose(unknown, [1, 0, 0, 0, 0], atol=1e-6)


def test_of_many_watersheds_some_teach_the_trunk() -> None:
    sites = [f"{i:08d}" for i in range(1000)]
    some = trunk_sites(sites, 0)
    assert len(set(some)) == MOST
    assert some == sorted(some)
    assert some == trunk_sites(sites, 0)
    assert some != trunk_sites(sites, 1)
    assert trunk_sites(sites[:5], 0) == sites[:5]
