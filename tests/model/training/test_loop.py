"""Training of a pack: it learns, resumes bit by bit, restarts, stops, and leaks nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.evaluation.metrics import nse
from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training import checkpoint
from model.training.loop import Diverged, Fitted, fit_pack
from model.training.trainer import Trainer
from pipeline.errors import InputError

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(hidden=16, warmup=60, stretch=120, batch=4, updates=30, evaluate_every=10)


def silent(line: dict[str, Any]) -> None:
    pass


def train(
    heads: list[HeadData],
    settings: Settings,
    folder: Path,
    report: Callable[[dict[str, Any]], None] = silent,
) -> list[Fitted]:
    """Train a pack none of whose heads is given up."""
    ended = list(fit_pack(heads, settings, CPU, folder, report))
    fitted = [end for end in ended if isinstance(end, Fitted)]
    assert len(fitted) == len(ended)
    return fitted


def test_training_learns_a_linear_reservoir(make_head: Make, tmp_path: Path) -> None:
    head = make_head("01")
    lines: list[dict[str, Any]] = []
    settings = QUICK.model_copy(update={"updates": 120, "dropout": 0.0, "learning_rate": 0.02})
    (fitted,) = train([head], settings, tmp_path, lines.append)
    assert fitted.validation_nse > 0.8
    assert fitted.validation_nse == max(line["validation_nse"] for line in lines)
    network, pack = checkpoint.load_head(fitted.checkpoint, head, CPU)
    with torch.no_grad():
        runoff = network(*pack.inputs())[0, pack.spinup :].numpy().astype(np.float64)
    held = head.split.validation
    assert nse(runoff[held], head.runoff[held].astype(float)) == pytest.approx(
        fitted.validation_nse, abs=1e-5
    )


@pytest.mark.parametrize(("stop_after", "torn"), [(1, False), (2, True), (4, False)])
def test_a_resumed_training_is_the_uninterrupted_one(
    make_head: Make, tmp_path: Path, stop_after: int, torn: bool
) -> None:
    """From the progress before the last one where the last one is torn."""
    settings = QUICK.model_copy(update={"refit": True, "refit_updates": 20})

    class Killed(Exception):
        pass

    def die(line: dict[str, Any]) -> None:
        if line["update"] > 10 * stop_after:
            raise Killed

    (whole,) = train([make_head("01")], settings, tmp_path / "whole")
    with pytest.raises(Killed):
        train([make_head("01")], settings, tmp_path / "cut", die)
    progress = checkpoint.progress_path(tmp_path / "cut", "01")
    if torn:
        progress.write_bytes(progress.read_bytes()[:10_000])
    assert checkpoint.updates_done(tmp_path / "cut", "01", settings) == 10 * (stop_after - torn)
    (resumed,) = train([make_head("01")], settings, tmp_path / "cut")
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    left = {path.name for path in (tmp_path / "cut").iterdir()}
    assert left == {"01.safetensors"} | ({f"{progress.name}.damaged"} if torn else set())


def test_a_refit_learns_from_validation_years_and_not_from_test_years(
    make_head: Make, tmp_path: Path
) -> None:
    head = make_head("01")
    refit = QUICK.model_copy(update={"refit": True, "refit_updates": 20})

    def with_more(years: np.ndarray) -> HeadData:
        return dataclasses.replace(head, runoff=np.where(years, 3 * head.runoff, head.runoff))

    def weights(name: str, of: HeadData, settings: Settings) -> tuple[Fitted, bytes]:
        (fitted,) = train([of], settings, tmp_path / name)
        tensors = load_file(fitted.checkpoint)
        return fitted, b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors))

    plain, before = weights("plain", head, QUICK)
    longer, after = weights("refit", head, refit)
    assert (plain.kept_update, longer.kept_update, longer.updates) == (30, 50, 50)
    assert longer.validation_nse == plain.validation_nse, "scored before the refit"
    assert after != before
    test, validation = head.split.test, head.split.validation
    assert weights("test", with_more(test), refit)[1] == after
    patient = {"tolerance": 1e9}  # weights are kept whatever their score in the altered year
    once, twice = (one.model_copy(update=patient) for one in (QUICK, refit))
    assert weights("other", with_more(validation), once)[1] == before
    assert weights("refitted", with_more(validation), twice)[1] != after


def test_a_head_trained_alone_is_the_same_head_trained_in_a_pack(
    make_head: Make, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"updates": 4, "evaluate_every": 4})
    heads = [make_head("01", 4, 9), make_head("02", 9, 3)]
    packed = train(heads, settings, tmp_path / "pack")
    for head, together in zip(heads, packed, strict=True):
        (alone,) = train([head], settings, tmp_path / "alone")
        first, second = load_file(alone.checkpoint), load_file(together.checkpoint)
        assert first.keys() == second.keys()
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)


def test_a_head_that_is_trained_is_not_trained_again(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may die between the last update of a head and its scores."""
    heads = [make_head("01"), make_head("02")]
    (first,) = train(heads[:1], QUICK, tmp_path)
    (alone,) = train(heads[1:], QUICK, tmp_path / "alone")
    again, second = train(heads, QUICK, tmp_path)
    assert dataclasses.replace(again, seconds=first.seconds) == first
    assert second.checkpoint.read_bytes() == alone.checkpoint.read_bytes()
    monkeypatch.delattr("model.training.loop.Trainer")
    assert train(heads, QUICK, tmp_path) == [again, dataclasses.replace(second, seconds=0.0)]
    with pytest.raises(InputError, match=r"02.safetensors: made with other settings"):
        train(heads[1:], QUICK.model_copy(update={"seed": 3}), tmp_path)


def test_progress_of_other_settings_is_refused(make_head: Make, tmp_path: Path) -> None:
    trainer = Trainer([make_head("01")], QUICK, CPU)
    trainer.step()
    checkpoint.save_progress(trainer, tmp_path)
    other = QUICK.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match="other settings"):
        train([make_head("01")], other, tmp_path)


def test_a_pack_of_heads_at_different_updates_is_refused(make_head: Make, tmp_path: Path) -> None:
    """As when the progress of one is lost after the heads were grouped."""
    heads = [make_head("01"), make_head("02")]
    trainer = Trainer(heads[:1], QUICK, CPU)
    trainer.step()
    checkpoint.save_progress(trainer, tmp_path)
    with pytest.raises(
        InputError, match=r"02\.progress\.safetensors: is at update 0: expected 1, as "
    ):
        train(heads, QUICK, tmp_path)


def test_a_head_that_diverges_is_given_up_and_the_others_go_on(
    make_head: Make, tmp_path: Path
) -> None:
    broken, sound = make_head("01"), make_head("02")
    broken.share[0] = np.nan
    settings = QUICK.model_copy(update={"updates": 60})
    given_up, fitted = fit_pack([broken, sound], settings, CPU, tmp_path, silent)
    assert isinstance(given_up, Diverged)
    assert str(given_up).startswith("watershed 01: loss not finite at update 40")
    assert isinstance(fitted, Fitted)
    assert (fitted.site_no, fitted.updates) == ("02", 60)
    assert not checkpoint.head_path(tmp_path, "01").exists()


def test_a_head_restarts_from_its_last_checkpoint_at_a_lower_rate(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight turns NaN once, between two validations."""
    heads = [make_head("01"), make_head("02")]
    settings = QUICK.model_copy(update={"averaging": 0.0})
    trainer = Trainer(heads, settings, CPU)
    for _ in range(10):
        trainer.step()
    trainer.restart_point = trainer.snapshot()
    with torch.no_grad():
        trainer.network.lstm.bias[0, 0] = torch.nan
    assert trainer.step().isfinite().tolist() == [False, True]
    trainer.restart([0])
    assert trainer.rate_factor.tolist() == [pytest.approx(0.3), 1.0]
    for name, value in trainer.tensors().items():
        assert torch.equal(value[0], trainer.restart_point[name][0]), name
        assert value.isfinite().all()
    before = trainer.snapshot()
    trainer.step()
    moved = trainer.network.output.weight.detach() - before["weight.output.weight"]
    assert moved[0].abs().sum() > 0

    lines: list[dict[str, Any]] = []
    step = Trainer.step
    poisoned: list[bool] = []

    def once(self: Trainer) -> torch.Tensor:
        if self.update == 12 and not poisoned:
            poisoned.append(True)
            with torch.no_grad():
                self.network.lstm.bias[0, 0] = torch.nan
        return step(self)

    monkeypatch.setattr(Trainer, "step", once)
    first, second = train(heads, settings, tmp_path / "poisoned", lines.append)
    assert [line["update"] for line in lines if not np.isfinite(line["loss"])] == [20]
    assert np.isfinite(first.validation_nse)
    monkeypatch.setattr(Trainer, "step", step)
    _, alone = train(heads, settings, tmp_path / "sound")
    assert second.checkpoint.read_bytes() == alone.checkpoint.read_bytes(), "other head"


def test_a_head_stops_when_patience_ends_and_the_pack_shrinks(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One head gets worse from its first validation on, the other better: the first ends two
    validations later, the second becomes what it becomes alone."""
    heads = [make_head("01"), make_head("02")]
    worse = float(heads[0].runoff[heads[0].split.validation][0])
    calls = itertools.count()

    def scripted(simulated: np.ndarray, observed: np.ndarray) -> float:
        return next(calls) * (-1.0 if observed[0] == worse else 1.0)

    monkeypatch.setattr("model.training.trainer.nse", scripted)
    settings = QUICK.model_copy(update={"patience": 2, "updates": 60})
    ended = {end.site_no: end for end in train(heads, settings, tmp_path)}
    assert (ended["01"].updates, ended["01"].kept_update) == (30, 10)
    assert (ended["02"].updates, ended["02"].kept_update) == (60, 60)
    (alone,) = train(heads[1:], settings, tmp_path / "alone")
    one, two = load_file(alone.checkpoint), load_file(ended["02"].checkpoint)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=2e-2, atol=5e-3)


def test_test_years_leave_no_trace_in_training(make_head: Make, tmp_path: Path) -> None:
    head, changed = make_head("01"), make_head("01")
    changed.runoff[changed.split.test] *= 7
    changed.discharge[changed.split.test] *= 7
    (one,) = train([head], QUICK, tmp_path / "one")
    (two,) = train([changed], QUICK, tmp_path / "two")
    assert one.checkpoint.read_bytes() == two.checkpoint.read_bytes()
