"""The border: a watershed of the store, as xarray, becomes the arrays that a head trains on.

Left of this file there are coordinates, attributes and missing values; right of it there are
dense arrays on the steps of one watershed, scaled by what the training years alone say.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from model.inputs.features import attributes_of
from model.inputs.snow import Snow, find_snow, melted
from model.inputs.soil import TEMPERATURE, evaporation_demand
from model.inputs.split import Split
from pipeline.catalog.models import PRECIPITATION
from pipeline.errors import InputError
from pipeline.units import SECONDS_PER_DAY

if TYPE_CHECKING:  # a store is read with more packages than training on what was read needs
    import xarray as xr

log = logging.getLogger(__name__)
DAYS_IN_YEAR = 365


@dataclass(frozen=True)
class Survey:
    """What is known of a store before any of its data is read.

    title, synthetic: from the catalog.  times (T,): starts of the steps.
    pixels: cells of each watershed's window, by site number, sorted.
    digest: SHA-256 of the provenance, the time of creation aside.
    """

    title: str
    synthetic: bool
    times: pd.DatetimeIndex
    pixels: dict[str, int]
    digest: str

    @property
    def step(self) -> pd.Timedelta:
        """Length of a step."""
        return self.times[1] - self.times[0]

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Midpoints of the steps, by which water years are counted."""
        return self.times + self.step / 2


def survey_store(store: str) -> Survey:
    """Look a store over.

    Raises:
        InputError: no store, an unfinished one, or one without watersheds.
    """
    from pipeline.store.read import list_sites, open_watershed
    from pipeline.store.root import open_root

    sites = list_sites(store)
    if not sites:
        raise InputError(f"{store}: holds no watershed: expected at least one to train a head for")
    sheds = {site: open_watershed(store, site) for site in sites}
    about: dict[str, Any] = dict(open_root(store).attrs)
    provenance = {key: value for key, value in about["provenance"].items() if key != "created"}
    return Survey(
        title=about["title"],
        synthetic=about["synthetic"],
        times=pd.DatetimeIndex(sheds[sites[0]]["time"].values),
        pixels={site: shed["coverage"].size for site, shed in sheds.items()},
        digest=hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest(),
    )


@dataclass(frozen=True)
class HeadData:
    """One watershed, ready for its head.

    site_no, name: the gauge.  area: of the polygon [m2].  step_seconds: length of a step.
    interval_end: seconds from the start of a step's forcings to the end of its discharge's
        interval, more than 0 and at most a step: the forcings are those of the last step that
        began before the discharge had been measured.
    times (T,): starts of the steps.  dates (T,): their midpoints, by which years are counted; both
        as the store pairs them with discharge.
    inside (Y, X) bool: the N cells of the map that count, row by row: those that touch the
        watershed, or all of them on the region's map.
    channels (C,): names, precipitation first.
    forcing (T, C, N) float32: rain [mm per step], the others standardised. Rain is the water that
        reaches the ground, melt included, where there is `snow`.
    demand (T, N) float32: potential evaporation [mm per step].
    attributes (A,) float32: what tells one watershed from another, see `attributes_of`.
    coverage, share (N,): share of the cell inside, share of the watershed's area.
    distance (N,): flow distance [m].
    discharge (T,) float64: observed [m3 s-1], NaN where missing.
    runoff (T,) float32: the same [mm per step].
    snow: how it melts; None where it does not count.
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
        """Basin-mean rain [mm per step], (T,)."""
        return self.forcing[:, 0] @ self.share


def load_head(
    store: str,
    site_no: str,
    validation: Sequence[int] = (),
    test: Sequence[int] = (),
    region: bool = False,
) -> HeadData:
    """Read one watershed of a store, on its own window or on the map of the whole `region`.

    Raises:
        InputError: no such watershed, no discharge or no variation of it in the training years.
    """
    from pipeline.store.read import open_watershed

    with open_watershed(store, site_no) as data:
        shed = _on_region(store, data).load() if region else data.load()
    times = pd.DatetimeIndex(shed["time"].values)
    step = times[1] - times[0]
    dates = times + step / 2
    split = Split.by_water_year(dates, validation, test)
    inside = (shed["coverage"].values > 0) | region
    coverage = shed["coverage"].values[inside]
    cells = coverage * shed["cell_area"].values[inside]
    share = (cells / cells.sum()).astype(np.float32)
    runoff = shed["runoff"].values.astype(np.float32)
    where = f"{store}: watershed {site_no}"
    began = dates[split.train.stop].date()
    observed = _varied(runoff[split.train], where, f"before {began}", "train on")
    _varied(runoff[split.validation], where, "in the validation years", "pick the weights on")
    fields = _fields(shed, inside, share, split.train, site_no)
    # A discharge whose interval ends in the middle of the next step is paired with that step's
    # forcings: some of their rain is in it.
    shift = float(shed.attrs["discharge_shift_s"])
    ahead = int(shift > 0)
    paired, forced = slice(0, len(times) - ahead), slice(ahead, None)
    discharge = shed["discharge"].values[paired].astype(np.float64)
    held = Split(split.train, split.validation[paired], split.test[paired])
    step_days = step / pd.Timedelta(days=1)
    fallen = fields[PRECIPITATION]

    def thawed(snow: Snow) -> np.ndarray:
        first_year = round(DAYS_IN_YEAR / step_days)
        return melted(fallen, fields[TEMPERATURE], snow, step_days, first_year, split.train)

    snow = None
    if TEMPERATURE in fields:
        snow = find_snow(
            (fallen @ share)[forced],
            lambda snow: (thawed(snow) @ share)[forced],
            discharge,
            dates[paired].to_numpy(),
            held.validation | (np.arange(discharge.size) < split.train.stop),
        )
    if snow:
        fields[PRECIPITATION] = thawed(snow)
    depth = fields[PRECIPITATION][split.train] @ share
    if not depth.any():
        raise InputError(f"{where}: no rain before {began}: expected some to train on")
    latitude = np.broadcast_to(shed["y"].values[:, None], inside.shape)[inside]
    demand = evaporation_demand(
        fields,
        latitude,
        dates.day_of_year.to_numpy(),
        step_days,
        1 - float(observed.mean()) / float(depth.mean()),
    )
    standard = _moments(fields, share, split.train)
    return HeadData(
        site_no=site_no,
        name=str(shed.attrs["name"]),
        synthetic=bool(shed.attrs.get("synthetic", False)),
        area=float(shed.attrs["drainage_area_m2"]),
        step_seconds=step.total_seconds(),
        interval_end=shift or step.total_seconds(),
        times=times[paired],
        dates=dates[paired],
        inside=inside,
        channels=tuple(fields),
        forcing=_scaled(fields, standard)[forced],
        demand=demand[forced],
        attributes=attributes_of(
            area=float(shed.attrs["drainage_area_m2"]),
            distance=float(np.nan_to_num(shed["flow_distance"].values[inside]) @ share),
            slope=shed.attrs["slope"],
            rain=float(depth.mean()) * (SECONDS_PER_DAY / step.total_seconds()),
            dryness=float(demand[split.train].mean()) / float(depth.mean()),
        ),
        coverage=coverage.astype(np.float32),
        share=share,
        distance=np.nan_to_num(shed["flow_distance"].values[inside]).astype(np.float32),
        discharge=discharge,
        runoff=runoff[paired],
        split=held,
        snow=snow,
        rain_scale=float(depth.std()) or 1.0,
        runoff_scale=float(observed.std()),
        runoff_mean=float(observed.mean()),
        standard=standard,
    )


def _varied(runoff: np.ndarray, where: str, when: str, use: str) -> np.ndarray:
    """The values that are there.

    Raises:
        InputError: fewer than two of them, or all the same.
    """
    observed = runoff[np.isfinite(runoff)]
    if np.unique(observed).size < 2:
        raise InputError(
            f"{where}: {observed.size} discharge values {when}: expected a record that varies to "
            f"{use}"
        )
    return observed


def _moments(
    fields: Mapping[str, np.ndarray], share: np.ndarray, train: slice
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (1 where nothing varies) of the basin means of the forcings
    besides rain, over the training years."""
    basin = {name: field[train] @ share for name, field in fields.items() if name != PRECIPITATION}
    return {name: (float(one.mean()), float(one.std() or 1.0)) for name, one in basin.items()}


def _scaled(
    fields: Mapping[str, np.ndarray], standard: Mapping[str, tuple[float, float]]
) -> np.ndarray:
    """All forcings, (T, C, N) float32: rain as it is, the others standardised."""
    layers = []
    for name, values in fields.items():
        if name in standard:
            mean, deviation = standard[name]
            values = (values - mean) / deviation
        layers.append(values.astype(np.float32))
    return np.stack(layers, axis=1)


def _on_region(store: str, shed: xr.Dataset) -> xr.Dataset:
    """A watershed with the region's forcings, its own static layers laid out on the region."""
    import xarray as xr

    from pipeline.store.read import open_region

    region = open_region(store)
    forcings = [name for name, field in shed.data_vars.items() if field.dims == ("time", "y", "x")]
    place = {"y": region["y"], "x": region["x"]}
    layers = shed[["coverage", "flow_distance"]].reindex(place, method="nearest", tolerance=1e-6)
    return xr.merge(
        [
            region[[*forcings, "cell_area"]],
            layers.assign(coverage=layers["coverage"].fillna(0)),
            shed[["discharge", "runoff"]],
        ],
        compat="override",
        join="exact",
    ).assign_attrs(shed.attrs)


def _fields(
    shed: xr.Dataset, inside: np.ndarray, share: np.ndarray, train: slice, site_no: str
) -> dict[str, np.ndarray]:
    """The forcings on the cells inside, (T, N) each and without holes, precipitation first."""
    names = [str(n) for n, v in shed.data_vars.items() if v.dims == ("time", "y", "x")]
    names.sort(key=lambda name: (name != PRECIPITATION, name))
    return {
        name: _filled(shed[name].values[:, inside], name, share, train, site_no) for name in names
    }


def _filled(
    values: np.ndarray, name: str, share: np.ndarray, train: slice, site_no: str
) -> np.ndarray:
    """A field (T, N) without holes: cells take the mean of the valid ones, area-weighted;
    a step without a valid cell takes the mean of the training years."""
    total = np.isfinite(values) @ share
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values * share, axis=1) / total
    empty = total == 0
    if empty.all() or empty[train].all():
        raise InputError(f"watershed {site_no}: {name} has no valid value to train on")
    if empty.any():
        log.warning("watershed %s: %s is missing on %d steps", site_no, name, empty.sum())
        mean[empty] = np.nanmean(mean[train])
    return np.where(np.isfinite(values), values, mean[:, None])
