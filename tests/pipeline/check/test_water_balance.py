"""Wrong inputs that a user may give: units, rivers and polygons that do not belong together."""

from __future__ import annotations

import csv
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from pipeline.check.checks import check_store
from pipeline.check.contents import Check
from pipeline.check.water_balance import MAX_LAG, MIN_DAYS, response, suspected_units
from pipeline.store.read import open_watershed
from tests.pipeline.handmade import World, write_polygons

CFS_PER_CMS = 1 / 0.3048**3


def verdicts(world: World) -> dict[str, Check]:
    assert world.run().exit_code == 0
    return {check.name: check for check in check_store(world.store)}


def rewrite(world: World, factor: float) -> None:
    """The records of the hand-made world, every value times `factor`."""
    path = world.folder / "discharge.csv"
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    lines = [f"{site},{day},{float(q) * factor},{code}" for site, day, q, code in rows]
    path.write_text("\n".join([",".join(header), *lines]) + "\n")


# --- units -------------------------------------------------------------------------------------


def test_cubic_feet_labelled_cubic_metres(world: World) -> None:
    honest = verdicts(world)["water balance"]
    assert honest.status == "PASS"
    world.store.rename(world.folder / "honest.zarr")
    rewrite(world, CFS_PER_CMS)  # the numbers of a record in ft3/s; the catalog says m3/s
    check = verdicts(world)["water balance"]
    assert check.status == "FAIL"
    assert "01000001: runoff is " in check.detail
    assert "if the discharge is in ft3/s and was labelled m3/s: expected at most 2" in check.detail
    result = world.command("check", world.store)
    assert result.exit_code == 1
    assert "water balance" in result.stderr


def test_cubic_metres_labelled_cubic_feet(world: World) -> None:
    gauges = yaml.safe_load(world.catalog.read_text())["gauges"]
    world.edit(gauges=gauges | {"units": "ft3/s"})
    check = verdicts(world)["water balance"]
    assert check.status == "WARN"
    assert "in m3/s and was labelled ft3/s" in check.detail


@pytest.mark.parametrize("ratio", [0.03, 0.3, 0.6, 0.9])
def test_the_hint_names_the_true_ratio(ratio: float) -> None:
    assert f"and {ratio:.2g} if the discharge is in ft3/s" in suspected_units(ratio * CFS_PER_CMS)
    assert f"and {ratio:.2g} if the discharge is in m3/s" in suspected_units(ratio / CFS_PER_CMS)
    assert suspected_units(ratio) == ""
    assert suspected_units(40.0) == ""  # no unit explains it


# --- another river -----------------------------------------------------------------------------


def test_a_great_river_in_a_small_watershed(world: World) -> None:
    rewrite(world, 200.0)
    check = verdicts(world)["water balance"]
    assert check.status == "FAIL"
    assert "labelled" not in check.detail
    assert "of the rain: expected at most 2" in check.detail


def test_the_record_of_another_site_is_refused(world: World) -> None:
    path = world.folder / "discharge.csv"
    path.write_text(path.read_text().replace("01000001", "01000003"))
    result = world.run()
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()[-1:]
    assert "holds 01000002, 01000003: expected a record of 01000001, daily means" in line


@pytest.fixture
def a_year_of_daddys_creek(domst_data: Path, tmp_path: Path) -> World:
    """The real basin in 2018."""
    settings = yaml.safe_load(
        (Path(__file__).parents[3] / "catalogs" / "daddys_creek.yaml").read_text()
    )
    settings["period"] |= {"start": "2017-12-31T12:00:00Z", "end": "2018-12-31T12:00:00Z"}
    settings["root"] = str(domst_data)
    del settings["forcings"]["temperature"]
    world = World(tmp_path, np.zeros(0))
    world.catalog.write_text(yaml.safe_dump(settings))
    return world


def test_the_basins_own_record_rises_after_its_rain(a_year_of_daddys_creek: World) -> None:
    check = verdicts(a_year_of_daddys_creek)["response"]
    assert check.status == "PASS"
    assert "rises follow rain within 0 days, rank correlation 0.6" in check.detail


@pytest.mark.parametrize("name", ["dc_full.txt", "smc_full.txt"])
def test_the_record_of_another_river_under_this_ones_number(
    a_year_of_daddys_creek: World, domst_data: Path, name: str
) -> None:
    """A creek in Wisconsin, scaled to the volume of Daddys Creek: the rain gives it away."""
    world = a_year_of_daddys_creek
    lines = (domst_data / "gauges" / name).read_text().splitlines()[2:]
    rows = [line.split("\t") for line in lines]
    year = [(day, float(q)) for _, _, day, q, *_ in rows if day.startswith("2018")]
    assert len(year) == 365
    scale = 12.0 / (np.mean([q for _, q in year]) * 0.3048**3)  # to 12 m3/s
    table = [f"03539600,{day},{q * scale}" for day, q in year]
    (world.folder / "q.csv").write_text("\n".join(["site_no,datetime,discharge", *table]) + "\n")
    gauges = {"format": "csv", "files": str(world.folder / "q.csv"), "units": "ft3/s"}
    world.edit(gauges=gauges | {"time": {"offset": "6h"}})
    checks = verdicts(world)
    assert checks["water balance"].status == "PASS"
    assert checks["response"].status == "WARN"
    assert "03539600: rises do not follow the rain" in checks["response"].detail
    assert "another river's record, or another time?" in checks["response"].detail


# --- the measure -------------------------------------------------------------------------------


def storm_and_river(seed: int, days: int, lag: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Rain [mm per step] and a linear reservoir's runoff `lag` days later [mm per step]."""
    rng = np.random.default_rng(seed)
    wet = rng.random(days) < 0.3
    rain = np.repeat(np.where(wet, rng.gamma(0.7, 10, days), 0.0), steps) / steps
    decay = 0.8 ** (1 / steps)
    late = np.concatenate([np.zeros(lag * steps), rain])[: rain.size]
    return rain, lfilter([1 - decay], [1, -decay], late)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), lag=st.integers(0, MAX_LAG), steps=st.sampled_from([1, 24]))
def test_a_linear_reservoir_answers_at_its_lag(seed: int, lag: int, steps: int) -> None:
    rain, runoff = storm_and_river(seed, 400, lag, steps)
    found = response(rain, runoff, steps)
    assert found is not None
    assert found.lag == lag
    assert found.correlation > 0.5 > found.threshold
    missing = runoff.copy()
    missing[:: 7 * steps] = np.nan  # gaps change little
    again = response(rain, missing, steps)
    assert again is not None
    assert again.lag == lag


def test_unrelated_series_stay_below_the_threshold() -> None:
    reached = []
    for seed in range(100):
        rain, _ = storm_and_river(seed, 365, 0, 1)
        _, runoff = storm_and_river(seed + 1000, 365, 0, 1)
        found = response(rain, runoff, 1)
        assert found is not None
        assert found.threshold == pytest.approx(4 / np.sqrt(364), rel=0.02)
        reached.append(found.correlation >= found.threshold)
    assert not any(reached)


def test_records_that_are_too_short_or_never_change() -> None:
    rain, runoff = storm_and_river(3, MIN_DAYS, 0, 1)
    assert response(rain, runoff, 1) is None  # the first day has no rise
    rain, runoff = storm_and_river(3, MIN_DAYS + 1, 0, 1)
    assert response(rain, runoff, 1) is not None
    assert response(rain, np.ones_like(rain), 1) is None
    assert response(rain, np.full_like(rain, np.nan), 1) is None
    assert response(np.zeros_like(rain), runoff, 1) is None


# --- another polygon ---------------------------------------------------------------------------


def test_the_polygon_of_another_gauge_is_refused_with_the_numbers(
    a_year_of_daddys_creek: World, domst_data: Path
) -> None:
    """The basin of a creek nested in this one, under this one's number."""
    world = a_year_of_daddys_creek
    table = gpd.read_file(domst_data / "daddys_creek" / "basins" / "basins.shp")
    number = table["SITE_NO"].astype(int)
    polygon = table.geometry[number == 3538970].iloc[0]
    mine = table[number == 3539600].set_geometry([polygon], crs=table.crs)
    mine.to_file(world.folder / "basins.gpkg")
    watersheds = yaml.safe_load(world.catalog.read_text())["watersheds"]
    world.edit(watersheds=watersheds | {"file": str(world.folder / "basins.gpkg")})
    result = world.run()
    assert result.exit_code == 2
    assert "03539600: polygon of " in result.stderr
    assert "off the reported drainage area of 360 km2: expected within 50%" in result.stderr
    assert not world.store.exists()


@pytest.mark.parametrize(("share", "said"), [(0.95, False), (0.85, True), (1.4, True)])
def test_a_polygon_that_is_a_little_off_is_reported(
    world: World, share: float, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    table = gpd.read_file(world.folder / "basins.geojson")
    area = table.geometry.to_crs("EPSG:6933").area / 1e6  # equal-area [km2]
    table["AREA"] = area / share
    table.to_file(world.folder / "basins.gpkg")
    watersheds = {"file": "basins.gpkg", "site_field": "site", "area_field": "AREA"}
    world.edit(watersheds=watersheds)
    result = world.run()
    assert result.exit_code == 0
    assert ("off the reported drainage area" in caplog.text) is said
    assert (f"{share - 1:+.1%} off the reported drainage area" in caplog.text) is said


# --- a watershed of less than a cell -------------------------------------------------------------


def test_a_watershed_smaller_than_a_cell_runs_through(world: World) -> None:
    small = (-92.90, 42.10, -92.88, 42.115)
    write_polygons(world.folder / "basins.geojson", {"01000001": small})
    checks = verdicts(world)
    assert checks["coverage"].status == "PASS"
    assert checks["conservation"].status == "PASS"
    basin = open_watershed(world.store, "01000001")
    assert basin.coverage.shape == (1, 1)
    assert 0 < basin.coverage.item() < 0.1
    assert (basin.coverage * basin.cell_area).item() == pytest.approx(basin.drainage_area_m2)
    assert basin.flow_distance.item() > 0
