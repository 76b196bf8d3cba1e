"""A store from gauge points: planned, drawn, run, checked, resumed, changed."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from matplotlib.image import imread
from rasterio.transform import from_origin

from pipeline.store.read import list_sites, open_watershed
from pipeline.watersheds.polygons import polygon_area
from tests.pipeline.handmade import World
from tests.pipeline.stores import contents

SIZE, WEST, NORTH = 0.01, -93.0, 42.5
SITES = ("01000001", "01000002")  # the second is nested in the first
PLACES = {"01000001": (-92.535, 42.255), "01000002": (-92.755, 42.255)}


def write_comb(world: World, low: int = 40) -> None:
    """D8 in which columns drain to a river along row 24, from the west to column `low`."""
    d8 = np.full((50, 50), 64, np.uint8)
    d8[25:] = 4
    d8[:, 0], d8[:, -1] = 16, 1
    d8[5:24, 3:low] = 4
    d8[25:45, 3:low] = 64
    d8[24, 3:-1] = 1
    about = {"driver": "GTiff", "height": 50, "width": 50, "count": 1, "dtype": "uint8"}
    transform = from_origin(WEST, NORTH, SIZE, SIZE)
    with rasterio.open(
        world.folder / "d8.tif", "w", **about, crs="EPSG:4326", transform=transform
    ) as file:
        file.write(d8, 1)


def write_gauges(world: World, moved: float = 0.0) -> None:
    lines = [f"{site},{lon - moved},{lat}" for site, (lon, lat) in PLACES.items()]
    (world.folder / "gauges.csv").write_text("\n".join(["site,lon,lat", *lines]) + "\n")


@pytest.fixture
def outlets(world: World) -> World:
    """A world with outlets and flow directions."""
    write_comb(world)
    write_gauges(world)
    world.edit(
        watersheds={"outlets": "gauges.csv", "snap": "1500m"},
        terrain={"d8": "d8.tif", "codes": "esri"},
    )
    return world


def polygons(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_file(path, layer="watersheds").set_index("site_no")


def test_outlets_become_a_store_and_keep_it(outlets: World) -> None:
    picture = outlets.folder / "plan.png"
    planned = outlets.command("plan", outlets.catalog, "--map", picture)
    assert planned.exit_code == 0, planned.output
    comb = shapely.union(
        shapely.box(WEST + 0.03, 42.05, WEST + 0.4, 42.45),
        shapely.box(WEST + 0.03, 42.25, WEST + 0.47, 42.26),
    )
    area = f"{polygon_area(comb) / 1e6:.4g} km2"
    assert f"01000001: {area}, area not known, outlet moved 0 m" in planned.stdout
    assert imread(picture).std() > 0.1
    done = outlets.run()
    assert done.exit_code == 0, done.output
    found = polygons(outlets.store / "watersheds.gpkg")
    assert list(found.index) == list_sites(outlets.store) == list(SITES)
    for site in SITES:
        assert found.area_km2[site] == pytest.approx(polygon_area(found.geometry[site]) / 1e6)
        data = open_watershed(outlets.store, site)
        covered = float((data.coverage * data.cell_area).sum())
        assert covered == pytest.approx(found.area_km2[site] * 1e6)
        assert (data.flow_distance.attrs | data.attrs)["flow_distance_method"] == "d8"
    assert outlets.command("check", outlets.store).exit_code in (0, 1)
    before = contents(outlets.store)
    again = outlets.run()
    assert "nothing to do" in again.stdout
    assert contents(outlets.store) == before


def test_changed_outlets_and_terrain_are_noticed(outlets: World) -> None:
    assert outlets.run().exit_code == 0
    first = polygons(outlets.store / "watersheds.gpkg")
    for change, said in (
        (lambda: write_gauges(outlets, moved=0.02), "files of watersheds have changed"),
        (lambda: write_comb(outlets, low=43), "files of terrain have changed"),
        (
            lambda: outlets.edit(watersheds={"outlets": "gauges.csv", "snap": "1400m"}),
            "watersheds.snap: 1500.0 becomes 1400.0",
        ),
    ):
        change()
        refused = outlets.run()
        assert refused.exit_code == 2
        assert said in refused.stderr
        done = outlets.command("run", outlets.catalog, "--store", outlets.store, "--yes")
        assert done.exit_code == 0, done.output
        assert "tables written" in done.stdout
    fresh = outlets.folder / "fresh.zarr"
    assert outlets.command("run", outlets.catalog, "--store", fresh).exit_code == 0
    assert contents(outlets.store) == contents(fresh)
    assert (polygons(fresh / "watersheds.gpkg").area_km2 != first.area_km2).any()


def test_another_polygon_is_named(outlets: World) -> None:
    assert outlets.run().exit_code == 0
    write_comb(outlets, low=43)
    planned = outlets.command("plan", outlets.catalog, "--store", outlets.store)
    assert "1 watersheds of another polygon: 01000001" in planned.stdout


def test_polygons_in_place_of_outlets_and_back(outlets: World) -> None:
    assert outlets.run().exit_code == 0
    kept = outlets.folder / "kept.gpkg"
    kept.write_bytes((outlets.store / "watersheds.gpkg").read_bytes())
    outlets.edit(watersheds={"file": "kept.gpkg", "site_field": "site_no"})
    done = outlets.command("run", outlets.catalog, "--store", outlets.store, "--yes")
    assert done.exit_code == 0, done.output
    assert not (outlets.store / "watersheds.gpkg").exists()


def test_delineated_watersheds_may_become_the_polygons(outlets: World) -> None:
    """What a run wrote is then its input, and stays."""
    assert outlets.run().exit_code == 0
    written = outlets.store / "watersheds.gpkg"
    layer = {"layer": "watersheds", "site_field": "site_no"}
    outlets.edit(watersheds={"file": str(written), **layer})
    done = outlets.command("run", outlets.catalog, "--store", outlets.store, "--yes")
    assert done.exit_code == 0, done.output
    assert written.exists()


def test_outlets_need_terrain(outlets: World) -> None:
    outlets.edit(terrain=None)
    refused = outlets.command("plan", outlets.catalog)
    assert refused.exit_code == 2
    assert "watersheds.outlets: expected terrain" in refused.stderr


def test_a_map_without_terrain(world: World) -> None:
    picture = world.folder / "plan.png"
    assert world.command("plan", world.catalog, "--map", picture).exit_code == 0
    assert imread(picture).std() > 0.02
    nowhere = world.command("plan", world.catalog, "--map", world.folder / "no" / "plan.png")
    assert nowhere.exit_code == 1
    assert "not written" in nowhere.stderr
