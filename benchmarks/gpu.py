"""Packs on a GPU: precision, pack sizes, CUDA graphs, utilisation and agreement with a CPU.

    python -m benchmarks.gpu [--json FILE]
    python -m benchmarks.gpu --device cpu --quick      # the whole program on tiny data

The heads are made up, so no store is needed: a machine with PyTorch, numpy, numba, scipy, pandas,
xarray, scores, pydantic, PyYAML, safetensors and typer will do. Prints one JSON. On an H100 it
should take under 8 minutes; parts that have not begun by then are marked as skipped, and parts that
fail as failed. Seconds are per update and head: seconds of a pack's update divided by its number of
heads.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.synthetic import make_head
from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData
from model.settings import VARIANTS, Settings
from model.training import checkpoint
from model.training.trainer import Trainer
from pipeline.errors import InputError, exit_codes

BUDGET_SECONDS = 400.0  # after which no measurement is begun
SIZES = ((4, 5), (6, 7), (8, 8), (9, 12), (12, 12), (14, 16), (18, 20))  # windows, in turn
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        ours: settings of Dom-ST; baseline: of single heads on windows of the region's map.
        trained: heads that are trained to the end.
        packs: sizes of packs.
        region: rows and columns of the region's map.
        years: length of the records.
        timed: updates that are timed.
        watch_seconds: how long utilisation is sampled.
    """

    ours: Settings
    baseline: Settings
    trained: int
    packs: tuple[int, ...]
    region: tuple[int, int]
    years: int
    timed: int
    watch_seconds: float


TINY: dict[str, Any] = {"hidden": 8, "updates": 4, "evaluate_every": 2, "warmup": 30}
FULL = Plan(
    ours=Settings(updates=200, patience=200),
    baseline=Settings(**VARIANTS["singlehead+p"]),
    trained=23,
    packs=(1, 4, 23, 92),
    region=(54, 84),
    years=7,
    timed=20,
    watch_seconds=5.0,
)
QUICK = Plan(
    ours=Settings(**TINY, batch=2, stretch=60),
    baseline=Settings(**{**VARIANTS["singlehead+p"], **TINY, "batch": 2}),
    trained=2,
    packs=(1, 2),
    region=(20, 22),
    years=3,
    timed=1,
    watch_seconds=0.1,
)


def finish(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_an_update(
    heads: list[HeadData], settings: Settings, timed: int, device: torch.device
) -> float:
    """Measure the seconds per update and head of a pack."""
    trainer = Trainer(heads, settings, device)
    for _ in range(2):  # records the update too
        trainer.step()
    finish(device)
    started = time.perf_counter()
    for _ in range(timed):
        trainer.step()
    finish(device)
    return (time.perf_counter() - started) / timed / len(heads)


def place_on_region(head: HeadData, rows: int, columns: int) -> HeadData:
    """Place a watershed in the corner of a region's map."""
    inside = np.ones((rows, columns), bool)
    own = np.zeros_like(inside)
    own[: head.inside.shape[0], : head.inside.shape[1]] = head.inside

    def spread(values: np.ndarray) -> np.ndarray:
        out = np.zeros((*values.shape[:-1], inside.size), values.dtype)
        out[..., own.ravel()] = values
        return out

    fields = ("forcing", "coverage", "share", "distance")
    changed: dict[str, Any] = {name: spread(getattr(head, name)) for name in fields}
    return dataclasses.replace(head, inside=inside, **changed)


def train(heads: list[HeadData], settings: Settings, device: torch.device) -> Trainer:
    """Train a pack to its last update."""
    trainer = Trainer(heads, settings, device)
    while trainer.update < settings.updates:
        trainer.step()
        if trainer.update % settings.evaluate_every == 0:
            trainer.validate()
    return trainer


def precision(plan: Plan, heads: list[HeadData], device: torch.device) -> dict[str, Any]:
    """Train the same heads in fp32 and in bf16, and simulate each on both devices.

    `difference` is the largest one between the devices' runoff, over its standard deviation.
    """
    found: dict[str, Any] = {}
    for name in ("fp32", "bf16"):
        settings = plan.ours.model_copy(update={"precision": name})
        started = time.perf_counter()
        trainer = train(heads[: plan.trained], settings, device)
        seconds = time.perf_counter() - started
        head = trainer.heads[-1]
        with TemporaryDirectory() as folder, torch.no_grad():
            path = checkpoint.save_head(trainer, len(trainer.heads) - 1, Path(folder))
            runoff = []
            for where in (CPU, device):
                network, pack = checkpoint.load_head(path, head, where)
                runoff.append(network(*pack.inputs())[0, pack.spinup :].cpu().numpy())
        test = head.split.test
        found[name] = {
            "validation_nse": trainer.kept_nse.tolist(),
            "median_validation_nse": float(trainer.kept_nse.median()),
            "seconds": seconds,
            "test_nse_on_cpu_and_device": [
                nse(series[test].astype(np.float64), head.runoff[test].astype(np.float64))
                for series in runoff
            ],
            "difference": float(np.abs(runoff[0] - runoff[1]).max() / runoff[0].std()),
        }
    return found


def packs(plan: Plan, heads: list[HeadData], device: torch.device) -> dict[str, Any]:
    """Time packs of each size, captured in a CUDA graph (on a GPU) and eager."""
    found = {}
    for size in plan.packs:
        chosen = heads[:size]
        seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            seconds["captured"] = seconds_an_update(chosen, plan.ours, plan.timed, device)
            seconds["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        eager = plan.ours.model_copy(update={"capture": False})
        seconds["eager"] = seconds_an_update(chosen, eager, plan.timed, device)
        found[str(size)] = seconds
    return found


def sequential(plan: Plan, heads: list[HeadData], device: torch.device) -> dict[str, Any]:
    """Time single heads, eager: Dom-ST's and the baseline's. The smallest, a middle and the largest
    head stand for all."""
    by_size = sorted(heads[: plan.trained], key=lambda head: head.share.size)
    three = [by_size[0], by_size[len(by_size) // 2], by_size[-1]]
    alone = plan.ours.model_copy(update={"capture": False, "precision": "fp32"})
    few = max(1, plan.timed // 4)

    def mean(heads: list[HeadData], settings: Settings, timed: int) -> float:
        return float(np.mean([seconds_an_update([h], settings, timed, device) for h in heads]))

    return {
        "same_heads": mean(three, alone, plan.timed),
        "singlehead+p": mean([place_on_region(h, *plan.region) for h in three], plan.baseline, few),
    }


def utilisation(plan: Plan, heads: list[HeadData], device: torch.device) -> dict[str, Any]:
    """Measure the share of time in which the device is busy while a pack trains."""
    trainer = Trainer(heads[: plan.trained], plan.ours, device)
    trainer.step()
    finish(device)
    if device.type == "cuda" and find_spec("pynvml"):
        from pynvml import NVMLError

        samples, began = [], time.perf_counter()
        try:
            while time.perf_counter() - began < plan.watch_seconds:
                for _ in range(5):
                    trainer.step()
                samples.append(torch.cuda.utilization(device) / 100)
                finish(device)
        except NVMLError as error:  # as in containers without access to NVML
            raise RuntimeError(f"NVML: {error}") from error
        return {"by": "NVML", "busy": float(np.mean(samples[len(samples) // 5 :]))}
    kind = "CUDA" if device.type == "cuda" else "CPU"
    activity = torch.profiler.ProfilerActivity.__members__[kind]
    with torch.profiler.profile(activities=[activity]) as profile:
        began = time.perf_counter()
        for _ in range(plan.timed):
            trainer.step()
        finish(device)
        wall = time.perf_counter() - began
    which = f"self_{'device' if kind == 'CUDA' else 'cpu'}_time_total"
    busy = sum(getattr(event, which) for event in profile.key_averages()) / 1e6
    return {"by": "torch.profiler", "busy": busy / wall}


def measure(device: torch.device, plan: Plan) -> dict[str, Any]:
    """Run all parts, the most important first."""
    began = time.monotonic()
    on_gpu = device.type == "cuda"
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "settings": plan.ours.model_dump(mode="json"),
    }
    heads = [
        make_head(i + 1, *SIZES[i % len(SIZES)], plan.years)
        for i in range(max(plan.trained, *plan.packs))
    ]
    parts: dict[str, Callable[[Plan, list[HeadData], torch.device], dict[str, Any]]] = {
        "packs": packs,
        "sequential": sequential,
        "precision": precision,
        "utilisation": utilisation,
    }
    for name, part in parts.items():
        started = time.monotonic()
        if started - began > BUDGET_SECONDS:
            report[name] = f"skipped after {started - began:.0f} s"
            continue
        try:
            report[name] = part(plan, heads, device)
        except RuntimeError as error:  # the other parts still count
            report[name] = f"failed: {error}"
            continue
        report[name]["part_seconds"] = time.monotonic() - started
        print(f"{name}: {report[name]['part_seconds']:.0f} s", file=sys.stderr, flush=True)
    if {"packs", "sequential"} <= {n for n in parts if isinstance(report[n], dict)}:
        pack = report["packs"][str(plan.trained)]
        ours = pack["captured" if on_gpu else "eager"]
        report["times_faster_than"] = {
            name: report["sequential"][name] / ours for name in ("same_heads", "singlehead+p")
        }
    report["seconds"] = time.monotonic() - began
    return report


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu for a dry run")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="tiny data")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Measure packs on a GPU and print one JSON."""
    with exit_codes():
        if device not in ("cuda", "cpu"):
            raise InputError(f"--device {device}: expected cuda or cpu")
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"--device cuda: PyTorch {torch.__version__} finds no GPU: expected one, or "
                "--device cpu --quick for a dry run"
            )
        torch.set_num_threads(1)  # as on a worker
        place = torch.device("cuda:0" if device == "cuda" else "cpu")
        text = json.dumps(measure(place, QUICK if quick else FULL), indent=2)
        print(text)
        if json_file:
            json_file.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
