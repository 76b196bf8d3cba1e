"""Dom-ST: rain images, through contributions, a CNN and an LSTM, to runoff. Read top to bottom.

Every parameter and every tensor carries a leading head dimension, so the same module is one head
or a pack of many; heads never mix. A step is encoded once, whatever stretches it takes part in.

    H heads   T steps   N cells   C channels   Y, X window   B stretches   L steps of a stretch
    M hidden units   I inputs of the LSTM   R location maps   W memories of wetness
    S states of a cell: its other forcings, then its wetness   G series of the basin as a whole
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.inputs.soil import CAPACITIES
from model.network.contribution import Contribution
from model.network.encoder import ImageEncoder
from model.network.layers import HeadLinear, products
from model.network.lstm import HeadLSTM
from model.network.watersheds import Watersheds
from model.settings import Precision, Settings

PIECE = 4096  # steps of a record that are encoded together when it is simulated
DRY = 0.01  # mm, keeps the square root's slope finite
SHED = 0.5  # of the rain, by rain and soil stores mixed evenly: where the block starts from
WATERS = 1 + len(CAPACITIES)  # rain, and what each soil store sheds of it
CELL_MEMORY_DAYS = (10.0, 60.0)  # of the wetness of a cell
CELL_STATES = len(CAPACITIES) + len(CELL_MEMORY_DAYS)
BASIN_MEMORY_DAYS = (5.0, 20.0, 60.0, 180.0)  # of the wetness of the basin
SEASON = 2  # sine and cosine of the day of the year
PAST = 3  # runoff of the step before, its root, and whether it was observed


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
