"""CDO's conservative remapping, on files in memory."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.regrid_rasters import GRID, Edges, Field, Raster
from pipeline.regrid.grid import zone_area

FILL = -9e33


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
        """Write the fields to a file."""
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
        """Compute the weights and return the seconds that it took."""
        path = self.write(np.zeros((1, *self.raster.shape), np.float32))
        return self(f"gencon,{self.target}", path, self.weights)

    def remap(self, raw: Field, repeats: int = 1) -> tuple[Field, float]:
        """Regrid the fields; return them and the seconds (best of `repeats`) without reading."""
        path, out, pixel = self.write(raw), self.folder / "out.nc", self.folder / "pixel.nc"
        operator = f"remap,{self.target},{self.weights}"
        spent = min(self(operator, path, out) for _ in range(repeats))
        spent -= min(self("selindexbox,1,1,1,1", path, pixel) for _ in range(repeats))
        with xr.open_dataset(out, engine="scipy") as file:
            return file["rain"].values, spent


def listed(values: Edges) -> str:
    return " ".join(f"{value:.15g}" for value in values.ravel())


def authalic(latitude: Edges) -> Edges:
    """Convert to authalic latitudes: those of a sphere on which zones have the same area share."""
    return np.degrees(np.arcsin(zone_area(latitude) / zone_area(np.asarray(90.0))))
