"""Start a program: its warnings, its memory, and its command line."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from typing import Any

import typer

from pipeline.commands.options import epilog
from pipeline.log import warn_on_stderr


def set_up() -> None:
    """Log warnings to stderr, and collect garbage rarely.

    Imported modules stay to the end: searching them for garbage takes a fifth of the start, and
    most of a second when the interpreter ends.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    warn_on_stderr()


def run_alone(command: Callable[..., Any], *examples: str) -> None:
    """Run a program that consists of one command."""
    set_up()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=epilog(*examples))(command)
    app()
