"""From the coordinates in a file of several dimensions to where its pixels lie.

A file may say it twice: by axes along rows and columns, and by a latitude and a longitude of every
pixel. Then both have to agree, unless the catalog says which counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.pixels import Axes, Curvilinear, Location, degrees_of, edges_of

DEGREES_NORTH = re.compile(r"degrees?_?n(orth)?$", re.IGNORECASE)
DEGREES_EAST = re.compile(r"degrees?_?e(ast)?$", re.IGNORECASE)
METRES = {"m": 1.0, "km": 1e3}
LENGTHS = re.compile(r"(k(?:ilo)?)?m(?:et(?:er|re)s?)?$", re.IGNORECASE)
ROUND = 360.0  # degrees of longitude
APART = 0.5  # pixels by which two accounts of one place may differ


@dataclass(frozen=True, eq=False)
class Axis:
    """The numbers along rows or columns, shape (n,), and what the file calls them."""

    name: str
    values: NDArray[np.float64]
    units: str = ""
    standard_name: str = ""

    @property
    def in_degrees(self) -> bool:
        """Whether they are latitudes or longitudes."""
        if self.standard_name in ("latitude", "longitude"):
            return True
        if DEGREES_NORTH.match(self.units) or DEGREES_EAST.match(self.units):
            return not self.standard_name.startswith("grid_")
        named = self.name.lower() in ("lat", "latitude", "lon", "longitude")
        return named and self.units.lower() in ("", "degree", "degrees")

    @property
    def metres(self) -> float | None:
        """Metres that a unit of them is; None where it is no length."""
        length = LENGTHS.match(self.units)
        return None if length is None else METRES["km" if length[1] else "m"]

    @property
    def span(self) -> str:
        """From the first to the last, in words."""
        return f"{self.name} {self.values[0]:g}..{self.values[-1]:g} {self.units}".rstrip()


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What a file says of where its pixels lie; None where it says nothing.

    Attributes:
        y, x: axes along rows and columns.
        latitude, longitude: of the pixels' centres [degrees], (rows, columns).
        crs: of the axes.
    """

    y: Axis | None
    x: Axis | None
    latitude: NDArray[np.float64] | None
    longitude: NDArray[np.float64] | None
    crs: CRS | None


def place_pixels(path: Location, said: Coordinates, source: RasterSource) -> Axes | Curvilinear:
    """Where the pixels lie.

    Raises:
        InputError: the file does not say it, or says it twice and differently.
    """
    crs = catalog_crs(source) or said.crs
    axes = _by_axes(path, said, crs) if source.place_by != "latlon" else None
    mesh = _by_mesh(path, said) if source.place_by != "axes" else None
    if axes is not None and mesh is not None:
        _require_agreement(path, said, axes, mesh)
    if axes is None and mesh is not None and source.place_by is None:
        _require_direction(path, said, mesh)
    found = axes or mesh
    if source.crs is not None and found is not None and found is not axes:
        raise InputError(
            f"{path}: its pixels are placed by latitude and longitude: expected no crs in the "
            f"catalog, which says {source.crs!r}"
        )
    if found is None:
        known = [axis.span for axis in (said.y, said.x) if axis is not None]
        raise InputError(
            f"{path}: {' and '.join(known) or 'no coordinate'}, "
            f"{'in ' + crs.name if crs else 'without a CRS'}: expected latitudes and longitudes, "
            "or axes with a projected CRS, in the file or the catalog (crs, axes, place_by)"
        )
    return found


def catalog_crs(source: RasterSource) -> CRS | None:
    """The CRS that the catalog gives.

    Raises:
        InputError: it is none.
    """
    if source.crs is None:
        return None
    try:
        return CRS.from_user_input(source.crs)
    except CRSError as error:
        raise InputError(f"crs {source.crs!r}: expected an EPSG code, WKT or PROJ text") from error


def _by_axes(path: Location, said: Coordinates, crs: CRS | None) -> Axes | None:
    if said.y is None or said.x is None:
        return None
    geographic = said.y.in_degrees and said.x.in_degrees
    if geographic and crs is not None and crs.is_projected:
        raise InputError(
            f"{path}: {said.y.span} and {said.x.span}: expected axes of the CRS {crs.name}, or no "
            "projected one"
        )
    projected = crs is not None and (crs.is_projected or crs.is_derived) and not geographic
    plain = crs is not None and crs.is_geographic and not crs.is_derived
    unlike = said.y.metres is not None or said.y.standard_name.startswith("grid_")
    if not (geographic or projected or (plain and not unlike)):
        return None
    x, y = said.x.values, said.y.values
    if projected:
        assert crs is not None
        unit = crs.axis_info[0].unit_conversion_factor  # metres, of a rotated pole radians
        x = x * ((said.x.metres or unit) / unit)
        y = y * ((said.y.metres or unit) / unit)
    else:
        x = np.unwrap(x, period=ROUND)
    return Axes(
        edges_of(x, f"{path}: {said.x.name}"),
        edges_of(y, f"{path}: {said.y.name}"),
        crs if projected else None,
    )


def _by_mesh(path: Location, said: Coordinates) -> Curvilinear | None:
    if said.latitude is None or said.longitude is None:
        return None
    latitude, longitude = said.latitude, said.longitude
    if not (np.isfinite(latitude).all() and np.isfinite(longitude).all()):
        missing = int((~np.isfinite(latitude) | ~np.isfinite(longitude)).sum())
        raise InputError(
            f"{path}: {missing} pixels have no latitude or longitude: expected one for each"
        )
    if np.abs(latitude).max() > 90:
        raise InputError(
            f"{path}: latitudes {latitude.min():g}..{latitude.max():g}: expected -90..90"
        )
    return Curvilinear(latitude, longitude)


def _require_agreement(path: Location, said: Coordinates, axes: Axes, mesh: Curvilinear) -> None:
    """Axes and latitudes and longitudes put the corners and the middle at the same places."""
    rows, columns = mesh.latitude.shape
    some = [np.array([0, size // 2, size - 1]) for size in (rows, columns)]
    row, column = (index.ravel() for index in np.meshgrid(*some, indexing="ij"))
    x = ((axes.x_edges[:-1] + axes.x_edges[1:]) / 2)[column]
    y = ((axes.y_edges[:-1] + axes.y_edges[1:]) / 2)[row]
    if axes.crs is not None:
        to_degrees = Transformer.from_crs(axes.crs, degrees_of(axes.crs), always_xy=True)
        x, y = to_degrees.transform(x, y)
    latitude, longitude = mesh.latitude[row, column], mesh.longitude[row, column]
    east = (longitude - x + ROUND / 2) % ROUND - ROUND / 2
    apart = np.hypot(latitude - y, east * np.cos(np.radians(latitude)))
    pixel = np.hypot(*(np.ptp(a) / max(rows, columns) for a in (mesh.latitude, mesh.longitude)))
    worst = int(np.nanargmax(np.where(np.isfinite(apart), apart, np.inf)))
    if not apart[worst] <= APART * pixel:
        assert said.y is not None
        assert said.x is not None
        raise InputError(
            f"{path}: row {row[worst]}, column {column[worst]} lies at {y[worst]:.4f} N, "
            f"{x[worst]:.4f} E by the axes ({said.y.span}, {said.x.span}), but at "
            f"{latitude[worst]:.4f} N, {longitude[worst]:.4f} E by latitude and longitude: "
            "expected the same, or that the catalog says which counts (place_by: axes or latlon)"
        )


def _require_direction(path: Location, said: Coordinates, mesh: Curvilinear) -> None:
    """An axis in units of length runs the way that the latitudes or longitudes do."""
    turned = np.unwrap(mesh.longitude, period=ROUND, axis=1)
    for axis, centres, name, at in (
        (said.y, mesh.latitude, "latitude", 0),
        (said.x, turned, "longitude", 1),
    ):
        if axis is None or not (axis.metres or axis.in_degrees):
            continue
        first, last = (float(centres.take(k, axis=at).mean()) for k in (0, -1))
        if (last - first) * (axis.values[-1] - axis.values[0]) < 0:
            raise InputError(
                f"{path}: {axis.span} {'ascends' if last < first else 'descends'}, but {name} runs "
                f"from {first:.4f} to {last:.4f} along it: expected one direction, or that the "
                "catalog says which counts (place_by: axes or latlon)"
            )
