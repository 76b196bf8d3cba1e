"""The gradient of the recurrence against differences of its values."""

from __future__ import annotations

import torch

from model.network.lstm import Recurrence


def test_gradient_is_that_of_the_values() -> None:
    torch.manual_seed(0)
    fed = torch.randn(6, 2, 3, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Recurrence.apply, (fed, weight))
