"""Train a shared trunk on Dask workers: branches learn side by side and are averaged.

A branch and its watersheds' data stay on the worker that made it. Every round sends each branch its
state (some 0.5 MB), has it do a few updates, and averages the states that come back, in the order
of the branches. A task is a pure function of state and update number, so the trunk is bit for bit
the same on any number of workers, and when a worker dies Dask makes its branches again elsewhere
and repeats the round.

`torch.distributed` would do the averaging with its `PeriodicModelAverager`, but needs as many live
processes as branches from start to end: eight branches could not run on two workers, nor on
workers that come and go, and a dead one would end the run. It saves no time either: averaging the
states of eight branches takes 10 ms, the five updates of a round 0.4 s and more.
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

from model.inputs.pack import SERIES
from model.inputs.watershed import HeadData, load_head
from model.jobs.placement import pack_heads
from model.jobs.tasks import failing_alone
from model.jobs.threads import on_device
from model.network import tensor_file
from model.settings import Settings
from model.training.loop import OnProgress
from model.training.trunk import (
    SHARED,
    Branch,
    State,
    average_branches,
    owner,
    trunk_path,
)
from pipeline.errors import InputError, RunError
from pipeline.log import get_logger

log = get_logger(__name__)


def fit_trunk(
    client: Client,
    groups: Sequence[Sequence[str]],
    submit_branch: Callable[[Sequence[str]], Future],
    settings: Settings,
    folder: Path,
    on_progress: OnProgress,
    resources: Mapping[str, float] | None = None,
) -> Path:
    """Train the trunk, resuming what an earlier call left in `folder`.

    Args:
        client: its workers hold the branches.
        groups: the site numbers of each branch.
        submit_branch: has a worker make a `Branch` of site numbers.
        settings: of the run.
        folder: receives `trunk.safetensors`, and a progress file until it is done.
        on_progress: is called with a line for each validation; `validation_nse` is the mean over
            the watersheds.
        resources: that a task needs of a worker.

    A watershed that cannot be loaded is left out: its head starts from the shared weights alone.

    Returns:
        Path of the trunk.

    Raises:
        RunError: the loss is not finite, or no watershed can be loaded.
        InputError: `folder` holds a trunk made with other settings.
    """
    path = trunk_path(folder)
    about: dict[str, Any] = {"settings": settings.model_dump(mode="json")}
    about["sites"] = [list(sites) for sites in groups]
    if _read_same(path, about):
        return path
    progress = path.with_suffix(".progress.safetensors")
    resumed = _read_same(progress, about)
    if resumed:  # by the watersheds that began it
        groups = resumed[1]["loaded"]
    branches, groups = _load_branches(client, groups, submit_branch, resources)

    def on_branches(task: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Run a task on every branch, with the branch's part of the state."""
        owners = [(SHARED, *sites) for sites in groups]
        parts = [{n: value for n, value in state.items() if owner(n) in own} for own in owners]
        futures = [
            client.submit(task, branch, part, *arguments, pure=False, resources=resources)
            for branch, part in zip(branches, parts, strict=True)
        ]
        return list(client.gather(futures))

    state: State = {}
    update = 0
    if resumed:
        tensors, found = resumed
        state = {name: value.numpy() for name, value in tensors.items()}
        update = found["update"]
    else:
        for initial in reversed(on_branches(initial_state)):  # the first branch's shared part wins
            state |= initial
    while update < settings.trunk_updates:
        every = settings.evaluate_every
        pause = min((update // every + 1) * every, settings.trunk_updates)
        updates = range(update, min(update + settings.trunk_round, pause))
        losses, states = zip(*on_branches(learn, updates), strict=True)
        if not np.isfinite(losses).all():
            raise RunError(f"trunk: loss not finite by update {updates.stop}")
        state, update = average_branches(states), updates.stop
        if update == pause:
            scores = np.concatenate(on_branches(validate, update))
            line = {"site_no": "trunk", "update": update, "loss": float(np.mean(losses))}
            on_progress({**line, "validation_nse": float(np.mean(scores))})
            described = {**about, "loaded": groups, "update": update}
            tensor_file.write(progress, as_tensors(state), described, keep_previous=True)
    parts = {tuple(name.split("/")): value for name, value in state.items()}
    averages = {f"{of}/{name}": v for (of, kind, name), v in parts.items() if kind == "average"}
    tensor_file.write(path, as_tensors(averages), about)
    tensor_file.remove(progress)
    return path


def _load_branches(
    client: Client,
    groups: Sequence[Sequence[str]],
    submit_branch: Callable[[Sequence[str]], Future],
    resources: Mapping[str, float] | None,
) -> tuple[list[Future], list[list[str]]]:
    """Have workers load the watersheds of all branches; arguments as of `fit_trunk`.

    Returns:
        Branches with at least one watershed, and the site numbers of each.

    Raises:
        RunError: no watershed can be loaded.
    """
    futures = [submit_branch(sites) for sites in groups]
    found = [client.submit(contents, one, pure=False, resources=resources) for one in futures]
    branches: list[Future] = []
    loaded: list[list[str]] = []
    lost: list[str] = []
    for future, (sites, left_out) in zip(futures, client.gather(found), strict=True):
        lost += left_out
        if sites:
            branches.append(future)
            loaded.append(sites)
    for line in lost:
        log.warning("%s; left out of the trunk", line)
    if not branches:
        raise RunError(f"trunk: no watershed can be loaded: {lost[0]}")
    return branches, loaded


def trunk_branches(costs: Mapping[str, float], settings: Settings) -> list[list[str]]:
    """Divide the watersheds among branches; of more than `trunk_sites` some are drawn.

    Args:
        costs: cost of an update of each watershed, by site number.
        settings: seed, largest number of watersheds and of branches.
    """
    sites = sorted(costs)
    if len(sites) > settings.trunk_sites:
        rng = np.random.default_rng(settings.seed)
        drawn = rng.choice(len(sites), settings.trunk_sites, replace=False)
        sites = [sites[i] for i in sorted(drawn)]
    return pack_heads({site: costs[site] for site in sites}, settings.trunk_branches)


# Tasks on a worker, which holds the branch


def make_branch(
    store: str, sites: Sequence[str], settings: Settings, device: str
) -> Branch | list[str]:
    """Load the watersheds of a branch, without those that cannot be loaded.

    Args:
        store: path or URL.
        sites: site numbers.
        settings: of the run.
        device: "cpu" or "cuda:0".

    Returns:
        The branch; or, without any watershed, a line for each.
    """
    heads: list[HeadData] = []
    left_out: list[str] = []
    with on_device(torch.device(device)):
        for site in sites:
            with failing_alone(site, left_out):
                heads.append(load_head(store, site, settings))
        if not heads:
            return left_out
        branch = Branch(heads, settings, torch.device(device))
        branch.left_out = left_out
        return branch


def contents(branch: Branch | list[str]) -> tuple[list[str], list[str]]:
    """Return the site numbers of a branch, and a line for each watershed that it lacks."""
    if isinstance(branch, list):
        return [], branch
    return [head.site_no for head in branch.heads], branch.left_out


def initial_state(branch: Branch, _: State) -> State:
    """State of a branch that has learned nothing."""
    with on_device(branch.device):
        return branch.state()


def learn(branch: Branch, state: State, updates: range) -> tuple[float, State]:
    """Do some updates from a state; returns the last loss and the new state."""
    with on_device(branch.device):
        branch.load_state(state, updates.start)
        losses = [branch.step() for _ in updates]
        return losses[-1], branch.state()


def validate(branch: Branch, state: State, update: int) -> list[float]:
    """Compute the validation NSE of a branch's watersheds with a state's averaged weights."""
    with on_device(branch.device):
        branch.load_state(state, update)
        return branch.validate()


@sizeof.register(Branch)
def branch_bytes(branch: Branch) -> int:
    """Size of a branch in memory; Dask would take it for small and move it between workers."""
    packs = [trainer.pack for trainer in branch.trainers]
    series = [getattr(p, name).nbytes for p in packs for name in SERIES]
    return sum(series) + sum(head.forcing.nbytes + head.demand.nbytes for head in branch.heads)


def as_tensors(state: State) -> dict[str, Tensor]:
    """Convert a state to tensors, as checkpoints hold them."""
    return {name: torch.from_numpy(value) for name, value in state.items()}


def _read_same(
    path: Path, about: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a file, if there is one, whose description agrees with `about`.

    Raises:
        InputError: it does not agree.
    """
    found = tensor_file.read_good(path)
    if found and any(found[1][key] != value for key, value in about.items()):
        raise InputError(f"{path}: made with other settings: expected those of this run")
    return found
