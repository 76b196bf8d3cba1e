"""The pixel-contribution block: what each cell delivers to the outlet, and when.

Rain on a cell travels `distance` metres along the flow path. Its travel time follows the
advection-dispersion equation with a velocity and a dispersion that are learned per watershed. Rain
falls evenly over a step of s seconds; discharge is a mean over an interval as long, which ends o
seconds after the start of the rain's step. So the share that arrives in each later interval is
known in closed form:

    k(tau | d) = (G(a) - 2 G(a - s) + G(a - 2 s)) / s     a = tau s + o
    r_i(t)     = sum_j m_j p_ij(t) e_i 2 sigmoid(b0 + sum_k b_k s_ik(t))
    c_i(t)     = share_i sum_tau k(tau | d_i) r_i(t - tau)

G is the integral over time of F, the share of a pulse that has passed. r is effective rain: a
mixture of the rain and of what soil stores of several capacities shed of it
(`model/inputs/soil.py`), with learned shares m; a learned efficiency of the cell, e_i; and a factor
between 0 and 2 for the cell's state s (wetness before, temperature), with weights b that all cells
of a watershed share. Rain becomes runoff where it falls, and travels then.

The kernel's shares sum to at most one over tau: mass is conserved, and what lies beyond the last
lag is a diagnostic (`truncated`), not a loss that the network could hide.

    H heads   T steps   N cells   K lags   S state channels
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START_VELOCITY = 0.7  # m s-1, a river in flood is 0.5 to 2
START_DISPERSION = 3000.0  # m2 s-1, channel and hillslope together
SLOWEST_VELOCITY = 0.2  # m s-1, sets the longest lag that is kept
SHORTEST_PATH = 1000.0  # m, the outlet's own cell still has hillslopes
RSQRT2 = math.sqrt(0.5)


def passed(time: Tensor, distance: Tensor, velocity: Tensor, dispersion: Tensor) -> Tensor:
    """Integral from 0 to `time` [s] of the share of a pulse that has passed `distance` [m], in s.

    The share is the inverse Gaussian distribution with mean m = d/v and variance 2 D d / v^3: the
    first passage of advection with velocity v [m s-1] and dispersion D [m2 s-1] (Chhikara and Folks
    1989, eq. 2.12), F = ndtr(b) + exp(v d / D) ndtr(-a). Its integral is t F less the partial
    mean, (t - m) ndtr(b) + (t + m) exp(v d / D) ndtr(-a). All arguments broadcast. The exponential
    overflows; with v d / D - a^2 / 2 = -b^2 / 2 its term is a product of two bounded factors.
    """
    spread = (2 * dispersion * time).rsqrt()
    a = (velocity * time + distance) * spread
    b = (velocity * time - distance) * spread
    mean = distance / velocity
    second = 0.5 * torch.exp(-0.5 * b * b) * torch.special.erfcx(a * RSQRT2)
    return (time - mean) * torch.special.ndtr(b) + (time + mean) * second


def lags_needed(longest_path: float, step_seconds: float) -> int:
    """Number of lags K that a flow path of `longest_path` [m] needs at the slowest velocity."""
    return 2 + math.ceil(longest_path / SLOWEST_VELOCITY / step_seconds)


class Contribution(nn.Module):
    """Contributions of the cells of H watersheds.

    Args:
        share: (H, N) each cell's share of the watershed's area; sums to 1, 0 for padding.
        distance: (H, N) flow distance to the outlet [m]; any finite value for padding.
        step_seconds: length of a step [s].
        interval_end: of each head's discharge, after the start of the step's rain [s].
        lags: steps that each head looks back, see `lags_needed`; K is the largest.
        waters: number of series that effective rain is mixed of.
        states: number of state channels.
    """

    share: Tensor
    distance: Tensor
    kept: Tensor
    ends: Tensor

    def __init__(
        self,
        share: Tensor,
        distance: Tensor,
        step_seconds: float,
        interval_end: list[float],
        lags: list[int],
        waters: int,
        states: int,
    ) -> None:
        super().__init__()
        heads = share.shape[0]
        self.step_seconds = step_seconds
        self.lags = max(lags)
        kept = torch.arange(self.lags) < torch.tensor(lags)[:, None]
        ends = torch.arange(self.lags) * step_seconds + torch.tensor(interval_end)[:, None]
        self.register_buffer("ends", ends[:, None].to(share), persistent=False)  # (H, 1, K)
        self.register_buffer("kept", kept[:, None].to(share), persistent=False)
        self.register_buffer("share", share, persistent=False)
        self.register_buffer("distance", distance.clamp(min=SHORTEST_PATH), persistent=False)
        self.log_velocity = nn.Parameter(torch.full((heads,), math.log(START_VELOCITY)))
        self.log_dispersion = nn.Parameter(torch.full((heads,), math.log(START_DISPERSION)))
        self.log_efficiency = nn.Parameter(torch.zeros_like(share))
        self.mixture = nn.Parameter(torch.zeros(heads, waters))
        self.state_weight = nn.Parameter(torch.zeros(heads, states))
        self.state_bias = nn.Parameter(torch.zeros(heads))

    def kernel(self) -> Tensor:
        """k(tau | d) of every cell, (H, N, K); sums over tau to at most 1."""
        gone = passed(  # in double precision: what follows is a second difference
            self.ends.double(),
            self.distance[..., None].double(),
            self.log_velocity.double().exp()[:, None, None],
            self.log_dispersion.double().exp()[:, None, None],
        )
        shares = F.pad(gone / self.step_seconds, (2, 0)).diff(n=2).to(self.share)
        return shares.clamp(min=0) * self.kept

    def truncated(self) -> Tensor:
        """Share of the rain that arrives after the last lag, area mean, (H,)."""
        return 1 - (self.kernel().sum(-1) * self.share).sum(-1)

    def effective(self, water: Tensor, state: Tensor) -> Tensor:
        """Rain that runs off [mm per step], (H, T, N).

        Args:
            water: (H, T, R, N) rain and what each soil store sheds of it [mm per step].
            state: (H, T, S, N).
        """
        share = self.mixture.softmax(-1)
        shed = torch.einsum("htrn,hr->htn", water, share)
        score = torch.einsum("htsn,hs->htn", state, self.state_weight)
        factor = 2 * torch.sigmoid(score + self.state_bias[:, None, None])
        return shed * factor * self.log_efficiency.exp()[:, None]

    def weights(self) -> Tensor:
        """Share of the basin's effective rain that a cell delivers after each lag, (H, N, K)."""
        return self.kernel() * self.share[..., None]

    def routed(self, effective: Tensor, weights: Tensor) -> Tensor:
        """(H, T, N) effective rain to what all cells deliver [mm per step], (H, T).

        Steps before the first count as dry. The sum over cells comes first, as one matrix product
        (a cell's own series is not needed for it); then a[t, tau] is summed along t - tau.
        """
        arriving = effective @ weights.flip(-1)  # (H, T, K), latest lag first
        heads, steps, lags = arriving.shape
        padded = F.pad(arriving, (0, 0, lags - 1, 0)).contiguous()
        size = (heads, steps, lags)
        diagonals = padded.as_strided(size, (padded.stride(0), lags, lags + 1))
        return diagonals.sum(-1)

    @torch.no_grad()
    def delivered(self, effective: Tensor, weights: Tensor) -> Tensor:
        """(H, T, N) effective rain to each cell's contribution [mm per step], alike.

        The encoder's image of what arrives; adds up to `routed`. Without gradients: the block
        learns from the routed sum alone, which costs a fraction and keeps the image from
        bending it.
        """
        share = weights[:, None]  # (H, 1, N, K)
        arrived = effective * share[..., 0]
        for lag in range(1, min(self.lags, effective.shape[1])):
            arrived[:, lag:].addcmul_(effective[:, :-lag], share[..., lag])
        return arrived
