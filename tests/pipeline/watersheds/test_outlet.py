"""Outlets found in windows of a raster against those of the whole raster."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyflwdir
import pytest
import rasterio
import shapely
from shapely.geometry import box

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.watersheds import flow_directions
from pipeline.watersheds import outlet as windows
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.flow_directions import TerrainRaster, open_terrain
from pipeline.watersheds.flow_distance import FlowPath, flow_paths, traced_paths
from pipeline.watersheds.flow_field import FlowField, Sides
from pipeline.watersheds.outlet import find_outlet, locate_outlet
from pipeline.watersheds.polygons import Watershed, read_watersheds
from tests.pipeline.watersheds.test_flow_distance import (
    CELL,
    PIT,
    SEA,
    E,
    N,
    S,
    W,
    make_catalog,
    north_up,
    watershed_of,
)

SIZE = CELL / 50  # degrees; a pixel of the drawn rasters, some 190 m
SNAP = 100.0


def traced(catalog: Catalog, watershed: Watershed) -> FlowPath:
    """What a task computes of a watershed."""
    grid = watershed_grid(watershed.polygon)
    return flow_paths(catalog, watershed, grid, coverage(watershed.polygon, grid))


def traced_on(field: FlowField, watershed: Watershed, snap: float) -> FlowPath:
    """Flow distances on a whole raster."""
    grid = watershed_grid(watershed.polygon)
    outlet = locate_outlet(field, watershed, snap)
    return traced_paths(outlet, watershed, grid, coverage(watershed.polygon, grid))


def assert_same(found: FlowPath, expected: FlowPath) -> None:
    np.testing.assert_allclose(found.outlet, expected.outlet, rtol=0, atol=1e-9)
    assert found.traced_area == pytest.approx(expected.traced_area, rel=1e-9)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-9)
    assert found.slope == (expected.slope and pytest.approx(expected.slope, rel=1e-6))


def export_directions(dem: Path, d8: Path) -> None:
    """Write the D8 directions that pyflwdir derives from a whole DEM."""
    with rasterio.open(dem) as source:
        elevation = source.read(1, masked=True).astype(np.float32).filled(np.nan)
        profile = source.profile | {"dtype": "uint8", "nodata": 247}
    with rasterio.open(d8, "w", **profile) as file:
        file.write(pyflwdir.from_dem(elevation, nodata=np.nan).to_array("d8"), 1)


def draw(folder: Path, directions: np.ndarray) -> Catalog:
    """A catalog whose D8 raster has its corner at 90 W, 45 N, and pixels of `SIZE`."""
    rows, columns = directions.shape
    with rasterio.open(
        folder / "d8.tif", "w", driver="GTiff", height=rows, width=columns, count=1, dtype="uint8",
        crs="EPSG:4326", transform=north_up(-90, 45, SIZE), nodata=247,
    ) as file:  # fmt: skip
        file.write(directions.astype(np.uint8), 1)
    terrain = {"d8": "d8.tif", "codes": "esri", "outlet_snap": SNAP}
    return make_catalog(folder, terrain)


def pixels(rows: slice, columns: slice) -> Watershed:
    """The watershed of a block of pixels."""
    west, north = -90 + columns.start * SIZE, 45 - rows.start * SIZE
    return watershed_of(box(west, 45 - rows.stop * SIZE, -90 + columns.stop * SIZE, north))


# --- the window gives what the whole raster gives ----------------------------------------------


@pytest.mark.parametrize("kind", ["d8", "dem", "large dem"])
def test_23_watersheds_in_windows(
    rough_world: tuple[Path, dict[str, float]],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dem, polygons = rough_world[0] / "dem.tif", str(rough_world[0] / "basins.gpkg")
    terrain = {"dem": str(dem)}
    if kind == "d8":
        export_directions(dem, tmp_path / "d8.tif")
        terrain = {"d8": "d8.tif", "codes": "esri"}
    catalog = make_catalog(tmp_path, terrain, polygons)
    raster = open_terrain(catalog)
    with monkeypatch.context() as patch:
        patch.setattr(flow_directions, "WHOLE_PIXELS", 0)
        whole = raster.flow_field()
    if kind == "large dem":
        monkeypatch.setattr(flow_directions, "WHOLE_PIXELS", 0)
    shares = []
    for watershed in read_watersheds(catalog):
        assert_same(traced(catalog, watershed), traced_on(whole, watershed, 1000.0))
        shares.append(find_outlet(raster, watershed, 1000.0).inside.size / whole.valid.size)
    assert np.median(shares) < (0.4 if kind == "large dem" else 0.1)


def test_the_real_basins_in_windows(
    domst_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_directions, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(windows, "DEM_MARGIN", 4)  # the DEM is not much larger than the basin
    folder = domst_data / "daddys_creek"
    catalog = make_catalog(
        tmp_path, {"dem": str(folder / "dem.tif")}, str(folder / "basins" / "basins.shp")
    )
    raster = open_terrain(catalog)
    whole = raster.flow_field()
    shares = []
    for watershed in read_watersheds(catalog):
        if watershed.site_no in {"03539600", "03539500", "03539000", "03538970"}:
            assert_same(traced(catalog, watershed), traced_on(whole, watershed, 1000.0))
            shares.append(find_outlet(raster, watershed, 1000.0).inside.size / whole.valid.size)
    assert len(shares) == 4
    assert sorted(shares)[1] < 0.5


def test_truncated_upstream_areas(
    rough_world: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    export_directions(rough_world[0] / "dem.tif", tmp_path / "d8.tif")
    raster = TerrainRaster.open(tmp_path / "d8.tif", "esri")
    whole = raster.flow_field()
    for window in ((slice(0, 90), slice(0, 120)), (slice(200, 280), slice(500, 600)),
                   (slice(410, 500), slice(300, 420)), (slice(0, 500), slice(0, 600))):  # fmt: skip
        field = raster.flow_field(window)
        assert field.cut == Sides(
            window[0].start > 0, window[0].stop < 500, window[1].start > 0, window[1].stop < 600
        )
        complete = ~field.truncated
        np.testing.assert_allclose(
            field.upstream_area[complete], whole.upstream_area[window][complete], rtol=1e-9
        )
        # on the inner sides each pixel may have water from beyond, on the raster's own sides none
        rows, columns = np.indices(field.valid.shape)
        edge = field.cut.north & (rows == 0) | field.cut.south & (rows == rows.max())
        edge |= field.cut.west & (columns == 0) | field.cut.east & (columns == columns.max())
        for pixel in np.argwhere(field.valid)[::211]:
            reaches = (field.upstream((pixel[0], pixel[1])) & edge).any()
            assert field.truncated[pixel[0], pixel[1]] == reaches


# --- basins that are larger than the window ----------------------------------------------------


def test_the_window_is_widened_to_the_whole_basin(tmp_path: Path) -> None:
    # a ditch along the raster; the polygon holds its last 100 pixels, the basin 48 more
    directions = np.full((300, 400), N)
    directions[150, 222:370] = E
    directions[151:, 222:370] = S  # nothing else drains to the ditch
    directions[150, 370] = PIT
    catalog = draw(tmp_path, directions)
    watershed = pixels(slice(150, 151), slice(270, 370))
    found = find_outlet(open_terrain(catalog), watershed, SNAP)
    assert found.upstream_area == pytest.approx(1.48 * watershed.area, rel=1e-3)
    whole = open_terrain(catalog).flow_field()
    assert_same(traced(catalog, watershed), traced_on(whole, watershed, SNAP))


def test_a_river_that_leaves_the_window_and_comes_back(tmp_path: Path) -> None:
    # the upper 60 % of the polygon drain to the west, out of the narrowest window, and back
    directions = np.full((300, 300), SEA)
    directions[100:120, 150:170] = E
    directions[100:120, 169] = S
    directions[111, 130:170] = W
    directions[100:111, 150:169] = E
    directions[111, 130] = S
    directions[112:119, 130] = S
    directions[119, 130:169] = E
    directions[119, 169] = PIT
    catalog = draw(tmp_path, directions)
    watershed = pixels(slice(100, 120), slice(150, 170))
    found = find_outlet(open_terrain(catalog), watershed, SNAP)
    whole = open_terrain(catalog).flow_field()
    assert found.agreement > 0.75
    assert_same(traced(catalog, watershed), traced_on(whole, watershed, SNAP))


def river_and_brook() -> np.ndarray:
    """Directions of a river down column 40 of 3000 rows, and a brook into it.

    The brook drains rows 2000 to 2011 of columns 20 to 39, and the river itself rows 2012 to 2019.
    """
    directions = np.full((3000, 60), 16)  # west, off the raster
    directions[:, 41:] = 1  # east, off the raster
    directions[:, 40] = S
    directions[2000:2020, 20:40] = E
    directions[2000:2011, 39] = S
    return directions


def test_a_river_from_beyond_the_widest_window_is_not_the_outlet(tmp_path: Path) -> None:
    catalog = draw(tmp_path, river_and_brook())
    raster = open_terrain(catalog)
    # of the polygon, the brook drains 60 %, and the river all: in a window it seems to agree better
    watershed = pixels(slice(2000, 2020), slice(20, 40))
    window = raster.window_around(watershed.polygon, 300.0, windows.D8_MARGIN, windows.WIDER[-1])
    assert window is not None
    seeming = locate_outlet(raster.flow_field(window), watershed, 300.0, complete=False)
    assert seeming.pixel[1] + window[1].start == 40
    found = find_outlet(raster, watershed, 300.0)
    assert found.upstream_area == pytest.approx(0.6 * watershed.area, rel=1e-3)
    whole = raster.flow_field()
    expected = locate_outlet(whole, watershed, 300.0)
    assert found.upstream_area == pytest.approx(expected.upstream_area, rel=1e-9)
    assert found.agreement == pytest.approx(expected.agreement, rel=1e-9)


def test_a_polygon_of_nothing_but_a_greater_river(tmp_path: Path) -> None:
    catalog = draw(tmp_path, river_and_brook())
    reach = pixels(slice(1000, 1010), slice(40, 41))
    with pytest.raises(
        InputError, match=r"d8.tif: traces more than \d.* km2 to every outlet of 00000001: expected"
    ):
        traced(catalog, reach)
    expected = locate_outlet(open_terrain(catalog).flow_field(), reach, SNAP)
    assert expected.upstream_area > 90 * reach.area


# --- windows -----------------------------------------------------------------------------------


def test_only_the_window_is_read(tmp_path: Path) -> None:
    directions = np.full((200, 300), SEA)
    directions[100:102, 200:202] = ((E, S), (E, PIT))
    directions[0, 0] = 99  # wrong codes and circles far away are not seen
    directions[0, 10:12] = (E, 16)
    raster = open_terrain(draw(tmp_path, directions))
    block = pixels(slice(100, 102), slice(200, 202))
    found = find_outlet(raster, block, SNAP)
    assert found.upstream_area == pytest.approx(block.area, rel=1e-3)
    assert found.inside.shape[0] < 100
    with pytest.raises(InputError, match="holds 99"):
        raster.flow_field()


@pytest.mark.parametrize("away", [0.0, 5.0, 17.5, 500.0])
def test_polygons_beside_the_raster(tmp_path: Path, away: float) -> None:
    catalog = draw(tmp_path, np.full((50, 40), S))
    beside = [
        pixels(slice(-away - 10, -away), slice(-away - 10, -away)),
        pixels(slice(50 + away, 60 + away), slice(40 + away, 50 + away)),
        pixels(slice(10, 20), slice(40 + away, 50 + away)),
    ]
    for watershed in beside:
        with pytest.raises(
            InputError, match=r"d8.tif: spans -89.9992..-89.9342, 44.9175..44.9992:"
        ):
            traced(catalog, watershed)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32615", "EPSG:3413"])
def test_the_window_holds_the_polygon_its_surroundings_and_a_margin(
    tmp_path: Path, crs: str
) -> None:
    polygon = shapely.Point(-93.1, 72.3).buffer(0.05)
    to_raster = rasterio.warp.transform("EPSG:4326", crs, [-93.1], [72.3])
    size = 1 / 1200 if crs == "EPSG:4326" else 90.0
    corner = to_raster[0][0] - 500 * size, to_raster[1][0] + 500 * size
    profile = {
        "driver": "GTiff", "height": 1000, "width": 1000, "count": 1, "dtype": "uint8",
        "crs": crs, "transform": north_up(*corner, size),
    }  # fmt: skip
    with rasterio.open(tmp_path / "d8.tif", "w", **profile) as file:
        file.write(np.full((1000, 1000), 4, np.uint8), 1)
    raster = TerrainRaster.open(tmp_path / "d8.tif", "esri")
    window = raster.window_around(polygon, 2000.0, 5, 0.0)
    assert window is not None
    field = raster.flow_field(window)
    _, near = windows._masks(field, watershed_of(polygon), 2000.0)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
    for held, size in ((rows, near.shape[0]), (columns, near.shape[1])):
        assert 5 <= held[0] < 60  # pixels get narrower towards the pole
        assert 5 <= size - 1 - held[-1] < 60
    whole = raster.flow_field()
    np.testing.assert_allclose(field.lon, whole.lon[window], atol=1e-9)
    np.testing.assert_allclose(field.area, whole.area[window], rtol=1e-6)


def write_empty(folder: Path, crs: str, west: float, north: float, size: float) -> TerrainRaster:
    """A D8 raster of 100 x 100 pixels that all drain south."""
    profile = {
        "driver": "GTiff", "height": 100, "width": 100, "count": 1, "dtype": "uint8",
        "crs": crs, "transform": north_up(west, north, size),
    }  # fmt: skip
    with rasterio.open(folder / "d8.tif", "w", **profile) as file:
        file.write(np.full((100, 100), S, np.uint8), 1)
    return TerrainRaster.open(folder / "d8.tif", "esri")


def test_a_polygon_where_the_projection_has_no_or_other_coordinates(tmp_path: Path) -> None:
    far = box(-3, 1, -2.9, 1.1)
    raster = write_empty(tmp_path, "EPSG:32615", 500_000, 4_500_000, 100)
    assert raster.window_around(far, 100.0, 1, 0.0) is None
    # PROJ's fast series goes astray: it has a place for the polygon that is 875 degrees north
    astray = "+proj=tmerc +lon_0=-93 +approx"
    raster = write_empty(tmp_path, astray, 18_550_000, 700_000, 1_000)
    assert raster.window_around(far, 100.0, 1, 0.0) is None


def test_a_projected_raster_across_the_antimeridian(tmp_path: Path) -> None:
    raster = write_empty(tmp_path, "EPSG:32660", 700_000, 5_700_000, 500)
    polygon = box(180.2, 51.2, 180.3, 51.3)  # as read_watersheds counts there
    window = raster.window_around(polygon, 100.0, 1, 0.0)
    assert window is not None
    assert raster.window_around(box(-179.8, 51.2, -179.7, 51.3), 100.0, 1, 0.0) == window


def test_a_raster_around_the_pole(tmp_path: Path) -> None:
    raster = write_empty(tmp_path, "EPSG:3413", -100_000, 100_000, 2000)
    window = raster.window_around(shapely.Point(120, 89.7).buffer(0.05), 2000.0, 3, 0.0)
    assert window is not None
    assert raster.window_around(shapely.Point(120, 80).buffer(0.05), 2000.0, 3, 0.0) is None


# --- as tasks ----------------------------------------------------------------------------------


def test_threads_and_other_processes_trace_the_same(
    rough_world: tuple[Path, dict[str, float]],
) -> None:
    catalog = make_catalog(rough_world[0], {"dem": "dem.tif"})
    watersheds = read_watersheds(catalog)
    expected = [traced(catalog, watershed) for watershed in watersheds]
    with ThreadPoolExecutor(4) as pool:
        in_threads = list(pool.map(traced, [catalog] * len(watersheds), watersheds))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(traced, catalog, watersheds[-1]).result()
    for found, one in zip([*in_threads, elsewhere], [*expected, expected[-1]], strict=True):
        assert (found.outlet, found.traced_area) == (one.outlet, one.traced_area)
        np.testing.assert_array_equal(found.distance, one.distance)
