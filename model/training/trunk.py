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
from typing import Any

import numpy as np
import torch
from dask.sizeof import sizeof
from distributed import Client, Future
from torch import Tensor

from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData
from model.jobs.placement import pack_heads
from model.jobs.threads import one_thread
from model.settings import Settings
from model.training import checkpoint
from model.training.trainer import PHYSICAL, Report, Trainer, head_seed, learning_rate
from pipeline.errors import InputError, RunError

OWN = (*PHYSICAL, "location")  # what every watershed has for itself, by the end of its name
MOST = 128  # watersheds that teach a trunk, drawn by the run's seed from more
SHARED = "*"  # stands for the site number in the name of what is not one watershed's own
State = dict[str, np.ndarray]  # `<owner>/<kind>/<parameter>`: weights, their averages, moments


def trunk_path(folder: Path) -> Path:
    """The trained trunk among a run's checkpoints."""
    return folder / "trunk.safetensors"


def trunk_branches(costs: Mapping[str, float], settings: Settings) -> list[list[str]]:
    """The watersheds that teach the trunk, by branch: all, or as many as branches can draw often.

    Args:
        costs: of an update of each watershed, by site number.
    """
    sites = sorted(costs)
    if len(sites) > MOST:
        drawn = np.random.default_rng(settings.seed).choice(len(sites), MOST, replace=False)
        sites = [sites[i] for i in sorted(drawn)]
    return pack_heads({site: costs[site] for site in sites}, settings.trunk_branches)


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


# What the workers do with a branch, which stays where it was made.


@sizeof.register(Branch)
def branch_bytes(branch: Branch) -> int:
    """Without which Dask would take a branch's data for small, and move it about."""
    packs = [trainer.pack for trainer in branch.trainers]
    series = [x.nbytes for p in packs for x in (p.water, p.state, p.basin, p.runoff)]
    return sum(series) + sum(head.forcing.nbytes + head.demand.nbytes for head in branch.heads)


@one_thread()
def first_state(branch: Branch, _: State) -> State:
    """Of a branch that has learned nothing."""
    return branch.state()


@one_thread()
def learn(branch: Branch, state: State, updates: range) -> tuple[float, State]:
    """Do some updates from a state; the last one's loss, and the state after it."""
    branch.take_up(state, updates.start)
    losses = [branch.step() for _ in updates]
    return losses[-1], branch.state()


@one_thread()
def validate(branch: Branch, state: State, update: int) -> list[float]:
    """Validation NSE of the branch's watersheds with the averaged weights of a state."""
    branch.take_up(state, update)
    return branch.validate()


def merged(states: Sequence[State]) -> State:
    """One state of all branches: what they share is their mean, in this order."""
    together: State = {}
    for state in states:
        together |= state
    for name in (name for name in together if owner(name) == SHARED):
        together[name] = np.asarray(np.mean([state[name] for state in states], 0, np.float32))
    return together


def fit_trunk(
    client: Client,
    groups: Sequence[Sequence[str]],
    plant: Callable[[Sequence[str]], Future],
    settings: Settings,
    folder: Path,
    report: Report,
    resources: Mapping[str, float] | None = None,
) -> Path:
    """Train the trunk, taking up what an earlier call left in `folder`.

    Args:
        client: its workers hold the branches.
        groups: the site numbers of each branch.
        plant: has a worker make a `Branch` of site numbers.
        settings: of the run.
        folder: receives `trunk.safetensors`, and a resume file until it is done.
        report: is called with a line a validation; its `validation_nse` is the watersheds' mean.
        resources: that a task needs of a worker.

    Raises:
        RunError: the loss is not finite.
        InputError: `folder` holds a trunk made with other settings; a watershed cannot teach.
    """
    path = trunk_path(folder)
    about: dict[str, Any] = {"settings": settings.model_dump(mode="json")}
    about["sites"] = [list(sites) for sites in groups]
    if path.exists():
        _require_same(path, about)
        return path

    def ask(task: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a task returns of every branch, given its part of the state."""
        owners = [(SHARED, *sites) for sites in groups]
        parts = [{n: value for n, value in state.items() if owner(n) in own} for own in owners]
        how: dict[str, Any] = {"pure": False, "resources": resources}
        asked = [
            client.submit(task, branch, part, *arguments, **how)
            for branch, part in zip(branches, parts, strict=True)
        ]
        return list(client.gather(asked))

    branches = [plant(sites) for sites in groups]
    progress = path.with_suffix(".progress.safetensors")
    state: State = {}
    update = 0
    if progress.exists():
        tensors, found = _require_same(progress, about)
        state = {name: value.numpy() for name, value in tensors.items()}
        update = found["update"]
    else:
        for first in reversed(ask(first_state)):  # all begin with what the first branch shares
            state |= first
    while update < settings.trunk_updates:
        every = settings.evaluate_every
        pause = min((update // every + 1) * every, settings.trunk_updates)
        updates = range(update, min(update + settings.trunk_round, pause))
        losses, states = zip(*ask(learn, updates), strict=True)
        if not np.isfinite(losses).all():
            raise RunError(f"trunk: loss not finite by update {updates.stop}")
        state, update = merged(states), updates.stop
        if update == pause:
            scores = np.concatenate(ask(validate, update))
            line = {"site_no": "trunk", "update": update, "loss": float(np.mean(losses))}
            report({**line, "validation_nse": float(np.mean(scores))})
            checkpoint.write(progress, as_tensors(state), {**about, "update": update})
    parts = {tuple(name.split("/")): value for name, value in state.items()}
    averages = {f"{of}/{name}": v for (of, kind, name), v in parts.items() if kind == "average"}
    checkpoint.write(path, as_tensors(averages), about)
    progress.unlink(missing_ok=True)
    return path


def as_tensors(state: State) -> dict[str, Tensor]:
    """A state as files hold it."""
    return {name: torch.from_numpy(value) for name, value in state.items()}


def _require_same(path: Path, about: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, found = checkpoint.read(path)
    if any(found[key] != value for key, value in about.items()):
        raise InputError(f"{path}: made with other settings: expected those of this run")
    return tensors, found
