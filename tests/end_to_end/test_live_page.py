"""The live page of real runs: of a `dask scheduler` and the next one, and in Chromium."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest
from bokeh.client import ClientSession, pull_session
from distributed import Client, Worker
from distributed.utils import LoopRunner

from model import Settings
from model.jobs.train import prepare, run_training
from model.output.progress import Progress
from model.output.run_directory import Run
from pipeline.errors import RunError
from pipeline.live.announce import Announcer, register
from pipeline.run import cluster
from pipeline.run.cluster import dashboard_address, make_client
from pipeline.run.execute import run
from pipeline.store.read import list_sites
from tests.pipeline.live.browser import CLICK, EACH, WAIT_SECONDS, open_tab
from tests.pipeline.live.test_browser import MENU
from tests.pipeline.run.programs import programs

PIPELINE: dict[str, Any] = {
    "kind": "pipeline", "title": "Another region", "folder": "my.zarr", "rasters": 9,
    "raw_bytes": 90, "bounds": [0, 0, 1, 1], "cell": 1.0,
}  # fmt: skip


@contextmanager
def own_programs(folder: Path) -> Iterator[tuple[Any, Client]]:
    """A `dask scheduler` without any preload, a worker in this process, and a client."""
    with programs(folder, 0, "--dashboard-address", "127.0.0.1:0") as made:
        runner = LoopRunner()
        runner.start()
        worker = runner.run_sync(start_worker, made.address)
        try:
            with make_client(made.address) as client:
                yield made, client
        finally:
            runner.run_sync(worker.close, executor_wait=False)
            runner.stop()


async def start_worker(address: str) -> Worker:
    return await Worker(address, nthreads=1, dashboard=False)


def model_of(session: ClientSession, name: str) -> Any:
    return session.document.get_model_by_name(name)


def test_runs_of_two_clients_and_after_a_restart_of_the_scheduler(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 5.0)
    sites = list_sites(tiny_store)[:2]
    settings = Settings(updates=4, evaluate_every=2)
    training = prepare(tiny_store, tmp_path / "run", sites=sites, settings=settings)
    seen: list[str] = []

    class Killer(Progress):
        """Looks at the page from a second client when a head is done, and ends the scheduler."""

        def head_done(self, score: dict[str, Any]) -> None:
            seen.append(score["site_no"])
            with Client(made.address) as other, Announcer(other, "run2").running(**PIPELINE):
                session = pull_session(url=page)
                (_, text), (old, _) = model_of(session, "run").options
                assert "Another region, pipeline" in text
                assert model_of(session, "stages")
                model_of(session, "run").value = old
                session.pull()
                assert sorted(model_of(session, "heads").data["site"]) == sites
                assert model_of(session, "stages") is None
                session.close()
            made.scheduler.kill()

    with own_programs(tmp_path / "first") as (made, client):
        page = dashboard_address(client).replace("/status", "/domst")
        with pytest.raises(RunError, match="lost the scheduler"):
            run_training(training, client, Killer())
    (done,) = seen

    curves: dict[str, Any] = {}

    class Visitor(Progress):
        def head_done(self, score: dict[str, Any]) -> None:
            session = pull_session(url=page)
            heads = model_of(session, "heads")
            heads.selected.indices = [list(heads.data["site"]).index(done)]
            session.pull()
            curves.update(model_of(session, "curves").data)
            session.close()

    with own_programs(tmp_path / "second") as (made, client):
        page = dashboard_address(client).replace("/status", "/domst")
        run_training(training, client, Visitor())
    # the head that was done is not trained again: its curve is that of metrics.jsonl
    assert list(curves["site"]) == [done]
    assert [list(one) for one in curves["update"]] == [[2, 4]]


TABLES = ("cover", "trace", "gauge", "finish")
LENGTHS = """
(() => { const curves = Bokeh.documents[0].get_model_by_name("curves");
  return curves ? [...curves.get_array("nse")].map(one => one.length) : []; })()
"""
PICTURES = """
(() => { const rain = Bokeh.documents[0].get_model_by_name("rain");
  return rain ? rain.get_array("values").length : 0; })()
"""
SUMMARY = """
(() => { const view = Bokeh.documents[0].roots()[0].children[2];
  return Boolean(view) && view.children[0].text.includes("finished"); })()
"""
CHOOSE_FIRST = (
    EACH
    + """
let chosen = false;
each(one => { if (!chosen && one.classList.contains("slick-row")) {
    chosen = true; one.querySelector(".slick-cell").click(); } })
"""
)


def test_a_browser_follows_a_pipeline_run_and_a_training(
    tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium")
    gate, store = Semaphore(0), tmp_path / "store.zarr"
    append = Run.append_to_head

    def append_at_the_gate(self: Run, line: dict[str, Any]) -> None:
        append(self, line)
        assert gate.acquire(timeout=WAIT_SECONDS)

    monkeypatch.setattr(Run, "append_to_head", append_at_the_gate)

    def fit() -> None:
        settings = Settings(updates=6, evaluate_every=2)
        training = prepare(store, tmp_path / "run", sites=list_sites(store)[:2], settings=settings)
        run_training(training, client)

    async def visit() -> None:
        async with open_tab(program, tmp_path / "profile") as tab:
            await tab.call("Page.navigate", url=dashboard_address(client))
            await tab.wait_for("document.readyState", "complete")
            await tab.evaluate(MENU)
            await tab.wait_for("location.pathname + !!window.Bokeh", "/domsttrue")
            await tab.wait_for("Bokeh.documents.length", 1)
            await tab.wait_for('Bokeh.documents[0].get_model_by_name("note").visible', True)
            await asyncio.to_thread(run, tiny_sample / "catalog.yaml", store, client)
            await tab.wait_for(PICTURES, 1)
            await tab.wait_for(SUMMARY, True)
            await asyncio.sleep(1)
            stages = await tab.rows()
            assert [row[0] for row in stages] == ["share", "regrid", *TABLES]
            assert all(row[1:] == [row[1], row[1], "0", "0", "0", "0"] for row in stages), stages
            training = asyncio.create_task(asyncio.to_thread(fit))
            for points in (1, 2):  # the first head waits at the gate after each
                gate.release()
                await tab.wait_for(LENGTHS, [points])
            gate.release(10)
            await tab.wait_for(LENGTHS, [3, 3])
            await training
            await tab.wait_for(SUMMARY, True)
            while [row[2] for row in await tab.rows()] != ["done", "done"]:
                await asyncio.sleep(0.1)
            await tab.evaluate(f"const TITLE = 'NSE'; {CLICK}")
            scores = [float(row[6].replace("\N{MINUS SIGN}", "-")) for row in await tab.rows()]
            assert scores == sorted(scores)
            await tab.evaluate(CHOOSE_FIRST)
            await tab.wait_for(LENGTHS, [3])
            assert not tab.errors

    with make_client(workers=1) as client:
        register(client)
        asyncio.run(visit())
