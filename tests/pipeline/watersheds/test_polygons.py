"""Polygon files against GDAL and geodesics: formats, repairs, antimeridian, areas."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import yaml
from shapely.geometry import MultiPolygon, Point, Polygon, box

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import coverage, region_grid, watershed_grid
from pipeline.watersheds.polygons import polygon_area, read_watersheds
from tests.pipeline.watersheds.test_coverage import (
    BASIN,
    GEOD,
    covered_area,
    quad_area,
    shares,
)

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
    with caplog.at_level(logging.WARNING, logger="domst.pipeline.watersheds.polygons"):
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


def test_small_faults_of_a_ring_are_repaired_and_large_ones_refused(tmp_path: Path) -> None:
    # the ring crosses itself beside its north-eastern corner
    spike = [(-90.0, 41.5), (-90.002, 41.5001), (-90.001, 41.5001)]
    faulty = Polygon([(-90.3, 41.5), (-90.3, 41.2), (-90.0, 41.2), *spike])
    assert not faulty.is_valid
    write(tmp_path, faulty)
    (repaired,) = read_watersheds(make_catalog(tmp_path))
    assert repaired.polygon.is_valid
    assert repaired.area == pytest.approx(polygon_area(BASIN), rel=1e-3)
    write(tmp_path, Polygon([(-90, 41), (-89, 42), (-89, 41), (-90, 42.5)]))
    with pytest.raises(InputError, match=r"basins.gpkg: 03539600: invalid ring \(Self-inters"):
        read_watersheds(make_catalog(tmp_path))


def test_a_repaired_polygon_between_good_ones(tmp_path: Path) -> None:
    spike = [(-90.0, 41.5), (-90.002, 41.5001), (-90.001, 41.5001)]
    faulty = Polygon([(-90.3, 41.5), (-90.3, 41.2), (-90.0, 41.2), *spike])
    far = box(-80.5, 30, -80, 30.2)
    write(tmp_path, far, faulty, BASIN, SITE_NO=[3, 2, 1], NAME=["far", "faulty", "basin"])
    found = read_watersheds(make_catalog(tmp_path, name_field="NAME"))
    assert [(w.site_no, w.name) for w in found] == [
        ("00000001", "basin"), ("00000002", "faulty"), ("00000003", "far"),
    ]  # fmt: skip
    assert [w.polygon.is_valid for w in found] == [True] * 3
    assert found[2].polygon.equals(far)
    for watershed in found:
        assert watershed.area == pytest.approx(polygon_area(watershed.polygon), rel=1e-12)


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
    with caplog.at_level(logging.WARNING, logger="domst.pipeline.watersheds.polygons"):
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
    with caplog.at_level(logging.WARNING, logger="domst.pipeline.watersheds.polygons"):
        (found,) = read_watersheds(make_catalog(tmp_path))
    assert "03539600: repaired: Self-intersection" in caplog.text
    assert found.area == pytest.approx(polygon_area(BASIN), rel=1e-9)
    grid = Grid.covering((-91, 41, -89, 42))
    np.testing.assert_allclose(coverage(found.polygon, grid), coverage(BASIN, grid), atol=1e-9)
    # parts that overlap count twice in the file and once on the ground: which was meant?
    write(tmp_path, MultiPolygon([BASIN, box(-90.2, 41.2, -89.9, 41.5)]))
    with pytest.raises(InputError, match=r"03539600: invalid ring .* its repair changes its area"):
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
    for site, *bounds in (
        (3539601, -90.9, 40, -89, 42),
        (3539600, -92, 41.1, -90.1, 42),
        (3539601, -92, 41.15, -89, 42),
        (3539600, -92, 40, -89, 41.4),
    ):
        tight = make_catalog(tmp_path, bounds=bounds)
        with pytest.raises(InputError, match=rf"yaml: bounds: .* hold the watershed of 0{site}"):
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
    with caplog.at_level(logging.WARNING, logger="domst.pipeline.watersheds.polygons"):
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
