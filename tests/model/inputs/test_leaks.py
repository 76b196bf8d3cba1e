"""Nothing that a head learns from depends on years that are held out."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from model.inputs.pack import SERIES, make_pack
from model.inputs.snow import Snow, melt_snow
from model.inputs.split import Split
from model.inputs.watershed import HeadData, load_head
from model.settings import Settings

CPU = torch.device("cpu")
TRUTH = Snow(5.0, 0.0)


def make_watershed(first: str, weather: tuple[str, ...]) -> xr.Dataset:
    """A watershed as a store gives it, with gaps, on days from `first` to the end of 2016.

    Its discharge follows from rain and snow melt, so that snow counts where temperature is known.
    """
    rng = np.random.default_rng(3)
    times = pd.date_range(first, "2016-12-31", freq="D")
    shape = len(times), 3, 2
    wet = rng.random(len(times)) < 0.4
    rain = (rng.gamma(0.5, 12.0, shape) * wet[:, None, None]).astype(np.float32)
    season = -np.cos(2 * np.pi * (times.day_of_year.to_numpy() - 20) / 365.25)
    warmth = 2 + 12 * season[:, None, None] + rng.normal(0, 3, shape)
    water = melt_snow(
        rain.reshape(len(times), -1),
        warmth.reshape(len(times), -1),
        TRUTH,
        1.0,
        365,
        slice(0, len(times)),
        Settings(),
    ).mean(1)
    runoff = np.zeros(len(times))
    for t in range(1, len(times)):
        runoff[t] = 0.78 * runoff[t - 1] + 0.15 * water[t]
    area = 6 * 6e7
    forcings = {
        "precipitation": rain,
        "temperature": warmth,
        "potential_evaporation": 2 + 2 * season[:, None, None] + rng.uniform(0, 0.1, shape),
    }
    forcings["precipitation"][50:52] = np.nan  # in a step and in a cell
    forcings["precipitation"][60, 1, 1] = np.nan
    runoff[70:75] = np.nan
    maps = {name: (("time", "y", "x"), forcings[name]) for name in ("precipitation", *weather)}
    distance = np.linspace(2e3, 4e4, 6).reshape(3, 2)
    return xr.Dataset(
        {
            **maps,
            "coverage": (("y", "x"), np.ones((3, 2))),
            "cell_area": (("y", "x"), np.full((3, 2), area / 6)),
            "flow_distance": (("y", "x"), distance),
            "runoff": ("time", runoff),
            "discharge": ("time", runoff * area / 86400e3),
        },
        {"time": times, "y": [42.2, 42.1, 42.0], "x": [1.0, 1.1]},
        {"name": "Creek", "drainage_area_m2": area, "discharge_shift_s": 0.0, "slope": 4e-3},
    )


def ruined(watershed: xr.Dataset, first: int) -> xr.Dataset:
    """The same with absurd values from step `first` on."""
    changed = watershed.copy(deep=True)
    for name in changed.data_vars:
        if "time" in changed[name].dims:
            changed[name][first:] = 1e4 + 300 * changed[name][first:].fillna(7.0)
    return changed


def load(watershed: xr.Dataset, settings: Settings) -> HeadData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.store.read.open_watershed", lambda *_, **__: watershed)
        return load_head("store.zarr", "01", settings)


def require_same_training(one: HeadData, two: HeadData, settings: Settings) -> None:
    """Fail unless all that training sees is the same, bit for bit."""
    train = one.split.train
    assert train == two.split.train
    per_step = {"forcing", "demand", "discharge", "runoff"}
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if field.name in per_step:
            first, second = first[train], second[train]
        if field.name != "split":
            np.testing.assert_array_equal(first, second, err_msg=field.name)
    packs = [make_pack([head], settings, CPU) for head in (one, two)]
    end = settings.warmup + train.stop
    for name in SERIES:
        first, second = (getattr(pack, name)[:, :end].numpy() for pack in packs)
        np.testing.assert_array_equal(first, second, err_msg=name)
    for field in fields(packs[0].watersheds):
        first, second = (getattr(pack.watersheds, field.name) for pack in packs)
        np.testing.assert_array_equal(first, second, err_msg=field.name)


WEATHER: list[tuple[str, ...]] = [
    (),
    ("temperature",),
    ("potential_evaporation",),
    ("potential_evaporation", "temperature"),
]


@pytest.mark.parametrize("first", ["2012-10-01", "2014-05-01"], ids=["years", "months"])
@pytest.mark.parametrize("weather", WEATHER, ids=str)
def test_years_after_training_change_nothing_of_it(first: str, weather: tuple[str, ...]) -> None:
    """Neither inputs nor scales, with training of two years or of five months."""
    settings = Settings(warmup=60, snow_min_gain=1e9)  # its choice may see validation years
    watershed = make_watershed(first, weather)
    split = Split.by_water_year(pd.DatetimeIndex(watershed["time"].values))
    before = load(watershed, settings)
    after = load(ruined(watershed, split.train.stop), settings)
    assert before.snow is after.snow is None
    require_same_training(before, after, settings)


@pytest.mark.parametrize("weather", [("temperature",), ("potential_evaporation", "temperature")])
def test_test_years_do_not_choose_the_snow(weather: tuple[str, ...]) -> None:
    settings = Settings(warmup=60, snow_melt_factors=(2.0, 5.0, 8.0))
    watershed = make_watershed("2012-10-01", weather)
    split = Split.by_water_year(pd.DatetimeIndex(watershed["time"].values))
    before = load(watershed, settings)
    after = load(ruined(watershed, split.known.stop), settings)
    assert before.snow == TRUTH
    require_same_training(before, after, settings)


def test_the_absurd_years_are_absurd() -> None:
    """The tests above would see a leak: the same values in training change everything."""
    settings = Settings(warmup=60, snow_min_gain=1e9)
    watershed = make_watershed("2012-10-01", ())
    one, two = (load(data, settings) for data in (watershed, ruined(watershed, 400)))
    for name in ("rain_scale", "runoff_scale", "runoff_mean"):
        assert getattr(two, name) > 100 * getattr(one, name)
