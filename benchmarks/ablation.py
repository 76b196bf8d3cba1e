"""Skill with and without the pixel-contribution block, the CNN and the flow distances.

    DOMST_DATA=... python -m benchmarks.ablation [--seeds N] [--folder DIR] [--json FILE]

Trains the 23 heads of the sample world with one seed, and Daddys Creek with several seeds for the
test water years 2019, 2020 and 2021, each after its validation year: as they are; with changed flow
distances (all cells at the outlet, all at the watershed's mean distance, shuffled among the cells)
in a copy of the store; and without the block, the CNN or both. All of them use the same training.
Finished runs in the folder are not trained again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import zarr
from distributed import Client
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.change_store import Change, change_store
from model.jobs.train import train
from model.settings import Settings
from pipeline.catalog.models import load_catalog
from pipeline.errors import exit_codes
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.sample.make import make_sample

CATALOG = Path(__file__).resolve().parents[1] / "catalogs/daddys_creek.yaml"
TEST_YEARS = (2019, 2020, 2021)
WHOLE, WITHOUT = "Dom-ST", "CNN without block"
SWITCHES: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "block without CNN": {"cnn": False},
    WITHOUT: {"contribution": False},
    "neither": {"cnn": False, "contribution": False},
}


def _distances(group: zarr.Group) -> tuple[zarr.Array, np.ndarray, np.ndarray]:
    """Return a watershed's array of flow distances, its values, and a mask of its cells."""
    array = group["flow_distance"]
    assert isinstance(array, zarr.Array)
    values = np.asarray(array[:])
    return array, values, np.isfinite(values)


def move_to_outlet(group: zarr.Group) -> None:
    """Put every cell at the outlet."""
    array, values, inside = _distances(group)
    values[inside] = 1.0
    array[:] = values


def use_mean_distance(group: zarr.Group) -> None:
    """Put every cell at the watershed's mean distance."""
    array, values, inside = _distances(group)
    coverage = group["coverage"]
    assert isinstance(coverage, zarr.Array)
    weight = np.asarray(coverage[:])[inside]
    values[inside] = np.average(values[inside], weights=weight)
    array[:] = values


def shuffle_distances(group: zarr.Group) -> None:
    """Shuffle the distances among the cells."""
    array, values, inside = _distances(group)
    rng = np.random.default_rng(zlib.crc32(group.name.encode()))
    values[inside] = rng.permutation(values[inside])
    array[:] = values


CHANGES: dict[str, Change] = {
    "no distance": move_to_outlet,
    "lumped distance": use_mean_distance,
    "shuffled distance": shuffle_distances,
}


def list_variants(store: Path, folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield name, store and settings of each variant."""
    for name, switches in SWITCHES.items():
        yield name, store, switches
    for name, change in CHANGES.items():
        target = folder / f"{store.parent.name}-{store.stem}-{name.replace(' ', '-')}.zarr"
        yield name, target if target.exists() else change_store(store, target, change), {}


def train_or_read(
    store: Path, folder: Path, client: Client, **settings: Any
) -> list[dict[str, Any]]:
    """The heads of metrics.json, trained unless they are there."""
    run = train(store, folder, settings=Settings(**settings), client=client)
    heads: list[dict[str, Any]] = run.metrics["heads"]
    return heads


def measure(sample: Path, folder: Path, seeds: int) -> dict[str, dict[str, Any]]:
    """Return by variant the NSE of each head of the sample and each year and seed of the creek."""
    world, creek = sample / "store.zarr", folder / "daddys_creek.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(make_sample(sample)), world, client)
        run_pipeline(load_catalog(CATALOG), creek, client)
    report: dict[str, dict[str, Any]] = {}
    with make_client(processes=True) as client:
        for name, store, switches in list_variants(world, folder):
            place = folder / "ablation" / name.replace(" ", "-")
            heads = train_or_read(store, place / "sample", client, **switches)
            report[name] = {"sample": {head["site_no"]: head["nse"] for head in heads}}
            print(
                f"{name}: sample {np.mean(list(report[name]['sample'].values())):.3f}", flush=True
            )
        for name, store, switches in list_variants(creek, folder):
            place = folder / "ablation" / name.replace(" ", "-")
            report[name]["creek"] = {
                str(year): [
                    train_or_read(
                        store,
                        place / f"creek-{year}-{seed}",
                        client,
                        seed=seed,
                        validation=(str(year - 1),),
                        test=(str(year),),
                        **switches,
                    )[0]["nse"]
                    for seed in range(seeds)
                ]
                for year in TEST_YEARS
            }
            print(f"{name}: Daddys Creek {report[name]['creek']}", flush=True)
    return report


def show(report: dict[str, dict[str, Any]]) -> None:
    """Print a row per variant, then the block's gain beside that of the deck."""
    table = Table(title="sample; Daddys Creek", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "mean", "median", "worst", *map(str, TEST_YEARS), "mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in report.items():
        scores = list(found["sample"].values())
        creek = [float(np.median(found["creek"][str(year)])) for year in TEST_YEARS]
        row = [np.mean(scores), np.median(scores), min(scores), *creek, np.mean(creek)]
        table.add_row(name, *(f"{value:.3f}" for value in row))
    Console().print(table)
    print("NSE of the test year; Daddys Creek: median of the seeds, and the mean of the years")
    whole, without = report[WHOLE]["sample"], report[WITHOUT]["sample"]
    gains = {site: whole[site] / without[site] - 1 for site in whole if without[site] > 0}
    best = max(gains, key=lambda site: gains[site])
    mean = np.mean(list(whole.values())) / np.mean(list(without.values())) - 1
    lost = [site for site in whole if whole[site] < without[site]]
    print(f"the block's gain in mean NSE over the sample: {mean:+.1%} (the deck: +16 %)")
    print(f"of the watershed that gains most, {best}: {gains[best]:+.1%} (the deck: +93 %)")
    print(f"watersheds that lose by it: {', '.join(lost) or 'none'}")


def main(
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    folder: Annotated[Path, typer.Option(help="for stores and runs")] = Path("build/bench"),
    seeds: Annotated[int, typer.Option(min=1, help="of Daddys Creek: 0, 1, 2 ...")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Train with and without parts of the model and compare."""
    with exit_codes():
        report = measure(sample, folder, seeds)
        show(report)
        if json_file:
            json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
