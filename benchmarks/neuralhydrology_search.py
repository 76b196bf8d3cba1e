"""Choose the settings of NeuralHydrology's LSTM on validation years, one setting after the other.

    DOMST_DATA=... python -m benchmarks.neuralhydrology_search [--year Y] [--json FILE]

From a first recipe, each setting in turn is replaced by its alternatives, and the best mean NSE of
the validation years is kept. The second peer starts from the best recipe of the first and looks at
the hidden size alone, which its further inputs may change. Every recipe is trained anew for
each validation year, on the years before it. Finished trainings in the folder are kept, so that an
interrupted command goes on. `benchmarks.neuralhydrology_peer` has the chosen recipes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.neuralhydrology_peer import SITE, make_store
from benchmarks.neuralhydrology_runs import PEERS, START, TUTORIAL, train_peer, write_dataset
from pipeline.errors import exit_codes

Changes = dict[str, list[dict[str, Any]]]
# A rate falls to a fifth after two thirds of the epochs.
ALTERNATIVES: Changes = {
    "learning rate": [{"learning_rate": {0: high, 20: high / 5}} for high in (1e-2, 2e-3)],
    "hidden size": [{"hidden_size": size} for size in (32, 64, 128)],
    "dropout": [{"output_dropout": share} for share in (0.2, 0.4, 0.6)],
    "sequence length": [{"seq_length": 180}],
    "batch size": [{"batch_size": 128}],
    "epochs": [
        {"epochs": 15, "learning_rate": "from 10"},
        {"epochs": 60, "learning_rate": "from 40"},
    ],
}
SECOND: Changes = {"hidden size": [{"hidden_size": size} for size in (32, 128)]}


def with_alternative(recipe: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Replace a setting; other epochs move the fall of the rate and keep its heights."""
    changed = recipe | change
    if isinstance(changed["learning_rate"], str):
        heights = recipe["learning_rate"].values()
        fall = int(changed["learning_rate"].removeprefix("from "))
        changed["learning_rate"] = dict(zip((0, fall), heights, strict=True))
    return changed


def search(
    folder: Path, store: str, peer: str, start: dict[str, Any], years: list[int], changes: Changes
) -> dict[str, Any]:
    """Return the best recipe, and every recipe tried with its validation NSE by year."""
    tried: list[tuple[dict[str, Any], dict[str, float]]] = []

    def score(recipe: dict[str, Any]) -> float:
        scores = {}
        for year in years:
            dataset = folder / f"data/{peer}-{year}"
            name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
            run = folder / f"search/{peer}/{name}-{year}-0"
            scores[str(year)] = train_peer(run, dataset, recipe, 0).validation
        tried.append((recipe, scores))
        print(f"{mean(scores.values()):.4f} {recipe} {scores}", flush=True)
        return mean(scores.values())

    for year in years:  # the year after is the test year of the data set; nobody looks at it
        write_dataset(folder / f"data/{peer}-{year}", store, SITE, peer, (year, year + 1))
    best, highest = start, score(start)
    for alternatives in changes.values():
        for recipe in [with_alternative(best, change) for change in alternatives]:
            if any(recipe == one for one, _ in tried):
                continue
            found = score(recipe)
            if found > highest:
                best, highest = recipe, found
    return {"best": best, "tried": tried}


def show(peer: str, report: dict[str, Any]) -> None:
    """Print a row per recipe, the best at the top."""
    table = Table(title=f"{peer}: validation NSE", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    years = list(report["tried"][0][1])
    for heading in (*START, *years, "mean"):
        table.add_column(heading, justify="right")
    for recipe, scores in sorted(report["tried"], key=lambda one: -mean(one[1].values())):
        cells = [str(recipe[name]) for name in START]
        numbers = [*scores.values(), mean(scores.values())]
        table.add_row(*cells, *(f"{number:.3f}" for number in numbers))
    Console(width=140).print(table)


def main(
    folder: Annotated[Path, typer.Option(help="for the store and the runs")] = Path("build/bench"),
    year: Annotated[list[int] | None, typer.Option(help="validation water years")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Search the settings of NeuralHydrology's LSTM on Daddys Creek."""
    with exit_codes():
        store, folder = make_store(folder), folder.resolve() / "neuralhydrology"
        reports: dict[str, dict[str, Any]] = {}
        start, changes = START, ALTERNATIVES
        for name in [name for name in PEERS if name != TUTORIAL]:
            reports[name] = search(folder, store, name, start, year or [2018, 2020], changes)
            start, changes = reports[name]["best"], SECOND
            show(name, reports[name])
        if json_file:
            json_file.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
