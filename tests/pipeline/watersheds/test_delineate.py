"""Delineated watersheds against hand-drawn maps, a plain walk upstream, and real terrain."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyflwdir
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Transformer
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.watersheds import delineate, flow_directions
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.flow_directions import TerrainRaster
from pipeline.watersheds.flow_distance import flow_paths
from pipeline.watersheds.outlet_points import GaugePoint
from pipeline.watersheds.pixel_outline import pixel_outline
from pipeline.watersheds.polygons import polygon_area, read_watersheds
from tests.pipeline.watersheds.test_flow_distance import (
    GEOD,
    NE,
    NW,
    E,
    N,
    S,
    W,
    north_up,
    write_dem,
)

SIZE = 0.01  # degrees
WEST, NORTH = 4.0, 45.0
PIT = 0
STEPS = {1: (0, 1), 2: (1, 1), 4: (1, 0), 8: (1, -1), 16: (0, -1), 32: (-1, -1), 64: (-1, 0)} | {
    128: (-1, 1)
}
# A river from (2, 2) east to (2, 6), with a tributary from the south that joins it at (2, 5). What
# lies at the edge drains away.
DRAWN = np.array(
    [
        [N, N, N, N, N, N, N, N, N],
        [W, S, S, S, S, S, S, N, E],
        [W, E, E, E, E, E, E, E, E],
        [W, W, NE, E, E, N, NW, E, E],
        [W, W, E, E, E, N, W, E, E],
        [W, W, S, S, E, N, S, S, E],
        [S, S, S, S, S, S, S, S, S],
    ],
    np.uint8,
)
TRIBUTARY = {(3, 3), (3, 4), (3, 5), (4, 2), (4, 3), (4, 4), (4, 5), (4, 6), (5, 4), (5, 5)}
RIVER = {(1, c) for c in range(1, 7)} | {(2, c) for c in range(1, 7)} | {(3, 2), (3, 6)} | TRIBUTARY


def at(row: float, column: float) -> tuple[float, float]:
    """Centre of a drawn pixel."""
    return WEST + (column + 0.5) * SIZE, NORTH - (row + 0.5) * SIZE


def write_d8(
    path: Path, directions: np.ndarray, crs: str = "EPSG:4326", transform: Affine | None = None
) -> None:
    about: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 247}
    about |= {"height": directions.shape[0], "width": directions.shape[1], "crs": crs}
    with rasterio.open(
        path, "w", **about, transform=transform or north_up(WEST, NORTH, SIZE)
    ) as file:
        file.write(directions, 1)


def catalog_of(folder: Path, outlets: object, **keys: Any) -> Catalog:
    terrain = keys.pop("terrain", {"d8": "d8.tif", "codes": "esri"})
    path = folder / "catalog.yaml"
    settings = {
        "title": "gauges",
        "period": {"step": "day", "start": "2020-01-01", "end": "2020-01-02"},
        "forcings": {
            "precipitation": {"driver": "gdal", "files": "{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": {"format": "csv", "files": "q.csv", "units": "m3/s"},
        "watersheds": {"outlets": outlets, **keys},
        "terrain": terrain,
    }
    path.write_text(yaml.safe_dump(settings))
    return load_catalog(path)


def point(
    site: str, place: tuple[float, float], pixels: set[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """An outlet of a catalog, with the area of some drawn pixels."""
    known = {} if pixels is None else {"area": polygon_area(squares(pixels)) / 1e6}
    return {"site": site, "x": place[0], "y": place[1], **known, **more}


def squares(pixels: set[Any]) -> shapely.Geometry:
    return shapely.union_all([shapely.box(*_corners(*pixel)) for pixel in pixels])


def _corners(row: int, column: int) -> tuple[float, float, float, float]:
    west, north = WEST + column * SIZE, NORTH - row * SIZE
    return west, north - SIZE, west + SIZE, north


def walk_upstream(directions: np.ndarray, outlet: tuple[int, int]) -> set[tuple[int, int]]:
    """All pixels whose water reaches an outlet, neighbour by neighbour."""
    found, waiting = {outlet}, [outlet]
    while waiting:
        row, column = waiting.pop()
        for code, (down, right) in STEPS.items():
            above = row - down, column - right
            inside = 0 <= above[0] < directions.shape[0] and 0 <= above[1] < directions.shape[1]
            if inside and directions[above] == code and above not in found:
                found.add(above)
                waiting.append(above)
    return found


def plane(transform: Affine, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of positions (..., (row, column)) in pixels of a raster."""
    row, column = np.moveaxis(positions, -1, 0)
    return transform.a * column + transform.c, transform.e * row + transform.f


# --- by hand -----------------------------------------------------------------------------------


def test_nested_watersheds_are_those_drawn_by_hand(tmp_path: Path) -> None:
    write_d8(tmp_path / "d8.tif", DRAWN)
    corner = at(2.45, 6.45)  # of the pixel, whose centre is not within `snap`
    outlets = [point("A", corner, name="Lower"), point("B", at(3, 5), TRIBUTARY)]
    river, tributary = read_watersheds(catalog_of(tmp_path, outlets, snap="100m"))
    assert river.polygon.symmetric_difference(squares(RIVER)).area < 1e-12
    assert tributary.polygon.symmetric_difference(squares(TRIBUTARY)).area < 1e-12
    assert shapely.contains(river.polygon, tributary.polygon)
    assert river.area == pytest.approx(polygon_area(squares(RIVER)), rel=1e-9)
    assert (river.name, tributary.name) == ("Lower", "B")
    assert tributary.reported_area == pytest.approx(tributary.area)
    assert river.outlet is not None
    assert river.outlet.pixel == pytest.approx(at(2, 6))
    assert river.outlet.moved == pytest.approx(GEOD.inv(*corner, *at(2, 6))[2], rel=1e-4)


def test_a_known_area_decides_between_rivers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_d8(tmp_path / "d8.tif", DRAWN)
    gauge = at(3.2, 4.8)  # by the tributary, near the river
    known = catalog_of(tmp_path, [point("A", gauge, TRIBUTARY)], snap="2km")
    (one,) = read_watersheds(known)
    assert one.polygon.symmetric_difference(squares(TRIBUTARY)).area < 1e-12
    assert one.outlet is not None
    assert one.outlet.gauge == pytest.approx(gauge)
    assert one.outlet.moved == pytest.approx(GEOD.inv(*gauge, *at(3, 5))[2], rel=1e-4)
    assert not caplog.records
    (largest,) = read_watersheds(catalog_of(tmp_path, [point("A", gauge)], snap="2km"))
    assert largest.polygon.symmetric_difference(squares(RIVER)).area < 1e-12
    assert "A: moved" in caplog.text
    assert "a known area would decide" in caplog.text


def test_the_tolerance_of_areas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_d8(tmp_path / "d8.tif", DRAWN)
    outlet = point("A", at(2, 6), RIVER)
    outlet["area"] *= 0.6
    with pytest.raises(InputError, match=r"drains [\d.]+ km2 \(\+67%\): expected within 60%"):
        read_watersheds(catalog_of(tmp_path, [outlet], snap="10m", area_tolerance=0.6))
    (one,) = read_watersheds(catalog_of(tmp_path, [outlet], snap="10m", area_tolerance=0.7))
    assert one.polygon.symmetric_difference(squares(RIVER)).area < 1e-12
    assert "+66.7% off the reported" in caplog.text


def test_of_pixels_that_fit_alike_the_nearest_is_the_outlet(tmp_path: Path) -> None:
    ditch = np.full((5, 60), E, np.uint8)  # each pixel adds little to the one before
    ditch[[0, 1, 3, 4]] = np.array([N, S, N, S])[:, None]
    ditch[:, 0] = W
    write_d8(tmp_path / "d8.tif", ditch)
    (one,) = read_watersheds(catalog_of(tmp_path, [point("A", at(2.1, 50))], snap="3km"))
    assert one.outlet is not None
    assert one.outlet.pixel == pytest.approx(at(2, 50)), "not the largest, 3 km downstream"


@pytest.mark.parametrize(
    ("outlets", "keys", "fragments"),
    [
        ([point("A", (9.0, 45.0))], {}, ["A: at 9.0000 45.0000", "d8.tif, which spans 4.00"]),
        *[
            ([point("A", at(*pixel))], {"snap": "100m"}, ["A: its watershed", "may be cut off"])
            for pixel in ((0, 4), (2, 8), (6, 4), (3, 0))
        ],
        ([point("A", at(2, 6), TRIBUTARY)], {"snap": "100m"}, ["no river of it", "(+1", "20%"]),
        (
            [point("A", at(2, 6)), point("B", at(2.1, 6.1))],
            {},
            ["B and A are both moved to the pixel at 4.0650 44.9750"],
        ),
    ],
)
def test_refused_in_one_line(
    tmp_path: Path, outlets: list[dict[str, Any]], keys: dict[str, Any], fragments: list[str]
) -> None:
    write_d8(tmp_path / "d8.tif", DRAWN)
    with pytest.raises(InputError) as raised:
        read_watersheds(catalog_of(tmp_path, outlets, **{"snap": "500m", **keys}))
    message = str(raised.value)
    assert "\n" not in message
    for fragment in (str(tmp_path / "catalog.yaml"), "expected", *fragments):
        assert fragment in message


def test_terrain_without_data_around_a_gauge(tmp_path: Path) -> None:
    lake = DRAWN.copy()
    lake[2, 6] = 247
    write_d8(tmp_path / "d8.tif", lake)
    with pytest.raises(InputError, match=r"A: at .* no valid pixel within 100 m"):
        read_watersheds(catalog_of(tmp_path, [point("A", at(2, 6))], snap="100m"))
    with pytest.raises(InputError, match=r"A: its watershed.*reaches the edge.*in 4 pixels"):
        read_watersheds(catalog_of(tmp_path, [point("A", at(2, 5))], snap="100m"))


def test_terrain_cut_out_along_a_watershed_needs_its_known_area(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = np.full_like(DRAWN, 247)
    for pixel in RIVER:
        alone[pixel] = DRAWN[pixel]
    write_d8(tmp_path / "d8.tif", alone)
    with pytest.raises(InputError, match="or a known area that agrees within 10%"):
        read_watersheds(catalog_of(tmp_path, [point("A", at(2, 6))], snap="100m"))
    (one,) = read_watersheds(catalog_of(tmp_path, [point("A", at(2, 6), RIVER)], snap="100m"))
    assert one.polygon.symmetric_difference(squares(RIVER)).area < 1e-12
    assert "its known area agrees" in caplog.text
    less = {**point("A", at(2, 6), RIVER), "area": point("A", at(2, 6), RIVER)["area"] * 1.15}
    with pytest.raises(InputError, match=r"or a known area of [\d.]+ km2 that agrees"):
        read_watersheds(catalog_of(tmp_path, [less], snap="100m"))


# --- against a plain walk ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def hills() -> np.ndarray:
    """D8 of generated hills, 300 x 260 pixels; water leaves at the edges."""
    noise = np.random.default_rng(11).normal(size=(300, 260))
    elevation = 300 * gaussian_filter(noise, 8) + np.linspace(0, 40, 260)[None, :]
    flow = pyflwdir.from_dem(elevation.astype(np.float32), nodata=np.nan)
    return np.asarray(flow.to_array("d8"))


def test_windows_give_what_a_walk_over_the_whole_map_gives(
    tmp_path: Path, hills: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delineate, "FIRST_REACH", 0.1)  # so that windows have to be widened
    transform = Affine(1000, 0, 700_000, 0, -1000, 6_700_000)
    path = tmp_path / "d8.tif"
    write_d8(path, hills, "EPSG:2154", transform)
    terrain = TerrainRaster.open(path, "esri")
    to_lonlat = Transformer.from_crs(2154, 4326, always_xy=True)
    sizes: list[int] = []
    rng = np.random.default_rng(5)
    while len(sizes) < 6:
        outlet = int(rng.integers(20, 280)), int(rng.integers(20, 240))
        walked = np.array(sorted(walk_upstream(hills, outlet)))
        if len(walked) < 40 or (walked == 0).any() or (walked == (299, 259)).any():
            continue
        x, y = plane(transform, np.array(outlet) + 0.5)
        gauge = GaugePoint("A", "A", *to_lonlat.transform(float(x), float(y)), None)
        basin = delineate.find_basin(terrain, gauge, snap=10.0)
        assert basin.inside.sum() == len(walked)
        polygon = pixel_outline(basin.inside, basin.field.crs, basin.field.transform)
        assert polygon.is_valid
        centres = shapely.points(*to_lonlat.transform(*plane(transform, walked + 0.5)))
        assert shapely.contains(polygon, centres).all()
        corners = np.add(walked[:, None], [(0, 0), (1, 0), (1, 1), (0, 1)])
        lon, lat = to_lonlat.transform(*plane(transform, corners))
        geodesic = sum(
            abs(GEOD.polygon_area_perimeter(*one)[0]) for one in zip(lon, lat, strict=True)
        )
        assert polygon_area(polygon) == pytest.approx(geodesic, rel=1e-6)
        assert basin.area == pytest.approx(polygon_area(polygon), rel=1e-7)
        known = replace(gauge, area=basin.area)  # the place and the area of the same pixel
        found = delineate.find_basin(terrain, known, snap=3000.0)
        assert found.area == pytest.approx(basin.area, rel=1e-9)
        assert found.moved < 1
        sizes.append(len(walked))
    assert max(sizes) > 400


def test_windows_of_a_dem_are_wide_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(3).normal(size=(400, 400))
    elevation = 300 * gaussian_filter(noise, 12) + 30 * gaussian_filter(noise[::-1], 3)
    write_dem(tmp_path / "dem.tif", elevation, "EPSG:4326", north_up(WEST, NORTH, 1 / 240))
    terrain = TerrainRaster.open(tmp_path / "dem.tif")
    whole = terrain.flow_field()
    middle = np.zeros_like(whole.valid)
    middle[150:250, 150:250] = True
    large = np.flatnonzero(middle & (whole.upstream_area > 2e8) & (whole.upstream_area < 2e9))
    gauges = [
        GaugePoint("A", "A", float(whole.lon.flat[k]), float(whole.lat.flat[k]), None)
        for k in np.random.default_rng(1).choice(large, 5, replace=False)
    ]
    exact = [delineate.find_basin(terrain, gauge, 1500.0).area for gauge in gauges]
    monkeypatch.setattr(flow_directions, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(delineate, "DEM_MARGIN", 40)
    monkeypatch.setattr(delineate, "FIRST_REACH", 0.5)
    windows = [delineate.find_basin(terrain, gauge, 1500.0) for gauge in gauges]
    assert [one.area for one in windows] == pytest.approx(exact, rel=0.01)
    assert any(one.field.valid.size < whole.valid.size for one in windows)


@given(arrays(bool, (6, 7)).filter(np.any), st.booleans())
def test_an_outline_holds_its_pixels_and_no_other(inside: np.ndarray, projected: bool) -> None:
    crs = CRS.from_epsg(2154 if projected else 4326)
    transform = Affine(900, 0, 7e5, 0, -1000, 6.7e6) if projected else north_up(4, 45, 0.25)
    polygon = pixel_outline(inside, crs, transform)
    assert polygon.is_valid
    centres = np.moveaxis(np.indices(inside.shape) + 0.5, 0, -1)
    place = Transformer.from_crs(crs, 4326, always_xy=True).transform(*plane(transform, centres))
    assert (shapely.contains_xy(polygon, *place) == inside).all()


def test_a_basin_across_the_antimeridian(tmp_path: Path) -> None:
    write_d8(tmp_path / "d8.tif", DRAWN, "EPSG:3460", Affine(9e4, 0, 1.6e6, 0, -9e4, 4.2e6))
    place = Transformer.from_crs(3460, 4326, always_xy=True)
    lon, lat = place.transform(1.6e6 + 6.5 * 9e4, 4.2e6 - 2.5 * 9e4)
    (one,) = read_watersheds(catalog_of(tmp_path, [point("A", (lon, lat))], snap="100m"))
    west, _, east, _ = one.polygon.bounds
    assert 150 < west < 180 < east < 200
    assert one.area == pytest.approx(len(RIVER) * 8.1e9, rel=0.02)


# --- real terrain ------------------------------------------------------------------------------

NESTED = {  # of the creek, from the agency: longitude, latitude, drainage area [mi2]
    "03539600": (-84.823, 35.998, 139.0),
    "03539500": (-84.914, 35.925, 93.5),
    "03539000": (-84.944, 35.892, 51.2),
}


def test_nested_gauges_of_a_real_creek(domst_data: Path, tmp_path: Path) -> None:
    folder = domst_data / "daddys_creek"
    outlets = [
        {"site": site, "x": lon, "y": lat, "area": area}
        for site, (lon, lat, area) in NESTED.items()
    ]
    catalog = catalog_of(
        tmp_path, outlets, area_units="mi2", snap="1km", terrain={"dem": str(folder / "dem.tif")}
    )
    found = {one.site_no: one for one in read_watersheds(catalog)}
    shipped = catalog.model_copy(
        update={
            "watersheds": type(catalog.watersheds)(
                file=str(folder / "basins/basins.shp"), site_field="SITE_NO", sites=list(NESTED)
            )
        }
    )
    for theirs in read_watersheds(shipped):
        ours = found[theirs.site_no].polygon
        agreement = ours.intersection(theirs.polygon).area / ours.union(theirs.polygon).area
        assert agreement > 0.92
    sizes = [found[site] for site in NESTED]
    for outer, inner in pairwise(sizes):
        assert shapely.covers(outer.polygon, inner.polygon)
    for one in sizes:
        grid = watershed_grid(one.polygon)
        path = flow_paths(catalog, one, grid, coverage(one.polygon, grid))
        assert path.traced_area == pytest.approx(one.area, rel=1e-9)
        assert one.outlet is not None
        assert path.outlet == pytest.approx(one.outlet.pixel)


def test_the_rhine_on_real_directions(
    domst_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    d8 = domst_data / "foreign/flowdir/rhine_d8_codes_0_and_247.tif"
    caplog.set_level(logging.WARNING)
    catalog = catalog_of(
        tmp_path,
        [{"site": "Mouth", "x": 4.046, "y": 51.829, "area": 195_451}],
        snap="100m",
        terrain={"d8": str(d8), "codes": "esri"},
    )
    (rhine,) = read_watersheds(catalog)
    assert rhine.area / 1e6 == pytest.approx(195_451, rel=4e-3), "published for a sphere"
    geodesic = GEOD.geometry_area_perimeter(shapely.orient_polygons(rhine.polygon))
    assert rhine.area == pytest.approx(geodesic[0], rel=1e-6)
    assert rhine.outlet is not None
    assert rhine.outlet.pixel == pytest.approx((4.046, 51.829), abs=1e-3)
    assert "its known area agrees" in caplog.text
