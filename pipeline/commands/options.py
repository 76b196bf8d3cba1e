"""Options that several commands share: one name has one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError

CatalogFile = Annotated[
    Path, typer.Argument(metavar="CATALOG", help="YAML file that describes the raw data.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Blocks or heads that this machine works on at the same time, without a scheduler.",
        show_default="one per core or GPU",
    ),
]
Processes = Annotated[
    bool,
    typer.Option(
        "--processes",
        help="Work on blocks in processes, which read NetCDF files at the same time, not threads.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Address of a running Dask scheduler.",
        show_default="$DASK_SCHEDULER_ADDRESS",
    ),
]
SchedulerFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File that a running Dask scheduler wrote.")
]
Wait = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="How long to wait for the scheduler's first worker, such as 30min."
    ),
]
Tls = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Certificates for a scheduler at tls://, as `domst certificates` makes them.",
    ),
]
MemorySize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory that a worker may take, all threads together, such as 2GiB.",
        show_default="what a block needs",
    ),
]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="Take what is written from a run that has died."),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout."),
]
LogJson = Annotated[
    bool,
    typer.Option("--log-json", help="Log to stderr as JSON, one object a line."),
]
WAIT = "10s"  # by default
NOTHING = "already finished, nothing to do"
EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "wrong usage or input",
    130: "Ctrl-C",
    143: "SIGTERM",
}


def epilog(*examples: str) -> str:
    """Return what stands at the end of a command's help: examples and the exit codes."""
    codes = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    shown = [f"Example: {examples[0]}", *examples[1:]] if examples else []
    return "\n".join([*shown, f"Exit codes: {codes}."])


def parse_bytes(memory: str | None) -> int | None:
    """Return the bytes of a size such as 2GiB.

    Raises:
        InputError: it is none.
    """
    if memory is None:
        return None
    from dask.utils import parse_bytes as parse

    try:
        size = int(parse(memory))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise InputError(f"--memory {memory}: expected a size such as 2GiB")
    return size
