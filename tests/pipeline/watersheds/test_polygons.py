"""Coverage against analytic shapes and shapely in an equal-area plane; polygon files."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from scipy.integrate import quad
from shapely.geometry import MultiPolygon, Point, Polygon, box

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import coverage, region_grid, watershed_grid
from pipeline.watersheds.polygons import polygon_area, read_watersheds

CELL = 1 / 12  # degrees
GEOD = Geod(ellps="WGS84")
EQUAL_AREA = Transformer.from_crs(4326, "+proj=cea +ellps=WGS84", always_xy=True)
BASIN = box(-90.3, 41.2, -90.0, 41.5)


def equal_area(polygon: shapely.Geometry) -> shapely.Geometry:
    """The polygon, its edges straight in degrees, in PROJ's cylindrical equal-area plane [m]."""
    dense = shapely.segmentize(polygon, 1e-3)
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
    np.testing.assert_allclose(share, shares(polygon, grid), atol=2e-6)
    assert ((share >= 0) & (share <= 1)).all()
    assert (share * grid.cell_area).sum() == pytest.approx(polygon_area(polygon), rel=2e-6)


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
    dense = shapely.segmentize(polygon, 1e-3)
    expected = abs(GEOD.polygon_area_perimeter(*dense.exterior.xy)[0])
    assert polygon_area(polygon) == pytest.approx(expected, rel=1e-7)
    holed = Polygon(polygon.exterior, [Point(-90, 40).buffer(0.1).exterior])
    inner = abs(GEOD.polygon_area_perimeter(*holed.interiors[0].xy)[0])
    assert polygon_area(holed) == pytest.approx(expected - inner, rel=1e-6)


# --- files -------------------------------------------------------------------------------------


def make_catalog(folder: Path, bounds: Any = None, **watersheds: object) -> Catalog:
    """A catalog in `folder` whose watersheds are as given."""
    settings: dict[str, object] = {"file": "basins.gpkg", "site_field": "SITE_NO"}
    catalog: dict[str, object] = {
        "title": "test",
        "root": str(folder),
        "period": {"step": "day", "start": "2012-07-01", "end": "2012-08-01"},
        "forcings": {
            "precipitation": {"driver": "geotiff", "files": "p_{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": {"format": "rdb", "files": "record.txt", "units": "ft3/s"},
        "watersheds": settings | watersheds,
    }
    if bounds:
        catalog["bounds"] = bounds
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog))
    return load_catalog(path)


def write(folder: Path, *polygons: shapely.Geometry | None, crs: int = 4326, **fields) -> None:
    """basins.gpkg in `folder`, sites 3539600, 3539601, ... as integers."""
    fields = {"SITE_NO": [3539600 + i for i in range(len(polygons))]} | fields
    table = gpd.GeoDataFrame(fields, geometry=list(polygons), crs=4326)
    table.to_crs(crs).to_file(folder / "basins.gpkg", engine="pyogrio")


@pytest.mark.parametrize("name", ["basins.shp", "basins.geojson", "basins.gpkg", "basins.parquet"])
@pytest.mark.parametrize(
    "sites", [["3539600", "03539500"], [3539600, 3539500], [3539600.0, 3539500]]
)
def test_formats_and_lost_zeros(tmp_path: Path, name: str, sites: list) -> None:
    holed = Polygon(BASIN.exterior, [box(-90.2, 41.3, -90.1, 41.4).exterior])
    parts = MultiPolygon([box(-91, 41, -90.9, 41.1), box(-90.8, 41, -90.7, 41.1)])
    table = gpd.GeoDataFrame(
        {"SITE_NO": sites, "NAME": ["A Creek", "B Creek"]}, geometry=[holed, parts], crs=4326
    )
    path = tmp_path / name
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_file(path)
    found = read_watersheds(make_catalog(tmp_path, file=name, name_field="NAME"))
    assert [w.site_no for w in found] == ["03539500", "03539600"]  # sorted
    assert [w.name for w in found] == ["B Creek", "A Creek"]
    for watershed, polygon in zip(found, [parts, holed], strict=True):
        assert watershed.polygon.symmetric_difference(polygon).area < 1e-12
        assert watershed.area == pytest.approx(polygon_area(polygon))
        assert watershed.reported_area is None


def test_other_crs_and_chosen_sites(tmp_path: Path) -> None:
    write(tmp_path, BASIN, Point(0, 0), crs=3857)
    (found,) = read_watersheds(make_catalog(tmp_path, sites=["03539600"]))
    assert found.polygon.equals_exact(BASIN, 1e-9, normalize=True)
    assert found.name == "03539600"


def test_reported_areas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    square = polygon_area(BASIN) / 1609.344**2  # square miles
    right = make_catalog(tmp_path, area_field="AREA", area_units="mi2")
    with caplog.at_level(logging.WARNING, logger="pipeline.watersheds.polygons"):
        write(tmp_path, BASIN, BASIN, BASIN, AREA=[square * 1.05, 0.0, None])
        found = read_watersheds(right)
        assert not caplog.records
        assert found[0].reported_area == pytest.approx(polygon_area(BASIN) * 1.05)
        assert [w.reported_area for w in found[1:]] == [None, None]
        write(tmp_path, BASIN, AREA=[square * 1.25])
        read_watersheds(right)
        assert "03539600" in caplog.text
        assert "-20.0% off the reported drainage area" in caplog.text
    wrong = make_catalog(tmp_path, area_field="AREA", area_units="km2")
    with pytest.raises(InputError, match=r"03539600: polygon of \d+.* km2 is \+107.2% off .* km2"):
        read_watersheds(wrong)


def test_small_faults_of_a_ring_are_mended_and_great_ones_refused(tmp_path: Path) -> None:
    # the ring crosses itself beside its north-eastern corner
    spike = [(-90.0, 41.5), (-90.002, 41.5001), (-90.001, 41.5001)]
    faulty = Polygon([(-90.3, 41.5), (-90.3, 41.2), (-90.0, 41.2), *spike])
    assert not faulty.is_valid
    write(tmp_path, faulty)
    (mended,) = read_watersheds(make_catalog(tmp_path))
    assert mended.polygon.is_valid
    assert mended.area == pytest.approx(polygon_area(BASIN), rel=1e-3)
    write(tmp_path, Polygon([(-90, 41), (-89, 42), (-89, 41), (-90, 42.5)]))
    with pytest.raises(InputError, match=r"basins.gpkg: 03539600: invalid ring \(Self-inters"):
        read_watersheds(make_catalog(tmp_path))


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        (Point(-90, 41), "03539600: geometry is Point: expected a polygon"),
        (None, "03539600: geometry is nothing: expected a polygon"),
        (box(225, 41, 226, 42), r"spans \(225.0, 41.0, 226.0, 42.0\): expected degrees within"),
    ],
)
def test_geometries_that_are_no_watershed(
    tmp_path: Path, polygon: shapely.Geometry | None, message: str
) -> None:
    write(tmp_path, polygon)
    with pytest.raises(InputError, match=message):
        read_watersheds(make_catalog(tmp_path))


@pytest.mark.parametrize(
    "polygon",
    [
        MultiPolygon([box(179.5, 51, 180, 52), box(-180, 51, -179.5, 52)]),  # cut, as in GeoJSON
        box(179.5, 51, 180.5, 52),
        box(-180.5, 51, -179.5, 52),
        Polygon([(179.5, 51), (-179.5, 51), (-179.5, 52), (179.5, 52)]),  # neither cut nor shifted
    ],
)
def test_across_the_antimeridian(
    tmp_path: Path, polygon: shapely.Geometry, caplog: pytest.LogCaptureFixture
) -> None:
    """However its longitudes are written."""
    write(tmp_path, polygon)
    with caplog.at_level(logging.WARNING, logger="pipeline.watersheds.polygons"):
        (found,) = read_watersheds(make_catalog(tmp_path))
    assert not caplog.text
    assert found.polygon.equals(box(179.5, 51, 180.5, 52))
    assert found.area == pytest.approx(polygon_area(box(-90.5, 51, -89.5, 52)), rel=1e-9)
    grid = watershed_grid(found.polygon)
    assert (grid.nx, grid.ny, grid.bounds[0]) == (12, 12, 179.5)
    np.testing.assert_allclose(coverage(found.polygon, grid), 1)


def test_wider_than_any_basin(tmp_path: Path) -> None:
    write(tmp_path, MultiPolygon([box(-150, 51, -149, 52), box(60, 51, 61, 52)]))
    with pytest.raises(InputError, match=r"03539600: spans \(60.*211.*at most 90 degrees"):
        read_watersheds(make_catalog(tmp_path))


def test_metres_that_are_called_degrees(tmp_path: Path) -> None:
    write(tmp_path, box(-9295000, 4205000, -9270000, 4230000))
    with pytest.raises(InputError, match=r"spans .*: expected degrees within -180\.\.180"):
        read_watersheds(make_catalog(tmp_path))


@pytest.mark.parametrize("west", [179.5, -180.0])
def test_beside_the_antimeridian(tmp_path: Path, west: float) -> None:
    polygon = box(west, 51, west + 0.5, 51.5)
    write(tmp_path, polygon)
    (found,) = read_watersheds(make_catalog(tmp_path))
    assert covered_area(found.polygon) == pytest.approx(quad_area(0, 0.5, 51, 51.5), rel=1e-6)


def test_slivers_and_parts_that_touch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # digitised twice: two halves along one edge, and slivers thinner than rounding beside them
    west, east = box(-90.3, 41.2, -90.1, 41.5), box(-90.1, 41.2, -90.0, 41.5)
    slivers = [box(-90.4 - k / 100, 41.3, -90.4 - k / 100 + 1e-13, 41.4) for k in range(3)]
    halves = MultiPolygon([west, east, *slivers])
    assert not halves.is_valid
    write(tmp_path, halves)
    with caplog.at_level(logging.WARNING, logger="pipeline.watersheds.polygons"):
        (found,) = read_watersheds(make_catalog(tmp_path))
    assert "03539600: repaired: Self-intersection" in caplog.text
    assert found.area == pytest.approx(polygon_area(BASIN), rel=1e-9)
    grid = Grid.covering((-91, 41, -89, 42))
    np.testing.assert_allclose(coverage(found.polygon, grid), coverage(BASIN, grid), atol=1e-9)
    # parts that overlap count twice in the file and once on the ground: which was meant?
    write(tmp_path, MultiPolygon([BASIN, box(-90.2, 41.2, -89.9, 41.5)]))
    with pytest.raises(InputError, match=r"03539600: invalid ring .* mending it changes its area"):
        read_watersheds(make_catalog(tmp_path))


def test_geoparquet_that_is_none(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path, file="basins.parquet")
    with pytest.raises(InputError, match=r"basins.parquet: not readable .*: expected polygons"):
        read_watersheds(catalog)
    (tmp_path / "basins.parquet").write_text("not parquet")
    with pytest.raises(InputError, match=r"basins.parquet: not readable .*: expected polygons"):
        read_watersheds(catalog)
    pd.DataFrame({"SITE_NO": ["3539600"]}).to_parquet(tmp_path / "basins.parquet")
    with pytest.raises(InputError, match=r"basins.parquet: not readable .*: expected GeoParquet"):
        read_watersheds(catalog)
    table = gpd.GeoDataFrame({"SITE_NO": ["3539600"]}, geometry=[BASIN])
    table.to_parquet(tmp_path / "basins.parquet")
    with pytest.raises(InputError, match=r"basins.parquet: has no CRS"):
        read_watersheds(catalog)


def test_the_basin_service_answers_with_a_polygon(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "gauges" / "waterservices" / "nldi_get_basin.json"
    with pytest.raises(InputError, match=r"nldi_get_basin.json: fields .*: expected SITE_NO"):
        read_watersheds(make_catalog(tmp_path, file=str(path)))
    table = gpd.read_file(path).assign(SITE_NO="05427718")
    table.to_parquet(tmp_path / "basins.parquet")
    (found,) = read_watersheds(make_catalog(tmp_path, file="basins.parquet"))
    exact = abs(GEOD.geometry_area_perimeter(shapely.segmentize(table.geometry[0], 1e-3))[0])
    assert found.area == pytest.approx(exact, rel=1e-7)
    assert covered_area(found.polygon) == pytest.approx(exact, rel=1e-6)


def test_fields_and_sites_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, BASIN)
    for key in ("site_field", "name_field", "area_field"):
        with pytest.raises(InputError, match=r"basins.gpkg: fields SITE_NO: expected STAID$"):
            read_watersheds(make_catalog(tmp_path, **{key: "STAID"}))
    with pytest.raises(InputError, match=r"basins.gpkg: no polygon of 01234567: expected one"):
        read_watersheds(make_catalog(tmp_path, sites=["3539600", "1234567"]))
    write(tmp_path, BASIN, BASIN, SITE_NO=["3539600", "03539600"])
    with pytest.raises(InputError, match=r"basins.gpkg: several polygons of 03539600"):
        read_watersheds(make_catalog(tmp_path))
    write(tmp_path)
    with pytest.raises(InputError, match=r"basins.gpkg: holds no polygon"):
        read_watersheds(make_catalog(tmp_path))


def test_files_that_are_not_polygons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"basins.gpkg: not readable"):
        read_watersheds(make_catalog(tmp_path))
    (tmp_path / "basins.gpkg").write_text("not polygons")
    with pytest.raises(InputError, match=r"basins.gpkg: not readable"):
        read_watersheds(make_catalog(tmp_path))
    (tmp_path / "basins.csv").write_text("SITE_NO\n3539600\n")
    with pytest.raises(InputError, match=r"basins.csv: has no CRS"):
        read_watersheds(make_catalog(tmp_path, file="basins.csv"))


def test_region(tmp_path: Path) -> None:
    write(tmp_path, BASIN, box(-91, 41, -90.9, 41.1))
    free = make_catalog(tmp_path)
    watersheds = read_watersheds(free)
    assert region_grid(free, watersheds) == Grid.covering((-91, 41, -90, 41.5))
    bound = make_catalog(tmp_path, bounds=[-92, 40, -89, 42])
    assert region_grid(bound, watersheds).shape == (24, 36)
    tight = make_catalog(tmp_path, bounds=[-90.9, 40, -89, 42])
    with pytest.raises(
        InputError, match=r"catalog.yaml: bounds: .* hold the watershed of 03539601"
    ):
        region_grid(tight, watersheds)


# --- the real basins ---------------------------------------------------------------------------


@pytest.fixture
def real(domst_data: Path, tmp_path: Path) -> Catalog:
    """A catalog of the 27 real basins."""
    return make_catalog(
        tmp_path,
        file=str(domst_data / "daddys_creek" / "basins" / "basins.shp"),
        area_field="DRAINAGE",
        area_units="mi2",
    )


def test_the_27_basins(real: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pipeline.watersheds.polygons"):
        basins = {w.site_no: w for w in read_watersheds(real)}
    assert len(basins) == 27
    assert basins["03539600"].area / 1e6 == pytest.approx(358.7, abs=0.05)
    assert basins["03539600"].reported_area == pytest.approx(139 * 1609.344**2)
    reported = {site: w.reported_area or np.nan for site, w in basins.items()}
    off = {site for site, w in basins.items() if abs(w.area / reported[site] - 1) > 0.1}
    assert off == {"03423000", "03538970"}
    assert all(any(site in record.message for record in caplog.records) for site in off)
    assert len(caplog.records) == len(off)
    for watershed in basins.values():
        exact = abs(GEOD.geometry_area_perimeter(watershed.polygon)[0])
        assert watershed.area == pytest.approx(exact, rel=1e-7)
        assert covered_area(watershed.polygon) == pytest.approx(exact, rel=1e-6)


def test_daddys_creek_cell_by_cell(real: Catalog) -> None:
    basins = {w.site_no: w for w in read_watersheds(real)}
    region = region_grid(real, list(basins.values()))
    parent = coverage(basins["03539600"].polygon, region)
    np.testing.assert_allclose(parent, shares(basins["03539600"].polygon, region), atol=1e-7)
    window = region.window(watershed_grid(basins["03539600"].polygon))
    assert (parent > 0).sum() == (parent[window] > 0).sum() == 14
    for child in ("03539500", "03539000", "03538970"):
        outside = coverage(basins[child].polygon, region) - parent
        assert outside.max() < 1e-3  # their borders are digitised alike
