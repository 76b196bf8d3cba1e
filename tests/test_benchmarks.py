"""Benchmarks that run where the suite does not: that they run at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CHECKOUT = Path(__file__).resolve().parent.parent
# a bare machine with PyTorch has none of them
ABSENT = ("dask", "distributed", "geopandas", "rasterio", "rioxarray", "shapely", "xarray", "zarr")
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
import typer
from benchmarks.gpu import main
typer.run(main)
"""


def gpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.gpu` on a bare machine."""
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=280,
        check=False,
    )


def test_gpu_benchmark_runs_dry() -> None:
    done = gpu("--device", "cpu", "--quick")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["packs"]["2"]["eager"] > 0
    assert report["sequential"]["singlehead+p"] > 0
    assert report["times_faster_than"].keys() == {"same_heads", "singlehead+p"}
    assert report["utilisation"]["busy"] > 0
    for precision in ("fp32", "bf16"):  # on a CPU both are fp32, and the other device is it too
        assert report["precision"][precision]["difference"] == 0
        here, there = report["precision"][precision]["test_nse_on_cpu_and_device"]
        assert here == there


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_benchmark_says_that_there_is_no_gpu() -> None:
    done = gpu()
    assert done.returncode == 2
    assert "finds no GPU" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
