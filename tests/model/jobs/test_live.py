"""The page follows a training, and knows what an earlier call trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from bokeh.client import pull_session

from model import Settings
from model.jobs.live import announcement, read_curves
from model.jobs.train import prepare, run_training
from model.output.progress import Progress
from pipeline.live.plugin import NAME
from pipeline.live.training import TrainingStatus
from pipeline.run.cluster import dashboard_address, make_client
from pipeline.store.read import list_sites, open_watershed


def test_the_page_follows_a_training(tiny_store: Path, tmp_path: Path) -> None:
    pages: list[dict[str, Any]] = []
    sites = list_sites(tiny_store)[:2]
    settings = Settings(updates=4, evaluate_every=2)
    training = prepare(tiny_store, tmp_path / "run", sites=sites, settings=settings)

    with make_client(workers=1) as client:
        address = dashboard_address(client).replace("/status", "/domst")

        class Visitor(Progress):
            def head_done(self, score: dict[str, Any]) -> None:
                session = pull_session(url=address)
                columns = session.document.get_model_by_name("heads").data
                session.close()
                keys = ("site", "state", "update", "nse", "xs", "ys", "worker")
                pages.append({name: list(columns[name]) for name in keys})

        metrics = run_training(training, client, Visitor())
        cluster: Any = client.cluster
        (run,) = cluster.scheduler.plugins[NAME].board.runs.values()

    first, last = pages
    order = [*first["site"]]
    assert sorted(order) == sites
    assert first["update"][0] == 4  # the largest watershed comes first
    assert first["state"][1] in ("waiting", "training")
    assert set(last["state"]) <= {"training", "done"}
    for row, site in enumerate(order):  # the map shows the store's polygons
        shape = shapely.from_wkt(str(open_watershed(tiny_store, site)["polygon"].item()))
        x, y = first["xs"][row], first["ys"][row]
        np.testing.assert_allclose([min(x), min(y), max(x), max(y)], shape.bounds, atol=0.02)

    assert run.state == "finished"
    scores = {head["site_no"]: head for head in metrics["heads"]}
    for site, head in run.status.heads.items():
        assert (head.state, head.update, head.name) == ("done", 4, scores[site]["name"])
        assert head.nse == scores[site]["validation_nse"]

    lines = (training.run.folder / "metrics.jsonl").read_text().splitlines()
    assert all("event" not in json.loads(line) for line in lines)
    about = announcement(training.store, training.survey, training.run, training.settings)
    again = TrainingStatus.begin(about)  # as after a restart of the scheduler
    assert {site: head.curve for site, head in again.heads.items()} == {
        site: head.curve for site, head in run.status.heads.items()
    }


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_curves(path) == {}
    line = {"site_no": "a", "update": 2, "loss": None, "validation_nse": 0.5}
    torn = json.dumps({**line, "update": 4})[:20]
    path.write_text(f"{json.dumps(line)}\n{torn}\n{json.dumps({**line, 'update': 6})}\n{torn}")
    curve = read_curves(path)["a"]
    assert list(curve.update) == [2, 6]
