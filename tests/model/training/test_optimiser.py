"""Learning rate, weight averaging, and what is special about physical parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.settings import Settings
from model.training.optimiser import (
    learning_rate,
    make_optimiser,
    set_learning_rate,
    update_average,
)

QUICK = Settings(updates=30)


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(u, QUICK) for u in range(QUICK.updates)]
    peak = int(np.argmax(rates))
    assert rates[peak] == QUICK.learning_rate
    assert peak in (2, 3)
    assert (np.diff(rates[peak + 1 :]) < 0).all()
    assert rates[-1] < 0.05 * QUICK.learning_rate


def test_the_refit_has_a_rise_and_fall_of_its_own() -> None:
    settings = Settings(updates=30, refit=True, refit_updates=60, refit_rate=0.5)
    alone = Settings(updates=60, learning_rate=0.5 * settings.learning_rate)
    for update in range(60):
        expected = learning_rate(update, alone)
        assert learning_rate(30 + update, settings) == pytest.approx(expected)


def test_the_rate_ends_at_its_final_share() -> None:
    settings = Settings(updates=100_000, learning_rate=1.0, rise=0.1)
    assert learning_rate(0, settings) == pytest.approx(1e-4)
    assert learning_rate(55_000, settings) == pytest.approx(0.51, abs=1e-4), "halfway"
    assert learning_rate(99_999, settings) == pytest.approx(settings.final_rate, abs=1e-4)
    assert settings.final_rate == 0.02


def test_the_average_is_the_recursion_written_out() -> None:
    settings = Settings(averaging=0.9)
    weight = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    average = {"w": weight.detach().clone()}
    expected = np.array([2.0, -1.0])
    rng = np.random.default_rng(0)
    for update in range(1, 200):
        weight.data = torch.as_tensor(rng.normal(size=2), dtype=torch.float32)
        decay = min(0.9, update / (10 + update))
        expected = decay * expected + (1 - decay) * weight.detach().numpy()
        update_average(average, [weight], update, settings)
    np.testing.assert_allclose(average["w"], expected, rtol=1e-5)
    assert average["w"].grad_fn is None


def test_physical_parameters_learn_faster_and_do_not_decay() -> None:
    names = ("block.log_velocity", "block.log_dispersion", "block.log_efficiency", "output.weight")
    named = {name: torch.nn.Parameter(torch.ones(3)) for name in names}
    settings = Settings(weight_decay=0.1, physical_rate=5.0)
    optimiser = make_optimiser(named, settings)
    for parameter in named.values():
        parameter.grad = torch.ones(3)
    set_learning_rate(optimiser, 20, settings)
    optimiser.step()
    rate = learning_rate(20, settings)  # Adam's first step is the rate, whatever the gradient
    for name, parameter in named.items():
        expected = 1 - 0.1 * rate - rate if name == "output.weight" else 1 - 5 * rate
        np.testing.assert_allclose(parameter.detach(), expected, rtol=1e-5, err_msg=name)
