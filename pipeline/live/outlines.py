"""Outlines of watersheds, simplified for a map of a few hundred pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

DETAIL = 500  # of the map's width or height


def simplify_outlines(outlines: Sequence[str], bounds: tuple[float, ...]) -> list[bytes]:
    """Simplify outlines to what a map of all shows.

    Args:
        outlines: WKT of polygons in longitude and latitude.
        bounds: west, south, east and north of the map [degrees].

    Returns:
        For each the points of its parts, float32 longitudes and latitudes by turns, a pair of NaN
        between parts. Holes are left out.
    """
    shapes = shapely.from_wkt(list(outlines))
    west, south, east, north = bounds
    finest = max(east - west, north - south) / DETAIL
    packed = []
    for shape in shapely.simplify(shapes, finest):
        largest, *others = sorted(shapely.get_parts(shape), key=lambda part: -part.area)
        rings = [shapely.get_coordinates(largest.exterior)]
        for part in others:
            if part.area > finest**2:
                rings += [np.full((1, 2), np.nan), shapely.get_coordinates(part.exterior)]
        points = np.concatenate(rings)
        packed.append(points.astype(np.float32).tobytes())
    return packed


def unpack_outline(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of what `simplify_outlines` packed, NaN between parts."""
    points = np.frombuffer(content, np.float32).reshape(-1, 2)
    return points[:, 0], points[:, 1]
