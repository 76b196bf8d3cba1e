"""A trunk shared by all watersheds: the part of the network that learns from all records at once.

With `trunk="shared"` a network also sees its watershed's static attributes. While the trunk is
trained, all watersheds share the LSTM, the readouts, the convolution and the weights of the
contribution block; velocity, dispersion, the cells' efficiencies and the location maps are each
watershed's own. Each head then starts from the trunk and adapts it, so a short record profits from
other records.

The watersheds are divided among a few branches. A branch learns from one of its watersheds at a
time. After every few updates, what is shared becomes the mean over the branches, including the
moments of their optimisers (local SGD with periodic model averaging; Stich 2019, ICLR,
arXiv:1805.09767). `model/jobs/trunk.py` runs branches side by side on Dask workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData
from model.network import tensor_file
from model.settings import Settings
from model.training.optimiser import (
    PHYSICAL_PARAMETERS,
    make_optimiser,
    set_learning_rate,
    update_average,
)
from model.training.trainer import Trainer, head_seed

PER_WATERSHED = (*PHYSICAL_PARAMETERS, "location")  # not shared; by the end of their names
SHARED = "*"  # owner of a shared tensor, in place of a site number
State = dict[str, np.ndarray]  # `<owner>/<kind>/<parameter>`: weights, their averages, moments


class Branch:
    """Some watersheds that learn together: networks of one head each that share parameters.

    Attributes:
        left_out: a line for each watershed that could not be loaded.
    """

    def __init__(self, heads: Sequence[HeadData], settings: Settings, device: torch.device) -> None:
        self.heads, self.device = heads, device
        self.left_out: list[str] = []
        self.settings = settings.model_copy(
            update={"updates": settings.trunk_updates, "learning_rate": settings.trunk_rate}
        )
        self.trainers = [Trainer([head], self.settings, device) for head in heads]
        first = self.trainers[0].network
        for trainer in self.trainers[1:]:
            for name, parameter in first.named_parameters():
                if not name.endswith(PER_WATERSHED):
                    module, _, leaf = name.rpartition(".")
                    setattr(trainer.network.get_submodule(module), leaf, parameter)
        self.named: dict[str, Parameter] = {  # by `<owner>/<parameter>`
            f"{SHARED}/{name}": parameter
            for name, parameter in first.named_parameters()
            if not name.endswith(PER_WATERSHED)
        }
        for head, trainer in zip(heads, self.trainers, strict=True):
            for name, parameter in trainer.network.named_parameters():
                if name.endswith(PER_WATERSHED):
                    self.named[f"{head.site_no}/{name}"] = parameter
        self.optimiser = make_optimiser(self.named, self.settings)
        self.average = {name: p.detach().clone() for name, p in self.named.items()}
        self.update = 0

    def step(self) -> float:
        """Take one gradient step on one of the watersheds and return its loss."""
        settings = self.settings
        seed = head_seed(settings.seed, f"shared {self.heads[0].site_no}", self.update)
        generator = torch.Generator().manual_seed(seed)
        trainer = self.trainers[int(torch.randint(len(self.heads), (), generator=generator))]
        self.optimiser.zero_grad()
        loss = trainer.losses(*trainer.draw(self.update)).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.named.values(), settings.clip)
        set_learning_rate(self.optimiser, self.update, settings)
        self.optimiser.step()
        self.update += 1
        update_average(self.average, self.named.values(), self.update, settings)
        return loss.item()

    def validate(self) -> list[float]:
        """Compute the validation NSE of every watershed with the averaged weights."""
        scores = []
        for head, trainer in zip(self.heads, self.trainers, strict=True):
            held_out = head.split.validation
            weights = weights_of(head.site_no, self.average)
            simulated = trainer.simulate(weights)[0, held_out].astype(np.float64)
            scores.append(nse(simulated, head.runoff[held_out].astype(np.float64)))
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the state by name; creates the optimiser's moments if needed."""
        tensors: dict[str, Tensor] = {}
        for owned, parameter in self.named.items():
            of, _, name = owned.partition("/")
            moments = self.optimiser.state[parameter]
            if "exp_avg" not in moments:
                moments["step"] = torch.zeros(())
                moments["exp_avg"] = torch.zeros_like(parameter)
                moments["exp_avg_sq"] = torch.zeros_like(parameter)
            tensors[f"{of}/weight/{name}"] = parameter
            tensors[f"{of}/average/{name}"] = self.average[owned]
            tensors[f"{of}/step/{name}"] = moments["step"]
            tensors[f"{of}/mean/{name}"] = moments["exp_avg"]
            tensors[f"{of}/square/{name}"] = moments["exp_avg_sq"]
        return tensors

    def state(self) -> State:
        """Copy all tensors of the state to arrays, which travel between processes."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.tensors().items()}

    @torch.no_grad()
    def load_state(self, state: State, update: int) -> None:
        """Continue from a state after `update` updates."""
        for name, target in self.tensors().items():
            target.copy_(torch.from_numpy(state[name]))
        self.update = update


def average_branches(states: Sequence[State]) -> State:
    """Merge the states of all branches: what they share becomes their mean, in this order."""
    merged: State = {}
    for state in states:
        merged |= state
    for name in (name for name in merged if owner(name) == SHARED):
        merged[name] = np.asarray(np.mean([state[name] for state in states], 0, np.float32))
    return merged


def owner(name: str) -> str:
    """Owner of a tensor of a state or of a trunk: a site number, or `SHARED`."""
    return name.partition("/")[0]


def weights_of(site_no: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select a watershed's weights by parameter, from those named `<owner>/<parameter>`."""
    own = {name: value for name, value in named.items() if owner(name) in (SHARED, site_no)}
    return {name.partition("/")[2]: value for name, value in own.items()}


def trunk_path(folder: Path) -> Path:
    """Path of the trained trunk among a run's checkpoints."""
    return folder / "trunk.safetensors"


def load_trunk(path: Path) -> Callable[[str], dict[str, Tensor]]:
    """Load a trunk: a function from a site number to the weights that its head starts from.

    They are the shared ones, and the watershed's own if it trained the trunk.

    Raises:
        InputError: not a trunk.
    """
    tensors, _ = tensor_file.read(path)
    return lambda site_no: weights_of(site_no, tensors)
