"""The recurrence of many LSTMs at once, with its gradient, in few kernels a step.

Left to autograd, a step of the recurrence and of its gradient is 27 kernels, each of them shorter
than it takes to start it. All that needs no earlier step is done here for all steps together, in
large kernels; what is left is 7 of a step and 5 of its gradient.

    L steps   H LSTMs   B stretches   M hidden units

The gates stand in the order leave (o), enter (i), forget (f), new (g): those that are sigmoids
side by side, and those that act through the cell's state too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Recurrence(torch.autograd.Function):
    """hidden = o tanh(cell), cell = f cell' + i g; the gates see `fed` and the hidden state of the
    step before. Starts from rest.

    Args:
        fed: (L, H, B, 4 M) what the inputs bring to each gate; is overwritten by the gates.
        weight: (H, M, 4 M) from the hidden state to the gates.

    Returns:
        (L, H, B, M) hidden states.
    """

    @staticmethod
    def forward(ctx: Any, fed: Tensor, weight: Tensor) -> Tensor:
        size = weight.shape[1]
        hidden, cell, bent = fed.new_empty(3, *fed.shape[:-1], size).unbind()
        before = memory = fed.new_zeros(*fed.shape[1:-1], size)
        for gates, state, bend, out in zip(fed, cell, bent, hidden, strict=True):
            gates.baddbmm_(before, weight)
            gates[..., : 3 * size].sigmoid_()
            gates[..., 3 * size :].tanh_()
            leave, enter, forget, new = gates.split(size, -1)
            torch.mul(forget, memory, out=state).addcmul_(enter, new)
            torch.tanh(state, out=bend)
            torch.mul(leave, bend, out=out)
            before, memory = out, state
        ctx.save_for_backward(fed, weight, cell, bent, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gates, weight, cell, bent, hidden = ctx.saved_tensors
        size = weight.shape[1]
        leave, enter, forget, new = gates.split(size, -1)
        earlier = torch.cat([torch.zeros_like(cell[:1]), cell[:-1]])
        # how the gates' sums act on the cell, and the hidden state's gradient on cell and o
        of_cell = torch.stack(
            [
                new * enter * (1 - enter),
                earlier * forget * (1 - forget),
                enter * (1 - new.square()),
            ],
            -2,
        )
        to_leave = bent * leave * (1 - leave)
        to_cell = leave * (1 - bent.square())
        back = weight.mT.contiguous()
        found = torch.empty_like(gates)
        through = torch.zeros_like(cell[0])
        for t in range(len(gates) - 1, -1, -1):
            last = t == len(gates) - 1
            arriving = gradient[t] if last else torch.baddbmm(gradient[t], found[t + 1], back)
            through.addcmul_(arriving, to_cell[t])
            torch.mul(arriving, to_leave[t], out=found[t, ..., :size])
            torch.mul(
                through[..., None, :],
                of_cell[t],
                out=found[t, ..., size:].unflatten(-1, (3, size)),
            )
            through.mul_(forget[t])
        past = hidden[:-1].permute(1, 3, 0, 2).flatten(2)  # (H, M, (L - 1) B)
        return found, past @ found[1:].transpose(0, 1).flatten(1, 2)
