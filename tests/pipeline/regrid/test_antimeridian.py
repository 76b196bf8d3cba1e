"""A region across the antimeridian, from rasters, terrain and polygons as they come there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from pyproj import Geod, Transformer
from rasterio.transform import from_origin

from pipeline.store.read import open_region, open_watershed
from tests.pipeline.handmade import DAYS, World, write_raster

SIDE = 0.5  # degrees, of the pixels of a raster around the Earth
ACROSS, BESIDE = "01000001", "01000002"


def write_polygons(path: Path) -> None:
    """One watershed cut at the antimeridian, as GeoJSON asks, and one east of it."""

    def ring(w: float, s: float, e: float, n: float) -> list[list[list[float]]]:
        return [[[w, s], [e, s], [e, n], [w, n], [w, s]]]

    parts = [ring(179.6, 51.1, 180, 51.9), ring(-180, 51.1, -179.7, 51.9)]
    geometries = {
        ACROSS: {"type": "MultiPolygon", "coordinates": parts},
        BESIDE: {"type": "Polygon", "coordinates": ring(-179.6, 51.2, -179.3, 51.7)},
    }
    features = [
        {"type": "Feature", "properties": {"site": site}, "geometry": geometry}
        for site, geometry in geometries.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.mark.parametrize("west", [-180.0, 0.0])
@pytest.mark.parametrize("terrain", [None, "degrees", "plane"])
def test_a_region_across_the_antimeridian(world: World, west: float, terrain: str | None) -> None:
    """Rain that differs in every pixel around the Earth, against the pixel under each cell."""
    rng = np.random.default_rng(3)
    rain = rng.gamma(0.5, 8, (DAYS, 20, round(360 / SIDE))).astype(np.float32)
    for day in range(DAYS):
        write_raster(world.raster(day), rain[day], transform=from_origin(west, 55, SIDE, SIDE))
    write_polygons(world.folder / "basins.geojson")
    keys: dict[str, object] = {}
    if terrain:
        keys["terrain"] = {"dem": "dem.tif", "outlet_snap": 2000}
        write_terrain(world.folder / "dem.tif", terrain)
    world.edit(**keys)
    result = world.run()
    assert result.exit_code == 0, result.output
    checked = world.command("check", world.store)
    assert checked.exit_code == 0, checked.output
    region = open_region(world.store)
    assert region.sizes["x"] < 24, "not the way around the Earth"
    row = np.floor((55 - region.y.data) / SIDE).astype(int)
    column = np.floor((region.x.data - west) % 360 / SIDE).astype(int)
    expected = rain[:, row[:, None], column]
    np.testing.assert_allclose(region.precipitation, expected, rtol=1e-6)
    with open_watershed(world.store, ACROSS) as shed:
        assert shed.x.data[0] < 180 < shed.x.data[-1]
        require_distances(shed.load(), terrain)


def write_terrain(path: Path, kind: str) -> None:
    """Elevations as degrees of 0 to 360, or on a plane around the place."""
    if kind == "degrees":
        profile = {"crs": "EPSG:4326", "transform": from_origin(179.2, 52.2, 0.01, 0.01)}
        shape = 130, 180
    else:  # about 179.2 to 181 E
        profile = {
            "crs": "+proj=laea +lat_0=51.5 +lon_0=180 +ellps=WGS84",
            "transform": from_origin(-60000, 75000, 1000, 1000),
        }
        shape = 150, 125
    transform = profile["transform"]
    x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
    y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
    to_degrees = Transformer.from_crs(profile["crs"], 4326, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    lon = lon % 360
    height = np.full(shape, -9999.0)  # a valley in each watershed, that falls to the south
    for west, south, east, north in ((179.6, 51.1, 180.3, 51.9), (180.4, 51.2, 180.7, 51.7)):
        inside = (west < lon) & (lon < east) & (south < lat) & (lat < north)
        valley = 1000 * (lat - south) + 300 * np.abs(lon - (west + east) / 2) + 10
        height[inside] = valley[inside]
    with rasterio.open(
        path, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="float32",
        nodata=-9999, **profile,
    ) as file:  # fmt: skip
        file.write(height.astype("f4"), 1)


def require_distances(shed: xr.Dataset, terrain: str | None) -> None:
    """Every covered cell has one, at least as long as the straight line to the outlet."""
    distance, covered = shed.flow_distance.data, shed.coverage.data > 0
    assert (np.isfinite(distance) == covered).all()
    lon, lat = np.meshgrid(shed.x, shed.y)
    if terrain:
        end = shed.attrs["outlet"]
        straight = Geod(ellps="WGS84").inv(lon, lat, *(np.full_like(lon, one) for one in end))[2]
        assert (distance[covered] > 0.8 * straight[covered] - 5000).all()
    assert np.nanmax(distance) < 250e3
