"""Discharge records of other countries and models: drafted, completed by hand, and read.

Each record lies in a folder with two polygons. The lines by hand are what the draft leaves open;
the docs count them. The verified figures are those of the data's own README.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.inspect.draft.catalog import draft_catalog
from pipeline.units import discharge_factor
from pipeline.watersheds.polygons import read_watersheds

UNITS = "units: OPEN"
ZONE = ("time_zone: OPEN", "time_zone: Etc/GMT-10")
Lines = list[tuple[str, str]]
# file, site, lines by hand, unit; rows, missing, least, largest and mean value in that unit
RECORDS: list[tuple[str, str, Lines, str, tuple[int, int, float, float, float]]] = [
    ("grdc_9104020.day", "9104020", [], "m3/s", (792, 0, 53.0, 2630.0, np.nan)),
    (
        "grdc_new_layout_fictive_Q_Day.Cmd.txt", "123456789", [], "m3/s",
        (33, 0, 1.0, 33.0, 17.0),
    ),
    (
        "zrxp_oberammergau.dat", "16610709", [(UNITS, "units: m3/s")], "m3/s",
        (3348, 0, 0.8, 45.0, np.nan),
    ),
    ("hzb_kloesterle.dat", "200071", [], "m3/s", (3287, 0, np.nan, 48.8, np.nan)),
    ("hzb_207373_Q-Tagesmittel.csv", "207373", [], "m3/s", (6211, 1, np.nan, 10185.0, np.nan)),
    (
        "headerless_grendon_underwood.csv", "39017",
        [(UNITS, "units: m3/s"), ("sites: [OPEN]", "sites: ['39017']")], "m3/s",
        (13606, 1172, 0.0, 4.86, np.nan),
    ),
    (
        "nve_hydag_2200022.txt", "2200022", [(UNITS, "units: m3/s")], "m3/s",
        (15705, 673, np.nan, 156.6, 8.19),
    ),
    (
        "camels_us_03015500_streamflow_qc.txt", "03015500", [(UNITS, "units: cfs")], "ft3/s",
        (1096, 0, 42.0, 6380.0, np.nan),
    ),
    (
        "camels_gb_33029_daily.csv", "33029", [(UNITS, "units: mm/day")], "mm/day",
        (3653, 0, np.nan, np.nan, 0.544),
    ),
    (
        "caravan_two_basins.nc", "camels_01022500", [], "mm/day",
        (366, 0, np.nan, np.nan, np.nan),
    ),
    (
        "caravan_camelsaus_102101A.nc", "camelsaus_102101A", [], "mm/day",
        (3652, 185, np.nan, np.nan, 1.85),
    ),
    (
        "eccc_04JD005_Daily_Flow_ts.csv", "04JD005", [(UNITS, "units: m3/s")], "m3/s",
        (17898, 0, 0.873, 382.0, np.nan),
    ),
    ("hydat_subset.sqlite3", "05AA008", [], "m3/s", (7305, 0, np.nan, np.nan, np.nan)),
    ("hydroportail_J2023010.csv", "J2023010", [], "m3/s", (15510, 0, 0.059, 48.1, 1.816)),
    (
        "wmis_406265_streamflow_15min.csv", "406265",
        [(UNITS, "units: ML/day"), ZONE, ("[OPEN, '170']", "['170']")], "ML/day",
        (12000, 3000, 0.0, np.nan, np.nan),
    ),
    (
        "delwp_404204_MeanWaterFlow_head.csv", "404204",
        [(UNITS, "units: ML/day"), ZONE, ("[OPEN, '9', '8']", "[]")], "ML/day",
        (6000, 0, 0.0, 529.99, np.nan),
    ),
    (
        "pcraster_Lobith.tss", "Lobith",
        [(UNITS, "units: m3/s"), ("start: OPEN", "start: 1990-12-31")], "m3/s",
        (6079, 8, np.nan, np.nan, np.nan),
    ),
    ("hydromt_two_stations.nc", "1", [], "m3/s", (10958, 0, 0.0, np.nan, np.nan)),
    (
        "raven_salmon_08KC001_1995_2010.nc", "08KC001", [], "m3/s",
        (5844, 1443, np.nan, np.nan, 30.5),
    ),
]  # fmt: skip


def folder_with(path: Path, site: str, folder: Path) -> Path:
    """A folder with a record and two polygons, the first of its site."""
    folder.mkdir()
    (folder / path.name).symlink_to(path)
    features = []
    for k, name in enumerate((site, "X999")):
        ring = [[k, 45], [k + 1, 45], [k + 1, 46], [k, 46], [k, 45]]
        properties = {"object": f"{k + 1000}", "code": name, "river": "a" if k else "b"}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / "basins.geojson").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "site", "by_hand", "units", "verified"), RECORDS, ids=[one[0] for one in RECORDS]
)
def test_a_drafted_catalog_reads_a_record(
    domst_data: Path,
    tmp_path: Path,
    name: str,
    site: str,
    by_hand: Lines,
    units: str,
    verified: tuple[int, int, float, float, float],
) -> None:
    folder = folder_with(domst_data / "foreign" / "gauges" / name, site, tmp_path / "raw")
    path = folder / "catalog.yaml"
    path.write_text(draft_catalog(folder, path))
    if by_hand:
        with pytest.raises(InputError, match=r"OPEN: expected a value"):
            load_catalog(path)
    for line, changed in by_hand:
        assert path.read_text().count(line) == 1, path.read_text()
        path.write_text(path.read_text().replace(line, changed))
    catalog = load_catalog(path)
    (watershed,) = read_watersheds(catalog)
    assert watershed.site_no == site
    record = read_gauges(catalog, [site], {site: watershed.gauged_area})[site]
    assert catalog.gauges.units == units
    values = record.discharge / discharge_factor(units, watershed.area)
    rows, missing, *figures = verified
    assert (values.size, int(np.isnan(values).sum())) == (rows, missing)
    found = (np.nanmin(values), np.nanmax(values), np.nanmean(values))
    for value, expected in zip(found, figures, strict=True):
        assert np.isnan(expected) or value == pytest.approx(expected, rel=2e-3)


def test_series_of_rain_are_no_discharge(domst_data: Path, tmp_path: Path) -> None:
    path = domst_data / "foreign/gauges/rain_stations_quebec_1970.nc"
    folder = folder_with(path, "X1", tmp_path / "raw")
    text = draft_catalog(folder, folder / "catalog.yaml")
    assert "refused: precip has the dimensions station (38), time (365): series of sing" in text
    columns = {"site": "StationID_SEQ", "time": "time", "discharge": "precip"}
    (folder / "catalog.yaml").write_text(
        text.replace("format: csv", f"format: netcdf\n  columns: {json.dumps(columns)}")
        .replace("gauges/{site}.csv", path.name)
        .replace("units: m3/s", "units: mm/day")
    )
    with pytest.raises(InputError, match=rf"{path.name}: 'precip' says 'precip': expected disch"):
        read_gauges(load_catalog(folder / "catalog.yaml"), ["X1"], {"X1": 1e6})
