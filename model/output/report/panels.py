"""What each head's panel and the map are drawn from: the run directory and its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr

from model.evaluation.metrics import default_peak_window
from model.inputs.features import known_basin_mean
from model.output.journal import Validation, read_validations
from model.output.report.blocks import pack
from model.output.report.discharge import Discharge, milliseconds, segments
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
        self.discharge = Discharge(run, settings)
        self.validations = read_validations(run.folder / "metrics.jsonl")

    def read(self, head: Mapping[str, Any]) -> tuple[str, str]:
        """Return the block of a head's panel, and the watershed's outline as WKT.

        Raises:
            InputError: the store is not there, or has no such watershed.
        """
        site, record = head["site_no"], self.discharge
        observed, simulated = record.read(site)
        seconds, times = record.step.total_seconds(), record.times[record.test]
        floods = describe_floods(record, observed, [simulated])
        with open_watershed(self.store, site) as watershed:
            inside = watershed["coverage"].values > 0
            area = (watershed["coverage"] * watershed["cell_area"]).values[inside]
            share = area / area.sum()
            distance = np.nan_to_num(watershed["flow_distance"].values[inside])
            rain = read_rain(watershed, inside, share, times)
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
                "segments": segments(times, record.step),
                "floods": floods,
                "kept_update": head["kept_update"],
                "outlet": list(map(float, watershed.attrs["outlet"])),
                "cell_size": cell_size(watershed),
            }
        arrays = {
            "observed": observed[record.test],
            "simulated": simulated[record.test],
            "rain": rain,
            "longitude": longitude[inside],
            "latitude": latitude[inside],
            **(learned._asdict() if learned else {}),
            **curves_of(self.validations.get(site, ())),
        }
        return pack(fields, arrays), outline


def describe_floods(
    record: Discharge, observed: np.ndarray, simulated: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Describe the largest floods of a record, for a page.

    Args:
        record: its times.
        observed: (T,) [m3 s-1], NaN where missing.
        simulated: some of (T,), each known wherever `observed` is.

    Returns:
        Of each flood `time` of its observed peak [ms since 1970], `observed`, and lists with a
        number a simulation: `simulated`, `peak_error`, `lag`, as of `Flood`.
    """
    window = default_peak_window(record.step.to_timedelta64())
    seconds = record.step.total_seconds()
    found = [largest_floods(observed, one, seconds, window) for one in simulated]
    return [
        {
            "time": milliseconds(record.times[same[0].step]),
            "observed": same[0].observed,
            "simulated": [flood.simulated for flood in same],
            "peak_error": [flood.peak_error for flood in same],
            "lag": [flood.lag for flood in same],
        }
        for same in zip(*found, strict=True)
    ]


def read_rain(
    watershed: xr.Dataset, inside: np.ndarray, share: np.ndarray, times: pd.DatetimeIndex
) -> np.ndarray:
    """Average precipitation over the cells that have it, at some times [mm per step].

    NaN where the store has no such step.
    """
    steps = pd.DatetimeIndex(watershed["time"].values).get_indexer(times)
    there, mean = steps >= 0, np.full(len(times), np.nan)
    if there.any():
        first, last = int(steps[there].min()), int(steps[there].max())
        field = watershed[PRECIPITATION].isel(time=slice(first, last + 1)).values
        mean[there] = known_basin_mean(field[steps[there] - first][:, inside], share)
    return mean


def cell_size(watershed: xr.Dataset) -> list[float]:
    """Return width and height of a cell in degrees."""
    bounds = watershed["spatial_ref"].attrs["GeoTransform"].split()
    return [abs(float(bounds[1])), abs(float(bounds[5]))]


def curves_of(validations: Sequence[Validation]) -> dict[str, np.ndarray]:
    """Loss and validation NSE by update, as arrays for a page; none without a validation."""
    if not validations:
        return {}
    update, loss, nse = np.array(validations, float).T
    return {"update": update, "loss": loss, "validation_nse": nse}


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
