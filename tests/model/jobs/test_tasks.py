"""A pack's task: what fails in it fails alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from model.inputs.watershed import HeadData, load_head, survey_store
from model.jobs import members, tasks
from model.jobs.members import fit_heads
from model.jobs.tasks import PackResult, of_equal_length, train_pack
from model.network import tensor_file
from model.output.figures import hydrograph
from model.output.run_directory import Run
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import fit_pack

QUICK = Settings(updates=2, evaluate_every=2, hidden=8, warmup=30, stretch=60, batch=1)
Train = Callable[..., PackResult]


@pytest.fixture
def train(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Train, Path, list[str]]:
    """Function that trains all heads of a copy of the store as one pack, the copy, its sites."""
    store = tmp_path / "store.zarr"
    shutil.copytree(tiny_store, store)
    survey = survey_store(str(store))
    sites = list(survey.pixels)
    run = Run(tmp_path / "run")
    run.begin(QUICK, str(store), survey.digest, sites)
    run.prepare_predictions(sites, survey.times, survey.title)
    worker = SimpleNamespace(address="here", log_event=lambda topic, line: None)
    monkeypatch.setattr(tasks, "get_worker", lambda: worker)

    def pack() -> PackResult:
        rows = {site: row for row, site in enumerate(sites)}
        return train_pack(str(store), rows, QUICK, run, "topic", "cpu")

    return pack, store, sites


def test_a_watershed_that_cannot_be_loaded_fails_alone(
    train: tuple[Train, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without discharge, one whose file cannot be read, one that cannot be drawn."""
    pack, store, sites = train
    empty, unreadable, undrawn, good = sites
    discharge: Any = zarr.open_group(store)["gauges/discharge"]
    discharge[sites.index(empty)] = np.nan

    def load_some(where: str, site: str, settings: Settings) -> HeadData:
        if site == unreadable:
            raise OSError("Input/output error")
        return load_head(where, site, settings)

    def draw_some(path: Path, **others: Any) -> None:
        if path.stem == undrawn:
            raise ValueError("no ink")
        hydrograph(path, **others)

    monkeypatch.setattr(tasks, "load_head", load_some)
    monkeypatch.setattr(tasks, "hydrograph", draw_some)
    result = pack()
    assert [score["site_no"] for score in result.scores] == [good]
    first, second, third = result.failures
    assert first.startswith(f"{store}: watershed {empty}: 0 discharge values")
    assert second == f"watershed {unreadable}: OSError('Input/output error')"
    assert third == f"watershed {undrawn}: ValueError('no ink')"


def test_heads_without_memory_on_the_gpu_are_returned(
    train: tuple[Train, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, _, sites = train

    def fill_memory(heads: Sequence[HeadData], *others: Any) -> Iterator[Any]:
        yield from fit_pack(heads[:1], *others)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(members, "fit_pack", fill_memory)
    result = pack()
    assert [score["site_no"] for score in result.scores] == sites[:1]
    assert (result.failures, result.too_large) == ([], sites[1:])
    monkeypatch.setattr(members, "fit_pack", fit_pack)
    assert [score["site_no"] for score in pack().scores] == sites


def test_a_head_that_fills_the_memory_by_itself_fails_alone(
    train: tuple[Train, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of other lengths of the same pack are trained."""
    pack, _, sites = train

    def fill_memory(heads: Sequence[HeadData], *others: Any) -> Iterator[Any]:
        if heads[0].site_no == sites[1]:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB.")
        yield from fit_heads(heads, *others)

    monkeypatch.setattr(tasks, "fit_heads", fill_memory)
    monkeypatch.setattr(tasks, "of_equal_length", lambda heads: [{s: h} for s, h in heads.items()])
    result = pack()
    assert [score["site_no"] for score in result.scores] == [sites[0], *sites[2:]]
    assert result.too_large == []
    (line,) = result.failures
    assert line.startswith(f"watershed {sites[1]}: does not fit into the memory of cpu alone")
    assert "\n" not in line


def test_a_head_whose_files_are_of_another_training_fails_alone(
    train: tuple[Train, Path, list[str]],
) -> None:
    """One that is trained, and one that was interrupted."""
    pack, store, sites = train
    run = Run(store.parent / "run")
    other = QUICK.model_copy(update={"hidden": 4})
    done, begun, *good = sites
    assert len(pack().scores) == len(sites)
    for site, path in (
        (done, checkpoint.head_path(run.checkpoints, done)),
        (begun, checkpoint.progress_path(run.checkpoints, begun)),
    ):
        checkpoint.head_path(run.checkpoints, site).unlink()
        tensor_file.write(path, {}, {"settings": other.model_dump(mode="json"), "update": 1})
    result = pack()
    assert [score["site_no"] for score in result.scores] == good
    assert [line.split(": ")[0].rpartition("/")[2] for line in result.failures] == [
        f"{done}.safetensors",
        f"{begun}.progress.safetensors",
    ]
    for line in result.failures:
        assert "made with other settings: expected those of this run" in line


def test_heads_of_equal_length_go_together() -> None:
    """Gauges with and without a shift in time have series of other lengths."""
    heads: Any = {
        site: SimpleNamespace(times=range(n)) for site, n in zip("abcd", (9, 8, 9, 8), strict=True)
    }
    assert [list(one) for one in of_equal_length(heads)] == [["a", "c"], ["b", "d"]]
