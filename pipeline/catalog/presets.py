"""Fill in the keys of a forcing that its `product` implies; what the catalog says itself holds."""

from __future__ import annotations

import re
from difflib import get_close_matches

import yaml

from pipeline.catalog.products import PRODUCTS, Keys, Product
from pipeline.catalog.raster_source import DRIVER_KEYS, RasterSource
from pipeline.catalog.time import STEP, Period


def preset_keys(name: str, given: Keys, period: Period | None) -> Keys:
    """The keys that a forcing's product adds to those of the catalog.

    Args:
        name: of the forcing.
        given: its keys in the catalog, with `product`.
        period: of the catalog; None if it is not valid.

    Returns:
        Keys and values as in a catalog; `files` if it was a folder or missing.

    Raises:
        ValueError: no such product; it has no such forcing; the names of its files leave open what
            they hold, or say that it is another forcing.
    """
    where, called = f"forcings.{name}", given["product"]
    product = PRODUCTS.get(called) if isinstance(called, str) else None
    if product is None:
        near = get_close_matches(str(called), PRODUCTS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"{where}.product: {called!r}: expected one of {', '.join(PRODUCTS)}{meant}"
        )
    if name not in product.forcings:
        known = ", ".join(product.forcings)
        raise ValueError(f"{where}.product: {called} has no {name}: expected one of {known}")
    code, own = product.forcings[name]
    filled = {**product.keys, **own}
    files = given.get("files", "")
    if isinstance(files, str) and (not files or files.endswith("/")):
        if product.files is None:
            raise ValueError(
                f"{where}.files: {files!r}: expected names, {called} has no fixed ones"
            )
        files = filled["files"] = files + product.files.replace("{code}", code)
    filled |= _version(where, given, product, str(files).rpartition("/")[2])
    _require_code(where, called, product, code, str(files).rpartition("/")[2])
    if product.no_31_december and period is not None:
        filled["max_missing_steps"] = _leap_years(period)
    if period is not None and _is_step(filled.get("step"), period):
        del filled["step"]  # the default
    driver = str(given.get("driver", filled.get("driver")))
    return {
        key: value
        for key, value in filled.items()
        if (key == "files" or key not in given) and driver in DRIVER_KEYS.get(key, {driver})
    }


def _version(where: str, given: Keys, product: Product, file: str) -> Keys:
    """Keys of the version whose pattern the files' name matches.

    Raises:
        ValueError: none matches, and the catalog does not say the keys that depend on it.
    """
    if not product.versions:
        return {}
    found = next((keys for at, keys in product.versions.items() if re.search(at, file)), None)
    if found is None:
        needed = set.intersection(*map(set, product.versions.values())) - given.keys()
        if needed:
            raise ValueError(
                f"{where}.files: {file!r} does not tell which files of {given['product']} these "
                f"are: expected {product.hint} in the name, or {', '.join(sorted(needed))} in the "
                "catalog"
            )
    return found or {}


def _require_code(where: str, called: str, product: Product, code: str, file: str) -> None:
    """Raise if a name holds the code of another forcing of the product, and not its own.

    Raises:
        ValueError: it does.
    """
    words = set(re.split(r"[^A-Za-z0-9]+", re.sub(r"\{[^}]*\}", " ", file)))
    others = {other for other, _ in product.forcings.values()} & words
    if others and code not in words:
        raise ValueError(
            f"{where}.files: {file!r} is {', '.join(sorted(others))} of {called}: expected {code}"
        )


def _leap_years(period: Period) -> int:
    """Number of 31 Decembers of leap years in a period."""
    times = period.times
    last = (times.month == 12) & (times.day == 31) & times.is_leap_year
    return len(times[last].normalize().unique())


def _is_step(step: str | None, period: Period) -> bool:
    return step is not None and {"1h": "hour", "1d": "day"}.get(step) == period.step


def require_days(name: str, source: RasterSource, period: Period) -> None:
    """Raise if the days of a period begin at another hour than those of a forcing's product.

    Raises:
        ValueError: they do.
    """
    daily = source.step in (None, STEP["day"]) and period.step == "day"
    if source.product is None or "time" not in source.filled or not daily:
        return
    midnight = period.start.replace(hour=0, minute=0, second=0, microsecond=0)
    expected = PRODUCTS[source.product].day_begins
    if period.start - midnight != expected:
        clock = f"{(midnight + expected):%H:%M}"
        raise ValueError(
            f"forcings.{name}: a day of {source.product} begins at {clock} UTC, the period at "
            f"{period.start:%H:%M}: expected period.start at {clock}, or time in the catalog"
        )


def describe_preset(source: RasterSource) -> str:
    """The keys that a source's product filled in, as in YAML in one line."""
    said = yaml.safe_dump(source.filled, default_flow_style=True, width=10_000, sort_keys=False)
    return f"{source.product} fills in {said.strip()[1:-1]}"
