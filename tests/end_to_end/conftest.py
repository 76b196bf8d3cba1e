"""Fixtures of the tests from a store to a run directory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import dask
import pytest
from distributed.utils import get_mp_context


@pytest.fixture(scope="module", autouse=True)
def fork_worker_processes() -> Iterator[None]:
    """Have Dask fork its worker processes from one that has imported the model already.

    A worker then starts in a fraction of a second. Those of a command that runs in a process of
    its own are spawned, as they are for a user.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context()  # lets Dask choose its modules first, which it does once
        multiprocessing.set_forkserver_preload(["model.jobs.tasks"])
        yield
