"""Dom-ST: packs, encode-once, causality, and what a head may not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.inputs.features import antecedent_wetness, season_of
from model.inputs.pack import make_pack
from model.inputs.watershed import HeadData
from model.network.domst import DomST
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


def test_lstms_stepped_together_are_the_fused_ones() -> None:
    """Outputs and gradients of both forms, and of PyTorch's own LSTM with a head's weights."""
    lstm = HeadLSTM(3, 7, Settings(hidden=5, precision="fp32")).double()
    torch.nn.init.normal_(lstm.bias)
    x = torch.randn(3, 2, 40, 7, dtype=torch.float64)
    results = []
    for form in (HeadLSTM.stepped, HeadLSTM.fused):
        lstm.zero_grad()
        y: torch.Tensor = form(lstm, x)
        y.square().sum().backward()
        results.append((y, [p.grad for p in lstm.parameters()]))
    torch.testing.assert_close(*results)
    own = torch.nn.LSTM(7, 5, batch_first=True).double()
    with torch.no_grad():
        for name, value in (
            ("weight_ih_l0", lstm.input_weight),
            ("weight_hh_l0", lstm.hidden_weight),
            ("bias_ih_l0", lstm.bias),
            ("bias_hh_l0", torch.zeros_like(lstm.bias)),
        ):
            getattr(own, name).copy_(value[1])
    torch.testing.assert_close(own(x[1])[0], lstm.stepped(x)[1])


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


def test_a_forecast_sees_no_runoff_of_its_own_step(make_head: Make) -> None:
    settings = Settings(hidden=16, warmup=60, history=True)
    network, (*forcings, past) = build([make_head("01")], settings)
    later = past.clone()
    later[:, 300:] *= 2  # runoff observed in step 299 and after
    before, after = network(*forcings, past), network(*forcings, later)
    assert torch.equal(before[:, :300], after[:, :300])
    assert (before[:, 300:] != after[:, 300:]).any()
    pack = make_pack([make_head("01")], settings, CPU)
    torch.testing.assert_close(pack.past[0, 1:], pack.runoff[0, :-1], equal_nan=True)


def test_a_forecast_without_observations_is_the_simulation(make_head: Make) -> None:
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
    """Whatever the LSTM remembers, the answer grows with the routed rain, and without bound."""
    network, (*forcings, _) = build([make_head("01")], Settings(hidden=16, warmup=60))
    inputs, routed = network.encode(*forcings)
    unknown = torch.full_like(routed, torch.nan)[:, None]
    usual, more, most = (
        network.decode(inputs[:, None], times * routed[:, None], unknown)[:, -1]
        for times in (1.0, 10.0, 100.0)
    )
    flood = routed[:, None] > routed.quantile(0.98)
    torch.testing.assert_close((most - more)[flood], 10 * (more - usual)[flood], rtol=0.05, atol=0)


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


def test_wetness_depends_on_no_later_rain() -> None:
    rng = np.random.default_rng(0)
    rain = rng.gamma(0.3, 10, (50, 2, 3))
    later = rain.copy()
    later[30:] *= 3
    usual = rain.mean(0)
    one, two = (antecedent_wetness(r, usual, (5.0, 40.0), 1.0) for r in (rain, later))
    np.testing.assert_array_equal(one[:30], two[:30])
    assert (one[30:] != two[30:]).any()


def test_wetness_is_the_weighted_mean_of_past_rain() -> None:
    """Against the sum written out, with the usual rain before the first step."""
    rain = np.random.default_rng(1).gamma(0.3, 10, (40, 1, 1))
    usual = np.array([[3.0]])
    found = antecedent_wetness(rain, usual, (5.0,), 24.0)[:, 0, 0, 0]
    keep = np.exp(-1 / (5 * 24))
    for t in (0, 7, 39):
        weights = (1 - keep) * keep ** np.arange(t + 1)
        expected = (weights * rain[t::-1, 0, 0]).sum() + keep ** (t + 1) * 3.0
        assert found[t] == pytest.approx(expected / 3.0 - 1, rel=1e-5)


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
        found = pack.water[row, 100, 0][patch[row]].numpy()
        np.testing.assert_array_equal(found[: len(touched)], touched)
        assert (found[len(touched) :] == 0).all()
        assert inside[row].sum() == len(touched)


def test_empty_cells_hold_nothing(make_head: Make) -> None:
    pack = make_pack([make_head("01"), make_head("02", 2, 2)], Settings(warmup=60), CPU)
    empty = pack.watersheds.share == 0
    assert empty.any(1).all(), "places outside a watershed show an empty cell"
    for head, none in enumerate(empty):
        assert (pack.water[head, ..., none] == 0).all()
        assert (pack.state[head, :, :, none] == 0).all()


def test_runoff_is_never_negative(make_head: Make, settings: Settings) -> None:
    network, (water, state, *rest) = build([make_head("01")], settings)
    assert (network(water * 50, state * 9, *rest) >= 0).all()


def test_season_goes_round_once_a_year() -> None:
    season = season_of(np.array([0.0, 365.25 / 4, 365.25]))
    np.testing.assert_allclose(season, [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], atol=1e-6)


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
