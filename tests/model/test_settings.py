"""Settings for a store's time step: what the user leaves open, and what the user sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from model.settings import VARIANTS, Settings

DAY, HOUR, HALF_HOUR = (timedelta(hours=hours) for hours in (24, 1, 0.5))


@pytest.mark.parametrize("chosen", [{}, {"trunk": "shared", "refit": True}], ids=str)
def test_shorter_steps_take_more_updates_and_as_many_validations(chosen: dict[str, Any]) -> None:
    daily = Settings(**chosen).resolved(DAY)
    hourly = Settings(**chosen).resolved(HOUR)
    assert hourly == Settings(**chosen).resolved(HALF_HOUR)
    for name in ("updates", "refit_updates", "trunk_updates"):
        before, after = getattr(daily, name), getattr(hourly, name)
        assert after == 4 * before
        assert after / hourly.evaluate_every == before / daily.evaluate_every
    assert hourly.dropout == hourly.subdaily_dropout < daily.dropout
    rest = {"updates", "refit_updates", "trunk_updates", "evaluate_every", "dropout"}
    assert hourly.model_dump(exclude=rest) == daily.model_dump(exclude=rest)


def test_days_leave_the_defaults() -> None:
    assert Settings().resolved(DAY) == Settings()
    assert Settings().resolved(timedelta(days=2)) == Settings()
    assert Settings().resolved(pd.Timedelta("1D")) == Settings()


@pytest.mark.parametrize("step", [DAY, HOUR])
@pytest.mark.parametrize(
    "chosen",
    [
        {"dropout": 0.3},
        {"dropout": Settings().dropout},
        {"updates": 30},
        {"updates": Settings().updates},
        {"updates": Settings().updates, "trunk": "shared"},
        {"evaluate_every": 7},
        {"refit": True, "refit_updates": 9},
        {"trunk": "shared", "updates": 50, "learning_rate": 0.02, "trunk_updates": 11},
        {"variant": "singlehead", "contribution": True, "batch": 2},
    ],
    ids=str,
)
def test_what_the_user_sets_stays(chosen: dict[str, Any], step: timedelta) -> None:
    """Even where it equals the default."""
    resolved = Settings(**chosen).resolved(step)
    assert {name: getattr(resolved, name) for name in chosen} == chosen


@pytest.mark.parametrize("step", [DAY, HOUR])
def test_resolved_settings_are_complete(step: timedelta) -> None:
    """Resolving again, or after a round trip through a file, changes nothing."""
    resolved = Settings(trunk="shared", seed=3).resolved(step)
    assert resolved.model_fields_set == set(Settings.model_fields)
    assert resolved.resolved(step) == resolved
    again = Settings.model_validate(resolved.model_dump(mode="json"))
    assert again == resolved == again.resolved(step)


def test_variant_and_trunk_bring_their_choices() -> None:
    assert Settings().updates == 250
    shared = Settings(trunk="shared").resolved(DAY)
    assert (shared.updates, shared.learning_rate) == (100, 0.001)
    assert Settings(trunk="shared").resolved(HOUR).updates == 400
    for variant, changes in VARIANTS.items():
        resolved = Settings(variant=variant).resolved(DAY)
        assert {name: getattr(resolved, name) for name in changes} == changes
    assert Settings(variant="singlehead+p").resolved(DAY).contribution


def test_a_refit_adds_its_updates() -> None:
    assert Settings().all_updates == Settings().updates
    assert Settings(refit=True, updates=30, refit_updates=12).all_updates == 42


@pytest.mark.parametrize(
    "wrong",
    [
        {"snow_thawing": -1.0},
        {"evaporated_range": (0.1, 1.0)},
        {"evaporated_range": (0.9, 0.1)},
        {"averaging_start": float("inf")},
        {"snow_freezing": float("nan")},
        {"dropuot": 0.3},
        {"dropout": 1.0},
        {"soil_capacities": (40.0, 0.0)},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(**wrong)
