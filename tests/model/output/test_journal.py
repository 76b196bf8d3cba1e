"""The validations of metrics.jsonl, whatever has happened to the file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from model.output.journal import read_validations


def line(site: str, update: int, **more: Any) -> str:
    told = {"site_no": site, "update": update, "loss": 0.1, "validation_nse": 0.5}
    return json.dumps(told | more)


def test_validations_are_sorted_and_the_last_word_of_an_update_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_validations(path) == {}
    lines = [line("1", 20), line("2", 5), line("1", 10, loss=0.3), line("1", 20, loss=0.2)]
    path.write_text("\n".join(lines) + "\n")
    found = read_validations(path)
    assert list(found) == ["1", "2"]
    assert found["1"] == [(10, 0.3, 0.5), (20, 0.2, 0.5)]
    assert found["2"] == [(5, 0.1, 0.5)]


def test_what_is_torn_or_no_validation_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    torn = line("1", 15)[:-9]
    lines = [line("1", 10, loss=None, validation_nse=None), torn, "[]", "\ufffd"]
    lines += ['{"trunk": 1, "update": 5}', '{"site_no": "1", "update": 18}', line("1", 20), torn]
    path.write_text("\n".join(lines))
    ((site, (first, second)),) = read_validations(path).items()
    assert (site, first.update, second.update) == ("1", 10, 20)
    assert math.isnan(first.loss)
    assert math.isnan(first.nse)
