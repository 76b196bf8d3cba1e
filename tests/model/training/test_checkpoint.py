"""Files of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.training import checkpoint
from pipeline.errors import InputError


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "01.safetensors"
    checkpoint.write(path, {"a": torch.ones(1)}, {"format": "dom-st head 1", "site_no": "01"})
    with pytest.raises(InputError, match=r"01\.safetensors: is a dom-st head 1: expected a dom-st"):
        checkpoint.read(path)
    checkpoint.write(path, {"a": torch.ones(1)}, {"site_no": "01"})
    assert checkpoint.read(path) == ({"a": torch.ones(1)}, {"site_no": "01"})
