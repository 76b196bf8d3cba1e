"""Fixtures of the tests of fetching."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from dataretrieval import nldi

from tests.pipeline.fetch.job import Job
from tests.pipeline.fetch.replay import (
    DAYS,
    FIRST,
    FLOW,
    Replay,
    days_from,
    serve_prism,
    serve_usgs,
    serving,
)


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    monkeypatch.setattr("pipeline.retry.FIRST_WAIT", 0.01)
    monkeypatch.setattr("dataretrieval.transport.retry._RETRY_BASE_BACKOFF", 0.01)
    monkeypatch.setattr(nldi, "_AVAILABLE_DATA_SOURCES", None)
    with serving() as started:
        yield started


@pytest.fixture
def rain() -> np.ndarray:
    """Rain [mm] of the six days, float32 (days, rows, columns)."""
    return np.random.default_rng(3).gamma(0.5, 8.0, (DAYS, 12, 16)).astype(np.float32)


@pytest.fixture
def job(tmp_path: Path, replay: Replay, domst_data: Path, rain: np.ndarray) -> Job:
    serve_usgs(replay, domst_data, days_from(date(2025, 12, 19), FLOW))
    serve_prism(replay, FIRST, rain)
    made = Job(tmp_path / "job", replay)
    made.write()
    return made
