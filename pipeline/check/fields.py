"""Checks of a store's fields: coverage, flow distance and forcings."""

from __future__ import annotations

import numpy as np

from pipeline.catalog.models import PRECIPITATION
from pipeline.check.contents import Check, Contents, verdict
from pipeline.store.root import array_of
from pipeline.store.spec import valid_fraction_name

AREA_TOLERANCE = 1e-6  # of the covered area from the polygon's, relative
MISSING_WARN = 0.1  # share of missing values
# World records, rounded outwards: rain of an hour (Shangdi, 1975) and a day (Foc-Foc, 1966) [mm],
# lowest and highest temperature near the ground (Vostok, 1983; Furnace Creek, 1913).
RAIN_RECORD = {"hour": 401.0, "day": 1825.0}
RANGES = {"degC": (-90.0, 60.0)}


def check_coverage(store: Contents) -> Check:
    """Check that coverage is between 0 and 1, and the covered area the polygon's."""
    fails, worst = [], 0.0
    for site in store.sites:
        coverage, area = store.layer(site, "coverage"), store.cell_area(site)
        polygon = float(store.about(site)["drainage_area_m2"])
        off = float((coverage * area).sum()) / polygon - 1
        worst = max(worst, abs(off))
        if not (coverage.min() >= 0 and coverage.max() <= 1):
            fails.append(f"{site}: {coverage.min():g}..{coverage.max():g}: expected 0..1")
        elif not abs(off) <= AREA_TOLERANCE:
            fails.append(f"{site}: covers {off:+.2e} of the polygon's {polygon / 1e6:.5g} km2")
    return verdict("coverage", fails, [], f"areas within {worst:.1e} of the polygons'")


def check_flow_distance(store: Contents) -> Check:
    """Check that flow distance is positive in every covered cell, and NaN elsewhere."""
    fails, longest, guessed = [], 0.0, []
    for site in store.sites:
        distance = store.layer(site, "flow_distance")
        covered = store.layer(site, "coverage") > 0
        good = np.isfinite(distance) & (distance > 0)
        if (good != covered).any():
            fails.append(f"{site}: {int((good != covered).sum())} cells: expected it where covered")
            continue
        longest = max(longest, float(distance[covered].max()))
        method = store.about(site)["flow_distance_method"]
        if method != "d8":
            guessed.append(f"{site}: {method}, not traced")
    return verdict("flow distance", fails, guessed, f"traced, up to {longest / 1000:.1f} km")


def check_forcing(store: Contents, name: str) -> tuple[Check, dict[str, np.ndarray]]:
    """Check that values and valid fractions agree, and that values are possible.

    Returns:
        The check, and the forcing's mean (time,) over each watershed.
    """
    source = store.catalog.forcings[name]
    region = array_of(store.root, f"region/{name}")
    fraction = array_of(store.root, f"region/{valid_fraction_name(name)}")
    windows = [store.table.window(position) for position in range(len(store.sites))]
    weights = [store.layer(site, "coverage") * store.cell_area(site) for site in store.sites]
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
        for site, (rows, columns), weight in zip(store.sites, windows, weights, strict=True):
            clip = value[:, rows, columns]
            means[site][block], covered[site][block] = _basin_mean(clip, weight)
    least, most = _possible(store, name)
    if low < least or high > most:
        fails.append(
            f"{low:.4g}..{high:.4g} {source.store_units}: expected {least:g}..{most:g}, the "
            "world's records; is it a missing code that the catalog does not say?"
        )
    missing = {site: 1 - float(share.mean()) for site, share in covered.items()}
    fails += [f"{s}: no value at all" for s, share in missing.items() if share > 1 - 1e-9]
    warns = [f"{s}: {share:.1%} missing" for s, share in missing.items() if share > MISSING_WARN]
    passes = (
        f"{low:.4g}..{high:.4g} {source.store_units}, {max(missing.values()):.1%} missing at most"
    )
    return verdict(name, fails, warns, passes), means


def _possible(store: Contents, name: str) -> tuple[float, float]:
    """Lowest and highest possible value of a forcing, in the store's units."""
    if name == PRECIPITATION:
        return 0.0, RAIN_RECORD[store.catalog.period.step]
    return RANGES.get(store.catalog.forcings[name].store_units, (-np.inf, np.inf))


def _basin_mean(clip: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (time,) over the part of a watershed with values, and that part's share of the area.

    Args:
        clip: values (time, y, x), missing as NaN.
        weight: covered area of each cell [m2], (y, x).
    """
    present = np.where(np.isfinite(clip), weight, 0.0).sum(axis=(1, 2))
    amount = (np.nan_to_num(clip) * weight).sum(axis=(1, 2))
    mean = np.where(present > 0, amount / np.where(present > 0, present, 1.0), np.nan)
    return mean, present / weight.sum()
