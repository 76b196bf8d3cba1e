"""How a Dask task uses PyTorch: on one thread, and on a GPU that may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from pipeline.run.cuda import guarded_gpu


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread, as many as a worker has; it does not read OMP_NUM_THREADS."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Run a task on a device: with `one_thread`, and on a GPU as `guarded_gpu`."""
    with one_thread(), guarded_gpu() if device.type == "cuda" else nullcontext():
        yield
