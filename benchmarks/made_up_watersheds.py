"""Any number of made-up watersheds over the rasters of the sample.

Their sizes are those of the sample's own basins, in turn; their places and shapes are random, and
they overlap, as those of nested gauges do. The region and its rasters are the sample's, however
many watersheds there are.
"""

from __future__ import annotations

import math
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely
import yaml
from scipy.signal import lfilter

from pipeline.catalog.models import load_catalog
from pipeline.regrid.grid import Grid
from pipeline.sample.make import make_sample
from pipeline.sample.world import CRS, full_world, tiny_world

SEED = 0
VERTICES = 100
WAVES, ROUGHNESS = 6, 0.35  # of a ring's radius around its centre, which they change by e^roughness
JITTER = 0.03  # of single vertices, likewise
RUNOFF = 0.6  # median discharge, m3/s per cell
MEMORY, SPREAD = 0.95, 0.3  # of the logarithm of discharge, from day to day


class MadeUpWatersheds:
    """Catalogs of the sample's rasters and a number of watersheds.

    Args:
        sample: folder of the sample, made there if it is missing.
        most: number of watersheds of the largest catalog; a smaller one has the first of them.
        tiny: use the small sample.
    """

    def __init__(self, sample: Path, most: int, *, tiny: bool = False) -> None:
        world = tiny_world() if tiny else full_world()
        self.catalog = make_sample(sample, tiny=tiny)
        self.grid = world.grid
        self.cells = np.resize([gauge.cells for gauge in world.gauges], most)
        self.rings = make_rings(self.grid, self.cells)

    def write(self, folder: Path, count: int) -> Path:
        """Write polygons, records and the catalog of `count` watersheds; return its path."""
        stem = f"watersheds{count}"
        polygons = geopandas.GeoDataFrame(
            {"site_no": [site_number(number) for number in range(count)]},
            geometry=shapely.polygons(self.rings[:count]),
            crs=CRS,
        )
        polygons.to_file(folder / f"{stem}.gpkg", engine="pyogrio")
        days = load_catalog(self.catalog).period.times
        write_records(folder / f"{stem}.csv", days, self.cells[:count])
        sample = yaml.safe_load(self.catalog.read_text())
        catalog = {
            "title": f"{count} made-up watersheds",
            "synthetic": True,
            "root": str(self.catalog.parent.resolve()),
            "period": sample["period"],
            "bounds": list(self.grid.bounds),
            "forcings": sample["forcings"],
            "gauges": {
                "format": "csv",
                "files": str(folder.resolve() / f"{stem}.csv"),
                "units": "m3/s",
                "time": sample["gauges"]["time"],
            },
            "watersheds": {
                "file": str(folder.resolve() / f"{stem}.gpkg"),
                "site_field": "site_no",
            },
        }
        path = folder / f"{stem}.yaml"
        path.write_text(yaml.safe_dump(catalog))
        return path


def site_number(number: int) -> str:
    """Site number of a made-up watershed, counted from 0."""
    return f"{number:08d}"


def make_rings(grid: Grid, cells: np.ndarray) -> np.ndarray:
    """Draw outlines [degrees] inside a grid, each a star around its centre.

    Args:
        grid: the region.
        cells: (watersheds,), the area of each in cells.

    Returns:
        float64 (watersheds, VERTICES + 1, 2), counter-clockwise, the last vertex being the first.
    """
    rng, count = np.random.default_rng(SEED), cells.size
    turn = (np.arange(VERTICES) + 0.8 * rng.random((count, VERTICES))) / VERTICES * 2 * math.pi
    radius = JITTER * rng.standard_normal((count, VERTICES))
    for wave in range(1, WAVES + 1):
        height = ROUGHNESS / wave * rng.standard_normal((count, 1))
        radius += height * np.cos(wave * turn + 2 * math.pi * rng.random((count, 1)))
    radius = np.exp(radius)
    rings = np.stack((radius * np.cos(turn), radius * np.sin(turn)), axis=-1)
    rings = np.concatenate((rings, rings[:, :1]), axis=1)
    rings *= np.sqrt(cells / signed_area(rings))[:, None, None] / grid.cells_per_degree
    west, south, east, north = grid.bounds
    low, high = rings.min(axis=1), rings.max(axis=1)
    room = (east - west, north - south) - (high - low)
    assert (room > 0).all(), "a watershed is larger than the region"
    corner = (west, south) + rng.random((count, 2)) * room
    return rings + (corner - low)[:, None]


def signed_area(rings: np.ndarray) -> np.ndarray:
    """Areas of closed rings (n, vertices, 2), float64 (n,), positive if counter-clockwise."""
    (x, y), (next_x, next_y) = (np.moveaxis(part, -1, 0) for part in (rings[:, :-1], rings[:, 1:]))
    return 0.5 * (x * next_y - next_x * y).sum(axis=-1)


def write_records(path: Path, days: pd.DatetimeIndex, cells: np.ndarray) -> None:
    """Write daily discharge [m3/s] for areas in cells into one CSV, site by site."""
    rng = np.random.default_rng(SEED)
    dates = days.strftime("%Y-%m-%d").tolist()
    with path.open("w") as file:
        file.write("site_no,datetime,discharge\n")
        for number, size in enumerate(cells):
            site = site_number(number)
            logarithm = lfilter([SPREAD], [1, -MEMORY], rng.standard_normal(len(dates)))
            discharge = (RUNOFF * size * np.exp(logarithm)).tolist()
            file.writelines(
                f"{site},{date},{value:.2f}\n" for date, value in zip(dates, discharge, strict=True)
            )
