"""One logger for the product: as text, as JSON lines, and collected for summaries."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError, exit_codes
from pipeline.json_text import as_json
from pipeline.log import collect_warnings, get_logger, json_lines, warn_on_stderr

ROOT = Path(__file__).resolve().parents[2]
LOG = get_logger("pipeline.somewhere")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What stderr got, each line of which has to be JSON."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_time_level_logger_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with json_lines():
        LOG.info(
            "block %(block)d: %(share).1f %(path)s", {"block": 3, "share": math.nan, "path": 1}
        )
        LOG.warning("two\nlines, 100%")
        LOG.debug("nobody asked")
    first, second = lines_of(capsys)
    assert (first["level"], first["logger"]) == ("info", "domst.pipeline.somewhere")
    assert first["message"] == "block 3: nan 1"
    assert first["fields"] == {"block": 3, "share": None, "path": 1}
    age = datetime.now(UTC) - datetime.fromisoformat(first["time"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert (second["level"], second["message"], second["fields"]) == (
        "warning",
        "two\nlines, 100%",
        {},
    )


def test_what_python_and_dask_say_are_lines_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed  # noqa: F401

    dask = logging.getLogger("distributed")
    monkeypatch.setattr(dask, "propagate", False)  # as Dask leaves it, unless a test changed it
    monkeypatch.setattr(dask, "handlers", [logging.StreamHandler()])
    before = {
        name: list(logging.getLogger(name).handlers)
        for name in ("distributed", "distributed.client", "domst")
    }
    with json_lines():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("an old option", stacklevel=1)
        logging.getLogger("distributed.nanny").warning("restarts")
        for handler in dask.handlers:
            handler.setLevel(logging.CRITICAL)  # as a cluster that is to be silent does
        LOG.info("still heard")
        try:
            raise ValueError("broken")
        except ValueError:
            LOG.exception("a defect")
    lines = lines_of(capsys)
    assert [line["message"] for line in lines if line["level"] == "info"] == ["still heard"]
    loggers = {line["logger"]: line for line in lines if line["level"] != "info"}
    assert "an old option" in loggers["py.warnings"]["message"]
    assert loggers["distributed.nanny"]["message"] == "restarts"
    assert "ValueError: broken" in loggers["domst.pipeline.somewhere"]["exception"]
    assert before == {name: list(logging.getLogger(name).handlers) for name in before}


def test_the_error_that_ends_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_codes():
        raise InputError("a.yaml: 3: expected 4")
    assert capsys.readouterr().err == "error: a.yaml: 3: expected 4\n"
    with pytest.raises(SystemExit) as ended, json_lines(), exit_codes():
        raise InputError("a.yaml: 100%s: expected 4")
    (line,) = lines_of(capsys)
    assert line["level"] == "error"
    assert line["message"] == "a.yaml: 100%s: expected 4"
    assert line["fields"]["exit_code"] == ended.value.code == 2


def test_warnings_are_text_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger("domst")
    handlers, level = list(root.handlers), root.level
    warn_on_stderr()
    try:
        LOG.warning("careful")
        LOG.info("nobody asked")
        assert capsys.readouterr().err == "WARNING: careful\n"
        with json_lines():
            LOG.warning("careful")
        assert [line["message"] for line in lines_of(capsys)] == ["careful"]
        LOG.warning("again text")
        assert capsys.readouterr().err == "WARNING: again text\n"
    finally:
        root.handlers[:] = handlers
    assert root.level == level


def test_warnings_are_collected_once_each() -> None:
    def elsewhere() -> None:
        LOG.warning("of another thread")

    with collect_warnings() as all_lines, collect_warnings(this_thread=True) as mine:
        LOG.warning("here %d", 1)
        LOG.warning("here 1")
        LOG.info("not a warning")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    LOG.warning("too late")
    assert all_lines == ["here 1", "of another thread"]
    assert mine == ["here 1"]


def test_no_module_has_a_logger_of_its_own() -> None:
    """Dask's are silenced by name in one place."""
    own = [
        str(path.relative_to(ROOT))
        for folder in ("pipeline", "model")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"logging\.getLogger\(|import getLogger", path.read_text())
    ]
    assert set(own) <= {"pipeline/log.py", "pipeline/run/cluster.py"}


def test_json_takes_what_results_hold() -> None:
    value = {
        "nan": math.nan,
        "one": np.float32(0.5),
        "many": (np.int64(3), {"a"}),
        "path": Path("a/b"),
        2: True,
        "none": None,
        "inf": [np.float64("inf")],
    }
    assert json.loads(as_json(value)) == {
        "nan": None,
        "one": 0.5,
        "many": [3, ["a"]],
        "path": "a/b",
        "2": True,
        "none": None,
        "inf": [None],
    }
