"""Small rasters with made-up rain, for the tests of the public `regrid`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer

LAMBERT = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84"


def rain(shape: tuple[int, ...], missing: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    raw = rng.gamma(0.4, 8.0, shape).astype(np.float32)
    raw[rng.random(shape) < missing] = np.nan
    return raw


def plain(steps: int = 20, missing: float = 0.1) -> xr.DataArray:
    """Rain (time, lat, lon) of 0.03 degree."""
    coords = {"lat": 41.985 - 0.03 * np.arange(40), "lon": -94.985 + 0.03 * np.arange(50)}
    data = rain((steps, 40, 50), missing)
    return xr.DataArray(data, coords, ("time", "lat", "lon"), "rain", {"units": "mm"})


def lambert(steps: int = 20) -> xr.DataArray:
    """Rain (time, y, x) of 4 km in a Lambert projection that rioxarray wrote."""
    import rioxarray  # noqa: F401 -- registers the accessor

    coords = {"y": 100e3 - 4e3 * np.arange(30), "x": 200e3 + 4e3 * np.arange(40)}
    data = xr.DataArray(rain((steps, 30, 40)), coords, ("time", "y", "x"), "rain")
    return data.rio.write_crs(LAMBERT)


def curvilinear(steps: int = 20) -> xr.DataArray:
    """The centres of `lambert` as 2-D latitudes and longitudes."""
    source = lambert(steps)
    to_degrees = Transformer.from_crs(CRS(LAMBERT), CRS(LAMBERT).geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(source.x, source.y))
    coords = {"lat": (("j", "i"), lat), "lon": (("j", "i"), lon)}
    return xr.DataArray(source.values, coords, ("time", "j", "i"), "rain")


MAKE: dict[str, Callable[..., xr.DataArray]] = {
    "plain": plain,
    "projected": lambert,
    "curvilinear": curvilinear,
}


def require_equal(found: xr.Dataset, expected: xr.Dataset) -> None:
    """The same values to the bit, whatever the order of the leading dimensions."""
    assert set(found.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        assert found[name].dtype == np.float32
        one = found[name].transpose(*expected[name].dims)
        np.testing.assert_array_equal(one.values, expected[name].values)
