"""`cuda.core` without CUDA: dask-cuda makes a worker's GPU the current device of its process."""

from __future__ import annotations


class Device:
    """The first visible GPU."""

    current = False

    def set_current(self) -> None:
        Device.current = True
