"""Run directories: who may write one, and what is said of one that is torn or something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.output.journal import append_line, put_together, read_lines
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import InputError, RunError
from pipeline.store.lease import LEASE

HEAD = {
    "site_no": "01", "name": "Creek", "nse": 0.5, "nse_low": None, "nse_high": None, "kge": 0.5,
    "pbias": 1.0, "peak_error": 1.0, "peak_lag": 0.0,
}  # fmt: skip
METRICS = {"title": "t", "synthetic": True, "variant": "v", "split": "s", "heads": [HEAD]}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has begun."""
    run = Run(tmp_path / "run")
    run.begin(Settings(), "store.zarr", "digest", ["01"])
    return run


def torn_or_foreign(text: str) -> list[bytes]:
    """Texts cut at many places, and what is something else."""
    content = text.encode()
    cut = [content[:end] for end in range(0, len(content) - 1, len(content) // 40 + 1)]
    return [*cut, b"\xff\xfe\x00", b"[]", b"3", b"{}", b'{"heads": [3], "settings": 3}', b"a: [b"]


def test_a_torn_or_foreign_run_yaml_is_one_line(run: Run) -> None:
    path = run.folder / "run.yaml"
    whole = path.read_text()
    assert run.recorded().sites == ["01"]
    for content in torn_or_foreign(whole[: whole.index("revision")]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"run\.yaml: .*expected") as refusal:
            run.recorded()
        assert str(path) in str(refusal.value)
        with pytest.raises(InputError, match=r"run\.yaml: .*expected"):
            run.begin(Settings(), "store.zarr", "digest", ["01"])
        assert path.read_bytes() == content


@pytest.mark.parametrize("change", ["gone", "new", "other"])
def test_a_run_of_another_version_is_not_this_training(run: Run, change: str) -> None:
    """A setting that this version lacks, one that it added, one with another value."""
    path = run.folder / "run.yaml"
    about = yaml.safe_load(path.read_text())
    name = {"gone": "store_mixture", "new": "hidden", "other": "hidden"}[change]
    if change == "new":
        del about["settings"][name]
    else:
        about["settings"][name] = False if change == "gone" else -1
    path.write_text(yaml.safe_dump(about))
    with pytest.raises(InputError, match=rf"run\.yaml: {name} is .*another --run"):
        run.require_same(Settings(), "digest", ["01"])
    if change != "new":
        with pytest.raises(InputError, match=rf"settings {name} .*a run of this version"):
            run.recorded()


def test_a_torn_or_foreign_metrics_json_is_one_line(run: Run) -> None:
    assert run.finished() is None
    run.finish(METRICS)
    assert run.scores.loc["01", "nse"] == 0.5
    path = run.folder / "metrics.json"
    for content in torn_or_foreign(path.read_text()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"metrics\.json: .*`domst train --resume` writes it"):
            run.finished()


def test_torn_scores_of_a_head_count_as_none(run: Run) -> None:
    assert run.score("01") is None
    run.save_score(HEAD)
    assert run.score("01") == {"warnings": [], **HEAD}
    path = run.checkpoints / "01.json"
    for content in torn_or_foreign(path.read_text()):
        path.write_bytes(content)
        assert run.score("01") is None


def test_a_prediction_is_no_training(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(Settings(), "store.zarr", "digest", ["01"], heads=Path("trained"))
    for refused in (run.recorded, lambda: run.require_same(Settings(), "digest", ["01"])):
        with pytest.raises(InputError, match="predictions of trained: expected a training"):
            refused()


def test_one_training_at_a_time(tmp_path: Path) -> None:
    line = {"site_no": "01", "update": 25}
    with Run(tmp_path / "run").held() as first:
        first.append_to_head(line)
        with (
            pytest.raises(RunError, match=r"run: held by a run of .* process \d+, .*--take-over"),
            Run(tmp_path / "run").held(),
        ):
            pass
        (first.checkpoints / "01.safetensors.checkpoint-1.partial").touch()  # of a dead run
        with Run(tmp_path / "run").held(take_over=True) as second:
            assert not list(second.folder.rglob("*.partial"))
            second.append_to_head({**line, "update": 50})
            for write in (
                lambda: first.append_to_head(line),
                lambda: first.save_score(HEAD),
                lambda: first.finish(METRICS),
            ):
                with pytest.raises(RunError, match="was taken over by a run of"):
                    write()
            assert [found["update"] for found in read_lines(first.checkpoints / "01.jsonl")] == [
                25, 50
            ]  # fmt: skip
            assert second.finished() is None
    assert not (tmp_path / "run" / LEASE).exists()


def test_lines_of_heads_come_together_once_each(tmp_path: Path) -> None:
    """The last of each head and update; torn lines spoil no other."""

    def line(site: str, update: int, **more: Any) -> dict[str, Any]:
        return {"site_no": site, "update": update, **more}

    whole, one, two = (tmp_path / name for name in ("metrics.jsonl", "1.jsonl", "2.jsonl"))
    append_line(whole, line("trunk", 25))
    append_line(whole, line("2", 25, seconds=1))
    whole.write_bytes(whole.read_bytes() + b'{"site_no": "1", "upd')
    append_line(whole, line("1", 25))
    append_line(one, line("1", 25))
    append_line(one, line("1", 50, loss=float("nan")))
    append_line(two, line("2", 25, seconds=2))
    two.write_bytes(two.read_bytes()[:-1])
    append_line(two, line("2", 50))
    for _ in range(2):
        put_together(whole, [two, one])
        assert [json.loads(text) for text in whole.read_text().splitlines()] == [
            line("trunk", 25), line("2", 25, seconds=2), line("1", 25),
            line("1", 50, loss=None), line("2", 50),
        ]  # fmt: skip


def test_a_run_without_lines_has_no_file_of_them(run: Run) -> None:
    run.collect_lines()
    assert not (run.folder / "metrics.jsonl").exists()
    assert yaml.safe_load((run.folder / "run.yaml").read_text())["sites"] == ["01"]
