"""D8 rasters against hand-drawn maps, other codes of the same map, and the DEM's own route."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyflwdir
import pytest
import rasterio
import xarray as xr
import yaml
from shapely.geometry import box

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.check.checks import check_store
from pipeline.errors import InputError
from pipeline.store.read import open_watershed
from pipeline.watersheds.coverage import coverage, watershed_grid
from pipeline.watersheds.flow_directions import TerrainRaster, open_terrain
from pipeline.watersheds.flow_distance import flow_paths
from pipeline.watersheds.flow_field import FlowField
from pipeline.watersheds.polygons import polygon_area, read_watersheds
from tests.pipeline.handmade import World, write_polygons
from tests.pipeline.watersheds.test_flow_distance import CELL, GEOD, make_catalog, north_up, trace

# Arrows of a hand-drawn map: `o` is a pit, `.` has no direction
ARROWS: dict[str | tuple[int, ...], dict[str, int]] = {
    "esri": dict(zip("→↘↓↙←↖↑↗o.", (1, 2, 4, 8, 16, 32, 64, 128, 0, 247), strict=True)),
    "ldd": dict(zip("→↘↓↙←↖↑↗o.", (6, 3, 2, 1, 4, 7, 8, 9, 5, 255), strict=True)),
    # from their manuals: TauDEM's D8FlowDir, GRASS's r.watershed, WhiteboxTools' D8Pointer
    "taudem": dict(zip("→↘↓↙←↖↑↗o.", (1, 8, 7, 6, 5, 4, 3, 2, 0, 250), strict=True)),
    "grass": dict(zip("→↘↓↙←↖↑↗o.", (8, 7, 6, 5, 4, 3, 2, 1, -8, 250), strict=True)),
    "whitebox": dict(zip("→↘↓↙←↖↑↗o.", (2, 4, 8, 16, 32, 64, 128, 1, 0, 250), strict=True)),
    "clockwise": dict(zip("→↘↓↙←↖↑↗o.", (3, 4, 5, 6, 7, 8, 1, 2, 0, 250), strict=True)),
    "clockwise_east": dict(zip("→↘↓↙←↖↑↗o.", (1, 2, 3, 4, 5, 6, 7, 8, 0, 250), strict=True)),
    (7, 0, 1, 2, 3, 4, 5, 6): dict(
        zip("→↘↓↙←↖↑↗o.", (1, 2, 3, 4, 5, 6, 7, 0, 9, 250), strict=True)
    ),
}
STEPS = dict(zip("→↘↓↙←↖↑↗o", ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0),
                              (-1, 1), (0, 0)), strict=True))  # fmt: skip
MAP = [
    "↘↓↙→.",
    "→→↓↖.",
    "↗↑↓←↙",
    "→→o←↑",
    "...↗→",
]


def encode(lines: list[str], codes: str | tuple[int, ...]) -> np.ndarray:
    return np.array([[ARROWS[codes][arrow] for arrow in line] for line in lines])


def write(path: Path, values: np.ndarray, dtype: str = "uint8", **profile: object) -> Path:
    """A raster of pixels of half a cell."""
    settings = {
        "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1,
        "dtype": dtype, "crs": "EPSG:4326", "transform": north_up(-90, 45, CELL / 2), **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **settings) as file:
        file.write(values.astype(dtype), 1)
    return path


def drains_to(lines: list[str]) -> dict[tuple[int, int], tuple[int, int]]:
    """Where the water of each pixel ends, walking the arrows one by one."""
    ends = {}
    for start in ((r, c) for r, line in enumerate(lines) for c, a in enumerate(line) if a != "."):
        here = start
        while True:
            dr, dc = STEPS[lines[here[0]][here[1]]]
            there = here[0] + dr, here[1] + dc
            inside = 0 <= there[0] < len(lines) and 0 <= there[1] < len(lines[0])
            if there == here or not inside or lines[there[0]][there[1]] == ".":
                break
            here = there
        ends[start] = here
    return ends


def read_directions(path: Path, codes: str | tuple[int, ...]) -> FlowField:
    """The flow field of a whole D8 raster."""
    return TerrainRaster.open(path, codes).flow_field()


def same(one: FlowField, other: FlowField) -> None:
    for name in ("valid", "area", "upstream_area", "length"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# --- hand-drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ARROWS)
def test_a_hand_drawn_map(tmp_path: Path, codes: str | tuple[int, ...]) -> None:
    settings: dict[str, Any] = {} if codes in ("esri", "ldd") else {"nodata": 250}
    values = encode(MAP, codes)
    if isinstance(codes, tuple):
        values[values == 9] = 250  # a pit is a pixel without a direction
    path = write(tmp_path / "d8.tif", values, "int16", **settings)
    field = read_directions(path, codes)
    if isinstance(codes, tuple):
        assert field.valid.sum() == sum(arrow not in ".o" for line in MAP for arrow in line)
        return
    ends = drains_to(MAP)
    np.testing.assert_array_equal(field.valid, [[a != "." for a in line] for line in MAP])
    for end in set(ends.values()):
        upstream = [start for start, last in ends.items() if last == end]
        expected = sum(field.area[pixel] for pixel in upstream)
        assert field.upstream_area[end] == pytest.approx(expected)
        assert field.length[end] == 0
    assert len(set(ends.values())) > 2  # a pit, the edge, and pixels without a direction


def test_the_same_map_in_either_code_and_any_type(tmp_path: Path) -> None:
    whole = ["→→↘", "↗o←", "↑←↙"]
    expected = read_directions(write(tmp_path / "a.tif", encode(whole, "esri")), "esri")
    for codes in ARROWS:
        if isinstance(codes, str):
            path = write(tmp_path / "b.tif", encode(whole, codes), "int16")
            same(expected, read_directions(path, codes))
    for dtype in ("int16", "float32"):
        path = write(tmp_path / f"{dtype}.tif", encode(whole, "esri"), dtype)
        same(expected, read_directions(path, "esri"))
    # an inland pit is 255, or -1 in signed bytes; the file's own nodata counts too
    inland = encode(whole, "esri")
    inland[inland == 0] = -1
    same(expected, read_directions(write(tmp_path / "c.tif", inland, "int16"), "esri"))
    inland[inland == -1] = 255
    same(expected, read_directions(write(tmp_path / "d.tif", inland), "esri"))
    inland[0, 0] = 99
    field = read_directions(write(tmp_path / "e.tif", inland, nodata=99), "esri")
    assert field.valid.tolist() == [[False, True, True], [True] * 3, [True] * 3]


def test_wrong_codes_are_refused_by_name(tmp_path: Path) -> None:
    ldd = write(tmp_path / "ldd.tif", encode(MAP, "ldd"), nodata=255)
    with pytest.raises(
        InputError,
        match=r"ldd.tif: holds 3, 5, 6, 7, 9: expected esri codes, 1, 2, .*128, 0, 255, -1, or "
        r"terrain.codes: ldd, whose values these could be",
    ):
        read_directions(ldd, "esri")
    esri = write(tmp_path / "esri.tif", encode(MAP, "esri"), nodata=247)
    with pytest.raises(InputError, match=r"esri.tif: holds 0, 16, .*: expected ldd codes, 1, 2"):
        read_directions(esri, "ldd")
    other = encode(MAP, "esri")
    other[0, 0] = 33  # what ESRI writes for a pixel with two steepest ways
    with pytest.raises(InputError, match=r"two.tif: holds 33: expected esri codes, [^o]*255, -1$"):
        read_directions(write(tmp_path / "two.tif", other), "esri")


def test_circles_and_rasters_without_directions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d8.tif: 3 pixels drain in a circle: expected paths"):
        read_directions(write(tmp_path / "d8.tif", encode(["→←←", "↓o←"], "esri")), "esri")
    with pytest.raises(InputError, match=r"d8.tif: 4 pixels drain in a circle: expected paths"):
        read_directions(write(tmp_path / "d8.tif", encode(["→↓", "↑←"], "esri")), "esri")
    one = write(tmp_path / "d8.tif", encode(["o"], "esri"))
    with pytest.raises(InputError, match=r"d8.tif: has one pixel: expected a D8 raster of more"):
        read_directions(one, "esri")
    nothing = write(tmp_path / "d8.tif", np.full((3, 3), 247))
    with pytest.raises(InputError, match=r"d8.tif: has no valid pixel: expected D8 directions"):
        read_directions(nothing, "esri")
    nowhere = write(tmp_path / "d8.tif", encode(["→o"], "esri"), crs=None)
    with pytest.raises(
        InputError, match=r"d8.tif: has no CRS: expected one, or terrain.crs in the catalog"
    ):
        read_directions(nowhere, "esri")
    with pytest.raises(InputError, match=r"none.tif: not readable"):
        read_directions(tmp_path / "none.tif", "esri")


def test_a_polygon_that_the_directions_do_not_drain(tmp_path: Path) -> None:
    # both halves drain apart, so that no outlet has more than one of them
    apart = encode(["←←←→→→"] * 2, "esri")
    field = read_directions(write(tmp_path / "d8.tif", apart), "esri")
    whole = box(-90, 45 - CELL, -90 + 3 * CELL, 45)
    with pytest.raises(InputError, match=r"d8.tif: traces .* to the outlet of 00000001, -75.0% of"):
        trace(field, whole)


def test_a_crs_and_nodata_by_the_catalog(tmp_path: Path) -> None:
    values = encode(["→→↘", "↗o←", "↑←↙"], "ldd")
    values[0, 0] = 0
    whole = write(tmp_path / "a.tif", values, nodata=0)
    bare = write(tmp_path / "b.tif", values, crs=None)
    with pytest.raises(InputError, match=r"b.tif: has no CRS: expected one, or terrain.crs"):
        TerrainRaster.open(bare, "ldd")
    with pytest.raises(InputError, match=r"b.tif: holds 0: expected ldd codes"):
        TerrainRaster.open(bare, "ldd", "EPSG:4326").flow_field()
    found = TerrainRaster.open(bare, "ldd", "EPSG:4326", nodata=[0]).flow_field()
    same(found, read_directions(whole, "ldd"))
    heights = np.arange(9, dtype=np.float32).reshape(3, 3)
    heights[2, 2] = -9999.9  # which no float32 is
    dem = write(tmp_path / "dem.tif", heights, "float32")
    valid = TerrainRaster.open(dem, nodata=[-9999.9]).flow_field().valid
    assert valid.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    for crs, message in (("EPSG:3035", "expected metres"), ("nonsense", "expected an EPSG code")):
        with pytest.raises(InputError, match=message):
            TerrainRaster.open(bare, "ldd", crs)


def test_directions_in_netcdf(tmp_path: Path) -> None:
    """Whose rows may run south to north, and whose latitudes are a CRS."""
    values = encode(["→→↘", "↗o←", "↑←↙"], "ldd")
    expected = read_directions(write(tmp_path / "a.tif", values), "ldd")
    lat = xr.Variable("lat", 45 - CELL / 2 * (np.arange(3) + 0.5), {"units": "degrees_north"})
    lon = xr.Variable("lon", -90 + CELL / 2 * (np.arange(3) + 0.5), {"units": "degrees_east"})
    data = xr.Dataset({"ldd": (("lat", "lon"), values)}, {"lat": lat, "lon": lon})
    for one in (data, data.isel(lat=slice(None, None, -1))):
        one.to_netcdf(tmp_path / "ldd.nc")
        found = TerrainRaster.open(tmp_path / "ldd.nc", "ldd").flow_field()
        np.testing.assert_allclose(found.upstream_area, expected.upstream_area, rtol=1e-6)
    data.assign(height=data["ldd"]).to_netcdf(tmp_path / "several.nc")
    with pytest.raises(InputError, match=r"holds ldd, height: expected one in terrain.variable"):
        TerrainRaster.open(tmp_path / "several.nc", "ldd")
    found = TerrainRaster.open(tmp_path / "several.nc", "ldd", variable="ldd").flow_field()
    np.testing.assert_allclose(found.upstream_area, expected.upstream_area, rtol=1e-6)


# --- by the catalog ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terrain",
    [
        {},
        {"outlet_snap": 500},
        {"dem": "dem.tif", "d8": "d8.tif", "codes": "esri"},
        {"d8": "d8.tif"},
        {"dem": "dem.tif", "codes": "esri"},
        {"d8": "d8.tif", "codes": "keypad"},
        {"d8": "d8.tif", "codes": [1, 2, 3, 4, 5, 6, 7]},
        {"d8": "d8.tif", "codes": [1, 2, 3, 4, 5, 6, 7, 7]},
    ],
)
def test_one_raster_and_its_codes(tmp_path: Path, terrain: Mapping[str, object]) -> None:
    catalog = yaml.safe_load(make_catalog(tmp_path, None).path.read_text())
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(catalog | {"terrain": dict(terrain)}))
    with pytest.raises(InputError, match=r"other.yaml: terrain.*: .*(expected|esri)"):
        load_catalog(path)


def test_a_changed_raster_and_changed_codes_are_read_again(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path, {"d8": "d8.tif", "codes": "esri"})
    for lines in (["↓←", "↘↓"], ["↓←", "→o"]):
        expected = write(tmp_path / "d8.tif", encode(lines, "esri"))
        same(open_terrain(catalog).flow_field(), read_directions(expected, "esri"))
    with pytest.raises(InputError, match="expected ldd codes"):
        open_terrain(make_catalog(tmp_path, {"d8": "d8.tif", "codes": "ldd"})).flow_field()


def test_directions_reach_the_store_and_are_part_of_its_identity(world: World) -> None:
    """A basin of 4 x 3 cells: every row runs east, and the last column south to the corner."""
    side, rows, columns = CELL / 2, 6, 8
    west, north = -93.0 + CELL, 42.5 - CELL
    south_east = (west + columns * side, north - rows * side)
    write_polygons(
        world.folder / "basins.geojson", {"01000001": (west, south_east[1], south_east[0], north)}
    )
    lines = ["→" * (columns - 1) + "↓"] * (rows - 1) + ["→" * (columns - 1) + "o"]
    transform = north_up(west, north, side)
    d8 = write(world.folder / "d8.tif", encode(lines, "ldd"), transform=transform)
    world.edit(terrain={"d8": "d8.tif", "codes": "ldd"})
    assert world.run().exit_code == 0
    checks = {check.name: check for check in check_store(world.store)}
    assert checks["flow distance"].status == "PASS"
    basin = open_watershed(world.store, "01000001")
    assert basin.flow_distance_method == "d8"
    assert basin.traced_drainage_area_m2 == pytest.approx(basin.drainage_area_m2, rel=1e-6)
    assert basin.outlet == pytest.approx((south_east[0] - side / 2, south_east[1] + side / 2))
    along = basin.flow_distance.values
    assert (np.diff(along, axis=0) < 0).all()  # down each column, then
    assert (np.diff(along, axis=1) < 0).all()  # along each row, nearer
    # every pixel's way is so many pixels east and so many south
    east = GEOD.inv(west, north, west + side, north)[2]
    south = GEOD.inv(west, north, west, north - side)[2]
    assert along[0, 0] == pytest.approx(6.5 * east + 4.5 * south, rel=2e-3)
    detour = ["→" * (columns - 2) + "↓o", *lines[1:]]  # the corner drains nothing but itself
    write(d8, encode(detour, "ldd"), transform=transform)
    result = world.run()
    assert result.exit_code == 2
    assert "files of terrain have changed" in result.stderr
    again = world.command("run", world.catalog, "--store", world.store, "--yes")
    assert again.exit_code == 0, again.output
    shorter = open_watershed(world.store, "01000001").traced_drainage_area_m2
    assert shorter < basin.traced_drainage_area_m2


# --- the real DEM ------------------------------------------------------------------------------


@pytest.fixture
def daddys_creek(domst_data: Path) -> Catalog:
    return load_catalog(Path(__file__).parents[3] / "catalogs" / "daddys_creek.yaml")


def test_exported_directions_give_what_the_dem_gives(daddys_creek: Catalog, tmp_path: Path) -> None:
    assert daddys_creek.terrain is not None
    dem = daddys_creek.resolve(daddys_creek.terrain.raster)
    with rasterio.open(dem) as source:
        elevation = source.read(1, masked=True).astype(np.float32).filled(np.nan)
        profile = {"crs": source.crs, "transform": source.transform}
    flow = pyflwdir.from_dem(elevation, nodata=np.nan)
    (watershed,) = read_watersheds(daddys_creek)
    grid = watershed_grid(watershed.polygon)
    share = coverage(watershed.polygon, grid)
    expected = flow_paths(daddys_creek, watershed, grid, share)
    fields = [TerrainRaster.open(dem).flow_field()]
    for codes, ftype, nodata in (("esri", "d8", 247), ("ldd", "ldd", 255)):
        path = write(tmp_path / f"{codes}.tif", flow.to_array(ftype), nodata=nodata, **profile)
        fields.append(read_directions(path, codes))
        catalog = make_catalog(tmp_path, {"d8": path.name, "codes": codes})
        found = flow_paths(catalog, watershed, grid, share)
        assert found.outlet == expected.outlet
        assert found.traced_area == expected.traced_area
        np.testing.assert_array_equal(found.distance, expected.distance)
        assert found.method == "d8"
    for field in fields[1:]:
        for name in ("valid", "area", "upstream_area", "length"):
            np.testing.assert_array_equal(getattr(field, name), getattr(fields[0], name))


def test_a_watershed_of_one_pixel(tmp_path: Path) -> None:
    field = read_directions(write(tmp_path / "d8.tif", encode(["→→o"], "esri")), "esri")
    side = CELL / 2
    pixel = box(-90, 45 - side, -90 + side, 45)
    path = trace(field, pixel, snap=1.0)
    assert path.traced_area == pytest.approx(polygon_area(pixel), rel=1e-6)
    assert path.distance.shape == (1, 1)
    assert path.distance[0, 0] == pytest.approx(np.sqrt(polygon_area(pixel)) / 2, rel=1e-6)
