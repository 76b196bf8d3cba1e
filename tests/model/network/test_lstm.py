"""The recurrence of many heads against PyTorch's LSTM and finite differences."""

from __future__ import annotations

import torch

from model.network.lstm import HeadLSTM, Recurrence
from model.settings import Settings


def test_gradient_is_that_of_the_values() -> None:
    torch.manual_seed(0)
    fed = torch.randn(6, 2, 3, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Recurrence.apply, (fed, weight))


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


def test_gates_start_orthogonal_and_the_forget_gate_open() -> None:
    lstm = HeadLSTM(2, 7, Settings(hidden=5))
    biases = lstm.bias.view(2, 4, 5)  # input, forget, cell, output
    assert biases[:, 1].eq(1).all()
    assert biases[:, [0, 2, 3]].eq(0).all()
    gates = lstm.hidden_weight.view(8, 5, 5)
    torch.testing.assert_close(gates @ gates.mT, torch.eye(5).expand(8, -1, -1))
