"""The two ways in which a command can fail, and the one place that turns them into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_FAILED = 1  # the input was fine, the run was not: a full disk, a failed check, a dead worker
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_INPUT = 2  # usage or input: the user can mend it, and the message says how


class InputError(ValueError):
    """A user's mistake: one line naming the file or key, the value found and what was expected."""


class RunError(RuntimeError):
    """A failure while running on good input: one line naming what failed and what is left."""


def refusals(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What file systems raise: the system's errors and, where S3 or the web is in use, those of its
    client; and `others`."""
    clients = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
    used = [getattr(sys.modules[module], name) for module, name in clients if module in sys.modules]
    return (OSError, *others, *used)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the product's errors into one line on stderr and the exit code that belongs to it.

    `InputError` and a missing input file exit with 2, `RunError` and whatever else file systems
    raise (a full or read-only disk) with 1, an interrupt (Ctrl-C) with 130, as shells count it.
    Anything else is a defect of ours and keeps its traceback.
    """
    try:
        yield
    except (InputError, FileNotFoundError) as error:
        code, message = EXIT_INPUT, str(error)
    except refusals(RunError) as error:
        code, message = EXIT_FAILED, str(error)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        message = "interrupted: what is done stays, and the same command goes on from there"
    else:
        return
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)
