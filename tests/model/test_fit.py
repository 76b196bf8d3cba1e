"""Training: it learns, it resumes bit by bit, and packs do not change a head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model import checkpoint
from model.dataset import HeadData
from model.fit import Trainer, fit_pack, learning_rate, runoff_loss
from model.metrics import nse
from model.settings import Settings
from pipeline.errors import InputError, RunError

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(hidden=16, warmup=60, stretch=120, batch=4, updates=30, evaluate_every=10)


def silent(line: dict[str, Any]) -> None:
    pass


def test_training_learns_a_linear_reservoir(make_head: Make, tmp_path: Path) -> None:
    head = make_head("01")
    lines: list[dict[str, Any]] = []
    settings = QUICK.model_copy(update={"updates": 120, "dropout": 0.0, "learning_rate": 0.02})
    (fitted,) = fit_pack([head], settings, CPU, tmp_path, lines.append)
    assert fitted.validation_nse > 0.8
    assert fitted.validation_nse == max(line["validation_nse"] for line in lines)
    network, pack = checkpoint.load_head(fitted.checkpoint, head, CPU)
    with torch.no_grad():
        runoff = network(*pack.inputs())[0, pack.spinup :].numpy().astype(np.float64)
    held = head.split.validation
    assert nse(runoff[held], head.runoff[held].astype(float)) == pytest.approx(
        fitted.validation_nse, abs=1e-5
    )


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_training_is_the_uninterrupted_one(
    make_head: Make, tmp_path: Path, stop_after: int
) -> None:
    class Killed(Exception):
        pass

    def die(line: dict[str, Any]) -> None:
        if line["update"] > 10 * stop_after:
            raise Killed

    (whole,) = fit_pack([make_head("01")], QUICK, CPU, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        fit_pack([make_head("01")], QUICK, CPU, tmp_path / "cut", die)
    assert checkpoint.updates_done(tmp_path / "cut", "01") == 10 * stop_after
    (resumed,) = fit_pack([make_head("01")], QUICK, CPU, tmp_path / "cut", silent)
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["01.safetensors"]


def test_a_head_trained_alone_is_the_same_head_trained_in_a_pack(
    make_head: Make, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"updates": 4, "evaluate_every": 4})
    heads = [make_head("01", 4, 9), make_head("02", 9, 3)]
    packed = fit_pack(heads, settings, CPU, tmp_path / "pack", silent)
    for head, together in zip(heads, packed, strict=True):
        (alone,) = fit_pack([head], settings, CPU, tmp_path / "alone", silent)
        first, second = load_file(alone.checkpoint), load_file(together.checkpoint)
        assert first.keys() == second.keys()
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)


def test_progress_of_other_settings_is_refused(make_head: Make, tmp_path: Path) -> None:
    trainer = Trainer([make_head("01")], QUICK, CPU)
    trainer.step()
    checkpoint.save_progress(trainer, tmp_path)
    other = QUICK.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match="other settings"):
        fit_pack([make_head("01")], other, CPU, tmp_path, silent)


def test_a_loss_that_is_not_finite_names_its_watershed(make_head: Make, tmp_path: Path) -> None:
    wild = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(RunError, match=r"watershed 01: loss (nan|inf)"):
        fit_pack([make_head("01")], wild, CPU, tmp_path, silent)


def test_test_years_leave_no_trace_in_training(make_head: Make, tmp_path: Path) -> None:
    head, changed = make_head("01"), make_head("01")
    changed.runoff[changed.split.test] *= 7
    changed.discharge[changed.split.test] *= 7
    (one,) = fit_pack([head], QUICK, CPU, tmp_path / "one", silent)
    (two,) = fit_pack([changed], QUICK, CPU, tmp_path / "two", silent)
    assert one.checkpoint.read_bytes() == two.checkpoint.read_bytes()


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(u, QUICK) for u in range(QUICK.updates)]
    peak = int(np.argmax(rates))
    assert rates[peak] == QUICK.learning_rate
    assert peak in (2, 3)
    assert (np.diff(rates[peak + 1 :]) < 0).all()
    assert rates[-1] < 0.05 * QUICK.learning_rate


def test_loss_is_one_minus_nse_without_the_roots() -> None:
    rng = np.random.default_rng(0)
    observed = rng.gamma(1, 2, (1, 1, 50))
    simulated = np.abs(observed + rng.normal(0, 0.5, observed.shape))
    observed[0, 0, 10:15] = np.nan
    seen = np.isfinite(observed)
    loss = runoff_loss(
        torch.as_tensor(simulated)[:, None],
        torch.as_tensor(observed),
        torch.tensor([observed[seen].std()]),
        0.0,
    )
    assert 1 - loss.item() == pytest.approx(nse(simulated[seen], observed[seen]))
