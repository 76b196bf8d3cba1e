"""A generated terrain and the watersheds that pyflwdir delineates in it.

The terrain is a tilted plain with noise, uplifted and cut by rivers with the stream power law
dz/dt = U - K A^m dz/dx, solved implicitly from the outlets upstream (Braun and Willett 2013,
Geomorphology 180, for n = 1), from a coarse raster to the final one. What comes out has the
dendritic networks, concave profiles and divides of a landscape that rivers made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pyflwdir
from pyflwdir.dem import fill_depressions
from pyproj import Geod
from scipy import ndimage

from pipeline.errors import RunError
from pipeline.sample.world import DEM_PER_PIXEL, World

AREA_EXPONENT = 0.45  # m of the stream power law
ERODIBILITY = 0.25  # K times the time step, relative to the pixel's width
UPLIFT = 2.0  # [m] a step
LEVELS = ((8, 60), (4, 25), (2, 10), (1, 6))  # (coarsening, steps)
MIN_ELEVATION = 120.0  # [m] above sea level
MIN_DROP = 0.02  # [m] from a pixel to the next downstream: no pits, no flats
RESOLUTION = 0.01  # [m] of the written elevations
BORDER = 8  # terrain pixels next to the raster's edge that no watershed may touch


@dataclass(frozen=True)
class Basin:
    """A delineated watershed.

    Attributes:
        mask: bool (rows, columns) of the terrain, everything upstream of the outlet, with it.
        distance: float64 (rows, columns), metres along the D8 path to the outlet's centre, NaN
            outside the mask.
        pixel: flat index of the outlet's pixel.
        outlet: longitude and latitude of its centre [degrees].
        area: area of the mask [m2] on the ellipsoid.
        parent: index of the smallest other watershed that contains this one, or None.
    """

    mask: np.ndarray
    distance: np.ndarray
    pixel: int
    outlet: tuple[float, float]
    area: float
    parent: int | None


def spectral_noise(shape: tuple[int, int], exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Make periodic Gaussian noise with power ~ wavenumber^-exponent, mean 0, variance 1."""
    wavenumber = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    wavenumber[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * wavenumber ** (-exponent / 2)
    noise = np.fft.irfft2(spectrum, s=shape)
    return (noise - noise.mean()) / noise.std()


def resample(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate `field` bilinearly to `shape` over the same extent."""
    zoom = (shape[0] / field.shape[0], shape[1] / field.shape[1])
    return ndimage.zoom(field, zoom, order=1, mode="nearest", grid_mode=True)


@numba.njit(cache=True)
def _incise(
    elevation: np.ndarray, downstream: np.ndarray, order: np.ndarray, factor: np.ndarray
) -> None:
    """One implicit step: each pixel moves towards its downstream neighbour, outlets first."""
    for i in order:
        j = downstream[i]
        if i != j:
            elevation[i] = (elevation[i] + factor[i] * elevation[j]) / (1 + factor[i])


@numba.njit(cache=True)
def _drain(elevation: np.ndarray, downstream: np.ndarray, order: np.ndarray, drop: float) -> None:
    """Lift pixels so that each lies `drop` above its downstream neighbour, outlets first."""
    for i in order:
        j = downstream[i]
        if i != j and elevation[i] < elevation[j] + drop:
            elevation[i] = elevation[j] + drop


@numba.njit(cache=True)
def _add_up(length: np.ndarray, downstream: np.ndarray, order: np.ndarray) -> None:
    """Turn the length of each pixel's own step into that of its whole path, outlets first."""
    for i in order:
        if i != downstream[i]:
            length[i] += length[downstream[i]]


def _flow(elevation: np.ndarray) -> tuple[np.ndarray, pyflwdir.FlwdirRaster]:
    filled, d8 = fill_depressions(elevation)
    return filled, pyflwdir.from_array(d8, ftype="d8", check_ftype=False)


def make_elevation(world: World, rng: np.random.Generator) -> np.ndarray:
    """Make elevations float32 (rows, columns) [m] without pits: every pixel drains to the edge."""
    uplift = spectral_noise((128, 128), 3.0, rng)
    erodibility = spectral_noise((256, 256), 2.0, rng)
    elevation: np.ndarray | None = None
    for coarsening, steps in LEVELS:
        shape = (-(-world.dem_shape[0] // coarsening), -(-world.dem_shape[1] // coarsening))
        noise = spectral_noise(shape, 2.2, rng)
        plain = (
            60 * np.linspace(1, 0, shape[1])[None, :] + 40 * np.linspace(1, 0, shape[0])[:, None]
        )
        if elevation is None:
            elevation = plain + 20 + 10 * noise
        else:
            elevation = resample(elevation, shape) + 1.5 * noise
        inner = np.zeros(shape, dtype=bool)
        inner[1:-1, 1:-1] = True
        elevation = np.where(inner, elevation, plain + 3 * noise)
        rise = np.where(inner, UPLIFT * np.exp(0.5 * resample(uplift, shape)), 0.0)
        strength = ERODIBILITY / coarsening * np.exp(0.4 * resample(erodibility, shape)).ravel()
        for _ in range(steps):
            elevation, flow = _flow(elevation + rise)
            area = flow.upstream_area().ravel().astype(np.float64) * coarsening**2
            _incise(
                elevation.reshape(-1), flow.idxs_ds, flow.idxs_seq, strength * area**AREA_EXPONENT
            )
    assert elevation is not None
    elevation, flow = _flow(elevation)
    _drain(elevation.reshape(-1), flow.idxs_ds, flow.idxs_seq, MIN_DROP)
    elevation += MIN_ELEVATION - elevation.min()
    return (np.round(elevation / RESOLUTION) * RESOLUTION).astype(np.float32)


def path_lengths(flow: pyflwdir.FlwdirRaster, world: World) -> np.ndarray:
    """Return metres along the D8 path from each pixel's centre to the raster's edge, (pixels,)."""
    lon, lat = world.dem_centres
    downstream = flow.idxs_ds.astype(np.int64)
    here, there = (np.unravel_index(i, flow.shape) for i in (np.arange(flow.size), downstream))
    _, _, length = Geod(ellps="WGS84").inv(
        *(lon[here[1]], lat[here[0]], lon[there[1]], lat[there[0]])
    )
    _add_up(length, flow.idxs_ds, flow.idxs_seq)
    return length


def delineate(world: World, elevation: np.ndarray, rng: np.random.Generator) -> list[Basin]:
    """Place the world's gauges on the rivers of the terrain and trace their watersheds.

    Raises:
        RunError: the terrain has no river left for one of the gauges.
    """
    flow = pyflwdir.from_dem(elevation)
    area = flow.accuflux(world.dem_area).ravel()
    length = path_lengths(flow, world)
    border = np.ones(flow.shape, dtype=np.int32)
    border[BORDER:-BORDER, BORDER:-BORDER] = 0
    whole = flow.accuflux(border).ravel() == 0
    cell = float(world.grid.cell_area.mean())
    basins: list[Basin] = []
    for number, gauge in enumerate(world.gauges):
        allowed = whole & (area > 0.3 * gauge.cells * cell)
        related = set()
        parent = gauge.inside
        while parent is not None:
            around = basins[parent]
            upstream = (around.distance > 0.2 * np.nanmax(around.distance)).ravel()
            allowed &= upstream & (area < 0.8 * around.area)
            related.add(parent)
            parent = around.parent
        for index, other in enumerate(basins):
            if index not in related:
                allowed &= ~other.mask.ravel() & ~_below(flow, other)
        candidates = np.flatnonzero(allowed)
        if candidates.size == 0:
            raise RunError(
                f"sample: seed {world.seed}: no river for gauge {number} of {gauge.cells} cells"
            )
        misfit = np.abs(np.log(area[candidates] / (gauge.cells * cell)))
        near = candidates[misfit <= max(0.06, misfit.min())]
        outlet = int(rng.choice(near))
        basins.append(_trace(flow, world, outlet, area, length, gauge.inside))
    return basins


def rain_pixels(world: World, basin: Basin) -> np.ndarray:
    """Flat indices of the rain pixels that a watershed touches, ascending."""
    row, column = np.nonzero(basin.mask)
    return np.unique(row // DEM_PER_PIXEL * world.shape[1] + column // DEM_PER_PIXEL)


def innermost(world: World, basins: list[Basin]) -> np.ndarray:
    """Index of the smallest watershed around each terrain pixel, (rows, columns); outside: n."""
    index = np.full(world.dem_shape, len(basins))
    for number in sorted(range(len(basins)), key=lambda i: -basins[i].area):
        index[basins[number].mask] = number
    return index


def _below(flow: pyflwdir.FlwdirRaster, basin: Basin) -> np.ndarray:
    """Return the pixels that the outflow of `basin` passes: their watersheds would contain it."""
    below = np.zeros(flow.size, dtype=bool)
    pixel = basin.pixel
    while not below[pixel]:
        below[pixel] = True
        pixel = flow.idxs_ds[pixel]
    return below


def _trace(
    flow: pyflwdir.FlwdirRaster,
    world: World,
    outlet: int,
    area: np.ndarray,
    length: np.ndarray,
    parent: int | None,
) -> Basin:
    mask = flow.basins(idxs=np.array([outlet])) > 0
    lon, lat = world.dem_centres
    row, column = divmod(outlet, flow.shape[1])
    return Basin(
        mask=mask,
        distance=np.where(mask, (length - length[outlet]).reshape(flow.shape), np.nan),
        pixel=outlet,
        outlet=(float(lon[column]), float(lat[row])),
        area=float(area[outlet]),
        parent=parent,
    )
