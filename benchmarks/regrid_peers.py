"""Programs that regrid rasters, ours and others, each as a function of fields in memory.

The docstring of each says what it is and what it is not given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock
from uuid import uuid4

import dask
import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling

from benchmarks.regrid_rasters import GRID, Edges, Field, Raster
from pipeline.regrid.api import regrid

CHUNK = 48  # steps in a task

Regrid = Callable[[Field], Field]


@dataclass(frozen=True)
class Method:
    """A program that regrids.

    Attributes:
        regrid: function from fields to cells.
        steps: number of steps that it is given; fewer where it is slow.
        rounds: most rounds that are timed.
        takes_holes: whether it leaves out pixels that are NaN.
    """

    regrid: Regrid
    steps: int
    rounds: int = 1_000
    takes_holes: bool = True


def methods(raster: Raster, threads: int) -> dict[str, Method]:
    """Our methods and every installed peer but CDO, by name."""
    every, few = raster.steps, max(CHUNK, raster.steps // 11)
    found = {
        "Dom-ST": Method(ours(raster, threads), every),
        "Dom-ST, regrid()": Method(public(raster), every),
        "Dom-ST, regrid() on Dask": Method(public_on_dask(raster, threads), every),
    }
    if raster.is_lonlat and installed("xarray_regrid"):
        found["xarray-regrid, skipna"] = Method(xarray_regrid(raster, threads, True), every)
        found["xarray-regrid"] = Method(xarray_regrid(raster, threads, False), every, 1000, False)
    if installed("xesmf"):
        found["xESMF's apply step, skipna"] = Method(xesmf_apply(raster, threads, True), every)
        plain = xesmf_apply(raster, threads, False)
        found["xESMF's apply step"] = Method(plain, every, takes_holes=False)
    found["rioxarray/GDAL average"] = Method(gdal_average(raster, threads), few)
    if installed("odc"):
        found["odc-geo/GDAL average"] = Method(odc_average(raster, threads), few)
    if raster.is_lonlat and installed("exactextract"):
        found["exactextract"] = Method(exactextract_mean(raster), 6, 1)
    if raster.is_lonlat and installed("gdptools"):
        found["gdptools"] = Method(gdptools_mean(raster), CHUNK, 1)
    return found


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def versions() -> dict[str, str]:
    """Versions of the installed peers."""
    names = ("xarray-regrid", "xesmf", "rioxarray", "odc-geo", "exactextract", "gdptools")
    modules = {"xarray-regrid": "xarray_regrid", "odc-geo": "odc"}
    found = {
        name: importlib.metadata.version(name)
        for name in names
        if installed(modules.get(name, name))
    }
    if shutil.which("cdo"):
        said = subprocess.run(["cdo", "--version"], capture_output=True, text=True, check=True)
        found["CDO"] = (said.stderr + said.stdout).split("version ")[1].split()[0]
    return found


def in_blocks(threads: int, block: Regrid) -> Regrid:
    """Call a method from threads on blocks of steps and collect the results in one array."""

    def regrid(raw: Field) -> Field:
        value = np.empty((len(raw), *GRID.shape), np.float32)

        def one(start: int) -> None:
            value[start : start + CHUNK] = block(raw[start : start + CHUNK])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(0, len(raw), CHUNK)))
        return value

    return regrid


def ours(raster: Raster, threads: int) -> Regrid:
    """The pipeline's weights and kernel."""
    weights = raster.axes.weights(GRID)

    def block(raw: Field) -> Field:
        return weights.apply(raw)[0]

    return in_blocks(threads, block)


def public(raster: Raster) -> Regrid:
    """The public `regrid` of arrays in memory, on all cores; weights are looked up at each call."""

    def regrid_all(raw: Field) -> Field:
        return regrid(described(raster, raw), GRID, min_valid=0)["rain"].values

    return regrid_all


def public_on_dask(raster: Raster, threads: int) -> Regrid:
    """The public `regrid` of chunked arrays on Dask's threads."""

    def regrid_all(raw: Field) -> Field:
        data = chunked(described(raster, raw))
        with dask.config.set(scheduler="threads", num_workers=threads):
            return regrid(data, GRID, min_valid=0)["rain"].compute().values

    return regrid_all


def described(raster: Raster, raw: Field) -> xr.DataArray:
    """Fields with coordinates and, if they are projected, their CRS."""
    names = ("lat", "lon") if raster.is_lonlat else ("y", "x")
    coords = dict(zip(names, map(middle, (raster.y_edges, raster.x_edges)), strict=True))
    data = xr.DataArray(raw, coords, ("time", *names), "rain")
    return data.assign_coords(spatial_ref=((), 0, raster.crs.to_cf()))


def chunked(data: xr.DataArray) -> xr.DataArray:
    """Fields on Dask, under a name that Dask need not derive from their bytes."""
    return data.chunk(time=CHUNK, token=uuid4().hex)


def xarray_regrid(raster: Raster, threads: int, skipna: bool) -> Regrid:
    """xarray-regrid's conservative method on Dask's threads."""

    def regrid(raw: Field) -> Field:
        centres = {"latitude": middle(raster.y_edges), "longitude": middle(raster.x_edges)}
        data = chunked(xr.DataArray(raw, dims=("time", *centres), coords=centres))
        with dask.config.set(scheduler="threads", num_workers=threads):
            return xarray_regrid_lazily(data, skipna).compute().as_numpy().values

    return regrid


def xarray_regrid_lazily(data: xr.DataArray, skipna: bool) -> xr.DataArray:
    """xarray-regrid's conservative method of data (time, latitude, longitude), north first."""
    import xarray_regrid  # noqa: F401 -- registers the accessor
    from xarray_regrid.methods import conservative

    # with it, where another package brought it, weights are far slower
    vars(conservative)["sparse"] = None
    target = xr.Dataset(coords={"latitude": GRID.y[::-1], "longitude": GRID.x})
    result = data.regrid.conservative(target, latitude_coord="latitude", skipna=skipna)
    return result.transpose("time", "latitude", "longitude").sel(latitude=GRID.y)


def xesmf_block(raster: Raster, skipna: bool) -> Regrid:
    """xESMF's own application of a sparse matrix, with our weights: its generator of weights, ESMF,
    is not on the package index."""
    import sparse

    sys.modules.setdefault("esmpy", MagicMock())  # the generator's library, which is not needed
    from xesmf import Regridder

    weights = raster.matrix
    cell = np.repeat(np.arange(weights.start.size - 1), np.diff(weights.start))
    matrix = sparse.COO(
        np.stack((cell, weights.pixel)),
        weights.weight,
        shape=(weights.start.size - 1, math.prod(weights.raw_shape)),
    ).reshape(weights.shape + weights.raw_shape)
    shapes = {"shape_in": weights.raw_shape, "shape_out": weights.shape}
    rows, columns = weights.window  # the raster, but for rims that touch no cell

    def block(raw: Field) -> Field:
        part = raw[:, rows, columns]
        return Regridder._regrid(part, matrix, **shapes, skipna=skipna, na_thres=1.0)

    return block


def xesmf_apply(raster: Raster, threads: int, skipna: bool) -> Regrid:
    """xESMF's step of applying weights, from threads."""
    return in_blocks(threads, xesmf_block(raster, skipna))


def gdal_average(raster: Raster, threads: int) -> Regrid:
    """rioxarray's reprojection with GDAL's average of the pixels below a cell."""
    import rioxarray  # noqa: F401 -- registers the accessor

    x, y = middle(raster.x_edges), middle(raster.y_edges)
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


def exactextract_mean(raster: Raster) -> Regrid:
    """exactextract's mean of the pixels in the cells' polygons, areas on a sphere, one thread."""
    import exactextract
    from exactextract.raster import NumPyRasterSource

    x, y = raster.x_edges, raster.y_edges
    cells = cell_polygons()

    def regrid(raw: Field) -> Field:
        names = [f"step{k}" for k in range(len(raw))]
        steps = [
            NumPyRasterSource(field, x[0], y[-1], x[-1], y[0], name=name)
            for name, field in zip(names, raw, strict=True)
        ]
        operation = "mean(coverage_weight=area_spherical_m2)"
        table = exactextract.exact_extract(steps, cells, [operation], output="pandas")
        values = table[[f"{name}_mean" for name in names]].to_numpy(np.float32)
        return values.T.reshape(-1, *GRID.shape)

    return regrid


def gdptools_mean(raster: Raster) -> Regrid:
    """gdptools' masked mean over the cells' polygons, one thread, its weights made beforehand.

    Weights come from an equal-area cylinder, in which the cells' and pixels' sides stay straight.
    It is the outermost cells of the region that come out wrong.
    """
    from gdptools import AggGen, UserCatData, WeightGen

    cells = cell_polygons()

    def data(raw: Field) -> UserCatData:
        times = np.datetime64("2020-01-01", "ns") + np.arange(len(raw)) * np.timedelta64(1, "h")
        coordinates = {
            "time": times,
            "lat": ("lat", middle(raster.y_edges), {"units": "degrees_north"}),
            "lon": ("lon", middle(raster.x_edges), {"units": "degrees_east"}),
        }
        return UserCatData(
            source_ds=xr.Dataset({"rain": (("time", "lat", "lon"), raw)}, coords=coordinates),
            source_crs=4326,
            source_x_coord="lon",
            source_y_coord="lat",
            source_t_coord="time",
            source_var="rain",
            target_gdf=cells,
            target_crs=4326,
            target_id="cell",
            source_time_period=[str(times[0]), str(times[-1])],
        )

    empty = data(np.zeros((1, *raster.shape), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = WeightGen(
            user_data=empty, method="serial", weight_gen_crs=6933
        ).calculate_weights()

    def regrid(raw: Field) -> Field:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, result = AggGen(data(raw), "masked_mean", "serial", "none", weights).calculate_agg()
        values = result["rain"].sel(cell=np.arange(math.prod(GRID.shape))).values
        return values.astype(np.float32).reshape(-1, *GRID.shape)

    return regrid


def cell_polygons() -> Any:
    """The cells as a table of polygons, in row-major order."""
    import geopandas as gpd
    import shapely

    west, north = (a.ravel() for a in np.meshgrid(GRID.x_edges[:-1], GRID.y_edges[:-1]))
    east, south = (a.ravel() for a in np.meshgrid(GRID.x_edges[1:], GRID.y_edges[1:]))
    boxes = shapely.box(west, south, east, north)
    return gpd.GeoDataFrame({"cell": np.arange(boxes.size)}, geometry=boxes, crs=4326)


def middle(edges: Edges) -> Edges:
    """Centres between edges."""
    return (edges[1:] + edges[:-1]) / 2
