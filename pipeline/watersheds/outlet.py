"""Find the outlet of a watershed on its terrain: the pixel that drains what its polygon holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.errors import InputError
from pipeline.units import M2_PER_KM2
from pipeline.watersheds.flow_directions import DEM_MARGIN, NoPixelError, TerrainRaster
from pipeline.watersheds.flow_field import FlowField
from pipeline.watersheds.points import points_inside
from pipeline.watersheds.polygons import Watershed

D8_MARGIN = 16  # pixels around the polygon and the search radius, where directions are known
WIDER = (0.0, 0.25, 1.0)  # shares of the polygon's longer side that are added until a basin fits
MIN_AGREEMENT = 0.9  # a lower one is believed in the widest window only


@dataclass(frozen=True, eq=False)
class Outlet:
    """The outlet of a watershed in a flow field.

    Attributes:
        field: flow directions around the watershed.
        pixel: (row, column) of the outlet.
        agreement: of its upstream area with the polygon: intersection over union, 0..1.
        inside: whether a valid pixel has its centre in the polygon, bool (rows, columns).
    """

    field: FlowField
    pixel: tuple[int, int]
    agreement: float
    inside: np.ndarray

    @property
    def upstream_area(self) -> float:
        """Area that drains to the outlet [m2]."""
        return float(self.field.upstream_area[self.pixel])


def find_outlet(terrain: TerrainRaster, watershed: Watershed, snap: float) -> Outlet:
    """Find the outlet in a window of a raster that holds what drains to it.

    A pixel whose upstream area reaches a side at which the window cuts the raster may drain more
    than the window shows. If the best outlet is such a pixel, or agrees badly with the polygon, the
    window is widened; in the widest, such pixels belong to greater rivers and are left out.

    Args:
        terrain: the raster.
        watershed: with its polygon.
        snap: search radius around the polygon [m].

    Raises:
        InputError: the raster has no pixel in the polygon, or water of the polygon flows only
            through pixels of greater rivers; as `TerrainRaster.flow_field`.
    """
    for share in WIDER[:-1]:
        outlet = _outlet_in_window(terrain, watershed, snap, share, complete=False)
        field = outlet.field
        fits = outlet.agreement >= MIN_AGREEMENT and not field.truncated[outlet.pixel]
        if fits or not any(field.cut):
            return outlet
        del field, outlet  # before a larger one is read
    return _outlet_in_window(terrain, watershed, snap, WIDER[-1], complete=True)


def _outlet_in_window(
    terrain: TerrainRaster, watershed: Watershed, snap: float, share: float, *, complete: bool
) -> Outlet:
    """Read a window around the polygon, its search radius and margins, and locate the outlet."""
    margin = D8_MARGIN if terrain.has_directions else DEM_MARGIN
    window = terrain.window_around(watershed.polygon, snap, margin, share)
    try:
        if window is None:
            raise NoPixelError
        return locate_outlet(terrain.flow_field(window), watershed, snap, complete=complete)
    except NoPixelError:
        raise _no_pixel(terrain, watershed) from None


def require_pixels(terrain: TerrainRaster, watersheds: Sequence[Watershed]) -> None:
    """Require that a raster reaches each watershed, without reading its pixels.

    Raises:
        InputError: it does not reach one.
    """
    for watershed in watersheds:
        if terrain.window_around(watershed.polygon, reach=0.0, margin=0, share=0.0) is None:
            raise _no_pixel(terrain, watershed)


def _no_pixel(terrain: TerrainRaster, watershed: Watershed) -> InputError:
    (west, south, east, north), span = watershed.polygon.bounds, terrain.span
    return InputError(
        f"{terrain.path}: spans {span[0]:.4f}..{span[2]:.4f}, {span[1]:.4f}..{span[3]:.4f}: "
        f"expected pixels in the watershed of {watershed.site_no}, {west:.4f}..{east:.4f}, "
        f"{south:.4f}..{north:.4f}"
    )


def locate_outlet(
    field: FlowField, watershed: Watershed, snap: float, *, complete: bool = True
) -> Outlet:
    """Locate the outlet in a flow field.

    It is the pixel in the polygon, or within `snap` metres of it, whose upstream area agrees best
    with the polygon: greatest intersection over union. A larger river that touches the polygon
    drains more, and agrees less.

    Args:
        field: flow directions.
        watershed: with its polygon.
        snap: search radius [m].
        complete: whether the upstream area has to lie in the field.

    Raises:
        NoPixelError: no valid pixel in the polygon.
        InputError: no pixel of the polygon drains to a complete outlet.
    """
    inside, near = _masks(field, watershed, snap)
    if not inside.any():
        raise NoPixelError(f"{field.source}: has no pixel in the watershed of {watershed.site_no}")
    inner_area = np.where(inside, field.area, 0.0)
    within = field.accumulate(inner_area)[near]
    upstream_area = field.upstream_area[near]
    agreement = within / (upstream_area + inner_area.sum() - within)
    if complete:
        agreement[field.truncated[near]] = 0.0
        if not agreement.any():
            least = upstream_area[within > 0].min()
            raise InputError(
                f"{field.source}: traces more than {least / M2_PER_KM2:.4g} km2 to every outlet of "
                f"{watershed.site_no}: expected about its polygon's "
                f"{watershed.area / M2_PER_KM2:.4g} km2"
            )
    best = int(agreement.argmax())
    row, column = (int(axis[best]) for axis in np.nonzero(near))
    return Outlet(field, (row, column), float(agreement[best]), inside)


def _masks(field: FlowField, watershed: Watershed, snap: float) -> tuple[np.ndarray, np.ndarray]:
    """Find valid pixels with their centre in the polygon, and those within `snap` metres of it."""
    touched = points_inside(watershed.polygon, field.to_pixels, field.valid.shape)
    inside = touched & field.valid
    if not inside.any():
        return inside, inside
    side = np.sqrt(field.area[inside].mean())
    near = distance_transform_edt(~touched) * side <= snap
    return inside, near & field.valid
