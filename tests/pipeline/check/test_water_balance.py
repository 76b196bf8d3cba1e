"""Wrong inputs that a user may give: units, rivers and polygons that do not belong together."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from pipeline.check.checks import check_store
from pipeline.check.contents import Check, open_contents
from pipeline.check.suspects import explain, find_suspects
from pipeline.check.water_balance import MAX_LAG, MIN_DAYS, judge_balance, response
from pipeline.store.read import list_sites, open_watershed
from tests.pipeline.handmade import World, write_polygons
from tests.pipeline.stores import set_attributes, stored_array

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
    assert "if the discharge were in ft3/s: expected at most 2" in check.detail
    result = world.command("check", world.store)
    assert result.exit_code == 1
    assert "water balance" in result.stderr


def test_cubic_metres_labelled_cubic_feet(world: World) -> None:
    gauges = yaml.safe_load(world.catalog.read_text())["gauges"]
    world.edit(gauges=gauges | {"units": "ft3/s"})
    check = verdicts(world)["water balance"]
    assert check.status == "WARN", "twelve days are too few to tell"
    assert "if the discharge were in m3/s" in check.detail


@pytest.mark.parametrize("ratio", [0.12, 0.3, 0.6, 0.9])
def test_the_hint_names_the_true_ratio(tiny_store: Path, ratio: float) -> None:
    """The catalog says mm a day and ft3/s."""
    suspects = find_suspects(open_contents(tiny_store))
    for text, factor in (
        ("the rain were in tenths of mm", 1 / 10),
        ("the rain were in hundredths of mm", 1 / 100),
        ("the rain were in cm", 10),
        ("the rain were in inch", 25.4),
        ("the rain were in mm/h", 24),
        ("the discharge were in m3/s", 1 / CFS_PER_CMS),
        ("the discharge were in l/s", 1000 / CFS_PER_CMS),
        ("the discharge were in ML/day", 86.4 / CFS_PER_CMS),
        ("the discharge were in mm/h times km2", 3.6 / CFS_PER_CMS),
    ):
        alone = [suspect for suspect in suspects if suspect.text == text]
        assert explain(alone, ratio * factor, None) == f", {ratio:.2g} if {text}"
    assert not [suspect for suspect in suspects if suspect.text.endswith(("mm/day", "ft3/s"))]
    assert explain(suspects, 1e9, None) == ""  # no unit explains it
    assert explain(suspects, 1e-9, None) == ""


# --- records of years --------------------------------------------------------------------------


@pytest.fixture
def years(tiny_store: Path, tmp_path: Path) -> Path:
    """Three synthetic years in mm and ft3/s, to be changed."""
    return shutil.copytree(tiny_store, tmp_path / "store.zarr")


def check_of(store: Path, name: str) -> Check:
    return next(check for check in check_store(store) if check.name == name)


def multiply(store: Path, name: str, factor: float) -> None:
    array = stored_array(store, name)
    array[...] = np.asarray(array[...]) * np.float32(factor)


def accept(store: Path, **checks: object) -> None:
    """Put limits into the catalog that the store was written from."""
    provenance = json.loads((store / "zarr.json").read_text())["attributes"]["provenance"]
    catalog = yaml.safe_load(provenance["catalog"]["text"]) | {"checks": checks}
    provenance["catalog"]["text"] = yaml.safe_dump(catalog)
    set_attributes(store, provenance=provenance)


def ratios(store: Path) -> np.ndarray:
    """Runoff over rain of each watershed, from what readers get."""
    found = []
    for site in list_sites(store):
        data = open_watershed(store, site).load()
        share = (data.coverage * data.cell_area).where(data.precipitation.notnull(), 0)
        rain = (data.precipitation * share).sum(("y", "x")) / share.sum(("y", "x"))
        runoff = data.discharge * 86400 / data.attrs["drainage_area_m2"] * 1e3
        known = np.isfinite(runoff) & np.isfinite(rain)
        found.append(float(runoff[known].sum() / rain[known].sum()))
    return np.array(found)


def test_the_synthetic_years_pass(years: Path) -> None:
    low, high = ratios(years).min(), ratios(years).max()
    check = check_of(years, "water balance")
    assert check.status == "PASS"
    assert check.detail == f"runoff is {low:.2f}..{high:.2f} of the rain"
    assert check_of(years, "climate").status == "PASS"


@pytest.mark.parametrize("target", [0.09, 1.3])
def test_a_ratio_that_no_river_has_fails(years: Path, target: float) -> None:
    multiply(years, "gauges/discharge", target / ratios(years)[0])
    check = check_of(years, "water balance")
    assert check.status == "FAIL"
    assert f"runoff is {target:.3g} of the rain" in check.detail
    assert "expected 0.1..1.2, or checks.runoff_ratio in the catalog" in check.detail


def test_limits_of_the_catalog(years: Path) -> None:
    multiply(years, "gauges/discharge", 0.05 / ratios(years).max())
    assert check_of(years, "water balance").status == "FAIL"
    accept(years, runoff_ratio=[0.0, 1.2], reason="karst")
    assert check_of(years, "water balance").status == "PASS"
    accept(years, runoff_ratio=[0.3, 1.2], reason="as a test")
    check = check_of(years, "water balance")
    assert check.status == "FAIL"
    assert "expected 0.3..1.2" in check.detail


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ({"runoff_ratio": [0.02, 1.2]}, "checks.reason: missing"),
        ({"runoff_ratio": [0.02, 1.2], "reason": " "}, "checks.reason"),
        ({"runoff_ratio": [1.2, 0.1], "reason": "karst"}, "expected 0 <= lowest < highest"),
        ({"runoff_ratio": [0.1, float("inf")], "reason": "karst"}, "lowest < highest"),
        ({"reason": "karst"}, "expected runoff_ratio or negative_discharge"),
    ],
)
def test_limits_need_a_reason(world: World, checks: dict[str, object], said: str) -> None:
    world.edit(checks=checks)
    result = world.command("plan", world.catalog)
    assert result.exit_code == 2
    assert said in result.stderr


def test_limits_change_nothing_else_in_a_store(stored: World) -> None:
    rain = open_watershed(stored.store, "01000001").load()
    stored.edit(checks={"runoff_ratio": [0.0, 5.0], "reason": "as a test"})
    result = stored.run()
    assert result.exit_code == 0, "nothing to confirm"
    assert "nothing to do" in result.output
    assert open_contents(stored.store).catalog.checks is not None
    assert open_watershed(stored.store, "01000001").load().equals(rain)


def test_ten_times_the_rain_fails_with_the_factor(years: Path) -> None:
    true = ratios(years)
    multiply(years, "region/precipitation", 10)
    check = check_of(years, "water balance")
    assert check.status == "FAIL"
    for site, ratio in list(zip(list_sites(years), true, strict=True))[:3]:  # those shown
        said = f"{site}: runoff is {ratio / 10:.3g} of the rain, {ratio:.2g} if the rain were in"
        assert f"{said} tenths of mm" in check.detail
    assert "are lost: expected at most 3000 mm a year" in check.detail
    assert check_of(years, "climate").status != "PASS"


def test_a_season_of_ten_times_the_rain(tiny_store: Path) -> None:
    """Four months are too few for a ratio, but nowhere do 8 m of rain evaporate in them."""
    store = open_contents(tiny_store)
    suspects = find_suspects(store)
    failed, found = judge_balance(store, suspects, rain=9000, runoff=720, days=123)
    assert failed
    assert "runoff is 0.08 of the rain, 0.8 if the rain were in tenths of mm" in found
    failed, found = judge_balance(store, suspects, rain=900, runoff=72, days=123)
    assert not failed
    assert "in 123 days, too few to tell" in found
    assert judge_balance(store, suspects, rain=900, runoff=720, days=123) == (False, "")
    assert judge_balance(store, suspects, rain=3400, runoff=500, days=365) == (False, "")


def test_a_river_that_flows_without_rain(years: Path) -> None:
    multiply(years, "region/precipitation", 0)
    check = check_of(years, "water balance")
    assert check.status == "FAIL"
    assert "of runoff without rain" in check.detail


# --- codes among the discharge -----------------------------------------------------------------


def test_a_repeated_negative_value_is_no_discharge(years: Path) -> None:
    discharge = stored_array(years, "gauges/discharge")
    discharge[0, 10:17] = np.float32(-99 / CFS_PER_CMS)
    check = check_of(years, "discharge")
    assert check.status == "FAIL"
    assert f"{list_sites(years)[0]}: -99 ft3/s 7 times" in check.detail
    accept(years, negative_discharge=True, reason="a lock")
    assert check_of(years, "discharge").status == "PASS"


def test_tides_are_reported(years: Path) -> None:
    discharge = stored_array(years, "gauges/discharge")
    tide = -np.abs(np.sin(np.arange(40))).round(2).astype(np.float32)
    discharge[0, 10:50] = tide
    discharge[0, 50:52] = tide[3]  # three times the same
    check = check_of(years, "discharge")
    assert check.status == "WARN"
    assert f"{(tide < 0).sum() + 2} negative values, as by tides" in check.detail


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
