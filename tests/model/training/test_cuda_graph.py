"""Updates can be recorded as a CUDA graph: one device, no value read back; needs no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from model.settings import VARIANTS

PROGRAM = """
import json, torch
from model.training import trainer
from tests.model.training.hollow_device import main
loss = trainer.runoff_loss
def changed(*arguments):
    losses = loss(*arguments)
    {line}
    return losses
trainer.runoff_loss = changed
main([{{"heads": 5, "stretch": 60}}])
"""


def launches(*cases: dict[str, Any]) -> list[int]:
    """Number of kernels of an update in each case, see `hollow_device`."""
    command = [sys.executable, "-m", "tests.model.training.hollow_device", json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts: list[int] = json.loads(done.stdout)
    return counts


def test_an_update_can_be_recorded() -> None:
    """A step of the LSTMs of a pack, whatever its size, is 2 kernels, and 2 for its gradient."""
    five, six, longer, *others = launches(
        {"heads": 5, "stretch": 60},
        {"heads": 6, "stretch": 60},
        {"heads": 5, "stretch": 70},
        {"heads": 1, "stretch": 60},
        {"heads": 5, "stretch": 60, "history": True},
        {"heads": 5, "stretch": 60, "contribution": False, "trunk": "shared"},
        {"heads": 5, "stretch": 60, "cnn": False, "precision": "fp32"},
        {"heads": 1, **VARIANTS["singlehead+p"], "batch": 2},
    )
    assert six == five
    assert longer == five + 10 * (2 + 2)
    assert all(others)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("losses.max().item()", "DataDependentOutput"),
        ("losses = losses + torch.ones(5)", "DeviceMismatch"),
    ],
)
def test_what_cannot_be_recorded_is_seen(line: str, error: str) -> None:
    program = PROGRAM.format(line=line)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode != 0
    assert error in done.stderr
