"""The command `domst compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import AsJson
from pipeline.errors import exit_codes
from pipeline.json_text import print_json

EXAMPLE = "domst compare build/runs/plain build/runs/my"


def main(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="Directories of finished runs or predictions; the first is what the others are "
            "compared with.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page to write; compare.html beside the first run."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE", help="Store of rain and outlines; that of the first run if left out."
        ),
    ] = None,
    common: Annotated[
        bool,
        typer.Option("--common", help="Leave out watersheds and steps that not all runs have."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs on the same test steps: one page to mail, such as that of `domst report`."""
    with exit_codes():
        from model.output.report.compare_page import (
            as_record,
            comparison_table,
            write_comparison,
        )
        from model.output.report.comparison import compare_runs

        comparison = compare_runs(runs, common=common)
        path = out or runs[0].parent / "compare.html"
        write_comparison(comparison, path, store, common=common)
        if as_json:
            print_json({**as_record(comparison), "page": str(path)})
            return
        console = Console()
        console.print(comparison_table(comparison))
        console.print(comparison.sentence(), highlight=False, markup=False)
        console.print(f"page: {path}", soft_wrap=True, markup=False)
