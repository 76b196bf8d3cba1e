"""The loss against NSE."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.evaluation.metrics import nse
from model.settings import Settings
from model.training.loss import runoff_loss


def test_loss_is_one_minus_nse_without_the_roots() -> None:
    rng = np.random.default_rng(0)
    observed = rng.gamma(1, 2, (1, 1, 50))
    simulated = np.abs(observed + rng.normal(0, 0.5, observed.shape))
    observed[0, 0, 10:15] = np.nan
    seen = np.isfinite(observed)
    loss = runoff_loss(
        torch.as_tensor(simulated)[:, None],
        torch.as_tensor(observed),
        torch.tensor([observed[seen].std()]),
        Settings(sqrt_loss=0.0),
    )
    assert 1 - loss.item() == pytest.approx(nse(simulated[seen], observed[seen]))


def test_loss_of_roots_is_the_sum_written_out() -> None:
    """Two heads, two readouts, missing and negative observations."""
    rng = np.random.default_rng(1)
    observed, simulated = rng.normal(2, 2, (2, 3, 20)), rng.gamma(1, 2, (2, 2, 3, 20))
    observed[1, 0, :7] = np.nan
    scale = np.array([0.7, 3.0])
    settings = Settings(sqrt_loss=0.4, sqrt_offset=0.05)
    tensors = [torch.as_tensor(x) for x in (simulated, observed, scale)]
    found = runoff_loss(tensors[0], tensors[1], tensors[2], settings)
    for head in range(2):
        errors = []
        for readout in simulated[head]:
            for sim, obs in zip(readout.ravel(), observed[head].ravel(), strict=True):
                if np.isfinite(obs):
                    root = np.sqrt(sim + 0.05) - np.sqrt(max(obs, 0) + 0.05)
                    root_error = root**2 / (scale[head] / 4)
                    errors.append((sim - obs) ** 2 / scale[head] ** 2 + 0.4 * root_error)
        assert found[head].item() == pytest.approx(np.mean(errors))
