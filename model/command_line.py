"""The command `domst`: the pipeline's commands, `train`, `predict`, `report` and `compare`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from model.compare import EXAMPLE as COMPARE
from model.compare import main as compare
from model.predict import EXAMPLE as PREDICT
from model.predict import main as predict
from model.report import EXAMPLE as REPORT
from model.report import main as report
from model.train import EXAMPLE as TRAIN
from model.train import main as train
from pipeline.__main__ import app as pipeline_app
from pipeline.commands.options import epilog
from pipeline.commands.start import set_up

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Flood prediction from gridded rain: raw data to a store, a store to trained heads.",
    epilog=epilog(),
)
app.registered_commands.extend(pipeline_app.registered_commands)
app.command("train", epilog=epilog(TRAIN))(train)
app.command("predict", epilog=epilog(PREDICT))(predict)
app.command("report", epilog=epilog(REPORT))(report)
app.command("compare", epilog=epilog(COMPARE))(compare)


def print_version(asked: bool) -> None:
    """Print the version and exit, if it was asked for."""
    if asked:
        print(f"dom-st {version('dom-st')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run the command."""
    set_up()
    app()


if __name__ == "__main__":
    main()
