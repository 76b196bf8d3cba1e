"""The store's layout, read back with xarray, and what opening refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely
import xarray as xr
import zarr
from pyproj import CRS, Geod

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError, RunError
from pipeline.store.read import list_sites, open_gauges, open_region, open_watershed
from pipeline.store.root import array_of, attributes_of, open_root
from pipeline.store.write import writing
from tests.pipeline.handmade import BOXES, DAYS, World
from tests.pipeline.stores import unmark

SITE = "01000001"


def test_layout_follows_the_conventions(stored: World):
    tree = xr.open_datatree(
        stored.store, engine="zarr", consolidated=False, chunks=None, decode_coords="all"
    )
    assert set(tree.children) == {"region", "gauges", "watersheds", "progress"}
    assert list(tree["watersheds"].site_no.values) == sorted(BOXES)
    assert tree.attrs["Conventions"] == "CF-1.11"
    assert tree.attrs["synthetic"] == 1
    for group in (tree["region"].to_dataset(), open_watershed(stored.store, SITE)):
        assert group["precipitation"].dims == ("time", "y", "x")
        assert group["precipitation"].attrs["units"] == "mm"
        assert "time: sum" in group["precipitation"].attrs["cell_methods"]
        assert CRS.from_cf(group["spatial_ref"].attrs) == CRS.from_epsg(4326)
        assert np.all(np.diff(group["y"]) < 0), "row 0 is the northernmost"
    time, bounds = tree["region"]["time"], tree["time_bnds"]
    expected = np.datetime64("2020-01-01") + np.arange(DAYS + 1)
    np.testing.assert_array_equal(time.values, expected[:-1])
    np.testing.assert_array_equal(bounds.values, np.stack((expected[:-1], expected[1:]), axis=1))


def test_a_block_is_a_file(stored: World):
    array = array_of(open_root(stored.store), "region/precipitation")
    assert array.shards == (3, *array.shape[1:])
    assert array.chunks == array.shards
    files = {path.name for path in (stored.store / "region/precipitation/c").iterdir()}
    assert files == {"0", "1", "2", "3"}


def test_watershed_holds_what_the_model_needs(stored: World):
    west, south, east, north = BOXES[SITE]
    assert list_sites(stored.store) == sorted(BOXES)
    data = open_watershed(stored.store, SITE).load()
    polygon = shapely.from_wkt(data.polygon.item())
    assert polygon.equals(shapely.box(west, south, east, north))
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(polygon, 1e-3))[0])
    assert data.attrs["drainage_area_m2"] == pytest.approx(area, rel=1e-6)
    assert float((data.coverage * data.cell_area).sum()) == pytest.approx(area, rel=1e-6)
    # 5 arc-minute cells of which the watershed's box takes some part
    assert data.sizes["x"] == np.ceil(east * 12 - 1e-9) - np.floor(west * 12 + 1e-9)
    assert data.sizes["y"] == np.ceil(north * 12 - 1e-9) - np.floor(south * 12 + 1e-9)
    depth = data.discharge * 86400 / area * 1000  # m3 s-1 over a day and the area, in mm
    np.testing.assert_allclose(data.runoff, depth, rtol=1e-6)


def test_region_and_gauges(stored: World):
    region, gauges = open_region(stored.store).load(), open_gauges(stored.store).load()
    assert list(gauges.site_no.values) == sorted(BOXES)
    for row, site in enumerate(sorted(BOXES)):
        data = open_watershed(stored.store, site)
        np.testing.assert_array_equal(gauges.discharge[row], data.discharge)
        longitude, latitude = data.attrs["outlet"]
        cell = region.sel(x=longitude, y=latitude, method="nearest")
        assert float(cell.x) == float(region.x[gauges.cell_x[row]])
        assert float(cell.y) == float(region.y[gauges.cell_y[row]])
        np.testing.assert_array_equal(
            data.precipitation, region.precipitation.sel(x=data.x, y=data.y)
        )


def test_an_unfinished_store_is_not_opened(stored: World):
    unmark(stored.store, 2)
    with pytest.raises(InputError, match=r"1 of 4 blocks are not done"):
        open_watershed(stored.store, SITE)


def test_unknown_site_names_the_known_ones(stored: World):
    with pytest.raises(InputError, match="'nowhere': expected one of 01000001, 01000002"):
        open_watershed(stored.store, "nowhere")


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "group", "damaged"])
def test_what_is_not_a_store_is_refused(tmp_path, kind: str):
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("no store")
    elif kind == "folder":
        path.mkdir()
    elif kind == "group":
        zarr.create_group(path)
    elif kind == "damaged":
        path.mkdir()
        (path / "zarr.json").write_text('{"zarr_format":')
    with pytest.raises(InputError, match=re.escape(str(path))):
        open_root(path)


def test_other_blocks_are_refused(stored: World):
    stored.edit(block_steps=4)
    result = stored.run()
    assert result.exit_code == 2
    assert "block_steps is 3 there: expected 4" in result.stderr


def test_the_catalog_is_kept_word_by_word(stored: World):
    kept = attributes_of(open_root(stored.store))["provenance"]["catalog"]
    assert kept["text"] == stored.catalog.read_text()
    assert kept["sha256"] == load_catalog(stored.catalog).digest


def test_writing_names_the_store_and_the_reason(tmp_path):
    with (
        pytest.raises(RunError, match=r"store: not written \(No space left on device\)"),
        writing(tmp_path / "store"),
    ):
        raise OSError(28, "No space left on device")
