"""Nothing that a head learns from depends on years that are held out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from model.inputs.pack import SERIES, make_pack
from model.inputs.snow import Snow, choose_snow, melt_snow
from model.inputs.soil import evaporation_demand
from model.inputs.split import last_stop
from model.inputs.watershed import HeadData, load_head
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Fitted, fit_pack

CPU = torch.device("cpu")
TRUTH = Snow(5.0, 0.0)
FORCINGS = ("precipitation", "temperature", "potential_evaporation")
HELD_OUT: dict[str, Any] = {"validation": ("2015",), "test": ("2016",)}


def make_watershed(first: str, weather: tuple[str, ...], shift: float = 0.0) -> xr.Dataset:
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
        np.ones(len(times), bool),
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
    for values in forcings.values():  # gaps of whole steps and of a cell
        values[50:52] = np.nan
        values[60, 1, 1] = np.nan
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
        {"name": "Creek", "drainage_area_m2": area, "discharge_shift_s": shift, "slope": 4e-3},
    )


def ruined(watershed: xr.Dataset, first: int, appended: int = 0) -> xr.Dataset:
    """The same with absurd values from step `first` on, and `appended` more such days.

    The first step's forcings stay where they are paired with the discharge of the step before.
    """
    times = pd.date_range(watershed["time"].values[0], periods=watershed.sizes["time"] + appended)
    changed = watershed.reindex(time=times)
    paired = int(watershed.attrs["discharge_shift_s"] > 0)
    for name in changed.data_vars:
        if "time" in changed[name].dims:
            start = first + (paired if name in FORCINGS else 0)
            changed[name][start:] = 1e4 + 300 * changed[name][start:].fillna(7.0)
    return changed


def load(watershed: xr.Dataset, settings: Settings) -> HeadData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.store.read.open_watershed", lambda *_, **__: watershed)
        return load_head("store.zarr", "01", settings)


def require_same_training(one: HeadData, two: HeadData, settings: Settings) -> None:
    """Fail unless all that training sees is the same, bit for bit."""
    train = one.split.train_steps
    assert train == two.split.train_steps
    per_step = {"times", "dates", "forcing", "demand", "discharge", "runoff"}
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if field.name in per_step:
            first, second = first[train], second[train]
        if field.name != "split":
            np.testing.assert_array_equal(first, second, err_msg=field.name)
    packs = [make_pack([head], settings, CPU) for head in (one, two)]
    end = settings.warmup + one.split.train_stop
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
@pytest.mark.parametrize("shift", [0.0, 43200.0], ids=["", "paired with the next day"])
def test_years_after_training_change_nothing_of_it(
    first: str, weather: tuple[str, ...], shift: float
) -> None:
    """No input, scale, or choice of snow or soil, with training of two years or five months."""
    settings = Settings(warmup=60, snow_melt_factors=(2.0, 5.0, 8.0), **HELD_OUT)
    watershed = make_watershed(first, weather, shift)
    before = load(watershed, settings)
    after = load(ruined(watershed, before.split.train_stop, appended=500), settings)
    if "temperature" in weather and first < "2013":
        assert before.snow == TRUTH
    require_same_training(before, after, settings)


@pytest.mark.parametrize(
    ("weather", "options"),
    [
        ((), {}),
        (("temperature",), {}),
        (("temperature",), {"refit": True, "refit_updates": 2}),
        ((), {"history": True}),
    ],
    ids=str,
)
def test_years_after_validation_change_no_weights(
    tmp_path: Path, weather: tuple[str, ...], options: dict[str, Any]
) -> None:
    """Trained and selected weights, bit for bit, and what they simulate of the years before."""
    few: dict[str, Any] = {"updates": 4, "evaluate_every": 2, "hidden": 8, "stretch": 90}
    few["snow_melt_factors"] = (2.0, 5.0, 8.0)
    settings = Settings(warmup=60, batch=2, **few, **options, **HELD_OUT)
    watershed = make_watershed("2012-10-01", weather)
    before = load(watershed, settings)
    assert (before.snow is not None) == ("temperature" in weather)
    known = last_stop(before.split.known)
    kept = []
    for name, data in (("before", watershed), ("after", ruined(watershed, known, appended=500))):
        head = load(data, settings)
        (fitted,) = fit_pack([head], settings, CPU, tmp_path / name, lambda line: None)
        assert isinstance(fitted, Fitted)
        network, pack = checkpoint.load_head(fitted.checkpoint, head, CPU)
        with torch.no_grad():
            simulated = network(*pack.inputs())[0, : pack.spinup + known]
        kept.append({**network.state_dict(), "simulated": simulated})
    assert kept[0].keys() == kept[1].keys()
    for name, value in kept[0].items():
        torch.testing.assert_close(value, kept[1][name], rtol=0, atol=0, msg=name)


def test_steps_between_training_years_scale_and_choose_nothing() -> None:
    """A mask of training steps with a hole: what lies in the hole is not looked at."""
    rng = np.random.default_rng(1)
    days = np.arange(np.datetime64("2010-10-01"), np.datetime64("2014-10-01"))
    train = (days < np.datetime64("2012-10-01")) | (days >= np.datetime64("2013-10-01"))
    rain = rng.gamma(0.3, 12.0, (days.size, 2)).astype(np.float32)
    warmth = rng.normal(0, 8, (days.size, 2))
    wild = {"precipitation": rain + np.where(train, 0, 500)[:, None].astype(np.float32)}
    day_of_year = pd.DatetimeIndex(days).day_of_year.to_numpy()
    one, two = (
        evaporation_demand(fields, np.array([42.0, 42.1]), day_of_year, 1.0, 0.6, train, Settings())
        for fields in ({"precipitation": rain}, wild)
    )
    np.testing.assert_array_equal(one, two)
    hole = int(np.argmin(train))
    one, two = (
        melt_snow(amount, warmth, TRUTH, 1.0, 365, train, Settings())[:hole]
        for amount in (rain, wild["precipitation"])
    )
    np.testing.assert_array_equal(one, two)
    flow = rain.mean(1).astype(float)
    absurd = np.where(train, flow, 1e9)
    chosen = [
        choose_snow(
            rain.mean(1),
            lambda snow: melt_snow(rain, warmth, snow, 1.0, 365, train, Settings()).mean(1),
            discharge,
            days,
            train,
            Settings(snow_min_gain=-1e9),
        )
        for discharge in (flow, absurd)
    ]
    assert chosen[0] == chosen[1] is not None


def test_the_absurd_years_are_absurd() -> None:
    """The tests above would see a leak: the same values in training change everything."""
    settings = Settings(warmup=60, **HELD_OUT)
    watershed = make_watershed("2012-10-01", ())
    one, two = (load(data, settings) for data in (watershed, ruined(watershed, 400)))
    for name in ("rain_scale", "runoff_scale", "runoff_mean"):
        assert getattr(two, name) > 100 * getattr(one, name)
