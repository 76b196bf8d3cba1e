"""Gauges as points: CSV files, vector files and lists, and what of them is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
import yaml
from pyproj import Transformer

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.watersheds.outlet_points import GaugePoint, read_outlets

LAMBERT = Transformer.from_crs(2154, 4326, always_xy=True)
PLACES = {"V1": (4.0, 45.0), "V2": (4.1, 45.05)}
X, Y = Transformer.from_crs(4326, 2154, always_xy=True).transform(4.0, 45.0)


def outlets(folder: Path, watersheds: dict[str, Any]) -> list[GaugePoint]:
    catalog = {
        "title": "gauges",
        "period": {"step": "day", "start": "2020-01-01", "end": "2020-01-02"},
        "forcings": {
            "precipitation": {"driver": "gdal", "files": "{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": {"format": "csv", "files": "q.csv", "units": "m3/s"},
        "watersheds": watersheds,
        "terrain": {"dem": "dem.tif"},
    }
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump(catalog))
    return read_outlets(load_catalog(path))


def of_text(folder: Path, text: str, **keys: Any) -> list[GaugePoint]:
    (folder / "gauges.csv").write_text(text, encoding="utf-8")
    return outlets(folder, {"outlets": "gauges.csv", **keys})


def test_longitudes_and_latitudes_in_a_table(tmp_path: Path) -> None:
    text = "\ufeffsite,Name,river,LON,LAT,Area\n\nV2,,Cance,4.1,45.05,12.5\nV1,Upper,,4.0,45,\n"
    assert of_text(tmp_path, text) == [
        GaugePoint("V1", "Upper", 4.0, 45.0, None),
        GaugePoint("V2", "V2", 4.1, 45.05, 12.5e6),
    ]


def test_a_projection_decimal_commas_and_named_columns(tmp_path: Path) -> None:
    number = [f"{value:.2f}".replace(".", ",") for value in (X, Y)]
    text = f"code;est;nord;bassin;x;y\n00398;{number[0]};{number[1]};100,5;1;2\n"
    (one,) = of_text(
        tmp_path, text, crs="EPSG:2154", site_field="code", x_field="est", y_field="nord",
        area_field="bassin", area_units="mi2",
    )  # fmt: skip
    assert one.site_no == "00398"
    assert (one.lon, one.lat) == pytest.approx((4.0, 45.0), abs=1e-7)
    assert one.area == pytest.approx(100.5 * 1609.344**2)


def test_plane_coordinates_are_taken_where_the_catalog_has_their_crs(tmp_path: Path) -> None:
    text = f"site_no,lon,lat,x,y\nV1,4.2,45.2,{X},{Y}\n"
    assert of_text(tmp_path, text)[0].lon == 4.2
    assert of_text(tmp_path, text, crs="EPSG:2154")[0].lon == pytest.approx(4.0)


def test_a_list_in_the_catalog(tmp_path: Path) -> None:
    listed = [
        {"site": "V2", "x": X, "y": Y, "area": 3, "name": "Lower"},
        {"site": "V1", "x": X, "y": Y},
    ]
    first, second = outlets(tmp_path, {"outlets": listed, "crs": "EPSG:2154"})
    assert (first.site_no, first.name, first.area) == ("V1", "V1", None)
    assert (second.site_no, second.name, second.area) == ("V2", "Lower", 3e6)
    assert (second.lon, second.lat) == pytest.approx((4.0, 45.0), abs=1e-7)


@pytest.mark.parametrize("name", ["g.gpkg", "g.geojson", "g.shp", "g.parquet"])
def test_point_files(tmp_path: Path, name: str) -> None:
    table = gpd.GeoDataFrame(
        {"site": list(PLACES), "area": [5.0, 0.0]},
        geometry=[shapely.Point(*place) for place in PLACES.values()],
        crs=4326,
    )
    if name != "g.geojson":
        table = table.to_crs(2154)
    table.to_parquet(tmp_path / name) if "parquet" in name else table.to_file(tmp_path / name)
    found = outlets(tmp_path, {"outlets": name})
    for one in found:
        assert (one.lon, one.lat) == pytest.approx(PLACES[one.site_no], abs=1e-6)
    assert [one.area for one in found] == [5e6, None]
    (only,) = outlets(tmp_path, {"outlets": name, "sites": ["V2"]})
    assert only.site_no == "V2"


@pytest.mark.parametrize(
    ("text", "keys", "fragments"),
    [
        ("id,lon,lat\nV1,4,45\n", {}, ["columns id, lon, lat", "expected site or site_no"]),
        ("site,lon,lat\nV1,4,45\n", {"area_field": "A"}, ["site, lon, lat", "expected A"]),
        ("site,east,north\nV1,4,45\n", {}, ["expected lon and lat or", "x_field"]),
        ("site,lon,lat\nV1,4,45\n", {"x_field": "lon", "y_field": "b"}, ["expected lon and b"]),
        ("site,lon,lat\nV1,4,45\n\nV1,4,45\n", {}, ["several outlets of V1"]),
        ("site,lon,lat\nV1,4,\n", {}, ["line 2: lat: '': expected a number"]),
        ("site,lon,lat\n\nV1,4_0,45\n", {}, ["line 3: lon: '4_0'"]),
        ("site,lon,lat\nV1,nan,45\n", {}, ["line 2: lon: 'nan'"]),
        ('site,lon,lat,area\nV1,4,45,"1,234"\n', {}, ["line 2: area: '1,234'"]),
        ("site,lon,lat\nV1,4,45,6\n", {}, ["line 2: 4 values: expected 3"]),
        ('site,lon,lat\n"V1,4,45\n', {}, ["expected a row of CSV"]),
        ("site,lon,lon,lat\nV1,4,4,45\n", {}, ["several columns lon"]),
        ("site,lon,lat\n,4,45\n", {}, ["site ''"]),
        ("site,lon,lat\n", {}, ["holds no outlet"]),
        ("", {}, ["is empty"]),
        ("site,lon,lat\nV1,4,45\n", {"sites": ["V9"]}, ["no outlet of V9"]),
        ("site,x,y\nV1,800000,6400000\n", {}, ["expected longitudes", "watersheds.crs"]),
        ("site,lon,lat\nV1,4,45\n", {"crs": "EPSG:2154"}, ["expected metres"]),
        ("site,x,y\nV1,6400000,800000\n", {"crs": "EPSG:2154"}, ["x and y swapped?"]),
        ("site,x,y\nV1,4,45\n", {"crs": "EPSG:1"}, ["watersheds.crs"]),
    ],
)  # fmt: skip
def test_refused_in_one_line(
    tmp_path: Path, text: str, keys: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(InputError) as raised:
        of_text(tmp_path, text, **keys)
    message = str(raised.value)
    assert str(tmp_path) in message
    assert "\n" not in message
    for fragment in ("expected", *fragments):
        assert fragment in message


def test_polygons_are_no_points(tmp_path: Path) -> None:
    table = gpd.GeoDataFrame({"site": ["V1"]}, geometry=[shapely.box(4, 45, 5, 46)], crs=4326)
    table.to_file(tmp_path / "g.gpkg")
    with pytest.raises(InputError, match=r"V1: geometry is Polygon: expected a point"):
        outlets(tmp_path, {"outlets": "g.gpkg"})


@pytest.mark.parametrize(
    ("watersheds", "fragment"),
    [
        ({}, "expected one of file and outlets"),
        ({"file": "a.gpkg", "outlets": "g.csv", "site_field": "a"}, "expected one of file and"),
        ({"file": "a.gpkg"}, "site_field"),
        ({"file": "a.gpkg", "site_field": "a", "snap": "2km"}, "snap: expected with outlets only"),
        ({"outlets": []}, "outlets"),
        ({"outlets": [{"site": "a", "x": 1}]}, "outlets.list.0.y: missing"),
        ({"outlets": [{"site": "a", "x": 1, "Y": 1}]}, "did you mean y?"),
        ({"outlets": [{"site": "a", "x": 1, "y": 2, "area": -1}]}, "outlets.list.0.area"),
        ({"outlets": [{"site": "a", "x": 1, "y": 2}], "name_field": "n"}, "name_field: expected"),
        ({"outlets": "g.csv", "x_field": "a"}, "expected both of x_field and y_field"),
        ({"outlets": "g.csv", "snap": "2 miles"}, "expected a length such as 500m or 2km"),
        ({"outlets": "g.csv", "snap": 0}, "snap"),
        ({"outlets": "g.csv", "area_tolerance": 20}, "area_tolerance"),
    ],
)
def test_catalogs_that_contradict_themselves(
    tmp_path: Path, watersheds: dict[str, Any], fragment: str
) -> None:
    with pytest.raises(InputError) as raised:
        outlets(tmp_path, watersheds)
    assert "watersheds" in str(raised.value)
    assert fragment in str(raised.value)
