"""The two kinds of errors that a command reports, interruptions, and their exit codes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from pipeline.log import say_error

EXIT_FAILED = 1  # good input, failed run: a full disk, a failed check, a dead worker
EXIT_INPUT = 2  # usage or input: the user can fix it, and the message says how
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_TERMINATED = 143  # 128 + SIGTERM
RESUMES = "finished work is kept, and the same command continues from there"


class InputError(ValueError):
    """A user's mistake: one line with the file or key, the value found and the expectation."""


class RunError(RuntimeError):
    """A failure while running on good input: one line with what failed and what remains."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as batch systems and containers send it: handled as Ctrl-C is."""


def client_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Exception types that file systems raise.

    Args:
        others: types to add.

    Returns:
        `OSError`, `others`, and the types of the S3 and HTTP clients that are in use.
    """
    clients = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    used = [getattr(sys.modules[module], name) for module, name in clients if module in sys.modules]
    return (OSError, *others, *used)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the product's errors into one line on stderr and an exit code.

    `InputError` and a missing input file exit with 2, `RunError` and other errors of file systems
    (a full or read-only disk) with 1, an interrupt (Ctrl-C) with 130 and SIGTERM with 143, as in
    shells. Other exceptions are defects and keep their traceback.
    """
    try:
        with _sigterm_raises():
            yield
    except (InputError, FileNotFoundError) as error:
        code, message = EXIT_INPUT, str(error)
    except client_errors(RunError) as error:
        code, message = EXIT_FAILED, str(error)
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        code = EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
        message = f"{'terminated' if terminated else 'interrupted'}: {str(error) or RESUMES}"
    else:
        return
    say_error(" ".join(message.split()), code)
    raise SystemExit(code)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise `Terminated`, where nothing else handles it."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
