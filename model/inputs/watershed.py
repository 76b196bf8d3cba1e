"""Load one watershed: the border where xarray becomes arrays.

Before this file there are coordinates, attributes and missing values. After it there are dense
arrays on the steps of one watershed, scaled by moments of the training steps alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from model.inputs.features import attributes_of, basin_mean, known_basin_mean
from model.inputs.snow import Snow, choose_snow, melt_snow
from model.inputs.soil import TEMPERATURE, evaporation_demand
from model.inputs.split import Split, Steps
from model.settings import Settings
from pipeline.catalog.models import PRECIPITATION
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.units import SECONDS_PER_DAY

if TYPE_CHECKING:  # training on loaded arrays needs none of the packages that read a store
    import xarray as xr

log = get_logger(__name__)
MAP_DIMS = ("time", "y", "x")


@dataclass(frozen=True)
class Survey:
    """What a store contains, known without reading its data.

    Attributes:
        title, synthetic: from the catalog.
        times: (T,) starts of the steps.
        pixels: number of cells of each watershed's window, by site number, sorted.
        cells: number of cells that touch each watershed.
        paths: longest flow path of each watershed [m].
        forcings: number of forcings, precipitation included.
        digest: SHA-256 of the provenance without the time of creation.
    """

    title: str
    synthetic: bool
    times: pd.DatetimeIndex
    pixels: dict[str, int]
    cells: dict[str, int]
    paths: dict[str, float]
    forcings: int
    digest: str

    @property
    def step(self) -> pd.Timedelta:
        """Length of a step."""
        return self.times[1] - self.times[0]

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Midpoints of the steps, (T,); a step belongs to the period of its midpoint."""
        return self.times + self.step / 2


def survey_store(store: str) -> Survey:
    """List what a store contains, without reading its data.

    Raises:
        InputError: no store, an unfinished one, or one without watersheds.
    """
    from pipeline.store.read import open_gauges
    from pipeline.store.root import PROGRESS, array_of, open_root, read_array
    from pipeline.store.sites import read_sites
    from pipeline.store.tables import WATERSHEDS

    times = pd.DatetimeIndex(open_gauges(store)["time"].values)
    root = open_root(store)
    table, about = read_sites(root), dict[str, Any](root.attrs)
    if not table.site_no:
        raise InputError(f"{store}: holds no watershed: expected at least one to train a head for")
    pixels = table.numbers["window_rows"] * table.numbers["window_columns"]
    marks: Any = root[PROGRESS]  # an array a forcing
    distances = read_array(array_of(root, f"{WATERSHEDS}/flow_distance"))
    paths = np.fmax.reduceat(distances, table.first_cell[:-1])
    provenance = {key: value for key, value in about["provenance"].items() if key != "created"}

    def by_site(values: np.ndarray) -> dict[str, Any]:
        return dict(zip(table.site_no, values.tolist(), strict=True))

    return Survey(
        title=about["title"],
        synthetic=bool(about["synthetic"]),
        times=times,
        pixels=by_site(pixels),
        cells=by_site(table.numbers["cell_count"]),
        paths=by_site(paths),
        forcings=len(marks),
        digest=hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest(),
    )


@dataclass(frozen=True)
class HeadData:
    """One watershed's data, ready for its head.

        T steps   C forcings   N cells of the map that count, row by row

    Attributes:
        site_no, name: of the gauge.
        synthetic: whether the watershed is made up.
        area: of the polygon [m2].
        step_seconds: length of a step.
        interval_end: end of the discharge's interval after the start of the forcings' step [s],
            more than 0 and at most a step: the forcings are those of the last step that began
            before the discharge had been measured.
        times, dates: (T,) starts and midpoints of the steps, as the store pairs them with
            discharge.
        inside: (Y, X) bool, the N cells: those that touch the watershed, or all of the region.
        channels: C names, precipitation first.
        forcing: (T, C, N) float32, rain [mm per step], the others standardised. Rain is the water
            that reaches the ground, melt included, where there is `snow`.
        demand: (T, N) float32, potential evaporation [mm per step].
        attributes: (A,) float32, see `attributes_of`.
        coverage, share: (N,) share of the cell inside, share of the watershed's area.
        distance: (N,) flow distance [m].
        discharge: (T,) float64, observed [m3 s-1], NaN where missing.
        runoff: (T,) float32, the same [mm per step].
        split: steps of training, validation and test.
        snow: how it melts; None where it does not count.
        rain_scale, runoff_scale, runoff_mean: moments over the training steps [mm per step].
        standard: mean and standard deviation of each other forcing over the training steps.
    """

    site_no: str
    name: str
    synthetic: bool
    area: float
    step_seconds: float
    interval_end: float
    times: pd.DatetimeIndex
    dates: pd.DatetimeIndex
    inside: np.ndarray
    channels: tuple[str, ...]
    forcing: np.ndarray
    demand: np.ndarray
    attributes: np.ndarray
    coverage: np.ndarray
    share: np.ndarray
    distance: np.ndarray
    discharge: np.ndarray
    runoff: np.ndarray
    split: Split
    snow: Snow | None
    rain_scale: float
    runoff_scale: float
    runoff_mean: float
    standard: dict[str, tuple[float, float]]

    @property
    def rain(self) -> np.ndarray:
        """Basin mean of the rain [mm per step], (T,)."""
        return basin_mean(self.forcing[:, 0], self.share)


def load_head(store: str, site_no: str, settings: Settings) -> HeadData:
    """Load one watershed of a store, on its own window or on the map of the region.

    Args:
        store: path or URL.
        site_no: of the gauge.
        settings: split, map, snow and evaporation.

    Raises:
        InputError: no such watershed; no rain, no discharge or no variation of it to train on.
    """
    from pipeline.store.read import open_watershed

    with open_watershed(store, site_no) as lazy:
        data = (_on_region(store, lazy) if settings.region else lazy).load()
    times = pd.DatetimeIndex(data["time"].values)
    step = times[1] - times[0]
    step_days = step / pd.Timedelta(days=1)
    dates = times + step / 2
    split = Split.of(dates, settings)
    train = split.train_steps
    inside = (data["coverage"].values > 0) | settings.region
    coverage = data["coverage"].values[inside]
    cell_areas = coverage * data["cell_area"].values[inside]
    share = (cell_areas / cell_areas.sum()).astype(np.float32)
    distance = np.nan_to_num(data["flow_distance"].values[inside])
    area = float(data.attrs["drainage_area_m2"])

    where = f"{store}: watershed {site_no}"
    runoff = data["runoff"].values.astype(np.float32)
    period = split.describe_part("train", dates)
    observed = _varying(runoff[train], where, f"train {period}", "train on")
    period = split.describe_part("validation", dates)
    _varying(runoff[split.validation], where, f"validation {period}", "pick weights on")

    # A discharge interval that ends in the middle of the next step is paired with that step's
    # forcings, as some of their rain is in it.
    shift = float(data.attrs["discharge_shift_s"])
    ahead = int(shift > 0)
    paired, forced = slice(0, len(times) - ahead), slice(ahead, None)
    discharge = data["discharge"].values[paired].astype(np.float64)

    fields = _fields(data, inside, share, train, site_no)
    snow = None
    if settings.snow and TEMPERATURE in fields:
        precipitation, spinup = fields[PRECIPITATION], split.first_year(step.total_seconds())

        def water(candidate: Snow) -> np.ndarray:
            temperature = fields[TEMPERATURE]
            return melt_snow(
                precipitation, temperature, candidate, step_days, spinup, split.train, settings
            )

        snow = choose_snow(
            basin_mean(precipitation, share)[forced],
            lambda candidate: basin_mean(water(candidate), share)[forced],
            discharge,
            dates[paired].to_numpy(),
            split.train[paired],
            settings,
        )
        if snow:
            fields[PRECIPITATION] = water(snow)
    depth = basin_mean(fields[PRECIPITATION][train], share)
    if not depth.any():
        raise InputError(
            f"{where}: no rain in train {split.describe_part('train', dates)}: expected some to "
            "train on"
        )

    demand = evaporation_demand(
        fields,
        latitude=np.broadcast_to(data["y"].values[:, None], inside.shape)[inside],
        day_of_year=dates.day_of_year.to_numpy(),
        step_days=step_days,
        evaporated=1 - float(observed.mean()) / float(depth.mean()),
        train=split.train,
        settings=settings,
    )
    standard = _moments(fields, share, train)
    return HeadData(
        site_no=site_no,
        name=str(data.attrs["name"]),
        synthetic=bool(data.attrs.get("synthetic", False)),
        area=area,
        step_seconds=step.total_seconds(),
        interval_end=shift or step.total_seconds(),
        times=times[paired],
        dates=dates[paired],
        inside=inside,
        channels=tuple(fields),
        forcing=_scaled(fields, standard)[forced],
        demand=demand[forced],
        attributes=attributes_of(
            area=area,
            distance=float(distance @ share),
            slope=data.attrs.get("slope"),
            rain=float(depth.mean()) * (SECONDS_PER_DAY / step.total_seconds()),
            dryness=float(demand[train].mean()) / float(depth.mean()),
            settings=settings,
        ),
        coverage=coverage.astype(np.float32),
        share=share,
        distance=distance.astype(np.float32),
        discharge=discharge,
        runoff=runoff[paired],
        split=split.select(paired),
        snow=snow,
        rain_scale=float(depth.std()) or 1.0,
        runoff_scale=float(observed.std()),
        runoff_mean=float(observed.mean()),
        standard=standard,
    )


def _varying(runoff: np.ndarray, where: str, when: str, use: str) -> np.ndarray:
    """Return the observed values.

    Raises:
        InputError: fewer than two of them, or all the same.
    """
    observed = runoff[np.isfinite(runoff)]
    if np.unique(observed).size < 2:
        raise InputError(
            f"{where}: {observed.size} discharge values in {when}: expected a record that varies "
            f"to {use}"
        )
    return observed


def _moments(
    fields: Mapping[str, np.ndarray], share: np.ndarray, train: Steps
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (1 where nothing varies) of the basin means of all forcings but
    precipitation, over the training steps."""
    basin = {
        name: basin_mean(field[train], share)
        for name, field in fields.items()
        if name != PRECIPITATION
    }
    return {name: (float(one.mean()), float(one.std() or 1.0)) for name, one in basin.items()}


def _scaled(
    fields: Mapping[str, np.ndarray], standard: Mapping[str, tuple[float, float]]
) -> np.ndarray:
    """Stack the forcings, (T, C, N) float32: precipitation as it is, the others standardised."""
    layers = []
    for name, values in fields.items():
        if name in standard:
            mean, deviation = standard[name]
            values = (values - mean) / deviation
        layers.append(values.astype(np.float32))
    return np.stack(layers, axis=1)


def _on_region(store: str, watershed: xr.Dataset) -> xr.Dataset:
    """Put a watershed's static layers on the map of the region, with the region's forcings."""
    import xarray as xr

    from pipeline.store.read import open_region

    region = open_region(store)
    forcings = [name for name, field in watershed.data_vars.items() if field.dims == MAP_DIMS]
    cells = {"y": region["y"], "x": region["x"]}
    layers = watershed[["coverage", "flow_distance"]]
    layers = layers.reindex(cells, method="nearest", tolerance=1e-6)
    return xr.merge(
        [
            region[[*forcings, "cell_area"]],
            layers.assign(coverage=layers["coverage"].fillna(0)),
            watershed[["discharge", "runoff"]],
        ],
        compat="override",
        join="exact",
    ).assign_attrs(watershed.attrs)


def _fields(
    data: xr.Dataset, inside: np.ndarray, share: np.ndarray, train: Steps, site_no: str
) -> dict[str, np.ndarray]:
    """Forcings on the cells inside, (T, N) each, without gaps; precipitation comes first."""
    names = [str(name) for name, field in data.data_vars.items() if field.dims == MAP_DIMS]
    names.sort(key=lambda name: (name != PRECIPITATION, name))
    return {
        name: _filled(data[name].values[:, inside], name, share, train, site_no) for name in names
    }


def _filled(
    values: np.ndarray, name: str, share: np.ndarray, train: Steps, site_no: str
) -> np.ndarray:
    """Fill the gaps of a field (T, N): missing cells take the area-weighted mean of the valid ones,
    a step without a valid cell takes the mean of the training steps."""
    mean = known_basin_mean(values, share)
    empty = np.isnan(mean)
    if empty.all() or empty[train].all():
        raise InputError(f"watershed {site_no}: {name} has no valid value to train on")
    if empty.any():
        log.warning("watershed %s: %s is missing on %d steps", site_no, name, empty.sum())
        mean[empty] = np.nanmean(mean[train])
    return np.where(np.isfinite(values), values, mean[:, None])
