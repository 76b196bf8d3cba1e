"""How the settings of a store are resolved: presets and steps replace defaults, never choices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from model.settings import REFIT, SUBDAILY, SUBDAILY_DROPOUT, TRUNKS, VARIANTS, Settings

DAY, HOUR, HALF_HOUR = timedelta(days=1), timedelta(hours=1), timedelta(minutes=30)
SCALED = ("updates", "trunk_updates", "evaluate_every")


@pytest.mark.parametrize("choices", [{}, {"trunk": "shared"}, REFIT])
def test_short_steps_take_more_updates_and_as_many_validations(choices: dict[str, Any]) -> None:
    daily, hourly = (Settings(**choices).resolved(step) for step in (DAY, HOUR))
    assert hourly == Settings(**choices).resolved(HALF_HOUR)
    for name in SCALED:
        assert getattr(hourly, name) == SUBDAILY * getattr(daily, name), name
        assert getattr(hourly, name) / hourly.evaluate_every == getattr(daily, name) / (
            daily.evaluate_every
        )
    assert hourly.dropout == SUBDAILY_DROPOUT < daily.dropout
    rest = {*SCALED, "dropout"}
    assert hourly.model_dump(exclude=rest) == daily.model_dump(exclude=rest)


@pytest.mark.parametrize("step", [DAY, HOUR])
@pytest.mark.parametrize(
    "choice", [{"updates": 30}, {"dropout": 0.3}, {"evaluate_every": 7}, {"learning_rate": 0.02}]
)
@pytest.mark.parametrize("trunk", ["own", "shared"])
def test_a_choice_stays(step: timedelta, choice: dict[str, Any], trunk: Any) -> None:
    (name,) = choice
    assert getattr(Settings(trunk=trunk, **choice).resolved(step), name) == choice[name]


@pytest.mark.parametrize("step", [DAY, HOUR])
def test_a_choice_that_equals_the_default_stays_too(step: timedelta) -> None:
    default = Settings().updates
    assert Settings(updates=default, trunk="shared").resolved(step).updates == default


@pytest.mark.parametrize("step", [DAY, HOUR])
def test_resolved_settings_are_resolved(step: timedelta) -> None:
    once = Settings(trunk="shared", seed=4).resolved(step)
    assert once.model_fields_set == set(Settings.model_fields)
    assert once.resolved(step) == once.resolved(HOUR) == once


def test_presets_of_variants_and_trunks_apply() -> None:
    for variant, changes in VARIANTS.items():
        found = Settings(variant=variant).resolved(DAY)
        assert {name: getattr(found, name) for name in changes} == changes
    shared = Settings(trunk="shared").resolved(DAY)
    assert {name: getattr(shared, name) for name in TRUNKS["shared"]} == TRUNKS["shared"]
