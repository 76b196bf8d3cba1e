"""Delineate the watersheds of gauges on the terrain: all that drains to a gauge's pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation
from shapely.geometry import MultiPolygon, Point, Polygon

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.flow_directions import (
    DEM_MARGIN,
    NoPixelError,
    TerrainRaster,
    Window,
    open_terrain,
)
from pipeline.watersheds.flow_field import FlowField, Sides
from pipeline.watersheds.outlet_points import GaugePoint, SnappedOutlet, read_outlets
from pipeline.watersheds.pixel_outline import pixel_outline
from pipeline.watersheds.straight_distance import straight_distance

LOG = get_logger(__name__)
SNAP = 1000.0  # default distance [m] within which a gauge's river is looked for
TOLERANCE = 0.2  # default relative difference of the delineated from the known area
EDGE_TOLERANCE = 0.1  # likewise, if the watershed reaches the edge of the terrain
DISTANCE_COST = 0.1  # misfit of the area that counts as much as a way of `snap`
SAME_AREA = 0.01  # relative difference of the areas in two windows that agree
AMBIGUOUS = 0.8  # share of the chosen area that is drained already within half of `snap`
FIRST_AREA = 400 * M2_PER_KM2  # of a watershed whose area is not known, for the first window
FIRST_REACH = 2.0  # how far the first window reaches from a gauge, in square roots of its area


@dataclass(frozen=True, eq=False)
class Basin:
    """All pixels that drain to an outlet.

    Attributes:
        field: flow directions that hold them.
        outlet: index of the outlet in the field's pixels, row by row.
        moved: distance of its centre from the gauge [m].
        inside: whether a pixel drains to the outlet, bool (rows, columns).
    """

    field: FlowField
    outlet: int
    moved: float
    inside: np.ndarray

    @property
    def area(self) -> float:
        """Area of the pixels [m2]."""
        return float(self.field.upstream_area.ravel()[self.outlet])


@dataclass(frozen=True, eq=False)
class Delineation:
    """A watershed that was delineated; its polygon is in EPSG:4326."""

    gauge: GaugePoint
    outlet: SnappedOutlet
    polygon: Polygon | MultiPolygon


def delineate(catalog: Catalog) -> list[Delineation]:
    """Delineate the watersheds of the catalog's outlets, sorted by site number.

    Of the terrain a window around each gauge is read that holds its watershed. Nested gauges get
    their whole watersheds.

    Raises:
        InputError: an outlet is outside the terrain, no river near it drains the known area, a
            watershed reaches the edge of the terrain, or two outlets are one pixel; as
            `read_outlets`, `open_terrain` and `TerrainRaster.flow_field`.
    """
    settings, path = catalog.watersheds, catalog.watersheds_path
    snap, tolerance = settings.snap or SNAP, settings.area_tolerance or TOLERANCE
    terrain = open_terrain(catalog)
    done: list[Delineation] = []
    sites: dict[tuple[float, float], str] = {}
    for gauge in read_outlets(catalog):
        try:
            basin = find_basin(terrain, gauge, snap, tolerance)
        except OutletError as error:
            raise InputError(f"{path}: {gauge.site_no}: {error}") from None
        field = basin.field
        pixel = float(field.lon.flat[basin.outlet]), float(field.lat.flat[basin.outlet])
        # windows round differently
        other = sites.setdefault((round(pixel[0], 7), round(pixel[1], 7)), gauge.site_no)
        if other != gauge.site_no:
            raise InputError(
                f"{path}: {gauge.site_no} and {other} are both moved to the pixel at "
                f"{pixel[0]:.4f} {pixel[1]:.4f} of {terrain.path}: expected an outlet of its own "
                "for each (a smaller watersheds.snap, or known areas)"
            )
        done.append(
            Delineation(
                gauge,
                SnappedOutlet((gauge.lon, gauge.lat), pixel, basin.moved),
                pixel_outline(basin.inside, field.crs, field.transform),
            )
        )
    return done


class OutletError(InputError):
    """An outlet has no watershed on the terrain."""


def find_basin(
    terrain: TerrainRaster, gauge: GaugePoint, snap: float, tolerance: float = TOLERANCE
) -> Basin:
    """Find the pixel of a gauge and all that drains to it.

    Of the pixels whose centres lie within `snap` metres of the gauge, and the pixel that holds it,
    the outlet is the one with the least |ln(U / A)| + 0.1 d / snap: U is its upstream area, d its
    distance from the gauge, and A the known area or, if that is not known, the largest U. With a
    known area, only pixels within `tolerance` of it are taken.

    The window is widened to each side from which more water may come. Directions that are derived
    from elevations in a window may change with it: without a known area that confirms the
    watershed, two windows have to agree.

    Raises:
        OutletError: as `delineate`.
        InputError: as `TerrainRaster.flow_field`.
    """
    margin = 1 if terrain.has_directions else DEM_MARGIN
    reach = snap + FIRST_REACH * float(np.sqrt(gauge.area or FIRST_AREA))
    window = terrain.window_around(Point(gauge.lon, gauge.lat), reach, margin, 0.0)
    if window is None:
        west, south, east, north = terrain.span
        raise OutletError(
            f"at {gauge.lon:.4f} {gauge.lat:.4f}: expected a place in {terrain.path}, which spans "
            f"{west:.4f}..{east:.4f}, {south:.4f}..{north:.4f} (watersheds.crs, or x and y "
            "swapped?)"
        )
    confirmed = terrain.has_directions or gauge.area is not None
    last = np.nan  # area in the window before [m2]
    while True:
        try:
            field = terrain.flow_field(window)
        except NoPixelError:
            raise _no_pixel(terrain, gauge, snap) from None
        pixels, moved = _pixels_near(field, gauge, snap)
        if not pixels.size:
            raise _no_pixel(terrain, gauge, snap)
        undecided = _undecided(field, pixels, gauge, tolerance)
        if undecided.size:
            inside = field.drains_to(undecided)
        else:
            best = _best(field, pixels, moved, gauge, snap, tolerance)
            inside = field.drains_to(pixels[[best]])
        sides = _sides_reached(inside, field.cut, margin)
        more = 1 + max(field.valid.shape) // 2  # pixels
        if not any(sides):
            area = field.upstream_area.flat[pixels[best]]
            if confirmed or not any(field.cut) or abs(area / last - 1) < SAME_AREA:
                break
            sides, last, more = field.cut, area, 2 * margin
        window = _widened(window, sides, more, terrain.shape)
        del field, inside  # before a larger one is read
    basin = Basin(field, int(pixels[best]), float(moved[best]), inside)
    _require_whole(basin, gauge)
    if gauge.area is None:
        _warn_if_ambiguous(basin, gauge, pixels[moved <= snap / 2], snap)
    return basin


def _pixels_near(field: FlowField, gauge: GaugePoint, snap: float) -> tuple[np.ndarray, np.ndarray]:
    """Valid pixels within `snap` metres of a gauge, by index, and their distances from it [m].

    The pixel that holds the gauge is always among them, if it is valid.
    """
    rows, columns = field.valid.shape
    at = np.array(field.to_pixels(np.array(gauge.lon), np.array(gauge.lat)))[::-1]
    own = np.clip(np.round(at).astype(int), 0, (rows - 1, columns - 1))
    before = np.maximum(own - 1, 0)
    after = np.minimum(before + 1, (rows - 1, columns - 1))
    corner = field.lon[tuple(before)], field.lat[tuple(before)]
    sides = [  # of a pixel, along rows and columns
        straight_distance(field.lon[there], field.lat[there], corner)
        for there in ((after[0], before[1]), (before[0], after[1]))
    ]
    far = [int(2 + 1.1 * snap / side) if side > 0 else 1 for side in sides]
    part = tuple(
        slice(max(int(centre) - reach, 0), int(centre) + reach + 1)
        for centre, reach in zip(own, far, strict=True)
    )
    distance = straight_distance(field.lon[part], field.lat[part], (gauge.lon, gauge.lat))
    near = distance <= snap
    near[own[0] - part[0].start, own[1] - part[1].start] = True
    row, column = np.nonzero(near & field.valid[part])
    return (row + part[0].start) * columns + column + part[1].start, distance[row, column]


def _undecided(
    field: FlowField, pixels: np.ndarray, gauge: GaugePoint, tolerance: float
) -> np.ndarray:
    """Pixels to which more water may come than the window shows, so that one may be the outlet."""
    undecided = field.truncated.flat[pixels]
    if gauge.area is not None:
        undecided &= field.upstream_area.flat[pixels] <= gauge.area * (1 + tolerance)
    chosen: np.ndarray = pixels[undecided]
    return chosen


def _best(
    field: FlowField,
    pixels: np.ndarray,
    moved: np.ndarray,
    gauge: GaugePoint,
    snap: float,
    tolerance: float,
) -> int:
    """Position of the outlet among the pixels near a gauge.

    Raises:
        OutletError: none fits the known area.
    """
    upstream = field.upstream_area.flat[pixels]
    area = upstream.max() if gauge.area is None else gauge.area
    misfit = np.abs(np.log(upstream / area))
    fits = np.abs(upstream / area - 1) <= tolerance
    if gauge.area is not None and not fits.any():
        nearest = upstream[misfit.argmin()]
        raise OutletError(
            f"known area {area / M2_PER_KM2:.4g} km2: within {snap:g} m {field.source} has no "
            f"river of it, the nearest drains {nearest / M2_PER_KM2:.4g} km2 "
            f"({nearest / area - 1:+.0%}): expected within {tolerance:.0%} "
            "(another place, watersheds.crs, snap, area_units or area_tolerance?)"
        )
    return int(np.where(fits, misfit + DISTANCE_COST * moved / snap, np.inf).argmin())


def _sides_reached(inside: np.ndarray, cut: Sides, margin: int) -> Sides:
    """Sides at which the window cuts the raster and a basin comes within `margin` pixels of."""
    return Sides(
        north=cut.north and bool(inside[:margin].any()),
        south=cut.south and bool(inside[-margin:].any()),
        west=cut.west and bool(inside[:, :margin].any()),
        east=cut.east and bool(inside[:, -margin:].any()),
    )


def _widened(window: Window, sides: Sides, more: int, shape: tuple[int, int]) -> Window:
    """The window with `more` pixels at some sides."""
    rows, columns = window
    return (
        slice(
            max(rows.start - more * sides.north, 0), min(rows.stop + more * sides.south, shape[0])
        ),
        slice(
            max(columns.start - more * sides.west, 0),
            min(columns.stop + more * sides.east, shape[1]),
        ),
    )


def _require_whole(basin: Basin, gauge: GaugePoint) -> None:
    """Warn of, or refuse, a watershed that reaches the edge of the terrain.

    Water may come from beyond it. Terrain that was itself cut out along the watershed has the known
    area all the same.

    Raises:
        OutletError: its area is not known, or not the known one.
    """
    field, inside = basin.field, basin.inside
    edge = np.zeros_like(inside)
    edge[0], edge[-1] = not field.cut.north, not field.cut.south
    edge[:, 0] |= not field.cut.west
    edge[:, -1] |= not field.cut.east
    edge |= binary_dilation(~field.valid, np.ones((3, 3)))
    count = int((edge & inside).sum())
    if not count:
        return
    message = (
        f"its watershed of {basin.area / M2_PER_KM2:.4g} km2 reaches the edge of "
        f"{field.source} in {count} pixels, and may be cut off"
    )
    if gauge.area is None or abs(basin.area / gauge.area - 1) > EDGE_TOLERANCE:
        known = "" if gauge.area is None else f" of {gauge.area / M2_PER_KM2:.4g} km2"
        raise OutletError(
            f"{message}: expected terrain around it, or a known area{known} that agrees within "
            f"{EDGE_TOLERANCE:.0%}"
        )
    LOG.warning("%s: %s; its known area agrees", gauge.site_no, message)


def _warn_if_ambiguous(basin: Basin, gauge: GaugePoint, nearer: np.ndarray, snap: float) -> None:
    """Warn of an outlet without a known area that would be another one with half of `snap`."""
    upstream = basin.field.upstream_area.flat[nearer]
    largest = upstream.max(initial=0.0)
    if largest < AMBIGUOUS * basin.area:
        LOG.warning(
            "%s: moved %.0f m to a river of %.4g km2, the largest within %g m; within half of that "
            "the largest drains %.4g km2: a known area would decide",
            gauge.site_no, basin.moved, basin.area / M2_PER_KM2, snap, largest / M2_PER_KM2,
        )  # fmt: skip


def _no_pixel(terrain: TerrainRaster, gauge: GaugePoint, snap: float) -> OutletError:
    return OutletError(
        f"at {gauge.lon:.4f} {gauge.lat:.4f}: {terrain.path} has no valid pixel within {snap:g} m: "
        "expected one"
    )
