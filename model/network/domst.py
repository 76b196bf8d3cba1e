"""Dom-ST: from maps of rain through contributions, a CNN and an LSTM to runoff.

Every parameter and every tensor has a leading head dimension, so that the same module is one head
or a pack of many; heads never mix. Each step is encoded once, however many stretches contain it.

    H heads   T steps   N cells   R water series: rain, excess of each soil store
    B stretches   L steps of a stretch   M hidden units   I inputs of the LSTM
    S states of a cell: other forcings, filling of each soil store, antecedent wetness
    G basin series: season, antecedent wetness, mean states
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.contribution import Contribution
from model.network.encoder import ImageEncoder
from model.network.layers import HeadLinear, matmul_precision
from model.network.lstm import HeadLSTM
from model.network.watersheds import Watersheds
from model.settings import Settings

MAX_ENCODED_STEPS = 4096  # steps of a record that are encoded together in simulation
SEASON = 2  # sine and cosine of the day of year
PAST_RUNOFF = "past_runoff"  # the LSTM's one input that `decode` adds, not `encode`


class DomST(nn.Module):
    """One Dom-ST head per watershed.

    Args:
        watersheds: static tensors of the H watersheds.
        forcings: number of forcing channels besides rain.
        settings: sizes and switches.
    """

    gate: Tensor

    def __init__(self, watersheds: Watersheds, forcings: int, settings: Settings) -> None:
        super().__init__()
        heads = len(watersheds.share)
        states = forcings + settings.wetness_states
        self.watersheds, self.forcings, self.settings = watersheds, forcings, settings
        self.contribution = (
            Contribution(watersheds, states, settings) if settings.contribution else None
        )
        channels = 1 + settings.contribution + forcings
        self.encoder = ImageEncoder(watersheds, channels, settings) if settings.cnn else None
        self.lstm_inputs = lstm_inputs(settings, forcings, watersheds.attributes.shape[-1])
        self.lstm = HeadLSTM(heads, sum(self.lstm_inputs.values()), settings)
        self.outputs = output_names(settings)
        self.output = HeadLinear(heads, settings.hidden, len(self.outputs), settings.output_gain)
        self._start_at_mean_runoff()

    def forward(
        self, rain: Tensor, state: Tensor, water: Tensor, basin: Tensor, past: Tensor
    ) -> Tensor:
        """Simulate runoff [mm per step] from the first step to the last, (H, T).

        The record is encoded in pieces, so that the memory is that of one piece, besides the
        forcings and the LSTM's inputs.

        Args:
            rain, state, water, basin: see `encode`.
            past: (H, T) runoff of the previous step [mm per step], NaN where missing.
        """
        pieces = []
        for first in range(0, rain.shape[1], MAX_ENCODED_STEPS):
            start = max(0, first - self.reach)
            piece = slice(start, first + MAX_ENCODED_STEPS)
            encoded = self.encode(*(x[:, piece] for x in (rain, state, water, basin)))
            pieces.append([x[:, first - start :] for x in encoded])
        inputs, routed = (torch.cat(parts, 1) for parts in zip(*pieces, strict=True))
        return self.decode(inputs[:, None], routed[:, None], past[:, None])[:, -1, 0]

    def encode(
        self, rain: Tensor, state: Tensor, water: Tensor, basin: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode every step of a contiguous record once.

        Args:
            rain: (H, T, N) rain of the cells [mm per step].
            state: (H, T, S, N) states of the cells, standardised.
            water: (H, T, R) basin means of rain and of each soil store's excess [mm per step].
            basin: (H, T, G) basin series.

        Returns:
            (H, T, I') inputs of the LSTM, all but past runoff, and (H, T) routed rain
            [mm per step], which without the contribution block is the basin mean.
        """
        share, scale = self.watersheds.share, self.watersheds.rain_scale[:, None]
        offset = self.settings.sqrt_offset
        routed = water[..., 0]  # (H, T)
        depth = water / scale[..., None]
        series = {
            "water": depth,
            "sqrt_water": (depth + offset / scale[..., None]).sqrt(),
            "basin": basin,
        }
        images = [rain / scale[..., None]]  # (H, T, N) each
        if self.contribution is not None:
            effective = self.contribution.effective(rain, state)  # (H, T, N)
            weights = self.contribution.weights()  # (H, N, K)
            routed = self.contribution.routed(effective, weights)  # (H, T)
            series["routed"] = (routed / scale)[..., None]
            series["sqrt_routed"] = ((routed + offset) / scale).sqrt()[..., None]
            if self.encoder is not None:
                cells = (share > 0).sum(-1)[:, None, None]
                delivered = self.contribution.delivered(effective, weights)  # (H, T, N)
                images.append(delivered * (cells / scale[..., None]))  # depth on the mean cell
        if self.encoder is not None:
            images += state[:, :, : self.forcings].unbind(2)
            with matmul_precision(self.settings.precision, rain.device):
                encoded = self.encoder(images)
            series["image"] = encoded.to(rain.dtype)  # (H, T, E)
        if "attributes" in self.lstm_inputs:
            attributes = self.watersheds.attributes[:, None]
            series["attributes"] = attributes.expand(-1, rain.shape[1], -1)
        assert {name: x.shape[-1] for name, x in series.items()} == {
            name: width for name, width in self.lstm_inputs.items() if name != PAST_RUNOFF
        }
        return torch.cat([series[name] for name in self.lstm_inputs if name in series], -1), routed

    def decode(
        self, inputs: Tensor, routed: Tensor, past: Tensor, dropout_mask: Tensor | None = None
    ) -> Tensor:
        """Compute runoff [mm per step] of stretches that start from rest, by each readout.

        Two readouts share one LSTM. The direct one is the LSTM's alone. The gated one adds the
        share of the routed rain that runs off fast, so that a flood beyond those of the training
        still follows from its rain; it is the answer. The direct one is trained beside it because
        memory that can tell runoff by itself serves both; without the gated one it is the answer.

        With `history` the LSTM also sees the runoff of the previous step, and each readout is there
        twice: as it is, and corrected by learned shares of its own error in the previous step,
        where runoff was observed, and of that error's change.

        Args:
            inputs, routed: (H, B, L, I') and (H, B, L), gathered from what `encode` returned.
            past: (H, B, L) runoff of the previous step [mm per step], NaN where missing.
            dropout_mask: (H, B, 1, M) mask of the LSTM's output, already scaled.

        Returns:
            (H, readouts, B, L); the last readout is the answer.
        """
        scale = self.watersheds.runoff_scale[:, None, None]
        if PAST_RUNOFF in self.lstm_inputs:
            inputs = torch.cat([inputs, self._past_runoff(past)], -1)
        hidden = self.lstm(inputs)  # (H, B, L, M)
        if dropout_mask is not None:
            hidden = hidden * dropout_mask
        out = dict(zip(self.outputs, self.output(hidden).unbind(-1), strict=True))
        readouts = [F.softplus(out["direct"])]
        if self.settings.gated:
            fast = 2 * torch.sigmoid(self.gate + out["fast_share"]) * routed / scale
            readouts.append(F.softplus(out["gated"] + fast))
        runoff = torch.stack(readouts, 1) * scale[:, None]
        if PAST_RUNOFF not in self.lstm_inputs:
            return runoff
        previous = F.pad(runoff[..., :-1], (1, 0), value=torch.nan)  # none before the first step
        error = (past[:, None] - previous).nan_to_num(0.0)
        trend = error - F.pad(error[..., :-1], (1, 0))
        error_share = torch.sigmoid(out["error_share"])[:, None]
        trend_share = torch.tanh(out["trend_share"])[:, None]
        corrected = runoff + error_share * error + trend_share * trend
        return torch.cat([runoff, corrected.clamp(min=0)], 1)

    @property
    def reach(self) -> int:
        """Number of previous steps that the encoding of a step depends on."""
        return 0 if self.contribution is None else self.contribution.lags - 1

    def _past_runoff(self, past: Tensor) -> Tensor:
        """Scaled runoff of the previous step, its root, whether it was observed: (H, B, L, 3)."""
        scale = self.watersheds.runoff_scale[:, None, None]
        observed = past.isfinite()
        runoff = torch.where(observed, past.clamp(min=0), 0.0) / scale
        root = (runoff + self.settings.sqrt_offset / scale).sqrt()
        return torch.stack([runoff, root, observed.to(runoff)], -1)

    def _start_at_mean_runoff(self) -> None:
        """Set biases so that both readouts start near the watershed's mean runoff."""
        watersheds, settings = self.watersheds, self.settings
        bias = dict(zip(self.outputs, self.output.bias.data[:, 0].unbind(-1), strict=True))
        mean = watersheds.runoff_mean / watersheds.runoff_scale
        mean = mean.clamp(min=settings.min_start_runoff)
        bias["direct"].copy_(inverse_softplus(mean))
        if not settings.gated:
            return
        rain = watersheds.rain_mean  # [mm per step]
        runs_off = (watersheds.runoff_mean / rain).clamp(1e-6, 1.0)
        gate = torch.logit(runs_off / 2)  # fast runoff starts as large as all runoff is
        self.register_buffer("gate", gate[:, None, None], persistent=False)
        fast = runs_off * rain / watersheds.runoff_scale
        bias["gated"].copy_(inverse_softplus(mean - fast.minimum(mean / 2)))


def lstm_inputs(settings: Settings, forcings: int, attributes: int) -> dict[str, int]:
    """Names and widths of the LSTM's inputs, in their order.

    Args:
        forcings: number of forcing channels besides rain.
        attributes: number of static attributes of a watershed.
    """
    states = forcings + settings.wetness_states
    routed = 1 if settings.contribution else 0
    widths = {
        "water": settings.water_series,
        "sqrt_water": settings.water_series,
        "routed": routed,
        "sqrt_routed": routed,
        "basin": SEASON + len(settings.basin_memories) + states,
        "image": settings.image_features if settings.cnn else 0,
        "attributes": attributes if settings.trunk == "shared" else 0,
        PAST_RUNOFF: 3 if settings.history else 0,
    }
    return {name: width for name, width in widths.items() if width}


def output_names(settings: Settings) -> tuple[str, ...]:
    """Names of the output layer's units, in their order."""
    gated = ("fast_share", "gated") if settings.gated else ()
    corrected = ("error_share", "trend_share") if settings.history else ()
    return ("direct", *gated, *corrected)


def inverse_softplus(y: Tensor) -> Tensor:
    """Return x with softplus(x) = y > 0."""
    return y + torch.log(-torch.expm1(-y))
