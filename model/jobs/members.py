"""The networks of a head, one per seed: train them one after the other, and average discharge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted, InitialWeights, fit_pack
from pipeline.units import discharge_of


class FittedHead(NamedTuple):
    """A head whose networks are all trained."""

    site_no: str
    networks: list[Fitted]


class Simulated(NamedTuple):
    """What the networks of a head simulate.

    Attributes:
        discharge: (S, T) of each network [m3 s-1].
        physics: means of what the contribution blocks learned, see `learned_physics`.
    """

    discharge: np.ndarray
    physics: dict[str, float]


def fit_heads(
    heads: Sequence[HeadData],
    settings: Settings,
    device: torch.device,
    folders: Sequence[Path],
    on_progress: Callable[[dict[str, Any]], None],
    initial_weights: InitialWeights | None = None,
) -> Iterator[FittedHead | Diverged]:
    """Train all networks of some heads; arguments as of `fit_pack`, but for those below.

    Args:
        folders: of the checkpoints, one per seed.
        on_progress: its lines count the updates of all networks of a head.

    Yields:
        The result of each head when its last network has ended.
    """
    fitted: dict[str, list[Fitted]] = {head.site_no: [] for head in heads}
    for k, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        first = k * settings.all_updates

        def on_network(line: dict[str, Any], first: int = first) -> None:
            on_progress({**line, "update": first + line["update"]})

        chosen = settings.member(k)
        left = [head for head in heads if head.site_no in fitted]
        for group in _at_same_update(left, folder, chosen):
            for result in fit_pack(group, chosen, device, folder, on_network, initial_weights):
                if isinstance(result, Diverged):
                    del fitted[result.site_no]
                    yield result
                    continue
                networks = fitted[result.site_no]
                networks.append(result)
                if len(networks) == len(folders):
                    yield FittedHead(result.site_no, networks)


def _at_same_update(
    heads: Iterable[HeadData], folder: Path, settings: Settings
) -> list[list[HeadData]]:
    """Group heads by the number of updates that their training has done."""
    groups: dict[int, list[HeadData]] = {}
    for head in heads:
        done = checkpoint.updates_done(folder, head.site_no, settings)
        groups.setdefault(done, []).append(head)
    return list(groups.values())


@torch.no_grad()
def simulate(head: HeadData, networks: Sequence[Path], device: torch.device) -> Simulated:
    """Simulate the record with each network of a head.

    Args:
        head: the record.
        networks: checkpoints.
        device: of PyTorch.
    """
    discharge, physics = [], []
    for path in networks:
        network, pack = checkpoint.load_head(path, head, device)
        runoff = network(*pack.inputs())[0, pack.spinup :].cpu().numpy()
        discharge.append(discharge_of(runoff, head.area, head.step_seconds))
        physics.append(learned_physics(network))
    means = {name: fmean(one[name] for one in physics) for name in physics[0]}
    return Simulated(np.stack(discharge), means)


def learned_physics(network: DomST) -> dict[str, float]:
    """Return what a single head's contribution block learned: velocity [m s-1], dispersion
    [m2 s-1], and the share of rain that arrives after the last lag."""
    block = network.contribution
    if block is None or not block.travels:
        return {}
    with torch.no_grad():
        return {
            "velocity": float(block.log_velocity.exp()),
            "dispersion": float(block.log_dispersion.exp()),
            "truncated": float(block.truncated()),
        }
