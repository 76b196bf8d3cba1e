"""Tables and lines for a terminal: text of the user's is printed as it is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from model.output.progress import ConsoleProgress, skill_table

NAMES = ["Basin [/old]", "[bold]Creek[/bold]", "a \\[b", "[link=x]", "[/]"]


def head(name: str) -> dict[str, Any]:
    scores = dict.fromkeys(
        ("nse", "nse_low", "nse_high", "kge", "pbias", "peak_error", "peak_lag"), 0.5
    )
    floors = {f"{floor}_nse": 0.1 for floor in ("persistence", "climatology", "ridge")}
    return {"site_no": name, "name": name, "seconds": 1.0, **scores, **floors}


@pytest.mark.parametrize("name", NAMES)
def test_names_break_no_table_and_no_line(name: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    metrics = {"title": name, "synthetic": True, "variant": name, "split": name}
    console.print(skill_table({**metrics, "heads": [head(name)]}))
    shown = ConsoleProgress(console)
    shown.begin(1, 10)
    shown.head_done(head(name))
    shown.end()
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert printed.count(name) == 5, printed
    assert f"{name} (synthetic, {name}; {name})" in printed
