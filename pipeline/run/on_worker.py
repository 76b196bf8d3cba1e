"""Run a task on a worker: retry what fails for a moment, and return its warnings to the client."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from pipeline.errors import InputError, RunError, client_errors
from pipeline.log import collect_warnings
from pipeline.retry import retrying

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Messages:
    """Warnings of a task that ran in another process than the client's."""

    lines: list[str] = field(default_factory=list)


@contextmanager
def collect_messages(client: tuple[str, int]) -> Iterator[Messages]:
    """Collect what this thread logs, unless the client is this process and logs it itself."""
    if client == (socket.gethostname(), os.getpid()):
        yield Messages()
        return
    with collect_warnings(this_thread=True) as lines:
        yield Messages(lines)


def run_task(
    client: tuple[str, int], task: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[T, Messages]:
    """Run a task on a worker, again if a service or the network fails for a moment.

    Args:
        client: host and process of the client.
        task, args, kwargs: what to run.

    Returns:
        What the task returned, and what it logged.

    Raises:
        InputError, RunError: as the task, with their message alone: some of the errors that cause
            them cannot be pickled.
    """
    try:
        with collect_messages(client) as messages:
            return retrying(lambda: task(*args, **kwargs)), messages
    except (InputError, RunError) as error:
        failure: Exception = type(error)(str(error))
    except client_errors() as error:
        failure = RunError(f"{error}: expected files and services to stay in reach")
    raise failure
