"""The estimate of a pack's memory, beside the bytes of the tensors that live in an update."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training import trainer as module
from model.training.memory import Record, device_bytes
from model.training.trainer import Trainer

Make = Callable[..., HeadData]


class Live(TorchDispatchMode):
    """Count the bytes of the tensors that are alive, and their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, tuple[int, Any]] = {}
        self.now = self.peak = 0

    def release(self, key: int, _: object) -> None:
        self.now -= self.known.pop(key)[0]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.known:
                    release = partial(self.release, key)
                    self.known[key] = storage.nbytes(), weakref.ref(storage, release)
                    self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        return out


@pytest.mark.parametrize(
    ("shapes", "years", "forcings", "options"),
    [
        ([(2, 2)], 4, 2, {}),
        ([(12, 12)], 4, 2, {}),
        ([(12, 12)], 12, 2, {}),
        ([(24, 24), (20, 20), (16, 20)], 4, 2, {}),
        ([(6, 6)], 20, 2, {"history": True}),
        ([(12, 12)], 4, 2, {"slowest_velocity": 0.01}),
        ([(12, 12)] * 3, 4, 12, {}),
        ([(20, 20)], 12, 12, {}),
        ([(24, 24)], 20, 2, {"batch": 1, "warmup": 20, "stretch": 40}),
    ],
    ids=[
        "tiny",
        "whole",
        "stretches",
        "padded",
        "long",
        "many lags",
        "many maps",
        "stretches of many maps",
        "simulation",
    ],
)
def test_the_estimate_covers_what_lives(
    make_head: Make,
    monkeypatch: pytest.MonkeyPatch,
    shapes: list[tuple[int, int]],
    years: int,
    forcings: int,
    options: dict[str, Any],
) -> None:
    """From below by nothing, from above by at most half."""
    monkeypatch.setattr(module, "MAX_CPU_CHUNK", 2**40)  # a GPU encodes all at once
    heads = [make_head(f"{i + 1:02d}", *shape, years, forcings) for i, shape in enumerate(shapes)]
    settings = Settings(**options)
    trainer = Trainer(heads, settings, torch.device("cpu"))
    record = Record(len(heads[0].times), heads[0].split.train_stop, 86400.0, forcings)
    largest = max(head.share.size for head in heads)
    path = max(float(head.distance.max()) for head in heads)
    estimate = len(heads) * device_bytes(largest, path, record, settings)
    peaks = []
    for training in (True, False):
        with Live() as live:
            _ = trainer.gradients(*trainer.draw(0)) if training else trainer.validate()
        peaks.append(live.peak)
        trainer.optimiser.zero_grad()
    assert max(peaks) <= estimate <= 1.5 * max(peaks), [peak / estimate for peak in peaks]
