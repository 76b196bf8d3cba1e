"""The border between the store and arrays: splits, pairing, holes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.inputs.watershed import load_head, survey_store
from model.settings import Settings
from pipeline.errors import InputError
from pipeline.store.read import open_region, open_watershed
from tests.model.inputs.test_leaks import load, make_watershed
from tests.pipeline.stores import stored_array


def test_forcings_are_those_of_the_step_in_which_discharge_was_last_measured(
    tiny_store: Path, tmp_path: Path
) -> None:
    """Intervals that end 6 hours into the next day are paired with its rain."""
    site = next(iter(survey_store(str(tiny_store)).pixels))
    level = load_head(str(tiny_store), site, Settings())
    assert level.interval_end == level.step_seconds
    store = tmp_path / "store.zarr"
    shutil.copytree(tiny_store, store)
    stored_array(store, "watersheds/discharge_shift")[0] = 6 * 3600.0
    shifted = load_head(str(store), site, Settings())
    assert shifted.interval_end == 6 * 3600.0
    np.testing.assert_array_equal(shifted.forcing, level.forcing[1:])
    np.testing.assert_array_equal(shifted.demand, level.demand[1:])
    np.testing.assert_array_equal(shifted.discharge, level.discharge[:-1])
    np.testing.assert_array_equal(shifted.times, level.times[:-1])
    assert shifted.split.test.sum() == level.split.test.sum() - 1, "the last step has no next one"


def test_arrays_of_a_head_are_those_of_the_store(tiny_store: Path) -> None:
    survey = survey_store(str(tiny_store))
    site = next(iter(survey.pixels))
    head = load_head(str(tiny_store), site, Settings())
    data = open_watershed(tiny_store, site).load()
    assert survey.pixels[site] == head.inside.size
    assert head.share.size == head.inside.sum() == (data["coverage"] > 0).sum()
    assert head.channels[0] == "precipitation"
    assert head.share.sum() == pytest.approx(1, abs=1e-6)
    assert np.isfinite(head.forcing).all()
    # where nothing is missing, the basin mean is the area-weighted mean of the store's cells
    weights = data["coverage"] * data["cell_area"]
    full = (data["precipitation"].notnull() | (weights == 0)).all(("y", "x")).values
    expected = data["precipitation"].weighted(weights).mean(("y", "x")).values
    np.testing.assert_allclose(head.rain[full], expected[full], rtol=1e-4, atol=1e-5)
    # holes are filled with the mean of the cells that are there
    np.testing.assert_allclose(head.rain, expected, rtol=1e-3, atol=1e-4)
    volume = head.discharge * head.step_seconds
    np.testing.assert_allclose(head.runoff * head.area / 1000, volume, rtol=1e-5)
    train = head.split.train
    for i, name in enumerate(head.channels[1:], start=1):
        mean = head.forcing[train, i] @ head.share
        assert mean.mean() == pytest.approx(0, abs=1e-4), name
        assert mean.std() == pytest.approx(1, abs=1e-3), name


def test_a_site_that_is_not_there_is_refused(tiny_store: Path) -> None:
    with pytest.raises(InputError, match="12345678"):
        load_head(str(tiny_store), "12345678", Settings())


def test_a_head_on_the_map_of_the_region(tiny_store: Path) -> None:
    survey = survey_store(str(tiny_store))
    region = open_region(tiny_store)
    for site in survey.pixels:
        own = load_head(str(tiny_store), site, Settings())
        wide = load_head(str(tiny_store), site, Settings(region=True))
        assert wide.inside.shape == region["cell_area"].shape
        assert wide.inside.all()
        np.testing.assert_allclose(wide.rain, own.rain, rtol=1e-5, atol=1e-5)
        some = wide.share > 0
        np.testing.assert_array_equal(wide.share[some], own.share)
        np.testing.assert_array_equal(wide.distance[some], own.distance)
        np.testing.assert_array_equal(wide.runoff, own.runoff)


@pytest.mark.parametrize(("year", "message"), [(2013, "to train on"), (2014, "pick weights")])
def test_years_without_a_record_are_refused(
    tiny_store: Path, tmp_path: Path, year: int, message: str
) -> None:
    """The sample's shrunken world trains on water year 2013 and validates on 2014."""
    store = tmp_path / "store.zarr"
    shutil.copytree(tiny_store, store)
    site = next(iter(survey_store(str(store)).pixels))
    dates = survey_store(str(store)).dates
    discharge = stored_array(store, "gauges/discharge")
    values = np.asarray(discharge[0])
    values[(dates.year + (dates.month >= 10)) == year] = np.nan
    discharge[0] = values
    with pytest.raises(InputError, match=f"watershed {site}: 0 discharge values .*{message}"):
        load_head(str(store), site, Settings())


def test_a_path_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        survey_store(str(tmp_path / "nowhere.zarr"))


def test_precipitation_is_the_first_channel_whatever_the_others_are_called() -> None:
    named = "_".join(("precipitation", "")).rstrip("_")  # equal to the constant, not the same
    watershed = make_watershed("2012-10-01", ("temperature", "potential_evaporation"))
    watershed = watershed.rename(precipitation="rain").rename(rain=named)
    head = load(watershed, Settings())
    assert head.channels == ("precipitation", "potential_evaporation", "temperature")


def test_without_weather_what_does_not_run_off_evaporates() -> None:
    """After Turc and Pike, in the training years: ET / P = 1 / sqrt(1 + (P / PET)^2)."""
    head = load(make_watershed("2012-10-01", ()), Settings())
    train = head.split.train
    rain, demand = head.forcing[train, 0].mean(), head.demand[train].mean()
    evaporated = 1 - np.nanmean(head.runoff[train]) / rain
    assert 0.1 < evaporated < 0.95
    assert 1 / np.sqrt(1 + (rain / demand) ** 2) == pytest.approx(evaporated, rel=1e-5)


def test_without_snow_precipitation_is_rain() -> None:
    """Where its discharge says that there is snow."""
    watershed = make_watershed("2012-10-01", ("temperature",))
    with_snow, without = (load(watershed, Settings(snow=snow)) for snow in (True, False))
    assert with_snow.snow is not None
    assert without.snow is None
    store = watershed["precipitation"].values.reshape(len(without.times), -1)
    known = np.isfinite(store)
    np.testing.assert_array_equal(without.forcing[:, 0][known], store[known])
    assert not np.allclose(with_snow.rain, without.rain, atol=1)
