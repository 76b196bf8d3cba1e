"""Command-line options that training and prediction share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Workers = Annotated[int | None, typer.Option(min=1, help="Workers to start on this machine.")]
Scheduler = Annotated[
    str | None,
    typer.Option(envvar="DASK_SCHEDULER_ADDRESS", help="Address of a running Dask scheduler."),
]
SchedulerFile = Annotated[
    Path | None, typer.Option(help="File that a running Dask scheduler wrote.")
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
        metavar="FOLDER",
        help="Certificates for a scheduler at tls://, as `domst certificates` makes them.",
    ),
]
