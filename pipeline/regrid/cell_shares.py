"""Overlaps of a grid's cells with pixels of any shape, as shares of the cells' areas.

Overlaps are computed in an equal-area plane in which the cells are rectangles: u runs east and
counts cells from the grid's western edge; s runs south and is the area of the zone from the grid's
northern edge, in mean cells. A pixel has four sides, each a chain of parabolas. Its share of a cell
follows from Green's theorem: every piece of a side adds the signed area between itself and the
cell's western edge, so the sum over the sides is the overlap, for convex pixels or not. Two
neighbouring pixels use the same points of their common side in opposite directions: what one loses
the other gains, and the shares of a covered cell add up to 1.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int32, int64, njit, types
from numpy.typing import NDArray

from pipeline.regrid.grid import Grid, zone_area
from pipeline.regrid.separable import SLIVER

# Largest area between a parabola and its straight pieces: relative to the square of its chord, and
# in mean cells however short the chord is.
RELATIVE_TOLERANCE = 1e-8
ABSOLUTE_TOLERANCE = 1e-12
MAX_SPAN = 1 / 4  # of a full turn: a pixel that spans more longitude than this contains a pole

Floats = NDArray[np.float64]
Shares = tuple[NDArray[np.int32], NDArray[np.int32], Floats, int, int, int]


def to_plane(longitude: Floats, latitude: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """Return the coordinates (u, s) of points [degrees] in the equal-area plane of a grid."""
    north, south = zone_area(grid.y_edges[[0, -1]])
    u = grid.to_cells(longitude) - grid.west
    return u, (north - zone_area(latitude)) * (grid.ny / (north - south))


def shares(
    rows: tuple[Floats, Floats], columns: tuple[Floats, Floats], grid: Grid, first_row: int
) -> Shares:
    """Compute every overlap of a pixel with a cell.

    Args:
        rows: (u, s) of points along the height + 1 row edges of the pixels, both of shape
            (height + 1, width * k + 1): each side has k + 1 points, k even, and every other one is
            the middle of a parabola. Pixels with a coordinate that is not finite are left out.
        columns: (u, s) along the column edges, shape (width + 1, height * k + 1), likewise.
        grid: the cells.
        first_row: number of the pixels' first row, added to `pixel`.

    Returns:
        cell: int32 (overlaps,), row-major number of the cell.
        pixel: int32 (overlaps,), row-major number of the pixel, ascending.
        share: float64 (overlaps,), share of the cell's area; a pair may occur more than once.
        clockwise, counterclockwise, polar: how many of the pixels that overlap the grid have their
            sides (first row, last column, last row, first column) in either order, and how many
            were left out because they span more than a quarter of the globe.
    """
    width, height = columns[0].shape[0] - 1, rows[0].shape[0] - 1
    assert width * (first_row + height) < 2**31, (first_row, height, width)
    k = (rows[0].shape[1] - 1) // width
    assert k % 2 == 0
    assert all(a.shape == (height + 1, width * k + 1) for a in rows)
    assert all(a.shape == (width + 1, height * k + 1) for a in columns)
    edges = to_plane(np.zeros(grid.ny + 1), grid.y_edges, grid)[1]
    lines = [np.ascontiguousarray(a) for a in (*rows, *columns)]
    return _shares(
        lines[0],
        lines[1],
        lines[2],
        lines[3],
        edges,
        grid.nx,
        k,
        first_row,
        float(grid.cells_around),
    )


@njit(cache=True, inline="always")
def _near(u: float, reference: float, around: float) -> float:
    """Shift a longitude by whole turns to the one nearest to a reference."""
    if abs(u - reference) > around / 2:
        u -= around * np.rint((u - reference) / around)
    return u


@njit(cache=True)
def _add_piece(
    area: Floats,
    edges: Floats,
    box: tuple[int, int, int, int],
    start: tuple[float, float],
    end: tuple[float, float],
    sign: float,
) -> None:
    """Add the area between a straight piece and the western edge of each cell of the box."""
    top, bottom, left, right = box
    (u0, s0), (u1, s1) = start, end
    if s0 > s1:
        u0, s0, u1, s1, sign = u1, s1, u0, s0, -sign
    for row in range(top, bottom):
        low, high = max(s0, edges[row]), min(s1, edges[row + 1])
        if high <= low:
            continue
        slope = (u1 - u0) / (s1 - s0)
        a = u0 if low == s0 else u0 + (low - s0) * slope
        b = u1 if high == s1 else u0 + (high - s0) * slope
        a, b = min(a, b), max(a, b)
        drop = sign * (high - low)
        for column in range(left, right):
            if b <= column:
                break
            if a >= column + 1:
                area[row, column] += drop
            elif a >= column and b <= column + 1:
                area[row, column] += drop * (0.5 * (a + b) - column)
            else:
                inner, outer = max(a, column), min(b, column + 1.0)
                mean = (outer - inner) * (0.5 * (inner + outer) - column) + (b - outer)
                area[row, column] += drop * mean / (b - a)


@njit(cache=True, inline="always")
def _pieces(segment: float, chord: float) -> int:
    """Number of straight pieces for a parabola, from its segment's area and its chord squared."""
    tolerance = max(RELATIVE_TOLERANCE * chord, ABSOLUTE_TOLERANCE)
    return max(1, int(np.ceil(np.sqrt(abs(segment) / tolerance))))


@njit(cache=True)
def _add_side(
    area: Floats,
    edges: Floats,
    box: tuple[int, int, int, int],
    u: Floats,
    s: Floats,
    reference: float,
    around: float,
    shift: float,
    sign: float,
) -> None:
    """Add a side's parabolas: whole where they stay in a cell, otherwise in straight pieces."""
    for k in range(0, u.size - 1, 2):
        u0, s0 = _near(u[k], reference, around) + shift, s[k]
        u1, s1 = _near(u[k + 2], reference, around) + shift, s[k + 2]
        um = _near(u[k + 1], reference, around) + shift - 0.5 * (u0 + u1)
        sm = s[k + 1] - 0.5 * (s0 + s1)
        segment = ((s1 - s0) * um - (u1 - u0) * sm) * (2 / 3)  # area between chord and parabola
        uc, sc = 0.5 * (u0 + u1) + 2 * um, 0.5 * (s0 + s1) + 2 * sm  # where its tangents meet
        pieces = 0
        column = int(np.floor(min(u0, u1, uc)))
        if max(u0, u1, uc) <= column + 1:
            for row in range(box[0], box[1]):
                if edges[row] <= min(s0, s1, sc) and max(s0, s1, sc) <= edges[row + 1]:
                    pieces = 1
                    if box[2] <= column < box[3]:
                        area[row, column] += sign * segment
        if pieces == 0:
            chord = (u1 - u0) ** 2 + (s1 - s0) ** 2
            pieces = _pieces(segment, chord)
        last = (u0, s0)
        for piece in range(1, pieces):
            t = piece / pieces
            bow = 4 * t * (1 - t)
            point = (u0 + t * (u1 - u0) + bow * um, s0 + t * (s1 - s0) + bow * sm)
            _add_piece(area, edges, box, last, point, sign)
            last = point
        _add_piece(area, edges, box, last, (u1, s1), sign)


@njit(cache=True)
def _extend(
    extent: tuple[float, float, float, float],
    u: Floats,
    s: Floats,
    reference: float,
    around: float,
) -> tuple[float, float, float, float]:
    """Extend (least u, greatest u, least s, greatest s) by the control points of a side.

    The greatest u becomes infinite if a point is not finite.
    """
    west, east, north, south = extent
    for k in range(0, u.size - 1, 2):
        u0, u1 = _near(u[k], reference, around), _near(u[k + 2], reference, around)
        um, sm = (
            2 * _near(u[k + 1], reference, around) - 0.5 * (u0 + u1),
            2 * s[k + 1] - 0.5 * (s[k] + s[k + 2]),
        )
        if not np.isfinite(um + sm):
            east = np.inf
        west, east = min(west, u0, um, u1), max(east, u0, um, u1)
        north, south = min(north, s[k], sm, s[k + 2]), max(south, s[k], sm, s[k + 2])
    return west, east, north, south


_MAP = types.Array(float64, 2, "C", readonly=True)
_LINE = types.Array(float64, 1, "C", readonly=True)
_NUMBERS = types.Array(int32, 1, "C")
_FOUND = types.Tuple((_NUMBERS, _NUMBERS, types.Array(float64, 1, "C"), int64, int64, int64))


@njit(_FOUND(_MAP, _MAP, _MAP, _MAP, _LINE, int64, int64, int64, float64), nogil=True, cache=True)
def _shares(
    row_u: Floats,
    row_s: Floats,
    column_u: Floats,
    column_s: Floats,
    edges: Floats,
    nx: int,
    k: int,
    first_row: int,
    around: float,
) -> Shares:
    rows, width, ny = row_u.shape[0] - 1, column_u.shape[0] - 1, edges.size - 1
    area = np.zeros((ny, nx))  # of the pixel at hand; zero again after each
    cell, pixel = np.empty(1024, np.int32), np.empty(1024, np.int32)
    share = np.empty(1024)
    found = clockwise = counterclockwise = polar = 0
    for j in range(rows):
        for i in range(width):
            top, bottom = slice(i * k, i * k + k + 1), slice(j * k, j * k + k + 1)
            sides = (
                (row_u[j, top], row_s[j, top], 1.0),
                (column_u[i + 1, bottom], column_s[i + 1, bottom], 1.0),
                (row_u[j + 1, top], row_s[j + 1, top], -1.0),
                (column_u[i, bottom], column_s[i, bottom], -1.0),
            )
            reference = row_u[j, i * k]
            extent = (np.inf, -np.inf, np.inf, -np.inf)
            for u, s, _ in sides:
                extent = _extend(extent, u, s, reference, around)
            west, east, north, south = extent
            if not (south > edges[0] and north < edges[ny] and east < np.inf):
                continue
            first = max(0, int(np.searchsorted(edges, north, side="right")) - 1)
            last = min(ny, int(np.searchsorted(edges, south, side="left")))
            for turn in range(
                int(np.floor(-east / around)) + 1, int(np.ceil((nx - west) / around))
            ):
                shift = turn * around
                left = max(0, int(np.floor(west + shift)))
                right = min(nx, int(np.ceil(east + shift)))
                if right <= left:
                    continue
                if east - west > MAX_SPAN * around:
                    polar += 1
                    continue
                box = (first, last, left, right)
                whole = 0.0
                for u, s, sign in sides:
                    _add_side(area, edges, box, u, s, reference, around, shift, sign)
                    for m in range(u.size - 1):
                        u0, u1 = (
                            _near(u[m], reference, around) - reference,
                            _near(u[m + 1], reference, around) - reference,
                        )
                        whole += 0.5 * sign * (u0 + u1) * (s[m + 1] - s[m])
                touched = False
                for row in range(first, last):
                    height = edges[row + 1] - edges[row]
                    least = SLIVER * min(abs(whole), height)
                    for column in range(left, right):
                        shared = area[row, column] if whole > 0 else -area[row, column]
                        area[row, column] = 0.0
                        if shared <= least:
                            continue
                        if found == cell.size:
                            cell = np.concatenate((cell, np.empty_like(cell)))
                            pixel = np.concatenate((pixel, np.empty_like(pixel)))
                            share = np.concatenate((share, np.empty_like(share)))
                        cell[found] = row * nx + column
                        pixel[found] = (first_row + j) * width + i
                        share[found] = shared / height
                        found += 1
                        touched = True
                if touched and whole > 0:
                    clockwise += 1
                elif touched:
                    counterclockwise += 1
    return cell[:found], pixel[:found], share[:found], clockwise, counterclockwise, polar
