"""How long heads learn, by what is asked for and by the steps of the store."""

from __future__ import annotations

import pandas as pd
import pytest

from model.inputs.watershed import Survey
from model.settings import REFIT, SUBDAILY_DROPOUT, TRUNKS, Settings
from model.train import paced


def survey(step: str) -> Survey:
    times = pd.date_range("2001-10-01", periods=9, freq=step)
    return Survey("made up", True, times, {"1": 4}, "")


@pytest.mark.parametrize("settings", [Settings(), Settings(**TRUNKS["shared"] | REFIT)])
def test_shorter_steps_take_more_updates_and_as_many_validations(settings: Settings) -> None:
    assert paced(settings, survey("D"), None) == settings
    hourly = paced(settings, survey("h"), None)
    assert hourly == paced(settings, survey("30min"), None)
    for name in ("updates", "refit", "trunk_updates"):
        before, after = getattr(settings, name), getattr(hourly, name)
        assert after == 4 * before
        assert after / hourly.evaluate_every == before / settings.evaluate_every
    assert hourly.dropout == SUBDAILY_DROPOUT < settings.dropout
    rest = {"updates", "refit", "trunk_updates", "evaluate_every", "dropout"}
    assert hourly.model_dump(exclude=rest) == settings.model_dump(exclude=rest)


@pytest.mark.parametrize("step", ["D", "h"])
def test_what_is_asked_for_is_what_is_done(step: str) -> None:
    assert paced(Settings(), survey(step), 30).updates == 30
