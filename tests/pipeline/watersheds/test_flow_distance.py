"""Flow distance on hand-drawn D8 maps, generated terrain and the real DEM."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyflwdir
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS
from shapely.geometry import MultiPolygon, box

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.flow_directions import TerrainRaster
from pipeline.watersheds.flow_distance import SINUOSITY, FlowPath, flow_paths, traced_paths
from pipeline.watersheds.flow_field import FlowField, flow_field
from pipeline.watersheds.outlet import locate_outlet
from pipeline.watersheds.polygons import Watershed, polygon_area, read_watersheds

GEOD = Geod(ellps="WGS84")
LATLON = CRS.from_epsg(4326)
CELL = 1 / 12  # degrees
E, SE, S, SW, W, NW, N, NE, PIT, SEA = 1, 2, 4, 8, 16, 32, 64, 128, 0, 247


def north_up(west: float, north: float, size: float) -> Affine:
    """Transform of square pixels."""
    return Affine(size, 0.0, west, 0.0, -size, north)


def watershed_of(polygon: shapely.Geometry, site: str = "00000001") -> Watershed:
    """A watershed of a polygon."""
    return Watershed(site, site, polygon, None, polygon_area(polygon))


def drawn(directions: list[list[int]], west: float, north: float, size: float) -> FlowField:
    """The flow field of a hand-drawn map of square pixels of `size` degrees."""
    flow = pyflwdir.from_array(np.array(directions, dtype=np.uint8), ftype="d8")
    flat = np.zeros(flow.shape, np.float32)
    return flow_field(flow, LATLON, north_up(west, north, size), Path("drawn.tif"), flat)


def trace(field: FlowField, polygon: shapely.Geometry, snap: float = 1000.0) -> FlowPath:
    """Flow distances on the polygon's own window."""
    grid, watershed = watershed_grid(polygon), watershed_of(polygon)
    outlet = locate_outlet(field, watershed, snap)
    return traced_paths(outlet, watershed, grid, coverage(polygon, grid))


def walk(*points: tuple[float, float]) -> float:
    """Length [m] of a path through (longitude, latitude) points."""
    lon, lat = np.array(points).T
    return float(GEOD.line_length(lon, lat))


# --- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize("north", [10.0, 45.0, -30.0])
def test_lengths_and_areas_by_hand(north: float) -> None:
    half = CELL / 2  # pixels of half a cell, so that 2 x 2 of them make one
    directions = [
        [SE, S, S, SW],
        [E, E, S, W],
        [E, E, PIT, W],
    ]
    field = drawn(directions, -90.0, north, half)
    x = [-90 + half * (i + 0.5) for i in range(4)]
    y = [north - half * (j + 0.5) for j in range(3)]

    def at(row: int, column: int) -> tuple[float, float]:
        return x[column], y[row]

    end = at(2, 2)
    expected = [
        [walk(at(0, 0), at(1, 1), at(1, 2), end), walk(at(0, 1), at(1, 1), at(1, 2), end),
         walk(at(0, 2), at(1, 2), end), walk(at(0, 3), at(1, 2), end)],
        [walk(at(1, 0), at(1, 1), at(1, 2), end), walk(at(1, 1), at(1, 2), end),
         walk(at(1, 2), end), walk(at(1, 3), at(1, 2), end)],
        [walk(at(2, 0), at(2, 1), end), walk(at(2, 1), end), 0.0, walk(at(2, 3), end)],
    ]  # fmt: skip
    np.testing.assert_allclose(field.length, expected, rtol=1e-6)
    whole = box(-90, north - 3 * half, -90 + 4 * half, north)
    assert field.area.sum() == pytest.approx(polygon_area(whole), rel=1e-6)
    assert field.upstream_area[2, 2] == pytest.approx(field.area.sum())
    assert field.upstream_area[1, 1] == pytest.approx(field.area[[0, 0, 1, 1], [0, 1, 0, 1]].sum())


def test_cell_means_by_hand() -> None:
    # two cells side by side, four pixels each, all down to the pixel in the south-east corner
    half = CELL / 2
    field = drawn([[SE, S, SE, S], [E, E, E, PIT]], -90.0, 45.0, half)
    polygon = box(-90, 45 - CELL, -90 + 2 * CELL, 45)
    path = trace(field, polygon)
    assert path.method == "d8"
    assert path.outlet == pytest.approx((-90 + 3.5 * half, 45 - 1.5 * half))
    assert path.traced_area == pytest.approx(polygon_area(polygon), rel=1e-6)
    length, area = field.length.copy(), field.area
    length[1, 3] = np.sqrt(area[1, 3]) / 2  # the outlet's pixel counts half its side
    expected = [[(length * area)[:, pair].sum() / area[:, pair].sum() for pair in ([0, 1], [2, 3])]]
    np.testing.assert_allclose(path.distance, expected, rtol=1e-12)


def test_distance_starts_at_the_outlet_and_not_where_the_dem_ends() -> None:
    third = CELL / 3
    field = drawn([[E] * 8 + [PIT]], -90.0, 45.0, third)  # a ditch of nine pixels, three cells
    polygon = box(-90, 45 - third, -90 + CELL, 45)  # the first cell's
    path = trace(field, polygon)
    assert path.outlet[0] == pytest.approx(-90 + 2.5 * third)
    step = walk((-90, 45 - third / 2), (-90 + third, 45 - third / 2))
    own = np.sqrt(field.area[0, 0]) / 2
    assert path.distance[0, 0] == pytest.approx((2 * step + step + own) / 3, rel=1e-6)


def test_pixels_outside_the_polygon_do_not_count() -> None:
    size = CELL / 8
    field = drawn([[E] * 7 + [PIT]], -90.0, 45.0, size)
    polygon = box(-90 + 2 * size, 45 - size, -90 + CELL, 45)  # leaves out the two farthest
    path = trace(field, polygon)
    assert path.traced_area == pytest.approx(8 / 6 * polygon_area(polygon), rel=1e-6)
    step = walk((-90, 45 - size / 2), (-90 + size, 45 - size / 2))
    own = np.sqrt(field.area[0, 7]) / 2
    assert path.distance[0, 0] == pytest.approx((15 * step + own) / 6, rel=1e-6)


def test_pixels_that_drain_elsewhere_do_not_count() -> None:
    size = CELL / 8
    field = drawn([[W, E, E, E, PIT]], -90.0, 45.0, size)
    path = trace(field, box(-90, 45 - size, -90 + 5 * size, 45))
    assert path.traced_area == pytest.approx(4 * field.area[0, 0], rel=1e-6)
    step = walk((-90, 45 - size / 2), (-90 + size, 45 - size / 2))
    own = np.sqrt(field.area[0, 4]) / 2
    assert path.distance[0, 0] == pytest.approx((6 * step + own) / 4, rel=1e-6)


def test_lengths_down_a_tall_raster() -> None:
    rows, size = 300, CELL / 100
    field = drawn([[S, S, S]] * rows, -90.0, 45.0, size)
    last = 45 - (rows - 0.5) * size
    expected = [walk((-90, 45 - (row + 0.5) * size), (-90, last)) for row in range(rows)]
    np.testing.assert_allclose(field.length, np.transpose([expected] * 3), rtol=1e-6, atol=1e-6)
    corner = GEOD.inv(-90, 45, -90, 45 - size)[2], GEOD.inv(-90, 45, -90 + size, 45)[2]
    assert field.area[0, 0] == pytest.approx(corner[0] * corner[1], rel=1e-4)
    assert field.area.sum() == pytest.approx(
        polygon_area(box(-90, 45 - rows * size, -90 + 3 * size, 45)), rel=1e-9
    )


def test_a_greater_river_that_touches_the_polygon_is_not_the_outlet() -> None:
    size = CELL / 4
    directions = [
        [E, E, S, S, S],
        [E, E, S, S, S],
        [E, E, E, S, S],  # a brook of nine pixels meets the river in the fourth column
        [SEA, SEA, SEA, S, W],
        [SEA, SEA, SEA, PIT, W],
    ]
    field = drawn(directions, -90.0, 45.0, size)
    assert field.upstream_area[2, 3] > 1.3 * field.upstream_area[2, 2]
    # the brook's polygon reaches over the river's pixel in its last row
    brook = box(-90, 45 - 3 * size, -90 + 3 * size, 45)
    overlap = box(-90 + 3 * size, 45 - 3 * size, -90 + 3.6 * size, 45 - 2 * size)
    path = trace(field, brook.union(overlap))
    assert path.outlet == pytest.approx((-90 + 2.5 * size, 45 - 2.5 * size))
    assert path.traced_area == pytest.approx(polygon_area(brook), rel=1e-6)


def test_the_outlet_may_lie_off_the_polygon_within_the_snap() -> None:
    # two ditches of five pixels meet in one that the polygon just leaves out
    size = CELL / 4
    nothing = [SEA] * 5
    directions = [[E] * 5 + [S] + [W] * 5, [*nothing, S, *nothing], [*nothing, PIT, *nothing]]
    field = drawn(directions, -90.0, 45.0, size)
    west = box(-90, 45 - size, -90 + 4.9 * size, 45)
    arms = MultiPolygon([west, box(-90 + 6.1 * size, 45 - size, -90 + 11 * size, 45)])
    junction = (-90 + 5.5 * size, 45 - 0.5 * size)
    assert trace(field, arms, snap=3000.0).outlet == pytest.approx(junction)
    assert abs(trace(field, arms, snap=100.0).outlet[0] - junction[0]) > 0.9 * size


def test_covered_cells_without_a_pixel_get_a_straight_distance() -> None:
    size = CELL / 2
    field = drawn([[E, E, E, PIT]], -90.0, 45.0, size)
    # reaches a hair into the cells south of the pixels' own
    polygon = box(-90, 45 - CELL - 0.001, -90 + 2 * CELL, 45 - 0.02)
    grid = watershed_grid(polygon)
    assert grid.shape == (2, 2)
    watershed = replace(watershed_of(polygon), area=field.area.sum())
    outlet = locate_outlet(field, watershed, 1000.0)
    path = traced_paths(outlet, watershed, grid, coverage(polygon, grid))
    assert np.isfinite(path.distance).all()
    west, east = path.distance[1]
    assert west > east > 0
    point = (-90 + CELL / 2, 45 - CELL - 0.0005)
    # the ditch is straight but for the half pixel at its outlet
    centres = [(-90 + (i + 0.5) * size, 45 - size / 2) for i in range(4)]
    straight = sum(walk(centre, centres[3]) for centre in centres[:3])
    sinuosity = 1 + np.sqrt(field.area[0, 3]) / 2 / straight
    assert west / walk(point, path.outlet) == pytest.approx(sinuosity, rel=0.02)


def test_not_covered_is_nan() -> None:
    field = drawn([[E, E, E, PIT]], -90.0, 45.0, CELL)
    polygon = box(-90, 45 - CELL, -90 + 4 * CELL, 45)
    wide = Grid.covering((-90.5, 44.5, -89.0, 45.5))
    share = coverage(polygon, wide)
    watershed = watershed_of(polygon)
    path = traced_paths(locate_outlet(field, watershed, 1000.0), watershed, wide, share)
    np.testing.assert_array_equal(np.isnan(path.distance), share == 0)
    assert np.nanmin(path.distance) > 0


# --- generated terrain -------------------------------------------------------------------------


def make_catalog(folder: Path, terrain: dict | None, polygons: str = "basins.gpkg") -> Catalog:
    """A catalog in `folder` with or without terrain."""
    catalog = {
        "title": "test",
        "root": str(folder),
        "period": {"step": "day", "start": "2012-07-01", "end": "2012-08-01"},
        "forcings": {
            "precipitation": {"driver": "geotiff", "files": "p_{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": {"format": "rdb", "files": "record.txt", "units": "ft3/s"},
        "watersheds": {"file": polygons, "site_field": "SITE_NO"},
    }
    if terrain:
        catalog["terrain"] = terrain
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog))
    return load_catalog(path)


def write_dem(path: Path, elevation: np.ndarray, crs: str | None, transform) -> None:
    """A DEM as float32 GeoTIFF, NaN where it has none."""
    rows, columns = elevation.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=columns, count=1, dtype="float32",
        crs=crs, transform=transform, nodata=-9999,
    ) as file:  # fmt: skip
        file.write(np.nan_to_num(elevation, nan=-9999).astype(np.float32), 1)


def test_23_delineated_watersheds_are_found_again(
    rough_world: tuple[Path, dict[str, float]],
) -> None:
    folder, areas = rough_world
    catalog = make_catalog(folder, {"dem": "dem.tif"})
    for watershed in read_watersheds(catalog):
        grid = watershed_grid(watershed.polygon)
        share = coverage(watershed.polygon, grid)
        path = flow_paths(catalog, watershed, grid, share)
        assert path.traced_area == pytest.approx(areas[watershed.site_no], rel=1e-5)
        assert watershed.polygon.buffer(1e-9).covers(shapely.Point(path.outlet))
        np.testing.assert_array_equal(np.isfinite(path.distance), share > 0)
        # no path is shorter than a straight line, to within a cell's diagonal
        lon, lat = np.meshgrid(grid.x, grid.y)
        x, y = (np.full(lon.shape, degrees) for degrees in path.outlet)
        straight = GEOD.inv(lon, lat, x, y)[2]
        assert (path.distance - straight)[share > 0.99].min(initial=0) > -12_000
        assert np.nanmin(path.distance) > 0


def test_a_changed_dem_is_read_again(tmp_path: Path) -> None:
    plane = np.tile(np.arange(12.0), (12, 1))
    transform = north_up(-90, 45, CELL / 12)
    polygon = box(-90, 45 - CELL, -90 + CELL, 45)
    grid = watershed_grid(polygon)
    catalog = make_catalog(tmp_path, {"dem": "dem.tif"})
    rim = np.full((12, 12), 50.0)
    outlets = []
    for columns, elevation in ((0, plane), (11, plane[:, ::-1])):
        funnel = elevation + rim * (np.abs(np.arange(12) - 6)[:, None] / 6)
        write_dem(tmp_path / "dem.tif", funnel, "EPSG:4326", transform)
        path = flow_paths(catalog, watershed_of(polygon), grid, coverage(polygon, grid))
        outlets.append(path.outlet[0])
        assert outlets[-1] == pytest.approx(-90 + (columns + 0.5) * CELL / 12)
    assert outlets[0] != outlets[1]


# --- bad input ---------------------------------------------------------------------------------


def test_polygons_off_the_dem(rough_world: tuple[Path, dict[str, float]]) -> None:
    catalog = make_catalog(rough_world[0], {"dem": "dem.tif"})
    for polygon in (box(10, 50, 10.2, 50.2), box(-93.2, 42.6, -93.1, 42.7)):
        grid = watershed_grid(polygon)
        with pytest.raises(InputError, match=r"dem.tif: spans .*: expected pixels in the water"):
            flow_paths(catalog, watershed_of(polygon), grid, coverage(polygon, grid))
    grid = watershed_grid(half := box(-94.1, 40.6, -93.3, 42.4))
    with pytest.raises(InputError, match=r"dem.tif: traces .* km2 to the outlet of 00000001, -\d"):
        flow_paths(catalog, watershed_of(half), grid, coverage(half, grid))


def test_a_projected_dem_far_from_the_polygon(tmp_path: Path) -> None:
    transform = north_up(500_000, 4_500_000, 100)
    write_dem(
        tmp_path / "dem.tif", np.random.default_rng(0).random((20, 20)), "EPSG:32615", transform
    )
    polygon = box(10, 50, 10.2, 50.2)
    grid = watershed_grid(polygon)
    catalog = make_catalog(tmp_path, {"dem": "dem.tif"})
    with pytest.raises(InputError, match=r"dem.tif: spans -92.9994.*00000001, 10.0000..10.2000"):
        flow_paths(catalog, watershed_of(polygon), grid, coverage(polygon, grid))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_that_are_no_dem(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dem.tif: not readable"):
        TerrainRaster.open(tmp_path / "dem.tif").flow_field()
    polygon = box(-90, 40, -89.9, 40.1)
    grid = watershed_grid(polygon)
    with pytest.raises(InputError, match=r"dem.tif: not readable \(No such file"):
        flow_paths(
            make_catalog(tmp_path, {"dem": "dem.tif"}), watershed_of(polygon), grid,
            coverage(polygon, grid),
        )  # fmt: skip
    (tmp_path / "dem.tif").write_text("not a raster")
    with pytest.raises(InputError, match=r"dem.tif: not readable"):
        TerrainRaster.open(tmp_path / "dem.tif").flow_field()
    transform = north_up(-90, 45, 0.1)
    write_dem(tmp_path / "dem.tif", np.ones((3, 3)), None, transform)
    with pytest.raises(InputError, match=r"dem.tif: has no CRS"):
        TerrainRaster.open(tmp_path / "dem.tif").flow_field()
    write_dem(tmp_path / "dem.tif", np.full((3, 3), np.nan), "EPSG:4326", transform)
    with pytest.raises(InputError, match=r"dem.tif: has no valid pixel"):
        TerrainRaster.open(tmp_path / "dem.tif").flow_field()


def test_an_area_that_is_off_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    field = drawn([[E] * 9 + [PIT]], -90.0, 45.0, CELL / 4)
    longer = box(-90, 45 - CELL / 4, -90 + 12 * CELL / 4, 45)  # two pixels past the DEM
    with caplog.at_level(logging.WARNING, logger="domst.pipeline.watersheds.flow_distance"):
        trace(field, longer)
    assert "drawn.tif: traces" in caplog.text
    assert "-16.7% off its polygon's" in caplog.text


# --- without terrain ---------------------------------------------------------------------------


def test_without_terrain_distances_are_straight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # a wedge: its tip is farthest from the centroid, its middle edge faces the tip
    polygon = shapely.Polygon([(-91, 45), (-90, 45.05), (-89.9, 45), (-90, 44.95)])
    grid = watershed_grid(polygon)
    share = coverage(polygon, grid)
    with caplog.at_level(logging.INFO, logger="domst.pipeline.watersheds.flow_distance"):
        path = flow_paths(make_catalog(tmp_path, None), watershed_of(polygon), grid, share)
    assert "00000001: no terrain: outlet guessed at -89.9000, 45.0000" in caplog.text
    assert path.method == "great-circle"
    assert path.traced_area is None
    assert path.outlet == (-89.9, 45.0)
    np.testing.assert_array_equal(np.isnan(path.distance), share == 0)
    for row, column in np.argwhere(share > 0.1):  # few points are sampled in a sliver
        centres = (np.arange(101) - 50) / 101 * CELL
        lon, lat = np.meshgrid(grid.x[column] + centres, grid.y[row] + centres)
        held = shapely.contains_xy(polygon, lon, lat)
        end_x, end_y = (np.full(held.sum(), degrees) for degrees in path.outlet)
        expected = SINUOSITY * np.mean(GEOD.inv(lon[held], lat[held], end_x, end_y)[2])
        assert path.distance[row, column] == pytest.approx(expected, rel=5e-3)


def test_a_watershed_smaller_than_a_cell_without_terrain(tmp_path: Path) -> None:
    polygon = box(-90.06, 40.0101, -90.0599, 40.0102)
    grid = watershed_grid(polygon)
    path = flow_paths(
        make_catalog(tmp_path, None), watershed_of(polygon), grid, coverage(polygon, grid)
    )
    assert path.distance.shape == (1, 1)
    assert 0 < path.distance[0, 0] < 30


# --- the real DEM ------------------------------------------------------------------------------


@pytest.fixture
def daddys_creek(domst_data: Path) -> Catalog:
    """The catalog of the real basin."""
    return load_catalog(Path(__file__).parents[3] / "catalogs" / "daddys_creek.yaml")


def test_daddys_creek(daddys_creek: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    (watershed,) = read_watersheds(daddys_creek)
    grid = watershed_grid(watershed.polygon)
    share = coverage(watershed.polygon, grid)
    path = flow_paths(daddys_creek, watershed, grid, share)
    assert not caplog.records
    assert path.traced_area == pytest.approx(358.6e6, rel=0.01)
    # the gauge: 35 59 55 N, 84 49 24 W (USGS site inventory)
    assert walk(path.outlet, (-84.8233, 35.9986)) < 300
    np.testing.assert_array_equal(np.isfinite(path.distance), share > 0)
    # an independent road: pyflwdir's own lengths in the DEM's plane, from the pixel at the gauge
    assert daddys_creek.terrain is not None
    dem = daddys_creek.resolve(daddys_creek.terrain.raster)
    with rasterio.open(dem) as source:
        elevation = source.read(1).astype(np.float32)
        elevation[elevation == source.nodata] = -9999
        transform = tuple(float(v) for v in source.transform)[:6]
        x, y = rasterio.warp.transform(LATLON, source.crs, *([v] for v in path.outlet))
        row, column = source.index(x[0], y[0])
    flow = pyflwdir.from_dem(elevation)
    cells = flow.stream_distance(unit="cell")
    basin = flow.basins(idxs=np.array([row * elevation.shape[1] + column])) > 0
    assert basin.sum() * transform[0] * -transform[4] == pytest.approx(path.traced_area, rel=1e-3)
    steps = (cells - cells[row, column])[basin]
    mean = float((path.distance * share * grid.cell_area)[share > 0].sum() / watershed.area)
    # a D8 step is one pixel's side or its diagonal
    assert 83.7 * steps.mean() < mean < 83.8 * np.sqrt(2) * steps.mean()


def test_the_sinuosity_without_terrain_is_that_of_the_real_basin(daddys_creek: Catalog) -> None:
    (watershed,) = read_watersheds(daddys_creek)
    grid = watershed_grid(watershed.polygon)
    share = coverage(watershed.polygon, grid)
    path = flow_paths(daddys_creek, watershed, grid, share)
    west, south, east, north = watershed.polygon.bounds
    lon, lat = np.meshgrid(np.linspace(west, east, 200), np.linspace(south, north, 200))
    inside = shapely.contains_xy(watershed.polygon, lon, lat)
    x, y = (np.full(inside.sum(), degrees) for degrees in path.outlet)
    straight = GEOD.inv(lon[inside], lat[inside], x, y)[2]
    traced = np.nansum(path.distance * share * grid.cell_area) / watershed.area
    assert traced / straight.mean() == pytest.approx(SINUOSITY, rel=0.05)


def test_nested_basins_agree_where_they_overlap(
    domst_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = domst_data / "daddys_creek"
    catalog = make_catalog(
        tmp_path, {"dem": str(folder / "dem.tif")}, str(folder / "basins" / "basins.shp")
    )
    basins = {w.site_no: w for w in read_watersheds(catalog)}
    grid = watershed_grid(basins["03539600"].polygon)
    paths, shares = {}, {}
    for site in ("03539600", "03539500", "03539000", "03538970"):
        shares[site] = coverage(basins[site].polygon, grid)
        paths[site] = flow_paths(catalog, basins[site], grid, shares[site])
        assert paths[site].traced_area == pytest.approx(basins[site].area, rel=0.06)
    # cells wholly in the child lie farther from the parent's outlet, all by the same length
    held = np.where(shares["03539600"] > 0.05, shares["03539600"], np.nan)
    inner = shares["03539000"] / held > 0.97
    further = (paths["03539600"].distance - paths["03539000"].distance)[inner]
    assert inner.sum() >= 2
    assert further.min() > 10_000
    assert np.ptp(further) < 500
