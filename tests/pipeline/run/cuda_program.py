"""Start dask-cuda's cluster on GPUs that are not there, and print as JSON what came of it.

    FAKE_GPUS=2 PYTHONPATH=tests/pipeline/run/fake_gpus:. \
        python -m tests.pipeline.run.cuda_program [WORKERS]

Needs a process of its own: the folder `fake_gpus` replaces NVML, `cuda.core` and PyTorch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from pipeline.errors import InputError
from pipeline.run.cluster import make_client
from pipeline.run.cuda import GPU, guarded_gpu, offer_gpu


def about() -> dict[str, Any]:
    """Describe a worker's process."""
    from cuda.core import Device

    return {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "cores": sorted(os.sched_getaffinity(0)),
        "current": Device.current,
    }


def hold(task: int) -> tuple[str, float, float]:
    """Hold a GPU for a while; returns which, from when and until when."""
    began = time.time()
    time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"], began, time.time()


def fail_once(mark: str) -> list[int]:
    """Leave CUDA unusable in the first process that does this; returns its id and the second's."""
    import torch

    def raise_again(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\n(more lines)")

    with guarded_gpu():
        if not Path(mark).exists():
            Path(mark).write_text(str(os.getpid()))
            torch.ones = raise_again  # type: ignore[assignment]
            torch.ones(1)
    return [int(Path(mark).read_text()), os.getpid()]


def listening() -> set[str]:
    """Addresses that this process and its children listen on."""
    own = psutil.Process()
    return {
        connection.laddr.ip
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def main(workers: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with make_client(cluster="cuda", workers=workers) as client:
            known = client.scheduler_info(n_workers=-1)["workers"]
            found["workers"] = {
                name: {"resources": one["resources"], "threads": one["nthreads"]}
                for name, one in known.items()
            }
            found["listening"] = sorted(listening())
            found["about"] = client.run(about)
            tasks = client.map(hold, range(6), resources={GPU: 1}, pure=False)
            found["held"] = client.gather(tasks)
            found["memory"] = client.submit(offer_gpu, resources={GPU: 1}).result()
            with TemporaryDirectory() as folder:
                task = client.submit(fail_once, f"{folder}/mark", resources={GPU: 1})
                found["failed"] = task.result()
    except InputError as error:
        return {"error": str(error)}
    pids = [*found["failed"], *(one["pid"] for one in found["about"].values())]
    found["left"] = [pid for pid in pids if psutil.pid_exists(pid)]
    return found


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if sys.argv[1:] else None)))
