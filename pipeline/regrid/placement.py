"""Where the pixels of a raster lie: along axes of a reference system, or around known centres.

A dataset may give both: coordinates along rows and columns, and a latitude and a longitude of
every pixel. Then the two have to agree in position, or without a CRS in direction, unless the
caller says which of them counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.errors import InputError
from pipeline.regrid.axis import Coordinates, UndecidedError
from pipeline.regrid.grid import Grid
from pipeline.regrid.separable import FULL_TURN, SeparableWeights, separable_weights

if TYPE_CHECKING:
    from pipeline.regrid.projected import OverlapWeights

Bounds: TypeAlias = tuple[float, float, float, float]
Weights: TypeAlias = Union[SeparableWeights, "OverlapWeights"]

APART = 0.75  # rows or columns by which two accounts of one position may differ
DOUBTFUL = 0.25  # rows or columns from which on a difference is worth a word
REACH = 8  # pixels, if there are as many, over which the width of a pixel is measured
SAMPLES = 256  # rows or columns that are enough to tell a direction
MOST = 0.9  # share of steps that run against an axis where it contradicts latitude or longitude


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
        found.x.edges(x),
        found.y.edges(y),
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


def doubt_of(found: Coordinates, placement: Axes | Curvilinear) -> str | None:
    """Say by how much the axes, which are used, differ from the latitudes and longitudes.

    Rows from pole to pole have to end at both.

    Returns:
        None where there is nothing to compare, or the difference is small. Half a pixel suggests
        that one of them names corners.
    """
    if isinstance(placement, Curvilinear):
        return None
    mesh = _by_mesh(found)
    if mesh is None:
        return _doubt_of_poles(found, placement)
    rows, columns = np.abs(_compare(placement, mesh).offset).max(0)
    if max(rows, columns) < DOUBTFUL:
        return None
    assert found.y is not None
    assert found.x is not None
    return (
        f"{found.y.span} and {found.x.span} lie up to {rows:.2f} rows and {columns:.2f} columns "
        "from where latitude and longitude put the middles of pixels"
    )


def _doubt_of_poles(found: Coordinates, placement: Axes) -> str | None:
    """Say that rows that would reach from pole to pole are shifted along the meridian."""
    edges = placement.y_edges
    beyond = float(np.abs(edges).max()) - 90
    row = abs(edges[-1] - edges[0]) / (edges.size - 1)
    globe = abs(abs(edges[-1] - edges[0]) - 180) < DOUBTFUL * row
    if placement.crs is not None or not globe or beyond < DOUBTFUL * row:
        return None
    assert found.y is not None
    return f"{found.y.span} would end {beyond:g} degrees beyond a pole, and before the other"


@dataclass(frozen=True, eq=False)
class _Compared:
    """Positions of corners and middle of a raster by both accounts, (points,) each.

    Attributes:
        row, column: the pixels.
        x, y: longitudes and latitudes by the axes [degrees].
        offset: rows and columns from there to the latitude and longitude, (points, 2).
        apart: greatest of both, and of the distance in pixels; NaN outside the projection.
    """

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    offset: NDArray[np.float64]
    apart: NDArray[np.float64]


def _compare(axes: Axes, mesh: Curvilinear) -> _Compared:
    """Compare positions of corners and middle on the unit sphere, in local pixels of the mesh."""
    shape = mesh.latitude.shape
    some = [np.array([0, size // 2, size - 1]) for size in shape]
    row, column = (index.ravel() for index in np.meshgrid(*some, indexing="ij"))
    x = ((axes.x_edges[:-1] + axes.x_edges[1:]) / 2)[column]
    y = ((axes.y_edges[:-1] + axes.y_edges[1:]) / 2)[row]
    if axes.crs is not None:
        to_degrees = Transformer.from_crs(axes.crs, degrees_of(axes.crs), always_xy=True)
        x, y = to_degrees.transform(x, y)
        x, y = np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan)

    def centre(row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[np.float64]:
        return _on_sphere(mesh.longitude[row, column], mesh.latitude[row, column])

    here, steps = centre(row, column), []
    for axis, at in enumerate((row, column)):
        reach = min(REACH, max(1, (shape[axis] - 1) // 2))
        to = np.where(at + reach < shape[axis], at + reach, at - reach)
        there = centre(to, column) if axis == 0 else centre(row, to)
        steps.append((there - here) / (to - at)[:, None])
    moved = here - _on_sphere(x, y)
    offset = (np.linalg.pinv(np.stack(steps, -1)) @ moved[:, :, None])[:, :, 0]
    width = sum(np.linalg.norm(step, axis=1) for step in steps)
    distance = np.linalg.norm(moved, axis=1) / np.maximum(width, np.finfo(np.float64).tiny)
    return _Compared(row, column, x, y, offset, np.maximum(np.abs(offset).max(1), distance))


def _on_sphere(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points of the unit sphere, (points, 3)."""
    x, y = np.radians(longitude), np.radians(latitude)
    return np.stack((np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)), -1)


def _require_agreement(found: Coordinates, axes: Axes, mesh: Curvilinear) -> None:
    """Require the same position of corners and middle by the axes and by latitude and longitude.

    Raises:
        UndecidedError: positions that differ by more than `APART` rows or columns.
    """
    both = _compare(axes, mesh)
    worst = int(np.argmax(np.where(np.isfinite(both.apart), both.apart, np.inf)))
    if both.apart[worst] <= APART:
        return
    assert found.y is not None
    assert found.x is not None
    row, column = both.row[worst], both.column[worst]
    raise UndecidedError(
        f"row {row}, column {column} lies at {both.y[worst]:.4f} N, {both.x[worst]:.4f} E by the "
        f"axes ({found.y.span}, {found.x.span}), but at {mesh.latitude[row, column]:.4f} N, "
        f"{mesh.longitude[row, column]:.4f} E by latitude and longitude: expected the same "
        "position",
        "place_by",
    )


def _require_direction(found: Coordinates, mesh: Curvilinear) -> None:
    """Require that axes run as the latitudes and longitudes along them do.

    A map that is only turned, as one around a pole is, keeps its orientation; one that was
    reflected is upside down.

    Raises:
        UndecidedError: an axis descends where they ascend, or the other way round, or both
            together are a mirror image.
    """
    thin = tuple(slice(None, None, max(1, size // SAMPLES)) for size in mesh.latitude.shape)
    latitude, longitude = mesh.latitude[thin], mesh.longitude[thin]
    upward: list[float] = []
    for axis, centres, name, at in (
        (found.y, latitude, "latitude", 0),
        (found.x, longitude, "longitude", 1),
    ):
        if axis is None or min(centres.shape) < 2 or axis.counts:
            continue
        upward.append(np.sign(axis.values[-1] - axis.values[0]))
        if (upward[-1] * _steps(centres, at) < 0).mean() > MOST:
            first, last = (float(centres.take(k, axis=at).mean()) for k in (0, -1))
            raise UndecidedError(
                f"{axis.span} {'ascends' if upward[-1] > 0 else 'descends'}, but {name} runs "
                f"from {first:.4f} to {last:.4f} along it: expected one direction",
                "place_by",
            )
    if len(upward) < 2:
        return
    turn = (
        _steps(longitude, 1)[:-1] * _steps(latitude, 0)[:, :-1]
        - _steps(longitude, 0)[:, :-1] * _steps(latitude, 1)[:-1]
    )
    if (upward[0] * upward[1] * turn < 0).mean() > 0.5:
        assert found.y is not None
        assert found.x is not None
        raise UndecidedError(
            f"{found.y.span} and {found.x.span} are a mirror image of latitudes "
            f"{latitude[0, 0]:.4f}..{latitude[-1, -1]:.4f} and longitudes "
            f"{longitude[0, 0]:.4f}..{longitude[-1, -1]:.4f}: expected one orientation",
            "place_by",
        )


def _steps(degrees: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Differences along an axis, the short way round."""
    steps = np.diff(degrees, axis=axis)
    return steps - FULL_TURN * np.rint(steps / FULL_TURN)
