"""The page on a scheduler's dashboard; what it uses of Dask beyond its documented interface."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from bokeh.client import pull_session
from distributed import Client, LocalCluster

from pipeline.live.announce import Announcer, register
from pipeline.live.board import Board
from pipeline.live.plugin import NAME, LivePlugin
from pipeline.run.cluster import dashboard_address

ABOUT: dict[str, Any] = {
    "kind": "training",
    "title": "Region",
    "folder": "runs/1",
    "updates": 100,
    "sites": ["a", "b"],
    "names": ["Creek <a>", "Creek b"],
    "outlines": [b"", b""],
    "curves": {},
}
LINE = {"site_no": "a", "update": 25, "loss": 0.5, "validation_nse": 0.25, "seconds": 1.0}


def start(**options: Any) -> LocalCluster:
    """Start a scheduler without workers in this process."""
    return LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", **options)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with start() as cluster, Client(cluster) as client:
        yield client


def scheduler_of(client: Client) -> Any:
    cluster: Any = client.cluster
    return cluster.scheduler


def board_of(client: Client) -> Board:
    return scheduler_of(client).plugins[NAME].board


def read_page(client: Client, name: str) -> str:
    address = dashboard_address(client).replace("/status", f"/{name}")
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def open_page(client: Client) -> Any:
    """The content of the page; what happens later is not seen."""
    session = pull_session(url=dashboard_address(client).replace("/status", "/domst"))
    session.close()
    return session.document


def test_the_page_is_in_the_menu_of_every_page_once_and_quiet_without_a_run(
    client: Client,
) -> None:
    assert register(client)
    assert register(client)  # a second run
    for name in ("status", "workers", "domst"):
        assert read_page(client, name).count('href="domst"') == 1, name
    document = open_page(client)
    assert document.get_model_by_name("note").visible
    assert document.get_model_by_name("heads") is None


def test_a_run_is_seen_on_the_page_and_its_events_are_dropped_at_the_end(client: Client) -> None:
    announcer = Announcer(client, "run-1")
    broker = scheduler_of(client)._broker
    with announcer.running(**ABOUT):
        announcer.send_line(LINE)
        announcer.send("pack", sites=["b"], device="cuda:0", worker="tcp://127.0.0.1:1")
        document = open_page(client)
        source = document.get_model_by_name("heads").data
        assert list(source["site"]) == ["a", "b"]
        assert list(source["update"]) == [25, 0]
        assert source["nse"][0] == 0.25
        assert list(source["state"]) == ["waiting", "training"]
        assert source["worker"][1] == "tcp://127.0.0.1:1 cuda:0"
        curves = document.get_model_by_name("curves").data
        assert [list(one) for one in curves["nse"]] == [[0.25]]
        assert "Region" in document.get_model_by_name("summary").text
        assert broker.get_events("dom-st-run-1")
    assert board_of(client).runs["run-1"].state == "finished"
    assert not broker.get_events("dom-st-run-1")
    assert not broker.get_events("dom-st-run-1-live")


def test_troubles_and_the_imbalance_of_workers_are_seen(client: Client) -> None:
    announcer = Announcer(client, "run-6")
    one, two = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"
    with announcer.running(**{**ABOUT, "sites": ["a", "b", "c"], "names": [""] * 3,
                              "outlines": [b""] * 3}):  # fmt: skip
        for site, worker, busy in (("a", one, 30.0), ("b", two, 10.0)):
            announcer.send("pack", sites=[site], device="cpu", worker=worker)
            announcer.send_line({**LINE, "site_no": site, "loss": None})
            announcer.send("done", sites=[site], update=100, nse=0.5, busy=busy, worker=worker)
        for _ in range(2):
            announcer.send("pack", sites=["c"], device="cpu", worker=one)
        announcer.send("failed", sites=["c"], lines=["c: <no> discharge"])
        document = open_page(client)
    text = document.get_model_by_name("troubles").text.split("<br>")
    assert text == [
        "c: &lt;no&gt; discharge",
        "a: loss not finite, 1 restarts",
        "b: loss not finite, 1 restarts",
        "c: begun 2 times",
    ]
    assert "busiest worker / mean: 1.50" in document.get_model_by_name("summary").text
    workers = document.get_model_by_name("workers").data
    assert list(workers["worker"]) == [one, two]
    assert list(workers["busy"]) == [30.0, 10.0]
    heads = document.get_model_by_name("heads").data
    assert list(heads["restarts"]) == [1, 1, 1]
    assert list(heads["state"]) == ["done", "done", "failed"]


def test_a_run_stops_with_an_error_or_with_its_client(client: Client) -> None:
    with pytest.raises(ZeroDivisionError), Announcer(client, "run-2").running(**ABOUT):
        raise ZeroDivisionError
    assert board_of(client).runs["run-2"].state == "stopped"
    with Client(client.cluster) as other, Announcer(other, "run-3").running(**ABOUT):
        assert board_of(client).runs["run-3"].state == "running"
        other.close()  # then its end is neither sent nor raised
    assert board_of(client).runs["run-3"].state == "stopped"
    document = open_page(client)
    labels = [text for _, text in document.get_model_by_name("run").options]
    assert [text.rsplit(", ")[-1] for text in labels[:2]] == ["stopped", "stopped"]


def test_a_scheduler_without_the_package_is_one_line_and_the_run_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: LivePlugin) -> Any:
        return __import__, ("a_package_that_the_scheduler_lacks",)

    monkeypatch.setattr(LivePlugin, "__reduce__", refuse)
    with caplog.at_level(logging.WARNING, "domst"), Announcer(client, "run-4").running(**ABOUT):
        pass
    (record,) = [one for one in caplog.records if one.name.startswith("domst.")]
    assert "no page /domst" in record.message
    assert "a_package_that_the_scheduler_lacks" in record.message
    assert "\n" not in record.message
    assert "run-4" not in board_of(client).runs


def test_a_scheduler_without_a_dashboard_follows_runs_all_the_same() -> None:
    with (
        start(scheduler_kwargs={"dashboard": False}) as cluster,
        Client(cluster) as client,
        Announcer(client, "run-5").running(**ABOUT),
    ):
        assert board_of(client).runs["run-5"].state == "running"
