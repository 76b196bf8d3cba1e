"""Train a pack of heads on one device, update by update.

Heads of a pack share nothing but the update counter: each has its own initial weights, random
stretches, dropout, gradient norm and best weights. A head's result does not depend on its pack or
worker.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.evaluation.metrics import nse
from model.inputs.pack import Pack, make_pack, make_watersheds
from model.inputs.periods import consecutive
from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.network.watersheds import Watersheds
from model.settings import Settings
from model.training.cuda_graph import CapturedFunction
from model.training.lesson import Lesson
from model.training.loss import runoff_loss
from model.training.optimiser import make_optimiser, set_learning_rate, update_average
from model.training.padding import stack_padded, without_padding

MAX_CPU_CHUNK = 2**18  # cells times steps that a CPU encodes at once; more causes page faults


class Trainer:
    """State of a pack in training, which can be saved and resumed.

    Args:
        heads: data of the pack's heads.
        settings: of the training.
        device: where the pack is trained.
        pack: the heads as tensors, made if not given.
    """

    def __init__(
        self,
        heads: Sequence[HeadData],
        settings: Settings,
        device: torch.device,
        pack: Pack | None = None,
    ) -> None:
        self.heads, self.settings = heads, settings
        self.pack = make_pack(heads, settings, device) if pack is None else pack
        split = heads[0].split
        longest = max(stop - first for first, stop in consecutive(split.train))
        self.length = min(settings.stretch, longest)  # steps with loss
        self.training = Lesson(self.pack, split.train, split.validation | split.test, self.length)
        self.refit = Lesson(self.pack, split.known, split.test, self.length)
        self.network = new_network(heads, self.pack.watersheds, settings).to(device)
        named = dict(self.network.named_parameters())
        self.optimiser = make_optimiser(named, settings)
        self.average = {name: p.detach().clone() for name, p in named.items()}
        self.kept = {name: p.detach().clone() for name, p in named.items()}
        self.best_nse = torch.full((len(heads),), -math.inf, dtype=torch.float64)
        self.kept_nse = torch.full((len(heads),), -math.inf, dtype=torch.float64)
        self.kept_update = torch.zeros(len(heads), dtype=torch.int64)
        self.rate_factor = torch.ones(len(heads), dtype=torch.float64)  # restart_rate ** restarts
        self.update = 0
        self.next_draw: tuple[Tensor, Tensor] | None = None
        self.captured: CapturedFunction | None = None
        self.restart_point = self.snapshot()

    # One update

    def step(self) -> Tensor:
        """Take one gradient step of every head and return the losses (H,)."""
        settings, device = self.settings, self.pack.runoff.device
        drawn = self.next_draw or self.draw(self.update)
        if self.update == settings.updates:
            self.captured = None  # the graph of the training steps alone
        if settings.capture and device.type == "cuda" and self.captured is None:
            self.captured = CapturedFunction(self.gradients, drawn, device)
        losses = (self.captured or self.gradients)(*drawn)
        self.next_draw = self.draw(self.update + 1)  # while a GPU computes
        self._clip_gradients()
        set_learning_rate(self.optimiser, self.update, settings)
        self._optimiser_step()
        self.update += 1
        update_average(self.average, self.network.parameters(), self.update, settings)
        return losses

    def draw(self, update: int) -> tuple[Tensor, Tensor]:
        """Draw stretches and dropout of an update, on the CPU, from each head's own seed.

        Returns:
            (H, B) first step with loss of each stretch, counted in the pack's steps, and
            (H, B, 1, M) dropout masks; in pinned memory for a GPU.
        """
        settings, lesson = self.settings, self.lesson(update)
        starts, masks = [], []
        for head in self.heads:
            seed = head_seed(settings.seed, head.site_no, update)
            generator = torch.Generator().manual_seed(seed)
            starts.append(lesson.draw(settings.batch, generator) + self.pack.spinup)
            survival = 1 - settings.dropout
            mask = torch.rand(settings.batch, 1, settings.hidden, generator=generator) < survival
            masks.append(mask / survival)
        drawn = torch.stack(starts), torch.stack(masks)
        if self.pack.runoff.is_cuda:
            return drawn[0].pin_memory(), drawn[1].pin_memory()
        return drawn

    def gradients(self, starts: Tensor, dropout_mask: Tensor) -> Tensor:
        """Compute the losses (H,) of a draw and leave their gradients in the parameters."""
        self.optimiser.zero_grad()
        losses = self.losses(starts, dropout_mask)
        losses.sum().backward()
        return losses.detach()

    def losses(self, starts: Tensor, dropout_mask: Tensor) -> Tensor:
        """Compute the losses (H,) of a draw."""
        settings, pack, lesson = self.settings, self.pack, self.lesson(self.update)
        device = pack.runoff.device
        starts = starts.to(device, non_blocking=True)
        dropout_mask = dropout_mask.to(device, non_blocking=True)
        offsets = torch.arange(-settings.warmup, self.length, device=device)
        steps = starts[..., None] + offsets  # (H, B, W + L)
        head = torch.arange(len(starts), device=device)[:, None, None]
        inputs, routed = self.encode(steps)
        runoff = self.network.decode(inputs, routed, lesson.past[head, steps], dropout_mask)
        return runoff_loss(
            runoff[..., settings.warmup :],
            lesson.target[head, steps[..., settings.warmup :]],
            pack.watersheds.runoff_scale,
            settings,
        )

    def encode(self, steps: Tensor) -> tuple[Tensor, ...]:
        """Encode stretches of steps (H, B, L), as `DomST.encode` returns them.

        Either all steps up to the last learnable one are encoded and the stretches gathered, or the
        stretches are cut out, each behind the steps that the contribution block looks back on, and
        encoded alone: whichever is fewer steps. With `windows` they are always cut out.
        """
        pack, reach = self.pack, self.network.reach
        head = torch.arange(len(steps), device=steps.device)[:, None, None]
        end = pack.spinup + self.lesson(self.update).end
        if not self.settings.windows and steps.shape[1] * (reach + steps.shape[2]) >= end:
            return tuple(x[head, steps] for x in self.network.encode(*pack.forcings(end)))
        before = steps[..., :1] + torch.arange(-reach, 0, device=steps.device)
        cut = torch.cat([before, steps], -1)  # (H, B, reach + L)
        chunk = cut.shape[1]
        if cut.device.type == "cpu":
            chunk = max(1, MAX_CPU_CHUNK // (pack.rain[0, 0].numel() * cut.shape[2]))
        parts = []
        for some in cut.split(chunk, 1):
            # One after the other the stretches make a record like any other: what the block
            # carries over from one ends before the next one's own steps begin.
            rain, *others = (x[head, some.clamp(min=0)].flatten(1, 2) for x in pack.forcings())
            rain = rain * (some >= 0).flatten(1)[..., None]  # dry before the record
            encoded = self.network.encode(rain, *others)
            parts.append([x.unflatten(1, some.shape[1:])[:, :, reach:] for x in encoded])
        return tuple(torch.cat(series, 1) for series in zip(*parts, strict=True))

    def lesson(self, update: int) -> Lesson:
        """What an update learns from."""
        return self.training if update < self.settings.updates else self.refit

    def _clip_gradients(self) -> None:
        """Scale each head's gradient to a norm of at most `clip`."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.stack([g.view(len(g), -1).square().sum(1) for g in gradients]).sum(0).sqrt()
        scale = (self.settings.clip / norm.clamp(min=1e-12)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))

    @torch.no_grad()
    def _optimiser_step(self) -> None:
        """Take the optimiser's step, shortened for heads that were restarted."""
        if (self.rate_factor == 1).all():
            self.optimiser.step()
            return
        parameters = list(self.network.parameters())
        before = [parameter.clone() for parameter in parameters]
        self.optimiser.step()
        for parameter, old in zip(parameters, before, strict=True):
            factor = self.rate_factor.to(parameter).view(-1, *[1] * (parameter.dim() - 1))
            parameter.copy_(old.lerp(parameter, factor))

    # Validation

    def validate(self) -> list[float]:
        """Compute the validation NSE of the averaged weights, and keep those that are good enough.

        One validation year is a noisy judge, and later weights do better in unseen years: the
        latest weights within `tolerance` of the head's highest NSE are kept. In a refit the
        validation steps are learned from, so the score stays and all finite weights are kept.
        """
        runoff = self.simulate(self.average)
        scores = []
        for i, head in enumerate(self.heads):
            held_out = head.split.validation
            simulated = runoff[i, held_out].astype(np.float64)
            finite = np.isfinite(simulated).all()
            score = nse(simulated, head.runoff[held_out].astype(np.float64)) if finite else math.nan
            if finite and self.update > self.settings.updates:
                score = float(self.kept_nse[i])
            scores.append(score)
            if finite:
                self.best_nse[i] = max(score, float(self.best_nse[i]))
            if score >= self.best_nse[i] - self.settings.tolerance or self.kept_nse[i] == -math.inf:
                self.kept_nse[i], self.kept_update[i] = score, self.update
                for name, value in self.average.items():
                    self.kept[name][i] = value[i]
        return scores

    @torch.no_grad()
    def simulate(self, weights: dict[str, Tensor]) -> np.ndarray:
        """Simulate runoff [mm per step] of the whole record with given weights, (H, T)."""
        self.network.eval()
        runoff = torch.func.functional_call(self.network, weights, self.pack.inputs())
        self.network.train()
        return runoff[:, self.pack.spinup :].cpu().numpy()

    # State

    def tensors(self) -> dict[str, Tensor]:
        """All tensors (H, ...) of the state by name; creates the optimiser's moments if needed."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.network.named_parameters():
            moments = self.optimiser.state[parameter]
            moments["step"] = torch.tensor(float(self.update))
            if "exp_avg" not in moments:
                moments["exp_avg"] = torch.zeros_like(parameter)
                moments["exp_avg_sq"] = torch.zeros_like(parameter)
            tensors[f"weight.{name}"] = parameter
            tensors[f"average.{name}"] = self.average[name]
            tensors[f"kept.{name}"] = self.kept[name]
            tensors[f"mean.{name}"] = moments["exp_avg"]
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        return tensors

    def snapshot(self) -> dict[str, Tensor]:
        """Copy all tensors of the state."""
        return {name: value.detach().clone() for name, value in self.tensors().items()}

    @torch.no_grad()
    def start(self, weights: Sequence[dict[str, Tensor]]) -> None:
        """Begin from given weights of each head, (1, ...) each; others stay as they are."""
        patch = self.settings.patch
        for row, (head, given) in enumerate(zip(self.heads, weights, strict=True)):
            for name, parameter in self.network.named_parameters():
                own = without_padding(name, parameter[row : row + 1], head, patch)
                own.copy_(given.get(name, own))
                self.average[name][row] = parameter[row]
        self.restart_point = self.snapshot()
        self.validate()

    @torch.no_grad()
    def restart(self, rows: Sequence[int]) -> None:
        """Put heads back to the restart point, to continue at a lower rate."""
        for name, value in self.tensors().items():
            for row in rows:
                value[row] = self.restart_point[name][row]
        self.rate_factor[list(rows)] *= self.settings.restart_rate

    @torch.no_grad()
    def select(self, rows: Sequence[int]) -> Trainer:
        """Continue the training of some of the heads."""
        heads, device = [self.heads[row] for row in rows], self.pack.runoff.device
        rest = Trainer(heads, self.settings, device, self.pack.select(rows))
        rest.update = self.update
        state, patch = self.tensors(), self.settings.patch
        for name, target in rest.tensors().items():
            own = [
                without_padding(name, state[name][row : row + 1], self.heads[row], patch)
                for row in rows
            ]
            stack_padded(target, own)
        for name in ("best_nse", "kept_nse", "kept_update", "rate_factor"):
            getattr(rest, name).copy_(getattr(self, name)[list(rows)])
        rest.restart_point = rest.snapshot()
        return rest


def new_network(heads: Sequence[HeadData], watersheds: Watersheds, settings: Settings) -> DomST:
    """Create the untrained network of some heads: each initialised alone, then stacked."""
    cpu, forcings = torch.device("cpu"), len(heads[0].channels) - 1
    states = []
    for head in heads:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head_seed(settings.seed, head.site_no))
            alone = DomST(make_watersheds([head], settings, cpu), forcings, settings)
            states.append(alone.state_dict())
    network = DomST(watersheds, forcings, settings)
    for name, parameter in network.named_parameters():
        stack_padded(parameter, [state[name] for state in states])
    return network


def head_seed(seed: int, site_no: str, update: int | None = None) -> int:
    """Seed of a head's initial weights, or of one of its updates.

    It depends on the run's seed and the gauge alone, not on the placement or earlier draws.
    """
    of = f"{seed}/{site_no}" if update is None else f"{seed}/{site_no}/{update}"
    return int.from_bytes(hashlib.sha256(of.encode()).digest()[:7], "big")
