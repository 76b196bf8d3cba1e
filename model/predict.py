"""The command `python -m model.predict`, also `domst predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import (
    WAIT,
    AsJson,
    LogJson,
    Scheduler,
    SchedulerFile,
    TakeOver,
    Tls,
    Wait,
    Workers,
)
from pipeline.commands.start import run_alone
from pipeline.errors import exit_codes
from pipeline.json_text import print_json
from pipeline.log import json_lines

EXAMPLE = "domst predict build/runs/my --store build/longer.zarr --test 2022"


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of trained heads.")],
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Store; the one that the run trained on if left out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the result; RUN/predicted if left out; replaced."
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERIOD",
            help="Water year or dates to score; repeatable; if left out, all that no head has "
            "learned from.",
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    wait: Wait = WAIT,
    tls: Tls = None,
    take_over: TakeOver = False,
    as_json: AsJson = False,
    log_json: LogJson = False,
) -> None:
    """Simulate discharge with trained heads, on a longer record or other periods."""
    console = Console(stderr=as_json)
    with json_lines(log_json), exit_codes():
        from model.jobs.predict import AGAIN, prepare, run_prediction
        from model.jobs.train import local_client
        from model.output.progress import skill_table
        from model.output.run_directory import Run
        from pipeline.run.cluster import wait_seconds

        folder = out or run / "predicted"
        prediction = prepare(Run(run.resolve()), store, test or ())
        try:
            with local_client(
                len(prediction.heads),
                prediction.settings,
                scheduler=scheduler,
                scheduler_file=scheduler_file,
                cluster="cpu",
                workers=workers,
                wait=wait_seconds(wait),
                tls=tls,
            ) as client:
                metrics = run_prediction(prediction, folder, client, take_over=take_over)
        except KeyboardInterrupt as interrupt:
            raise type(interrupt)(AGAIN) from None
        if as_json:
            print_json({"run": folder, **metrics})
            return
        console.print(skill_table(metrics))
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True, markup=False)
        console.print(f"predictions: {folder / 'predictions.zarr'}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run_alone(main, EXAMPLE)
