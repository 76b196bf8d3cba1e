"""Dom-ST: packs, encoding once, causality, and its inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

from model.inputs.pack import make_pack
from model.inputs.watershed import HeadData
from model.network.domst import DomST, output_names
from model.network.lstm import HeadLSTM
from model.settings import Precision, Settings
from model.training.trainer import new_network

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
PATCH = Settings().patch


@pytest.fixture(params=[{}, {"contribution": False}, {"cnn": False}, {"history": True}], ids=str)
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(hidden=16, warmup=60, **request.param)


Inputs = tuple[torch.Tensor, ...]


def build(heads: list[HeadData], settings: Settings) -> tuple[DomST, Inputs]:
    """A network that has learned a little, in double precision, and the first 400 steps."""
    pack = make_pack(heads, settings, CPU)
    network = new_network(heads, pack.watersheds, settings).double()
    if network.contribution is not None:
        torch.nn.init.normal_(network.contribution.state_weight, std=0.3)
    return network, tuple(x.double() for x in pack.inputs(400))


def test_a_head_alone_is_the_same_head_in_a_pack(make_head: Make, settings: Settings) -> None:
    heads = [make_head("01", 9, 4), make_head("02", 3, 11), make_head("03", 5, 5)]
    pack = make_pack(heads, settings, CPU)
    together = new_network(heads, pack.watersheds, settings)
    runoff = together(*pack.inputs())
    for i, head in enumerate(heads):
        own = make_pack([head], settings, CPU)
        alone = new_network([head], own.watersheds, settings)
        torch.testing.assert_close(alone(*own.inputs())[0], runoff[i], rtol=1e-4, atol=1e-5)


def test_bf16_products_change_runoff_and_gradients_little(
    make_head: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The routed rain stays fp32 to the bit; a device that is not named takes no bf16 at all."""
    heads = [make_head("01"), make_head("02")]
    pack = make_pack(heads, Settings(warmup=60), CPU)
    monkeypatch.setattr(HeadLSTM, "forward", HeadLSTM.stepped)

    def run(precision: Precision) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        network = new_network(
            heads, pack.watersheds, Settings(hidden=16, warmup=60, precision=precision)
        )
        runoff = network(*pack.inputs(300))
        runoff.square().mean().backward()
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return runoff.detach(), torch.cat(gradients), network.encode(*pack.forcings(300))[1]

    exact = run("fp32")
    assert all(map(torch.equal, run("bf16"), exact))
    monkeypatch.setattr("model.network.layers.BF16_DEVICES", ("cpu",))
    runoff, gradient, routed = run("bf16")
    assert runoff.dtype == gradient.dtype == torch.float32
    assert torch.equal(routed, exact[2])
    assert not torch.equal(runoff, exact[0])
    torch.testing.assert_close(runoff, exact[0], rtol=0.01, atol=0.01)
    assert torch.cosine_similarity(gradient, exact[1], dim=0) > 0.999


def test_heads_of_a_pack_never_mix(make_head: Make, settings: Settings) -> None:
    network, inputs = build([make_head("01"), make_head("02")], settings)
    rain = inputs[0].requires_grad_()
    network(*inputs)[0].sum().backward()
    assert rain.grad is not None
    assert rain.grad[0].abs().sum() > 0
    assert rain.grad[1].abs().sum() == 0
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad[1].abs().sum() == 0


def test_a_record_in_pieces_is_the_record_in_one_go(
    make_head: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, inputs = build([make_head("01"), make_head("02", 3, 9)], settings)
    whole = network(*inputs)
    monkeypatch.setattr("model.network.domst.MAX_ENCODED_STEPS", 37)
    torch.testing.assert_close(network(*inputs), whole)


def test_runoff_depends_on_no_later_rain(make_head: Make, settings: Settings) -> None:
    network, inputs = build([make_head("01")], settings)
    before = network(*inputs)
    changed = [x.clone() for x in inputs]
    for later in changed:
        later[:, 300:] += 1.0
    after = network(*changed)
    assert torch.equal(before[:, :300], after[:, :300])
    assert not torch.allclose(before[:, 300:], after[:, 300:])


def test_past_discharge_is_none_of_the_step_itself(make_head: Make) -> None:
    settings = Settings(hidden=16, warmup=60, history=True)
    network, (*forcings, past) = build([make_head("01")], settings)
    later = past.clone()
    later[:, 300:] *= 2  # runoff observed in step 299 and after
    before, after = network(*forcings, past), network(*forcings, later)
    assert torch.equal(before[:, :300], after[:, :300])
    assert (before[:, 300:] != after[:, 300:]).any()
    pack = make_pack([make_head("01")], settings, CPU)
    torch.testing.assert_close(pack.past[0, 1:], pack.runoff[0, :-1], equal_nan=True)


def test_past_discharge_without_observations_is_the_simulation(make_head: Make) -> None:
    """And where there is one, the error before is taken off in part."""
    settings = Settings(hidden=16, warmup=60, history=True)
    network, (*forcings, past) = build([make_head("01")], settings)
    inputs, routed = network.encode(*forcings)
    none = torch.full_like(past, torch.nan)
    simulated = network.decode(inputs[:, None], routed[:, None], none[:, None])
    _, gated, _, _ = simulated[:, :, 0].unbind(1)
    torch.testing.assert_close(network(*forcings, none), gated)
    error = torch.full_like(past, 10.0)
    error[:, 1:] += gated[:, :-1]
    raised = network(*forcings, error)[:, 1:] - gated[:, 1:]
    assert ((raised > 0) & (raised < 15)).all()


def test_a_greater_flood_follows_from_its_rain(make_head: Make) -> None:
    """With the same LSTM state, runoff grows with routed rain without bound."""
    network, (*forcings, _) = build([make_head("01")], Settings(hidden=16, warmup=60))
    inputs, routed = network.encode(*forcings)
    unknown = torch.full_like(routed, torch.nan)[:, None]
    normal, more, most = (
        network.decode(inputs[:, None], times * routed[:, None], unknown)[:, -1]
        for times in (1.0, 10.0, 100.0)
    )
    flood = routed[:, None] > routed.quantile(0.98)
    torch.testing.assert_close((most - more)[flood], 10 * (more - normal)[flood], rtol=0.05, atol=0)


@pytest.mark.parametrize("history", [False, True])
def test_the_direct_readout_is_no_part_of_the_answer(make_head: Make, history: bool) -> None:
    network, inputs = build([make_head("01")], Settings(hidden=16, warmup=60, history=history))
    before = network(*inputs)
    network.output.bias.data[..., network.outputs.index("direct")] += 50.0
    assert torch.equal(network(*inputs), before)


@pytest.mark.parametrize("yield_", [1.0, 0.1, 1e-3])
def test_a_network_starts_at_the_runoff_of_its_watershed(make_head: Make, yield_: float) -> None:
    """However little of the rain runs off."""
    head = make_head("01")
    kinds = ("runoff", "discharge", "runoff_scale", "runoff_mean")
    dry = replace(head, **{kind: getattr(head, kind) * yield_ for kind in kinds})
    network, inputs = build([dry], Settings(hidden=16, warmup=60))
    assert 0.5 < network(*inputs).mean() / dry.runoff_mean < 2.5


def test_without_history_runoff_is_no_input(make_head: Make) -> None:
    settings = Settings(hidden=16, warmup=60)
    network, (*inputs, past) = build([make_head("01")], settings)
    assert torch.equal(network(*inputs, past), network(*inputs, past + 5))


def test_runoff_is_never_negative(make_head: Make, settings: Settings) -> None:
    network, (rain, state, water, *rest) = build([make_head("01")], settings)
    assert (network(rain * 50, state * 9, water * 50, *rest) >= 0).all()


def test_encoding_once_gives_the_gradients_of_windows_cut_out(
    make_head: Make, settings: Settings
) -> None:
    """Windows gathered from one encoded stretch, and windows encoded one by one with the rain
    that their contribution block looks back at: the same runoff and the same gradients."""
    network, inputs = build([make_head("01")], settings)
    starts, length = [70, 200, 240], 90
    lags = network.reach + 1

    *forcings, past = inputs
    encoded, routed = network.encode(*forcings)
    steps = torch.tensor(starts)[None, :, None] + torch.arange(length)
    head = torch.zeros(1, 1, 1, dtype=torch.int64)
    once = network.decode(encoded[head, steps], routed[head, steps], past[head, steps])
    once.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    network.zero_grad()
    cut = []
    for start in starts:
        reach = slice(start - lags, start + length)
        encoded, routed = network.encode(*(x[:, reach] for x in forcings))
        own = past[:, None, start : start + length]
        cut.append(network.decode(encoded[:, None, lags:], routed[:, None, lags:], own)[:, :, 0])
    separate = torch.stack(cut, 2)
    separate.square().sum().backward()
    torch.testing.assert_close(separate, once)
    assert gradients
    for name, parameter in network.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name])


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"contribution": False},
        {"cnn": False},
        {"history": True},
        {"trunk": "shared"},
        {"soil_capacities": (80.0,), "cell_memory_days": (), "basin_memory_days": (9.0,)},
    ],
    ids=str,
)
def test_the_lstm_sees_what_its_list_of_inputs_says(
    make_head: Make, switches: dict[str, Any]
) -> None:
    """Each named part of `encode` against values computed apart, and no other parts."""
    settings = Settings(hidden=16, warmup=60, **switches)
    head = replace(make_head("01"), attributes=np.arange(5, dtype=np.float32))
    pack = make_pack([head], settings, CPU)
    network = new_network([head], pack.watersheds, settings)
    encoded, routed = network.encode(*pack.forcings(400))
    widths = dict(network.lstm_inputs)
    assert network.lstm.input_weight.shape[-1] == sum(widths.values())
    assert widths.pop("past_runoff", 0) == (3 if settings.history else 0)
    parts = dict(zip(widths, encoded[0].split(list(widths.values()), -1), strict=True))
    means = pack.water[0, :400] / head.rain_scale
    expected = {
        "water": means,
        "sqrt_water": (means + 0.01 / head.rain_scale).sqrt(),
        "basin": pack.basin[0, :400],
    }
    if not settings.contribution:
        torch.testing.assert_close(routed, pack.water[:, :400, 0])
    if settings.contribution:
        depth = routed[0, :, None]
        expected["routed"] = depth / head.rain_scale
        expected["sqrt_routed"] = ((depth + 0.01) / head.rain_scale).sqrt()
    if settings.trunk == "shared":
        expected["attributes"] = torch.arange(5.0).expand(400, -1)
    assert parts.keys() - expected.keys() == ({"image"} if settings.cnn else set())
    for name, values in expected.items():
        torch.testing.assert_close(parts[name], values, msg=name)


def test_outputs_follow_from_the_readouts() -> None:
    plain, gated, corrected = ("direct",), ("fast_share", "gated"), ("error_share", "trend_share")
    assert output_names(Settings(contribution=False)) == plain
    assert output_names(Settings()) == plain + gated
    assert output_names(Settings(history=True)) == plain + gated + corrected


@pytest.mark.parametrize("history", [False, True])
def test_readouts_are_those_written_out(make_head: Make, history: bool) -> None:
    """From the LSTM's output, with dropout, in NumPy."""
    settings = Settings(hidden=16, warmup=60, history=history)
    network, (*forcings, past) = build([make_head("01")], settings)
    torch.nn.init.normal_(network.output.bias)
    encoded, routed = network.encode(*forcings)
    mask = 2.0 * (torch.rand(1, 1, 1, 16) < 0.5).double()
    past[0, 5:9] = torch.nan
    stretch = (encoded[:, None], routed[:, None], past[:, None])
    found = network.decode(*stretch, mask)[0, :, 0].detach().numpy()

    seen: list[torch.Tensor] = []
    network.lstm.register_forward_hook(lambda *call: seen.append(call[-1]))
    assert not np.allclose(network.decode(*stretch)[0, :, 0].detach(), found), "the mask counts"
    hidden = (seen[0] * mask)[0, 0].detach().numpy()
    weight, bias = (x[0].detach().numpy() for x in (network.output.weight, network.output.bias))
    out = dict(zip(network.outputs, (hidden @ weight + bias).T, strict=True))
    scale, before = network.watersheds.runoff_scale.item(), past[0].numpy()
    sigmoid, softplus = scipy.special.expit, lambda x: np.logaddexp(0, x)
    fast = 2 * sigmoid(network.gate.item() + out["fast_share"]) * routed[0].detach().numpy() / scale
    expected = [scale * softplus(out["direct"]), scale * softplus(out["gated"] + fast)]
    for runoff in expected[:2] if history else ():
        error = np.zeros(400)
        error[1:] = np.nan_to_num(before[1:] - runoff[:-1])
        trend = error - np.concatenate([[0.0], error[:-1]])
        shares = sigmoid(out["error_share"]), np.tanh(out["trend_share"])
        expected.append(np.maximum(runoff + shares[0] * error + shares[1] * trend, 0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_encoder_sees_rain_contributions_and_forcings(make_head: Make) -> None:
    """Images in units of the rain's deviation; contributions as depths on the mean cell."""
    head = make_head("01")
    network, (rain, state, water, basin, _) = build([head], Settings(hidden=16, warmup=60))
    assert network.encoder is not None
    seen: list[list[torch.Tensor]] = []
    network.encoder.register_forward_pre_hook(lambda _, call: seen.append(list(call[0])))
    _, routed = network.encode(rain, state, water, basin)
    falling, delivered, *others = (image[..., : head.share.size] for image in seen[0])
    own = slice(0, head.share.size)
    torch.testing.assert_close(falling, rain[..., own] / head.rain_scale)
    torch.testing.assert_close(delivered.mean(-1), routed / head.rain_scale)
    torch.testing.assert_close(others, [state[:, :, 0, own]])
