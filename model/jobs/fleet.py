"""The workers of a client as they come and go: CPU threads, and GPUs that PyTorch can use."""

from __future__ import annotations

from dataclasses import dataclass

from distributed import Client, Future
from distributed.comm.core import CommClosedError

from pipeline.log import get_logger
from pipeline.run.cuda import GPU, offer_gpu

log = get_logger(__name__)
GPU_SHARE = 0.6  # of a GPU's free memory; the rest is PyTorch's workspace and the estimate's error
HOST_SHARE = 0.6  # of a worker's memory limit; from 0.7 on Dask writes results to disk


@dataclass(frozen=True)
class Budget:
    """Bytes that a pack may take on a GPU and on its worker's host; None without a limit."""

    device: int
    host: int | None


class Fleet:
    """Workers of a client.

    A worker with the resource GPU counts as a GPU once PyTorch, in a task on it, has computed
    there; one that cannot gives the resource up and counts as a CPU.

    Attributes:
        gpus: what a pack may take, by the worker's address.
        threads: number of CPU threads, of workers without a GPU.
        workers: number of workers.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.gpus: dict[str, Budget] = {}
        self.threads = self.workers = 0
        self._asked: dict[str, Future | None] = {}  # None has answered

    @property
    def waits(self) -> bool:
        """Whether a worker has not yet said whether it can use its GPU."""
        return any(future is not None for future in self._asked.values())

    @property
    def budget(self) -> Budget:
        """What a pack may take on every GPU."""
        hosts = [one.host for one in self.gpus.values() if one.host is not None]
        return Budget(min(one.device for one in self.gpus.values()), min(hosts, default=None))

    def refresh(self) -> None:
        """Look which workers there are, and ask new ones for their GPU.

        Raises:
            CommClosedError: the scheduler has gone.
        """
        known = self.client.scheduler_info(n_workers=-1).get("workers")
        if known is None:  # Dask's client forgets what it knew of a scheduler that has gone
            raise CommClosedError("scheduler-connection-lost")
        offers = {name for name, one in known.items() if one["resources"].get(GPU)}
        for name in self._asked.keys() - known.keys():
            del self._asked[name]
        for name in offers - self._asked.keys():
            self._asked[name] = self.client.submit(
                offer_gpu, workers=[name], resources={GPU: 1}, pure=False
            )
        for name, future in self._asked.items():
            if future is not None and future.status != "pending":
                self._take(name, future, known[name]["memory_limit"])
                self._asked[name] = None  # it is not asked again
        self.gpus = {name: one for name, one in self.gpus.items() if name in offers}
        self.workers = len(known)
        self.threads = sum(one["nthreads"] for name, one in known.items() if name not in offers)

    def _take(self, name: str, future: Future, memory_limit: int | None) -> None:
        """Note what a worker says of its GPU."""
        found = future.result() if future.status == "finished" else repr(future.exception())
        if isinstance(found, str):
            log.warning("worker %s has a GPU that is not used: PyTorch: %s", name, found)
            return
        host = int(HOST_SHARE * memory_limit) if memory_limit else None
        self.gpus[name] = Budget(int(GPU_SHARE * found), host)
