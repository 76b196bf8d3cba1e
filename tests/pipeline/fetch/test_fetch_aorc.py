"""Fetching AORC: the part of each year's Zarr store that a catalog needs, in whole chunks."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.catalog.models import load_catalog
from pipeline.fetch.aorc import _window
from pipeline.store.read import open_region
from tests.pipeline.fetch.job import Job, require_one_line
from tests.pipeline.fetch.replay import FLOW, Answer, days_from, serve_usgs
from tests.pipeline.fetch.test_fetch import BY_HAND
from tests.pipeline.test_inspect import differences

STEP = 1 / 24  # degrees; the real pixels are 1/120
CHUNKS = {"time": 12, "latitude": 8, "longitude": 10}
DIMENSIONS = list(CHUNKS)
FILL = -32767
SOURCE: dict[str, Any] = {
    "driver": "zarr",
    "files": "aorc/{time:%Y}.zarr",
    "variable": "APCP_surface",
    "units": "kg m-2",
    "time": {"label": "end"},
}
FETCH: dict[str, Any] = {
    "gauges": "waterdata",
    "watersheds": "nldi",
    "forcings": {"precipitation": {"service": "aorc", "variable": "APCP_surface"}},
}
PERIOD = {"step": "hour", "start": "2025-12-31T09:00Z", "end": "2026-01-01T11:00Z"}


def year_store(times: pd.DatetimeIndex, seed: int) -> xr.Dataset:
    """A year as published: int16 with scale 0.1, latitudes ascending, 30 x 45 pixels."""
    latitude = 42.5 + STEP * np.arange(30)
    longitude = -90.5 + STEP * np.arange(45)
    rng = np.random.default_rng(seed)
    shape = (times.size, latitude.size, longitude.size)
    rain = np.round(rng.gamma(0.3, 3.0, shape), 1).astype(np.float32)
    rain[rng.random(shape) < 0.02] = np.nan
    warm = rng.normal(280, 5, shape).round(1).astype(np.float32)
    dims = ("time", "latitude", "longitude")
    kilogram = {"units": "kg/m^2", "long_name": "Total Precipitation"}
    return xr.Dataset(
        {"APCP_surface": (dims, rain, kilogram), "TMP_2maboveground": (dims, warm, {"units": "K"})},
        {
            "time": times,
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
    )


@pytest.fixture
def published(job: Job, tmp_path: Path, domst_data: Path) -> dict[int, xr.Dataset]:
    """The last days of 2025 and the first of 2026, as the server holds them."""
    days = {2025: ("2025-12-29T00", "2025-12-31T23"), 2026: ("2026-01-01T00", "2026-01-02T23")}
    packed = {
        "dtype": "int16",
        "scale_factor": 0.1,
        "_FillValue": FILL,
        "chunks": tuple(CHUNKS.values()),
    }
    made = {}
    for year, (first, last) in days.items():
        made[year] = year_store(pd.date_range(first, last, freq="h"), year)
        folder = tmp_path / "published" / f"{year}.zarr"
        encoding: dict[str, Any] = dict.fromkeys(map(str, made[year].data_vars), packed)
        encoding["time"] = {"units": "hours since 1979-01-01", "dtype": "int64"}
        made[year].to_zarr(folder, zarr_format=2, consolidated=True, encoding=encoding)
        for path in folder.rglob("*"):
            if path.is_file():
                name = path.relative_to(folder.parent).as_posix()
                job.replay.answers[f"/aorc/{name}"] = path.read_bytes()
    serve_usgs(job.replay, domst_data, days_from(date(2025, 12, 30), FLOW[:4]))
    job.write(forcings={"precipitation": SOURCE}, period=PERIOD, fetch=FETCH)
    return made


def require_same_packed_values(job: Job, year: int, variable: str, local: xr.Dataset) -> None:
    """The integers of the two stores, and what decodes them, are equal."""
    packed = [
        xr.open_zarr(folder / f"{year}.zarr", mask_and_scale=False)[variable]
        for folder in (job.folder.parent / "published", job.data / "aorc")
    ]
    same = packed[0].sel({name: local[name] for name in DIMENSIONS})
    np.testing.assert_array_equal(packed[1], same)
    assert packed[1].dtype == packed[0].dtype == np.int16
    added = packed[1].attrs.keys() - packed[0].attrs.keys()
    assert added == {"source", "window"}
    assert all(packed[1].attrs[key] == value for key, value in packed[0].attrs.items())


def require_same(job: Job, published: dict[int, xr.Dataset], variable: str) -> None:
    """Each local store holds what is published, and holds the region and the period."""
    for year, dataset in published.items():
        with xr.open_zarr(job.data / "aorc" / f"{year}.zarr") as local:
            part = dataset[variable].sel({name: local[name] for name in local[variable].dims})
            np.testing.assert_allclose(local[variable].values, part.values, atol=1e-5)
            require_same_packed_values(job, year, variable, local)
            assert local[variable].attrs["units"] == dataset[variable].attrs["units"]
            # of 43.0 to 43.25 north and 89.6 to 89.3 west, on the lattice of 5 arc-minutes
            assert local.latitude[0] - STEP / 2 <= 43.0
            assert local.latitude[-1] + STEP / 2 >= 43.25
            assert local.longitude[0] - STEP / 2 <= -89.6
            assert local.longitude[-1] + STEP / 2 >= -89.3
            assert local[variable].size < dataset[variable].size / 2


def test_the_region_is_fetched_and_runs(job: Job, published: dict[int, xr.Dataset]):
    result = job.fetch()
    assert result.exit_code == 0, result.output
    require_same(job, published, "APCP_surface")
    store = job.folder / "store.zarr"
    ran = CliRunner().invoke(app, ["run", str(job.catalog), "--store", str(store)])
    assert ran.exit_code == 0, ran.output
    region = open_region(store)
    assert region.sizes["time"] == 26
    assert region.time[0] == np.datetime64("2025-12-31T09")  # the hour that ends at 10:00
    rain = xr.concat([one["APCP_surface"] for one in published.values()], "time")
    rain = rain.sel(time=slice("2025-12-31T10", "2026-01-01T11"))
    # by area: pixels are centred on the cells' corners, sides and middles
    for y, x in [(0, 0), (1, 2)]:
        row, column = float(region.y[y]), float(region.x[x])
        near = rain.sel(
            latitude=slice(row - 1.1 * STEP, row + 1.1 * STEP),
            longitude=slice(column - 1.1 * STEP, column + 1.1 * STEP),
        )
        assert near.shape[1:] == (3, 3)
        edge = np.array([0.5, 1.0, 0.5])
        weight = np.outer(edge * np.cos(np.radians(near.latitude.values)), edge)
        valid = np.isfinite(near.values)
        mean = np.nansum(near.values * weight, (1, 2)) / (valid * weight).sum((1, 2))
        np.testing.assert_allclose(region["precipitation"].values[:, y, x], mean, rtol=1e-3)


def test_the_draft_of_the_region_is_the_catalog_of_iowa(job: Job, published: dict[int, xr.Dataset]):
    """But for the period: whole chunks are fetched."""
    job.write_shipped("iowa", PERIOD)
    assert job.fetch().exit_code == 0
    draft, shipped = job.draft(), load_catalog(job.catalog)
    found = differences(draft.model_dump(), shipped.model_dump())
    assert found - {"period.start", "period.end"} == BY_HAND
    assert draft.forcings["precipitation"].product == "aorc"
    assert draft.period.start <= shipped.period.start < shipped.period.end <= draft.period.end
    with xr.open_zarr(job.data / "aorc" / "2025.zarr") as local:  # an hour is named by its end
        assert local.time[0].values - np.timedelta64(1, "h") == np.datetime64(draft.period.start)


def test_only_the_chunks_that_are_needed_are_asked_for(job: Job, published: dict[int, xr.Dataset]):
    assert job.fetch().exit_code == 0
    chunks = {
        path.rpartition("/")[2] for path in job.replay.asked if "2025.zarr/APCP_surface" in path
    }
    # hours 58 to 71 of 72; rows of 43.0 to 43.25: 12 to 18; columns of 89.6 to 89.3 W: 21 to 29
    # one more on each side, whose pixels lie across the edge
    rows, columns = {str(r // 8) for r in range(12, 19)}, {str(c // 10) for c in range(21, 30)}
    times = {str(t // 12) for t in range(58, 72)}
    assert chunks == {f"{t}.{y}.{x}" for t in times for y in rows for x in columns}
    assert not job.replay.count("TMP")


def test_it_is_not_fetched_twice_and_stays_as_it_is(job: Job, published: dict[int, xr.Dataset]):
    assert job.fetch().exit_code == 0
    times = {path: path.stat().st_mtime_ns for path in (job.data / "aorc").rglob("*")}
    chunks = job.replay.count("APCP_surface")
    result = job.fetch()
    assert "precipitation: aorc: 0 files fetched" in result.stdout
    assert job.replay.count("APCP_surface") == chunks
    assert {path: path.stat().st_mtime_ns for path in (job.data / "aorc").rglob("*")} == times


def test_an_interrupted_fetch_continues(job: Job, published: dict[int, xr.Dataset]):
    """Chunks that are there and whole are not requested again."""
    assert job.fetch().exit_code == 0
    store = job.data / "aorc" / "2025.zarr"
    (store / ".zmetadata").unlink()  # as if it had been stopped before the end
    chunks = sorted((store / "APCP_surface").glob("[0-9]*"))
    chunks[0].unlink()
    chunks[1].write_bytes(chunks[1].read_bytes()[:-9])
    chunks[2].write_bytes(chunks[2].read_bytes()[::-1])
    asked = len(job.replay.asked)
    result = job.fetch()
    assert result.exit_code == 0, result.output
    assert "precipitation: aorc: 3 files fetched" in result.stdout
    assert sum("APCP_surface/" in path for path in job.replay.asked[asked:]) == 3
    require_same(job, published, "APCP_surface")


def test_a_longer_period_keeps_the_chunks_that_are_there(
    job: Job, published: dict[int, xr.Dataset]
):
    assert job.fetch().exit_code == 0
    asked = len(job.replay.asked)
    longer = {**PERIOD, "end": "2026-01-01T23:00Z"}
    job.write(forcings={"precipitation": SOURCE}, period=longer, fetch=FETCH)
    assert job.fetch().exit_code == 0
    again = {path for path in job.replay.asked[asked:] if "APCP_surface/" in path}
    assert {path.rpartition("/")[2].partition(".")[0] for path in again} == {"1"}
    with xr.open_zarr(job.data / "aorc" / "2026.zarr") as local:
        assert local.sizes["time"] == 24
    require_same(job, published, "APCP_surface")


def test_the_rim_of_what_is_published(job: Job, published: dict[int, xr.Dataset]):
    """Chunks at the end of a dimension are larger than what is left of it."""
    bounds = [-88.8, 43.55, -88.7, 43.65]  # the last rows and columns
    period = {"step": "hour", "start": "2026-01-02T20:00Z", "end": "2026-01-02T23:00Z"}
    fetch = {"forcings": FETCH["forcings"]}
    job.write(forcings={"precipitation": SOURCE}, period=period, fetch=fetch, bounds=bounds)
    assert job.fetch().exit_code == 0
    with xr.open_zarr(job.data / "aorc" / "2026.zarr") as local:
        assert local["APCP_surface"].shape == (12, 6, 5)  # of 48, 30, 45 in 12, 8, 10
        require_same_packed_values(job, 2026, "APCP_surface", local)


def test_a_pixel_counts_where_any_part_of_it_is_inside():
    """Pixels 1 degree wide, centred on whole degrees, two in a chunk."""
    degrees = np.arange(8.0)
    times = pd.date_range("2025-01-01", periods=8, freq="h")
    variable = xr.DataArray(
        np.zeros((8, 8, 8)), dict(zip(DIMENSIONS, (times, degrees, degrees), strict=True))
    )
    variable.encoding["chunks"] = (2, 2, 2)
    hours = times[3:4]
    for south, north, rows in ((4.0, 5.0, (4, 6)), (3.6, 5.4, (4, 6)), (3.4, 5.6, (2, 8))):
        window = _window("url", variable, hours, (0.6, south, 1.4, north))
        assert window == (slice(2, 4), slice(*rows), slice(0, 2))


def test_a_dry_run_counts_chunks_and_bytes(job: Job, published: dict[int, xr.Dataset]):
    result = job.fetch("--dry-run")
    assert result.exit_code == 0, result.output
    assert "precipitation: aorc: not known before the watersheds are there" in result.stdout
    bounds = [-89.6, 43.0, -89.3, 43.2]
    fetch = {"forcings": FETCH["forcings"]}
    job.write(forcings={"precipitation": SOURCE}, period=PERIOD, fetch=fetch, bounds=bounds)
    result = job.fetch("--dry-run")
    assert result.exit_code == 0, result.output
    assert "aorc: 12 files to fetch (about 0." in result.stdout
    assert not job.data.exists()


def test_a_store_that_is_being_filled_cannot_be_read(job: Job, published: dict[int, xr.Dataset]):
    chunk = "/aorc/2026.zarr/APCP_surface/0.2.2"
    job.replay.broken[chunk] = Answer(b"broken", 500)
    require_one_line(job.fetch(), 1, "aorc", chunk, "HTTP 500")
    assert not list((job.data / "aorc").rglob(".zarray"))
    del job.replay.broken[chunk]
    assert job.fetch().exit_code == 0
    require_same(job, published, "APCP_surface")


def test_a_chunk_that_is_not_published_is_missing(job: Job, published: dict[int, xr.Dataset]):
    """Zarr leaves out chunks of nothing but the fill value."""
    del job.replay.answers["/aorc/2026.zarr/APCP_surface/0.1.2"]
    (job.folder.parent / "published/2026.zarr/APCP_surface/0.1.2").unlink()
    result = job.fetch()
    assert result.exit_code == 0, result.output
    assert "1 not at the service" in result.stdout
    published[2026]["APCP_surface"][0:12, 8:16, 20:30] = np.nan
    require_same(job, published, "APCP_surface")


def test_another_region_makes_another_store(job: Job, published: dict[int, xr.Dataset]):
    bounds = [-90.4, 42.6, -90.2, 42.8]
    fetch = {"forcings": FETCH["forcings"]}
    job.write(forcings={"precipitation": SOURCE}, period=PERIOD, fetch=fetch, bounds=bounds)
    assert job.fetch().exit_code == 0
    with xr.open_zarr(job.data / "aorc" / "2025.zarr") as local:
        assert float(local.latitude[0]) == pytest.approx(42.5)
    job.write(forcings={"precipitation": SOURCE}, period=PERIOD, fetch=FETCH)
    assert job.fetch().exit_code == 0
    require_same(job, published, "APCP_surface")


def test_two_variables_share_a_store(job: Job, published: dict[int, xr.Dataset]):
    warm = {**SOURCE, "variable": "TMP_2maboveground", "units": "K"}
    forcings = {
        **FETCH["forcings"],
        "temperature": {"service": "aorc", "variable": "TMP_2maboveground"},
    }
    settings: dict[str, Any] = {
        "forcings": {"precipitation": SOURCE, "temperature": warm},
        "period": PERIOD,
    }
    job.write(**settings, fetch={**FETCH, "forcings": forcings})
    assert job.fetch().exit_code == 0
    require_same(job, published, "APCP_surface")
    require_same(job, published, "TMP_2maboveground")
    late = {**warm, "time": {"label": "start", "offset": "-12h"}}
    settings["forcings"]["temperature"] = late
    job.write(**settings, fetch={**FETCH, "forcings": forcings})
    require_one_line(job.fetch(), 2, "forcings.temperature.files", "2025.zarr", "of its own")


def spoil_metadata(job: Job, change: Any) -> None:
    key = "/aorc/2025.zarr/.zmetadata"
    metadata = json.loads(job.replay.answers[key])
    change(metadata["metadata"])
    job.replay.answers[key] = json.dumps(metadata).encode()


def test_other_layouts_are_refused(job: Job, published: dict[int, xr.Dataset]):
    def turn(metadata: dict[str, Any]) -> None:
        metadata["APCP_surface/.zattrs"]["_ARRAY_DIMENSIONS"] = ["longitude", "latitude", "time"]

    spoil_metadata(job, turn)
    require_one_line(job.fetch(), 1, "2025.zarr", "longitude", "expected")

    def drop(metadata: dict[str, Any]) -> None:
        for name in (".zarray", ".zattrs"):
            del metadata[f"APCP_surface/{name}"]

    spoil_metadata(job, drop)
    require_one_line(job.fetch(), 1, "2025.zarr", "TMP_2maboveground", "expected APCP_surface")
    for content in (b"[]", b"{", b"{}", None):
        job.replay.answers["/aorc/2025.zarr/.zmetadata"] = content or b""
        if content is None:
            del job.replay.answers["/aorc/2025.zarr/.zmetadata"]
        require_one_line(job.fetch(), 1, "2025.zarr/.zmetadata", "expected consolidated metadata")


def test_a_coordinate_with_a_missing_chunk_is_refused(job: Job, published: dict[int, xr.Dataset]):
    del job.replay.answers["/aorc/2026.zarr/latitude/0"]
    require_one_line(job.fetch(), 1, "2026.zarr", "latitude", "expected a coordinate")


def test_a_region_that_nothing_says(job: Job, published: dict[int, xr.Dataset]):
    fetch = {"forcings": FETCH["forcings"]}
    job.write(forcings={"precipitation": SOURCE}, period=PERIOD, fetch=fetch)
    require_one_line(job.fetch(), 2, job.catalog, "bounds", "watersheds.gpkg", "expected")
    require_one_line(job.fetch("--dry-run"), 2, job.catalog, "bounds", "expected")


@pytest.mark.parametrize(
    ("changes", "code", "fragments"),
    [
        ({"bounds": [10.0, 42.6, 11.0, 42.8]}, 1, ["longitude", "expected"]),
        ({"forcings": {"precipitation": {**SOURCE, "files": "a.zarr"}}}, 2, ["expected", "%Y"]),
    ],
)
def test_what_the_service_does_not_have(
    job: Job,
    published: dict[int, xr.Dataset],
    changes: dict[str, Any],
    code: int,
    fragments: list[str],
):
    fetch = {"forcings": FETCH["forcings"]}
    bounds = [-89.6, 43.0, -89.3, 43.2]
    settings = {"forcings": {"precipitation": SOURCE}, "period": PERIOD, "bounds": bounds}
    job.write(**{**settings, **changes}, fetch=fetch)
    require_one_line(job.fetch(), code, *fragments)
    assert not job.data.exists()
