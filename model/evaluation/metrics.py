"""How good a simulated discharge is, in the measures hydrology reports.

Every function takes `simulated` and `observed`, both (T,) and in m3 s-1 at the same evenly spaced
steps. A step without an observation is dropped: nothing can be said about it. A step that has an
observation but no simulation is the model's own failure, and dropping it would flatter the model,
so it is a ValueError with the count. Where such steps are a known property of the method, as for
persistence after a gap in the record, `evaluate` and `peak_timing` take
`drop_missing_simulation=True`, the others `nse(*paired(..., drop_missing_simulation=True))`.

A score that is undefined (constant observations, fewer than 2 pairs, no peaks, a zero sum below a
fraction line) is NaN, never an exception and never infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks

Array = npt.NDArray[np.float64]

HIGH_FLOW_SHARE = 0.02  # of the flow duration curve, Yilmaz et al. (2008)
PEAK_DISTANCE = 100  # steps between two peaks that count as two, Kratzert et al. (2021)
PEAK_WINDOW = 3  # steps on either side of an observed peak in which the simulated one is sought
PEAK_WINDOW_HOURS = 12.0  # the same for steps below four hours, where 12 h is more than 3 steps
PERCENT = 100.0  # % per 1
NAN = float("nan")


class KlingGupta(NamedTuple):
    """The Kling-Gupta efficiency and its three parts, all dimensionless with optimum 1."""

    kge: float
    r: float
    alpha: float
    beta: float


def nse(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Nash-Sutcliffe efficiency: 1 - sum (s - o)^2 / sum (o - mean o)^2.

    1 is perfect, 0 is as good as the mean of the observations. NaN for constant observations or
    fewer than 2 pairs. Raises ValueError as `paired` does.

    Source: Nash and Sutcliffe (1970), J. Hydrol. 10, 282-290, doi:10.1016/0022-1694(70)90255-6.
    """
    sim, obs = paired(simulated, observed)
    if obs.size < 2 or _is_constant(obs):
        return NAN
    return 1.0 - _ratio(((sim - obs) ** 2).sum(), ((obs - obs.mean()) ** 2).sum())


def kge(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> KlingGupta:
    """Kling-Gupta efficiency: 1 - sqrt((r - 1)^2 + (alpha - 1)^2 + (beta - 1)^2).

    r is the linear correlation, alpha the ratio of the standard deviations and beta the ratio of
    the means, simulated over observed. A part that is undefined is NaN and makes `kge` NaN: a
    constant simulation has no r. All NaN for fewer than 2 pairs. Raises ValueError as `paired`.

    Source: Gupta, Kling, Yilmaz and Martinez (2009), J. Hydrol. 377, 80-91,
    doi:10.1016/j.jhydrol.2009.08.003 (the first form, not the one of 2012).
    """
    sim, obs = paired(simulated, observed)
    if obs.size < 2:
        return KlingGupta(NAN, NAN, NAN, NAN)
    sim_spread, obs_spread = (0.0 if _is_constant(v) else float(v.std()) for v in (sim, obs))
    covariance = float(((sim - sim.mean()) * (obs - obs.mean())).mean())
    r = float(np.clip(_ratio(covariance, sim_spread * obs_spread), -1.0, 1.0))
    alpha = _ratio(sim_spread, obs_spread)
    beta = _ratio(sim.mean(), obs.mean())
    value = 1.0 - math.hypot(r - 1, alpha - 1, beta - 1)
    return KlingGupta(value, r, alpha, beta)


def median_known(values: Sequence[float]) -> float:
    """Median of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else NAN


def pbias(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Percent bias, %: 100 sum (s - o) / sum o. Positive is too much water, negative too little.

    That is the sign of R's hydroGOF and of Yilmaz et al. (2008); Moriasi et al. (2007) use the
    opposite one. NaN when the observations sum to 0 or there are fewer than 2 pairs. Raises
    ValueError as `paired` does.

    Source: Yilmaz, Gupta and Wagener (2008), Water Resour. Res. 44, W09417,
    doi:10.1029/2007WR006716 (their %BiasRR).
    """
    sim, obs = paired(simulated, observed)
    return _ratio(PERCENT * (sim - obs).sum(), obs.sum()) if obs.size > 1 else NAN


def fhv(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Bias of the top 2 % of the flow duration curve, %; positive is too high a peak flow.

    Both series are sorted from high to low, each on its own, and 100 sum (s - o) / sum o is taken
    over the first round(0.02 n) of them, so timing does not enter. NaN when that is no value (n up
    to 25) or the observed ones sum to 0. Raises ValueError as `paired` does.

    Source: Yilmaz, Gupta and Wagener (2008), Water Resour. Res. 44, W09417,
    doi:10.1029/2007WR006716 (their %BiasFHV), rounded as NeuralHydrology rounds.
    """
    sim, obs = paired(simulated, observed)
    high = int(np.round(HIGH_FLOW_SHARE * obs.size))
    if not high:
        return NAN
    sim_high, obs_high = np.sort(sim)[-high:], np.sort(obs)[-high:]
    return _ratio(PERCENT * (sim_high - obs_high).sum(), obs_high.sum())


def rmse(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Root of the mean squared error, m3 s-1. NaN for fewer than 2 pairs; errors as `paired`."""
    sim, obs = paired(simulated, observed)
    return float(np.sqrt(_ratio(((sim - obs) ** 2).sum(), obs.size))) if obs.size > 1 else NAN


def peak_timing(
    simulated: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    window: int = PEAK_WINDOW,
    drop_missing_simulation: bool = False,
) -> float:
    """Mean absolute lag of the observed peaks, in steps; 0 is perfect.

    Of observed peaks nearer than 100 steps only the highest counts, and it must then stand out by
    at least one standard deviation of the observations. If the simulation peaks in the same step,
    the lag is 0; otherwise it is the distance to the (first) highest simulated value within
    `window` steps on either side. A peak whose window leaves the record or meets a missing step is
    skipped. NaN when no peak is left. `default_peak_window` gives the window of a step length.

    A flat top, common in rounded records, is one peak, and any step of it is in time. For pointed
    peaks this is NeuralHydrology's measure; there a flat top has a lag even from itself.

    Raises ValueError for a window below 1 and as `paired` does.

    Source: Kratzert et al. (2021), Hydrol. Earth Syst. Sci. 25, 2685-2703,
    doi:10.5194/hess-25-2685-2021, appendix; distance and windows of NeuralHydrology.
    """
    if window < 1:
        raise ValueError(f"the peak window must be at least 1 step, got {window}")
    sim, obs, position = _paired_at(simulated, observed, drop_missing_simulation)
    if obs.size < 2:
        return NAN
    lags = []
    _, sim_tops = find_peaks(sim, plateau_size=1)
    peaks, tops = find_peaks(obs, distance=PEAK_DISTANCE, prominence=obs.std(), plateau_size=1)
    for peak, left, right in zip(peaks, tops["left_edges"], tops["right_edges"], strict=True):
        first, last = peak - window, peak + window
        if first < 0 or last >= obs.size or position[last] - position[first] != 2 * window:
            continue
        if np.any((sim_tops["left_edges"] <= right) & (sim_tops["right_edges"] >= left)):
            lags.append(0)
        else:
            highest = first + int(np.argmax(sim[first : last + 1]))
            lags.append(max(int(left) - highest, highest - int(right), 0))
    return float(np.mean(lags)) if lags else NAN


def default_peak_window(step: np.timedelta64) -> int:
    """Steps on either side of a peak: 12 hours for short steps, never fewer than 3 steps.

    `step` is the length of one step; raises ValueError unless it is positive.
    """
    hours = float(step / np.timedelta64(1, "h"))
    if not hours > 0:
        raise ValueError(f"a step must have a positive length, got {step}")
    return max(int(PEAK_WINDOW_HOURS / hours), PEAK_WINDOW)


def evaluate(
    simulated: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    peak_window: int = PEAK_WINDOW,
    drop_missing_simulation: bool = False,
) -> dict[str, float]:
    """All scores of one head, keyed nse, kge, kge_r, kge_alpha, kge_beta, pbias, fhv, peak_timing,
    rmse and n.

    `n` is the number of pairs the scores rest on; units are those of the functions above. Raises
    ValueError as `paired` and `peak_timing` do.
    """
    sim, obs = paired(simulated, observed, drop_missing_simulation=drop_missing_simulation)
    parts = kge(sim, obs)
    return {
        "nse": nse(sim, obs),
        "kge": parts.kge,
        "kge_r": parts.r,
        "kge_alpha": parts.alpha,
        "kge_beta": parts.beta,
        "pbias": pbias(sim, obs),
        "fhv": fhv(sim, obs),
        "peak_timing": peak_timing(
            simulated,
            observed,
            window=peak_window,
            drop_missing_simulation=drop_missing_simulation,
        ),
        "rmse": rmse(sim, obs),
        "n": obs.size,
    }


def paired(
    simulated: npt.ArrayLike, observed: npt.ArrayLike, *, drop_missing_simulation: bool = False
) -> tuple[Array, Array]:
    """The steps that have both values: simulated (n,), observed (n,), float64, m3 s-1.

    Raises ValueError for inputs that are not two 1-D series of one length, for infinite values,
    and for a missing simulation beside an observation unless `drop_missing_simulation`.
    """
    sim, obs, _ = _paired_at(simulated, observed, drop_missing_simulation)
    return sim, obs


def _paired_at(
    simulated: npt.ArrayLike, observed: npt.ArrayLike, drop_missing_simulation: bool
) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """As `paired`, with the step each pair had in the full series (n,)."""
    sim, obs = np.asarray(simulated, np.float64), np.asarray(observed, np.float64)
    if sim.ndim != 1 or sim.shape != obs.shape:
        raise ValueError(
            f"expected two 1-D series of one length, got simulated {sim.shape}"
            f" and observed {obs.shape}"
        )
    for name, values in (("simulated", sim), ("observed", obs)):
        if infinite := int(np.isinf(values).sum()):
            raise ValueError(f"{infinite} of {values.size} values of {name} are infinite")
    seen = ~np.isnan(obs)
    missing = int((seen & np.isnan(sim)).sum())
    if missing and not drop_missing_simulation:
        raise ValueError(
            f"the simulation is missing at {missing} of {int(seen.sum())} observed steps;"
            " pass drop_missing_simulation=True to score the others only"
        )
    position = np.flatnonzero(seen & ~np.isnan(sim))
    return sim[position], obs[position], position


def _ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator, NaN where that is undefined or beyond float64."""
    if denominator == 0:
        return NAN
    with np.errstate(over="ignore"):
        value = float(np.float64(numerator) / np.float64(denominator))
    return value if np.isfinite(value) else NAN


def _is_constant(values: Array) -> bool:
    # Exact, unlike a variance of 0: the mean of equal numbers may be off by a rounding.
    return bool(values.min() == values.max())
