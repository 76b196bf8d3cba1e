"""The command `domst report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import exit_codes

EXAMPLE = "domst report build/runs/my"


def main(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory of a finished run or a prediction.")
    ],
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Its store; the one that the run names if left out."),
    ] = None,
) -> None:
    """Write report.html of a run anew: one file to mail and to read offline."""
    with exit_codes():
        from model.output.report.write import write_report
        from model.output.run_directory import Run

        write_report(Run(run), Run(run).metrics, store)
        print(f"report: {run / 'report.html'}")
