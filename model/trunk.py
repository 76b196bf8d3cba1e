"""A trunk for all watersheds: what heads have in common, learned from all of their records at once.

With `trunk="shared"` a network also sees its watershed's static attributes. Its LSTM, its readouts,
its convolution and the weights of its contribution block are the same for all watersheds while the
trunk is trained; velocity, dispersion, the cells' efficiencies and the places that pool an image
are a watershed's own. Each head then starts from the trunk and adapts it. So a short record is read
with what longer, or just other, records teach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model import checkpoint
from model.dataset import HeadData
from model.fit import PHYSICAL, Report, Trainer, head_seed, learning_rate
from model.metrics import nse
from model.settings import Settings
from pipeline.errors import InputError, RunError

OWN = (*PHYSICAL, "location")  # what every watershed has for itself, by the end of its name
MOST = 128  # watersheds that a trunk is trained on, drawn by the run's seed from more
SHARED = "shared"  # stands for the site number in the name of what is not one watershed's own


def trunk_path(folder: Path) -> Path:
    """The trained trunk among a run's checkpoints."""
    return folder / "trunk.safetensors"


def trunk_sites(sites: Sequence[str], seed: int) -> list[str]:
    """The watersheds that teach the trunk: all, or as many as fit in memory."""
    if len(sites) <= MOST:
        return list(sites)
    drawn = np.random.default_rng(seed).choice(len(sites), MOST, replace=False)
    return [sites[i] for i in sorted(drawn)]


def load_trunk(path: Path) -> Callable[[str], dict[str, Tensor]]:
    """What each head starts from: the trunk's weights, and its own where it taught the trunk.

    Raises:
        InputError: not a trunk.
    """
    tensors, _ = checkpoint.read(path)

    def start(site_no: str) -> dict[str, Tensor]:
        return {
            name.partition("/")[2]: value
            for name, value in tensors.items()
            if name.startswith((f"{SHARED}/", f"{site_no}/"))
        }

    return start


class TrunkTrainer:
    """The state of a trunk in training: networks of one head each, that share parameters."""

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
        """One gradient step on some of the watersheds; returns their mean loss."""
        settings = self.settings
        seed = head_seed(settings.seed, SHARED, self.update)
        generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(self.heads), generator=generator)[: settings.trunk_batch]
        self.optimiser.zero_grad()
        mean = 0.0
        for i in some.tolist():
            trainer = self.trainers[i]
            loss = trainer.losses(*trainer.draw(self.update)).sum() / len(some)
            loss.backward()
            mean += loss.item()
        torch.nn.utils.clip_grad_norm_(self.named.values(), settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.update, settings) * group["times"]
        self.optimiser.step()
        self.update += 1
        decay = min(settings.averaging, self.update / (10 + self.update))
        with torch.no_grad():
            for name, parameter in self.named.items():
                self.average[name].lerp_(parameter, 1 - decay)
        return mean

    def weights(self, site_no: str) -> dict[str, Tensor]:
        """Averaged weights of a watershed's network."""
        return {
            name.partition("/")[2]: value
            for name, value in self.average.items()
            if name.startswith((f"{SHARED}/", f"{site_no}/"))
        }

    def validate(self) -> list[float]:
        """Validation NSE of every watershed with the averaged weights."""
        scores = []
        for head, trainer in zip(self.heads, self.trainers, strict=True):
            held = head.split.validation
            simulated = trainer.simulate(self.weights(head.site_no))[0, held]
            scores.append(nse(simulated.astype(np.float64), head.runoff[held].astype(np.float64)))
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, named; the optimiser's moments are made if new."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            moments = self.optimiser.state[parameter]
            if "exp_avg" not in moments:
                moments["step"] = torch.zeros(())
                moments["exp_avg"] = torch.zeros_like(parameter)
                moments["exp_avg_sq"] = torch.zeros_like(parameter)
            tensors[f"weight.{name}"], tensors[f"average.{name}"] = parameter, self.average[name]
            tensors[f"step.{name}"] = moments["step"]
            tensors[f"mean.{name}"] = moments["exp_avg"]
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        return tensors


def fit_trunk(
    heads: Sequence[HeadData],
    settings: Settings,
    device: torch.device,
    folder: Path,
    report: Report,
) -> Path:
    """Train the trunk, taking up what an earlier call left in `folder`.

    Args:
        heads: the watersheds that teach it, with the times and channels of one store.
        folder: receives `trunk.safetensors`, and a resume file until it is done.
        report: is called with a line a validation; its `validation_nse` is their mean.

    Raises:
        RunError: the loss is not finite.
        InputError: `folder` holds a trunk made with other settings.
    """
    path = trunk_path(folder)
    about: dict[str, Any] = {"settings": settings.model_dump(mode="json")}
    about["sites"] = [head.site_no for head in heads]
    if path.exists():
        _require_same(path, about)
        return path
    trainer = TrunkTrainer(heads, settings, device)
    progress = path.with_suffix(".progress.safetensors")
    if progress.exists():
        tensors, found = _require_same(progress, about)
        with torch.no_grad():
            for name, target in trainer.tensors().items():
                target.copy_(tensors[name])
        trainer.update = found["update"]
    while trainer.update < settings.trunk_updates:
        loss = trainer.step()
        if not np.isfinite(loss):
            raise RunError(f"trunk: loss not finite at update {trainer.update}")
        if trainer.update % settings.evaluate_every == 0:
            scores = trainer.validate()
            line = {"site_no": "trunk", "update": trainer.update, "loss": loss}
            report({**line, "validation_nse": float(np.mean(scores))})
            checkpoint.write(progress, trainer.tensors(), {**about, "update": trainer.update})
    checkpoint.write(path, trainer.average, about)
    progress.unlink(missing_ok=True)
    return path


def _require_same(path: Path, about: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, found = checkpoint.read(path)
    if any(found[key] != value for key, value in about.items()):
        raise InputError(f"{path}: made with other settings: expected those of this run")
    return tensors, found
