"""Pixel-contribution block: how much water each cell delivers to the outlet, and when.

Rain on a cell travels `distance` metres along the flow path. Its travel time follows the
advection-dispersion equation with a velocity and a dispersion that are learned per watershed. Rain
falls evenly over a step of s seconds. Discharge is a mean over an interval of the same length that
ends o seconds after the start of the rain's step. The share of a step's rain that arrives tau
intervals later then has a closed form:

    k(tau | d) = (G(a) - 2 G(a - s) + G(a - 2 s)) / s     a = tau s + o
    r_i(t)     = p_i(t) e_i 2 sigmoid(b0 + sum_k b_k s_ik(t))
    c_i(t)     = share_i sum_tau k(tau | d_i) r_i(t - tau)

G is the integral over time of F, the share of a pulse that has passed. r is effective rain: the
rain p, times a learned efficiency e_i of the cell, times a factor between 0 and 2 for the cell's
state s (wetness, filling of its soil stores, temperature), with weights b that all cells of a
watershed share. Rain turns into runoff where it falls, and travels then. Settings can leave out the
factor or the travel times; rain then counts as it is, or arrives in its own step.

The kernel sums to at most one over tau, so no mass is made. What would arrive after the last lag is
reported (`truncated`) and not used.

    H heads   T steps   N cells   K lags   S states of a cell
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.watersheds import Watersheds
from model.settings import Settings

RSQRT2 = math.sqrt(0.5)


class Contribution(nn.Module):
    """Contributions of the cells of H watersheds.

    Args:
        watersheds: their static tensors.
        states: number of state channels of a cell.
        settings: parts to leave out, initial velocity and dispersion, shortest path.
    """

    share: Tensor
    distance: Tensor
    within: Tensor
    ends: Tensor

    def __init__(self, watersheds: Watersheds, states: int, settings: Settings) -> None:
        super().__init__()
        share, lags = watersheds.share, watersheds.lags
        heads = len(share)
        if not settings.travel_time:
            lags = [1] * heads
        self.step_seconds = watersheds.step_seconds
        self.lags = max(lags)
        within = torch.arange(self.lags) < torch.tensor(lags)[:, None]  # of the head's own lags
        ends = torch.arange(self.lags) * self.step_seconds
        ends = ends + torch.tensor(watersheds.interval_end)[:, None]
        distance = watersheds.distance.clamp(min=settings.shortest_path)
        self.register_buffer("ends", ends[:, None].to(share), persistent=False)  # (H, 1, K)
        self.register_buffer("within", within[:, None].to(share), persistent=False)  # (H, 1, K)
        self.register_buffer("share", share, persistent=False)  # (H, N)
        self.register_buffer("distance", distance, persistent=False)  # (H, N)
        self.travels = settings.travel_time
        self.weighs_states = settings.cell_states and states > 0
        if self.travels:
            velocity, dispersion = settings.start_velocity, settings.start_dispersion
            self.log_velocity = nn.Parameter(torch.full((heads,), math.log(velocity)))
            self.log_dispersion = nn.Parameter(torch.full((heads,), math.log(dispersion)))
        self.log_efficiency = nn.Parameter(torch.zeros_like(share))
        if self.weighs_states:
            self.state_weight = nn.Parameter(torch.zeros(heads, states))
            self.state_bias = nn.Parameter(torch.zeros(heads))

    def kernel(self) -> Tensor:
        """Kernel k(tau | d) of every cell, (H, N, K); sums over tau to at most 1.

        Without travel times all rain arrives in its own step, K = 1.
        """
        if not self.travels:
            return torch.ones_like(self.share)[..., None]
        arrived = integrated_passage(  # in double precision: a second difference follows
            self.ends.double(),
            self.distance[..., None].double(),
            self.log_velocity.double().exp()[:, None, None],
            self.log_dispersion.double().exp()[:, None, None],
        )
        shares = F.pad(arrived / self.step_seconds, (2, 0)).diff(n=2).to(self.share)
        return shares.clamp(min=0) * self.within

    def truncated(self) -> Tensor:
        """Area-weighted share of the rain that arrives after the last lag, (H,)."""
        return 1 - (self.kernel().sum(-1) * self.share).sum(-1)

    def effective(self, rain: Tensor, state: Tensor) -> Tensor:
        """Compute effective rain, the part that runs off [mm per step], (H, T, N).

        Args:
            rain: (H, T, N) [mm per step].
            state: (H, T, S, N) states of the cells, standardised.
        """
        effective = rain * self.log_efficiency.exp()[:, None]
        if self.weighs_states:
            score = (self.state_weight[:, None, None] @ state).squeeze(2)  # (H, T, N)
            effective = effective * (2 * torch.sigmoid(score + self.state_bias[:, None, None]))
        return effective

    def weights(self) -> Tensor:
        """Share of the basin's effective rain that a cell delivers after each lag, (H, N, K)."""
        return self.kernel() * self.share[..., None]

    def routed(self, effective: Tensor, weights: Tensor) -> Tensor:
        """Route effective rain (H, T, N) to the outlet: the sum over cells [mm per step], (H, T).

        Steps before the first count as dry. The sum over cells is one matrix product, as the
        series of single cells are not needed; the sum over lags is along diagonals t - tau.
        """
        arriving = effective @ weights.flip(-1)  # (H, T, K), longest lag first
        heads, steps, lags = arriving.shape
        padded = F.pad(arriving, (0, 0, lags - 1, 0)).contiguous()
        size = (heads, steps, lags)
        diagonals = padded.as_strided(size, (padded.stride(0), lags, lags + 1))
        return diagonals.sum(-1)

    @torch.no_grad()
    def delivered(self, effective: Tensor, weights: Tensor) -> Tensor:
        """Compute each cell's contribution [mm per step], (H, T, N); sums over cells to `routed`.

        This is the encoder's image. It carries no gradient: the block learns from the routed sum
        alone, which costs a fraction and keeps the image from distorting it.
        """
        share = weights[:, None]  # (H, 1, N, K)
        arrived = effective * share[..., 0]
        for lag in range(1, min(self.lags, effective.shape[1])):
            arrived[:, lag:].addcmul_(effective[:, :-lag], share[..., lag])
        return arrived


def integrated_passage(
    time: Tensor, distance: Tensor, velocity: Tensor, dispersion: Tensor
) -> Tensor:
    """Integral over 0 to `time` [s] of the share of a pulse that has passed `distance` [m], in s.

    The share is the inverse Gaussian distribution with mean m = d / v and variance 2 D d / v^3, the
    first passage of advection with velocity v [m s-1] and dispersion D [m2 s-1] (Chhikara and Folks
    1989, eq. 2.12): F = ndtr(b) + exp(v d / D) ndtr(-a). Its integral is t F minus the partial
    mean, (t - m) ndtr(b) + (t + m) exp(v d / D) ndtr(-a). The exponential overflows; as
    v d / D - a^2 / 2 = -b^2 / 2, that term is a product of two bounded factors. All arguments
    broadcast.
    """
    spread = (2 * dispersion * time).rsqrt()
    a = (velocity * time + distance) * spread
    b = (velocity * time - distance) * spread
    mean = distance / velocity
    reflected = 0.5 * torch.exp(-0.5 * b * b) * torch.special.erfcx(a * RSQRT2)
    return (time - mean) * torch.special.ndtr(b) + (time + mean) * reflected


def lags_needed(longest_path: float, step_seconds: float, slowest_velocity: float) -> int:
    """Number of lags K for a flow path of `longest_path` [m] at the slowest velocity [m s-1]."""
    return 2 + math.ceil(longest_path / slowest_velocity / step_seconds)
