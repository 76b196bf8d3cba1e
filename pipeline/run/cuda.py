"""GPUs of workers: how many there are, and whether PyTorch can use them.

dask-cuda starts one worker per GPU. NVML counts the GPUs of a machine, but only PyTorch, in the
worker, knows whether it can compute on one: it may have been built for CPUs, or for a newer driver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import dask
from distributed import Client, Reschedule, get_worker
from distributed.deploy.cluster import Cluster
from distributed.security import Security
from distributed.utils import sync

from pipeline.errors import InputError
from pipeline.log import get_logger

LOG = get_logger(__name__)
GPU = "GPU"  # name of a worker's resource; a task that uses the GPU takes one
DEVICE = "cuda:0"  # of a worker, which sees its own GPU first


def count_gpus() -> int:
    """Number of GPUs that NVML finds, of those in $CUDA_VISIBLE_DEVICES; 0 without NVML."""
    if find_spec("pynvml") is None:
        return 0
    import pynvml  # comes with dask-cuda

    try:
        pynvml.nvmlInit()
        found = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not found:
        return found
    return sum(one.strip() not in ("", "-1") for one in visible.split(","))


def start_cuda_cluster(
    workers: int | None, host: str, dashboard: str, config: Mapping[str, int], security: Security
) -> Cluster:
    """Start one worker per GPU, each with the resource GPU=1.

    Args:
        workers: how many; all GPUs if None.
        host: address that they listen on.
        dashboard: address of the dashboard.
        config: of Dask while they start.
        security: certificates of their connections.

    Raises:
        InputError: no dask-cuda, no GPU, or fewer GPUs than workers.
    """
    if find_spec("dask_cuda") is None:
        raise InputError("cluster 'cuda': dask-cuda is not installed: expected dom-st[cuda]")
    found = count_gpus()
    if not found:
        raise InputError("cluster 'cuda': NVML finds no GPU: expected one, or cluster 'cpu'")
    if workers and workers > found:
        raise InputError(f"--workers {workers}: NVML finds {found} GPUs: expected at most as many")
    from dask_cuda import LocalCUDACluster

    with dask.config.set(config):
        return LocalCUDACluster(
            n_workers=workers,
            threads_per_worker=1,
            resources={GPU: 1},
            host=host,
            dashboard_address=dashboard,
            security=security,
        )


def gpu_memory() -> int | str:
    """Bytes that PyTorch can use of a worker's GPU, or the reason why it can use none.

    Computes on the GPU, so it is for tasks that have taken the resource.
    """
    try:
        import torch

        torch.ones(1, device=DEVICE).add(1).item()
        return int(torch.cuda.mem_get_info(DEVICE)[0] + torch.cuda.memory_reserved(DEVICE))
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0] or repr(error)


def offer_gpu() -> int | str:
    """`gpu_memory`, as a task: a worker that cannot use its GPU gives up the resource."""
    found = gpu_memory()
    if isinstance(found, str):
        worker = get_worker()
        sync(worker.loop, worker.set_resources, **{GPU: 0})
    return found


@contextmanager
def guarded_gpu() -> Iterator[None]:
    """Run a task on the worker's GPU.

    After some errors (an illegal address, a failed assertion, memory that cannot be corrected) no
    call to the GPU succeeds in the process any more. Then the process ends, Dask's nanny starts
    another, and the scheduler repeats the task; one that has ended several workers fails.

    Raises:
        Reschedule: the worker cannot use its GPU, and has given it up.
    """
    import torch

    if isinstance(offer_gpu(), str):
        raise Reschedule
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = gpu_memory()
        if isinstance(reason, str):
            LOG.critical("the GPU has failed, the worker ends: %s, after: %s", reason, error)
            os._exit(1)
        raise


def unusable_gpu(client: Client) -> str | None:
    """Why a worker cannot use its GPU, asked of all workers at once; None if all can."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    asked = [client.submit(gpu_memory, workers=[one], pure=False) for one in workers]
    return next((found for found in client.gather(asked) if isinstance(found, str)), None)
