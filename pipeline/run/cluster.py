"""Provide a Dask client: with workers of its own, or of a running scheduler.

Own workers are threads or processes of this machine, or one per GPU, and end with the client. They
listen on the loopback interface alone, and processes use TLS with a certificate of their own, so
that no other user of the machine can run code in them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Literal
from uuid import uuid4

import dask
from distributed import Client, Future, LocalCluster, Nanny, SpecCluster
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.comm.addressing import get_address_host_port, parse_address
from distributed.comm.core import CommClosedError
from distributed.comm.registry import get_backend
from distributed.deploy.cluster import Cluster
from distributed.scheduler import KilledWorker
from distributed.security import Security

from pipeline.errors import InputError, RunError
from pipeline.log import get_logger
from pipeline.run.cuda import count_gpus, start_cuda_cluster, unusable_gpu
from pipeline.run.tls import is_exposed, read_certificates, refusal, require_encrypted

LOG = get_logger(__name__)
Kind = Literal["auto", "cpu", "cuda"]
TIMEOUT_SECONDS = 10.0  # to connect to a scheduler, and by default for it to have a worker
MEMORY_SHARE = 0.6  # of a worker's limit; from 0.7 on Dask writes results to disk
LOOPBACK = "127.0.0.1"
# Let workers keep freed memory. Dask's nanny makes glibc return it at once; training allocates the
# same megabytes thousands of times and then spends half its time on page faults.
KEEP_FREED_MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
# How a task's result says that its workers or the scheduler are gone.
LOST = (KilledWorker, FutureCancelledError, CommClosedError, ClosedClientError)
DASHBOARD_PORT = 8787  # Dask's own; another one if it is taken


@contextmanager
def make_client(
    scheduler: str | None = None,
    scheduler_file: Path | None = None,
    *,
    cluster: Kind = "cpu",
    processes: bool = False,
    workers: int | None = None,
    at_most: int | None = None,
    threads_per_worker: int | None = None,
    wait: float | None = None,
    tls: Path | None = None,
) -> Iterator[Client]:
    """Yield a Dask client, and close it at the end together with the workers started for it.

    Args:
        scheduler: address of a running scheduler; $DASK_SCHEDULER_ADDRESS if neither it nor a file
            is given.
        scheduler_file: file to which a running scheduler wrote its address.
        cluster: "cpu" or "cuda" (dask-cuda: one worker a GPU, each with the resource GPU=1) if no
            scheduler is given; "auto" is "cuda" where PyTorch in the workers can use the GPUs that
            NVML finds, and "cpu" elsewhere.
        processes: workers are processes, else threads of this process ("cpu" only).
        workers: number of processes or GPUs, or of threads without processes; by default all cores
            or GPUs. "auto" uses no GPU if there are fewer than this.
        at_most: upper limit of the default number of cores.
        threads_per_worker: threads of each process; by default 1.
        wait: seconds to wait for the first worker of a running scheduler, which may start workers
            on demand; by default 10. Workers that come later are used too.
        tls: folder with ca.pem, cert.pem and key.pem for a running scheduler at tls://; by default
            the files that Dask's configuration names.

    Raises:
        InputError: both an address and a file, `workers` beside either, an address or a file that
            is not one, certificates that are missing or that the scheduler refuses, or "cuda"
            without a GPU that PyTorch can use or without dask-cuda.
        RunError: a scheduler that does not answer within 10 s, or has no worker in time.
    """
    address = _address(scheduler, scheduler_file)
    if address is not None:
        if workers:
            raise InputError(
                f"--workers {workers}: the scheduler {address} has its own: expected one of the two"
            )
        security = Security() if tls is None else read_certificates(tls)
        with _connected(address, TIMEOUT_SECONDS if wait is None else wait, security) as client:
            yield client
        return
    if tls is not None:
        raise InputError(f"--tls {tls}: no scheduler is given: expected one at tls://")
    if cluster == "cuda" or (cluster == "auto" and _has_cuda(workers)):
        with _started(partial(_start_cuda, workers)) as client:
            reason = unusable_gpu(client)
            if reason is None:
                yield client
                return
        if cluster == "cuda":
            raise InputError(
                f"cluster 'cuda': PyTorch in a worker: {reason}: expected one that computes on the "
                "GPU, or cluster 'cpu'"
            )
        LOG.warning("a GPU is there, but not used: PyTorch in a worker: %s", reason)
    count = workers or min(available_cores(), at_most or available_cores())
    start = partial(_start, processes, count, threads_per_worker)
    with _started(start) as client:
        yield client


def wait_seconds(wait: str) -> float:
    """Return the seconds of a duration such as 30min.

    Raises:
        InputError: it is none, or not positive.
    """
    import pandas as pd

    try:
        seconds = float(pd.Timedelta(wait).total_seconds())
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"--wait {wait}: expected a time such as 30min")
    return seconds


def worker_memory(client: Client) -> int | None:
    """Bytes that a run may take of a worker: a share of the smallest limit; None without limits."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [int(one["memory_limit"]) for one in workers if one["memory_limit"]]
    return int(MEMORY_SHARE * min(limits)) if limits else None


def dashboard_address(client: Client) -> str:
    """URL of the dashboard of the client's scheduler."""
    own = client.cluster
    if own is None:
        return str(client.dashboard_link)
    port = own.scheduler_info["services"].get("dashboard")
    return f"http://{LOOPBACK}:{port}/status" if port else "none"


def _address(scheduler: str | None, scheduler_file: Path | None) -> str | None:
    """Address of the scheduler to connect to; None to start workers."""
    if scheduler and scheduler_file:
        raise InputError(
            f"--scheduler {scheduler} and --scheduler-file {scheduler_file}: expected one of them"
        )
    if scheduler_file:
        try:
            address = json.loads(scheduler_file.read_text())["address"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{scheduler_file}: not readable ({error!r}): expected the file that "
                "`dask scheduler --scheduler-file` writes"
            ) from error
        return str(address)
    return scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS") or None


@contextmanager
def _connected(address: str, wait: float, security: Security) -> Iterator[Client]:
    """Yield a client of a running scheduler with at least one worker."""
    try:
        scheme, _ = parse_address(address)
        get_backend(scheme)  # refuses bad addresses before a client starts
        if scheme in ("tcp", "tls"):
            get_address_host_port(address)
    except ValueError as error:
        raise InputError(
            f"scheduler {address}: {error}: expected tcp://host:port or tls://host:port"
        ) from error
    require_encrypted(address, security)
    try:
        client = Client(address, timeout=TIMEOUT_SECONDS, security=security)
    except (OSError, ValueError, AssertionError) as error:
        if reason := refusal(address, error):
            raise InputError(f"scheduler {address}: {reason}") from error
        raise RunError(
            f"scheduler {address}: no answer in {TIMEOUT_SECONDS:g} s: expected a running one"
        ) from error
    with silent("distributed.client"), client:  # a lost scheduler reaches callers as an error
        if is_exposed(own := str(client.scheduler_info()["address"])):
            LOG.warning(
                "scheduler %s: not encrypted: whoever can reach it can run code in your name: "
                "expected tls://, or a network that nobody else can reach", own
            )  # fmt: skip
        wait_for_worker(client, wait)
        yield client


def ask_for_worker(client: Client) -> Future:
    """Submit an empty task, as an adaptive scheduler starts workers for tasks alone."""
    return client.submit(int, pure=False, key=f"wait-{uuid4().hex[:8]}")


def wait_for_worker(client: Client, seconds: float | None = None) -> None:
    """Wait until a scheduler has a worker, and say so if that takes time.

    Args:
        client: of the scheduler.
        seconds: how long; 10 by default.

    Raises:
        RunError: there is none in time.
    """
    if client.nthreads():
        return
    seconds = TIMEOUT_SECONDS if seconds is None else seconds
    address = client.scheduler_info()["address"]
    LOG.warning("waiting up to %g s for a worker of %s", seconds, address)
    asked = ask_for_worker(client)
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise RunError(
            f"scheduler {address}: no worker in {seconds:g} s: expected at least one, or a longer "
            "--wait"
        ) from error
    finally:
        asked.release()


@contextmanager
def silent(*names: str) -> Iterator[None]:
    """Have loggers and those below them say nothing for a while."""
    below = tuple(f"{name}." for name in names)
    known = [one for one in logging.root.manager.loggerDict if one.startswith(below)]
    loggers = [logging.getLogger(name) for name in (*names, *known)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _started(start: Callable[[], Cluster]) -> Iterator[Client]:
    """Yield a client of a cluster on this machine, which ends with it."""
    with warnings.catch_warnings():  # another process may take the dashboard's port meanwhile
        warnings.filterwarnings("ignore", r"Port \d+ is already in use", UserWarning)
        with _without_interrupts():
            own = start()
    with ExitStack() as at_end:
        try:
            with Client(own) as client:
                try:
                    yield client
                except BaseException:
                    # the error says what happened; Dask would log what each part loses by it
                    at_end.enter_context(silent("distributed", "tornado", "asyncio"))
                    _kill_workers(own)  # a task in flight would hold them up
                    raise
        finally:
            with suppress(TimeoutError):  # Dask kills a worker that is slow to end, and logs it
                own.close()


def _start_cuda(workers: int | None) -> Cluster:
    """Start workers with a GPU each, which listen on the loopback interface alone."""
    return start_cuda_cluster(
        workers, LOOPBACK, _free_dashboard(), KEEP_FREED_MEMORY, Security.temporary()
    )


def _start(processes: bool, workers: int, threads_per_worker: int | None) -> Cluster:
    """Start workers on this machine that listen on the loopback interface alone."""
    if processes:
        with dask.config.set(KEEP_FREED_MEMORY):
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=threads_per_worker or 1,
                host=LOOPBACK,
                dashboard_address=_free_dashboard(),
                security=Security.temporary(),
            )
    return LocalCluster(
        n_workers=1,
        threads_per_worker=workers,
        processes=False,
        protocol="inproc://",
        dashboard_address=_free_dashboard(),
        worker_dashboard_address=f"{LOOPBACK}:0",
        silence_logs=logging.CRITICAL,  # a failed task reaches the caller as an exception
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back, here for a while and for good in processes that are started meanwhile.

    A terminal sends it to all processes, but ending workers is the client's work.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Unix
        yield
        return
    resource_tracker.ensure_running()  # which would let Ctrl-C through where it starts later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_workers(own: Cluster) -> None:
    """Kill the worker processes of a cluster; files are renamed into place, so none is torn."""
    workers = own.workers.values() if isinstance(own, SpecCluster) else ()
    nannies = [one for one in workers if isinstance(one, Nanny)]
    pids = [one.pid for one in nannies]
    for one in nannies:
        one.close_gracefully()  # and start no other worker
    for pid in pids:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_dashboard() -> str:
    """Address of the dashboard: on this machine only, port 8787 if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((LOOPBACK, DASHBOARD_PORT))
        except OSError:
            return f"{LOOPBACK}:0"
    return f"{LOOPBACK}:{DASHBOARD_PORT}"


def _has_cuda(workers: int | None) -> bool:
    """Whether "auto" tries GPUs; warns if there are some, but they are not tried."""
    found = count_gpus()
    if not found:
        return False
    if workers and workers > found:
        LOG.warning(
            "a GPU is there, but not used: --workers %d are more than the GPUs, %d; with "
            "--cluster cuda there may be one a GPU", workers, found
        )  # fmt: skip
        return False
    if find_spec("dask_cuda") is None:
        LOG.warning("a GPU is there, but not used: dask-cuda is missing; install dom-st[cuda]")
        return False
    return True
