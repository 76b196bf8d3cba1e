"""How close the placement of heads on workers is to the best schedule, with measured costs.

    python -m benchmarks.placement [--sample DIR] [--json FILE]
    python -m benchmarks.placement --packs [--json FILE]

Times an update of some of the sample's heads, fits the cost model to these times, and takes the
model's error for one head from the fit. Then simulates 10,000 watersheds of log-normal sizes and
records of 2 to 30 years on 1 to 1,024 workers. Heads go to whichever worker is free, the costliest
first by the model, as in `model.train`; the true cost of a head is the model's cost times an error
as large as measured. The makespan is divided by its lower bound, the larger of the mean load and
the longest head. The table also shows an uncalibrated model, whose cost per pixel is 10 times too
large or too small, whichever is worse.

With `--packs` the same watersheds are grouped into packs for 1 to 64 GPUs instead, with 20 daily
years: longest first in four packs a GPU, by size in as many packs of equal number, and by
`model.jobs.placement.pack_by_size`. Needs neither the sample nor a GPU: memory is the estimate of
`model.training.memory`, time the costs of `model.jobs.placement.PackCost`.
"""

from __future__ import annotations

import heapq
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from model.inputs.watershed import Survey, load_head
from model.jobs.dispatch import Heads
from model.jobs.fleet import Budget
from model.jobs.placement import PACK_COST, CostModel, pack_heads
from model.jobs.placement import makespan as planned_makespan
from model.settings import Settings
from model.training.memory import Record, device_bytes
from model.training.trainer import Trainer
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.sample.make import make_sample
from pipeline.store.read import list_sites
from pipeline.units import SECONDS_PER_DAY

WATERSHEDS = 10_000
WORKERS = tuple(4**k for k in range(6))
CELLS = (90.0, 0.8)  # median and log-deviation of the simulated windows' pixels, as the sample's
WARM, TIMED = 3, 10  # updates of the probe
RECORD_YEARS = (2.0, 30.0)  # lengths of the simulated records
STEPS_A_YEAR = 365.25
OFF = 10.0
GPUS = (1, 4, 16, 64)
GPU_BYTES = 48 * 2**30  # what `model.jobs.fleet` gives to a pack of a GPU with 80 GiB
RECORD_YEARS_OF_PACKS = 20
PATH_PER_SIDE = 22_000.0  # longest flow path [m] over the root of the cells: 2.4 cells

Costs = NDArray[np.float64]


def probe(store: Path, every: int) -> dict[str, Any]:
    """Time an update of every n-th head and fit the cost model to the times."""
    torch.set_num_threads(1)
    settings = Settings()
    rows, seconds = [], []
    for site in list_sites(store)[::every]:
        head = load_head(str(store), site, settings)
        trainer = Trainer([head], settings, torch.device("cpu"))
        for _ in range(WARM):
            trainer.step()
        started = time.perf_counter()
        for _ in range(TIMED):
            trainer.step()
        seconds.append((time.perf_counter() - started) / TIMED)
        steps = head.split.train_stop + settings.warmup
        rows.append((steps, steps * head.inside.size))
    relative = np.array(rows) / np.array(seconds)[:, None]
    (per_step, per_pixel), _ = nnls(relative, np.ones(len(rows)))
    errors = relative @ [per_step, per_pixel]
    return {
        "model": CostModel(per_step, per_pixel),
        "heads": len(rows),
        "seconds": seconds,
        "log_error": float(np.std(np.log(errors))),
    }


def makespan(order: list[int], costs: Costs, workers: int) -> float:
    """Return when the last worker ends, if each takes the next head as soon as it is free."""
    free = [0.0] * workers
    for head in order:
        heapq.heappush(free, heapq.heappop(free) + costs[head])
    return max(free)


def draw_sizes(rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the pixels of the watersheds' windows."""
    median, deviation = CELLS
    return np.maximum(1, rng.lognormal(np.log(median), deviation, WATERSHEDS)).astype(np.int64)


def simulate(model: CostModel, log_error: float, seed: int = 0) -> list[dict[str, float]]:
    """Return makespan over lower bound for each number of workers."""
    rng = np.random.default_rng(seed)
    pixels = draw_sizes(rng)
    steps = (rng.uniform(*RECORD_YEARS, WATERSHEDS) * STEPS_A_YEAR).astype(int)

    def expected(off: float) -> dict[str, float]:
        """Costs by a model whose cost per pixel is `off` times the fitted one."""
        by = CostModel(model.per_step, model.per_pixel * off)
        sizes = enumerate(zip(steps.tolist(), pixels.tolist(), strict=True))
        return {f"{i:05d}": by.update_seconds(s, p) for i, (s, p) in sizes}

    orders = [
        [int(name) for (name,) in pack_heads(expected(off), WATERSHEDS)]
        for off in (1.0, OFF, 1 / OFF)
    ]
    actual = np.array([*expected(1.0).values()]) * np.exp(rng.normal(0, log_error, WATERSHEDS))
    arrival = rng.permutation(WATERSHEDS).tolist()
    found = []
    for workers in WORKERS:
        bound = max(actual.sum() / workers, actual.max())
        planned, *off = (makespan(order, actual, workers) / bound for order in orders)
        found.append(
            {
                "workers": workers,
                "heads_a_worker": WATERSHEDS / workers,
                "over_bound": planned,
                "over_bound_uncalibrated": max(off),
                "over_bound_unsorted": makespan(arrival, actual, workers) / bound,
            }
        )
    return found


@dataclass(frozen=True)
class Grouping:
    """Packs of the simulated watersheds.

    Attributes:
        padded: padded cells over true ones.
        most_bytes: estimated memory of the largest pack.
        balance: makespan over the mean load of the GPUs.
        time: makespan over the time that the true cells alone would take on all GPUs.
    """

    gpus: int
    way: str
    packs: int
    padded: float
    most_bytes: float
    balance: float
    time: float


def group(gpus: int, cells: dict[str, int]) -> list[Grouping]:
    """Group the watersheds for some GPUs in three ways."""
    settings, model = Settings(), CostModel()
    years = RECORD_YEARS_OF_PACKS * STEPS_A_YEAR
    record = Record(int(years), int(years - 2 * STEPS_A_YEAR), SECONDS_PER_DAY, 2)
    paths = {site: PATH_PER_SIDE * math.sqrt(count) for site, count in cells.items()}
    bytes_of = {
        site: device_bytes(count, paths[site], record, settings) for site, count in cells.items()
    }
    times = pd.date_range("2000-10-01", periods=record.steps)
    costs = {site: model.update_seconds(record.learnable, count) for site, count in cells.items()}
    survey = Survey("", True, times, cells, cells, paths, record.forcings, "")
    heads = Heads(costs, survey, record, settings)
    by_size = sorted(cells, key=lambda site: -cells[site])
    ways = {
        "longest first": pack_heads(costs, 4 * gpus),
        "by size, equal number": [
            list(part) for part in np.array_split(np.array(by_size), 4 * gpus)
        ],
        "pack_by_size": heads.packs(by_size, gpus, Budget(GPU_BYTES, None)),
    }
    found = []
    for way, packs in ways.items():
        largest = [max(cells[site] for site in pack) for pack in packs]
        costs_of = [
            PACK_COST.update(most, len(pack)) for most, pack in zip(largest, packs, strict=True)
        ]
        last = planned_makespan(costs_of, gpus)
        padded = sum(most * len(pack) for most, pack in zip(largest, packs, strict=True))
        memory = [max(bytes_of[site] for site in pack) * len(pack) for pack in packs]
        found.append(
            Grouping(
                gpus,
                way,
                len(packs),
                padded / sum(cells.values()),
                max(memory),
                last * gpus / sum(costs_of),
                last * gpus / sum(cells.values()),
            )
        )
    return found


def show_packs(found: list[Grouping]) -> None:
    """Print packs as a table."""
    table = Table(title=f"{WATERSHEDS:,} watersheds, {GPU_BYTES / 2**30:g} GiB a pack at most")
    for heading in ("GPUs", "way", "packs", "padded cells", "largest [GiB]", "balance", "time"):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(
            f"{one.gpus}",
            one.way,
            f"{one.packs}",
            f"{one.padded:.2f}",
            f"{one.most_bytes / 2**30:.0f}",
            f"{one.balance:.2f}",
            f"{one.time:.2f}",
        )
    Console().print(table)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"{WATERSHEDS:,} watersheds, costs within {report['log_error']:.0%}")
    for heading in ("workers", "heads a worker", "makespan / bound", "uncalibrated", "unsorted"):
        table.add_column(heading, justify="right")
    for row in report["simulated"]:
        table.add_row(
            f"{row['workers']}",
            f"{row['heads_a_worker']:.1f}",
            f"{row['over_bound']:.4f}",
            f"{row['over_bound_uncalibrated']:.4f}",
            f"{row['over_bound_unsorted']:.4f}",
        )
    Console().print(table)
    print(
        f"cost model, from {report['heads']} heads: {report['per_step']:.2e} s a step and "
        f"{report['per_pixel']:.2e} s a step and pixel, off by {report['log_error']:.0%}"
    )


def main(
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    every: Annotated[int, typer.Option(min=1, help="probe every n-th head")] = 3,
    packs: Annotated[bool, typer.Option("--packs", help="packs on GPUs instead")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Calibrate the cost model on the sample's heads and simulate large placements."""
    if packs:
        sizes = draw_sizes(np.random.default_rng(0)).tolist()
        cells = {f"{i:05d}": size for i, size in enumerate(sizes)}
        found = [one for gpus in GPUS for one in group(gpus, cells)]
        show_packs(found)
        if json_file:
            json_file.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
        return
    store = sample / "store.zarr"
    with make_client() as client:
        run(load_catalog(make_sample(sample)), store, client)
    probed = probe(store, every)
    model: CostModel = probed.pop("model")
    simulated = simulate(model, probed["log_error"])
    report = {**probed, **vars(model), "simulated": simulated}
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
