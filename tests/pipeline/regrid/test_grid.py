"""Grids of any resolution: exact counts, nesting, equality, and the keys of cached weights."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid

RESOLUTIONS = st.sampled_from([Fraction(1, 10), Fraction(2, 5), 1, 4, 12, Fraction(25, 2), 120])


@st.composite
def grids(draw) -> Grid:
    cells = draw(RESOLUTIONS)
    pole = int(90 * Fraction(cells))
    north = draw(st.integers(1 - pole, pole))
    return Grid(
        west=draw(st.integers(-8 * pole, 8 * pole)),
        north=north,
        nx=draw(st.integers(1, 4 * pole)),
        ny=draw(st.integers(1, north + pole)),
        cells_per_degree=cells,
    )


@given(grids())
def test_the_bounds_of_a_grid_give_the_same_grid(grid: Grid):
    again = Grid.covering(grid.bounds, cells_per_degree=grid.cells_per_degree)
    assert again == grid
    assert hash(again) == hash(grid)
    assert eval(repr(grid), {"Grid": Grid, "Fraction": Fraction}) == grid
    assert grid.window(grid) == (slice(0, grid.ny), slice(0, grid.nx))


@given(grids())
def test_edges_and_centres_lie_on_the_lattice(grid: Grid):
    step = 1 / Fraction(grid.cells_per_degree)
    assert grid.x_edges.size == grid.nx + 1
    assert grid.x_edges[0] == float(grid.west * step)
    assert grid.y_edges[-1] == float((grid.north - grid.ny) * step)
    np.testing.assert_allclose(grid.x, (grid.x_edges[1:] + grid.x_edges[:-1]) / 2, atol=1e-9)
    np.testing.assert_allclose(grid.y, (grid.y_edges[1:] + grid.y_edges[:-1]) / 2, atol=1e-9)
    assert grid.bounds == (grid.x_edges[0], grid.y_edges[-1], grid.x_edges[-1], grid.y_edges[0])


@pytest.mark.parametrize("cells", [Fraction(1, 5), 1, 12])
def test_the_cells_of_the_globe_have_the_area_of_the_ellipsoid(cells: int | Fraction):
    globe = Grid.covering((-180, -90, 180, 90), cells_per_degree=cells)
    a, b = Geod(ellps="WGS84").a, Geod(ellps="WGS84").b
    e = np.sqrt(1 - (b / a) ** 2)
    surface = 2 * np.pi * a**2 * (1 + (1 - e**2) / e * np.arctanh(e))
    assert globe.cell_area.sum() == pytest.approx(surface, rel=1e-12)
    assert globe.shape == (180 * cells, 360 * cells)


def test_bounds_that_do_not_lie_on_edges_are_covered():
    assert Grid.covering((-0.1, 0.1, 0.1, 0.3), cells_per_degree=4) == Grid(-1, 2, 2, 2, 4)
    assert Grid.covering((-0.1, 0.1, 359.9, 0.3), cells_per_degree=1).nx == 360
    assert Grid.covering((0, 88, 1, 90), margin=3) == Grid(-3, 1080, 18, 27)


def test_only_a_grid_of_the_same_lattice_lies_inside():
    outer, inner = Grid(0, 120, 24, 24), Grid(2, 118, 4, 6)
    assert outer.window(inner) == (slice(2, 8), slice(2, 6))
    for other, said in (
        (Grid(2, 118, 4, 6, 24), "24 cells per degree: expected 12"),
        (Grid(2, 121, 4, 6), "is not inside"),
        (Grid(22, 118, 4, 6), "is not inside"),
    ):
        with pytest.raises(InputError, match=said):
            outer.window(other)


def test_the_default_resolution_is_left_out_of_the_key_of_cached_weights():
    """Weights that an earlier version cached are found again."""
    assert repr(Grid(-1140, 510, 12, 18)) == "Grid(west=-1140, north=510, nx=12, ny=18)"
    assert Grid(0, 1, 1, 1) == Grid(0, 1, 1, 1, 12) == Grid(0, 1, 1, 1, Fraction(12))
    assert Grid(0, 1, 1, 1) != Grid(0, 1, 1, 1, 6)
    assert repr(Grid(0, 1, 1, 1)) == repr(Grid(0, 1, 1, 1, Fraction(12)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 1, 0, 1), "0 x 1 cells: expected 1 to 4320 columns"),
        ((0, 1, 1, 0), "1 x 0 cells"),
        ((0, 1, 361, 1, 1), "361 x 1 cells: expected 1 to 360 columns"),
        ((0, 1081, 1, 1), "rows 1080 to 1081: expected -1080 to 1080"),
        ((0, -89, 1, 2, 1), "rows -91 to -89"),
        ((0, 1, 1, 1, 0), "0 cells per degree: expected an integer or a fraction"),
        ((0, 1, 1, 1, Fraction(1, 4)), "1/4 cells per degree"),
        ((0, 1, 1, 1, 0.3), "0.3 cells per degree"),
        ((0, 1, 1, 1, float("nan")), "nan cells per degree"),
        ((0, 1, 1, 1, -4), "-4 cells per degree"),
    ],
)
def test_grids_that_are_not_on_a_lattice_are_refused(arguments: tuple, said: str):
    with pytest.raises(InputError, match=said):
        Grid(*arguments)


def test_bounds_without_an_area_are_refused():
    for bounds in ((1, 0, 1, 1), (0, 1, 1, 0), (0, 0, float("nan"), 1)):
        with pytest.raises(InputError, match="expected west < east and south < north"):
            Grid.covering(bounds)
