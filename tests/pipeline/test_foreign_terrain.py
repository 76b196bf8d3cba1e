"""Flow directions and polygons of other countries and models: drafted, completed by hand, read.

The lines by hand are what the draft leaves open; the docs count them. The verified figures are
those of the data's own README.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.inspect.draft.catalog import draft_catalog
from pipeline.inspect.inspect_file import inspect_file
from pipeline.watersheds.flow_directions import open_terrain
from pipeline.watersheds.polygons import read_watersheds

Lines = list[tuple[str, str]]


def drafted(files: list[Path], folder: Path) -> Path:
    """The draft of a folder with some files."""
    folder.mkdir()
    for path in files:
        (folder / path.name).symlink_to(path)
    catalog = folder / "catalog.yaml"
    catalog.write_text(draft_catalog(folder, catalog))
    return catalog


def complete(catalog: Path, by_hand: Lines) -> None:
    for line, changed in by_hand:
        assert catalog.read_text().count(line) == 1, catalog.read_text()
        catalog.write_text(catalog.read_text().replace(line, changed))


# Pixels, and km2, of the greatest basin; the areas of the Rhine were verified on a sphere.
DIRECTIONS: list[tuple[str, Lines, int | None, float | None]] = [
    ("lisflood_fraser_ldd.nc", [], 327, None),
    ("lisflood_po_laea_ldd.nc", [("crs: OPEN", "crs: EPSG:3035")], 722, 18050.0),
    ("wflow_rhine_ldd.map", [], None, 171223.0),
    ("esri_d8_float_nodata255.asc", [], 5845, None),
    ("global_ldd_30min.tif", [], None, 5.92e6),
    ("rhine_d8_codes_0_and_247.tif", [], 349847, 195451.0),
]


@pytest.mark.parametrize(
    ("name", "by_hand", "pixels", "km2"), DIRECTIONS, ids=[one[0] for one in DIRECTIONS]
)
def test_drafted_directions(
    domst_data: Path,
    tmp_path: Path,
    name: str,
    by_hand: Lines,
    pixels: int | None,
    km2: float | None,
) -> None:
    catalog = drafted([domst_data / "foreign/flowdir" / name], tmp_path / "raw")
    complete(catalog, by_hand)
    field = open_terrain(load_catalog(catalog)).flow_field()
    greatest = field.accumulate(np.ones(field.area.shape)).max()
    assert pixels is None or greatest == pixels
    assert km2 is None or field.upstream_area.max() / 1e6 == pytest.approx(km2, rel=4e-3)


def test_directions_in_another_numbering_are_refused(domst_data: Path, tmp_path: Path) -> None:
    """Which in TauDEM's no value contradicts: read as LDD, most paths are circles."""
    path = domst_data / "foreign/flowdir/esri_d8_float_nodata255.asc"
    catalog = drafted([path], tmp_path / "raw")
    complete(catalog, [("codes: esri", "codes: whitebox")])
    with pytest.raises(InputError, match=r"pixels drain in a circle: .* \(terrain.codes\?\)"):
        open_terrain(load_catalog(catalog)).flow_field()


def test_a_matrix_without_a_header_is_not_used(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "foreign/flowdir/headless_matrix_flwdir1.asc"
    text = drafted([path], tmp_path / "raw").read_text()
    assert f"# not used: {path.name}: 200 numbers in the first line, without a header" in text


def test_upstream_areas_are_no_elevations(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "foreign/flowdir/global_upstream_area_30min_km2.tif"
    assert "terrain:" not in drafted([path], tmp_path / "raw").read_text()


POLYGONS: list[tuple[str, Lines, int, float]] = [  # sites, and km2 together
    ("broken_river_invalid.shp", [], 1, 6488.8),
    ("agger_no_prj.shp", [("crs: OPEN", "crs: EPSG:31466")], 13, 817.6),
    ("basin_10_no_prj.zip", [], 1, 1066.7),
    ("catchments_mixed_geometry.geojson", [], 4, 110.7),
    ("salmon_river_bare_feature.geojson", [], 1, 4213.0),
    ("hydrofabric_01073000.gpkg", [], 5, 31.66),
]


@pytest.mark.parametrize(
    ("name", "by_hand", "sites", "km2"), POLYGONS, ids=[one[0] for one in POLYGONS]
)
def test_drafted_polygons(
    domst_data: Path, tmp_path: Path, name: str, by_hand: Lines, sites: int, km2: float
) -> None:
    path = domst_data / "foreign/polygons" / name
    parts = sorted(path.parent.glob(f"{path.stem}.*"))
    catalog = drafted(parts, tmp_path / "raw")
    if by_hand:
        with pytest.raises(InputError, match=r"watersheds.crs: OPEN: expected a value"):
            load_catalog(catalog)
    complete(catalog, by_hand)
    watersheds = read_watersheds(load_catalog(catalog))
    assert len(watersheds) == sites
    assert sum(one.area for one in watersheds) / 1e6 == pytest.approx(km2, rel=1e-3)


def test_another_zone_of_polygons_is_refused(domst_data: Path, tmp_path: Path) -> None:
    """Gauss-Krueger's numbers are far outside of UTM."""
    parts = sorted((domst_data / "foreign/polygons").glob("agger_no_prj.*"))
    catalog = drafted(parts, tmp_path / "raw")
    complete(catalog, [("crs: OPEN", "crs: EPSG:25832")])
    with pytest.raises(InputError, match=r"agger_no_prj.shp: spans .*where this CRS is used"):
        read_watersheds(load_catalog(catalog))


def test_overlapping_polygons_are_told(domst_data: Path, tmp_path: Path) -> None:
    text = inspect_file(domst_data / "foreign/polygons/catchments_mixed_geometry.geojson").text()
    assert "some overlap: 55.3569 km2 together" in text
