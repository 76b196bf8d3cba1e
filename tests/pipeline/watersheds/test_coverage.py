"""Coverage against analytic areas, shapely and geodesics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from scipy.integrate import quad
from shapely.geometry import MultiPolygon, Point, Polygon, box

from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.polygons import polygon_area, polygon_areas

CELL = 1 / 12  # degrees
GEOD = Geod(ellps="WGS84")
EQUAL_AREA = Transformer.from_crs(4326, "+proj=cea +ellps=WGS84", always_xy=True)
BASIN = box(-90.3, 41.2, -90.0, 41.5)


def equal_area(polygon: shapely.Geometry) -> shapely.Geometry:
    """The polygon, its edges straight in degrees, in PROJ's cylindrical equal-area plane [m]."""
    dense = shapely.segmentize(polygon, 2e-4)
    return shapely.transform(dense, EQUAL_AREA.transform, interleaved=False)


def shares(polygon: shapely.Geometry, grid: Grid) -> np.ndarray:
    """Coverage by intersecting every cell with the polygon."""
    plane = equal_area(polygon)
    x, y = grid.x_edges, grid.y_edges
    cells = [[equal_area(box(x[i], y[j + 1], x[i + 1], y[j])) for i in range(grid.nx)]
             for j in range(grid.ny)]  # fmt: skip
    return shapely.area(shapely.intersection(plane, cells)) / shapely.area(cells)


def covered_area(polygon: shapely.Geometry) -> float:
    """Sum of coverage times cell area [m2]."""
    grid = watershed_grid(polygon)
    return float((coverage(polygon, grid) * grid.cell_area).sum())


# --- analytic shapes ---------------------------------------------------------------------------


def test_rectangle_on_cell_edges_is_all_or_nothing() -> None:
    polygon = box(-90, 40, -90 + 3 * CELL, 40 + 2 * CELL)
    grid = Grid.covering((-90 - CELL, 40 - CELL, -90 + 4 * CELL, 40 + 3 * CELL))
    expected = np.zeros((4, 5))
    expected[1:3, 1:4] = 1.0
    np.testing.assert_array_equal(coverage(polygon, grid), expected)
    assert watershed_grid(polygon).shape == (2, 3)


def test_rectangle_at_known_shares() -> None:
    north, east = 40 + 1.5 * CELL, -90 + 2.25 * CELL
    polygon = box(-90, 40, east, north)
    # half of the upper row's latitudes are a little more than half of its area
    quarter = quad_area(-90, -90 + CELL, 40 + CELL, north)
    half = quarter / quad_area(-90, -90 + CELL, 40 + CELL, 40 + 2 * CELL)
    assert half > 0.5
    share = coverage(polygon, watershed_grid(polygon))
    expected = [[half, half, 0.25 * half], [1.0, 1.0, 0.25]]
    np.testing.assert_allclose(share, expected, rtol=1e-9)


def quad_area(west: float, east: float, south: float, north: float) -> float:
    """Area [m2] between meridians and parallels, by quadrature of the radii of curvature."""
    return triangle_area(lambda _: east - west, south, north)


def triangle_area(width, south: float, north: float) -> float:
    """Area [m2] of a shape that is `width(latitude)` degrees wide, by quadrature."""
    a, e2 = GEOD.a, GEOD.es

    def per_degree(latitude: float) -> float:
        sine, cosine = math.sin(math.radians(latitude)), math.cos(math.radians(latitude))
        w2 = 1 - e2 * sine**2  # meridian radius a(1-e2)/w^3, parallel radius a cos/w
        area = a * a * (1 - e2) * cosine / w2**2
        return area * math.radians(1) * math.radians(width(latitude))

    return quad(per_degree, south, north, epsabs=0, epsrel=1e-12)[0]


def test_triangle_by_quadrature() -> None:
    west, south = -90.0, 40.0
    side = 2 * CELL
    polygon = Polygon([(west, south), (west + side, south), (west, south + side)])
    share = coverage(polygon, watershed_grid(polygon))
    assert share.shape == (2, 2)
    assert share[0, 1] == 0.0  # touched at a corner only
    assert share[1, 0] == 1.0
    cells = watershed_grid(polygon).cell_area
    lower = triangle_area(lambda lat: south + CELL - lat, south, south + CELL) / cells[1, 1]
    upper = triangle_area(lambda lat: south + side - lat, south + CELL, south + side) / cells[0, 0]
    np.testing.assert_allclose([share[1, 1], share[0, 0]], [lower, upper], rtol=1e-6)


@pytest.mark.parametrize("latitude", [0.0, 41.7, -63.2])
def test_circle_in_the_equal_area_plane(latitude: float) -> None:
    radius, sides = 40_000.0, 3600
    x, y = EQUAL_AREA.transform(-93.37, latitude)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    lon, lat = EQUAL_AREA.transform(
        x + radius * np.cos(angle), y + radius * np.sin(angle), direction="INVERSE"
    )
    polygon = Polygon(np.column_stack([lon, lat]))
    area = sides / 2 * radius**2 * math.sin(2 * np.pi / sides)  # of the regular polygon
    assert covered_area(polygon) == pytest.approx(area, rel=1e-7)
    share = coverage(polygon, watershed_grid(polygon))
    assert share.max() == 1.0
    assert share.min() == 0.0


def test_smaller_than_a_cell() -> None:
    polygon = box(-90.06, 40.01, -90.05, 40.03)
    grid = watershed_grid(polygon)
    assert grid.shape == (1, 1)
    expected = quad_area(-90.06, -90.05, 40.01, 40.03) / grid.cell_area[0, 0]
    assert coverage(polygon, grid)[0, 0] == pytest.approx(expected, rel=1e-9)


# --- any shape ---------------------------------------------------------------------------------


@st.composite
def polygons(draw: st.DrawFn) -> Polygon:
    """Star-shaped polygons, half of them with a hole, anywhere but at the poles."""
    count = draw(st.integers(3, 12))
    radii = draw(st.lists(st.floats(0.02, 0.3), min_size=count, max_size=count))
    turn = draw(st.floats(0, 6))
    angle = turn + 2 * np.pi * np.arange(count) / count
    star = np.column_stack([radii * np.cos(angle), radii * np.sin(angle)])
    centre = [draw(st.floats(-179, 179)), draw(st.floats(-75, 75))]
    holes = [centre + star[::-1] * 0.3] if draw(st.booleans()) else []
    return Polygon(centre + star, holes)


@settings(max_examples=40)
@given(polygon=polygons())
def test_any_polygon_against_shapely(polygon: Polygon) -> None:
    grid = watershed_grid(polygon)
    share = coverage(polygon, grid)
    np.testing.assert_allclose(share, shares(polygon, grid), atol=2e-8)
    assert ((share >= 0) & (share <= 1)).all()
    # geodesics this short bend by less than 1e-8 of even a thin triangle
    area = abs(GEOD.geometry_area_perimeter(shapely.segmentize(polygon, 2e-4))[0])
    assert (share * grid.cell_area).sum() == pytest.approx(area, rel=1e-7)


@settings(max_examples=20)
@given(polygon=polygons(), rows=st.integers(-2, 2), columns=st.integers(-2, 2))
def test_another_grid_holds_the_same_cells(polygon: Polygon, rows: int, columns: int) -> None:
    own = watershed_grid(polygon)
    wide = Grid(own.west - 3, own.north + 3, own.nx + 6, own.ny + 6)
    held = coverage(polygon, wide)
    np.testing.assert_allclose(held[wide.window(own)], coverage(polygon, own), atol=1e-11)
    assert held.sum() == pytest.approx(coverage(polygon, own).sum())
    # a grid that cuts through the polygon gets its own cells, and nothing from outside
    cut = Grid(own.west + columns, own.north + rows, own.nx, own.ny)
    np.testing.assert_allclose(coverage(polygon, cut), held[wide.window(cut)], atol=1e-11)


def test_holes_parts_and_directions() -> None:
    outer, hole = Point(-90, 40).buffer(0.3), Point(-90.05, 40.02).buffer(0.11)
    far = box(-89.5, 40.1, -89.2, 40.2)
    grid = Grid.covering((-91, 39, -89, 41))
    ring = Polygon(outer.exterior, [hole.exterior])
    both = MultiPolygon([ring, far])
    expected = coverage(outer, grid) - coverage(hole, grid) + coverage(far, grid)
    np.testing.assert_allclose(coverage(both, grid), expected, atol=1e-11)
    np.testing.assert_allclose(coverage(both.reverse(), grid), expected, atol=1e-11)
    island = MultiPolygon([ring, Point(-90.05, 40.02).buffer(0.05)])
    assert covered_area(island) == pytest.approx(polygon_area(island), rel=1e-6)


def test_nested_watersheds_never_exceed_their_parent() -> None:
    parent, child = Point(-90, 40).buffer(0.4), Point(-90.1, 40.1).buffer(0.2)
    grid = watershed_grid(parent)
    assert (coverage(child, grid) <= coverage(parent, grid) + 1e-12).all()


@pytest.mark.parametrize("sides", [4, 40])
def test_area_against_geodesics(sides: int) -> None:
    polygon = Point(-90, 40).buffer(0.2, quad_segs=sides)
    dense = shapely.segmentize(polygon, 2e-4)
    expected = abs(GEOD.polygon_area_perimeter(*dense.exterior.xy)[0])
    assert polygon_area(polygon) == pytest.approx(expected, rel=1e-7)
    holed = Polygon(polygon.exterior, [Point(-90, 40).buffer(0.1).exterior])
    inner = abs(GEOD.polygon_area_perimeter(*holed.interiors[0].xy)[0])
    assert polygon_area(holed) == pytest.approx(expected - inner, rel=1e-6)


@pytest.mark.parametrize(("side", "south"), [(1.0, 60.0), (10.0, 0.0), (10.0, 60.0)])
def test_area_of_long_edges_by_quadrature(side: float, south: float) -> None:
    triangle = Polygon([(5, south), (5 + side, south), (5, south + side)])
    expected = triangle_area(lambda latitude: south + side - latitude, south, south + side)
    assert polygon_area(triangle) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20)
@given(several=st.lists(polygons(), min_size=1, max_size=4))
def test_areas_of_several_polygons(several: list[Polygon]) -> None:
    areas = polygon_areas(np.array([*several, MultiPolygon(several)]))
    for polygon, area in zip(several, areas, strict=False):
        assert area == pytest.approx(equal_area(polygon).area, rel=1e-6)
        assert area == pytest.approx(polygon_area(polygon), rel=1e-12)
    assert areas[-1] == pytest.approx(areas[:-1].sum(), rel=1e-12)
