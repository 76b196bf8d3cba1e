"""Polygon files that are cut, lack a part, or lie elsewhere than their CRS says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
from shapely.geometry import Point, box

from pipeline.errors import InputError
from pipeline.watersheds.polygons import polygon_area, read_watersheds
from tests.pipeline.watersheds.test_coverage import BASIN
from tests.pipeline.watersheds.test_polygons import make_catalog, write

SITES = [f"0353{k:04d}" for k in range(40)]


@pytest.fixture
def table() -> gpd.GeoDataFrame:
    """Forty detailed polygons, so that each file has several pages."""
    boxes = [box(-90 + k / 10, 41, -89.95 + k / 10, 41.05).segmentize(1e-3) for k in range(40)]
    return gpd.GeoDataFrame({"SITE_NO": SITES, "AREA": [1.0] * 40}, geometry=boxes, crs=4326)


def require_one_line(folder: Path, name: str, *words: str) -> None:
    """Reading `name` raises one line that names the file and has the words."""
    with pytest.raises(InputError) as error:
        read_watersheds(make_catalog(folder, file=name))
    message = str(error.value)
    assert message.startswith(str(folder / name))
    assert "\n" not in message
    assert "expected" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("name", ["basins.gpkg", "basins.geojson", "basins.parquet"])
def test_a_file_cut_short(tmp_path: Path, table: gpd.GeoDataFrame, name: str, share: float) -> None:
    path = tmp_path / name
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_file(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    require_one_line(tmp_path, name, "not readable", "whole copy")


@pytest.mark.parametrize("share", [None, 0, 0.02, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("part", [".shp", ".shx", ".dbf", ".prj"])
def test_a_part_of_a_shapefile_cut_short(
    tmp_path: Path, table: gpd.GeoDataFrame, part: str, share: float | None
) -> None:
    table.to_file(tmp_path / "basins.shp")
    path = tmp_path / f"basins{part}"
    content = path.read_bytes()
    path.unlink() if share is None else path.write_bytes(content[: int(share * len(content))])
    words = [".dbf"] if part == ".dbf" else [".shx"] if part == ".shx" else []
    require_one_line(tmp_path, "basins.shp", *words)


@pytest.mark.parametrize("content", [b"rubbish", b"\xff\x00\x81", b'GEOGCS["GCS_WGS_1984",DATUM['])
def test_a_damaged_prj(tmp_path: Path, table: gpd.GeoDataFrame, content: bytes) -> None:
    table.to_file(tmp_path / "basins.shp")
    (tmp_path / "basins.prj").write_bytes(content)
    require_one_line(tmp_path, "basins.shp", ".prj")


def test_a_crs_that_the_catalog_states(tmp_path: Path) -> None:
    projected = gpd.GeoDataFrame({"SITE_NO": ["1"]}, geometry=[BASIN], crs=4326).to_crs(26915)
    projected.to_file(tmp_path / "basins.shp")
    (tmp_path / "basins.prj").unlink()
    require_one_line(tmp_path, "basins.shp", "has no CRS", ".prj beside it", "watersheds.crs")
    (found,) = read_watersheds(make_catalog(tmp_path, file="basins.shp", crs="EPSG:26915"))
    assert found.polygon.equals_exact(BASIN, 1e-6, normalize=True)
    with pytest.raises(InputError, match=r"yaml: watersheds.crs: 'EPSG:0': expected an EPSG code"):
        read_watersheds(make_catalog(tmp_path, file="basins.shp", crs="EPSG:0"))


def test_a_choice_of_layers(tmp_path: Path, table: gpd.GeoDataFrame) -> None:
    path = tmp_path / "basins.gpkg"
    points = gpd.GeoDataFrame({"SITE_NO": ["9"]}, geometry=[Point(0, 0)], crs=4326)
    points.to_file(path, layer="gauges")
    table.to_file(path, layer="basins")
    assert len(read_watersheds(make_catalog(tmp_path))) == 40  # the only polygons
    table[:3].to_file(path, layer="some")
    require_one_line(tmp_path, "basins.gpkg", "layers basins, some: expected a choice of one")
    assert len(read_watersheds(make_catalog(tmp_path, layer="some"))) == 3
    with pytest.raises(InputError, match=r"layers gauges, basins, some: expected none, the"):
        read_watersheds(make_catalog(tmp_path, layer="none"))


Xy = tuple[float, float, float, float]


@pytest.mark.parametrize(
    ("bounds", "crs", "words"),
    [
        ((41.2, -90.3, 41.5, -90.0), 4326, "latitude swapped?"),
        ((41.2, -83.3, 41.5, -83.0), 4326, "latitude swapped?"),
        ((144, -38, 145, -37), 4269, "where this CRS is used"),  # Australia in a CRS of America
        ((-9295000, 4205000, -9270000, 4230000), 4326, "metres under a CRS of degrees?"),
        ((-90.3, 41.2, -90.0, 41.5), 3857, "these look like degrees"),
        ((-90.3, 41.2, -90.0, 41.5), 26915, "these look like degrees"),
        ((2581475, 5630000, 2600000, 5650000), 26915, "where this CRS is used"),
    ],
)
def test_coordinates_that_contradict_the_crs(
    tmp_path: Path, bounds: Xy, crs: int, words: str
) -> None:
    table = gpd.GeoDataFrame({"SITE_NO": ["3539600"]}, geometry=[box(*bounds)], crs=crs)
    table.to_file(tmp_path / "basins.gpkg")
    require_one_line(tmp_path, "basins.gpkg", words)


@pytest.mark.parametrize("crs", [4269, 26914, 26916, 5070, 3857])
def test_a_crs_of_the_zone_beside_is_right(tmp_path: Path, crs: int) -> None:
    write(tmp_path, BASIN, crs=crs)
    (found,) = read_watersheds(make_catalog(tmp_path))
    assert found.area == pytest.approx(polygon_area(BASIN), rel=1e-6)


def test_a_reported_area_tells_that_coordinates_are_swapped(tmp_path: Path) -> None:
    """In Europe both orders are places on land."""
    right = box(10.0, 47.0, 10.5, 47.4)
    write(tmp_path, box(47.0, 10.0, 47.4, 10.5), AREA=[polygon_area(right) / 1e6 * 1.01])
    with pytest.raises(InputError, match=r"\+4\d.*and -1.0% with longitude and latitude swapped"):
        read_watersheds(make_catalog(tmp_path, area_field="AREA"))
    write(tmp_path, right, AREA=[polygon_area(right) / 1e6 * 1.01])
    assert read_watersheds(make_catalog(tmp_path, area_field="AREA"))


FOREIGN: list[tuple[str, dict[str, str], Callable[[float], bool] | str]] = [
    ("agger_no_prj.shp", {}, "has no CRS: expected a .prj beside it"),
    ("basin_10_no_prj.zip", {}, "has no CRS"),
    ("hydrofabric_01073000.gpkg", {}, "fields .*: expected SITE_NO"),
]


@pytest.mark.parametrize(("name", "keys", "message"), FOREIGN)
def test_foreign_files(
    domst_data: Path, tmp_path: Path, name: str, keys: dict[str, str], message: str
) -> None:
    path = str(domst_data / "foreign" / "polygons" / name)
    with pytest.raises(InputError, match=message):
        read_watersheds(make_catalog(tmp_path, file=path, **keys))


def test_a_field_of_categories(tmp_path: Path, table: gpd.GeoDataFrame) -> None:
    """GeoParquet keeps the categories of pandas."""
    names = pd.Categorical(["Creek", None] + ["River"] * 38)
    table.assign(NAME=names, SITE_NO=pd.Categorical(SITES)).to_parquet(tmp_path / "basins.parquet")
    catalog = make_catalog(tmp_path, file="basins.parquet", name_field="NAME")
    found = [one.name for one in read_watersheds(catalog)]
    assert found == ["Creek", SITES[1]] + ["River"] * 38
