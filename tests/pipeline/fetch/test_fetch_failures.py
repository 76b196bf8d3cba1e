"""Failures while fetching: one line, no partial files, and a fetch that continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.pipeline.fetch.job import ONLY_RAIN, PRISM, PRISM_DAYS, Job, require_one_line
from tests.pipeline.fetch.replay import (
    BASIN,
    DAILY,
    DAYS,
    FIRST,
    FLOW,
    ITEMS,
    PAGE,
    SITE,
    Answer,
    days_from,
    serve_usgs,
)

REPOSITORY = Path(__file__).parents[3]


DAY_3 = "/prism/ppt/20251222"


@pytest.mark.parametrize(
    "fault",
    [
        Answer(b"slow down", 429, {"Retry-After": "0"}),
        Answer(b"slow down", 429),
        Answer(b"broken", 500),
        Answer(b"away", 503),
        Answer(b"PK\x03\x04" + bytes(5000), cut=True),
    ],
)
def test_a_passing_failure_is_repeated(job: Job, fault: Answer):
    job.replay.faults[DAY_3] = [fault, fault]
    job.write(fetch=ONLY_RAIN)
    assert job.fetch().exit_code == 0
    assert job.replay.count(DAY_3) == 3
    assert not [name for name in job.files() if "partial" in name]


@pytest.mark.parametrize(
    ("answer", "times", "fragments"),
    [
        (Answer(b"broken", 500), 3, ["HTTP 500", "broken", "asked 3 times"]),
        (Answer(b"PK\x03\x04" + bytes(50), cut=True), 3, ["no whole answer", "asked 3 times"]),
        (Answer(b"later", 429, {"Retry-After": "86400"}), 1, ["HTTP 429", "86400 s"]),
        (Answer(b"no", 403), 1, ["HTTP 403", "expected"]),
        (Answer(PAGE), 1, ["HTML page", "Down for maintenance", "expected"]),
        (Answer(b"x", headers={"Content-Type": "text/html"}), 1, ["HTML page", "expected"]),
        (Answer(b"You have tried to download this file more than twice"), 1, ["twice", "expected"]),
        (Answer(b"PK\x03\x04" + bytes(50)), 1, ["cannot be unpacked"]),
        (Answer(b"no such file", 404), 1, ["1 of 6 files are missing", "at most 0"]),
    ],
)
def test_a_lasting_failure_ends_with_one_line(
    job: Job, answer: Answer, times: int, fragments: list[str]
):
    job.write(fetch=ONLY_RAIN)
    job.replay.broken[DAY_3] = answer
    require_one_line(job.fetch(), 1, "prism", DAY_3, *fragments)
    assert job.replay.count(DAY_3) == times
    assert sorted(job.files()) == ["prism/ppt_20251220.tif", "prism/ppt_20251221.tif"]
    del job.replay.broken[DAY_3]
    asked = len(job.replay.asked)
    assert job.fetch().exit_code == 0
    assert len(job.replay.asked) == asked + 4  # what was there is not asked for again


def test_missing_steps_are_allowed_where_the_catalog_allows_them(job: Job):
    job.write(forcings={"precipitation": PRISM_DAYS | {"max_missing_steps": 1}}, fetch=ONLY_RAIN)
    content = job.replay.answers.pop(DAY_3)
    result = job.fetch()
    assert result.exit_code == 0, result.output
    assert "5 files fetched" in result.stdout
    assert "1 not at the service" in result.stdout
    job.replay.answers[DAY_3] = content  # there later
    assert "1 files fetched" in job.fetch().stdout


@pytest.mark.parametrize("path", [DAILY, ITEMS.format("monitoring-locations"), BASIN, "/nldi/"])
@pytest.mark.parametrize(
    "answer", [Answer(b"broken", 500), Answer(PAGE), Answer(b"{}"), Answer(b"no", 403)]
)
def test_a_failing_usgs_ends_with_one_line(job: Job, path: str, answer: Answer):
    job.replay.broken[path] = answer
    require_one_line(job.fetch(), 1, "nldi" if "nldi" in path else "waterdata")
    assert not [name for name in job.files() if "partial" in name]
    del job.replay.broken[path]
    assert job.fetch().exit_code == 0


def test_a_gauge_without_a_record(job: Job, domst_data: Path):
    serve_usgs(job.replay, domst_data, [])
    names = json.loads(
        (domst_data / "gauges" / "waterservices" / "waterdata_queryables.json").read_text()
    )["daily"]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    job.replay.answers[DAILY.replace("items", "schema")] = json.dumps(schema).encode()
    require_one_line(job.fetch(), 1, "gauges", SITE, "are missing", "expected")


def test_a_busy_usgs_is_asked_again(job: Job):
    for path in (DAILY, BASIN):
        job.replay.faults[path] = [Answer(b"{}", 429, {"Retry-After": "0"})]
    assert job.fetch().exit_code == 0
    assert job.replay.count(DAILY) == job.replay.count(BASIN) == 2


def test_two_series_of_one_gauge_are_refused(job: Job, domst_data: Path):
    days = days_from(date(2025, 12, 19), FLOW)
    serve_usgs(job.replay, domst_data, [*days, (days[2][0], {"value": "3", "time_series_id": "b"})])
    require_one_line(job.fetch(), 1, SITE, "2025-12-21", "2 time series", "expected one")


def test_other_units_are_refused(job: Job, domst_data: Path):
    days = [(day, {**p, "unit_of_measure": "m^3/s"}) for day, p in days_from(FIRST, FLOW)]
    serve_usgs(job.replay, domst_data, days)
    require_one_line(job.fetch(), 1, SITE, "m^3/s", "expected ft^3/s")


def test_another_rivers_record_is_refused(job: Job, domst_data: Path):
    other = {"monitoring_location_id": "USGS-05427948"}
    days = [(day, {**p, **other}) for day, p in days_from(FIRST, FLOW)]
    serve_usgs(job.replay, domst_data, days)
    require_one_line(job.fetch(), 1, SITE, "USGS-05427948", "expected")


def test_a_site_that_is_not_known(job: Job):
    settings = yaml.safe_load(job.catalog.read_text())["watersheds"]
    job.write(watersheds=settings | {"sites": [SITE, "01234567"]})
    require_one_line(job.fetch(), 1, "01234567", "expected")


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"fetch": {}}, ["fetch", "expected"]),
        ({"fetch": {"forcings": {"snow": PRISM}}}, ["snow", "expected"]),
        ({"fetch": {"gauges": "nwis"}}, ["fetch.gauges", "nwis"]),
        (
            {"fetch": {"gauges": "waterdata", "services": {"aorc": {"pause": 1}}}},
            ["aorc", "expected services in use"],
        ),
        (
            {"fetch": {"gauges": "waterdata", "services": {"waterdata": {"url": "ftp://x"}}}},
            ["fetch.services.waterdata.url", "ftp://x"],
        ),
        ({"watersheds": {"file": "a.gpkg", "site_field": "s"}}, ["watersheds.sites", "expected"]),
        (
            {"watersheds": {"file": "a.shp", "site_field": "s", "sites": [SITE]}},
            ["watersheds.file", "a.shp", "expected a .gpkg"],
        ),
        (
            {"gauges": {"format": "rdb", "files": "{site}.rdb", "units": "ft3/s"}},
            ["gauges.format", "expected 'csv'"],
        ),
        (
            {"gauges": {"format": "csv", "files": "all.csv", "units": "ft3/s"}},
            ["gauges.files", "expected {site}"],
        ),
    ],
)
def test_a_catalog_that_describes_other_files(
    job: Job, changes: dict[str, object], fragments: list[str]
):
    job.write(**changes)
    require_one_line(job.fetch(), 2, job.catalog, *fragments)


def test_a_period_that_the_days_do_not_fit(job: Job):
    """PRISM's days end at 12:00 UTC; read as calendar days they cannot fill this period."""
    job.write(forcings={"precipitation": {**PRISM_DAYS, "time": {"label": "end"}}}, fetch=ONLY_RAIN)
    require_one_line(job.fetch(), 2, job.catalog, "precipitation.time", "12:00", "expected")


@pytest.mark.parametrize("files", ["p/{time:%Y%m%d}.bil", "p/{time:%Y%m}.tif"])
def test_a_path_that_the_service_cannot_fill(job: Job, files: str):
    source = {**PRISM_DAYS, "files": files}
    job.write(forcings={"precipitation": source}, fetch=ONLY_RAIN)
    require_one_line(job.fetch(), 2, job.catalog, "precipitation.files", files, "expected")


def test_a_folder_that_cannot_be_written(job: Job):
    job.write(root="/proc", fetch=ONLY_RAIN)
    require_one_line(job.fetch(), 1, "/proc/prism", "expected room and permission")


def in_a_process(job: Job, before: str = "") -> subprocess.Popen[str]:
    code = f"{before}; import sys; sys.argv[0] = 'pipeline'; import runpy; "
    code += "runpy.run_module('pipeline', run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", code.removeprefix("; "), "fetch", str(job.catalog)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_a_disk_that_fills_up(job: Job):
    """A limit on file sizes replaces a full disk: the system refuses the write in the same way."""
    job.write(fetch=ONLY_RAIN)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))"
    process = in_a_process(job, limit)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert stderr.startswith("error: ")
    assert len(stderr.splitlines()) == 1
    assert not [name for name in job.files() if name.startswith("prism/")]
    assert job.fetch().exit_code == 0


@pytest.mark.parametrize("package", ["dataretrieval", "httpx"])
def test_without_the_extra(job: Job, package: str):
    process = in_a_process(job, f"import sys; sys.modules['{package}'] = None")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: {package} is not installed: expected the extra 'fetch'")


def test_an_interrupt_leaves_whole_files_and_the_next_fetch_goes_on(job: Job):
    fetch = ONLY_RAIN | {"services": {"prism": {"url": f"{job.replay.url}/prism", "pause": 5.0}}}
    job.write(fetch=fetch)
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = in_a_process(job, interruptible)  # also where tests run in a shell's background
    deadline = time.monotonic() + 60
    while job.replay.count("prism") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.startswith("error: interrupted")
    assert len(stderr.splitlines()) == 1
    there = job.files()
    assert 0 < len(there) < DAYS
    assert not [name for name in job.files() if "partial" in name]
    asked = len(job.replay.asked)
    job.write(fetch=ONLY_RAIN)
    assert job.fetch().exit_code == 0
    assert len(job.replay.asked) == asked + DAYS - len(there)
    assert job.files().items() >= there.items()
