"""The state of a training follows its events; curves stay small."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.live.board import MAX_ENDED, Board, live_topic
from pipeline.live.curve import MAX_POINTS, Curve
from pipeline.live.outlines import simplify_outlines, unpack_outline
from pipeline.live.training import TrainingStatus

WORKER = "tcp://127.0.0.1:1"


def begin(sites: tuple[str, ...] = ("a", "b", "c"), **about: Any) -> dict[str, Any]:
    return {
        "event": "begin",
        "kind": "training",
        "client": "client-1",
        "title": "Region",
        "folder": "runs/1",
        "updates": 100,
        "sites": list(sites),
        "names": [f"Creek {site}" for site in sites],
        "outlines": [b""] * len(sites),
        "curves": {},
        **about,
    }


def pack(*sites: str, worker: str = WORKER) -> dict[str, Any]:
    return {"event": "pack", "sites": list(sites), "device": "cpu", "worker": worker}


def done(site: str, busy: float) -> dict[str, Any]:
    return {
        "event": "done", "sites": [site], "update": 100, "nse": 0.7, "busy": busy, "worker": WORKER
    }  # fmt: skip


def line(site: str, update: int, seconds: float, loss: float | None = 0.5) -> dict[str, Any]:
    return {
        "site_no": site, "update": update, "loss": loss, "validation_nse": 0.6, "seconds": seconds
    }  # fmt: skip


@given(st.integers(1, 600))
def test_a_curve_is_bounded_and_keeps_its_last_point(points: int) -> None:
    curve = Curve()
    for update in range(1, points + 1):
        curve.add(update, update / 2, -update)
    assert len(curve.update) == min(points, len(curve.update)) <= MAX_POINTS
    assert curve.update[-1] == points
    assert list(curve.update) == sorted(set(curve.update))
    assert [2 * loss for loss in curve.loss] == list(curve.update) == [-nse for nse in curve.nse]
    assert Curve.unpack(curve.pack()) == curve


def test_an_interrupted_attempt_is_replaced() -> None:
    curve = Curve()
    for update, nse in ((25, 0.1), (50, 0.2), (75, 0.3), (50, 0.4)):
        curve.add(update, 1.0, nse)
    assert list(zip(curve.update, curve.nse, strict=True)) == [(25, 0.1), (50, 0.4)]


def test_heads_wait_train_and_end() -> None:
    status = TrainingStatus.begin(begin())
    states = lambda: [head.state for head in status.heads.values()]  # noqa: E731
    assert states() == ["waiting"] * 3
    status.apply(pack("a", "b"), now=10.0)
    assert states() == ["training", "training", "waiting"]
    status.validate(line("a", 25, 5.0))
    assert math.isnan(status.time_left(status.heads["a"]))
    status.validate(line("a", 50, 10.0))
    assert status.time_left(status.heads["a"]) == 50 * (5.0 / 25)
    assert status.workers_busy(now=22.0) == {WORKER: 12.0}
    status.apply(done("a", 6.0), now=30.0)
    assert status.heads["a"].nse == 0.7
    assert math.isnan(status.time_left(status.heads["a"]))
    assert WORKER in {one.worker for one in status.packs.values()}  # "b" is still trained
    status.apply({"event": "failed", "sites": ["b"], "lines": ["b: no"]}, now=31.0)
    assert states() == ["done", "failed", "waiting"]
    assert status.failures == ["b: no"]
    assert status.workers_busy(now=99.0) == {WORKER: 6.0}
    assert not status.packs


def test_what_is_trained_in_packs_and_what_waits_make_the_time_left() -> None:
    status = TrainingStatus.begin(begin(("a", "b", "c", "d")))
    status.apply(pack("a", "b"), now=0.0)
    for update, seconds in ((25, 5.0), (50, 10.0)):
        for site in "ab":
            status.validate(line(site, update, seconds))
    # 50 updates of the pack at 0.2 s; then two heads alone, half of a pack each
    assert status.run_time_left() == 50 * 0.2 + 2 * 100 * 0.1


def test_restarts_and_lost_workers_are_counted() -> None:
    status = TrainingStatus.begin(begin())
    status.apply(pack("a"), now=0.0)
    status.validate(line("a", 25, 5.0, loss=math.nan))
    status.validate(line("a", 50, 10.0, loss=None))  # as in metrics.jsonl
    assert status.heads["a"].restarts == 2
    status.lose_worker(WORKER)
    assert status.heads["a"].state == "waiting"
    assert not status.packs
    status.apply(pack("a", worker="tcp://127.0.0.1:2"), now=20.0)
    assert (status.heads["a"].attempts, status.heads["a"].worker) == (2, "tcp://127.0.0.1:2")
    assert status.workers_busy(now=21.0) == {"tcp://127.0.0.1:2": 1.0}


def test_a_training_that_goes_on_begins_with_its_curves() -> None:
    curve = Curve()
    curve.add(25, 0.5, 0.1)
    curve.add(50, 0.4, 0.2)
    status = TrainingStatus.begin(begin(curves={"b": curve.pack()}))
    head = status.heads["b"]
    assert (head.update, head.loss, head.nse, head.curve) == (50, 0.4, 0.2, curve)


def test_runs_are_told_apart_end_with_their_client_and_are_forgotten() -> None:
    board = Board()
    for number in range(MAX_ENDED + 5):
        board.log_event(live_topic(f"dom-st-r{number}"), begin(client=f"client-{number}"), number)
    assert len(board.runs) == MAX_ENDED + 5  # all of them run
    board.log_event("dom-st-r1", line("a", 25, 1.0), 20.0)
    board.log_event("dom-st-unknown", line("a", 25, 1.0), 20.0)
    board.log_event("worker-1", {"anything": 1}, 20.0)
    statuses = [run.status for run in board.runs.values()]
    assert all(isinstance(status, TrainingStatus) for status in statuses)
    updates = [one.heads["a"].update for one in statuses if isinstance(one, TrainingStatus)]
    assert updates[:3] == [0, 25, 0]
    assert board.lose_client("client-3", 21.0) == ["r3"]
    ended = board.log_event(live_topic("dom-st-r3"), {"event": "end", "state": "finished"}, 22.0)
    assert (board.runs["r3"].state, board.runs["r3"].ended, ended) == ("stopped", 21.0, "r3")
    for number in range(4, MAX_ENDED + 5):
        board.lose_client(f"client-{number}", 23.0)
    board.log_event(live_topic("dom-st-new"), begin(), 24.0)
    assert [*board.runs][:4] == ["r0", "r1", "r2", "r5"]  # running, and the latest ended
    assert sum(run.state != "running" for run in board.runs.values()) == MAX_ENDED


def test_the_memory_of_a_head_is_bounded() -> None:
    """10,000 heads take less than 50 MB, however long they are trained."""
    heads, updates = 50, 4 * MAX_POINTS
    sites = tuple(f"{number:08d}" for number in range(heads))
    board = Board()
    tracemalloc.start()
    try:
        board.log_event(live_topic("dom-st-r"), begin(sites), 0.0)
        for update in range(updates):
            for site in sites:
                board.log_event("dom-st-r", line(site, update, float(update)), 1.0)
            for site in sites:  # that is begun again and again
                board.log_event(live_topic("dom-st-r"), pack(site), 1.0)
        board.log_event(
            live_topic("dom-st-r"),
            {"event": "failed", "sites": sites, "lines": ["no" * 9] * 1000}, 2.0,
        )  # fmt: skip
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / heads < 5000


def test_outlines_keep_their_shape_at_the_detail_of_a_map() -> None:
    island, speck = shapely.Point(1.2, 0).buffer(0.1), shapely.Point(1.5, 0).buffer(1e-4)
    shape = shapely.MultiPolygon([shapely.Point(0, 0).buffer(1, quad_segs=4000), island, speck])
    (packed,) = simplify_outlines([shape.wkt], (-1.0, -1.0, 1.5, 1.0))
    x, y = unpack_outline(packed)
    assert len(x) < 200 < shapely.get_num_coordinates(shape)
    parts = np.split(np.stack([x, y], 1), np.flatnonzero(np.isnan(x)))
    areas = [shapely.Polygon(part[~np.isnan(part[:, 0])]).area for part in parts]
    np.testing.assert_allclose(areas, [np.pi, island.area], rtol=0.03)
