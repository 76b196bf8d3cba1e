"""Gauges on the scheduler's `/metrics`, and the Grafana dashboard that reads them."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from prometheus_client.parser import text_string_to_metric_families

from pipeline.live.announce import Announcer
from pipeline.run.cluster import dashboard_address

DOCS = Path(__file__).resolve().parents[3] / "docs"
TRAINING = {
    "kind": "training",
    "title": "Region",
    "folder": "runs/1",
    "updates": 100,
    "sites": ["01", "02"],
    "names": ["", ""],
    "outlines": [b"", b""],
    "curves": {},
}
PIPELINE = {
    "kind": "pipeline", "title": "", "folder": "", "rasters": 9, "raw_bytes": 90,
    "bounds": [0, 0, 1, 1], "cell": 1.0,
}  # fmt: skip


@pytest.fixture
def client() -> Iterator[Client]:
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with (
        LocalCluster(dashboard_address="127.0.0.1:0", **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


def scrape(client: Client) -> dict[tuple[str, str | None], float]:
    """Values of our gauges by name and head."""
    address = dashboard_address(client).replace("/status", "/metrics")
    with urllib.request.urlopen(address, timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("head")): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("domst")
        for sample in family.samples
    }


def test_gauges_follow_what_runs_and_the_dashboard_reads_no_others(client: Client) -> None:
    training, pipeline = Announcer(client, "run1"), Announcer(client, "run2")
    with training.running(**TRAINING), pipeline.running(**PIPELINE):
        line = {"site_no": "01", "update": 25, "loss": 0.5, "validation_nse": 0.25, "seconds": 1.0}
        training.send_line(line)
        training.send("pack", sites=["01"], device="cpu", worker="tcp://127.0.0.1:1")
        client.submit(len, [], key="regrid-2010-run2").result()
        pipeline.send("block", rasters=4, raw_bytes=40)
        found = scrape(client)
    expected = {
        "domst_runs_running": 2.0,
        "domst_heads_waiting": 1.0,
        "domst_heads_training": 1.0,
        "domst_heads_done": 0.0,
        "domst_heads_failed": 0.0,
        "domst_blocks": 1.0,
        "domst_blocks_done": 1.0,
        "domst_blocks_failed": 0.0,
        "domst_blocks_retried": 0.0,
        "domst_rasters_done": 4.0,
        "domst_raw_bytes_done": 40.0,
    }
    assert {name: found[name, None] for name in expected} == expected
    assert found["domst_head_validation_nse", "01"] == 0.25
    assert found["domst_head_loss", "01"] == 0.5
    assert found["domst_head_update", "02"] == 0.0
    assert ("domst_head_loss", "02") not in found

    text = (DOCS / "grafana.json").read_text()
    used = set(re.findall(r"domst_\w+", text))
    assert used == {name for name, _ in found}  # each gauge is on the dashboard
    assert {name for name, _ in found} == set(
        re.findall(r"domst_\w+", (DOCS / "dashboard.md").read_text())
    )
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)

    after = scrape(client)  # quiet when nothing runs
    assert after["domst_runs_running", None] == 0
    assert not any(head for _, head in after)
