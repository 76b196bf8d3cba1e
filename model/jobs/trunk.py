"""Train a shared trunk on Dask workers: branches learn side by side and are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dask.sizeof import sizeof
from distributed import Client, Future
from torch import Tensor

from model.jobs.placement import pack_heads
from model.jobs.tasks import load_watershed
from model.jobs.threads import one_thread
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Report
from model.training.trunk import SHARED, Branch, State, merged, owner, trunk_path
from pipeline.errors import InputError, RunError

MOST = 128  # watersheds that teach a trunk, drawn by the run's seed from more


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


@one_thread()
def trunk_branch(store: str, sites: list[str], settings: Settings, device: str) -> Branch:
    """Watersheds that teach the trunk of a run; arguments as of `train_pack`."""
    return Branch(
        [load_watershed(store, site, settings) for site in sites], settings, torch.device(device)
    )


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


def as_tensors(state: State) -> dict[str, Tensor]:
    """A state as files hold it."""
    return {name: torch.from_numpy(value) for name, value in state.items()}


def _require_same(path: Path, about: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, found = checkpoint.read(path)
    if any(found[key] != value for key, value in about.items()):
        raise InputError(f"{path}: made with other settings: expected those of this run")
    return tensors, found
