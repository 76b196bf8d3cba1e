"""Stages of a pipeline run follow the transitions of its tasks, and its speed its blocks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.catalog.models import load_catalog
from pipeline.live.announce import Announcer
from pipeline.live.board import RETRIED, lines_topic, live_topic
from pipeline.live.plugin import NAME
from pipeline.live.stages import PipelineStatus, Stage
from pipeline.live.stages_view import RAIN
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.store.read import open_region
from tests.pipeline.run.programs import wait_for

EVENT = {
    "title": "Region", "folder": "store", "rasters": 100, "raw_bytes": 4000,
    "bounds": [-85.0, 35.0, -84.0, 36.0], "cell": 1 / 12,
}  # fmt: skip


def counts(stage: Stage) -> tuple[int, int, int, int, int]:
    parts = len(stage.running), len(stage.done), len(stage.failed)
    return stage.waiting, *parts, stage.retried


def test_tasks_are_counted_by_what_they_are_now() -> None:
    status = PipelineStatus.begin(EVENT, 10.0)

    def move(key: str, start: str, finish: str, error: str = "") -> None:
        status.move(f"{key}-token", start, finish, error)

    for key in ("regrid-2010-01-01", "regrid-2010-02-01", "gauge-01"):
        move(key, "released", "waiting")
        move(key, "waiting", "processing")
    assert counts(status.stages["regrid"]) == (0, 2, 0, 0, 0)
    move("regrid-2010-01-01", "processing", "memory")
    move("regrid-2010-01-01", "memory", "released")  # the client has its result
    move("regrid-2010-01-01", "released", "forgotten")
    assert counts(status.stages["regrid"]) == (0, 1, 1, 0, 0)
    move("regrid-2010-02-01", "processing", "released")  # its worker has gone
    assert counts(status.stages["regrid"]) == (1, 0, 1, 0, 0)
    move("regrid-2010-02-01", "released", "waiting")
    move("regrid-2010-02-01", "waiting", "queued")
    move("regrid-2010-02-01", "queued", "processing")
    move("regrid-2010-02-01", "processing", "memory")
    assert counts(status.stages["regrid"]) == (0, 0, 2, 0, 1)
    move("gauge-01", "processing", "erred", "InputError('no record')")
    assert counts(status.stages["gauge"]) == (0, 0, 0, 1, 0)
    assert status.errors == ["gauge-01: InputError('no record')"]


def test_speed_and_time_left() -> None:
    status = PipelineStatus.begin(EVENT, 10.0)
    assert math.isnan(status.time_left())
    status.apply({"event": "block", "rasters": 20, "raw_bytes": 800}, 12.0)
    status.apply({"event": "block", "rasters": 30, "raw_bytes": 1200}, 20.0)
    assert status.per_second() == (5.0, 200.0)
    assert status.time_left() == 10.0


def test_the_page_follows_a_run(tiny_sample: Path, tmp_path: Path) -> None:
    from bokeh.client import pull_session

    from pipeline.run.cluster import dashboard_address

    catalog = load_catalog(tiny_sample / "catalog.yaml")
    pages: list[dict[str, Any]] = []

    with make_client(workers=2) as client:
        address = dashboard_address(client).replace("/status", "/domst")

        def visit(status: PipelineStatus) -> None:
            if 0 < status.rasters_done < status.rasters and not pages:
                session = pull_session(url=address)
                pages.append(session.document.get_model_by_name("stages").data)
                document = session.document
                pages.append({"text": document.get_model_by_name("summary").text})
                pages.append(document.get_model_by_name("rain").data)
                pages.append({"visible": document.get_model_by_name("rain_map").visible})
                session.close()

        report = run(catalog, tmp_path / "store.zarr", client, visit)
        cluster: Any = client.cluster
        (seen,) = cluster.scheduler.plugins[NAME].board.runs.values()
        events = cluster.scheduler._broker.get_events(live_topic(lines_topic(seen.run)))

    status = seen.status
    assert seen.state == "finished"
    assert (status.rasters, status.rasters_done) == (report.files, report.files)
    assert status.raw_bytes == status.bytes_done == sum(b.raw_bytes for b in report.plan.blocks)
    groups = len(report.plan.groups)
    assert {name: counts(stage) for name, stage in status.stages.items()} == {
        "share": (0, 0, 1, 0, 0),
        "regrid": (0, 0, len(report.blocks), 0, 0),
        "cover": (0, 0, groups, 0, 0),
        "trace": (0, 0, groups, 0, 0),
        "gauge": (0, 0, groups, 0, 0),
        "finish": (0, 0, 1, 0, 0),
    }
    columns, summary, rain, rain_map = pages
    assert set(columns["stage"]) >= {"share", "regrid"}
    assert f"of {report.files} rasters" in summary["text"]
    assert "rasters/s" in summary["text"]
    assert summary["text"].endswith(f".../{tmp_path.name}/store.zarr")
    west, south, east, north = report.plan.grid.bounds
    ((x, y, width, height),) = zip(*(rain[name] for name in RAIN[1:]), strict=True)
    np.testing.assert_allclose([x, y, x + width, y + height], [west, south, east, north])
    assert rain_map["visible"]
    assert status.rain is not None
    (block,) = [one for one in report.plan.blocks if one.name == status.rain.block]
    stored = open_region(tmp_path / "store.zarr").precipitation.isel(
        time=slice(block.start, block.stop)
    )
    np.testing.assert_allclose(status.rain.values, stored.mean("time"), rtol=1e-3)
    assert not any(one.rain for one in report.blocks)
    assert not events


def test_the_error_of_a_task_is_seen(
    tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.errors import InputError
    from pipeline.run import submit

    def fail(*_: Any) -> None:
        raise InputError("raster 7: damaged")

    monkeypatch.setattr(submit, "regrid_block", fail)
    with make_client(workers=1) as client:
        with pytest.raises(InputError):
            run(tiny_sample / "catalog.yaml", tmp_path / "store.zarr", client)
        cluster: Any = client.cluster
        (seen,) = cluster.scheduler.plugins[NAME].board.runs.values()
    assert seen.state == "stopped"
    assert "raster 7: damaged" in seen.status.errors[0]
    assert seen.status.errors[0].startswith("regrid-")


def test_the_client_hears_of_tasks_that_begin_again() -> None:
    heard: list[str] = []
    with make_client(workers=1) as client:
        announcer = Announcer(client, "run1")
        with announcer.running(kind="pipeline", **EVENT):
            announcer.subscribe(RETRIED, lambda event: heard.append(event["key"]))
            cluster: Any = client.cluster
            plugin, loop = cluster.scheduler.plugins[NAME], cluster.loop

            def begin(key: str) -> None:
                loop.add_callback(plugin.transition, key, "waiting", "processing")
                loop.add_callback(plugin.transition, key, "processing", "released")

            begin("regrid-1-run1")
            begin("regrid-1-run2")

            def again() -> bool:
                begin("regrid-2-run1")
                return bool(heard)

            wait_for(again)  # the scheduler may not know at first that the client listens
    assert set(heard) == {"regrid-2-run1"}
    status = PipelineStatus.begin(EVENT, 0.0)
    status.move(heard[0], "released", "waiting", "")
    status.note_retry(heard[0])
    assert status.stages["regrid"].retried == 1
