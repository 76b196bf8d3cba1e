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
