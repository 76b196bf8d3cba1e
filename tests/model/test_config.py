"""Settings from files and the command line: what is read back, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from model.command_line import app
from model.config import read_settings, show_settings
from model.settings import Settings
from pipeline.errors import InputError

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_what_is_shown_reads_back(tmp_path: Path) -> None:
    """Every field, for every step."""
    for step in (DAY, HOUR):
        settings = Settings(variant="lstm", soil_capacities=(1.5, 20), seed=3).resolved(step)
        shown = show_settings(settings)
        assert yaml.safe_load(shown).keys() == Settings.model_fields.keys()
        assert read_settings(write(tmp_path, shown), [], {}) == settings
        assert read_settings(None, [line.split("  #")[0].replace(": ", "=", 1) for line in
                                    shown.splitlines()], {}) == settings  # fmt: skip


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "hidden: 32\nupdates: 9\nsoil: false\n")
    settings = read_settings(file, ["updates=11", "snow_memories = [0.5]"], {"soil": True})
    assert (settings.hidden, settings.updates, settings.soil) == (32, 11, True)
    assert settings.snow_memories == (0.5,)
    assert settings.model_fields_set == {"hidden", "updates", "soil", "snow_memories"}


def test_nothing_given_leaves_presets_their_choice() -> None:
    assert read_settings(None, [], {}).model_fields_set == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden: 3", "hiden: unknown setting: did you mean hidden"),
        ("Soil-Capacities: [3]", "did you mean soil_capacities"),
        ("zzz: 3", "zzz: unknown setting: `domst train --show-config` lists all"),
        ("hidden: 3\nhidden: 4", "duplicate key 'hidden'"),
        ("hidden: many", "hidden: 'many': expected a valid integer"),
        ("dropout: 1.5", "dropout: 1.5: "),
        ("soil_capacities: [40, -1]", r"soil_capacities.1: -1: "),
        ("- hidden", "holds list: expected a mapping"),
        ("hidden: [", "expected YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as refused:
        read_settings(path, [], {})
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["hidden"], "--set hidden: expected a setting and its value"),
        (["hiden=3"], "--set: hiden: unknown setting: did you mean hidden"),
        (["hidden=3", "hidden=4"], "--set hidden=4: hidden is given twice"),
        (["seed=1"], "--set seed=1: seed is given twice"),
        (["hidden="], "hidden: None: expected a valid integer"),
        (["soil_capacities=["], "expected a value in YAML"),
    ],
)
def test_a_wrong_assignment_is_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_settings(None, assignments, {"seed": 0})


def test_settings_that_contradict_each_other_are_named_without_a_catalog(tmp_path: Path) -> None:
    expected = "snow_freezing 5.0, snow_thawing 3.0: expected the first below the second"
    file = write(tmp_path, "snow_freezing: 5")
    given: list[tuple[Path | None, list[str], object]] = [
        (file, [], file),
        (None, ["snow_freezing=5"], "settings"),
        (file, ["snow_thawing=3"], "settings"),
    ]
    for path, assignments, where in given:
        with pytest.raises(InputError) as refused:
            read_settings(path, assignments, {})
        assert str(refused.value) == f"{where}: {expected}"


def test_settings_are_judged_together_whatever_brings_them(tmp_path: Path) -> None:
    """A pair that fits is accepted, also where one half alone contradicts the default."""
    file = write(tmp_path, "snow_freezing: 5\n")
    for path, assignments in (
        (None, ["snow_freezing=5", "snow_thawing=8"]),
        (file, ["snow_thawing=8"]),
    ):
        settings = read_settings(path, assignments, {})
        assert (settings.snow_freezing, settings.snow_thawing) == (5, 8)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere.yaml: not readable .* expected settings in YAML"
    ):
        read_settings(tmp_path / "nowhere.yaml", [], {})


def test_the_command_shows_what_it_would_use(tiny_store: Path, tmp_path: Path) -> None:
    """With a store for its step, and nothing is trained."""
    file = write(tmp_path, "hidden: 24\nrefit: true\n")
    command = ["train", "--config", str(file), "--no-wetness", "--set", "snow=false"]
    for more in ([], [str(tiny_store)]):
        done = CliRunner().invoke(app, [*command, *more, "--show-config"])
        assert done.exit_code == 0, done.output
        shown = yaml.safe_load(done.stdout)
        expected = Settings(hidden=24, refit=True, wetness=False, snow=False).resolved(DAY)
        assert shown == expected.model_dump(mode="json")


def test_a_resumed_run_takes_no_settings(tmp_path: Path) -> None:
    for option in (["--set", "hidden=3"], ["--config", "x.yaml"], ["--no-soil"], ["--seed", "0"]):
        command = ["train", "--resume", "--run", str(tmp_path), *option]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "--resume" in done.output + done.stderr
