"""Tables and lines for a terminal: text of the user's is printed as it is."""

from __future__ import annotations

import inspect
import io
import math
import statistics
from typing import Any

import pytest
from rich.console import Console

from model.output.heads_table import heads_table
from model.output.progress import ConsoleProgress, Progress, Several, skill_table
from pipeline.live.training import TrainingStatus

NAMES = ["Basin [/old]", "[bold]Creek[/bold]", "a \\[b", "[link=x]", "[/]"]


def head(name: str) -> dict[str, Any]:
    scores = dict.fromkeys(
        ("nse", "nse_low", "nse_high", "kge", "pbias", "peak_error", "peak_lag"), 0.5
    )
    floors = {f"{floor}_nse": 0.1 for floor in ("persistence", "climatology", "ridge")}
    task = {"busy": 1.0, "worker": "tcp://127.0.0.1:1234", "updates": 10, "validation_nse": 0.5}
    return {"site_no": name, "name": name, "seconds": 1.0, **scores, **floors, **task}


@pytest.mark.parametrize("name", NAMES)
def test_names_break_no_table_and_no_line(name: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    metrics = {"title": name, "synthetic": True, "variant": name, "split": name}
    console.print(skill_table({**metrics, "heads": [head(name)]}))
    shown = ConsoleProgress(console)
    shown.begin([name], 10)
    shown.head_done(head(name))
    shown.end()
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert printed.count(name) == 5, printed
    assert f"{name} (synthetic, {name}; {name})" in printed


def test_of_many_heads_the_lowest_scores_are_shown_and_the_median_of_all() -> None:
    heads = [head(f"{n:08d}") | {"nse": n / 500} for n in range(500)]
    heads[3]["nse"] = math.nan
    console = Console(file=io.StringIO(), width=100)
    metrics = {"title": "many", "synthetic": True, "variant": "x", "split": "y", "heads": heads}
    with console.capture() as captured:
        console.print(skill_table(metrics))
    lines = [line.split() for line in captured.get().splitlines() if line.split()]
    sites = [line[0] for line in lines if line[0].startswith("0000")]
    assert sites == [f"{n:08d}" for n in range(11) if n != 3]
    assert ["and", "490", "others"] in lines
    (median,) = [line for line in lines if line[0] == "median"]
    known = [one["nse"] for one in heads if not math.isnan(one["nse"])]
    assert float(median[1]) == pytest.approx(statistics.median(known), abs=5e-4)
    assert max(map(len, captured.get().splitlines())) <= 100


def many_heads() -> TrainingStatus:
    """500 heads: 100 done, 60 in training on 3 workers, one given up."""
    sites = [f"{n:08d}" for n in range(500)]
    status = TrainingStatus.of_sites(sites, 200)

    def apply(event: str, sites: list[str], **about: Any) -> None:
        status.apply({"event": event, "sites": sites, **about}, 5.0)

    for first in range(0, 160, 20):
        pack, worker = sites[first : first + 20], f"tcp://10.0.0.{first // 20 % 3 + 1}:40001"
        apply("pack", pack, worker=worker, device="cuda:0")
        for update, seconds in ((25, 2.0), (50, 3.0)):
            for site in pack:
                line = {"site_no": site, "update": update, "loss": 0.25, "seconds": seconds}
                status.validate({**line, "validation_nse": 0.8125})
    for n, site in enumerate(sites[:100]):
        apply("done", [site], nse=n / 100, update=200, busy=1.0, worker="tcp://10.0.0.1:40001")
    apply("failed", [sites[150]], lines=["broken"])
    return status


@pytest.mark.parametrize(("width", "height"), [(36, 14), (40, 24), (80, 24), (120, 50)])
def test_the_table_of_heads_fits_the_screen(width: int, height: int) -> None:
    status = many_heads()
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(heads_table(status, 0, 90.0, width, height))
    lines = captured.get().splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "500 heads, 200 updates each: 100 done, 59 in training, 340 waiting, 1 given up" in text
    assert "0:01:30 gone" in text
    assert "median validation NSE 0.495" in text
    rows = [line.split() for line in lines if line.strip().startswith("000001")]
    assert rows
    assert rows[0][0] == "00000100"
    assert {"50/200", "0.812", "0:00:06"} <= set(rows[0])
    assert ("10.0.0.3:40001" in rows[0]) == (width >= 50)
    assert ("0.25" in rows[0]) == (width >= 70)
    assert f"and {59 - len(rows)} more in training" in text


def test_the_table_names_the_trunk_and_heads_that_began_again() -> None:
    status = TrainingStatus.of_sites(["a", "b"], 10)
    status.validate({"site_no": "trunk", "update": 5, "loss": 1.0, "validation_nse": 0.1})
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with console.capture() as captured:
        console.print(heads_table(status, 20, 1.0, 80, 24))
    assert "shared trunk: update 5 of 20" in captured.get()
    assert "in training" in captured.get()
    pack = {"event": "pack", "sites": ["a"], "worker": "inproc://1/2/3", "device": "cpu"}
    status.apply(pack, 1.0)
    status.lose_worker("inproc://1/2/3")
    status.apply(pack, 2.0)
    with console.capture() as captured:
        console.print(heads_table(status, 20, 1.0, 80, 24))
    assert "\x1b[33ma" in captured.get()
    assert "this process" in captured.get()


def test_a_table_on_a_terminal_goes_and_leaves_no_line() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    shown = ConsoleProgress(console)
    shown.begin(["a", "b"], 10)
    try:
        shown.pack(["a"], "tcp://127.0.0.1:1234", "cpu")
        shown.update({"site_no": "a", "update": 5, "loss": 0.5, "validation_nse": 0.75})
        shown.live.refresh()
        shown.head_done(head("a"))
        shown.failed(["b"], ["b: broken"])
        shown.pack(["a"], "tcp://127.0.0.1:1234", "cpu")  # heard of too late
        shown.live.refresh()
    finally:
        shown.end()
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "127.0.0.1:1234" in printed
    assert "5/10" in printed
    assert "1 done, 0 in training, 0 waiting, 1 given up" in printed
    assert "head a done" not in printed
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") == 1


def test_several_are_told_everything() -> None:
    """Every method of Progress is passed on."""

    class Recorder(Progress):
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        def __getattribute__(self, name: str) -> Any:
            if name in vars(Progress) and not name.startswith("_"):
                return lambda *arguments: self.calls.append((name, *arguments))
            return super().__getattribute__(name)

    one, other = Recorder(), Recorder()
    both, expected = Several(one, other), []
    for name, method in vars(Progress).items():
        if not name.startswith("_"):
            arguments = list(range(len(inspect.signature(method).parameters) - 1))
            getattr(both, name)(*arguments)
            expected.append((name, *arguments))
    assert len(expected) == 7
    assert one.calls == other.calls == expected


def test_the_scores_fit_80_columns() -> None:
    scores = {"nse": -12.345, "nse_low": -13.25, "nse_high": -0.75, "pbias": -123.4, "kge": -0.123}
    floors = dict.fromkeys(("persistence_nse", "climatology_nse", "ridge_nse"), -1.234)
    one = head("03539600") | scores | floors | {"peak_error": -99.9, "peak_lag": 0.7}
    console = Console(file=io.StringIO(), width=80)
    metrics = {"title": "narrow", "synthetic": True, "variant": "x", "split": "y", "heads": [one]}
    with console.capture() as captured:
        console.print(skill_table(metrics))
    printed = captured.get()
    for text in ("-12.345", "-13.25--0.75", "-123.4", "-99.9", "peak lag", "-1.234"):
        assert text in printed
