"""LSTMs of many heads, and the recurrence that steps them all at once with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.network.layers import products
from model.settings import Precision

BATCHED_HEADS = 4  # from so many on a GPU steps all heads' LSTMs at once


class HeadLSTM(nn.Module):
    """H LSTMs: (H, B, L, I) to (H, B, L, M).

    Fused kernels take one head after the other; a GPU that has many heads takes them all a step
    at a time instead, in kernels that a CUDA graph launches.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, precision: Precision) -> None:
        super().__init__()
        self.precision: Precision = precision
        self.input_weight = nn.Parameter(torch.empty(heads, 4 * hidden, inputs))
        self.hidden_weight = nn.Parameter(torch.empty(heads, 4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(heads, 4 * hidden))
        for head in range(heads):
            nn.init.xavier_uniform_(self.input_weight.data[head])
            for gate in self.hidden_weight.data[head].chunk(4):
                nn.init.orthogonal_(gate)
        self.bias.data[:, hidden : 2 * hidden] = 1.0  # the forget gate starts open

    def forward(self, x: Tensor) -> Tensor:
        together = x.device.type != "cpu" and len(x) >= BATCHED_HEADS
        return self.stepped(x) if together else self.fused(x)

    def stepped(self, x: Tensor) -> Tensor:
        """All heads at once, a step at a time; the recurrence in the precision of `x`."""
        steps_first = x.transpose(1, 2)
        with products(self.precision, x.device):
            fed = torch.baddbmm(self.bias[:, None], steps_first.flatten(1, 2), self.input_weight.mT)
        fed = fed.to(x.dtype).view(*steps_first.shape[:3], -1).transpose(0, 1).contiguous()
        hidden: Tensor = Recurrence.apply(fed, self.hidden_weight.mT)
        return hidden.permute(1, 2, 0, 3)

    def fused(self, x: Tensor) -> Tensor:
        """Head after head, each in the device's own kernel (cuDNN's knows no bf16)."""
        outputs = []
        for one, w_in, w_hidden, bias in zip(
            x, self.input_weight, self.hidden_weight, self.bias, strict=True
        ):
            zero = one.new_zeros(1, one.shape[0], w_hidden.shape[1])
            weights = [w_in, w_hidden, bias, torch.zeros_like(bias)]
            y, _, _ = torch.lstm(
                one, (zero, zero), weights, True, 1, 0.0, self.training, False, True
            )
            outputs.append(y)
        return torch.stack(outputs)


class Recurrence(torch.autograd.Function):
    """Hidden states (L, H, B, M) of LSTMs that start from rest.

    Args:
        fed: (L, H, B, 4 M) what the inputs bring to the gates, in PyTorch's order.
        weight: (H, M, 4 M) from the hidden state of the step before to the gates.
    """

    @staticmethod
    def forward(ctx: Any, fed: Tensor, weight: Tensor) -> Tensor:
        hidden = fed.new_zeros(*fed.shape[1:-1], weight.shape[1])
        none = fed.new_zeros(fed.shape[-1])  # as the biases are in `fed`
        cells, gates, outputs = [hidden.flatten(0, 1)], [], []
        for step in fed:
            recurrent = torch.bmm(hidden, weight).flatten(0, 1)
            out, cell, kept = forward_cell(step.flatten(0, 1), recurrent, cells[-1], none)
            hidden = out.view_as(hidden)
            outputs.append(hidden)
            cells.append(cell)
            gates.append(kept)
            if not any(ctx.needs_input_grad):
                del cells[0], gates[0]
        stacked = torch.stack(outputs)
        ctx.save_for_backward(weight, stacked)
        ctx.cells, ctx.gates = cells, gates
        return stacked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        weight, hidden = ctx.saved_tensors
        cells, gates, back = ctx.cells, ctx.gates, weight.mT
        through = torch.zeros_like(cells[0])
        arriving = gradient.clone(memory_format=torch.contiguous_format)
        found: list[Tensor] = []
        for t in range(len(gates) - 1, -1, -1):
            if found:  # in place, as it would be copied first otherwise
                arriving[t].baddbmm_(found[-1], back)
            ours, through = backward_cell(
                arriving[t].flatten(0, 1), through, cells[t], cells[t + 1], gates[t]
            )
            found.append(ours.view(*hidden.shape[1:-1], -1))
        fed = torch.stack(found[::-1])
        past = hidden[:-1].permute(1, 3, 0, 2).flatten(2)  # (H, M, (L - 1) B)
        return fed, past @ fed[1:].transpose(0, 1).flatten(1, 2)


def forward_cell(
    fed: Tensor, recurrent: Tensor, cell: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A step of N cells: hidden and cell state (N, M), and the gates (N, 4 M) for the gradient.

    CPUs have no such kernel: what it computes stands below, and is what the tests compare.

    Args:
        fed, recurrent: (N, 4 M), the gates' sums: enter, forget, new, leave.
        cell: (N, M) of the step before.
        bias: (4 M), of each of the sums.
    """
    if fed.device.type != "cpu":
        hidden, state, gates = torch.ops.aten._thnn_fused_lstm_cell(
            fed, recurrent, cell, bias, bias
        )
        return hidden, state, gates
    enter, forget, new, leave = (fed + recurrent + 2 * bias).chunk(4, -1)
    enter, forget, new, leave = enter.sigmoid(), forget.sigmoid(), new.tanh(), leave.sigmoid()
    state = forget * cell + enter * new
    return leave * state.tanh(), state, torch.cat([enter, forget, new, leave], -1)


def backward_cell(
    of_hidden: Tensor, of_cell: Tensor, before: Tensor, cell: Tensor, gates: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the gates' sums (N, 4 M) and of the cell state of the step before (N, M).

    Args:
        of_hidden, of_cell: (N, M) gradients of what the step gave.
        before, cell: (N, M) cell states before and after it.
        gates: (N, 4 M), as `forward_cell` gave them.
    """
    if of_hidden.device.type != "cpu":
        ours, through, _ = torch.ops.aten._thnn_fused_lstm_cell_backward_impl(
            of_hidden, of_cell, before, cell, gates, False
        )
        return ours, through
    enter, forget, new, leave = gates.chunk(4, -1)
    bent = cell.tanh()
    of_cell = of_cell + of_hidden * leave * (1 - bent.square())
    sums = [
        of_cell * new * enter * (1 - enter),
        of_cell * before * forget * (1 - forget),
        of_cell * enter * (1 - new.square()),
        of_hidden * bent * leave * (1 - leave),
    ]
    return torch.cat(sums, -1), of_cell * forget
