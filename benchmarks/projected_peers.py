"""Other programs that regrid projected rasters, each behind a function of the same form."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Resampling

from benchmarks.regrid import GRID, Field, Regrid
from pipeline.grid import zone_area
from pipeline.overlap import OverlapWeights

CHUNK = 48  # steps in a task
FILL = -9e33

Edges = NDArray[np.float64]


@dataclass(frozen=True)
class Raster:
    """A projected grid, edges in the unit of its CRS, and the number of its fields."""

    name: str
    crs: CRS
    x_edges: Edges
    y_edges: Edges
    steps: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.y_edges.size - 1, self.x_edges.size - 1

    def to_degrees(self, x: Edges, y: Edges) -> tuple[Edges, Edges]:
        """Longitudes and latitudes of points in the CRS."""
        plane = self.crs.geodetic_crs
        assert plane is not None
        longitude, latitude = Transformer.from_crs(self.crs, plane, always_xy=True).transform(x, y)
        return longitude, latitude


def in_blocks(threads: int, block: Callable[[Field], Field]) -> Regrid:
    """A method called from threads on blocks of steps."""

    def regrid(raw: Field) -> Field:
        blocks = [raw[start : start + CHUNK] for start in range(0, len(raw), CHUNK)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(block, blocks)))

    return regrid


def xesmf_apply(weights: OverlapWeights, threads: int, skipna: bool) -> Regrid:
    """xESMF's own application of a sparse matrix, here of our weights."""
    import sparse

    sys.modules.setdefault("esmpy", MagicMock())  # the generator's library, which is not needed
    from xesmf import Regridder

    cell = np.repeat(np.arange(weights.start.size - 1), np.diff(weights.start))
    matrix = sparse.COO(
        np.stack((cell, weights.pixel)),
        weights.weight,
        shape=(weights.start.size - 1, math.prod(weights.raw_shape)),
    ).reshape(weights.shape + weights.raw_shape)
    shapes = {"shape_in": weights.raw_shape, "shape_out": weights.shape}

    def block(raw: Field) -> Field:
        return Regridder._regrid(raw, matrix, **shapes, skipna=skipna, na_thres=1.0)

    return in_blocks(threads, block)


def gdal_average(raster: Raster, threads: int) -> Regrid:
    """rioxarray's reprojection with GDAL's average of the pixels below a cell."""
    import rioxarray  # noqa: F401 -- registers the accessor

    x = (raster.x_edges[1:] + raster.x_edges[:-1]) / 2
    y = (raster.y_edges[1:] + raster.y_edges[:-1]) / 2
    west, south, east, north = GRID.bounds
    transform = rasterio.transform.from_bounds(west, south, east, north, GRID.nx, GRID.ny)

    def regrid(raw: Field) -> Field:
        data = xr.DataArray(raw, dims=("time", "y", "x"), coords={"y": y, "x": x})
        data = data.rio.write_crs(raster.crs.to_wkt()).rio.write_nodata(np.nan)
        result = data.rio.reproject(
            "EPSG:4326",
            transform=transform,
            shape=GRID.shape,
            resampling=Resampling.average,
            num_threads=threads,
            UNIFIED_SRC_NODATA="NO",  # else a pixel is missing in all steps if it is in one
        )
        return result.values

    return regrid


def odc_average(raster: Raster, threads: int) -> Regrid:
    """odc-geo's reprojection, which warps step by step, with GDAL's average."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import wrap_xr, xr_reproject

    (x0, x1), (y0, y1) = raster.x_edges[:2], raster.y_edges[:2]
    source = GeoBox(raster.shape, Affine(x1 - x0, 0, x0, 0, y1 - y0, y0), raster.crs.to_wkt())
    west, south, east, north = GRID.bounds
    target = GeoBox.from_bbox((west, south, east, north), "EPSG:4326", shape=GRID.shape)

    def block(raw: Field) -> Field:
        data = wrap_xr(raw, source, time=np.arange(len(raw)), nodata=np.nan)
        return xr_reproject(data, target, resampling="average", dst_nodata=np.nan).values

    return in_blocks(threads, block)


class Cdo:
    """CDO's remapcon, on files in memory."""

    def __init__(self, raster: Raster, threads: int, folder: Path) -> None:
        self.raster, self.threads, self.folder = raster, threads, folder
        self.target, self.weights = folder / "target.txt", folder / "weights.nc"
        y, centre = authalic(GRID.y_edges), authalic(GRID.y)
        values = {
            "gridtype": "lonlat",
            "xsize": GRID.nx,
            "ysize": GRID.ny,
            "xvals": listed(GRID.x),
            "xbounds": listed(np.stack((GRID.x_edges[:-1], GRID.x_edges[1:]), axis=1)),
            "yvals": listed(centre),
            "ybounds": listed(np.stack((y[:-1], y[1:]), axis=1)),
        }
        self.target.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        x, y = np.meshgrid(raster.x_edges, raster.y_edges)
        longitude, latitude = raster.to_degrees(x, y)
        self.corners = [self._corners(longitude), self._corners(authalic(latitude))]

    @staticmethod
    def _corners(a: Edges) -> Edges:
        return np.stack((a[1:, :-1], a[1:, 1:], a[:-1, 1:], a[:-1, :-1]), axis=-1)

    def write(self, raw: Field) -> Path:
        """The fields as a file."""
        longitude, latitude = self.corners
        units = {"lon": "degrees_east", "lat": "degrees_north"}
        variables: dict[str, Any] = {
            "rain": (("time", "y", "x"), raw, {"coordinates": "lon lat", "_FillValue": FILL})
        }
        for name, corners in (("lon", longitude), ("lat", latitude)):
            about = {"units": units[name], "bounds": f"{name}_bnds", "standard_name": name}
            variables[name] = (("y", "x"), corners.mean(axis=-1), about)
            variables[f"{name}_bnds"] = (("y", "x", "corner"), corners)
        path = self.folder / "raw.nc"
        time = ("time", np.arange(len(raw)), {"units": "hours since 2020-01-01"})
        variables["rain"][1][np.isnan(raw)] = FILL
        xr.Dataset(variables, coords={"time": time}).to_netcdf(path, engine="scipy")
        raw[raw == np.float32(FILL)] = np.nan
        return path

    def __call__(self, *operator: object) -> float:
        """Run CDO and return the seconds that it took."""
        command = ["cdo", "-s", "-O", "-P", str(self.threads), *map(str, operator)]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    def generate(self) -> float:
        """Make the weights; returns seconds."""
        path = self.write(np.zeros((1, *self.raster.shape), np.float32))
        return self(f"gencon,{self.target}", path, self.weights)

    def remap(self, raw: Field, repeats: int = 1) -> tuple[Field, float]:
        """The fields regridded, and seconds (best of `repeats`) without those of reading."""
        path, out, pixel = self.write(raw), self.folder / "out.nc", self.folder / "pixel.nc"
        operator = f"remap,{self.target},{self.weights}"
        spent = min(self(operator, path, out) for _ in range(repeats))
        spent -= min(self("selindexbox,1,1,1,1", path, pixel) for _ in range(repeats))
        with xr.open_dataset(out, engine="scipy") as file:
            return file["rain"].values, spent


def listed(values: Edges) -> str:
    return " ".join(f"{value:.15g}" for value in values.ravel())


def authalic(latitude: Edges) -> Edges:
    """Latitudes of the sphere on which zones have the same share of the area [degrees]."""
    return np.degrees(np.arcsin(zone_area(latitude) / zone_area(np.asarray(90.0))))
