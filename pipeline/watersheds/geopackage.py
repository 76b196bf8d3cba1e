"""Encode delineated watersheds as a GeoPackage, for maps and for use as a file of polygons."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
from shapely.geometry import Point

from pipeline.units import M2_PER_KM2
from pipeline.watersheds.polygons import Watershed

NO_DATE = "1970-01-01T00:00:00Z"  # so that the same watersheds make the same bytes


def encode_geopackage(watersheds: Sequence[Watershed]) -> bytes:
    """Encode delineated watersheds in two layers of EPSG:4326.

    `watersheds` holds the polygons with `site_no`, `name`, `area_km2` and `known_area_km2`,
    `outlets` the centres of the outlets' pixels with `site_no`, `gauge_lon`, `gauge_lat` [degrees]
    and `moved_m`, their distance from the gauge.
    """
    outlets = [(one.site_no, one.outlet) for one in watersheds if one.outlet is not None]
    known = [one.reported_area for one in watersheds]
    polygons = {
        "site_no": [one.site_no for one in watersheds],
        "name": [one.name for one in watersheds],
        "area_km2": [one.area / M2_PER_KM2 for one in watersheds],
        "known_area_km2": pd.Series(known, dtype="float64") / M2_PER_KM2,
    }
    points = {
        "site_no": [site for site, _ in outlets],
        "gauge_lon": [outlet.gauge[0] for _, outlet in outlets],
        "gauge_lat": [outlet.gauge[1] for _, outlet in outlets],
        "moved_m": [outlet.moved for _, outlet in outlets],
    }
    layers = {
        "watersheds": (polygons, [one.polygon for one in watersheds]),
        "outlets": (points, [Point(outlet.pixel) for _, outlet in outlets]),
    }
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": NO_DATE})
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "watersheds.gpkg"
            for layer, (columns, geometry) in layers.items():
                table = gpd.GeoDataFrame(columns, geometry=geometry, crs=4326)
                table.to_file(path, driver="GPKG", layer=layer, mode="a" if path.exists() else "w")
            return path.read_bytes()
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
