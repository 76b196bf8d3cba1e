"""Train a pack of heads on one device: encode once, gather stretches, keep the best on validation.

Heads of a pack share nothing but the clock: each has its own start, its own random stretches and
dropout, its own gradient norm and its own best weights, so that a head's result does not depend
on the pack or the worker that it was placed in.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.evaluation.metrics import nse
from model.inputs.pack import Pack, make_pack, make_sheds
from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.network.watersheds import Watersheds
from model.settings import Settings
from model.training.cuda_graph import Captured
from model.training.loss import runoff_loss
from model.training.padding import own_size, stack

PHYSICAL = ("log_velocity", "log_dispersion", "log_efficiency")
RESTARTS = 3  # of a head whose loss is not finite, each at SLOWER times the learning rate before
SLOWER = 0.3
TOGETHER = 2**20  # cells times steps that a CPU encodes at once; more only costs page faults


def head_seed(seed: int, site_no: str, update: int | None = None) -> int:
    """A head's own seed, of its start or of an update: it depends on the run's seed and the gauge,
    not on the placement, nor on what was drawn before."""
    of = f"{seed}/{site_no}" if update is None else f"{seed}/{site_no}/{update}"
    return int.from_bytes(hashlib.sha256(of.encode()).digest()[:7], "big")


def new_network(heads: Sequence[HeadData], sheds: Watersheds, settings: Settings) -> DomST:
    """The untrained network of some heads: each initialised alone, then stacked."""
    cpu, forcings = torch.device("cpu"), len(heads[0].channels) - 1
    states = []
    for head in heads:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(head_seed(settings.seed, head.site_no))
            states.append(DomST(make_sheds([head], cpu), forcings, settings).state_dict())
    network = DomST(sheds, forcings, settings)
    for name, parameter in network.named_parameters():
        stack(parameter, [state[name] for state in states])
    return network


def learning_rate(update: int, settings: Settings) -> float:
    """Linear rise over the first share `rise` of the updates, then a cosine to 2 %; the refit's
    updates do the same again, at their own rate."""
    updates, rate = settings.updates, settings.learning_rate
    if update >= updates:
        update, updates, rate = update - updates, settings.refit, rate * settings.refit_rate
    rise = max(1, round(settings.rise * updates))
    if update < rise:
        return rate * (update + 1) / rise
    done = (update - rise) / max(1, updates - rise)
    return rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer:
    """The state of a pack in training, from which it can be saved and taken up again."""

    def __init__(
        self,
        heads: Sequence[HeadData],
        settings: Settings,
        device: torch.device,
        pack: Pack | None = None,
    ) -> None:
        """Args: pack: of these heads, if there is one."""
        self.heads, self.settings = heads, settings
        self.pack = make_pack(heads, settings.warmup, device) if pack is None else pack
        self.length = min(settings.stretch, heads[0].split.train.stop)  # steps with loss
        self.network = new_network(heads, self.pack.sheds, settings).to(device)
        named = list(self.network.named_parameters())
        physical = [p for n, p in named if n.endswith(PHYSICAL)]
        learned = [p for n, p in named if not n.endswith(PHYSICAL)]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": learned, "times": 1.0, "weight_decay": settings.weight_decay},
                {"params": physical, "times": settings.physical_rate, "weight_decay": 0.0},
            ]
        )
        self.average = {n: p.detach().clone() for n, p in named}
        self.kept = {n: p.detach().clone() for n, p in named}
        self.best_nse = torch.full((len(heads),), -math.inf, dtype=torch.float64)
        self.kept_nse = torch.full((len(heads),), -math.inf, dtype=torch.float64)
        self.kept_update = torch.zeros(len(heads), dtype=torch.int64)
        self.rate = torch.ones(len(heads), dtype=torch.float64)  # SLOWER ** restarts
        self.update = 0
        self.ahead: tuple[Tensor, Tensor] | None = None  # the next update's draw
        self.captured: Captured | None = None
        self.safe = self.snapshot()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor (H, ...) of the state, named; the optimiser's moments are made if new."""
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
        """A copy of `tensors`."""
        return {name: value.detach().clone() for name, value in self.tensors().items()}

    def taught(self, update: int) -> int:
        """Steps of the record that an update learns from."""
        split = self.heads[0].split
        return (split.train if update < self.settings.updates else split.known).stop

    def draw(self, update: int) -> tuple[Tensor, Tensor]:
        """Stretches and dropout of an update, drawn on the CPU from each head's own seed.

        Returns:
            (H, B) first step with loss of each stretch, counted in the pack's steps, and
            (H, B, 1, M) dropout masks; in pinned memory for a GPU.
        """
        settings, spinup = self.settings, self.pack.spinup
        record, length = self.taught(update), self.length
        starts, masks = [], []
        for head in self.heads:
            seed = head_seed(settings.seed, head.site_no, update)
            generator = torch.Generator().manual_seed(seed)
            # half a stretch beyond each end, clipped: the record's ends are drawn as often
            low, high = -(length // 2), record - length + length // 2
            start = torch.randint(low, high + 1, (settings.batch,), generator=generator)
            starts.append(start.clamp(0, record - length) + spinup)
            keep = 1 - settings.dropout
            mask = torch.rand(settings.batch, 1, settings.hidden, generator=generator) < keep
            masks.append(mask / keep)
        drawn = torch.stack(starts), torch.stack(masks)
        if self.pack.runoff.is_cuda:
            return drawn[0].pin_memory(), drawn[1].pin_memory()
        return drawn

    def losses(self, starts: Tensor, keep: Tensor) -> Tensor:
        """Losses (H,) of a draw."""
        settings, pack = self.settings, self.pack
        starts, keep = (x.to(pack.runoff.device, non_blocking=True) for x in (starts, keep))
        offsets = torch.arange(-settings.warmup, self.length, device=starts.device)
        steps = starts[..., None] + offsets  # (H, B, W + L)
        head = torch.arange(len(starts), device=starts.device)[:, None, None]
        inputs, routed = self.encode(steps)
        runoff = self.network.decode(inputs, routed, pack.past[head, steps], keep)
        return runoff_loss(
            runoff[..., settings.warmup :],
            pack.runoff[head, steps[..., settings.warmup :]],
            pack.sheds.runoff_scale,
            settings.sqrt_loss,
        )

    def gradients(self, starts: Tensor, keep: Tensor) -> Tensor:
        """Losses (H,) of a draw; their gradients are left in the parameters."""
        self.optimiser.zero_grad()
        losses = self.losses(starts, keep)
        losses.sum().backward()
        return losses.detach()

    def step(self) -> Tensor:
        """One gradient step of every head; returns the losses (H,)."""
        settings, device = self.settings, self.pack.runoff.device
        drawn = self.ahead or self.draw(self.update)
        if self.update == settings.updates:
            self.captured = None  # of the training years alone
        if settings.capture and device.type == "cuda" and self.captured is None:
            self.captured = Captured(self.gradients, drawn, device)
        losses = (self.captured or self.gradients)(*drawn)
        self.ahead = self.draw(self.update + 1)  # while a GPU computes
        self._clip()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.update, settings) * group["times"]
        self._move()
        self.update += 1
        decay = min(settings.averaging, self.update / (10 + self.update))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self.average[name].lerp_(parameter, 1 - decay)
        return losses

    def encode(self, steps: Tensor) -> tuple[Tensor, ...]:
        """What the network's `encode` says of stretches of steps (H, B, L).

        Either all steps that teach are encoded and the stretches gathered, or the stretches are cut
        out, each behind the steps that the contribution block looks back at, and encoded alone:
        whichever is fewer steps. The usual form of the training, `windows`, always cuts.
        """
        pack, reach = self.pack, self.network.reach
        head = torch.arange(len(steps), device=steps.device)[:, None, None]
        end = pack.spinup + self.taught(self.update)
        if not self.settings.windows and steps.shape[1] * (reach + steps.shape[2]) >= end:
            return tuple(x[head, steps] for x in self.network.encode(*pack.forcings(end)))
        before = steps[..., :1] + torch.arange(-reach, 0, device=steps.device)
        cut = torch.cat([before, steps], -1)
        together = cut.shape[1]
        if cut.device.type == "cpu":
            together = max(1, TOGETHER // (pack.water[0, 0].numel() * cut.shape[2]))
        parts = []
        for some in cut.split(together, 1):
            # put one after the other they are a record like any other: what the block carries
            # over from one to the next ends before the next one's steps begin
            water, state, basin = (
                x[head, some.clamp(min=0)].flatten(1, 2) for x in pack.forcings()
            )
            water = water * (some >= 0).flatten(1)[..., None, None]  # it is dry before the record
            encoded = self.network.encode(water, state, basin)
            parts.append([x.unflatten(1, some.shape[1:])[:, :, reach:] for x in encoded])
        return tuple(torch.cat(series, 1) for series in zip(*parts, strict=True))

    def _clip(self) -> None:
        """Scale each head's gradient to a norm of at most `clip`."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.stack([g.view(len(g), -1).square().sum(1) for g in gradients]).sum(0).sqrt()
        scale = (self.settings.clip / norm.clamp(min=1e-12)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))

    @torch.no_grad()
    def _move(self) -> None:
        """The optimiser's step, shortened for heads that were restarted."""
        if (self.rate == 1).all():
            self.optimiser.step()
            return
        parameters = list(self.network.parameters())
        before = [parameter.clone() for parameter in parameters]
        self.optimiser.step()
        for parameter, old in zip(parameters, before, strict=True):
            rate = self.rate.to(parameter).view(-1, *[1] * (parameter.dim() - 1))
            parameter.copy_(old.lerp(parameter, rate))

    @torch.no_grad()
    def start(self, weights: Sequence[dict[str, Tensor]]) -> None:
        """Begin from given weights, (1, ...) each, of each head; others stay as they are."""
        for row, (head, given) in enumerate(zip(self.heads, weights, strict=True)):
            for name, parameter in self.network.named_parameters():
                own = own_size(name, parameter[row : row + 1], head)
                own.copy_(given.get(name, own))
                self.average[name][row] = parameter[row]
        self.safe = self.snapshot()
        self.validate()

    @torch.no_grad()
    def restart(self, rows: Sequence[int]) -> None:
        """Put heads back to where `safe` has them, to go on at a lower rate."""
        for name, value in self.tensors().items():
            for row in rows:
                value[row] = self.safe[name][row]
        self.rate[list(rows)] *= SLOWER

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> Trainer:
        """The training of some of the heads, where it stands."""
        heads, device = [self.heads[row] for row in rows], self.pack.runoff.device
        rest = Trainer(heads, self.settings, device, self.pack.keep(rows))
        rest.update = self.update
        state = self.tensors()
        for name, target in rest.tensors().items():
            stack(
                target,
                [own_size(name, state[name][row : row + 1], self.heads[row]) for row in rows],
            )
        for name in ("best_nse", "kept_nse", "kept_update", "rate"):
            getattr(rest, name).copy_(getattr(self, name)[list(rows)])
        rest.safe = rest.snapshot()
        return rest

    @torch.no_grad()
    def simulate(self, weights: dict[str, Tensor]) -> np.ndarray:
        """Runoff [mm per step], (H, T), of the whole record with the given weights."""
        self.network.eval()
        runoff = torch.func.functional_call(self.network, weights, self.pack.inputs())
        self.network.train()
        return runoff[:, self.pack.spinup :].cpu().numpy()

    def validate(self) -> list[float]:
        """Validation NSE of the averaged weights, which heads keep unless they got worse.

        The later weights are the better ones in years that were not seen, and one validation year
        is a noisy judge: what is within `tolerance` of the head's highest score is kept. In a refit
        these years teach and judge no more: the score stays, and what is finite is kept.
        """
        runoff = self.simulate(self.average)
        scores = []
        for i, head in enumerate(self.heads):
            held = head.split.validation
            simulated = runoff[i, held].astype(np.float64)
            sound = np.isfinite(simulated).all()
            score = nse(simulated, head.runoff[held].astype(np.float64)) if sound else math.nan
            if sound and self.update > self.settings.updates:
                score = float(self.kept_nse[i])
            scores.append(score)
            if sound:
                self.best_nse[i] = max(score, float(self.best_nse[i]))
            if score >= self.best_nse[i] - self.settings.tolerance or self.kept_nse[i] == -math.inf:
                self.kept_nse[i], self.kept_update[i] = score, self.update
                for name, value in self.average.items():
                    self.kept[name][i] = value[i]
        return scores
