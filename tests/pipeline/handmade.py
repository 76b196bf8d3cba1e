"""A very small hand-made world in raw formats: two watersheds, twelve days, four blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
import yaml
from rasterio.transform import from_origin
from typer.testing import CliRunner, Result

from pipeline.__main__ import app

DAYS = 12
PIXEL = 1 / 24  # degrees, so that 2 x 2 pixels make a cell
WEST, NORTH, COLUMNS, ROWS = -93.0, 42.5, 12, 12  # rasters: 0.5 x 0.5 degrees
BOXES = {"01000001": (-92.95, 42.05, -92.7, 42.3), "01000002": (-92.8, 42.2, -92.6, 42.42)}


@dataclass(frozen=True)
class World:
    """Raw files in a folder, and where their store goes.

    `rain` is float32 (days, rows, columns) in mm, NaN where missing, as in the files.
    """

    folder: Path
    rain: np.ndarray

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store.zarr"

    def raster(self, day: int) -> Path:
        return self.folder / "rain" / f"rain_202001{day + 1:02d}.tif"

    def edit(self, **keys: object) -> None:
        """Set top-level keys of the catalog, None to remove one."""
        settings = yaml.safe_load(self.catalog.read_text()) | keys
        settings = {key: value for key, value in settings.items() if value is not None}
        self.catalog.write_text(yaml.safe_dump(settings))

    def command(self, *arguments: object) -> Result:
        """Run the command line in this process."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def run(self) -> Result:
        return self.command("run", self.catalog, "--store", self.store, "--workers", 2)


def assert_same_data(one: xr.Dataset, other: xr.Dataset) -> None:
    """Assert that datasets of two stores are identical but for the time of writing."""
    loaded = (data.load().assign_attrs(history="") for data in (one, other))
    xr.testing.assert_identical(*loaded)


def write_raster(path: Path, values: np.ndarray, **profile: object) -> None:
    """A GeoTIFF of the world's rasters, float32 with nodata -9999; `profile` overrides."""
    settings = {
        "driver": "GTiff",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:4326",
        "nodata": -9999.0,
        "transform": from_origin(WEST, NORTH, PIXEL, PIXEL),
        **profile,
    }
    with rasterio.open(path, "w", **settings) as file:
        file.write(np.where(np.isnan(values), -9999.0, values).astype("float32"), 1)


def write_polygons(path: Path, boxes: dict[str, tuple[float, float, float, float]]) -> None:
    """Rectangles as GeoJSON."""
    features = [
        {
            "type": "Feature",
            "properties": {"site": site},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]],
            },
        }
        for site, (w, s, e, n) in boxes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def make_world(folder: Path) -> World:
    """A fresh world, its store not yet written."""
    (folder / "rain").mkdir()
    rng = np.random.default_rng(7)
    rain = rng.gamma(0.5, 8.0, (DAYS, ROWS, COLUMNS)).astype(np.float32)
    rain[rng.random(rain.shape) < 0.05] = np.nan
    made = World(folder, rain)
    for day in range(DAYS):
        write_raster(made.raster(day), rain[day])
    write_polygons(folder / "basins.geojson", BOXES)
    lines = ["site_no,datetime,discharge,code"]
    for site in BOXES:
        values = rng.uniform(5, 15, DAYS)
        lines += [f"{site},2020-01-{day + 1:02d},{values[day]:.3f},A" for day in range(DAYS)]
    (folder / "discharge.csv").write_text("\n".join(lines) + "\n")
    rain_source = {"driver": "geotiff", "files": "rain/rain_{time:%Y%m%d}.tif", "units": "mm"}
    settings = {
        "title": "A hand-made world",
        "synthetic": True,
        "period": {"step": "day", "start": "2020-01-01T00:00:00", "end": "2020-01-13T00:00:00"},
        "block_steps": 3,
        "forcings": {"precipitation": rain_source},
        "gauges": {"format": "csv", "files": "discharge.csv", "units": "m3/s"},
        "watersheds": {"file": "basins.geojson", "site_field": "site"},
    }
    made.catalog.write_text(yaml.safe_dump(settings))
    return made
