"""What each part of the model is worth: skill without it, down to a plain LSTM.

    DOMST_DATA=... python -m benchmarks.ablation [--world W] [--row NAME] [--seeds N] [--json FILE]

Worlds: every fourth head of the *sample*; *made-up* watersheds of `benchmarks.synthetic`, half of
them with snow; the *creek*, Daddys Creek, with the test water years 2019, 2020 and 2021, each after
its validation year; and the *cance*, whose store `make real` writes, with two autumn floods in
turn. `--store` adds stores of your own. Each world is trained as it is, without one part after the
other (`docs/model.md`), with flow distances shuffled among the cells, and as a plain LSTM, with
every seed. All of them use the same training. Finished runs in the folder are kept, so that an
interrupted command goes on, and the table is printed after each seed.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import numpy as np
import typer
from distributed import Client
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.change_store import change_store
from benchmarks.synthetic import make_head
from benchmarks.synthetic_store import write_store
from model.jobs.train import train
from model.settings import Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError, exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.sample.make import make_sample
from pipeline.store.root import open_root
from pipeline.store.sites import read_sites

CATALOG = Path(__file__).resolve().parents[1] / "catalogs/daddys_creek.yaml"
CREEK_YEARS = (2019, 2020, 2021)
CANCE = Path("build/real/cance.zarr")
CANCE_FLOODS = {  # test: what to learn from, as `make real` has it
    "2014-11": "2014-09-15/2014-10-31",
    "2014-09-15/2014-10-31": "2014-11",
}
MADE_UP = {"made-up": (701, False), "made-up, snow": (751, True)}  # first number, whether it snows
MADE_UP_HEADS, MADE_UP_YEARS = 4, 6
SAMPLE_EVERY = 4

WHOLE, NO_BLOCK, NO_SNOW, SHUFFLED, PLAIN = (
    "Dom-ST",
    "without block",
    "without snow",
    "distances shuffled",
    "plain LSTM",
)
ROWS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    PLAIN: {"variant": "lstm"},
    "without soil": {"soil": False},
    "without wetness": {"wetness": False},
    "without soil, wetness": {"soil": False, "wetness": False},
    NO_SNOW: {"snow": False},
    "without CNN": {"cnn": False},
    NO_BLOCK: {"contribution": False},
    "without block, CNN": {"contribution": False, "cnn": False},
    "without travel time": {"travel_time": False},
    "mean distance": {"distance": False},
    SHUFFLED: {},
    "without cell states": {"cell_states": False},
    "without gated readout": {"gated_readout": False},
}


class World(StrEnum):
    """What the product's own table is made of."""

    CREEK = "creek"
    CANCE = "cance"
    SAMPLE = "sample"
    MADE_UP = "made-up"


@dataclass(frozen=True)
class Case:
    """A store that is trained and scored on some years.

    Attributes:
        name: the column of the table.
        store: its path.
        split: settings of validation and test; the usual ones if empty.
        every: of the store's sites, one of so many is trained.
    """

    name: str
    store: Path
    split: dict[str, Any] = field(default_factory=dict)
    every: int = 1


def shuffle_distances(store: Path, folder: Path) -> Path:
    """Copy a store, the flow distances of each watershed shuffled among its cells."""
    target = folder / "shuffled" / f"{store.parent.name}-{store.name}"
    sites = read_sites(open_root(str(store)))
    ends = np.cumsum(sites.numbers["cell_count"]).tolist()

    def shuffle(distances: np.ndarray) -> None:
        for site_no, first, last in zip(sites.site_no, [0, *ends[:-1]], ends, strict=True):
            rng = np.random.default_rng(zlib.crc32(site_no.encode()))
            distances[first:last] = rng.permutation(distances[first:last])

    if target.exists():
        return target
    return change_store(store, target, "watersheds/flow_distance", shuffle)


def make_cases(
    worlds: Sequence[World], stores: Sequence[Path], sample: Path, folder: Path
) -> Iterator[Case]:
    """Make the stores of the worlds where they are missing, and yield what is to be trained."""
    with make_client() as client:
        if World.CREEK in worlds:
            creek = folder / "daddys_creek.zarr"
            run_pipeline(load_catalog(CATALOG), creek, client)
            for year in CREEK_YEARS:
                split = {"validation": (str(year - 1),), "test": (str(year),)}
                yield Case(f"creek {year}", creek, split)
        if World.SAMPLE in worlds:
            run_pipeline(load_catalog(make_sample(sample)), sample / "store.zarr", client)
            yield Case("sample", sample / "store.zarr", every=SAMPLE_EVERY)
    if World.CANCE in worlds:
        if not CANCE.exists():
            raise InputError(f"{CANCE}: not found: expected the store that `make real` writes")
        for test, train_on in CANCE_FLOODS.items():
            split = {"train": (train_on,), "validation": ("2014-12-01/..",), "test": (test,)}
            yield Case("cance November" if test == "2014-11" else "cance October", CANCE, split)
    if World.MADE_UP in worlds:
        for name, (number, snowy) in MADE_UP.items():
            store = folder / f"{name.replace(', ', '-')}.zarr"
            if not store.exists():
                heads = [
                    make_head(number + i, 7 + i % 3, 8 + i % 5, MADE_UP_YEARS, snowy=snowy)
                    for i in range(MADE_UP_HEADS)
                ]
                write_store(heads, store)
            yield Case(name, store)
    yield from (Case(store.stem, store) for store in stores)


def train_heads(
    case: Case, row: str, seed: int, folder: Path, client: Client
) -> list[dict[str, Any]] | None:
    """Scores of the heads of a run that is trained unless it is there.

    Returns None where the row would be the whole model: no snow to leave out, or no distances to
    shuffle.
    """
    place = folder / "ablation" / case.name.replace(", ", "-").replace(" ", "-")
    name = row.replace(", ", "-").replace(" ", "-")
    store = case.store
    if row == NO_SNOW:
        whole = json.loads((place / f"Dom-ST-{seed}/metrics.json").read_text())
        if not any(head["snow"] for head in whole["heads"]):
            return None
    if row == SHUFFLED:
        store = shuffle_distances(store, folder)
    settings = Settings(seed=seed, **case.split, **ROWS[row])
    sites = read_sites(open_root(str(store))).site_no[:: case.every]
    run = train(store, place / f"{name}-{seed}", sites=sites, settings=settings, client=client)
    heads: list[dict[str, Any]] = run.metrics["heads"]
    return heads


Report = dict[str, dict[str, list[dict[str, float]]]]  # by case and row: of each seed, NSE by site
FLOORS = ("ridge", "persistence")  # rows too, which no seed changes


def measure(
    cases: Sequence[Case], chosen: Sequence[str], seeds: int, folder: Path, workers: int | None
) -> Report:
    """Train every case as every chosen row says, seed after seed, and return the scores."""
    report: Report = {case.name: {row: [] for row in (*ROWS, *FLOORS)} for case in cases}
    with make_client(processes=True, workers=workers) as client:
        for seed in range(seeds):
            for row in chosen:
                for case in cases:
                    heads = train_heads(case, row, seed, folder, client)
                    if heads is None:
                        continue
                    found = {head["site_no"]: head["nse"] for head in heads}
                    report[case.name][row].append(found)
                    if row == WHOLE:
                        for floor in FLOORS:
                            report[case.name][floor] = [
                                {head["site_no"]: head[f"{floor}_nse"] for head in heads}
                            ]
                    middle = median(found.values())
                    print(f"seed {seed}, {case.name}, {row}: {middle:.3f}", flush=True)
            show(report, chosen)
    return report


def summarise(seeds: list[dict[str, float]]) -> tuple[float, float]:
    """Median and worst head, each the median over the seeds; NaN without any."""
    if not seeds:
        return math.nan, math.nan
    return (
        median(median(heads.values()) for heads in seeds),
        median(min(heads.values()) for heads in seeds),
    )


def show(report: Report, chosen: Sequence[str] = tuple(ROWS)) -> None:
    """Print a row per part and columns per case, then what domain awareness and block are worth."""
    table = Table(title="test NSE", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", *report):
        table.add_column(heading, justify="right")
    for row in (*chosen, *FLOORS):
        cells = []
        for rows in report.values():
            middle, worst = summarise(rows[row])
            several = rows[row] and len(rows[row][0]) > 1
            text = f"{middle:.3f} ({worst:.3f})" if several else f"{middle:.3f}"
            cells.append(text if rows[row] else "as Dom-ST" if row == NO_SNOW else "")
        table.add_row(row, *cells)
    Console(width=40 + 18 * len(report)).print(table)
    seeds = {len(rows[WHOLE]) for rows in report.values()}
    print(f"medians over {'/'.join(map(str, sorted(seeds)))} seeds; of several heads their median,")
    print("and the worst in parentheses")
    for name, rows in report.items():
        spread = [median(heads.values()) for heads in rows[WHOLE]]
        print(f"{name}: Dom-ST's seeds {min(spread):.3f} to {max(spread):.3f}", end="")
        for row, words in ((PLAIN, "over a plain LSTM"), (NO_BLOCK, "by the block")):
            if rows[row]:
                whole, without = (_mean(rows[one]) for one in (WHOLE, row))
                print(f"; {whole / without - 1:+.1%} {words}", end="")
        print()


def _mean(seeds: list[dict[str, float]]) -> float:
    """Mean over heads of the median over seeds, for gains as the deck states them."""
    return mean(median(heads[site] for heads in seeds) for site in seeds[0])


def main(
    world: Annotated[
        list[World] | None, typer.Option(help="repeatable; all if neither this nor --store")
    ] = None,
    store: Annotated[
        list[Path] | None, typer.Option(help="a store of your own; repeatable")
    ] = None,
    row: Annotated[list[str] | None, typer.Option(help="repeatable; all if not given")] = None,
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    folder: Annotated[Path, typer.Option(help="for stores and runs")] = Path("build/bench"),
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, 2 ...")] = 5,
    workers: Annotated[int | None, typer.Option(min=1, help="processes")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train with and without parts of the model and compare."""
    with exit_codes():
        if unknown := set(row or ()) - set(ROWS):
            raise InputError(f"--row {unknown.pop()}: expected some of: {'; '.join(ROWS)}")
        worlds = world or ([] if store else list(World))
        cases = list(make_cases(worlds, store or [], sample, folder))
        chosen = [one for one in ROWS if not row or one in (WHOLE, *row)]
        report = measure(cases, chosen, seeds, folder, workers)
        if json_file:
            json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
