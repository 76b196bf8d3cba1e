"""NVML of a machine with $FAKE_GPUS GPUs, as far as dask-cuda and Dask ask it."""

from __future__ import annotations

import os
from types import SimpleNamespace

NVML_DEVICE_MIG_DISABLE, NVML_DEVICE_MIG_ENABLE = 0, 1


class NVMLError(Exception):
    """Any error."""


class NVMLError_NotSupported(NVMLError):
    """A GPU lacks a feature."""


class NVMLError_LibraryNotFound(NVMLError):
    """There is no NVML."""


NVMLError_NotFound = NVMLError_DriverNotLoaded = NVMLError_Unknown = NVMLError_LibraryNotFound


def nvmlInit() -> None:
    if "FAKE_GPUS" not in os.environ:
        raise NVMLError_LibraryNotFound


def nvmlDeviceGetCount() -> int:
    return int(os.environ["FAKE_GPUS"])


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    if not 0 <= int(index) < nvmlDeviceGetCount():
        raise NVMLError
    return int(index)


def nvmlDeviceGetUUID(handle: int) -> str:
    return f"GPU-{handle}"


def nvmlDeviceGetName(handle: int) -> str:
    return f"fake {handle}"


def nvmlDeviceGetMigMode(handle: int) -> list[int]:
    raise NVMLError_NotSupported


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:
    return SimpleNamespace(total=80 * 2**30, used=0)


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:
    return SimpleNamespace(gpu=0)


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[SimpleNamespace]:
    return []


def nvmlDeviceGetCpuAffinity(handle: int, words: int) -> list[int]:
    return [1 << handle] + [0] * (words - 1)
