"""Terrain that several test modules trace."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyflwdir
import pytest
import shapely
from rasterio.features import shapes
from scipy.ndimage import gaussian_filter
from shapely.geometry import shape

from pipeline.watersheds.polygons import polygon_area
from tests.pipeline.watersheds.test_flow_distance import north_up, write_dem


@pytest.fixture(scope="session")
def rough_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """Rough hills of 600 x 500 pixels, and 23 watersheds delineated on them by pyflwdir.

    Returns the folder and the drainage areas [m2] by site number.
    """
    folder = tmp_path_factory.mktemp("world")
    noise = np.random.default_rng(7).normal(size=(500, 600))
    elevation = 300 * gaussian_filter(noise, 12) + 30 * gaussian_filter(noise[::-1], 3)
    elevation -= np.linspace(0, 60, 600)[None, :]
    transform = north_up(-93.5, 42.5, 1 / 240)
    write_dem(folder / "dem.tif", elevation, "EPSG:4326", transform)
    flow = pyflwdir.from_dem(elevation.astype(np.float32), nodata=np.nan)
    pixels = flow.upstream_area("cell")
    chosen = np.flatnonzero((pixels > 800).ravel())
    chosen = np.random.default_rng(3).choice(chosen, 23, replace=False)
    polygons, areas = [], {}
    for number, outlet in enumerate(chosen):
        basin = flow.basins(idxs=np.array([outlet])).astype(np.uint8)
        parts = [shape(s) for s, v in shapes(basin, transform=transform) if v]
        polygons.append(shapely.make_valid(shapely.union_all(parts)))
        areas[f"{number + 1:08d}"] = polygon_area(polygons[-1])
    table = gpd.GeoDataFrame({"SITE_NO": list(areas)}, geometry=polygons, crs=4326)
    table.to_file(folder / "basins.gpkg")
    return folder, areas
