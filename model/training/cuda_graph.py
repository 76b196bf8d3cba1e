"""Losses and gradients of an update as a CUDA graph: recorded once, then replayed.

Heads are small: an update is thousands of short kernels, and launching them one by one takes longer
than running them. A graph launches them all at once. It holds addresses, so its inputs are copied
into tensors that it owns, and parameters may only change in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_RUNS = 3  # before recording: libraries choose their kernels and allocate their memory


class CapturedFunction:
    """A function on the GPU, recorded as a CUDA graph.

    Args:
        function: from tensors on the device to one more, leaving gradients in parameters that had
            none. It must not wait for the device, nor depend on anything but its arguments and
            tensors that stay in place.
        inputs: those of the first call, on the CPU; later ones have the same shapes.
        device: a GPU.
    """

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor], device: torch.device
    ) -> None:
        self.inputs = [x.to(device) for x in inputs]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_RUNS):
                function(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.result = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Replay the graph on pinned `inputs`; gradients are left in the parameters.

        The host does not wait, so it can prepare the next inputs at the same time.
        """
        for own, new in zip(self.inputs, inputs, strict=True):
            own.copy_(new, non_blocking=True)
        self.graph.replay()
        return self.result.clone()  # the next replay overwrites it
