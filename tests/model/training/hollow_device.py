"""Count the kernels of an update on a fake device, which refuses what a CUDA graph cannot record.

    python -m tests.model.training.hollow_device '[{"heads": 5, "stretch": 60}, ...]'

PyTorch's fake tensors, on a device of their own, refuse operations on tensors of two devices and
any read of a value. Prints the number of operations, views aside, of an update's losses and
gradients for each case. Needs a process of its own, as registering a device cannot be undone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from model.settings import Settings
from model.training.trainer import Trainer
from tests.model.conftest import build_head

NAME = "hollow"


class Module(backend_registration._DummyBackendModule):
    """The device's module, as PyTorch requires one."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class Launches(TorchDispatchMode):
    """Count the operations that a device would launch as kernels."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += not function.is_view and function.namespace != "prim"
        return function(*args, **(kwargs or {}))


def there(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, device=NAME)


def moved(record: Any) -> Any:
    """Copy a dataclass, with its tensors on the device."""
    tensors = {
        field.name: there(value)
        for field in dataclasses.fields(record)
        if isinstance(value := getattr(record, field.name), torch.Tensor)
    }
    return dataclasses.replace(record, **tensors)


def launches(trainer: Trainer) -> int:
    """Count the operations of an update's losses and gradients on the device.

    Raises:
        Exception: an operation that cannot be recorded.
    """
    drawn = trainer.draw(0)
    with FakeTensorMode(allow_non_fake_inputs=True), Launches() as counted:
        pack = trainer.pack = dataclasses.replace(
            moved(trainer.pack), watersheds=moved(trainer.pack.watersheds)
        )
        trainer.network.watersheds = pack.watersheds
        lesson = trainer.training
        lesson.target, lesson.past = there(lesson.target), there(lesson.past)
        for module in trainer.network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, torch.nn.Parameter(there(parameter.detach())))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, there(buffer))
        inputs = [there(x) for x in drawn]
        counted.count = 0
        losses = trainer.gradients(*inputs)
        assert {x.device.type for x in (losses, *inputs)} == {NAME}
    return counted.count


def main(cases: list[dict[str, Any]]) -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    counts = []
    for case in cases:
        made = [build_head(f"{i + 1:02d}", 4 + i, 6) for i in range(case.pop("heads"))]
        settings = Settings.model_validate({"hidden": 16, "warmup": 60, "batch": 2} | case)
        counts.append(launches(Trainer(made, settings, torch.device("cpu"))))
    print(json.dumps(counts), flush=True)
    os._exit(0)  # the device's autograd thread does not end by itself


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
