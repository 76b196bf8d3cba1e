"""What updates learn from, where training has several periods or comes after other parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from model.inputs.pack import make_pack
from model.inputs.periods import consecutive
from model.inputs.split import Split
from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training.lesson import Lesson
from model.training.trainer import Trainer

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(hidden=16, warmup=60, stretch=120, batch=4, updates=3, refit=True, refit_updates=3)
PARTS = Settings(
    train=("2011-03-01/2011-04-20", "2012-01-01/2012-12-31"),
    validation=("2010-12-01/2011-02-28",),
    test=("2011-04-21/2011-12-31", "2013-05-01/2013-08-31"),
)


def split_head(make_head: Make) -> HeadData:
    head = make_head("01")
    return dataclasses.replace(head, split=Split.of(head.dates, PARTS))


def with_discharge(head: HeadData, changed: np.ndarray) -> HeadData:
    """The same head with absurd discharge on some steps, and none where there was some."""
    rng = np.random.default_rng(0)
    absurd = np.where(rng.random(changed.size) < 0.8, 1e3, np.nan).astype(np.float32)
    return dataclasses.replace(head, runoff=np.where(changed, absurd, head.runoff))


def after_updates(head: HeadData, settings: Settings, updates: int) -> dict[str, torch.Tensor]:
    trainer = Trainer([head], settings, CPU)
    for _ in range(updates):
        trainer.step()
    return trainer.snapshot()


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("refit", [False, True])
def test_discharge_of_held_out_steps_changes_no_weight(
    make_head: Make, windows: bool, history: bool, refit: bool
) -> None:
    """Also where they come before training steps, and past discharge is an input."""
    head = split_head(make_head)
    settings = QUICK.model_copy(update={"history": history, "windows": windows})
    split, updates = head.split, 6 if refit else 3
    learned = split.known if refit else split.train
    held_out = split.test if refit else split.test | split.validation
    hidden = held_out if history else ~learned
    before = after_updates(head, settings, updates)
    after = after_updates(with_discharge(head, hidden), settings, updates)
    for name, value in before.items():
        torch.testing.assert_close(value, after[name], rtol=0, atol=0, msg=name)
    seen = after_updates(with_discharge(head, learned & ~split.train | split.train), settings, 1)
    assert any(not torch.equal(value, seen[name]) for name, value in before.items())
    if refit:
        other = after_updates(with_discharge(head, split.validation), settings, updates)
        assert any(not torch.equal(value, other[name]) for name, value in before.items())


def test_a_target_is_the_discharge_of_learnable_steps(make_head: Make) -> None:
    head = split_head(make_head)
    pack = make_pack([head], QUICK, CPU)
    lesson = Lesson(pack, head.split.train, head.split.validation | head.split.test, 120)
    expected = np.where(head.split.train, head.runoff, np.nan)
    np.testing.assert_array_equal(lesson.target[0, pack.spinup :], expected)
    assert lesson.target[0, : pack.spinup].isnan().all()
    shown = np.where(head.split.validation | head.split.test, np.nan, head.runoff)
    np.testing.assert_array_equal(lesson.past[0, pack.spinup + 1 :], shown[:-1])
    assert lesson.end == 1 + int(np.flatnonzero(head.split.train)[-1])


@pytest.mark.parametrize("length", [1, 30, 120])
def test_stretches_lie_in_the_period_of_their_middle(make_head: Make, length: int) -> None:
    """By counting; a short period and its stretches end together."""
    head = split_head(make_head)
    train = head.split.train
    (first, stop), (later, end) = consecutive(train)
    assert (stop - first, end - later) == (51, 366)
    lesson = Lesson(make_pack([head], QUICK, CPU), train, head.split.test, length)
    starts = lesson.draw(40_000, torch.Generator().manual_seed(1)).numpy()
    assert starts.min() >= 0
    short = starts < later
    if length < 51:
        assert (starts[short] >= first).all()
        assert (starts[short] + length <= stop).all()
    else:
        assert (starts[short] == stop - length).all()
    assert (starts[~short] >= later).all()
    assert (starts[~short] + length <= end).all()
    assert short.mean() == pytest.approx(51 / (51 + 366), abs=0.01), "middles are even over steps"
    times = np.zeros(train.size)
    np.add.at(times, (starts[:, None] + np.arange(length)).ravel(), 1)
    learned = times[train]
    assert learned.min() > 0
    if length == 1:
        np.testing.assert_allclose(learned, learned.mean(), rtol=0.4)
    assert (times[~train] == 0).all() or length > 51


def test_a_stretch_longer_than_what_precedes_a_short_period_begins_the_record(
    make_head: Make,
) -> None:
    head = make_head("01")
    train = np.zeros(len(head.dates), bool)
    train[5:20] = train[200:400] = True
    lesson = Lesson(make_pack([head], QUICK, CPU), train, ~train, 120)
    starts = lesson.draw(5_000, torch.Generator().manual_seed(1))
    assert starts.unique()[0] == 0
    assert set(starts[starts < 200].tolist()) == {0}
