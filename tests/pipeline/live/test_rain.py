"""The coarse picture of a block's rain, and how much of it is sent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.live import announce
from pipeline.live.announce import Announcer, short_place
from pipeline.live.rain import MAX_SIZE, RainPicture
from pipeline.storage import parse_location


@pytest.mark.parametrize(("rows", "columns", "cells"), [(5, 64, 1), (130, 65, 3), (1, 1, 1)])
def test_a_picture_has_the_means_of_what_is_known(rows: int, columns: int, cells: int) -> None:
    chance = np.random.default_rng(rows)
    rain = chance.gamma(0.5, 4, (3, rows, columns)).astype(np.float32)
    rain[chance.random(rain.shape) < 0.2] = np.nan
    rain[:, :cells, :cells] = np.nan
    picture = RainPicture.draw("2010-01-01", rain)
    assert picture.cells == cells
    assert max(picture.values.shape) <= MAX_SIZE
    assert picture.values.shape == (-(-rows // cells), -(-columns // cells))
    for row, column in np.ndindex(picture.values.shape):
        here = rain[:, row * cells : (row + 1) * cells, column * cells : (column + 1) * cells]
        known = here[~np.isnan(here)]
        expected = known.mean() if known.size else np.nan
        np.testing.assert_allclose(picture.values[row, column], expected, rtol=1e-3)
    again = RainPicture.unpack(picture.pack())
    assert (again.block, again.cells) == (picture.block, picture.cells)
    np.testing.assert_array_equal(again.values, picture.values)


def test_pictures_are_sent_once_a_second_and_only_to_a_scheduler_that_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Recorder:
        id, status = "client-1", "running"

        def register_plugin(self, plugin: Any) -> None:
            if refused:
                raise ImportError("no package")

        def log_event(self, topic: str, message: Any) -> None:
            sent.append(message["event"])

    refused = False
    sent: list[str] = []
    clock = iter((100.0, 100.9, 101.0, 101.5, 200.0))
    monkeypatch.setattr(announce, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    picture = RainPicture.draw("2010", np.ones((2, 100, 100), np.float32))
    client: Any = Recorder()
    announcer = Announcer(client, "run1")
    with announcer.running(kind="pipeline"):
        assert announcer.heard
        for _ in range(4):
            announcer.send_rain(picture)
    assert sent == ["begin", "rain", "rain", "end"]
    assert len(picture.pack()["values"]) <= 2 * MAX_SIZE**2
    refused = True
    announcer = Announcer(client, "run2")
    with announcer.running(kind="pipeline"):
        assert not announcer.heard
        announcer.send_rain(picture)
    assert len(sent) == 4


def test_no_picture_is_drawn_where_nobody_listens(
    tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.run.cluster import make_client
    from pipeline.run.execute import run

    drawn: list[str] = []
    monkeypatch.setattr(announce, "register", lambda client: False)
    monkeypatch.setattr(RainPicture, "draw", lambda *about: drawn.append(about[0]))
    with make_client(workers=1) as client:
        run(tiny_sample / "catalog.yaml", tmp_path / "store.zarr", client)
    assert not drawn


def test_places_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place, expected in (
        (tmp_path / "build/runs/my", "build/runs/my"),
        (Path("build/my.zarr"), "build/my.zarr"),
        (Path("/data/of/somebody/runs/my"), ".../runs/my"),
        (parse_location("s3://bucket/a/b/my.zarr"), "s3://bucket/a/b/my.zarr"),
    ):
        assert short_place(place) == expected
