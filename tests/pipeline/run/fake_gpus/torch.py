"""PyTorch as far as `pipeline.run.cuda` asks it, with a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class OutOfMemoryError(RuntimeError):
    """Memory is full, but CUDA still works."""


FREE, RESERVED = 60 * 2**30, 2**30


def ones(size: int, device: str) -> Any:
    assert device == "cuda:0"
    return SimpleNamespace(add=lambda one: SimpleNamespace(item=lambda: size + one))


cuda = SimpleNamespace(
    mem_get_info=lambda device: (FREE, 80 * 2**30), memory_reserved=lambda device: RESERVED
)
