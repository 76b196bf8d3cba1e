"""Site numbers that lost their zeros: repaired where it is certain, refused elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.catalog.models import Catalog, load_catalog
from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.watersheds.polygons import read_watersheds


def make_catalog(
    folder: Path,
    polygons: list[str | int],
    records: list[str],
    sites: list[str] | None = None,
    agency: str | None = None,
) -> Catalog:
    """A catalog of polygons and a CSV with these site numbers; the k-th record holds 10 + k."""
    features = [
        {
            "type": "Feature",
            "properties": {"site": site},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[k, 40], [k + 1, 40], [k + 1, 41], [k, 41], [k, 40]]],
            },
        }
        for k, site in enumerate(polygons)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "basins.geojson").write_text(json.dumps(collection))
    lines = [f"{site},2012-07-01,{10 + k}\n" for k, site in enumerate(records)]
    (folder / "q.csv").write_text("site_no,datetime,discharge\n" + "".join(lines))
    gauges = {"format": "csv", "files": "q.csv", "units": "m3/s"}
    watersheds: dict[str, object] = {"file": "basins.geojson", "site_field": "site"}
    text = {
        "title": "test",
        "root": str(folder),
        "period": {"step": "day", "start": "2012-07-01", "end": "2012-08-01"},
        "forcings": {
            "precipitation": {"driver": "geotiff", "files": "p_{time:%Y%m%d}.tif", "units": "mm"}
        },
        "gauges": gauges | ({"agency": agency} if agency else {}),
        "watersheds": watersheds | ({"sites": sites} if sites else {}),
    }
    path = folder / "catalog.yaml"
    path.write_text(json.dumps(text))  # JSON is YAML
    return load_catalog(path)


def read_both(catalog: Catalog) -> dict[str, float]:
    """By site number of the watersheds the value of its record."""
    sites = [one.site_no for one in read_watersheds(catalog)]
    return {site: one.discharge[0] for site, one in read_gauges(catalog, sites).items()}


@pytest.mark.parametrize(
    ("polygons", "records", "sites", "agency", "expected"),
    [
        (["00398", "401"], ["401", "00398"], None, None, {"00398": 11, "401": 10}),
        (["398"], ["398"], None, None, {"398": 10}),
        (["03539600"], ["3539600"], None, None, {"03539600": 10}),  # the polygons say it
        (["03539600"], ["3539600.0"], None, None, {"03539600": 10}),
        ([3539600], ["3539600"], ["03539600"], None, {"03539600": 10}),  # the catalog says it
        ([3539600], ["03539600"], ["03539600"], None, {"03539600": 10}),
        ([3539600], ["03539600"], None, "usgs", {"03539600": 10}),  # the agency
        (["03539600"], ["3539600"], None, "usgs", {"03539600": 10}),
        (["V3524010", "04JD005"], ["04JD005", "V3524010"], None, None,
         {"04JD005": 10, "V3524010": 11}),
    ],
)  # fmt: skip
def test_joined(
    tmp_path: Path,
    polygons: list[str | int],
    records: list[str],
    sites: list[str] | None,
    agency: str | None,
    expected: dict[str, float],
) -> None:
    assert read_both(make_catalog(tmp_path, polygons, records, sites, agency)) == expected


@pytest.mark.parametrize(
    ("polygons", "records", "sites", "message"),
    [
        ([398], ["00398"], None, r"q.csv: holds the site 00398, wanted is 398: expected one spel"),
        (
            ["00398"],
            ["00398", "398"],
            None,
            r"q.csv: holds the site 00398 and 398, wanted",
        ),
        (["00398", "398"], ["398"], None, r"geojson: several polygons of 00398, 398: expected one"),
        (["00398"], ["398"], ["398"], r"geojson: holds the site 00398, wanted is 398: .*agency"),
        (["00398"], ["399"], None, r"q.csv: holds 399: expected a record of 00398"),
    ],
)
def test_refused_with_both_spellings(
    tmp_path: Path,
    polygons: list[str | int],
    records: list[str],
    sites: list[str] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        read_both(make_catalog(tmp_path, polygons, records, sites))
