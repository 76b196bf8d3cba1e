"""The contribution block against closed forms, SciPy and a particle simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import invgauss

from model.network.contribution import Contribution, integrated_passage, lags_needed
from model.network.watersheds import Watersheds
from model.settings import Settings

DAY = 86400.0
SETTINGS = Settings()


def watersheds(
    share: torch.Tensor, distance: torch.Tensor, interval_end: list[float], lags: list[int]
) -> Watersheds:
    """Watersheds of which only cells and lags matter."""
    none = torch.empty(0)
    return Watersheds(
        share=share,
        coverage=share,
        distance=distance,
        cell=none,
        rain_scale=none,
        runoff_scale=none,
        rain_mean=none,
        runoff_mean=none,
        attributes=none,
        step_seconds=DAY,
        interval_end=interval_end,
        lags=lags,
    )


def block(
    distance: list[float], lags: int = 60, interval_end: float = DAY, **physics: float
) -> Contribution:
    """One head with cells of equal share and two states."""
    cells = torch.tensor([distance], dtype=torch.float64)
    share = torch.full_like(cells, 1 / cells.numel())
    made = Contribution(watersheds(share, cells, [interval_end], [lags]), 2, SETTINGS).double()
    with torch.no_grad():
        for name, value in physics.items():
            getattr(made, f"log_{name}").fill_(np.log(value))
    return made


def share_passed(time: float, distance: float, velocity: float, dispersion: float) -> float:
    """Share of a pulse that has passed, by SciPy."""
    mean, shape = distance / velocity, distance**2 / (2 * dispersion)
    return float(invgauss.cdf(time, mean / shape, scale=shape)) if time > 0 else 0.0


@given(
    velocity=st.floats(0.05, 5),
    dispersion=st.floats(10, 1e5),
    distance=st.floats(1e3, 5e5),
)
def test_what_has_passed_is_the_integral_of_scipys_inverse_gaussian(
    velocity: float, dispersion: float, distance: float
) -> None:
    arguments = [torch.tensor(v, dtype=torch.float64) for v in (distance, velocity, dispersion)]
    times = np.geomspace(3600, 100 * DAY, 8)
    found = integrated_passage(torch.as_tensor(times), *arguments).numpy()
    fine = np.linspace(0, 1, 20_001)[1:, None] * times
    mean, shape = distance / velocity, distance**2 / (2 * dispersion)
    expected = invgauss.cdf(fine, mean / shape, scale=shape).mean(0) * times
    np.testing.assert_allclose(found / times, expected / times, atol=1e-4)


@pytest.mark.parametrize("interval_end", [DAY, 0.75 * DAY, 3600.0])
def test_rain_falls_over_its_step_and_discharge_is_measured_over_its_own(
    interval_end: float,
) -> None:
    found = block([6e4], interval_end=interval_end).kernel()[0, 0].detach().numpy()
    for tau in range(4):
        end = tau * DAY + interval_end

        def arrives(fell: float, end: float = end) -> float:
            first, last = (
                share_passed(t - fell, 6e4, SETTINGS.start_velocity, SETTINGS.start_dispersion)
                for t in (end - DAY, end)
            )
            return last - first

        expected = quad(arrives, 0, DAY, limit=200)[0] / DAY
        assert found[tau] == pytest.approx(expected, abs=1e-6)


@given(
    velocity=st.floats(0.02, 10),
    dispersion=st.floats(1, 1e6),
    distance=st.floats(0, 1e6),
)
def test_kernel_never_makes_mass_and_has_finite_gradients(
    velocity: float, dispersion: float, distance: float
) -> None:
    made = block([distance], velocity=velocity, dispersion=dispersion).float()
    kernel = made.kernel()
    assert (kernel >= 0).all()
    assert kernel.sum() <= 1 + 1e-6
    kernel[..., :3].sum().backward()
    assert made.log_velocity.grad is not None
    assert made.log_dispersion.grad is not None
    assert made.log_velocity.grad.isfinite().all()
    assert made.log_dispersion.grad.isfinite().all()


def test_kernel_mean_is_the_travel_time() -> None:
    made = block([2e5], lags=200, velocity=0.5, dispersion=2000.0)
    kernel = made.kernel()[0, 0].detach()
    assert kernel.sum().item() == pytest.approx(1, abs=1e-9)
    mean = (kernel * torch.arange(200)).sum().item() * DAY
    assert mean == pytest.approx(2e5 / 0.5, rel=1e-3)


def test_kernel_agrees_with_random_walkers() -> None:
    rng = np.random.default_rng(1)
    velocity, dispersion, distance, dt = 0.6, 3000.0, 6e4, 300.0
    position, arrival = np.zeros(20_000), np.full(20_000, np.inf)
    for step in range(2000):
        position += velocity * dt + np.sqrt(2 * dispersion * dt) * rng.standard_normal(20_000)
        arrival = np.where((position >= distance) & np.isinf(arrival), step * dt, arrival)
    arrival += rng.uniform(0, DAY, arrival.size)  # when in the step the rain fell
    expected = np.histogram(arrival, bins=np.arange(7) * DAY)[0] / 20_000
    found = block([distance], velocity=velocity, dispersion=dispersion).kernel()[0, 0, :6]
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=0.02)


def test_contributions_are_the_double_sum_of_the_design() -> None:
    rng = np.random.default_rng(0)
    made = block([5e3, 8e4, 3e5], lags=20, velocity=0.7, dispersion=1e3)
    with torch.no_grad():
        made.log_efficiency.copy_(torch.as_tensor(rng.normal(0, 0.3, (1, 3))))
        made.state_weight.copy_(torch.tensor([[0.7, -0.4]], dtype=torch.float64))
        made.state_bias.fill_(0.2)
    rain, state = rng.gamma(0.5, 5, (30, 3)), rng.normal(0, 1, (30, 2, 3))
    kernel = made.kernel()[0].detach().numpy()
    efficiency = made.log_efficiency.exp()[0].detach().numpy()
    factor = 2 / (1 + np.exp(-(0.2 + 0.7 * state[:, 0] - 0.4 * state[:, 1])))
    expected = np.zeros((30, 3))
    for t in range(30):
        for tau in range(min(t + 1, 20)):
            expected[t] += kernel[:, tau] / 3 * efficiency * factor[t - tau] * rain[t - tau]
    series = made.effective(torch.as_tensor(rain)[None], torch.as_tensor(state)[None]).detach()
    weights = made.weights().detach()
    np.testing.assert_allclose(made.delivered(series, weights)[0].numpy(), expected, rtol=1e-10)
    routed = made.routed(series, weights)[0].numpy()
    np.testing.assert_allclose(routed, expected.sum(1), rtol=1e-10)


def test_mass_is_conserved_up_to_the_truncated_tail() -> None:
    made = block([5e3, 8e4], lags=12, velocity=0.1, dispersion=1e3)
    rain = torch.zeros(1, 40, 2, dtype=torch.float64)
    rain[0, 3] = 10.0
    delivered = made.routed(rain, made.weights()).sum().item()
    assert delivered == pytest.approx(10 * (1 - made.truncated().item()), rel=1e-9)
    assert 0 < made.truncated().item() < 0.5


def test_all_rain_is_effective_at_the_start() -> None:
    rain = torch.rand(1, 5, 2, dtype=torch.float64)
    state = torch.randn(1, 5, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(block([5e3, 8e4]).effective(rain, state), rain)


def test_no_path_is_shorter_than_a_hillslope() -> None:
    assert block([0.0]).distance.min() == SETTINGS.shortest_path


def test_lags_reach_the_farthest_cell_at_the_slowest_velocity() -> None:
    assert lags_needed(172_800.0, DAY, 0.2) == 2 + 10
    assert lags_needed(172_800.0, 3600.0, 0.2) == 2 + 240


def test_a_head_keeps_its_own_number_of_lags_in_a_pack() -> None:
    cells = torch.full((2, 1), 4e5)
    made = Contribution(watersheds(torch.ones_like(cells), cells, [DAY, DAY], [3, 30]), 0, SETTINGS)
    kernel = made.kernel()
    assert kernel.shape[-1] == 30
    assert (kernel[0, ..., 3:] == 0).all()
    assert (kernel[1, ..., 3:] > 0).any()
