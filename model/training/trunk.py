"""A trunk for all watersheds: what heads have in common, learned from all of their records at once.

With `trunk="shared"` a network also sees its watershed's static attributes. Its LSTM, its readouts,
its convolution and the weights of its contribution block are the same for all watersheds while the
trunk is trained; velocity, dispersion, the cells' efficiencies and the places that pool an image
are a watershed's own. Each head then starts from the trunk and adapts it. So a short record is read
with what longer, or just other, records teach.

The watersheds are dealt out to a few branches. A branch learns from one of its watersheds at a
time; after every few updates what is shared becomes the mean of the branches', their optimisers'
moments too. Branches learn side by side, each where its watersheds' data lies. What the trunk
becomes does not depend on the workers, and one that dies costs what its branches learned since the
last mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training import checkpoint
from model.training.trainer import PHYSICAL, Trainer, head_seed, learning_rate

OWN = (*PHYSICAL, "location")  # what every watershed has for itself, by the end of its name
SHARED = "*"  # stands for the site number in the name of what is not one watershed's own
State = dict[str, np.ndarray]  # `<owner>/<kind>/<parameter>`: weights, their averages, moments


def trunk_path(folder: Path) -> Path:
    """The trained trunk among a run's checkpoints."""
    return folder / "trunk.safetensors"


def owner(name: str) -> str:
    """Whose a tensor of a state or of a trunk is: a site number, or `SHARED`."""
    return name.partition("/")[0]


def weights_of(site_no: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A watershed's weights, by parameter, of those named `<owner>/<parameter>`."""
    own = {name: value for name, value in named.items() if owner(name) in (SHARED, site_no)}
    return {name.partition("/")[2]: value for name, value in own.items()}


def load_trunk(path: Path) -> Callable[[str], dict[str, Tensor]]:
    """What each head starts from: the trunk's weights, and its own where it taught the trunk.

    Raises:
        InputError: not a trunk.
    """
    tensors, _ = checkpoint.read(path)
    return lambda site_no: weights_of(site_no, tensors)


class Branch:
    """Some watersheds that learn together: networks of one head each, that share parameters."""

    def __init__(self, heads: Sequence[HeadData], settings: Settings, device: torch.device) -> None:
        self.heads = heads
        self.settings = settings.model_copy(
            update={"updates": settings.trunk_updates, "learning_rate": settings.trunk_rate}
        )
        self.trainers = [Trainer([head], self.settings, device) for head in heads]
        first = self.trainers[0].network
        for trainer in self.trainers[1:]:
            for name, parameter in first.named_parameters():
                if not name.endswith(OWN):
                    module, _, leaf = name.rpartition(".")
                    setattr(trainer.network.get_submodule(module), leaf, parameter)
        self.named = {
            f"{SHARED}/{n}": p for n, p in first.named_parameters() if not n.endswith(OWN)
        }
        for head, trainer in zip(heads, self.trainers, strict=True):
            for name, parameter in trainer.network.named_parameters():
                if name.endswith(OWN):
                    self.named[f"{head.site_no}/{name}"] = parameter
        physical = [p for n, p in self.named.items() if n.endswith(PHYSICAL)]
        learned = [p for n, p in self.named.items() if not n.endswith(PHYSICAL)]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": learned, "times": 1.0, "weight_decay": settings.weight_decay},
                {"params": physical, "times": settings.physical_rate, "weight_decay": 0.0},
            ]
        )
        self.average = {name: p.detach().clone() for name, p in self.named.items()}
        self.update = 0

    def step(self) -> float:
        """One gradient step on one of the watersheds; returns its loss."""
        settings = self.settings
        seed = head_seed(settings.seed, f"shared {self.heads[0].site_no}", self.update)
        generator = torch.Generator().manual_seed(seed)
        trainer = self.trainers[int(torch.randint(len(self.heads), (), generator=generator))]
        self.optimiser.zero_grad()
        loss = trainer.losses(*trainer.draw(self.update)).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.named.values(), settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.update, settings) * group["times"]
        self.optimiser.step()
        self.update += 1
        decay = min(settings.averaging, self.update / (10 + self.update))
        with torch.no_grad():
            for name, parameter in self.named.items():
                self.average[name].lerp_(parameter, 1 - decay)
        return loss.item()

    def validate(self) -> list[float]:
        """Validation NSE of every watershed with the averaged weights."""
        scores = []
        for head, trainer in zip(self.heads, self.trainers, strict=True):
            held = head.split.validation
            simulated = trainer.simulate(weights_of(head.site_no, self.average))[0, held]
            scores.append(nse(simulated.astype(np.float64), head.runoff[held].astype(np.float64)))
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, named; the optimiser's moments are made if new."""
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
        """A copy of `tensors`, as it travels."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.tensors().items()}

    @torch.no_grad()
    def take_up(self, state: State, update: int) -> None:
        """Go on from a state, made by `update` updates."""
        for name, target in self.tensors().items():
            target.copy_(torch.from_numpy(state[name]))
        self.update = update


def merged(states: Sequence[State]) -> State:
    """One state of all branches: what they share is their mean, in this order."""
    together: State = {}
    for state in states:
        together |= state
    for name in (name for name in together if owner(name) == SHARED):
        together[name] = np.asarray(np.mean([state[name] for state in states], 0, np.float32))
    return together
