"""Set up foreign rasters as a user would, and compare the store with what they are known to hold.

    python -m benchmarks.foreign --data FOLDER

`FOLDER` holds `foreign/rasters`. For each source a folder gets the raster, a watershed and a gauge;
`domst init` drafts the catalog; lines are changed by hand, and counted; then `plan` and `run`. The
store is compared with numbers that are read in another way, sampled at points of each cell.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.foreign_expected import Expected
from benchmarks.foreign_rasters import CASES, Case
from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.inspect.draft.catalog import draft_catalog
from pipeline.run.execute import run
from pipeline.run.plan import make_plan
from pipeline.run.tasks import require_inputs
from pipeline.store.read import open_region

SITE = "01234567"
SAMPLES = 24  # points along a side of a cell
WHOLE = 0.999  # valid fraction of the cells that are compared
HOURLY_BELOW = 60  # days of a record


@dataclass(frozen=True)
class Outcome:
    """What came of a source.

    Attributes:
        name: of the source.
        by_hand: lines of the drafted catalog that were changed or added.
        text: a refusal, or how the store agrees with the known values.
        right: whether that is as it has to be.
    """

    name: str
    by_hand: int
    text: str
    right: bool


def set_up(case: Case, data: Path, folder: Path) -> Path:
    """Make the folder that a user would have, and the catalog that they would end with.

    Returns:
        The catalog.
    """
    for name, given in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / "foreign/rasters" / given, folder / name)
    if case.prepare is not None:
        case.prepare(data / "foreign/rasters", folder)
    _write_watershed(folder / "basin.geojson", case)
    _write_gauge(folder / "discharge.csv", case)
    catalog = folder / "catalog.yaml"
    catalog.write_text(draft_catalog(folder, catalog))
    return catalog


def edit(catalog: Path, edits: dict[str, str]) -> int:
    """Change a drafted catalog by hand: each pattern has to match one line.

    Returns:
        Number of lines that differ from the draft.
    """
    before = catalog.read_text()
    after = before
    for pattern, replacement in edits.items():
        after, count = re.subn(pattern, replacement, after, flags=re.MULTILINE)
        assert count == 1, f"{catalog}: {pattern!r} matches {count} times in\n{before}"
    catalog.write_text(after)
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") for line in lines)


def outcome(case: Case, data: Path, folder: Path) -> Outcome:
    """Set a source up, run it, and compare."""
    by_hand = 0
    catalog = folder / "catalog.yaml"
    try:
        catalog = set_up(case, data, folder)
        by_hand = edit(catalog, dict(case.edits))
        described = load_catalog(catalog)
        require_inputs(make_plan(described))
        run(described, folder / "store.zarr")
    except InputError as error:
        text = str(error).replace(f"{folder}/", "")
        said = [line for line in catalog.read_text().splitlines() if "not used: " in line]
        if said:  # by the draft, which uses what is left
            text = said[0].removeprefix("# not used: ")
        right = case.expected is None and all(part in text for part in case.refused)
        return Outcome(case.name, by_hand, f"refused: {text}", right)
    if case.expected is None:
        return Outcome(case.name, by_hand, "read, but expected a refusal", right=False)
    text, right = compare(folder / "store.zarr", case.expected(folder))
    return Outcome(case.name, by_hand, text, right)


def compare(store: Path, expected: Expected) -> tuple[str, bool]:
    """Compare the rain of a store with known numbers, sampled at points of its cells."""
    with open_region(store) as region:
        stored = region["precipitation"].load()
        valid = region["valid_fraction"].load().values
        whole = valid > WHOLE * valid.max()  # of a few rasters of a step it is a part
    known = sample(expected, stored["y"].values, stored["x"].values)
    if known.shape != stored.shape:
        return f"shapes {stored.shape} and {known.shape}", False
    both = whole & np.isfinite(known)
    if not both.any():
        return "no cell to compare", False
    found, right = stored.values[both].astype(float), known[both]
    total = found.sum() / right.sum() - 1
    scale = max(right.std(), 1e-9)
    apart = np.abs(found - right).max() / scale
    correlation = np.corrcoef(found, right)[0, 1] if right.std() > 0 else 1.0
    text = (
        f"read: {found.mean():.4g} mm a step in the mean, total {total:+.2%}, "
        f"r = {correlation:.5f}, {both.sum()} values"
    )
    return text, bool(abs(total) < 0.01 and correlation > 0.99 and apart < 1.5)


def sample(
    expected: Expected, lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means over points of cells with these middles, (steps, rows, columns)."""
    inside = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    step = 1 / 12
    y = (lat[:, None] + step * inside).ravel()
    x = (lon[:, None] + step * inside).ravel()
    at_x, at_y = np.meshgrid(x, y)
    row, column = (np.floor(part).astype(int) for part in expected.locate(at_x, at_y))
    rows, columns = expected.rain.shape[1:]
    outside = (row < 0) | (row >= rows) | (column < 0) | (column >= columns)
    found = np.empty((len(expected.rain), len(lat), len(lon)))
    for k, rain in enumerate(expected.rain):
        values = rain[row.clip(0, rows - 1), column.clip(0, columns - 1)]
        values = np.where(outside, np.nan, values)
        found[k] = values.reshape(len(lat), SAMPLES, len(lon), SAMPLES).mean((1, 3))
    return found


def _write_watershed(path: Path, case: Case) -> None:
    west, south, east, north = case.box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"SITE_NO": SITE}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))


def _write_gauge(path: Path, case: Case) -> None:
    """Days in a long record, else readings every quarter of an hour."""
    first, last = map(pd.Timestamp, case.days)
    daily = last - first > pd.Timedelta(days=HOURLY_BELOW)
    times = pd.date_range(first, last, freq="1D" if daily else "15min")
    texts = times.strftime("%Y-%m-%d" if daily else "%Y-%m-%dT%H:%M:%SZ")
    flow = 5 + np.random.default_rng(1).random(times.size)
    rows = [f"{SITE},{text},{value:.3f}" for text, value in zip(texts, flow, strict=True)]
    path.write_text("\n".join(["site_no,datetime,discharge_m3s", *rows]) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of all sources, or of those whose names hold a text."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("DOMST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="folder of real data")
    parser.add_argument("--only", default="", help="text in the names of the sources to try")
    parser.add_argument("--keep", type=Path, help="keep the folders here")
    options = parser.parse_args(arguments)
    print("| source | lines by hand | outcome |\n|---|---|---|")
    for case in CASES:
        if options.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if options.keep is None else options.keep / case.name
            folder.mkdir(parents=True, exist_ok=True)
            done = outcome(case, options.data.resolve(), folder)
        wrong = "" if done.right else "**WRONG** "
        print(f"| {done.name} | {done.by_hand} | {wrong}{done.text} |", flush=True)


if __name__ == "__main__":
    main()
