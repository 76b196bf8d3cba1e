"""The synthetic world, against conservation, geodesy, brute force and readers of its files."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyflwdir
import pytest
import rasterio
from pyproj import Geod

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.sample.build import Rivers, generators, make_rivers
from pipeline.sample.make import GENERATOR_VERSION, SEED, make_sample
from pipeline.sample.records import round_as_published
from pipeline.sample.rivers import ROUGHNESS
from pipeline.sample.terrain import make_elevation
from pipeline.sample.world import World, full_world, tiny_world

DAYS = 1095  # three water years, none of them with a February 29th


@pytest.fixture(scope="module")
def truth(tiny_sample: Path) -> dict:
    return json.loads((tiny_sample / "truth.json").read_text())


@pytest.fixture(scope="module")
def records(tiny_sample: Path) -> dict[str, pd.DataFrame]:
    def read(path: Path) -> pd.DataFrame:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines[1] == "5s\t15s\t20d\t14n\t10s"
        rows = [line.split("\t") for line in lines[2:]]
        return pd.DataFrame(rows, columns=["agency", "site", "date", "value", "code"])

    return {path.stem: read(path) for path in sorted((tiny_sample / "gauges").glob("*.rdb"))}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_complete_sample_is_left_alone_and_a_damaged_one_replaced_by_the_same_bytes(
    tiny_sample: Path, tmp_path: Path
):
    before = contents(tiny_sample)
    folder = tmp_path / "world"
    shutil.copytree(tiny_sample, folder)
    stamp = (folder / "dem.tif").stat().st_mtime_ns
    make_sample(folder, tiny=True)
    assert (folder / "dem.tif").stat().st_mtime_ns == stamp
    (folder / "rasters" / "storms_20130101.tif").unlink()
    make_sample(folder, tiny=True)
    assert (folder / "dem.tif").stat().st_mtime_ns != stamp
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["world"], "scratch is left"


def test_a_directory_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds other files"):
        make_sample(tmp_path, tiny=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="expected a directory"):
        make_sample(tmp_path / "thesis.tex", tiny=True)


def test_the_catalog_describes_the_files(tiny_sample: Path):
    catalog = load_catalog(tiny_sample / "catalog.yaml")
    assert catalog.synthetic
    assert "ynthetic" in catalog.title
    times = catalog.period.times
    assert (len(times), times[0]) == (DAYS, pd.Timestamp("2012-10-01T06:00"))
    for forcing in catalog.forcings.values():
        labels = times - forcing.time.offset
        assert all(catalog.resolve(f"rasters/storms_{t:%Y%m%d}.tif").is_file() for t in labels)
    assert len(list((tiny_sample / "rasters").iterdir())) == DAYS
    # A gauge's day and the raster's day of the same date are the same 24 hours.
    label = pd.DatetimeIndex(["2013-05-01"])
    rain = catalog.forcings["precipitation"].time.start_of(label, timedelta(days=1))
    assert rain.equals(catalog.gauges.time.start_of(label, timedelta(days=1)))
    for path in (catalog.gauges.files.replace("{site}", "99000001"), "watersheds.gpkg"):
        assert catalog.resolve(path).is_file()


def test_everything_says_that_it_is_synthetic(tiny_sample: Path, truth: dict):
    assert truth["synthetic"] is True
    assert "SYNTHETIC" in (tiny_sample / "README.txt").read_text()
    for path in (tiny_sample / "gauges").iterdir():
        assert "SYNTHETIC" in path.read_text()
    for path in (tiny_sample / "dem.tif", tiny_sample / "rasters" / "storms_20121001.tif"):
        with rasterio.open(path) as raster:
            assert raster.tags()["TITLE"].startswith("synthetic")
    names = geopandas.read_file(tiny_sample / "watersheds.gpkg")["NAME"]
    assert names.str.contains("synthetic").all()


def test_rasters_hold_rain_with_changing_holes_and_a_season(tiny_sample: Path):
    fields, warmth = [], []
    for path in sorted((tiny_sample / "rasters").iterdir()):
        with rasterio.open(path) as raster:
            assert (raster.count, raster.dtypes[0], raster.nodata) == (2, "float32", -9999.0)
            values = raster.read(masked=True)
        fields.append(values[0].filled(np.nan))
        warmth.append(values[1].filled(np.nan).mean())
    rain = np.array(fields)
    assert rain.shape[1:] == tiny_world().shape
    assert np.nanmin(rain) == 0.0
    annual = np.nanmean(rain, axis=0) * 365.25
    assert 650 < annual.mean() < 1150
    assert 0.2 < (rain > 0.25).mean() < 0.4, "share of wet days"
    holes = np.isnan(rain)
    assert 0 < holes.mean() < 0.01
    assert not (holes.all(axis=0)).any()
    month = pd.date_range("2012-10-01", periods=DAYS).month
    summer, winter = (np.array(warmth)[month == m].mean() for m in (7, 1))
    assert winter < 6 < 20 < summer


def test_the_rasters_do_not_hold_the_rain_that_fell(
    tiny_sample: Path, made: Rivers, truth: dict, world: World
):
    total = np.zeros(world.shape)
    for path in (tiny_sample / "rasters").iterdir():
        with rasterio.open(path) as raster:
            total += raster.read(1, masked=True).filled(0.0)
    order = np.argsort(made.sites)
    areas = made.areas[order]
    measured = areas @ total.ravel()[made.pixels] / areas.sum(axis=1)
    fell = np.array([site["water_mm"]["rain"] for site in truth["watersheds"]])
    assert (np.abs(measured / fell - 1) < 0.1).all(), "biased by the seasons alone"
    assert (np.abs(measured / fell - 1) > 0.002).any(), "the true rain"


def test_polygons_have_the_area_that_a_d8_trace_finds(tiny_sample: Path, truth: dict):
    with rasterio.open(tiny_sample / "dem.tif") as raster:
        elevation, transform = raster.read(1), raster.transform
    flow = pyflwdir.from_dem(elevation)
    frame = geopandas.read_file(tiny_sample / "watersheds.gpkg").set_index("SITE_NO")
    geod = Geod(ellps="WGS84")
    width = transform.a
    for site in truth["watersheds"]:
        lon, lat = site["outlet"]
        column = int((lon - transform.c) / transform.a)
        row = int((lat - transform.f) / transform.e)
        rows = np.nonzero(flow.basins(idxs=np.array([row * flow.shape[1] + column])))[0]
        pixels = np.bincount(rows, minlength=flow.shape[0])
        traced = 0.0
        for r in np.flatnonzero(pixels):
            north, south = transform.f + r * transform.e, transform.f + (r + 1) * transform.e
            ring = [0, width, width, 0], [north, north, south, south]
            traced += pixels[r] * abs(geod.polygon_area_perimeter(*ring)[0])
        polygon = frame.geometry[site["site_no"]]
        area = abs(geod.geometry_area_perimeter(polygon)[0])
        assert polygon.is_valid
        assert area == pytest.approx(traced, rel=1e-4)
        assert frame["DRAINAGE"][site["site_no"]] == pytest.approx(traced / 1e6, rel=1e-3)
        assert site["area_km2"] == frame["DRAINAGE"][site["site_no"]]


def test_the_terrain_drains_without_filling(tiny_sample: Path):
    with rasterio.open(tiny_sample / "dem.tif") as raster:
        elevation = raster.read(1)
    filled, _ = pyflwdir.dem.fill_depressions(elevation)
    np.testing.assert_array_equal(filled, elevation)


def test_watersheds_nest_as_the_truth_says(tiny_sample: Path, truth: dict):
    frame = geopandas.read_file(tiny_sample / "watersheds.gpkg").set_index("SITE_NO")
    assert any(site["parent"] for site in truth["watersheds"])
    for site in truth["watersheds"]:
        own = frame.geometry[site["site_no"]]
        for other in truth["watersheds"]:
            if other["site_no"] == site["site_no"]:
                continue
            shared = own.intersection(frame.geometry[other["site_no"]]).area / own.area
            nested = site["parent"] == other["site_no"] or other["parent"] == site["site_no"]
            assert (shared > 1e-9) == nested
            if site["parent"] == other["site_no"]:
                assert shared == pytest.approx(1.0, abs=1e-9)


def test_the_written_balance_closes(truth: dict):
    for site in truth["watersheds"]:
        water = site["water_mm"]
        left = water["rain"] - water["evaporation"] - water["runoff"] - water["storage"]
        assert abs(left) < 0.03  # four roundings to 0.01 mm
        assert 0.2 < site["runoff_ratio"] < 0.45


def test_flow_distance_is_the_length_of_the_walk_downstream(made: Rivers, world: World):
    elevation = make_elevation(world, generators(world.seed)["terrain"])
    downstream = pyflwdir.from_dem(elevation).idxs_ds
    lon, lat = world.dem_centres
    geod = Geod(ellps="WGS84")
    for basin in made.basins:
        for start in np.flatnonzero(basin.mask)[::517]:
            path = [int(start)]
            while path[-1] != basin.pixel:
                path.append(int(downstream[path[-1]]))
            rows, columns = np.divmod(path, basin.mask.shape[1])
            walked = geod.line_length(lon[columns], lat[rows])
            assert basin.distance.flat[start] == pytest.approx(walked, abs=0.01)


def test_records_have_flags_gaps_and_ice(records: dict[str, pd.DataFrame], truth: dict):
    assert list(records) == [site["site_no"] for site in truth["watersheds"]]
    everything = pd.concat(records.values())
    assert {"A", "A:e", "P", ""} <= set(everything["code"]) <= {"A", "A:e", "P", "P:e", ""}
    assert {"Ice", "-999999", ""} <= set(everything["value"])
    ice = everything[everything["value"] == "Ice"]
    assert ice["date"].str[5:7].isin(["11", "12", "01", "02", "03"]).all()
    assert any(len(record) < DAYS for record in records.values()), "absent days"
    for record in records.values():
        assert record["date"].is_monotonic_increasing
        assert not record["date"].duplicated().any()
        assert pd.to_numeric(record["value"], errors="coerce").gt(0).mean() > 0.9


def test_records_agree_with_the_true_water_balance(records: dict[str, pd.DataFrame], truth: dict):
    for site in truth["watersheds"]:
        value = pd.to_numeric(records[site["site_no"]]["value"], errors="coerce")
        value = value.where(value >= 0)
        depth = value.mean() * 0.3048**3 * 86400 / (site["area_km2"] * 1e6) * 1000 * DAYS
        # Gaps and errors of some per cent.
        assert depth == pytest.approx(site["water_mm"]["runoff"], rel=0.1)


@pytest.mark.parametrize(("discharge", "text"), [
    (0.0, "0.00"), (0.126, "0.13"), (3.456, "3.46"), (45.67, "45.7"), (345.6, "346"),
    (12345.0, "12300"),
])  # fmt: skip
def test_discharge_is_rounded_as_the_service_does(discharge: float, text: str):
    assert round_as_published(discharge) == text


def test_the_full_world_is_as_large_as_it_says():
    world = full_world()
    rng = generators(world.seed)
    made = make_rivers(world, make_elevation(world, rng["terrain"]), rng)
    cell = world.grid.cell_area.mean()
    cells = np.array([basin.area for basin in made.basins]) / cell
    assert len(cells) == 23
    assert 12 < cells.min() < 20
    assert 200 < cells.max() < 300
    covered = np.any([basin.mask for basin in made.basins], axis=0)
    assert 1700 < (covered * world.dem_area).sum() / cell < 2300
    assert sum(basin.parent is not None for basin in made.basins) == 8
    low, high = ROUGHNESS
    assert low < made.roughness.min() < 1.1 * low
    assert 0.9 * high < made.roughness.max() < high


def test_version_and_seed_are_recorded(truth: dict):
    recorded = truth["sample"]
    assert (recorded["generator_version"], recorded["seed"]) == (GENERATOR_VERSION, SEED)
