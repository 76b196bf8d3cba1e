"""Metrics of simulated discharge, as hydrology reports them.

Every function takes `simulated` and `observed`, both (T,) in m3 s-1 on the same evenly spaced
steps.

- Steps without an observation are dropped.
- A step with an observation but without a simulation is an error: dropping it would flatter the
  model. Where a method has such steps by design, as persistence after a gap, pass
  `drop_missing_simulation=True` to `evaluate` or `peak_lag`, or use `paired` first.
- An undefined metric (constant observations, fewer than 2 pairs, no peaks) is NaN.

NSE, KGE, PBIAS and RMSE are computed by the `scores` package of Australia's Bureau of Meteorology.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.signal import find_peaks
from scores import continuous

Array = npt.NDArray[np.float64]

HIGH_FLOW_SHARE = 0.02  # share of the flow duration curve, Yilmaz et al. (2008)
PEAK_DISTANCE = 100  # smallest distance between two peaks [steps], Kratzert et al. (2021)
PEAK_WINDOW = 3  # steps before and after an observed peak in which the simulated peak is sought
PEAK_WINDOW_HOURS = 12.0  # the same window for steps shorter than four hours
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

    1 is perfect, 0 is as good as the mean of the observations. NaN for observations that do
    not vary or fewer than 2 pairs. Raises ValueError as `paired` does.

    Source: Nash and Sutcliffe (1970), J. Hydrol. 10, 282-290, doi:10.1016/0022-1694(70)90255-6.
    """
    sim, obs = paired(simulated, observed)
    if obs.size < 2 or _is_constant(obs):
        return NAN
    return _finite(continuous.nse(*_arrays(sim, obs)))


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
    with np.errstate(over="ignore"):  # of observations that are hardly more than 0
        found = continuous.kge(*_arrays(sim, obs), include_components=True)
    parts = KlingGupta(*(_finite(found[name]) for name in ("kge", "rho", "alpha", "beta")))
    if _is_constant(obs):
        return parts._replace(kge=NAN, r=NAN, alpha=NAN)
    return parts._replace(kge=NAN, r=NAN, alpha=0.0) if _is_constant(sim) else parts


def median_known(values: Sequence[float]) -> float:
    """Return the median of the values that are not NaN; NaN without any."""
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
    if obs.size < 2 or not obs.any():
        return NAN
    with np.errstate(over="ignore"):  # of observations that are hardly more than 0
        return _finite(continuous.pbias(*_arrays(sim, obs)))


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
    return _percent((sim_high - obs_high).sum(), obs_high.sum())


def rmse(simulated: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Root of the mean squared error, m3 s-1. NaN for fewer than 2 pairs; raises as `paired`."""
    sim, obs = paired(simulated, observed)
    return _finite(continuous.rmse(*_arrays(sim, obs))) if obs.size > 1 else NAN


def peak_lag(
    simulated: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    window: int = PEAK_WINDOW,
    drop_missing_simulation: bool = False,
) -> float:
    """Mean absolute lag between observed and simulated peaks, in steps; 0 is perfect.

    An observed peak counts if it is the highest within 100 steps and stands out by at least one
    standard deviation of the observations. Its lag is 0 if the simulation peaks in the same step,
    else the distance to the highest simulated value within `window` steps before or after. A peak
    whose window leaves the record or holds a missing step is skipped. NaN without any peak.

    All steps of a flat top, common in rounded records, count as the peak. For pointed peaks this is
    NeuralHydrology's mean peak timing error.

    Raises:
        ValueError: a window below 1; as `paired`.

    Source: Kratzert et al. (2021), Hydrol. Earth Syst. Sci. 25, 2685-2703,
    doi:10.5194/hess-25-2685-2021, appendix; distance and windows of NeuralHydrology.
    """
    _require_window(window)
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


def peak_error(
    simulated: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    window: int = PEAK_WINDOW,
    drop_missing_simulation: bool = False,
) -> float:
    """Error of the highest observed discharge, %; positive is too high, 0 is perfect.

    It is 100 (s - o) / o, with o the highest observed value, the first if there are several, and s
    the highest simulated one within `window` steps before or after, so that a flood that comes a
    little early or late still counts. NaN without a pair, or if o is 0.

    Raises:
        ValueError: a window below 1; as `paired`.
    """
    _require_window(window)
    sim, obs, position = _paired_at(simulated, observed, drop_missing_simulation)
    if not obs.size:
        return NAN
    peak = int(np.argmax(obs))
    near = np.abs(position - position[peak]) <= window
    return _percent(sim[near].max() - obs[peak], obs[peak])


def _require_window(window: int) -> None:
    if window < 1:
        raise ValueError(f"the peak window must be at least 1 step, got {window}")


def default_peak_window(step: np.timedelta64) -> int:
    """Return the steps before and after a peak: 12 hours, but at least 3 steps.

    Args:
        step: length of one step.

    Raises:
        ValueError: a length that is not positive.
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
    """Compute all metrics of a simulated discharge.

    Args:
        simulated, observed: (T,) [m3 s-1]; arrays or xarray DataArrays in the same order of time.
        peak_window: steps before and after a peak; see `default_peak_window`.
        drop_missing_simulation: leave out steps without a simulation instead of raising.

    Returns:
        nse, kge, kge_r, kge_alpha, kge_beta [1], pbias, fhv, peak_error [%], peak_lag [steps],
        rmse [m3 s-1], and n, the number of steps that have both values.

    Raises:
        ValueError: as `paired` and `peak_lag`.

    >>> scores = evaluate([1.1, 2.0, 5.5, 2.9], [1.0, 2.0, 6.0, 3.0])
    >>> round(scores["nse"], 3), scores["n"]
    (0.981, 4)
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
        **{
            score.__name__: score(
                simulated,
                observed,
                window=peak_window,
                drop_missing_simulation=drop_missing_simulation,
            )
            for score in (peak_error, peak_lag)
        },
        "rmse": rmse(sim, obs),
        "n": obs.size,
    }


def paired(
    simulated: npt.ArrayLike, observed: npt.ArrayLike, *, drop_missing_simulation: bool = False
) -> tuple[Array, Array]:
    """Select the steps that have both values.

    Returns:
        simulated and observed, (n,) float64 [m3 s-1].

    Raises:
        ValueError: not two 1-D series of one length, infinite values, or an observed step without
            a simulation unless `drop_missing_simulation`.
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


def _arrays(sim: Array, obs: Array) -> tuple[xr.DataArray, xr.DataArray]:
    """The form in which `scores` takes series."""
    return xr.DataArray(sim, dims="time"), xr.DataArray(obs, dims="time")


def _percent(part: float, whole: float) -> float:
    """100 part / whole, %; NaN of a whole that is 0, or so small that the result is infinite."""
    with np.errstate(over="ignore"):
        return _finite(PERCENT * part / whole) if whole else NAN


def _finite(value: npt.ArrayLike) -> float:
    """A number, NaN where it is undefined or beyond float64."""
    number = float(np.asarray(value))
    return number if math.isfinite(number) else NAN


def _is_constant(values: Array) -> bool:
    # Exact where numbers are equal, whose mean may be off by a rounding; and where they differ by
    # so little that no variance is left.
    return bool(values.min() == values.max() or values.var() == 0)
