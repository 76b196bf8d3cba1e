"""LSTMs of many heads, and a recurrence that steps all of them at once.

Left to autograd, a step of the recurrence and of its gradient is 27 kernels, each shorter than its
launch. `Recurrence` needs four: a matrix product and PyTorch's fused cell, forward and backward.
The gradient of the weights is one matrix product over all steps.

    H heads   B stretches   L steps   I inputs   M hidden units
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.network.layers import matmul_precision
from model.settings import Precision, Settings


class HeadLSTM(nn.Module):
    """H LSTMs side by side, starting from rest: (H, B, L, I) to (H, B, L, M).

    A CPU's fused kernel takes one head after the other. On a GPU all heads are stepped together, in
    kernels that a CUDA graph launches.
    """

    def __init__(self, heads: int, inputs: int, settings: Settings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.precision: Precision = settings.precision
        self.input_weight = nn.Parameter(torch.empty(heads, 4 * hidden, inputs))
        self.hidden_weight = nn.Parameter(torch.empty(heads, 4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(heads, 4 * hidden))
        for head in range(heads):
            nn.init.xavier_uniform_(self.input_weight.data[head])
            for gate in self.hidden_weight.data[head].chunk(4):
                nn.init.orthogonal_(gate)
        self.bias.data[:, hidden : 2 * hidden] = 1.0  # the forget gate starts open

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(x) if x.device.type == "cpu" else self.stepped(x)

    def stepped(self, x: Tensor) -> Tensor:
        """Step all heads together; the recurrence keeps the precision of `x`."""
        steps = x.transpose(1, 2)  # (H, L, B, I)
        with matmul_precision(self.precision, x.device):
            gates = torch.baddbmm(self.bias[:, None], steps.flatten(1, 2), self.input_weight.mT)
        gates = gates.to(x.dtype).view(*steps.shape[:3], -1).transpose(0, 1).contiguous()
        hidden: Tensor = Recurrence.apply(gates, self.hidden_weight.mT)  # (L, H, B, M)
        return hidden.permute(1, 2, 0, 3)

    def fused(self, x: Tensor) -> Tensor:
        """Run head after head in PyTorch's own LSTM.

        Not on a GPU: cuDNN would copy weights that are no module's at every call, and warn, and
        round its products to TF32.
        """
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
        from_input: (L, H, B, 4 M) what the inputs and biases add to the gates, in PyTorch's order
            (input, forget, cell, output).
        weight: (H, M, 4 M) from the previous hidden state to the gates.
    """

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, weight: Tensor) -> Tensor:
        hidden = from_input.new_zeros(*from_input.shape[1:-1], weight.shape[1])
        no_bias = from_input.new_zeros(from_input.shape[-1])
        cells, gates, outputs = [hidden.flatten(0, 1)], [], []
        for step in from_input:
            from_hidden = torch.bmm(hidden, weight).flatten(0, 1)
            out, cell, activated = forward_cell(step.flatten(0, 1), from_hidden, cells[-1], no_bias)
            hidden = out.view_as(hidden)
            outputs.append(hidden)
            cells.append(cell)
            gates.append(activated)
            if not any(ctx.needs_input_grad):
                del cells[0], gates[0]
        stacked = torch.stack(outputs)
        ctx.save_for_backward(weight, stacked)
        ctx.cells, ctx.gates = cells, gates
        return stacked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        weight, hidden = ctx.saved_tensors
        cells, gates, weight_back = ctx.cells, ctx.gates, weight.mT
        grad_cell = torch.zeros_like(cells[0])
        grad_hidden = grad_output.clone(memory_format=torch.contiguous_format)
        grad_gates: list[Tensor] = []  # last step first
        for t in range(len(gates) - 1, -1, -1):
            if grad_gates:  # in place, as it would be copied first otherwise
                grad_hidden[t].baddbmm_(grad_gates[-1], weight_back)
            grad, grad_cell = backward_cell(
                grad_hidden[t].flatten(0, 1), grad_cell, cells[t], cells[t + 1], gates[t]
            )
            grad_gates.append(grad.view(*hidden.shape[1:-1], -1))
        grad_input = torch.stack(grad_gates[::-1])
        previous = hidden[:-1].permute(1, 3, 0, 2).flatten(2)  # (H, M, (L - 1) B)
        return grad_input, previous @ grad_input[1:].transpose(0, 1).flatten(1, 2)


def forward_cell(
    from_input: Tensor, from_hidden: Tensor, cell: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Step N LSTM cells: hidden state (N, M), cell state (N, M), activated gates (N, 4 M).

    CPUs lack PyTorch's fused kernel: the branch below it is the same in plain operations, and is
    what the tests compare.

    Args:
        from_input, from_hidden: (N, 4 M) the two parts of the gates' sums.
        cell: (N, M) the previous cell state.
        bias: (4 M,) added to each part.
    """
    if from_input.device.type != "cpu":
        hidden, state, gates = torch.ops.aten._thnn_fused_lstm_cell(
            from_input, from_hidden, cell, bias, bias
        )
        return hidden, state, gates
    i, f, g, o = (from_input + from_hidden + 2 * bias).chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    state = f * cell + i * g
    return o * state.tanh(), state, torch.cat([i, f, g, o], -1)


def backward_cell(
    grad_hidden: Tensor, grad_cell: Tensor, previous: Tensor, cell: Tensor, gates: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the gates' sums (N, 4 M) and of the previous cell state (N, M).

    Args:
        grad_hidden, grad_cell: (N, M) gradients of what the step returned.
        previous, cell: (N, M) cell states before and after the step.
        gates: (N, 4 M) as `forward_cell` returned them.
    """
    if grad_hidden.device.type != "cpu":
        grad_gates, grad_previous, _ = torch.ops.aten._thnn_fused_lstm_cell_backward_impl(
            grad_hidden, grad_cell, previous, cell, gates, False
        )
        return grad_gates, grad_previous
    i, f, g, o = gates.chunk(4, -1)
    tanh_cell = cell.tanh()
    grad_cell = grad_cell + grad_hidden * o * (1 - tanh_cell.square())
    sums = [
        grad_cell * g * i * (1 - i),
        grad_cell * previous * f * (1 - f),
        grad_cell * i * (1 - g.square()),
        grad_hidden * tanh_cell * o * (1 - o),
    ]
    return torch.cat(sums, -1), grad_cell * f
