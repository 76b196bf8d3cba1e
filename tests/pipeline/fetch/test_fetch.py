"""Fetching from a local server: files on disk, repeated fetches and dry runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import zipfile
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import yaml
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.catalog.models import load_catalog
from pipeline.fetch import services
from pipeline.fetch.manifest import MANIFEST
from pipeline.gauges.flags import FLAGS
from pipeline.gauges.read import read_gauges
from pipeline.store.read import open_region, open_watershed
from pipeline.watersheds.polygons import read_watersheds
from tests.pipeline.fetch.job import ONLY_RAIN, Job, require_one_line
from tests.pipeline.fetch.replay import (
    AREA_MI2,
    BASIN,
    DAILY,
    DAYS,
    FLOW,
    ITEMS,
    NAME,
    SITE,
    Replay,
    days_from,
    recorded,
    serve_mrms,
    serve_usgs,
)
from tests.pipeline.test_inspect import differences

REPOSITORY = Path(__file__).parents[3]


# ------------------------------------------------------------------ what lands


def test_what_is_fetched_is_what_the_catalog_reads(job: Job, rain: np.ndarray):
    """Fetched files go through the pipeline; store and server agree."""
    result = job.fetch()
    assert result.exit_code == 0, result.output
    assert "forcings.precipitation: prism: 6 files fetched" in result.stdout
    store = job.folder / "store.zarr"
    ran = CliRunner().invoke(app, ["run", str(job.catalog), "--store", str(store)])
    assert ran.exit_code == 0, ran.output
    basin = open_watershed(store, SITE)
    # the step that ends at 12:00 of day D holds the discharge of D, as docs/time.md works out
    expected = np.array(FLOW[1 : 1 + DAYS]) * 0.028316846592  # m3 per ft3
    np.testing.assert_allclose(basin["discharge"].values, expected, rtol=1e-6)
    assert basin.attrs["name"] == NAME
    assert basin.attrs["reported_drainage_area_m2"] == pytest.approx(AREA_MI2 * 1609.344**2)
    # 2 x 2 pixels of 1/24 degree make a cell, so its rain is nearly their mean
    region = open_region(store)
    west = round((float(region["x"][0]) - 1 / 24 + 89.75) * 24)
    north = round((43.25 - float(region["y"][0]) - 1 / 24) * 24)
    four = rain[:, north : north + 2, west : west + 2].mean(axis=(1, 2))
    np.testing.assert_allclose(region["precipitation"].values[:, 0, 0], four, rtol=1e-3)


def test_polygons_are_the_recorded_ones_with_the_sites_metadata(job: Job, domst_data: Path):
    assert job.fetch().exit_code == 0
    recorded = gpd.read_file(domst_data / "gauges" / "waterservices" / "nldi_get_basin.json")
    (found,) = read_watersheds(load_catalog(job.catalog))
    assert shapely.equals(found.polygon, recorded.union_all())
    table = gpd.read_file(job.data / "watersheds" / "watersheds.gpkg")
    assert table.crs.to_epsg() == 4326
    assert table.iloc[0][["SITE_NO", "NAME", "DRAINAGE"]].tolist() == [SITE, NAME, AREA_MI2]


def test_a_zip_is_kept_where_the_catalog_names_one(job: Job, rain: np.ndarray):
    source = {"driver": "geotiff", "files": "prism/{time:%Y%m%d}.zip", "units": "mm"}
    source["time"] = {"label": "end", "offset": "12h"}  # type: ignore[assignment]
    job.write(forcings={"precipitation": source}, fetch=ONLY_RAIN)
    assert job.fetch().exit_code == 0
    for day in range(DAYS):
        path = job.data / "prism" / f"202512{20 + day}.zip"
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            assert (rasterio.MemoryFile(file.read()).open().read(1) == rain[day]).all()


@pytest.mark.parametrize("service", ["mrms", "mtarchive"])
@pytest.mark.parametrize("suffix", [".grib2", ".grib2.gz"])
def test_hours_of_mrms(job: Job, service: str, suffix: str):
    contents = serve_mrms(job.replay, "GaugeCorr_QPE_01H", date(2025, 12, 20), 6)
    source = {"driver": "geotiff", "files": f"mrms/{{time:%Y%m%d-%H%M%S}}{suffix}", "units": "mm"}
    source["time"] = {"label": "end"}  # type: ignore[assignment]
    period = {"step": "hour", "start": "2025-12-20T00:00Z", "end": "2025-12-20T05:00Z"}
    fetch = {"forcings": {"precipitation": {"service": service, "variable": "GaugeCorr_QPE_01H"}}}
    job.write(forcings={"precipitation": source}, period=period, fetch=fetch)
    assert job.fetch().exit_code == 0
    found = {
        Path(name).name.removesuffix(suffix): gzip.decompress(content) if "gz" in name else content
        for name, content in job.files().items()
    }
    del contents["20251220-000000"]  # labels are the ends of hours
    assert found == contents


def test_the_recorded_answers_as_they_are(job: Job, domst_data: Path):
    answers = recorded(domst_data)
    for collection in ("daily", "monitoring-locations"):
        job.replay.answers[ITEMS.format(collection)] = json.dumps(answers[collection]).encode()
    sites = ["410252073314801", "410257073251001"]  # of the recorded monitoring locations
    for site in sites:
        job.replay.answers[f"/nldi/nwissite/USGS-{site}/basin"] = job.replay.answers[BASIN]
    settings = yaml.safe_load(job.catalog.read_text())["watersheds"]
    job.write(fetch={"watersheds": "nldi"}, watersheds=settings | {"sites": sites})
    assert job.fetch().exit_code == 0
    table = gpd.read_file(job.data / "watersheds" / "watersheds.gpkg")
    assert table["SITE_NO"].tolist() == sites
    assert table["NAME"].tolist() == ["CT-STM    2", "CT-NW    35"]
    assert table["DRAINAGE"].isna().all()  # wells have none
    job.write(fetch={"gauges": "waterdata"})
    assert job.fetch().exit_code == 0
    (csv,) = [content for name, content in job.files().items() if name.startswith("gauges/")]
    assert csv.decode().splitlines() == [
        "site_no,datetime,discharge,flag",
        "05427718,2025-12-26,20.2,P",
        "05427718,2026-03-19,27.1,P",
    ]


def test_a_record_keeps_its_flags(job: Job, domst_data: Path):
    days = days_from(date(2025, 12, 19), FLOW[:6])
    days[0][1].update(approval_status="Approved")
    days[1][1].update(approval_status="Approved", qualifier=["ESTIMATED"])
    days[2][1].update(qualifier=["ESTIMATED", "ICE"])
    days[3][1].update(qualifier=["ICE"], value=None)
    days[4][1].update(qualifier=["EQUIP"], value=None)
    days[5][1].update(approval_status="Approved", qualifier=["REVISED"])
    serve_usgs(job.replay, domst_data, days)
    job.write(fetch={"gauges": "waterdata"})
    assert job.fetch().exit_code == 0
    table = pd.read_csv(job.data / "gauges" / f"{SITE}.csv", dtype=str, keep_default_na=False)
    assert table["flag"].tolist() == ["A", "A e", "P e", "P Ice", "P Eqp", "A"]
    record = read_gauges(load_catalog(job.catalog), [SITE])[SITE]
    names = ["approved", "approved_estimated", "provisional_estimated", "ice", "equipment"]
    assert record.flag.tolist() == [FLAGS[name] for name in [*names, "approved"]]
    assert np.isnan(record.discharge).tolist() == [False] * 3 + [True] * 2 + [False]


def test_the_question_is_the_right_one(job: Job):
    job.write(fetch={"gauges": "waterdata"})
    assert job.fetch().exit_code == 0
    (query,) = [query for line, query, _ in job.replay.requests if line == f"GET {DAILY}"]
    assert query["monitoring_location_id"] == [f"USGS-{SITE}"]
    assert query["parameter_code"] == ["00060"]
    assert query["statistic_id"] == ["00003"]
    assert query["time"] == ["2025-12-18/2025-12-26"]


def test_a_key_goes_to_the_usgs_alone(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_USGS_PAT", "a-secret-key")
    assert job.fetch().exit_code == 0
    assert all("a-secret-key" not in str(sent) for _, _, sent in job.replay.requests)


def test_the_environment_points_elsewhere(job: Job, monkeypatch: pytest.MonkeyPatch):
    rain = ONLY_RAIN | {"services": {}}
    job.write(fetch=rain)
    monkeypatch.setenv("DOMST_FETCH_PRISM_URL", f"{job.replay.url}/prism/")
    nowhere = {"prism": services.Defaults("http://127.0.0.1:9", 0.0)}
    monkeypatch.setattr(services, "SERVICES", nowhere)
    assert job.fetch().exit_code == 0
    monkeypatch.setenv("DOMST_FETCH_PRISM_URL", "file:///etc")
    require_one_line(job.fetch(), 2, "DOMST_FETCH_PRISM_URL", "file:///etc", "expected")


# ------------------------------------------------------------------ again, and dry


def test_manifests_hold_checksums(job: Job):
    assert job.fetch().exit_code == 0
    noted = {}
    for manifest in (job.data).rglob(MANIFEST):
        for line in manifest.read_text().splitlines():
            entry = json.loads(line)
            noted[manifest.parent / entry["path"]] = entry["sha256"], entry["bytes"]
    assert noted == {
        job.data / name: (hashlib.sha256(content).hexdigest(), len(content))
        for name, content in job.files().items()
    }


def test_nothing_is_asked_for_twice(job: Job):
    assert job.fetch().exit_code == 0
    before, asked = job.files(), len(job.replay.asked)
    again = job.fetch()
    assert again.exit_code == 0
    assert "prism: 0 files fetched, 6 there before" in again.stdout
    assert job.files() == before
    assert len(job.replay.asked) == asked


def test_a_damaged_a_lost_and_another_file_are_fetched_again(job: Job):
    assert job.fetch().exit_code == 0
    before, asked = job.files(), len(job.replay.asked)
    prism = job.data / "prism"
    damaged = prism / "ppt_20251221.tif"
    damaged.write_bytes(damaged.read_bytes()[::-1])
    (prism / "ppt_20251223.tif").unlink()
    lines = (prism / MANIFEST).read_text().splitlines(keepends=True)
    last = json.loads(lines[-1])["path"]
    (prism / MANIFEST).write_text("".join(lines[:-1]) + lines[-1][:30])  # cut in its last line
    assert job.fetch().exit_code == 0
    assert job.files() == before
    days = {f"/prism/ppt/{day}" for day in ("20251221", "20251223", last[4:12])}
    assert set(job.replay.asked[asked:]) == days
    asked = len(job.replay.asked)
    assert job.fetch().exit_code == 0
    assert len(job.replay.asked) == asked


def test_another_question_is_asked_anew(job: Job):
    assert job.fetch().exit_code == 0
    assert job.replay.count("daily") == 1
    text = job.catalog.read_text().replace("2025-12-25T12", "2025-12-24T12")
    job.catalog.write_text(text)
    assert job.fetch().exit_code == 0
    assert job.replay.count("daily") == 2


def test_a_dry_run_counts_and_writes_nothing(job: Job):
    result = job.fetch("--dry-run")
    assert result.exit_code == 0, result.output
    assert "prism: 6 files to fetch (size not known), 0 there before" in result.stdout
    assert "gauges: waterdata: 1 files to fetch" in result.stdout
    assert not (job.data).exists()
    assert job.replay.asked == []


def test_a_dry_run_estimates_bytes_where_the_service_says(job: Job):
    product, stamp = "GaugeCorr_QPE_01H", "20251220-010000"
    serve_mrms(job.replay, product, date(2025, 12, 20), 6)
    name = f"MRMS_{product}_00.00_{stamp}.grib2.gz"
    path = f"/mrms/CONUS/{product}_00.00/20251220/{name}"
    job.replay.answers[path] = b"\x1f\x8b" + bytes(1_000_000 - 2)
    source = {"driver": "geotiff", "files": "mrms/{time:%Y%m%d%H}.grib2", "units": "mm"}
    source["time"] = {"label": "end"}  # type: ignore[assignment]
    period = {"step": "hour", "start": "2025-12-20T00:00Z", "end": "2025-12-20T05:00Z"}
    fetch = {"forcings": {"precipitation": {"service": "mrms", "variable": product}}}
    job.write(forcings={"precipitation": source}, period=period, fetch=fetch)
    result = job.fetch("--dry-run")
    assert "mrms: 5 files to fetch (about 5.0 MB)" in result.stdout
    assert [line for line, _, _ in job.replay.requests] == [f"HEAD {path}"]
    assert not (job.data).exists()


def test_requests_keep_their_pause(replay: Replay):
    service = services.Service("prism", replay.url, 0.05, 1, 0, 10.0)
    replay.answers["/a"] = b"a"
    started = time.monotonic()
    for _ in range(4):
        assert service.get(f"{replay.url}/a") == b"a"
    service.close()
    assert time.monotonic() - started >= 3 * 0.05


# Keys of a draft that no fetched file tells, or that are not about files. Sites are all that there
# are; nothing tells when the records' day begins; one file is no series.
BY_HAND = {"title", "fetch", "watersheds.sites", "gauges.time.offset", "gauges.files"}


def test_the_draft_of_fetched_prism_is_the_catalog_of_iowa(job: Job):
    period = {"step": "day", "start": "2025-12-19T12:00:00Z", "end": "2025-12-25T12:00:00Z"}
    job.write_shipped("iowa_prism", period)
    assert job.fetch().exit_code == 0
    draft, shipped = job.draft(), load_catalog(job.catalog)
    assert differences(draft.model_dump(), shipped.model_dump()) == BY_HAND
    assert draft.period == shipped.period
    assert draft.forcings["precipitation"].product == "prism"
    assert draft.gauges.files == shipped.gauges.files.format(site=SITE)


@pytest.mark.parametrize(("name", "steps"), [("iowa", 2557 * 24), ("iowa_prism", 2557)])
def test_the_catalogs_of_iowa(
    name: str, steps: int, domst_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The 23 sites of the list, seven years, and as many files to fetch."""
    monkeypatch.setenv("DOMST_DATA", str(tmp_path))
    path = REPOSITORY / "catalogs" / f"{name}.yaml"
    catalog = load_catalog(path)
    listed = pd.read_csv(domst_data / "iowa_sites.csv", dtype=str)
    assert catalog.watersheds.sites == listed["site_no"].tolist()
    assert len(catalog.period.times) == steps  # 2012 and 2016 have 366 days
    result = CliRunner().invoke(app, ["fetch", str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "watersheds: nldi: 23 files to fetch" in result.stdout
    assert "gauges: waterdata: 23 files to fetch" in result.stdout
    expected = {"iowa": "not known", "iowa_prism": "2557 files to fetch"}[name]
    assert f"precipitation: {catalog.fetch.forcings['precipitation'].service}: {expected}" in (  # type: ignore[union-attr]
        result.stdout
    )
    assert not list(tmp_path.iterdir())
