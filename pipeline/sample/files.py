"""Write the raw files of the sample, each marked as synthetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio
from rasterio.features import shapes
from shapely import MultiPolygon, make_valid, unary_union
from shapely.geometry import shape

from pipeline.sample.terrain import Basin
from pipeline.sample.world import CRS, DAY_START, GENERATOR_VERSION, World
from pipeline.units import M2_PER_KM2

NODATA = -9999.0
PRECIPITATION_STEP = 1 / 32  # [mm] the rasters' resolution
TEMPERATURE_STEP = 1 / 16  # [degC]
DAYS_PER_OUTAGE = 60.0
BAD_PIXELS = 2e-4  # share of single pixels without a value
FIXED_DATE = "2012-10-01T00:00:00.000Z"  # instead of the clock, so that bytes repeat
LABEL = "synthetic: a made-up world, nothing in it was measured"

CATALOG = """\
# SYNTHETIC: a made-up world with fictitious rivers, written by `python -m pipeline sample`
# (generator version {version}, seed {seed}). What no agency knows is in truth.json.
title: "{title}"
synthetic: true
root: .
period:
  step: day
  start: {start}
  end: {end}
forcings:
  precipitation:
    driver: geotiff
    files: rasters/storms_{{time:%Y%m%d}}.tif
    band: 1
    units: mm
    time: {{label: start, offset: 6h}} # a day starts at 06:00 UTC, as the gauges' does
  temperature:
    driver: geotiff
    files: rasters/storms_{{time:%Y%m%d}}.tif
    band: 2
    units: degC
    time: {{label: start, offset: 6h}}
gauges:
  format: rdb
  files: gauges/{{site}}.rdb
  units: ft3/s
  time: {{label: start, offset: 6h}} # midnight, Central Standard Time
watersheds:
  file: watersheds.gpkg
  site_field: SITE_NO
  name_field: NAME
  area_field: DRAINAGE
  area_units: km2
terrain:
  dem: dem.tif
"""

README = """\
SYNTHETIC DATA. This is a made-up world: its rivers, gauges, storms and terrain do not exist.
Written by `python -m pipeline sample` of Dom-ST, generator version {version}, seed {seed}.

catalog.yaml      describes all of it for `python -m pipeline run`
rasters/          {days} days of rain [mm, band 1] and mean temperature [degC, band 2], GeoTIFF,
                  2.5 arc-minutes; a day runs from 06:00 UTC of its date; nodata -9999; the rain
                  is as measured, with errors: the gauges answer to the rain that fell
dem.tif           elevation [m], 30 arc-seconds, without pits
watersheds.gpkg   {gauges} watersheds, delineated from dem.tif
gauges/           daily discharge [ft3/s] of each, USGS RDB with flags, gaps and ice
truth.json        what the gauges do not tell: roughness of each watershed's channels, how long
                  water is in them, its soil, its water balance
"""

Outage = tuple[int, int, float, float, float]  # first day, end day, longitude, latitude, degrees


def draw_outages(world: World, rng: np.random.Generator) -> list[Outage]:
    """Draw discs of 15 to 60 km without rain data, for one to three days each."""
    west, south, east, north = world.grid.bounds
    return [
        (
            int(day),
            int(day + rng.integers(1, 4)),
            rng.uniform(west, east),
            rng.uniform(south, north),
            rng.uniform(15, 60) / 111.2,
        )
        for day in np.flatnonzero(rng.random(world.days) < 1 / DAYS_PER_OUTAGE)
    ]


def missing_pixels(
    world: World, outages: Sequence[Outage], day: int, rng: np.random.Generator
) -> np.ndarray:
    """Mark the pixels of the raster of `day` without rain data, bool (rows, columns)."""
    missing = rng.random(world.shape) < BAD_PIXELS
    lon, lat = world.pixel_centres
    for first, end, x, y, radius in outages:
        if first <= day < end:
            missing |= np.hypot((lon[None, :] - x) * 0.78, lat[:, None] - y) < radius
    return missing


def write_rasters(
    folder: Path,
    world: World,
    start: datetime,
    rain: Sequence[np.ndarray],
    temperature: np.ndarray,
    missing: Sequence[np.ndarray],
    pool: Executor,
) -> list[Future[None]]:
    """Start writing one GeoTIFF a day from `start` on: rain and temperature (rows, columns)."""

    def write(day: int) -> None:
        date = start - DAY_START + timedelta(days=day)
        wet = np.round(rain[day] / PRECIPITATION_STEP) * PRECIPITATION_STEP
        wet[missing[day]] = NODATA
        warm = np.round(temperature[day] / TEMPERATURE_STEP) * TEMPERATURE_STEP
        with rasterio.open(
            folder / f"storms_{date:%Y%m%d}.tif",
            "w",
            driver="GTiff",
            height=world.shape[0],
            width=world.shape[1],
            count=2,
            dtype="float32",
            crs=CRS,
            transform=world.transform,
            nodata=NODATA,
            compress="deflate",
            predictor=2,
            zlevel=4,
            interleave="band",
            blockysize=world.shape[0],
        ) as raster:
            raster.write(np.stack([wet, warm]).astype(np.float32))
            raster.update_tags(TITLE=LABEL, TIFFTAG_SOFTWARE=f"Dom-ST sample {GENERATOR_VERSION}")
            raster.descriptions = ("precipitation, mm per day", "mean temperature, degC")

    return [pool.submit(write, day) for day in range(len(rain))]


def write_dem(path: Path, world: World, elevation: np.ndarray) -> None:
    """Write the terrain as a float32 GeoTIFF [m]."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=elevation.shape[0],
        width=elevation.shape[1],
        count=1,
        dtype="float32",
        crs=CRS,
        transform=world.dem_transform,
        nodata=NODATA,
        compress="deflate",
        predictor=3,
    ) as raster:
        raster.write(elevation, 1)
        raster.update_tags(TITLE=LABEL, TIFFTAG_SOFTWARE=f"Dom-ST sample {GENERATOR_VERSION}")
        raster.descriptions = ("elevation, m",)


def polygon_of(world: World, basin: Basin) -> MultiPolygon:
    """Outline a watershed along its terrain pixels' edges, EPSG:4326."""
    mask = basin.mask.astype(np.uint8)
    parts = [
        shape(outline)
        for outline, value in shapes(mask, mask=basin.mask, transform=world.dem_transform)
        if value
    ]
    outline = make_valid(unary_union(parts))
    return outline if isinstance(outline, MultiPolygon) else MultiPolygon([outline])


def write_watersheds(
    path: Path, world: World, basins: Sequence[Basin], sites: Sequence[str], names: Sequence[str]
) -> None:
    """Write the polygons as a GeoPackage with SITE_NO, NAME and DRAINAGE [km2]."""
    frame = geopandas.GeoDataFrame(
        {
            "SITE_NO": list(sites),
            "NAME": list(names),
            "DRAINAGE": [round(basin.area / M2_PER_KM2, 1) for basin in basins],
        },
        geometry=[polygon_of(world, basin) for basin in basins],
        crs=CRS,
    )
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    try:
        frame.to_file(path, driver="GPKG", layer="synthetic_watersheds", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def write_texts(folder: Path, world: World, title: str, truth: dict[str, Any]) -> None:
    """Write catalog.yaml, README.txt and truth.json."""
    values = {
        "version": GENERATOR_VERSION,
        "seed": world.seed,
        "title": title,
        "start": f"{world.start.isoformat()}Z",
        "end": f"{world.end.isoformat()}Z",
        "days": world.days,
        "gauges": len(world.gauges),
    }
    for name, text in (
        ("catalog.yaml", CATALOG.format(**values)),
        ("README.txt", README.format(**values)),
        ("truth.json", json.dumps(truth, indent=1) + "\n"),
    ):
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
