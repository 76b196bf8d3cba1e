"""Compare runs on the same test steps: scores, differences with intervals, and who is ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from model.evaluation.bootstrap import interval, nse_samples
from model.evaluation.metrics import default_peak_window, evaluate, median_known
from model.output.progress import FLOORS
from model.output.report.discharge import Discharge, describe_run
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import InputError

COMPARED = ("nse", "kge", "pbias", "fhv", "peak_error", "peak_lag", "rmse")
EQUAL_DISCHARGE = 1e-4  # relative difference of observations that are the same
EQUAL_SCORES = 5e-4  # difference of floors that print as the same
SHOWN_SITES = 3  # of a message
COMMON = "`--common` compares what all runs have"
NO_INTERVAL = "no interval of the difference: it takes 180 days of discharge in the test part"


@dataclass(frozen=True)
class Candidate:
    """One of the runs that are compared.

    Attributes:
        name: of the run among the others, from its folder.
        folder: of the run, as the user gave it.
        about, settings, metrics: content of run.yaml and of metrics.json.
        discharge: of its test part.
    """

    name: str
    folder: Path
    about: dict[str, Any]
    settings: Settings
    metrics: dict[str, Any]
    discharge: Discharge

    @property
    def heads(self) -> dict[str, dict[str, Any]]:
        """Scores of the heads by site number."""
        return {head["site_no"]: head for head in self.metrics["heads"]}


@dataclass(frozen=True)
class Site:
    """One watershed in R runs.

    Attributes:
        site_no, name: of the gauge.
        scores: R values of each of `COMPARED`; NaN where undefined.
        intervals: 90 % interval of the NSE of each run but the first, minus that of the first;
            NaN where the record is too short.
        best: index of the run with the highest NSE; None without one, or with several.
        margin: NSE of the best run minus that of the second; NaN without a best one.
        clear: whether the 90 % interval of the margin excludes 0.
        floors: NSE of the first run's floors.
    """

    site_no: str
    name: str
    scores: dict[str, list[float]]
    intervals: list[tuple[float, float]]
    best: int | None
    margin: float
    clear: bool
    floors: dict[str, float]

    def differences(self, measure: str) -> list[float]:
        """Score of each run but the first, minus that of the first."""
        first, *others = self.scores[measure]
        return [other - first for other in others]


@dataclass(frozen=True)
class Comparison:
    """Runs and their watersheds.

    Attributes:
        candidates: the runs; the first is the one that the others are compared with.
        steps: (T,) whether a step of the first run is compared.
        sites: the watersheds.
        partial: whether steps or watersheds of a run are left out.
        own_floors: whether floors were scored on the same steps.
        floors_differ: whether the floors of a run are not those of the first.
    """

    candidates: list[Candidate]
    steps: np.ndarray
    sites: list[Site]
    partial: bool
    own_floors: bool
    floors_differ: bool

    @property
    def names(self) -> list[str]:
        """Names of the runs."""
        return [one.name for one in self.candidates]

    @property
    def times(self) -> pd.DatetimeIndex:
        """Starts of the steps that are compared."""
        return self.candidates[0].discharge.times[self.steps]

    def medians(self, measure: str) -> list[float]:
        """Median score of each run."""
        return [median_known(list(one)) for one in zip(*self._scores(measure), strict=True)]

    def median_differences(self, measure: str) -> list[float]:
        """Median difference of each run but the first."""
        found = [site.differences(measure) for site in self.sites]
        return [median_known(list(one)) for one in zip(*found, strict=True)]

    def _scores(self, measure: str) -> list[list[float]]:
        return [site.scores[measure] for site in self.sites]

    def differing_settings(self) -> dict[str, list[Any]]:
        """Settings, and other facts of run.yaml, that are not the same in all runs."""
        facts = [
            one.settings.model_dump(mode="json")
            | {name: one.about[name] for name in ("store", "provenance", "revision")}
            | {f"version of {name}": text for name, text in one.about["versions"].items()}
            for one in self.candidates
        ]
        names = dict.fromkeys(name for one in facts for name in one)
        found = {name: [one.get(name) for one in facts] for name in names}
        return {name: one for name, one in found.items() if one.count(one[0]) < len(one)}

    def sentence(self) -> str:
        """Say which run is ahead on how many watersheds, and on how many beyond doubt."""
        first, *others = self.names
        parts = []
        for index, name in enumerate(others):
            signs = [sign_of(site.differences("nse")[index]) for site in self.sites]
            sure = [excludes_zero(site.intervals[index]) for site in self.sites]
            ahead, behind = (
                [c for s, c in zip(signs, sure, strict=True) if s == i] for i in (1, -1)
            )
            beyond = [f"{sum(some)} of the {len(some)}" for some in (ahead, behind) if some]
            parts.append(
                f"{name} is ahead of {first} on {len(ahead)} of {len(signs)} "
                f"watershed{'' if len(signs) == 1 else 's'} and behind on {len(behind)}; the 90 % "
                f"interval of the difference excludes 0 on {' and on '.join(beyond) or 'none'}"
            )
        if len(others) > 1:
            best = [site.best for site in self.sites]
            counts = [f"{name} on {best.count(i)}" for i, name in enumerate(self.names)]
            parts.append(f"the best of all is {', '.join(counts)}")
        return f"By NSE, {'; '.join(parts)}."

    def lacks_interval(self) -> bool:
        """Whether no difference has an interval."""
        return all(math.isnan(low) for site in self.sites for low, _ in site.intervals)


def compare_runs(folders: Sequence[Path], *, common: bool = False) -> Comparison:
    """Score runs on the same watersheds and test steps.

    Args:
        folders: run directories of trainings or predictions, two or more.
        common: leave out watersheds, steps and observations that not all runs have.

    Raises:
        InputError: fewer than two runs, a run twice or unfinished; runs whose watersheds, steps,
            test parts or observations differ.
    """
    candidates = open_runs(folders)
    first = candidates[0]
    sites = shared_sites(candidates, common)
    times = shared_times(candidates, common)
    steps = first.discharge.times.isin(times)
    own = first.discharge.times[first.discharge.test].equals(times)
    partial = not all(
        one.discharge.times[one.discharge.test].equals(times) and len(one.heads) == len(sites)
        for one in candidates
    )
    scored = [score_site(candidates, site, steps, common) for site in sites]
    differ = any(
        abs(one.heads[site][f"{floor}_nse"] - first.heads[site][f"{floor}_nse"]) > EQUAL_SCORES
        for one in candidates[1:]
        for site in sites
        for floor in FLOORS
    )
    return Comparison(candidates, steps, scored, partial, own, differ)


def open_runs(folders: Sequence[Path]) -> list[Candidate]:
    """Open finished runs; raises InputError as `compare_runs`."""
    if len(folders) < 2:
        raise InputError(f"{len(folders)} run: expected two or more to compare")
    resolved = [folder.resolve() for folder in folders]
    for place, folder in zip(resolved, folders, strict=True):
        if resolved.count(place) > 1:
            raise InputError(f"{folder}: given twice: expected runs that differ")
    found = []
    for name, folder in zip(names_of(resolved), folders, strict=True):
        metrics = Run(folder).metrics
        about, settings = describe_run(Run(folder))
        discharge = Discharge(Run(folder), settings)
        found.append(Candidate(name, folder, about, settings, metrics, discharge))
    return found


def names_of(folders: Sequence[Path]) -> list[str]:
    """Names of folders, with as many of the folders above as tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def shared_sites(candidates: Sequence[Candidate], common: bool) -> list[str]:
    """Site numbers of all runs, in the order of the first; raises InputError as `compare_runs`."""
    first, *others = candidates
    sites = list(first.heads)
    for one in others:
        lacking, more = (
            sorted(a.heads.keys() - b.heads.keys()) for a, b in ((first, one), (one, first))
        )
        if (lacking or more) and not common:
            what = f"lacks {some(lacking)}" if lacking else f"has {some(more)} besides"
            raise InputError(
                f"{one.folder}: {what}: expected the watersheds of {first.folder}; {COMMON}"
            )
        sites = [site for site in sites if site in one.heads]
    if not sites:
        raise InputError(f"{first.folder}: no watershed is in all runs: expected at least one")
    return sites


def shared_times(candidates: Sequence[Candidate], common: bool) -> pd.DatetimeIndex:
    """Test steps of all runs; raises InputError as `compare_runs`."""
    first, *others = candidates
    times = first.discharge.times[first.discharge.test]
    expected = span(times)
    for one in others:
        if one.discharge.step != first.discharge.step:
            raise InputError(
                f"{one.folder}: steps of {one.discharge.step.to_pytimedelta()}: expected those of "
                f"{first.folder}, {first.discharge.step.to_pytimedelta()}"
            )
        own = one.discharge.times[one.discharge.test]
        if not own.equals(first.discharge.times[first.discharge.test]) and not common:
            raise InputError(
                f"{one.folder}: test part {span(own)}: expected that of {first.folder}, "
                f"{expected}; {COMMON}"
            )
        times = times.intersection(own)
        if not len(times):
            raise InputError(
                f"{one.folder}: test part {span(own)}: expected some steps of {first.folder}, "
                f"{expected}"
            )
    return times


def score_site(candidates: Sequence[Candidate], site: str, steps: np.ndarray, common: bool) -> Site:
    """Score a watershed in all runs; `steps` as of `Comparison`."""
    first = candidates[0]
    step = first.discharge.step
    observed, simulated = read_site(candidates, site, steps, common)
    window = default_peak_window(step.to_timedelta64())
    scores = [evaluate(one, observed, peak_window=window) for one in simulated]
    samples = [nse_samples(s[steps], observed[steps], step.total_seconds()) for s in simulated]
    nse = [one["nse"] for one in scores]
    best, margin, clear = None, math.nan, False
    order = sorted((i for i, one in enumerate(nse) if not math.isnan(one)), key=lambda i: -nse[i])
    if len(order) > 1 and nse[order[0]] > nse[order[1]]:
        best, second = order[:2]
        margin = nse[best] - nse[second]
        clear = excludes_zero(interval(samples[best] - samples[second]))
    head = first.heads[site]
    return Site(
        site,
        head["name"],
        {measure: [one[measure] for one in scores] for measure in COMPARED},
        [interval(one - samples[0]) for one in samples[1:]],
        best,
        margin,
        clear,
        {floor: head[f"{floor}_nse"] for floor in FLOORS},
    )


def read_site(
    candidates: Sequence[Candidate], site: str, steps: np.ndarray, common: bool
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Read observed discharge, and that of each run, on the steps of the first: (T,) [m3 s-1].

    Where a step is not compared all are NaN.

    Raises:
        InputError: the runs have other observations, or one lacks a simulation.
    """
    first = candidates[0]
    times = first.discharge.times
    series = []
    for one in candidates:
        place = one.discharge.times.get_indexer(times)
        series.append([np.where(steps, flow[place], np.nan) for flow in one.discharge.read(site)])
    seen = np.all([np.isfinite(observed) for observed, _ in series], axis=0)
    expected = np.where(seen, series[0][0], np.nan) if common else series[0][0]
    for one, (observed, simulated) in zip(candidates, series, strict=True):
        found = np.where(seen, observed, np.nan) if common else observed
        same = np.isclose(found, expected, rtol=EQUAL_DISCHARGE, atol=0, equal_nan=True)
        where = f"{one.folder}: watershed {site}"
        if not same.all():
            at = int(np.argmin(same))
            missing = math.isnan(found[at]) or math.isnan(expected[at])
            raise InputError(
                f"{where}: observed discharge at {times[at]} is {found[at]:g} m3/s: expected "
                f"{expected[at]:g} as in {first.folder}{f'; {COMMON}' if missing else ''}"
            )
        lost = np.isfinite(expected) & np.isnan(simulated)
        if lost.any():
            raise InputError(
                f"{where}: no simulation at {times[int(np.argmax(lost))]}: expected one for each "
                "observation"
            )
    return expected, [np.where(steps, simulated, np.nan) for _, simulated in series]


def excludes_zero(limits: tuple[float, float]) -> bool:
    """Whether an interval lies on one side of 0; not where it is NaN."""
    return limits[0] > 0 or limits[1] < 0


def sign_of(value: float) -> int:
    """Return -1, 0 or 1; 0 for NaN."""
    return (value > 0) - (value < 0)


def span(times: pd.DatetimeIndex) -> str:
    """Some steps in words."""
    return f"{times[0]} to {times[-1]}, {len(times)} steps"


def some(sites: Sequence[str]) -> str:
    """The first of some site numbers."""
    more = len(sites) - SHOWN_SITES
    return ", ".join(sites[:SHOWN_SITES]) + f" and {more} more" * (more > 0)
