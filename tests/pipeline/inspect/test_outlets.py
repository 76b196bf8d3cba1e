"""Inspection and drafts of gauges as points, and of values below the time of the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_origin

from pipeline.inspect.description import OPEN
from pipeline.inspect.draft.catalog import draft_catalog
from pipeline.inspect.inspect_file import inspect_file

SITES = ["V3510", "V3520", "04JD305"]


def write_directions(path: Path) -> None:
    """A river that flows east along the middle row of a Lambert raster."""
    codes = np.full((21, 20), 5, np.uint8)  # south
    codes[11:] = 1  # north
    codes[10] = 3  # east, numbered clockwise from the north
    codes[0, :3], codes[20, :3], codes[5, 0] = (8, 1, 2), (6, 5, 4), 7  # out of the raster
    grid = {"transform": from_origin(820_000, 6_470_000, 1000, 1000), "crs": "EPSG:2154"}
    with rasterio.open(
        path, "w", "GTiff", width=20, height=21, count=1, dtype="uint8", nodata=0, **grid
    ) as file:
        file.write(codes, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_directions(tmp_path / "flow.tif")
    rows = "".join(
        f"{site},{825_500 + 4_000 * k},6459500,{50 * k + 20}\n" for k, site in enumerate(SITES)
    )
    (tmp_path / "gauges.csv").write_text(f"code,x,y,area_km2\n{rows}")
    for site in SITES:
        values = "\n".join(f"{one:.3f}" for one in [-99, -99, -99, *np.linspace(0.5, 9, 40)])
        (tmp_path / f"{site}.csv").write_text(f"201409150000\n{values}\n")
    return tmp_path


def test_gauges_as_points(folder: Path) -> None:
    found = inspect_file(folder / "gauges.csv")
    assert found.kind == "outlets"
    assert found.keys == {"site_field": "code", "crs": OPEN, "area_field": "area_km2"}
    assert found.sites == {"code": SITES}
    assert "825500..833500" in found.text()


@pytest.mark.parametrize(
    "text",
    [
        "site,lon,lat\nA,4.5,45.1\nA,4.6,45.2\nB,4.6,45.2\n",  # a site twice
        "site,lon,lat\nA1,4.5,\nB1,4.6,45.2\n",  # a place is missing
        "site,date,lon,lat\nA1,2012-07-01,4.5,45.1\nB1,2012-07-02,4.6,45.2\n",  # a track
        "site,name\nA1,Upper\nB1,Lower\n",
    ],
)
def test_other_tables_are_no_gauges(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    assert inspect_file(tmp_path / "table.csv").kind != "outlets"


def test_degrees_need_no_crs(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("site_no;longitude;latitude\n01;4.5;45.1\n02;4.6;45.2\n")
    found = inspect_file(tmp_path / "table.csv")
    assert (found.kind, found.keys) == ("outlets", {"site_field": "site_no"})


def test_values_below_a_time(folder: Path) -> None:
    found = inspect_file(folder / "V3510.csv")
    assert found.kind == "record"
    assert found.keys["start"] == {"first_line": "%Y%m%d%H%M"}
    assert found.keys["step"] == found.keys["units"] == OPEN
    assert found.keys["missing"] == [-99.0]
    assert "from 2014-09-15 00:00:00" in found.text()
    assert "refused" not in found.text()


@pytest.mark.parametrize("first", ["20140915", "99999999", "12", "discharge"])
def test_the_first_line_tells_whether_values_follow_a_time(tmp_path: Path, first: str) -> None:
    path = tmp_path / "q.txt"
    path.write_text(first + "\n" + "".join(f"{0.5 * k}\n" for k in range(30)))
    found = inspect_file(path)
    assert ("start" in found.keys) == (first == "20140915")
    assert "values" not in found.keys  # days


def test_a_draft_with_outlets(folder: Path) -> None:
    """The points' CRS is that of the terrain; sites of the records agree with theirs."""
    drafted = yaml.safe_load(draft_catalog(folder, folder / "catalog.yaml"))
    assert drafted["watersheds"] == {
        "outlets": "gauges.csv",
        "crs": "EPSG:2154",
        "site_field": "code",
        "area_field": "area_km2",
    }
    assert drafted["gauges"]["files"] == "{site}.csv"
    assert drafted["gauges"]["columns"] == {"site": None, "time": None, "discharge": 1}
    assert drafted["terrain"]["codes"] == "clockwise"
