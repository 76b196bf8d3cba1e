"""Is a store whole and plausible: each check is a line with a verdict and the numbers behind it.

FAIL means that the store contradicts itself, its raw files or the laws of nature; WARN that
something deserves a look. Blocks are read one at a time, so memory does not grow with the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
import zarr
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from pipeline.catalog.models import PRECIPITATION, Catalog
from pipeline.check.reference import compare_with_raw
from pipeline.check.water_balance import response, suspected_units
from pipeline.errors import InputError
from pipeline.storage import Location
from pipeline.store.read import (
    STATIC,
    array_of,
    attributes_of,
    digests,
    list_sites,
    open_store,
    read_marks,
    static_files,
    valid_fraction_name,
)
from pipeline.units import M3_PER_FT3

Status = Literal["PASS", "WARN", "FAIL"]
AREA_TOLERANCE = 1e-6  # relative, of the covered area from the polygon's
MISSING_REPORT = 0.1  # share of missing values that deserves a look
RATIO_REPORT, RATIO_REFUSE = 1.0, 2.0  # runoff over rain: of a year, and of the whole record
RATIO_LEAST = M3_PER_FT3  # below it, runoff is within the rain even if m3/s were read as ft3/s
# World records, rounded away: rain of an hour (Shangdi, 1975) and of a day (Foc-Foc, 1966) [mm],
# and the lowest and highest temperature at the ground (Vostok, 1983; Furnace Creek, 1913).
RAIN_RECORD = {"hour": 401.0, "day": 1825.0}
RANGES = {"degC": (-90.0, 60.0)}
YEAR_SHARE = 0.9  # of a year's steps must have rain and runoff for the year to count


@dataclass(frozen=True)
class Check:
    """A verdict: what was checked, how it came out, and the numbers."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, eq=False)
class Contents:
    """A store opened for checking: its root, its own catalog, site numbers, steps, block length."""

    path: Location
    root: zarr.Group
    catalog: Catalog
    sites: list[str]
    block_steps: int

    @property
    def steps(self) -> int:
        return len(self.catalog.period.times)

    @property
    def blocks(self) -> list[slice]:
        """Steps of each block."""
        return [slice(k, k + self.block_steps) for k in range(0, self.steps, self.block_steps)]

    def site(self, site: str, name: str) -> np.ndarray:
        """A whole array of a watershed."""
        return np.asarray(array_of(self.root, f"watersheds/{site}/{name}")[...])

    def about(self, site: str) -> dict[str, Any]:
        """A watershed's attributes."""
        group = self.root[f"watersheds/{site}"]
        assert isinstance(group, zarr.Group)
        return attributes_of(group)


def check_store(path: Location) -> list[Check]:
    """Verify a store; later checks are left out where an earlier one makes them meaningless.

    Raises:
        InputError: there is no store at `path`, or its catalog is not valid any more.
    """
    checks: list[Check] = []
    rain: dict[str, np.ndarray] = {}
    root, catalog, block_steps = _open(path)
    try:
        with np.errstate(all="ignore"):  # damaged numbers are for the checks to judge
            checks.append(_static(path, root, catalog))
            store = Contents(path, root, catalog, list_sites(path), block_steps)
            checks.append(_template(store))
            if checks[-1].status == "FAIL":
                return checks
            checks += [_blocks(store), _time(store), _coverage(store), _flow_distance(store)]
            if checks[2].status == "FAIL":
                return checks
            for name in store.catalog.forcings:
                check, means = _forcing(store, name)
                checks.append(check)
                rain = means if name == PRECIPITATION else rain
            checks += [_raw(store), _water_balance(store, rain), _response(store, rain)]
            checks.append(_discharge(store))
    except (OSError, RuntimeError, LookupError, ValueError) as error:  # lost or damaged parts
        checks.append(Check("readable", "FAIL", f"after {checks[-1].name}: {error}"))
    return checks


def _open(path: Location) -> tuple[zarr.Group, Catalog, int]:
    """Root, catalog and steps in a block."""
    root = open_store(path)
    attributes = attributes_of(root)
    try:
        catalog = Catalog.model_validate(
            yaml.safe_load(attributes["provenance"]["catalog"]["text"])
        )
    except ValidationError as error:
        raise InputError(
            f"{path}: its catalog is not valid ({error.error_count()} errors): expected a store of "
            "this version"
        ) from error
    return root, catalog, int(attributes["block_steps"])


def print_checks(path: Location, checks: list[Check], console: Console | None = None) -> None:
    """Show the checks as a table."""
    colour = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red"}
    synthetic = " (synthetic data)" if attributes_of(open_store(path)).get("synthetic") else ""
    table = Table(title=f"{path}{synthetic}", title_justify="left")
    for heading in ("check", "", "numbers"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        status = f"[{colour[check.status]}]{check.status}[/]"
        table.add_row(check.name, status, check.detail)
    (console or Console()).print(table)


def _verdict(name: str, fails: list[str], warns: list[str], passes: str) -> Check:
    """The worst of what was found; the first few of each kind are told."""
    found = fails or warns
    if not found:
        return Check(name, "PASS", passes)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Check(name, "FAIL" if fails else "WARN", "; ".join(found[:3]) + more)


def _static(path: Location, root: zarr.Group, catalog: Catalog) -> Check:
    """Coordinates, static layers, series and all metadata below the root's are as written."""
    expected = attributes_of(root).get(STATIC, {})
    found = digests(static_files(path, list(catalog.forcings)))
    fails = [
        f"{part}: a file is missing, damaged or changed: expected it as written"
        for part in sorted(expected.keys() | found.keys())
        if expected.get(part) != found.get(part)
    ]
    return _verdict("static", fails, [], f"{len(expected)} digests agree")


def _template(store: Contents) -> Check:
    """Every group and array is there, with the shape that the catalog's period asks for."""
    fails, steps, forcings = [], store.steps, list(store.catalog.forcings)
    expected: dict[str, tuple[int, ...]] = {}
    for group, cubes, layers, series in _groups(store, forcings):
        shape = _shape(store, f"{group}/y") + _shape(store, f"{group}/x")
        expected |= {f"{group}/{name}": (steps, *shape) for name in cubes}
        expected |= {f"{group}/{name}": shape for name in layers}
        expected |= {f"{group}/{name}": (steps,) for name in series}
        expected[f"{group}/time_bnds"] = (steps, 2)
    for name in ("discharge", "flag"):
        expected[f"gauges/{name}"] = (len(store.sites), steps)
    for name, shape in expected.items():
        found = _shape(store, name)
        if found != shape:
            fails.append(f"{name}: shape {found or 'none'}: expected {shape}")
    marks = _shape(store, "progress")
    if marks != (len(store.blocks),):
        fails.append(f"progress: shape {marks}: expected {(len(store.blocks),)}")
    return _verdict("template", fails, [], f"{len(expected)} arrays, {len(store.sites)} watersheds")


def _groups(
    store: Contents, forcings: list[str]
) -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """Groups with a map, and their arrays (time, y, x), (y, x) and (time)."""
    yield "region", forcings + [valid_fraction_name(f) for f in forcings], ["cell_area"], ["time"]
    layers, series = (
        ["cell_area", "coverage", "flow_distance"],
        ["time", "discharge", "flag", "runoff"],
    )
    for site in store.sites:
        yield f"watersheds/{site}", forcings, layers, series


def _shape(store: Contents, name: str) -> tuple[int, ...]:
    """Shape of an array, empty if there is none."""
    array = store.root.get(name)
    return tuple(array.shape) if isinstance(array, zarr.Array) else ()


def _blocks(store: Contents) -> Check:
    marks = read_marks(store.root)
    open_ = np.flatnonzero(marks == 0)
    first = store.catalog.period.times[store.blocks[int(open_[0])].start] if open_.size else None
    fails = (
        [f"{open_.size} of {marks.size} are not done, the first from {first}"] if open_.size else []
    )
    return _verdict("blocks", fails, [], f"{marks.size} done")


def _time(store: Contents) -> Check:
    """Steps follow each other without gaps, from the period's start to its end."""
    period = store.catalog.period
    start = period.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    bounds = np.stack((start, start + int(period.step_seconds)), axis=1)
    fails = []
    for group in ("region", "gauges", *(f"watersheds/{site}" for site in store.sites)):
        time = np.asarray(array_of(store.root, f"{group}/time")[:])
        ends = np.asarray(array_of(store.root, f"{group}/time_bnds")[:])
        if not np.array_equal(time, start) or not np.array_equal(ends, bounds):
            off = int((time != start).sum())
            fails.append(f"{group}/time: {off} of {start.size} steps are not the period's")
    return _verdict(
        "time",
        fails,
        [],
        f"{start.size} steps of a {period.step} from {period.start} to {period.end}",
    )


def _coverage(store: Contents) -> Check:
    """Between 0 and 1, and as large as the polygon."""
    fails, worst = [], 0.0
    for site in store.sites:
        coverage, area = store.site(site, "coverage"), store.site(site, "cell_area")
        polygon = float(store.about(site)["drainage_area_m2"])
        off = float((coverage * area).sum()) / polygon - 1
        worst = max(worst, abs(off))
        if not (coverage.min() >= 0 and coverage.max() <= 1):
            fails.append(f"{site}: {coverage.min():g}..{coverage.max():g}: expected 0..1")
        elif not abs(off) <= AREA_TOLERANCE:
            fails.append(f"{site}: covers {off:+.2e} of the polygon's {polygon / 1e6:.5g} km2")
    return _verdict("coverage", fails, [], f"areas within {worst:.1e} of the polygons'")


def _flow_distance(store: Contents) -> Check:
    """Positive in every covered cell, absent elsewhere."""
    fails, longest, guessed = [], 0.0, []
    for site in store.sites:
        distance, covered = store.site(site, "flow_distance"), store.site(site, "coverage") > 0
        good = np.isfinite(distance) & (distance > 0)
        if (good != covered).any():
            fails.append(f"{site}: {int((good != covered).sum())} cells: expected it where covered")
            continue
        longest = max(longest, float(distance[covered].max()))
        method = store.about(site)["flow_distance_method"]
        if method != "d8":
            guessed.append(f"{site}: {method}, not traced")
    return _verdict("flow distance", fails, guessed, f"traced, up to {longest / 1000:.1f} km")


def _forcing(store: Contents, name: str) -> tuple[Check, dict[str, np.ndarray]]:
    """Values and valid fractions agree, and the clips are the region's.

    Returns:
        The check, and the forcing's basin mean (time,) of each watershed.
    """
    source = store.catalog.forcings[name]
    region = array_of(store.root, f"region/{name}")
    fraction = array_of(store.root, f"region/{valid_fraction_name(name)}")
    clips = {site: array_of(store.root, f"watersheds/{site}/{name}") for site in store.sites}
    windows = {site: _window(store, site) for site in store.sites}
    weights = {s: store.site(s, "coverage") * store.site(s, "cell_area") for s in store.sites}
    means = {site: np.full(store.steps, np.nan) for site in store.sites}
    covered = {site: np.zeros(store.steps) for site in store.sites}
    fails: list[str] = []
    low, high = np.inf, -np.inf
    for block in store.blocks:
        value, valid = np.asarray(region[block]), np.asarray(fraction[block])
        when = f"block from {store.catalog.period.times[block.start]}"
        if not ((valid >= 0) & (valid <= 1 + 1e-6)).all():
            fails.append(f"{when}: valid fraction missing or outside 0..1")
        elif (np.isfinite(value) != (valid >= np.float32(source.min_valid))).any():
            fails.append(f"{when}: values missing, or there without valid pixels")
        low = np.fmin(low, np.fmin.reduce(value, axis=None))
        high = np.fmax(high, np.fmax.reduce(value, axis=None))
        for site, (rows, columns) in windows.items():
            clip = np.asarray(clips[site][block])
            if not np.array_equal(clip, value[:, rows, columns], equal_nan=True):
                fails.append(f"{site}: {when}: clip differs from the region")
            means[site][block], covered[site][block] = _basin_mean(clip, weights[site])
    least, most = _possible(store, name)
    if low < least or high > most:
        fails.append(
            f"{low:.4g}..{high:.4g} {source.store_units}: expected {least:g}..{most:g}, the "
            "world's records; is it a missing code that the catalog does not say?"
        )
    missing = {site: 1 - float(share.mean()) for site, share in covered.items()}
    fails += [f"{s}: no value at all" for s, share in missing.items() if share > 1 - 1e-9]
    warns = [f"{s}: {share:.1%} missing" for s, share in missing.items() if share > MISSING_REPORT]
    passes = (
        f"{low:.4g}..{high:.4g} {source.store_units}, {max(missing.values()):.1%} missing at most"
    )
    return _verdict(name, fails, warns, passes), means


def _possible(store: Contents, name: str) -> tuple[float, float]:
    """What a forcing may be in a step, in the store's units."""
    if name == PRECIPITATION:
        return 0.0, RAIN_RECORD[store.catalog.period.step]
    return RANGES.get(store.catalog.forcings[name].store_units, (-np.inf, np.inf))


def _basin_mean(clip: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (time,) over the part of a watershed that has values, NaN where none has, and the share
    of the watershed that has; `clip` (time, y, x), `weight` (y, x) in m2."""
    present = np.where(np.isfinite(clip), weight, 0.0).sum(axis=(1, 2))
    amount = (np.nan_to_num(clip) * weight).sum(axis=(1, 2))
    mean = np.where(present > 0, amount / np.where(present > 0, present, 1.0), np.nan)
    return mean, present / weight.sum()


def _window(store: Contents, site: str) -> tuple[slice, slice]:
    """Where a watershed's window lies in the region, by the coordinates."""
    slices = []
    for axis in ("y", "x"):
        own, whole = store.site(site, axis), np.asarray(array_of(store.root, f"region/{axis}")[...])
        first = int(np.abs(whole - own[0]).argmin())
        slices.append(slice(first, first + own.size))
    return slices[0], slices[1]


def _raw(store: Contents) -> Check:
    """A few steps regridded again from the raw files, in another way."""
    name = "conservation"
    catalog = attributes_of(store.root)["provenance"]["catalog"]
    path = Path(catalog["path"])
    try:
        worst = compare_with_raw(store.root, path, catalog["sha256"])
    except InputError as error:
        return Check(name, "WARN", f"raw files are not compared: {error}")
    details = [
        f"{w.forcing}: {w.steps} steps, total within {w.total:.1e}, "
        f"cells within {w.cell:.1e} {w.units}"
        for w in worst
    ]
    fails = [detail for w, detail in zip(worst, details, strict=True) if not w.good]
    return _verdict(name, fails, [], "; ".join(details))


def _water_balance(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Runoff over rain: of the record, and of each year from October to September."""
    times = store.catalog.period.times
    water_year = np.asarray(times.year + (times.month >= 10))
    least = YEAR_SHARE * 365.0 * 86400.0 / store.catalog.period.step_seconds
    fails, warns, ratios = [], [], []
    for site in store.sites:
        runoff = store.site(site, "runoff").astype(np.float64)
        both = np.isfinite(runoff) & np.isfinite(rain[site])
        total = float(rain[site][both].sum())
        if not both.any() or total <= 0:
            warns.append(f"{site}: no step with rain and runoff")
            continue
        ratio = float(runoff[both].sum()) / total
        ratios.append(ratio)
        if ratio > RATIO_REFUSE:
            hint = suspected_units(ratio)
            fails.append(
                f"{site}: runoff is {ratio:.3g} of the rain{hint}: expected at most {RATIO_REFUSE}"
            )
        elif ratio < RATIO_LEAST:
            warns.append(f"{site}: runoff is only {ratio:.2g} of the rain{suspected_units(ratio)}")
        for year in np.unique(water_year):
            of_year = both & (water_year == year)
            if of_year.sum() < least:
                continue
            out, fallen = float(runoff[of_year].sum()), float(rain[site][of_year].sum())
            if out > RATIO_REPORT * fallen:
                warns.append(
                    f"{site}: {out:.0f} mm of runoff from {fallen:.0f} mm of rain in {year}"
                )
    passes = f"runoff is {min(ratios):.2f}..{max(ratios):.2f} of the rain" if ratios else ""
    return _verdict("water balance", fails, warns, passes)


def _response(store: Contents, rain: dict[str, np.ndarray]) -> Check:
    """Does each river rise after the rain on its own watershed."""
    steps_per_day = round(86400.0 / store.catalog.period.step_seconds)
    warns, found = [], []
    for site in store.sites:
        answer = response(rain[site], store.site(site, "runoff"), steps_per_day)
        if answer is None:
            continue
        found.append(answer)
        if answer.correlation < answer.least:
            warns.append(
                f"{site}: rises do not follow the rain (rank correlation {answer.correlation:.2f} "
                f"at most, of unrelated series up to {answer.least:.2f}): another river's record, "
                "or another time?"
            )
    passes = "too short to tell"
    if found:
        least, latest = min(a.correlation for a in found), max(a.lag for a in found)
        passes = f"rises follow rain within {latest} days, rank correlation {least:.2f} at least"
    return _verdict("response", [], warns, passes)


def _discharge(store: Contents) -> Check:
    """Share of steps without a value; negative ones."""
    fails, warns, most = [], [], 0.0
    for site in store.sites:
        discharge = store.site(site, "discharge")
        missing = float(np.isnan(discharge).mean())
        most = max(most, missing)
        if missing == 1:
            fails.append(f"{site}: no value at all")
        elif missing > MISSING_REPORT:
            warns.append(f"{site}: {missing:.1%} missing")
        negative = int((discharge < 0).sum())
        if negative:
            warns.append(f"{site}: {negative} negative values, as by tides")
    return _verdict("discharge", fails, warns, f"{most:.1%} missing at most")
