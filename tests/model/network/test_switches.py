"""Parts that a setting leaves out: what is left learns, and knows nothing of what is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.inputs.pack import Pack, make_pack
from model.inputs.watershed import HeadData
from model.network.contribution import Contribution
from model.network.domst import DomST
from model.settings import PLAIN_LSTM, SWITCHES, Settings
from model.training.trainer import Trainer, new_network

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"hidden": 8, "warmup": 20, "stretch": 40, "batch": 2}


def build(head: HeadData, **switches: Any) -> tuple[DomST, Pack]:
    """The network of a head, whose parameters are not all at their start, and its inputs."""
    settings = Settings(**SMALL, **switches)
    pack = make_pack([head], settings, CPU)
    network = new_network([head], pack.watersheds, settings)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("contribution"):
                parameter.add_(torch.linspace(-0.3, 0.2, parameter.numel()).view_as(parameter))
    return network, pack


def block_of(network: DomST) -> Contribution:
    assert network.contribution is not None
    return network.contribution


def moved_rain(head: HeadData) -> HeadData:
    """The same rain over the basin on each day, all of it on one cell."""
    forcing = head.forcing.copy()
    forcing[:, 0] = 0
    forcing[:, 0, 0] = head.rain / head.share[0]
    return replace(head, forcing=forcing)


@pytest.mark.parametrize("name", [*SWITCHES, "all"])
def test_what_is_left_learns(make_head: Make, name: str) -> None:
    """Every parameter has a gradient, and what was left out has no parameter."""
    switches = PLAIN_LSTM if name == "all" else {name: False}
    heads = [make_head("01"), make_head("02", 4, 7)]
    trainer = Trainer(heads, Settings(**SMALL, **switches), CPU)
    before = {key: value.clone() for key, value in trainer.network.named_parameters()}
    for _ in range(2):
        assert trainer.step().isfinite().all()
    whole = new_network(heads, trainer.pack.watersheds, Settings(**SMALL))
    assert before.keys() <= {key for key, _ in whole.named_parameters()}
    for key, value in trainer.network.named_parameters():
        moved = (value - before[key]).abs().reshape(len(heads), -1).amax(1)
        assert (moved > 0).all(), key
    assert np.isfinite(trainer.simulate(trainer.average)).all()


def test_a_plain_lstm_knows_rain_temperature_and_season_alone(make_head: Make) -> None:
    """Not where rain falls, how far it is to the outlet, or what evaporates."""
    head = make_head("01")
    network, pack = build(head, variant="lstm", **PLAIN_LSTM)
    assert network.lstm_inputs == {"water": 1, "sqrt_water": 1, "basin": 3}
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"lstm", "output"}
    assert network.outputs == ("direct",)
    assert network.reach == 0
    assert network.settings.title == "plain LSTM"
    changed = replace(moved_rain(head), demand=head.demand * 9, distance=head.distance[::-1] * 3)
    _, other = build(changed, variant="lstm", **PLAIN_LSTM)
    torch.testing.assert_close(network(*pack.inputs()), network(*other.inputs()))
    whole, pack = build(head)
    assert not torch.allclose(whole(*pack.inputs()), whole(*build(changed)[1].inputs()))


def test_the_variant_is_the_sum_of_its_switches() -> None:
    plain = Settings(variant="lstm").resolved(np.timedelta64(1, "D").item())
    assert {name for name in SWITCHES if not getattr(plain, name)} == set(PLAIN_LSTM)


def test_without_soil_nothing_depends_on_evaporation(make_head: Make) -> None:
    head = make_head("01")
    network, pack = build(head, soil=False)
    assert pack.water.shape[2] == 1
    assert network.lstm_inputs["water"] == 1
    _, other = build(replace(head, demand=head.demand * 3), soil=False)
    for name in ("rain", "state", "water", "basin"):
        torch.testing.assert_close(getattr(pack, name), getattr(other, name), rtol=0, atol=0)


def test_without_wetness_states_are_forcings_and_fillings(make_head: Make) -> None:
    head = make_head("01")
    _, pack = build(head, wetness=False)
    _, whole = build(head)
    stores = len(Settings().soil_capacities)
    torch.testing.assert_close(pack.state, whole.state[:, :, : 1 + stores])
    assert pack.basin.shape[2] == 2 + 1 + stores


def test_without_travel_time_rain_arrives_in_its_step(make_head: Make) -> None:
    network, pack = build(make_head("01"), travel_time=False)
    effective = block_of(network).effective(pack.rain, pack.state)
    _, routed = network.encode(*pack.forcings())
    torch.testing.assert_close(routed, (effective * pack.watersheds.share[:, None]).sum(-1))
    delivered = block_of(network).delivered(effective, block_of(network).weights())
    torch.testing.assert_close(delivered.sum(-1), routed)
    assert network.reach == 0
    assert block_of(network).truncated().abs() < 1e-6


def test_without_distance_cells_share_one_kernel_and_keep_their_lags(make_head: Make) -> None:
    head = make_head("01")
    network, pack = build(head, distance=False)
    whole, _ = build(head)
    kernel = block_of(network).kernel()[0, : head.share.size]
    torch.testing.assert_close(kernel, kernel[:1].expand_as(kernel))
    mean = float(head.distance @ head.share)
    torch.testing.assert_close(pack.watersheds.distance[0, 0].item(), mean)
    assert network.reach == whole.reach > 0
    assert block_of(whole).kernel()[0, : head.share.size].std(0).max() > 0.01


def test_without_states_the_efficiency_is_constant_in_time(make_head: Make) -> None:
    head = make_head("01")
    network, pack = build(head, cell_states=False)
    effective = block_of(network).effective(pack.rain, pack.state)
    efficiency = block_of(network).log_efficiency.exp()
    torch.testing.assert_close(effective, pack.rain * efficiency[:, None])


def test_without_the_gated_readout_the_direct_one_answers(make_head: Make) -> None:
    """Routed rain stays an input of the LSTM."""
    network, pack = build(make_head("01"), gated_readout=False)
    assert network.outputs == ("direct",)
    assert network.lstm_inputs["routed"] == 1
    inputs, routed = network.encode(*pack.forcings(100))
    stretch = inputs[:, None], routed[:, None], pack.past[:, None, :100]
    decoded = network.decode(*stretch)
    assert decoded.shape[1] == 1
    torch.testing.assert_close(decoded, network.decode(stretch[0], 9 * stretch[1], stretch[2]))


def test_titles_say_what_is_left_out() -> None:
    assert Settings().title == "multihead"
    assert Settings(soil=False, cnn=False).title == "multihead without CNN and without soil stores"
    assert Settings(**{"variant": "lstm", **PLAIN_LSTM, "soil": True}).title == (
        "plain LSTM with soil stores"
    )
    resolved = Settings(variant="singlehead").resolved(np.timedelta64(1, "D").item())
    assert resolved.title == "singlehead"


@pytest.mark.parametrize("name", [*SWITCHES, "all"])
def test_what_is_left_starts_at_the_runoff_of_its_watershed(make_head: Make, name: str) -> None:
    """With the gate where fast runoff starts as large as all runoff is."""
    head = make_head("01")
    switches = PLAIN_LSTM if name == "all" else {name: False}
    settings = Settings(**SMALL, **switches)
    pack = make_pack([head], settings, CPU)
    network = new_network([head], pack.watersheds, settings)
    with torch.no_grad():
        runoff = network(*pack.inputs())
        _, routed = network.encode(*pack.forcings())
    assert 0.5 < runoff.mean() / head.runoff_mean < 2.5
    if settings.gated:
        fast = 2 * torch.sigmoid(network.gate) * routed
        rain = float(pack.watersheds.rain_mean)
        expected = min(head.runoff_mean, rain) * float(routed.mean()) / rain
        assert float(fast.mean()) == pytest.approx(expected, rel=1e-4)
