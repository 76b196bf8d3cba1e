"""Time, memory and skill of the main job, `python -m model.train` without arguments.

    python -m benchmarks.main_job [--folder DIR] [--json FILE]

Starts it in an empty folder, so that the sample world, its store and 23 heads are all made. Reports
wall time, the largest resident memory of any process, the heads' test NSE beside that of the
floors, and the rank correlation, over the watersheds, of the mean travel time that the contribution
block learned with the mean time that water spends in the world's channels. The mean length of the
paths, which no head has to learn, stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

CHECKOUT = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.2
FLOORS = ("ridge", "climatology", "persistence")


def run_and_watch(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command in `folder` and return its seconds and the peak bytes of its processes."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        tree, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            for one in (tree, *tree.children(recursive=True)):
                try:
                    peak = max(peak, one.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return {"seconds": time.perf_counter() - started, "peak_bytes": float(peak)}


def skill(folder: Path) -> dict[str, Any]:
    """Summarise the heads' scores, and rank their travel times against the world's true ones."""
    metrics = json.loads((folder / "build/runs/sample/metrics.json").read_text())
    truth = json.loads((folder / "build/sample/truth.json").read_text())
    heads = {head["site_no"]: head for head in metrics["heads"]}
    assert heads.keys() == {one["site_no"] for one in truth["watersheds"]}
    days = [one["days_in_channels"] for one in truth["watersheds"]]
    paths = [one["mean_path_km"] for one in truth["watersheds"]]
    learned = [
        one["mean_path_km"] / heads[one["site_no"]]["velocity"] for one in truth["watersheds"]
    ]
    return {
        "heads": len(heads),
        "split": metrics["split"],
        "fit_seconds": metrics["seconds"]["fit"],
        "busy_max_over_mean": metrics["seconds"]["busy_max"] / metrics["seconds"]["busy_mean"],
        "median_nse": metrics["median_nse"],
        "median_kge": median(head["kge"] for head in heads.values()),
        **{f"median_{f}_nse": median(h[f"{f}_nse"] for h in heads.values()) for f in FLOORS},
        **{
            f"heads_below_{f}": sorted(s for s, h in heads.items() if h["nse"] < h[f"{f}_nse"])
            for f in FLOORS
        },
        "travel_time_rank_correlation": float(spearmanr(days, learned).statistic),
        "path_rank_correlation": float(spearmanr(days, paths).statistic),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"main job, {report['cores']} cores; {report['split']}", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("seconds", f"{report['seconds']:.0f}")
    table.add_row("peak memory of a process", f"{report['peak_bytes'] / 2**20:.0f} MiB")
    table.add_row("busiest worker over the mean", f"{report['busy_max_over_mean']:.2f}")
    table.add_row("heads", f"{report['heads']}")
    table.add_row("median test NSE", f"{report['median_nse']:.3f}")
    table.add_row("median test KGE", f"{report['median_kge']:.3f}")
    for floor in FLOORS:
        worse = ", ".join(report[f"heads_below_{floor}"]) or "none"
        table.add_row(f"{floor}, median NSE", f"{report[f'median_{floor}_nse']:.3f}")
        table.add_row(f"heads below {floor}", worse)
    table.add_row("true and learned travel time", f"{report['travel_time_rank_correlation']:.3f}")
    table.add_row("true one and mean path", f"{report['path_rank_correlation']:.3f}")
    Console().print(table)
    print("the last two are rank correlations over the watersheds")


def main(
    folder: Annotated[
        Path | None, typer.Option(help="empty folder to run in, and to keep what is made")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write it here")] = None,
) -> None:
    """Run the main job from nothing and report time, memory and skill."""
    with TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        if any(place.iterdir()):
            raise SystemExit(f"{place}: is not empty: expected an empty folder")
        watched = run_and_watch([sys.executable, "-m", "model.train"], place)
        report = {"cores": os.cpu_count(), **watched, **skill(place)}
    show(report)
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
