"""Where the pixels of a raster lie: along axes of a reference system, or around known centres.

A dataset may give both: coordinates along rows and columns, and a latitude and a longitude of
every pixel. Then the two have to agree, unless the caller says which of them counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.regrid.separable import FULL_TURN, SeparableWeights, separable_weights

if TYPE_CHECKING:
    from pipeline.regrid.projected import OverlapWeights

Bounds: TypeAlias = tuple[float, float, float, float]
Weights: TypeAlias = Union[SeparableWeights, "OverlapWeights"]

DEGREES_NORTH = re.compile(r"degrees?_?n(orth)?$", re.IGNORECASE)
DEGREES_EAST = re.compile(r"degrees?_?e(ast)?$", re.IGNORECASE)
METRES = {"m": 1.0, "km": 1e3}
LENGTHS = re.compile(r"(k(?:ilo)?)?m(?:et(?:er|re)s?)?$", re.IGNORECASE)
REGULAR = 1e-2  # centres within this share of a pixel of an even spacing count as evenly spaced
APART = 0.5  # pixels by which two descriptions of one position may differ


class UndecidedError(InputError):
    """Metadata that leave open where pixels lie.

    Attributes:
        setting: what the caller may state to decide it: `axes`, `crs` or `place_by`.
    """

    def __init__(self, message: str, setting: Literal["axes", "crs", "place_by"]) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True, eq=False)
class Axes:
    """Pixels bounded by lines of constant x and y in a reference system.

    Attributes:
        x_edges, y_edges: edges of the columns and rows, ascending or descending, in degrees where
            `crs` is None, else in the unit of the CRS.
        crs: projected reference system, or rotated pole; None for longitude and latitude.
    """

    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    crs: CRS | None

    def weights(self, grid: Grid) -> Weights:
        """Weights of the pixels in the cells of `grid`."""
        if self.crs is None:
            return separable_weights(self.x_edges, self.y_edges, grid)
        from pipeline.regrid.projected import projected_weights  # slow to import, rarely needed

        return projected_weights(self.x_edges, self.y_edges, self.crs, grid)

    @property
    def bounds(self) -> Bounds:
        """(west, south, east, north) in degrees."""
        if self.crs is None:
            x, y = self.x_edges, np.clip(self.y_edges, -90, 90)
            return float(x.min()), float(y.min()), float(x.max()), float(y.max())
        from pipeline.regrid.pixel_edges import projected_bounds

        return projected_bounds(self.x_edges, self.y_edges, self.crs)

    @property
    def span(self) -> str:
        """Extent as text, x then y."""
        x, y = self.x_edges, self.y_edges
        return f"{min(x):.6g}..{max(x):.6g}, {min(y):.6g}..{max(y):.6g}"


@dataclass(frozen=True, eq=False)
class Curvilinear:
    """Pixels known by their centres.

    Attributes:
        latitude, longitude: coordinates of the centres [degrees], float64 (rows, columns).
    """

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]

    def weights(self, grid: Grid) -> Weights:
        """Weights of the pixels in the cells of `grid`."""
        from pipeline.regrid.projected import curvilinear_weights

        return curvilinear_weights(self.latitude, self.longitude, grid)

    @property
    def bounds(self) -> Bounds:
        """(west, south, east, north) in degrees."""
        from pipeline.regrid.pixel_edges import curvilinear_bounds

        return curvilinear_bounds(self.latitude, self.longitude)

    @property
    def span(self) -> str:
        """Extent as text, x then y."""
        x, y = self.longitude, self.latitude
        return f"{x.min():.6g}..{x.max():.6g}, {y.min():.6g}..{y.max():.6g} (centres)"


def degrees_of(crs: CRS) -> CRS:
    """Geographic reference system that a projection, or a rotated pole, is based on."""
    found = crs.source_crs if crs.is_derived else crs.geodetic_crs
    assert found is not None, crs
    return found


def edges_of(centres: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """Edges of pixels with given centres, shape (n + 1,).

    They are evenly spaced where the centres are, otherwise midway between neighbouring centres.

    Raises:
        InputError: fewer than two centres, or centres that neither ascend nor descend; `name` is
            their name in the message.
    """
    centres = np.asarray(centres, np.float64)
    steps = np.diff(centres)
    if centres.size < 2 or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(
            f"{name} of {centres.size} coordinates from {centres[:1]} to {centres[-1:]}: expected "
            "two or more, ascending or descending"
        )
    step = (centres[-1] - centres[0]) / steps.size
    at = np.arange(centres.size)
    if np.abs(centres - (centres[0] + step * at)).max() <= REGULAR * abs(step):
        return centres[0] + step * (np.arange(centres.size + 1) - 0.5)
    middle = (centres[:-1] + centres[1:]) / 2
    ends = centres[0] - steps[0] / 2, centres[-1] + steps[-1] / 2
    return np.concatenate(([ends[0]], middle, [ends[1]]))


@dataclass(frozen=True, eq=False)
class Axis:
    """Coordinates along rows or columns, shape (n,), and their attributes."""

    name: str
    values: NDArray[np.float64]
    units: str = ""
    standard_name: str = ""

    @property
    def in_degrees(self) -> bool:
        """Whether the coordinates are latitudes or longitudes."""
        if self.standard_name in ("latitude", "longitude"):
            return True
        if DEGREES_NORTH.match(self.units) or DEGREES_EAST.match(self.units):
            return not self.standard_name.startswith("grid_")
        named = self.name.lower() in ("lat", "latitude", "lon", "longitude")
        return named and self.units.lower() in ("", "degree", "degrees")

    @property
    def metres(self) -> float | None:
        """Metres in one unit of the coordinates; None where the unit is not a length."""
        length = LENGTHS.match(self.units)
        return None if length is None else METRES["km" if length[1] else "m"]

    @property
    def span(self) -> str:
        """Name, first and last coordinate and unit, as text."""
        return f"{self.name} {self.values[0]:g}..{self.values[-1]:g} {self.units}".rstrip()


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What a dataset says about where its pixels lie; None where it says nothing.

    Attributes:
        y, x: axes along rows and columns.
        latitude, longitude: coordinates of the pixels' centres [degrees], (rows, columns).
        crs: reference system of the axes.
    """

    y: Axis | None
    x: Axis | None
    latitude: NDArray[np.float64] | None
    longitude: NDArray[np.float64] | None
    crs: CRS | None


def place_pixels(
    found: Coordinates, place_by: Literal["axes", "latlon"] | None = None
) -> Axes | Curvilinear:
    """Find where the pixels lie.

    Args:
        found: what the dataset says.
        place_by: which coordinates count where those along the axes and the latitudes and
            longitudes of all pixels disagree; None if they have to agree.

    Raises:
        InputError: coordinates that are not on the globe or not monotonic, or axes in degrees with
            a projected CRS.
        UndecidedError: the dataset gives no location, or two that differ.
    """
    axes = _by_axes(found) if place_by != "latlon" else None
    mesh = _by_mesh(found) if place_by != "axes" else None
    if axes is not None and mesh is not None:
        _require_agreement(found, axes, mesh)
    if axes is None and mesh is not None and place_by is None:
        _require_direction(found, mesh)
    placement = axes or mesh
    if placement is None:
        known = [axis.span for axis in (found.y, found.x) if axis is not None]
        raise UndecidedError(
            f"{' and '.join(known) or 'no coordinate'}, "
            f"{'in ' + found.crs.name if found.crs else 'without a CRS'}: expected latitudes and "
            "longitudes, or axes with a projected CRS",
            "crs",
        )
    return placement


def _by_axes(found: Coordinates) -> Axes | None:
    """Pixels between the edges of the axes; None where these are not in a known CRS."""
    if found.y is None or found.x is None:
        return None
    crs = found.crs
    geographic = found.y.in_degrees and found.x.in_degrees
    if geographic and crs is not None and crs.is_projected:
        raise InputError(
            f"{found.y.span} and {found.x.span} with the projected CRS {crs.name}: expected axes "
            "of that CRS, or a geographic one"
        )
    projected = crs is not None and (crs.is_projected or crs.is_derived) and not geographic
    plain = crs is not None and crs.is_geographic and not crs.is_derived
    unlike_degrees = found.y.metres is not None or found.y.standard_name.startswith("grid_")
    if not (geographic or projected or (plain and not unlike_degrees)):
        return None
    x, y = found.x.values, found.y.values
    if projected:
        assert crs is not None
        unit = crs.axis_info[0].unit_conversion_factor  # metres, of a rotated pole radians
        x = x * ((found.x.metres or unit) / unit)
        y = y * ((found.y.metres or unit) / unit)
    else:
        x = np.unwrap(x, period=FULL_TURN)
    return Axes(
        edges_of(x, found.x.name),
        edges_of(y, found.y.name),
        crs if projected else None,
    )


def _by_mesh(found: Coordinates) -> Curvilinear | None:
    """Pixels around the centres; None where these are not given."""
    if found.latitude is None or found.longitude is None:
        return None
    latitude, longitude = found.latitude, found.longitude
    if not (np.isfinite(latitude).all() and np.isfinite(longitude).all()):
        missing = int((~np.isfinite(latitude) | ~np.isfinite(longitude)).sum())
        raise InputError(f"{missing} pixels have no latitude or longitude: expected one for each")
    if np.abs(latitude).max() > 90:
        raise InputError(f"latitudes {latitude.min():g}..{latitude.max():g}: expected -90..90")
    return Curvilinear(latitude, longitude)


def _require_agreement(found: Coordinates, axes: Axes, mesh: Curvilinear) -> None:
    """Require the same position of corners and middle by the axes and by latitude and longitude.

    Raises:
        UndecidedError: positions that differ by more than `APART` pixels.
    """
    rows, columns = mesh.latitude.shape
    some = [np.array([0, size // 2, size - 1]) for size in (rows, columns)]
    row, column = (index.ravel() for index in np.meshgrid(*some, indexing="ij"))
    x = ((axes.x_edges[:-1] + axes.x_edges[1:]) / 2)[column]
    y = ((axes.y_edges[:-1] + axes.y_edges[1:]) / 2)[row]
    if axes.crs is not None:
        to_degrees = Transformer.from_crs(axes.crs, degrees_of(axes.crs), always_xy=True)
        x, y = to_degrees.transform(x, y)
    latitude, longitude = mesh.latitude[row, column], mesh.longitude[row, column]
    east = (longitude - x + FULL_TURN / 2) % FULL_TURN - FULL_TURN / 2
    apart = np.hypot(latitude - y, east * np.cos(np.radians(latitude)))
    pixel = np.hypot(*(np.ptp(a) / max(rows, columns) for a in (mesh.latitude, mesh.longitude)))
    worst = int(np.nanargmax(np.where(np.isfinite(apart), apart, np.inf)))
    if not apart[worst] <= APART * pixel:
        assert found.y is not None
        assert found.x is not None
        raise UndecidedError(
            f"row {row[worst]}, column {column[worst]} lies at {y[worst]:.4f} N, "
            f"{x[worst]:.4f} E by the axes ({found.y.span}, {found.x.span}), but at "
            f"{latitude[worst]:.4f} N, {longitude[worst]:.4f} E by latitude and longitude: "
            "expected the same position",
            "place_by",
        )


def _require_direction(found: Coordinates, mesh: Curvilinear) -> None:
    """Require that an axis ascends where the latitudes or longitudes along it do.

    Raises:
        UndecidedError: it descends there, or the other way round.
    """
    turned = np.unwrap(mesh.longitude, period=FULL_TURN, axis=1)
    for axis, centres, name, at in (
        (found.y, mesh.latitude, "latitude", 0),
        (found.x, turned, "longitude", 1),
    ):
        if axis is None or not (axis.metres or axis.in_degrees):
            continue
        first, last = (float(centres.take(k, axis=at).mean()) for k in (0, -1))
        if (last - first) * (axis.values[-1] - axis.values[0]) < 0:
            raise UndecidedError(
                f"{axis.span} {'ascends' if last < first else 'descends'}, but {name} runs "
                f"from {first:.4f} to {last:.4f} along it: expected one direction",
                "place_by",
            )
