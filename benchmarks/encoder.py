"""Cost and skill of the image encoder: Dom-ST's, a common one, and none.

    python -m benchmarks.encoder [--sample DIR] [--heads N] [--json FILE]

The common encoder has two convolutions of 3 x 3 cells and stride 2 over the whole window; Dom-ST's
has one of 4 x 4 cells and stride 4 on the patches that touch the watershed. Both end with a quarter
of the resolution, the same number of maps and the same pooling. N heads of the sample, of different
sizes, are trained with each on one thread, one after the other; the rest of the network and the
training are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData, load_head, survey_store
from model.network.encoder import ImageEncoder
from model.network.layers import HeadLinear
from model.network.watersheds import Watersheds
from model.settings import Settings
from model.training.trainer import Trainer
from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run as run_pipeline
from pipeline.sample.make import make_sample

CPU = torch.device("cpu")
COMMON, OURS, NONE = "common encoder", "Dom-ST", "no CNN"


class CommonEncoder(nn.Module):
    """Encode images (1, T, N) of each channel as features (1, T, F), in place of `ImageEncoder`."""

    cell: Tensor
    static: Tensor
    window: Tensor
    inside: Tensor

    def __init__(self, watersheds: Watersheds, channels: int, settings: Settings) -> None:
        super().__init__()
        width = settings.conv_channels
        self.register_buffer("cell", watersheds.cell[0], persistent=False)  # (Y, X)
        share, coverage, distance = (
            layer[0][self.cell]
            for layer in (watersheds.share, watersheds.coverage, watersheds.distance)
        )
        relative = distance / distance.amax() * (share > 0)
        self.register_buffer("static", torch.stack([relative, coverage]), persistent=False)
        touched = F.max_pool2d((share > 0).float()[None], 2, ceil_mode=True)
        self.register_buffer("window", touched, persistent=False)  # (1, Y/2, X/2)
        self.first = nn.Parameter(torch.empty(1, width, channels + 2, 3, 3))
        self.second = nn.Parameter(torch.empty(1, width, width, 3, 3))
        for kernel in (self.first, self.second):
            nn.init.kaiming_uniform_(kernel.data[0], nonlinearity="relu")
        self.first_bias = nn.Parameter(torch.zeros(1, width))
        self.second_bias = nn.Parameter(torch.zeros(1, width))
        weight, path = F.avg_pool2d(
            torch.stack([share, share * distance]),
            settings.patch,
            ceil_mode=True,
            divisor_override=1,
        )
        self.register_buffer("inside", weight.flatten() > 0, persistent=False)  # (P,)
        path = (path / weight.clamp(min=1e-12)).flatten()
        bands = (torch.arange(settings.pools) + 0.5) / settings.pools
        offset = (path / path.amax().clamp(min=1.0) - bands[:, None]) * settings.pools
        self.location = nn.Parameter(-offset.square()[None])  # (1, R, P)
        self.mix = HeadLinear(1, width * settings.pools, settings.image_features)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        steps = images[0].shape[1]
        layers = torch.stack([layer[0] for layer in images], 1)[..., self.cell]  # (T, C, Y, X)
        x = torch.cat([layers, self.static.expand(steps, -1, -1, -1)], 1)
        x = F.conv2d(x, self.first[0], self.first_bias[0], stride=2, padding=1)
        x = F.silu(x) * self.window
        x = F.silu(F.conv2d(x, self.second[0], self.second_bias[0], stride=2, padding=1))
        pool = self.location[0].masked_fill(~self.inside, -torch.inf).softmax(-1)
        pooled = x.flatten(2) @ pool.mT  # (T, F', R)
        features: Tensor = torch.tanh(self.mix(pooled.flatten(1)[None]))
        return features


ENCODERS: dict[str, tuple[type[nn.Module], Settings]] = {
    COMMON: (CommonEncoder, Settings()),
    OURS: (ImageEncoder, Settings()),
    NONE: (ImageEncoder, Settings(cnn=False)),
}


def train_head(head: HeadData, encoder: type[nn.Module], settings: Settings) -> dict[str, float]:
    """Train a head: milliseconds per update, and test NSE."""
    with patch("model.network.domst.ImageEncoder", encoder):
        trainer = Trainer([head], settings, CPU)
    seconds = 0.0
    while trainer.update < settings.updates:
        started = time.perf_counter()
        trainer.step()
        seconds += time.perf_counter() - started
        if trainer.update % settings.evaluate_every == 0:
            trainer.validate()
    simulated = trainer.simulate(trainer.kept)[0].astype(float)
    score = nse(simulated[head.split.test], head.runoff[head.split.test].astype(float))
    return {"ms": 1000 * seconds / settings.updates, "nse": score}


def measure(sample: Path, heads: int) -> dict[str, Any]:
    """Train the chosen heads with each encoder: results by encoder and site."""
    torch.set_num_threads(1)
    store = sample / "store.zarr"
    with make_client() as client:
        run_pipeline(load_catalog(make_sample(sample)), store, client)
    cells = survey_store(str(store)).pixels
    by_size = sorted(cells, key=lambda site: cells[site])
    places = np.linspace(0, len(by_size) - 1, heads).round().astype(int)
    report: dict[str, Any] = {name: {} for name in ENCODERS}
    for site in (by_size[place] for place in places):
        head = load_head(str(store), site, Settings())
        for name, (encoder, settings) in ENCODERS.items():
            report[name][site] = train_head(head, encoder, settings)
        print(f"{site}, {head.share.size} cells: {[report[name][site] for name in ENCODERS]}")
    return report


def show(report: dict[str, Any]) -> None:
    """Print a row per encoder."""
    table = Table(title=f"{len(report[OURS])} heads of the sample", box=SIMPLE_HEAD)
    for heading in ("", "update, ms", "CNN, ms", "share", "mean NSE", "worst"):
        table.add_column(heading, justify="right")
    cost = {
        name: np.mean([head["ms"] for head in heads.values()]) for name, heads in report.items()
    }
    for name, heads in report.items():
        scores = [head["nse"] for head in heads.values()]
        spent = cost[name] - cost[NONE]
        table.add_row(
            name,
            f"{cost[name]:.0f}",
            f"{spent:.1f}",
            f"{spent / cost[name]:.0%}",
            f"{np.mean(scores):.3f}",
            f"{min(scores):.3f}",
        )
    Console().print(table)
    ratio = (cost[COMMON] - cost[NONE]) / (cost[OURS] - cost[NONE])
    print("time per update of a head, and the part that the CNN takes; NSE of the test year")
    print(f"the CNN is {ratio:.1f} times cheaper, an update {cost[COMMON] / cost[OURS]:.1f} times")


def main(
    sample: Annotated[Path, typer.Option(help="where the sample is, or will be")] = Path(
        "build/sample"
    ),
    heads: Annotated[int, typer.Option(min=1, help="heads of the sample, of different sizes")] = 6,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure the cost and the skill of the image encoders."""
    report = measure(sample, heads)
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
