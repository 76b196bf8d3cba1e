"""Dom-ST: rain images, through contributions, a CNN and an LSTM, to runoff. Read top to bottom.

Every parameter and every tensor carries a leading head dimension, so the same module is one head
or a pack of many; heads never mix. A step is encoded once, whatever stretches it takes part in.

    H heads   T steps   N cells   C channels   Y, X window   B stretches   L steps of a stretch
    M hidden units   I inputs of the LSTM   R location maps   W memories of wetness
    S states of a cell: its other forcings, then its wetness   G series of the basin as a whole
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor, nn
from torch.nn import functional as F

from model.inputs.soil import CAPACITIES
from model.network.contribution import Contribution
from model.network.recurrence import Recurrence
from model.settings import Precision, Settings

PATCH = 4  # cells: side of the patches that the convolution sees, and its stride
PIECE = 4096  # steps of a record that are encoded together when it is simulated
BATCHED_HEADS = 4  # from so many on a GPU steps all heads' LSTMs at once
BF16_DEVICES = ("cuda",)  # the others compute in fp32 whatever the setting
DRY = 0.01  # mm, keeps the square root's slope finite
SHED = 0.5  # of the rain, by rain and soil stores mixed evenly: where the block starts from
WATERS = 1 + len(CAPACITIES)  # rain, and what each soil store sheds of it
CELL_MEMORY_DAYS = (10.0, 60.0)  # of the wetness of a cell
CELL_STATES = len(CAPACITIES) + len(CELL_MEMORY_DAYS)
BASIN_MEMORY_DAYS = (5.0, 20.0, 60.0, 180.0)  # of the wetness of the basin
SEASON = 2  # sine and cosine of the day of the year
PAST = 3  # runoff of the step before, its root, and whether it was observed


@dataclass(frozen=True)
class Watersheds:
    """What does not change in time, for a pack of H heads.

    Only cells inside a watershed are kept: N is one more than the most that a head has, and cells
    beyond a head's own are empty. Windows are padded to one size.

    share (H, N): each cell's share of the watershed's area, sums to 1; 0 if empty.
    coverage (H, N): share of the cell inside the watershed.
    distance (H, N): flow distance [m].
    cell (H, Y, X): which cell lies at a place of the window; N - 1, an empty one, where none does.
    rain_scale, runoff_scale (H,): standard deviations over the training years [mm per step].
    rain_mean, runoff_mean (H,): means over the training years [mm per step].
    attributes (H, A): what tells one watershed from another.
    step_seconds: length of a step.
    interval_end: of each head's discharge, after the start of the step's rain [s].
    lags: steps that each head's contribution block looks back.
    """

    share: Tensor
    coverage: Tensor
    distance: Tensor
    cell: Tensor
    rain_scale: Tensor
    runoff_scale: Tensor
    rain_mean: Tensor
    runoff_mean: Tensor
    attributes: Tensor
    step_seconds: float
    interval_end: list[float]
    lags: list[int]

    def keep(self, rows: Sequence[int]) -> Watersheds:
        """Some of the heads, padded as all of them were."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = value[torch.tensor(list(rows), device=value.device)]
            elif isinstance(value, list):
                changed[field.name] = [value[row] for row in rows]
        return replace(self, **changed)

    def patches(self) -> tuple[Tensor, Tensor]:
        """The patches of 4 x 4 cells that touch the watershed, row by row.

        Returns:
            (H, P, 16) which cell lies at each of their places, N - 1 where none does, and (H, P)
            whether a patch is the head's own or padding.
        """
        empty = self.share.shape[1] - 1
        rows, columns = (-size % PATCH for size in self.cell.shape[1:])
        cell = F.pad(self.cell, (0, columns, 0, rows), value=empty)
        tiles = cell.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH)).transpose(2, 3)
        tiles = tiles.flatten(3).flatten(1, 2)
        touched = (tiles < empty).any(-1)  # (H, tiles)
        own = touched.sum(-1)
        order = (~touched).to(torch.int8).argsort(dim=-1, stable=True)[:, : int(own.max())]
        tiles = tiles.gather(1, order[..., None].expand(-1, -1, PATCH * PATCH))
        inside = torch.arange(tiles.shape[1], device=own.device) < own[:, None]
        return torch.where(inside[..., None], tiles, empty), inside


def products(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which a device takes matrix products and convolutions in `precision`."""
    reduced = precision == "bf16" and device.type in BF16_DEVICES
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced)


class HeadLinear(nn.Module):
    """H linear maps: (H, ..., in) to (H, ..., out)."""

    def __init__(self, heads: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))
        for weight in self.weight.data:
            nn.init.xavier_uniform_(weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return y.view(*x.shape[:-1], -1)


class HeadLSTM(nn.Module):
    """H LSTMs: (H, B, L, I) to (H, B, L, M).

    Fused kernels take one head after the other; a GPU that has many heads takes them all a step
    at a time instead, in kernels that a CUDA graph launches.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, precision: Precision) -> None:
        super().__init__()
        self.precision: Precision = precision
        self.input_weight = nn.Parameter(torch.empty(heads, 4 * hidden, inputs))
        self.hidden_weight = nn.Parameter(torch.empty(heads, 4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(heads, 4 * hidden))
        for head in range(heads):
            nn.init.xavier_uniform_(self.input_weight.data[head])
            for gate in self.hidden_weight.data[head].chunk(4):
                nn.init.orthogonal_(gate)
        self.bias.data[:, hidden : 2 * hidden] = 1.0  # the forget gate starts open

    def forward(self, x: Tensor) -> Tensor:
        together = x.device.type != "cpu" and len(x) >= BATCHED_HEADS
        return self.stepped(x) if together else self.fused(x)

    def stepped(self, x: Tensor) -> Tensor:
        """All heads at once, a step at a time; the recurrence in the precision of `x`."""
        steps_first = x.transpose(1, 2)
        with products(self.precision, x.device):
            fed = torch.baddbmm(self.bias[:, None], steps_first.flatten(1, 2), self.input_weight.mT)
        fed = fed.to(x.dtype).view(*steps_first.shape[:3], -1).transpose(0, 1).contiguous()
        hidden: Tensor = Recurrence.apply(fed, self.hidden_weight.mT)
        return hidden.permute(1, 2, 0, 3)

    def fused(self, x: Tensor) -> Tensor:
        """Head after head, each in the device's own kernel (cuDNN's knows no bf16)."""
        outputs = []
        for one, w_in, w_hidden, bias in zip(
            x, self.input_weight, self.hidden_weight, self.bias, strict=True
        ):
            zero = one.new_zeros(1, one.shape[0], w_hidden.shape[1])
            weights = [w_in, w_hidden, bias, torch.zeros_like(bias)]
            y, _, _ = torch.lstm(
                one, (zero, zero), weights, True, 1, 0.0, self.training, False, True
            )
            outputs.append(y)
        return torch.stack(outputs)


class ImageEncoder(nn.Module):
    """Images of cells, C of (H, T, N), to features (H, T, F).

    A convolution of 4 x 4 cells and stride 4, on the patches that touch the watershed alone. The
    channels that do not change, flow distance and coverage, are convolved once and added to every
    step. Pooling keeps location: R learned maps, each a softmax over the watershed's patches, that
    start as bands of flow distance from the outlet to the divide.
    """

    patch: Tensor
    inside: Tensor
    static: Tensor

    def __init__(self, sheds: Watersheds, channels: int, settings: Settings) -> None:
        super().__init__()
        heads, width = len(sheds.share), settings.conv_channels
        patch, inside = sheds.patches()
        self.register_buffer("patch", patch.flatten(1), persistent=False)  # (H, P 16)
        self.register_buffer("inside", inside[:, None], persistent=False)  # (H, 1, P)
        relative = sheds.distance / sheds.distance.amax(-1, keepdim=True)
        static = torch.stack([relative * (sheds.share > 0), sheds.coverage], 1)
        self.register_buffer("static", static, persistent=False)
        self.kernel = nn.Parameter(torch.empty(heads, channels + len(static[0]), 16, width))
        self.bias = nn.Parameter(torch.zeros(heads, 1, width))
        for kernel in self.kernel.data:
            nn.init.kaiming_uniform_(kernel.flatten(0, 1).T, nonlinearity="relu")
        index = self.patch[:, None].expand(-1, 2, -1)
        weight, path = (
            torch.stack([sheds.share, sheds.share * sheds.distance], 1)
            .gather(-1, index)
            .view(heads, 2, -1, 16)
            .sum(-1)
            .unbind(1)
        )
        path = path / weight.clamp(min=1e-12)
        relative = path / path.amax(-1, keepdim=True).clamp(min=1.0)
        bands = (torch.arange(settings.pools, device=path.device) + 0.5) / settings.pools
        offset = (relative[:, None] - bands[:, None]) * settings.pools
        self.location = nn.Parameter(-offset.square())  # (H, R, P)
        self.mix = HeadLinear(heads, width * settings.pools, settings.image_features)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        heads, steps = images[0].shape[:2]
        patches = self.inside.shape[-1]
        place = self.bias[:, None]  # (H, 1, 1, F')
        for layer, kernel in zip(self.static.unbind(1), self.kernel[:, -2:].unbind(1), strict=True):
            place = place + (
                layer.gather(-1, self.patch).view(heads, 1, patches, 16) @ kernel[:, None]
            )
        index = self.patch[:, None].expand(-1, steps, -1)
        x = place.expand(-1, steps, -1, -1).flatten(1, 2)
        for layer, kernel in zip(images, self.kernel.unbind(1), strict=False):
            x = torch.baddbmm(x, layer.gather(-1, index).view(heads, -1, 16), kernel)
        x = F.silu(x).view(heads, steps, patches, -1)
        pool = self.location.masked_fill(~self.inside, -torch.inf).softmax(-1)  # (H, R, P)
        pooled = pool[:, None] @ x  # (H, T, R, F')
        return torch.tanh(self.mix(pooled.flatten(2)))


class DomST(nn.Module):
    """One Dom-ST head a watershed.

    Args:
        sheds: the static fields of the pack's H watersheds.
        forcings: number of forcing channels besides rain.
        settings: sizes and switches.
    """

    gate: Tensor

    def __init__(self, sheds: Watersheds, forcings: int, settings: Settings) -> None:
        super().__init__()
        heads = len(sheds.share)
        self.sheds, self.forcings = sheds, forcings
        self.contribution = (
            Contribution(
                sheds.share,
                sheds.distance,
                sheds.step_seconds,
                sheds.interval_end,
                sheds.lags,
                WATERS,
                forcings + CELL_STATES,
            )
            if settings.contribution
            else None
        )
        channels = 1 + (1 if settings.contribution else 0) + forcings
        self.encoder = ImageEncoder(sheds, channels, settings) if settings.cnn else None
        inputs = 2 * WATERS + (2 if settings.contribution else 0) + forcings + CELL_STATES
        inputs += SEASON + len(BASIN_MEMORY_DAYS)
        inputs += settings.image_features if settings.cnn else 0
        self.told = settings.trunk == "shared"  # what watershed it is
        inputs += sheds.attributes.shape[1] if self.told else 0
        inputs += PAST if settings.history else 0
        self.precision: Precision = settings.precision
        self.lstm = HeadLSTM(heads, inputs, settings.hidden, settings.precision)
        outputs = (3 if settings.contribution else 1) + (2 if settings.history else 0)
        self.history = settings.history
        self.output = HeadLinear(heads, settings.hidden, outputs, 0.3)
        usual = (sheds.runoff_mean / sheds.runoff_scale).clamp(min=0.01)
        self.output.bias.data[:, 0, 0] = inverse_softplus(usual)
        if settings.contribution:  # fast runoff starts as large as all runoff is
            shed = SHED * sheds.rain_mean
            runs_off = (sheds.runoff_mean / shed).clamp(1e-6, 1.0)
            self.register_buffer("gate", torch.logit(runs_off / 2)[:, None, None], persistent=False)
            fast = runs_off * shed / sheds.runoff_scale
            self.output.bias.data[:, 0, 2] = inverse_softplus(usual - fast.minimum(usual / 2))

    def encode(self, water: Tensor, state: Tensor, basin: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every step of a contiguous stretch once.

        Args:
            water: (H, T, R, N) rain and what each soil store sheds of it [mm per step].
            state: (H, T, S, N), standardised.
            basin: (H, T, G), `season_of`, the basin's `antecedent_wetness`, its mean state.

        Returns:
            (H, T, I) what the LSTM sees, and (H, T) routed rain [mm per step], the basin mean
            without the contribution block.
        """
        sheds, scale = self.sheds, self.sheds.rain_scale[:, None]
        rain = water[:, :, 0]
        depths = (water * sheds.share[:, None, None]).sum(-1)  # (H, T, R)
        routed = depths[..., 0]
        depths = depths / scale[..., None]
        features = [*depths.unbind(-1), *(depths + DRY / scale[..., None]).sqrt().unbind(-1)]
        images = [rain / scale[..., None]]
        if self.contribution is not None:
            effective = self.contribution.effective(water, state)
            weights = self.contribution.weights()
            routed = self.contribution.routed(effective, weights)
            features += [routed / scale, ((routed + DRY) / scale).sqrt()]
            if self.encoder is not None:  # in mm of the mean cell
                cells = (sheds.share > 0).sum(-1)[:, None, None]
                delivered = self.contribution.delivered(effective, weights)
                images.append(delivered * (cells / scale[..., None]))
        inputs = [torch.stack(features, -1), basin]
        if self.encoder is not None:
            images += state[:, :, : self.forcings].unbind(2)
            with products(self.precision, rain.device):
                encoded = self.encoder(images)
            inputs.append(encoded.to(rain.dtype))
        if self.told:
            inputs.append(sheds.attributes[:, None].expand(-1, rain.shape[1], -1))
        return torch.cat(inputs, -1), routed

    def decode(
        self, inputs: Tensor, routed: Tensor, past: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """Runoff [mm per step] by each readout, (H, R, B, L), the last of which is the answer;
        stretches start from rest.

        Two readouts see one memory. The gated one adds the share of the routed rain that runs off
        fast to what the LSTM says, so that a flood beyond those that taught follows from its rain.
        The direct one is the LSTM's alone and cannot go beyond: it is trained beside the other, as
        a memory that can tell runoff by itself serves both, and not used. Without the contribution
        block it is the answer.

        With `history` the LSTM also sees the runoff of the step before, and each readout is there
        twice: as it is, and corrected by learned shares of its own error one step before, where
        runoff was observed then, and of that error's change.

        Args:
            inputs, routed: (H, B, L, I) and (H, B, L), gathered from what `encode` returned.
            past: (H, B, L) runoff of the step before [mm per step], NaN where missing.
            keep: (H, B, 1, M) dropout mask, already scaled.
        """
        scale = self.sheds.runoff_scale[:, None, None]
        if self.history:
            seen = past.isfinite()
            known = torch.where(seen, past.clamp(min=0), 0.0) / scale
            root = (known + DRY / scale).sqrt()
            inputs = torch.cat([inputs, torch.stack([known, root, seen.to(known)], -1)], -1)
        state = self.lstm(inputs)
        if keep is not None:
            state = state * keep
        out = self.output(state)
        readouts = [F.softplus(out[..., 0])]
        if self.contribution is not None:
            fast = 2 * torch.sigmoid(self.gate + out[..., 1]) * routed / scale
            readouts.append(F.softplus(out[..., 2] + fast))
        runoff = torch.stack(readouts, 1) * scale[:, None]
        if not self.history:
            return runoff
        before = F.pad(runoff[..., :-1], (1, 0), value=torch.nan)  # none before the first step
        error = (past[:, None] - before).nan_to_num(0.0)
        trend = error - F.pad(error[..., :-1], (1, 0))
        share, slope = torch.sigmoid(out[..., -2]), torch.tanh(out[..., -1])
        corrected = runoff + share[:, None] * error + slope[:, None] * trend
        return torch.cat([runoff, corrected.clamp(min=0)], 1)

    @property
    def reach(self) -> int:
        """Steps before a step that its encoding looks back at."""
        return 0 if self.contribution is None else self.contribution.lags - 1

    def forward(self, water: Tensor, state: Tensor, basin: Tensor, past: Tensor) -> Tensor:
        """Runoff [mm per step], (H, T), from the first step to the last.

        Encoded piece by piece, so that memory is that of a piece besides the forcings and the few
        series that the LSTM sees.
        """
        pieces = []
        for first in range(0, water.shape[1], PIECE):
            start = max(0, first - self.reach)
            piece = self.encode(*(x[:, start : first + PIECE] for x in (water, state, basin)))
            pieces.append([x[:, first - start :] for x in piece])
        inputs, routed = (torch.cat(parts, 1) for parts in zip(*pieces, strict=True))
        return self.decode(inputs[:, None], routed[:, None], past[:, None])[:, -1, 0]


def inverse_softplus(y: Tensor) -> Tensor:
    """x with softplus(x) = y > 0."""
    return y + torch.log(-torch.expm1(-y))


def season_of(day_of_year: np.ndarray) -> np.ndarray:
    """(T,) days of the year to (T, 2) sine and cosine, float32."""
    angle = day_of_year * (2 * math.pi / 365.25)
    return np.stack([np.sin(angle), np.cos(angle)], -1).astype(np.float32)


def antecedent_wetness(
    rain: np.ndarray, usual: np.ndarray, memory_days: Sequence[float], steps_per_day: float
) -> np.ndarray:
    """Rain of the past, averaged with exponential memories, (T, W, ...) float32.

    As the deviation from the usual rain, in units of it; 0 where it never rains. An LSTM could
    integrate rain itself, but learns to from a few years only badly, and not cell by cell.

    Args:
        rain: (T, ...) [mm per step].
        usual: (...) mean over the training years [mm per step].
    """
    maps = np.empty((len(rain), len(memory_days), *usual.shape), np.float32)
    for i, days in enumerate(memory_days):
        keep = math.exp(-1 / (days * steps_per_day))
        wet, _ = lfilter([1 - keep], [1, -keep], rain, axis=0, zi=keep * usual[None])
        wet /= np.maximum(usual, 1e-6)
        wet -= 1
        maps[:, i] = np.where(usual > 0, wet, 0)
    return maps
