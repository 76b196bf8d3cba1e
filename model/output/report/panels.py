"""What each head's panel and the map are drawn from: the run directory and its store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr

from model.evaluation.metrics import default_peak_window
from model.inputs.split import Split
from model.output.journal import read_lines
from model.output.report.blocks import pack
from model.output.report.floods import largest_floods
from model.output.report.learned import read_learned
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.catalog.models import PRECIPITATION
from pipeline.store.read import open_watershed

MAP_STEPS = 1500  # of the map's longer side; outlines are simplified to one of them
Outline = list[list[list[float]]]  # rings of longitudes and latitudes


class Panels:
    """Panels of a run's heads.

    Args:
        run: a run directory with predictions.
        settings: of the run.
        trained: folder of the checkpoints.
        store: path or URL of the store.
    """

    def __init__(self, run: Run, settings: Settings, trained: Path, store: str) -> None:
        self.settings, self.trained, self.store = settings, trained, store
        self.predictions = run.open_predictions()
        self.times = pd.DatetimeIndex(self.predictions["time"].values)
        self.step = self.times[1] - self.times[0]
        self.test = Split.of(self.times + self.step / 2, settings).test
        self.curves = read_curves(run.folder / "metrics.jsonl")

    def read(self, head: Mapping[str, Any]) -> tuple[str, str]:
        """Return the block of a head's panel, and the watershed's outline as WKT.

        Raises:
            InputError: the store is not there, or has no such watershed.
        """
        site = head["site_no"]
        flows = self.predictions.sel(site_no=site)
        observed, simulated = (
            np.where(self.test, flows[name].values.astype(np.float64), np.nan)
            for name in ("observed", "simulated")
        )
        seconds = self.step.total_seconds()
        window = default_peak_window(self.step.to_timedelta64())
        floods = [
            {**flood._asdict(), "time": self._milliseconds(flood.step)}
            for flood in largest_floods(observed, simulated, seconds, window)
        ]
        steps = np.flatnonzero(self.test)
        with open_watershed(self.store, site) as watershed:
            inside = watershed["coverage"].values > 0
            area = (watershed["coverage"] * watershed["cell_area"]).values[inside]
            share = area / area.sum()
            distance = np.nan_to_num(watershed["flow_distance"].values[inside])
            rain = read_rain(watershed, inside, share, steps)
            learned = read_learned(
                self.trained / f"{site}.safetensors",
                self.settings,
                share,
                distance,
                seconds,
                float(watershed.attrs["discharge_shift_s"]) or seconds,
            )
            longitude, latitude = np.meshgrid(watershed["x"].values, watershed["y"].values)
            outline = str(watershed["polygon"].values)
            fields = {
                "step": 1000 * seconds,
                "segments": self._segments(steps),
                "floods": floods,
                "kept_update": head["kept_update"],
                "outlet": list(map(float, watershed.attrs["outlet"])),
                "cell_size": cell_size(watershed),
            }
        arrays = {
            "observed": observed[steps],
            "simulated": simulated[steps],
            "rain": rain,
            "longitude": longitude[inside],
            "latitude": latitude[inside],
            **(learned._asdict() if learned else {}),
            **self.curves.get(site, {}),
        }
        return pack(fields, arrays), outline

    def _segments(self, steps: np.ndarray) -> list[list[int]]:
        """Return start [ms since 1970] and number of steps of each unbroken part of the test."""
        parts = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
        return [[self._milliseconds(part[0]), part.size] for part in parts]

    def _milliseconds(self, step: int) -> int:
        return int(self.times[step].value // 10**6)


def read_rain(
    watershed: xr.Dataset, inside: np.ndarray, share: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Average precipitation over the cells that have it, on some steps [mm per step]."""
    first = int(steps[0])
    field = watershed[PRECIPITATION].isel(time=slice(first, int(steps[-1]) + 1)).values
    rain = field[steps - first][:, inside]
    known = np.isfinite(rain) @ share
    mean = np.full(steps.size, np.nan)
    np.divide(np.nan_to_num(rain) @ share, known, out=mean, where=known > 0)
    return mean


def cell_size(watershed: xr.Dataset) -> list[float]:
    """Return width and height of a cell in degrees."""
    bounds = watershed["spatial_ref"].attrs["GeoTransform"].split()
    return [abs(float(bounds[1])), abs(float(bounds[5]))]


def read_curves(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read loss and validation NSE by update of each head from metrics.jsonl, if it is there."""
    lines: defaultdict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for line in read_lines(path):  # the last word of an update that was repeated counts
        lines[line["site_no"]][line["update"]] = (
            np.nan if line["loss"] is None else line["loss"],
            np.nan if line["validation_nse"] is None else line["validation_nse"],
        )
    curves = {}
    for site, by_update in lines.items():
        updates = sorted(by_update)
        loss, nse = np.array([by_update[update] for update in updates], float).T
        curves[site] = {"update": np.array(updates, float), "loss": loss, "validation_nse": nse}
    return curves


def simplified(outlines: list[str]) -> list[list[Outline]]:
    """Return outlines as polygons of rings, simplified to what a map of them all can show."""
    shapes = shapely.from_wkt(outlines)
    west, south, east, north = shapely.total_bounds(shapes)
    tolerance = max(east - west, north - south) / MAP_STEPS
    digits = max(0, int(np.ceil(-np.log10(tolerance))) + 1)
    found = []
    for shape in shapely.simplify(shapes, tolerance):
        polygons = []
        for polygon in shapely.get_parts(shape):
            rings = [polygon.exterior, *polygon.interiors]
            polygons.append([np.round(ring.coords.xy, digits).tolist() for ring in rings])
        found.append(polygons)
    return found
