"""An update's losses and gradients as a CUDA graph: recorded once, replayed from then on.

Heads are small: an update is thousands of short kernels, and launching them one by one takes longer
than running them. A graph launches them all at once. It holds addresses, so what it reads stays
where it is: inputs are copied into tensors of its own, and parameters change in place only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM = 3  # runs before recording, in which libraries choose their kernels and take their memory


class Captured:
    """`compute`, recorded.

    Args:
        compute: from tensors on the device to one more, leaving gradients in parameters that had
            none. It must not wait for the device, nor depend on anything but its arguments and on
            tensors that stay.
        inputs: those of the first call, on the CPU; later ones have the same shapes.
        device: a GPU.
    """

    def __init__(
        self, compute: Callable[..., Tensor], inputs: Sequence[Tensor], device: torch.device
    ) -> None:
        self.inputs = [x.to(device) for x in inputs]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                compute(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.result = compute(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `compute` gives for pinned `inputs`; gradients are those that it leaves.

        The host does not wait: it can prepare the next inputs meanwhile.
        """
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.result.clone()  # the next replay overwrites it
